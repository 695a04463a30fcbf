//! A store whose user dies: from one operation on, none does anything any more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug, Clone)]
pub(super) struct Mortal {
    inner: Arc<LocalFileSystem>,
    /// Operations that are left.
    left: Arc<AtomicI64>,
    /// Decides how often each operation lets others go first.
    turns: Arc<AtomicU64>,
}

impl Mortal {
    pub(super) fn new(inner: LocalFileSystem, dies: Option<u8>, seed: u8) -> Self {
        Self {
            inner: Arc::new(inner),
            left: Arc::new(AtomicI64::new(dies.map_or(i64::MAX, i64::from))),
            turns: Arc::new(AtomicU64::new(u64::from(seed))),
        }
    }

    async fn turn(&self) -> Result<()> {
        let turn = self
            .turns
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for _ in 0..(turn >> 61) {
            tokio::task::yield_now().await;
        }
        self.alive()
    }

    fn alive(&self) -> Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => Ok(()),
            _ => Err(object_store::Error::Generic {
                store: "mortal",
                source: "it was killed".into(),
            }),
        }
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, at: &Path, bytes: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.turn().await?;
        self.inner.put_opts(at, bytes, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.turn().await?;
        self.inner.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.turn().await?;
        self.inner.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        paths
            .then(move |path| {
                let this = this.clone();
                async move {
                    this.turn().await?;
                    let path = path?;
                    this.inner.delete(&path).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.turn().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.turn().await?;
        self.inner.copy_opts(from, to, how).await
    }
}
