//! Names: of an app and of a release, which people choose, and of an edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is neither empty, too long, nor made of other than letters, digits, `.`, `_` and `-`.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a name: 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`"
)]
pub struct NotAName(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                checked(text).map(|text| Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// What is deployed as one thing, such as `learn`.
    AppId
}

name! {
    /// One immutable set of files, such as `2026-11-22.3`. Ids go into file names and log lines.
    ReleaseId
}

name! {
    /// One edge, by a name that it gave itself when its state folder was made.
    EdgeId
}

fn checked(text: &str) -> Result<&str, NotAName> {
    let fits = (1..=64).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits {
        Ok(text)
    } else {
        Err(NotAName(text.chars().take(80).collect()))
    }
}
