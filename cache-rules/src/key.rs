//! The key of a stored answer.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::host::HostName;
use crate::identity::Grant;

/// Under what an answer is kept. Equal only if every byte is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Arc<[u8]>);

impl CacheKey {
    pub(crate) fn build(_grant: &Grant, _host: &HostName, _target: &str, _release: &str) -> Self {
        Self(Arc::from(Vec::new()))
    }

    /// How much memory its text takes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl Borrow<[u8]> for CacheKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({} bytes)", self.0.len())
    }
}
