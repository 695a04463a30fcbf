//! What is asked of every peer.

use crate::peers::Peer;

/// A list of cases that belong in one table.
#[derive(Debug, Clone)]
pub struct Question {
    /// The word on the command line.
    pub name: &'static str,
    /// What is measured, in one line.
    pub about: &'static str,
    /// The rows.
    pub cases: Vec<Case>,
}

/// One URL that is asked over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What kind of answer.
    pub what: What,
    /// How much of it.
    pub size: Size,
    /// Over what.
    pub protocol: Protocol,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A fingerprinted file of a release.
    File,
    /// JSON that a rule lets the edge store.
    Json,
    /// The same for one school's own people.
    Tenant,
    /// An answer of the origin that nobody stores or compresses.
    Pass,
}

/// The sizes of answers, in bytes of body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 1 KB: an icon, a small chunk, one object of an API.
    Small,
    /// 64 KB: a chunk of a framework, a long list.
    Large,
}

/// What the client speaks, on TLS 1.3 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive, driven by `wrk`.
    H1,
    /// HTTP/2 with 20 streams on each connection, driven by `h2load`.
    H2,
}

impl Case {
    /// Every size over every protocol, of one kind.
    pub(crate) fn all(what: What) -> impl Iterator<Item = Self> {
        let protocols = [Protocol::H1, Protocol::H2];
        [Size::Small, Size::Large]
            .into_iter()
            .flat_map(move |size| {
                protocols.map(|protocol| Self {
                    what,
                    size,
                    protocol,
                })
            })
    }

    /// Its name in the table, such as `file 1 KB, H2`.
    pub fn name(self) -> String {
        let what = match self.what {
            What::File => "file",
            What::Json => "cached JSON",
            What::Tenant => "cached JSON of a school",
            What::Pass => "pass-through",
        };
        let protocol = match self.protocol {
            Protocol::H1 => "H1",
            Protocol::H2 => "H2",
        };
        format!("{what} {}, {protocol}", self.size.name())
    }

    /// The path that is asked.
    pub fn path(self) -> &'static str {
        self.what.path(self.size)
    }

    /// Who can answer it: H2O has no cache of its own.
    pub fn peers(self) -> &'static [Peer] {
        match self.what {
            What::File | What::Pass => &[Peer::Edge, Peer::Nginx, Peer::H2o],
            What::Json => &[Peer::Edge, Peer::Nginx],
            What::Tenant => &[Peer::Edge],
        }
    }

    /// By what the client shows who it is.
    pub(crate) fn cookie(self) -> Option<&'static str> {
        (self.what == What::Tenant).then_some("_session=c2Vzc2lvbi1vZi1hLXB1cGls")
    }
}

impl What {
    /// The path of one of these. Files carry a fingerprint in their name, as a framework gives it.
    pub(crate) fn path(self, size: Size) -> &'static str {
        match (self, size) {
            (Self::File, Size::Small) => "/_next/static/chunks/small-0a1b2c3d4e5f6071.js",
            (Self::File, Size::Large) => "/_next/static/chunks/large-8293a4b5c6d7e8f9.js",
            (Self::Json, Size::Small) => "/api/v1/lists/small",
            (Self::Json, Size::Large) => "/api/v1/lists/large",
            (Self::Tenant, Size::Small) => "/api/v1/school/lists/small",
            (Self::Tenant, Size::Large) => "/api/v1/school/lists/large",
            (Self::Pass, Size::Small) => "/pass/small",
            (Self::Pass, Size::Large) => "/pass/large",
        }
    }
}

impl Size {
    pub(crate) const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The length of the body.
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 1024,
            Self::Large => 64 * 1024,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Small => "1 KB",
            Self::Large => "64 KB",
        }
    }
}
