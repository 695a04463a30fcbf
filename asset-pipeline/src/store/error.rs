//! Why a store could not be read or written.

use std::error::Error;
use std::io;

use super::{Store, bucket};

/// Why a store could not be read or written. The text names the store, the object, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store that this version knows.
    #[error("`{url}` names no store: {reason}")]
    Url {
        /// The URL as it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is nothing, or something else, where the store should be.
    #[error("{url} holds no store: mount it, or publish a release to it first")]
    Absent {
        /// The store.
        url: String,
    },
    /// The store does not hold an object of this name.
    #[error("{url}: {path} is not there")]
    Missing {
        /// The store.
        url: String,
        /// The object's name in the store.
        path: String,
    },
    /// The object is not what its name or place says.
    #[error("{url}: {path} is damaged: {reason}")]
    Damaged {
        /// The store.
        url: String,
        /// The object's name in the store.
        path: String,
        /// What was seen.
        reason: String,
    },
    /// The disk is full, or a quota is used up.
    #[error("{url}: {path} could not be written: no space is left; free some and publish again")]
    Full {
        /// The store.
        url: String,
        /// The object's name in the store.
        path: String,
    },
    /// The store failed in another way.
    #[error("{url}: {path} could not be reached: {reason}")]
    Unreachable {
        /// The store.
        url: String,
        /// The object's name in the store.
        path: String,
        /// What the store said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the store holds no object of this name, or no store is there at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Absent { .. })
    }

    /// Whether the object is there but not what it should be.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl Store {
    pub(super) fn failed(&self, path: impl ToString, error: object_store::Error) -> StoreError {
        let (url, path) = (self.url.to_string(), path.to_string());
        if let object_store::Error::NotFound { .. } = error {
            return StoreError::Missing { url, path };
        }
        if let object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } = error
            && self.is_bucket()
        {
            let reason = "the service refuses who asks: check the credentials and what they may do"
                .to_owned();
            return StoreError::Unreachable { url, path, reason };
        }
        match io_cause(&error).map(io::Error::kind) {
            Some(
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge,
            ) => StoreError::Full { url, path },
            _ => StoreError::Unreachable {
                url,
                path,
                reason: bucket::plain(&root_cause(&error).to_string()),
            },
        }
    }

    /// A folder that is not there is a store that is not there.
    pub(super) fn not_opened(&self, error: object_store::Error) -> StoreError {
        match io_cause(&error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) => StoreError::Absent {
                url: self.url.to_string(),
            },
            _ => self.failed("its folder", error),
        }
    }

    pub(super) fn damaged(&self, path: impl ToString, reason: impl ToString) -> StoreError {
        StoreError::Damaged {
            url: self.url.to_string(),
            path: path.to_string(),
            reason: reason.to_string(),
        }
    }
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
}

fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |&error| error.source())
        .last()
        .unwrap_or(error)
}
