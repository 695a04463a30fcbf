//! The values that labels may have. A request picks one of them; it never brings its own.

use crate::colour::Colour;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is written in metrics and records.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

labels! {
    /// The method of a request.
    #[expect(missing_docs, reason = "the names are the meaning")]
    Method {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Options = "OPTIONS",
        Other = "other",
    }
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::Get,
            http::Method::HEAD => Self::Head,
            http::Method::POST => Self::Post,
            http::Method::PUT => Self::Put,
            http::Method::PATCH => Self::Patch,
            http::Method::DELETE => Self::Delete,
            http::Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }
}

labels! {
    /// The class of a status; the status itself is in the access record.
    #[expect(missing_docs, reason = "the names are the meaning")]
    Status {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        /// Nothing was answered: the client went away.
        None = "none",
    }
}

impl From<u16> for Status {
    fn from(status: u16) -> Self {
        match status {
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500..600 => Self::ServerError,
            _ => Self::None,
        }
    }
}

labels! {
    /// Where an answer came from.
    Cache {
        /// A stored answer of a read.
        Hit = "hit",
        /// A stored answer whose time is over, while a fresh one is fetched or the origin fails.
        Stale = "stale",
        /// A read that was fetched for this request.
        Miss = "miss",
        /// A read that was being fetched for another request already.
        Joined = "joined",
        /// A file of a release.
        File = "file",
        /// The origin, passed through.
        Pass = "pass",
        /// The edge itself: a redirect, a refusal, an error.
        Edge = "edge",
    }
}

/// The number of a colour, with one for "none".
pub(super) fn colour_number(colour: Option<Colour>) -> usize {
    match colour {
        Some(Colour::Blue) => 0,
        Some(Colour::Green) => 1,
        None => 2,
    }
}

/// The colours by their numbers.
pub(super) const COLOURS: [&str; 3] = ["blue", "green", "none"];

labels! {
    /// How an identity was learned.
    Identity {
        /// From an answer that is still kept.
        Kept = "kept",
        /// The origin said so beside another answer.
        Seeded = "seeded",
        /// The origin or a token said who it is.
        Yes = "yes",
        /// The origin said nobody, or the token is not to be believed.
        No = "no",
        /// Nobody could say: no usable answer of the origin, or no keys.
        Failed = "failed",
    }
}

labels! {
    /// How a TLS handshake ended.
    Handshake {
        /// A connection.
        Done = "done",
        /// The peers did not agree, or the client left.
        Failed = "failed",
        /// No certificate has the name that was asked for.
        UnknownName = "unknown_name",
        /// It took longer than the limit.
        Timeout = "timeout",
    }
}

labels! {
    /// Why a stored answer was not used.
    Miss {
        /// Nothing is stored.
        Absent = "absent",
        /// Its lifetime is over.
        Expired = "expired",
        /// It was purged.
        Purged = "purged",
        /// The client, who may, asked for a newer one.
        Unwanted = "unwanted",
    }
}

labels! {
    /// How one fetch for the cache ended.
    Fill {
        /// Stored.
        Stored = "stored",
        /// Answered, but not to be stored.
        Passed = "passed",
        /// No usable answer, and an older one stood in.
        StoodIn = "stood_in",
        /// No usable answer.
        Failed = "failed",
    }
}

labels! {
    /// What came of a good address of a school's picture.
    Picture {
        /// It was kept.
        Kept = "kept",
        /// It was being made for somebody else.
        Joined = "joined",
        /// It was made.
        Made = "made",
        /// The file is no picture that is decoded.
        Unfit = "unfit",
        /// The origin does not have it.
        Unknown = "unknown",
        /// The origin gave no answer.
        Failed = "failed",
        /// Too many were waiting, or it took too long.
        Busy = "busy",
    }
}
