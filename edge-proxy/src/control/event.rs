//! The events of the log: so far, what must not be served again.

use cache_rules::tag::{NotATag, Tag};
use cache_rules::target::CanonicalPath;
use cache_rules::tenant::{NotATenant, TenantId};
use serde::{Deserialize, Serialize};

use super::store::Sequence;

/// One step of the log that is not a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Stored answers must not be served again.
    Purge(Purge),
    /// Stored answers of public rules are stale from now on; of others they must not be served again.
    SoftPurge(Purge),
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub sequence: Sequence,
    /// What happened.
    pub event: Event,
}

/// Which stored answers are not served again.
///
/// A path is purged with every query it was asked with: no query value reaches the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub enum Purge {
    /// All of a school that carry one tag.
    Tag(TenantId, Tag),
    /// All of a school that carry one of these tags.
    Tags(TenantId, Vec<Tag>),
    /// All of a school under one path, whatever the query.
    Path(TenantId, PurgePath),
    /// All of a school.
    Tenant(TenantId),
    /// All of all schools: only when events were missed that can no longer be read.
    Everything,
}

impl Purge {
    /// Whose answers it ends; none: everybody's.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tag(tenant, _)
            | Self::Tags(tenant, _)
            | Self::Path(tenant, _)
            | Self::Tenant(tenant) => Some(tenant),
            Self::Everything => None,
        }
    }

    /// Which kind it is, for counters and the audit log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tag(..) | Self::Tags(..) => "tag",
            Self::Path(..) => "path",
            Self::Tenant(_) => "tenant",
            Self::Everything => "everything",
        }
    }
}

impl std::fmt::Display for Purge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tenant, tag) => write!(f, "tag {tag} of {tenant}"),
            Self::Tags(tenant, tags) => match tags.as_slice() {
                [first, rest @ ..] if !rest.is_empty() => {
                    write!(f, "tag {first} and {} more of {tenant}", rest.len())
                }
                [only, ..] => write!(f, "tag {only} of {tenant}"),
                [] => write!(f, "nothing of {tenant}"),
            },
            Self::Path(tenant, path) => write!(f, "path {} of {tenant}", path.as_str()),
            Self::Tenant(tenant) => write!(f, "everything of {tenant}"),
            Self::Everything => f.write_str("everything of every school"),
        }
    }
}

/// A canonical path without query, as the cache's keys have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgePath(Box<str>);

/// A text that is no canonical path.
#[derive(Debug, thiserror::Error)]
#[error("not a path that is cached: {0}")]
pub struct NotAPath(String);

impl PurgePath {
    /// Canonicalises a raw path; a query must have been cut off.
    ///
    /// # Errors
    /// When no cached read could have that path.
    pub fn parse(raw_path: &str) -> Result<Self, NotAPath> {
        CanonicalPath::parse(raw_path)
            .map(|path| Self(path.as_str().into()))
            .map_err(|error| NotAPath(error.to_string()))
    }

    /// The canonical path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As the log keeps it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Tag { tenant: String, tag: String },
    Tags { tenant: String, tags: Vec<String> },
    Path { tenant: String, path: String },
    Tenant { tenant: String },
    Everything,
}

impl From<Purge> for Stored {
    fn from(purge: Purge) -> Self {
        match purge {
            Purge::Tag(tenant, tag) => Self::Tag {
                tenant: tenant.to_string(),
                tag: tag.to_string(),
            },
            Purge::Tags(tenant, tags) => Self::Tags {
                tenant: tenant.to_string(),
                tags: tags.iter().map(ToString::to_string).collect(),
            },
            Purge::Path(tenant, path) => Self::Path {
                tenant: tenant.to_string(),
                path: path.0.into(),
            },
            Purge::Tenant(tenant) => Self::Tenant {
                tenant: tenant.to_string(),
            },
            Purge::Everything => Self::Everything,
        }
    }
}

/// A stored event that this version cannot read.
#[derive(Debug, thiserror::Error)]
enum NotAPurge {
    #[error(transparent)]
    Tenant(#[from] NotATenant),
    #[error(transparent)]
    Tag(#[from] NotATag),
    #[error(transparent)]
    Path(#[from] NotAPath),
}

impl TryFrom<Stored> for Purge {
    type Error = NotAPurge;

    fn try_from(stored: Stored) -> Result<Self, NotAPurge> {
        Ok(match stored {
            Stored::Tag { tenant, tag } => Self::Tag(tenant.parse()?, Tag::parse(&tag)?),
            Stored::Tags { tenant, tags } => {
                let tags = tags
                    .iter()
                    .map(|tag| Tag::parse(tag))
                    .collect::<Result<_, _>>()?;
                Self::Tags(tenant.parse()?, tags)
            }
            Stored::Path { tenant, path } => Self::Path(tenant.parse()?, PurgePath::parse(&path)?),
            Stored::Tenant { tenant } => Self::Tenant(tenant.parse()?),
            Stored::Everything => Self::Everything,
        })
    }
}
