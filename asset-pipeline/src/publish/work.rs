//! Blocking work beside the store's tasks, on as many threads as there are cores.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::PublishError;

/// Of files that are held in memory at the same time, with what is made of them. A larger one waits
/// until nothing else is held.
const MEMORY_KIB: u32 = 384 << 10;
static MEMORY: Semaphore = Semaphore::const_new(MEMORY_KIB as usize);

/// Waits until there is memory for so many bytes. Whoever holds some must not ask for more.
pub(super) async fn room(bytes: u64) -> Option<SemaphorePermit<'static>> {
    let kib = u32::try_from(bytes >> 10).unwrap_or(MEMORY_KIB);
    // It is never closed.
    MEMORY.acquire_many(kib.clamp(1, MEMORY_KIB)).await.ok()
}

/// How much is done at the same time.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs one piece of work that reads files or computes. A panic in it is an error of `what`.
pub(super) async fn blocking<R: Send + 'static>(
    what: &str,
    run: impl FnOnce() -> Result<R, PublishError> + Send + 'static,
) -> Result<R, PublishError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => Err(PublishError::Defect {
            what: what.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// One of many things to do.
#[derive(Debug)]
pub(super) struct Piece<T> {
    /// For people.
    pub(super) name: String,
    /// Of the file that it reads.
    pub(super) bytes: u64,
    pub(super) of: T,
}

/// Runs work on each of `pieces`; the results keep their order. The first error ends it.
pub(super) async fn each<T: Send + 'static, R: Send + 'static>(
    pieces: Vec<Piece<T>>,
    run: impl Fn(T) -> Result<R, PublishError> + Send + Sync + 'static,
    mut done: impl FnMut(&str, u64),
) -> Result<Vec<R>, PublishError> {
    let run = Arc::new(run);
    let tasks = pieces.into_iter().map(|Piece { name, bytes, of }| {
        let run = Arc::clone(&run);
        async move {
            let _room = room(bytes).await;
            let result = blocking(&name, move || run(of)).await?;
            Ok::<_, PublishError>((name, bytes, result))
        }
    });
    let mut results = Vec::with_capacity(tasks.len());
    let mut running = stream::iter(tasks).buffered(cores() * 2);
    while let Some((name, bytes, result)) = running.try_next().await? {
        done(&name, bytes);
        results.push(result);
    }
    Ok(results)
}
