//! The one way in which an object gets into a store.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutPayload};
use serde::Serialize;

use super::{Place, Store, StoreError};

impl Store {
    pub(super) fn is_bucket(&self) -> bool {
        matches!(self.place.as_ref(), Place::Bucket(_))
    }

    /// False when the object is there already and the mode is to create it.
    pub(super) async fn put(
        &self,
        path: &Path,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<bool, StoreError> {
        let put = self
            .objects()?
            .put_opts(path, PutPayload::from(bytes), mode.into())
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(object_store::Error::NotFound { .. }) if self.is_bucket() => {
                Err(StoreError::Unreachable {
                    url: self.url.to_string(),
                    path: path.to_string(),
                    reason: "there is no such bucket".to_owned(),
                })
            }
            Err(error) => Err(self.failed(path, error)),
        }
    }
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("a record has text keys and fits in memory");
    bytes.push(b'\n');
    bytes
}
