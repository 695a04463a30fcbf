//! Waiting for what must happen: never for a time, always for a condition, and never for ever.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    match until_or(probe).await {
        Some(found) => found,
        None => panic!("waited {PATIENCE:?} in vain until {what}"),
    }
}

/// As [`until`]; none: it was in vain.
pub(crate) async fn until_or<T>(probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    within(PATIENCE, probe).await
}

/// As [`until_or`], for what takes seconds of the processor itself.
pub(crate) async fn within<T>(
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let found = probe().await;
        if found.is_some() {
            return found;
        }
        tokio::time::sleep(POLL).await;
    }
    None
}

/// The outcome of something that must end.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {PATIENCE:?} in vain until {what}"),
    }
}
