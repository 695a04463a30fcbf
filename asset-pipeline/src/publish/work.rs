//! Blocking work beside the store's tasks, on as many threads as there are cores.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::PublishError;

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

/// Runs work on each of `pieces`; the results keep their order. The first error ends it.
pub(super) async fn each<T: Send + 'static, R: Send + 'static>(
    pieces: Vec<(String, T)>,
    run: impl Fn(T) -> Result<R, PublishError> + Send + Sync + 'static,
    mut done: impl FnMut(&str),
) -> Result<Vec<R>, PublishError> {
    let run = Arc::new(run);
    let tasks = pieces.into_iter().map(|(name, piece)| {
        let run = Arc::clone(&run);
        async move {
            let result = blocking(&name, move || run(piece)).await?;
            Ok::<_, PublishError>((name, result))
        }
    });
    let mut results = Vec::with_capacity(tasks.len());
    let mut running = stream::iter(tasks).buffered(cores() * 2);
    while let Some((name, result)) = running.try_next().await? {
        done(&name);
        results.push(result);
    }
    Ok(results)
}
