//! The supervisor's side: its store, for as many workers as there can be.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::frame::{FrameError, read, write};
use super::{Answer, Ask, BEAT, PATIENCE, PROTOCOL, ToStore, ToWorker};
use crate::control::counters::Counters;
use crate::control::embedded::Embedded;
use crate::control::socket::AdminSocket;
use crate::control::store::{ControlStore, News, StoreError};

/// One worker that accepts, and those that still answer what they accepted.
const WORKERS_MAX: usize = 16;

/// Answers that wait to be written: who does not read them is asked nothing more.
const ANSWERS_MAX: usize = 32;

/// After `accept` failed, mostly for want of file descriptors.
const ACCEPT_AGAIN: std::time::Duration = std::time::Duration::from_millis(200);

/// Serves `store` to workers, until this is dropped.
pub async fn serve(mut socket: AdminSocket, store: Arc<Embedded>) {
    if let Some(listener) = socket.listener() {
        accept(listener, store).await;
    }
}

async fn accept(listener: UnixListener, store: Arc<Embedded>) {
    let places = Arc::new(Semaphore::new(WORKERS_MAX));
    // Connections end with the one who accepts them.
    let mut serving = tokio::task::JoinSet::new();
    loop {
        while serving.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream: UnixStream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a worker could not be heard");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let store = Arc::clone(&store);
        serving.spawn(async move {
            let (from, to) = stream.into_split();
            if let Err(error) = connection(from, to, store).await {
                match error {
                    FrameError::Gone(_) => tracing::debug!(%error, "a worker's connection ended"),
                    error => tracing::warn!(%error, "a worker's connection was ended"),
                }
            }
            drop(place);
        });
    }
}

/// One worker, until it goes or does what it must not.
pub(super) async fn connection(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    store: Arc<Embedded>,
) -> Result<(), FrameError> {
    let hello = timeout(PATIENCE, read(&mut from)).await;
    match hello.map_err(|_| FrameError::Slow)?? {
        ToStore::Hello { protocol: PROTOCOL } => {}
        ToStore::Hello { protocol } => {
            tracing::warn!(
                protocol,
                ours = PROTOCOL,
                "a worker speaks another protocol: restart the service to change to that version"
            );
            return write(&mut to, &ToWorker::Refused { protocol: PROTOCOL }).await;
        }
        ToStore::Ask { .. } | ToStore::Report(_) => return Err(FrameError::OutOfTurn),
    }
    // Before the welcome: nothing that happens after it is missed.
    let news = (store.tail(), store.reports());
    write(&mut to, &ToWorker::Welcome).await?;
    let (answered, answers) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        ended = listen(from, store, answered) => ended,
        ended = speak(to, news, answers) => ended,
    }
}

/// Takes one question after the other.
async fn listen(
    mut from: impl AsyncRead + Unpin,
    store: Arc<Embedded>,
    answered: mpsc::Sender<ToWorker>,
) -> Result<(), FrameError> {
    loop {
        let (id, ask) = match read(&mut from).await? {
            ToStore::Ask { id, ask } => (id, ask),
            ToStore::Report(counters) => {
                store.report(counters);
                continue;
            }
            ToStore::Hello { .. } => return Err(FrameError::OutOfTurn),
        };
        let answer = answer(&*store, ask).await;
        if answered
            .send(ToWorker::Answer { id, answer })
            .await
            .is_err()
        {
            return Ok(());
        }
    }
}

async fn speak(
    mut to: impl AsyncWrite + Unpin,
    (mut tail, mut reports): (
        broadcast::Receiver<News>,
        broadcast::Receiver<Arc<Counters>>,
    ),
    mut answers: mpsc::Receiver<ToWorker>,
) -> Result<(), FrameError> {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            // A change is told before the answer to who made it.
            biased;
            news = tail.recv() => match news {
                Ok(News::Committed(change)) => ToWorker::Changed((*change).clone()),
                Ok(News::Unsure) | Err(RecvError::Lagged(_)) => ToWorker::Unsure,
                Err(RecvError::Closed) => return Ok(()),
            },
            answer = answers.recv() => match answer {
                Some(answer) => answer,
                None => return Ok(()),
            },
            report = reports.recv() => match report {
                Ok(counters) => ToWorker::Reported((*counters).clone()),
                // What was lost is a second's counts, of which there are more.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = beat.tick() => ToWorker::Beat,
        };
        write(&mut to, &message).await?;
    }
}

async fn answer(store: &dyn ControlStore, ask: Ask) -> Result<Answer, StoreError> {
    Ok(match ask {
        Ask::Record(key) => Answer::Record(store.record(&key).await?),
        Ask::Commit(change, note) => Answer::Committed(store.commit(change, note).await?),
        Ask::Events { after, count_max } => Answer::Events(store.events(after, count_max).await?),
        Ask::Audit { count_max, seen } => Answer::Audit(store.audit(count_max, seen).await?),
        Ask::Snapshot => Answer::Snapshot(store.snapshot().await?),
    })
}
