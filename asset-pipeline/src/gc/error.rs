//! Why nothing was collected.

use crate::id::{AppId, EdgeId, ReleaseId};
use crate::store::StoreError;

/// Why a collection stopped. What it had not deleted by then, it has left alone.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store fails, or something in it that says what is needed cannot be read.
    #[error(
        "{0}; nothing is collected where something cannot be read: mend it, or remove it by hand"
    )]
    Store(#[from] StoreError),
    /// No edge ever said what it serves.
    #[error(
        "no edge has ever reported that it serves {}: check the edges' [store] url and that they may write to it, or say --no-edge",
        .0.iter().map(AppId::as_str).collect::<Vec<_>>().join(", ")
    )]
    NoEdge(Vec<AppId>),
    /// An edge serves what the store does not hold.
    #[error(
        "edge {edge} uses {app} {release}, which the store does not hold: publish it again, or deploy another release"
    )]
    Gone {
        /// What the release is of.
        app: AppId,
        /// The release.
        release: ReleaseId,
        /// Who uses it.
        edge: EdgeId,
    },
    /// Another collection is under way.
    #[error("another collection is under way: {0}; one that was killed counts for ten minutes")]
    Busy(String),
    /// It could not say that it still runs.
    #[error("the collection lost its lease on the store and stopped: run it again")]
    Expired,
}

impl GcError {
    /// Whether a rule refused (exit code 3), and not a fault stopped it (exit code 1).
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NoEdge(_) | Self::Gone { .. } | Self::Busy(_) => true,
            Self::Store(_) | Self::Expired => false,
        }
    }
}
