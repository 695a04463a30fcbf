use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::frame::{read, write};
use super::*;
use crate::control::edge::Follower;
use crate::control::embedded::Embedded;
use crate::control::event::{Event, Purge};
use crate::control::follow::Following;
use crate::control::socket::AdminSocket;
use crate::control::state::State;
use crate::control::store::{ControlStore, News};

/// Longer than a busy machine takes for any of the steps.
const PATIENT: Duration = Duration::from_secs(30);

/// A store and its socket, which can be taken away and given back.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Arc<Embedded>,
    serving: Option<JoinHandle<()>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(&folder.path().join("state.redb")).expect("it opens");
        let mut place = Self {
            path: folder.path().join("control.sock"),
            _folder: folder,
            store: Arc::new(store),
            serving: None,
        };
        place.open();
        place
    }

    fn open(&mut self) {
        let socket = AdminSocket::bind(&self.path).expect("it binds");
        self.serving = Some(tokio::spawn(serve(socket, self.store.clone())));
    }

    async fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // It ends as aborted, which is what was asked.
            let _aborted = serving.await;
        }
    }

    async fn purge(&self, tenant: &str) -> Sequence {
        let change = Change::Append(Event::Purge(all_of(tenant)));
        self.store.commit(change, note()).await.expect("it commits")
    }
}

#[derive(Default)]
struct Told {
    purges: Mutex<Vec<(u64, Purge)>>,
    cut_off: Mutex<Vec<bool>>,
}

impl Told {
    /// Which changes were told, each once.
    fn sequences(&self) -> Vec<u64> {
        let mut sequences: Vec<u64> = self.purges.lock().iter().map(|(at, _)| *at).collect();
        sequences.sort_unstable();
        sequences.dedup();
        sequences
    }
}

impl Follower for Told {
    fn adopt(&self, _: &Arc<State>, _: Sequence) {}

    fn purge(&self, purge: &Purge, sequence: Sequence) {
        self.purges.lock().push((sequence.0, purge.clone()));
    }

    fn soften(&self, _: &Purge, _: Sequence) {}

    fn cut_off(&self, cut_off: bool) {
        self.cut_off.lock().push(cut_off);
    }
}

fn all_of(tenant: &str) -> Purge {
    Purge::Tenant(tenant.parse().expect("a tenant"))
}

fn note() -> Note {
    Note {
        at: Timestamp::UNIX_EPOCH,
        who: "test".into(),
        what: "test".into(),
        from: String::new(),
        to: String::new(),
        why: None,
        receipt: None,
    }
}

fn put(expected: u64) -> Change {
    let app: AppId = "learn".parse().expect("an app");
    Change::Put {
        key: Key::app(&app),
        expected: Sequence(expected),
        value: br#"{"a":"\u00e9"}"#.to_vec(),
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENT, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_worker_reads_and_changes_what_its_supervisor_keeps() -> Result<(), StoreError> {
    let place = Place::new();
    let remote = Remote::connect(&place.path).await.expect("it connects");
    let mut tail = remote.tail();
    assert_eq!(remote.commit(put(0), note()).await?, Sequence(1));
    // Told before the answer: who has changed something can wait for it at once.
    assert!(matches!(tail.try_recv(), Ok(News::Committed(change)) if change.sequence.0 == 1));
    let conflict = remote.commit(put(0), note()).await;
    assert!(
        matches!(
            conflict,
            Err(StoreError::Conflict {
                found: Sequence(1),
                ..
            })
        ),
        "{conflict:?}"
    );
    place.purge("oak").await;
    let Change::Put { key, .. } = put(0) else {
        unreachable!("it puts");
    };
    assert_eq!(remote.record(&key).await?, place.store.record(&key).await?);
    assert_eq!(remote.snapshot().await?, place.store.snapshot().await?);
    assert_eq!(
        remote.events(Sequence(0), 9).await?,
        place.store.events(Sequence(0), 9).await?
    );
    let audit = remote.audit(9, None).await?;
    assert_eq!(audit, place.store.audit(9, None).await?);
    assert_eq!((audit.newest.len(), &audit.broken), (2, &None));
    let other = Some((Sequence(1), audit.newest[0].hash));
    assert!(remote.audit(9, other).await?.broken.is_some());

    // What one worker counts is heard by every one of them, for the one that judges.
    let mut heard = remote.reports();
    let second = Remote::connect(&place.path).await.expect("it connects");
    let mut counters = Counters::default();
    counters
        .apps
        .insert("learn".parse().expect("an app"), Default::default());
    second.report(counters.clone());
    let report = tokio::time::timeout(PATIENT, heard.recv()).await;
    assert_eq!(*report.expect("in time").expect("it is told"), counters);
    Ok(())
}

fn marks(mark: u64) -> Ended {
    Ended::Marks {
        tenant: "oak".to_owned(),
        marks: vec![mark],
    }
}

#[tokio::test]
async fn what_one_worker_ends_the_others_end_and_who_missed_some_ends_all() {
    let mut place = Place::new();
    let heard: [Arc<Mutex<Vec<Ended>>>; 2] = Default::default();
    let mut workers = Vec::new();
    for heard in &heard {
        let remote = Remote::connect(&place.path).await.expect("it connects");
        let heard = Arc::clone(heard);
        remote.hear_ended(Box::new(move |ended| heard.lock().push(ended.clone())));
        workers.push(remote);
    }
    let [one, other] = &workers[..] else {
        panic!("there are two");
    };
    one.end(marks(7));
    let last = |at: usize| heard[at].lock().last().cloned();
    until("the other one hears it", || last(1) == Some(marks(7))).await;
    other.end(marks(8));
    until("the first one hears it", || last(0) == Some(marks(8))).await;
    assert_eq!(
        heard[0].lock().len(),
        1,
        "nobody is told what it ended itself"
    );

    // Nobody can be told: all is ended, here because others may have ended something, and there because this one did.
    place.close().await;
    until("the loss is seen", || one.is_cut_off()).await;
    one.end(marks(9));
    place.open();
    until("all is ended", || {
        let everything = Some(Ended::Everything);
        last(0) == everything && last(1) == everything
    })
    .await;
    assert!(!heard[1].lock().contains(&marks(9)));
}

#[tokio::test]
async fn workers_know_who_is_with_the_others_and_remember_who_was_bound() {
    let place = Place::new();
    let app: AppId = "learn".parse().expect("an app");
    let one = Remote::connect(&place.path).await.expect("it connects");
    let other = Remote::connect(&place.path).await.expect("it connects");
    until("a worker that has said nothing is known", || {
        one.beside() == [Presence::default()]
    })
    .await;
    let mut presence = Presence {
        settled: Sequence(4),
        ..Presence::default()
    };
    let there = presence.apps.entry(app.clone()).or_default();
    there.blue.bound_s = Some(30);
    there.blue.parted = 2;
    other.present(presence.clone());
    until("it is told", || one.beside() == [presence.clone()]).await;
    drop(other);
    until("it is forgotten but for who was bound", || {
        let beside = one.beside();
        let [gone] = &beside[..] else { return false };
        let blue = &gone.apps[&app].blue;
        gone.settled > Sequence(4) && blue.parted == 0 && blue.bound_s >= Some(30)
    })
    .await;
    // Who begins now knows it from the beginning.
    let next = Remote::connect(&place.path).await.expect("it connects");
    until("the next one knows", || {
        let beside = next.beside();
        beside.iter().any(|gone| {
            gone.apps
                .get(&app)
                .is_some_and(|there| there.blue.bound_s >= Some(30))
        })
    })
    .await;
}

#[tokio::test]
async fn who_speaks_another_protocol_is_told_so() {
    let place = Place::new();
    let stream = UnixStream::connect(&place.path).await.expect("it connects");
    let (mut from, mut to) = stream.into_split();
    let hello = ToStore::Hello {
        protocol: PROTOCOL + 1,
    };
    write(&mut to, &hello).await.expect("it writes");
    let answer = read(&mut from).await.expect("it answers");
    assert!(matches!(answer, ToWorker::Refused { protocol: PROTOCOL }));
    assert!(matches!(
        read::<ToWorker>(&mut from).await,
        Err(FrameError::Gone(_))
    ));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let listener = UnixListener::bind(&path).expect("it binds");
    let newer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a worker comes");
        let (mut from, mut to) = stream.into_split();
        let hello: ToStore = read(&mut from).await.expect("it says hello");
        assert!(matches!(hello, ToStore::Hello { protocol: PROTOCOL }));
        write(&mut to, &ToWorker::Refused { protocol: 7 }).await
    });
    let refused = Remote::connect(&path).await.expect_err("it is refused");
    assert!(
        refused.to_string().contains("speaks protocol 7"),
        "{refused}"
    );
    newer.await.expect("no panic").expect("it wrote");
}

#[tokio::test]
async fn a_message_that_is_too_long_or_none_ends_its_connection_alone() {
    let place = Place::new();
    let other = Remote::connect(&place.path).await.expect("it connects");
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).expect("it fits");
    for bad in [
        too_long.to_be_bytes().to_vec(),
        [&3_u32.to_be_bytes()[..], b"[x]"].concat(),
        // A question before the hello.
        super::frame::framed(&ToStore::Ask {
            id: 1,
            ask: Ask::Snapshot,
        })
        .expect("it is short"),
    ] {
        let mut stream = UnixStream::connect(&place.path).await.expect("it connects");
        stream.write_all(&bad).await.expect("it writes");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENT, stream.read_to_end(&mut rest)).await;
        // Closed with what was not read: either end of the stream is an end.
        assert!(ended.is_ok(), "{bad:?}");
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert!(other.snapshot().await.is_ok());
    let huge = "x".repeat(FRAME_BYTES_MAX);
    assert!(matches!(
        super::frame::framed(&huge),
        Err(FrameError::TooLong { .. })
    ));
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_given_up() {
    let place = Place::new();
    let (worker, supervisor) = duplex(256);
    let (from, to) = tokio::io::split(supervisor);
    let store = place.store.clone();
    let serving = tokio::spawn(super::serve::connection(from, to, store, Arc::default()));
    let (_unread, mut to) = tokio::io::split(worker);
    let hello = ToStore::Hello { protocol: PROTOCOL };
    write(&mut to, &hello).await.expect("it writes");
    for _ in 0..8 {
        place.purge("oak").await;
    }
    let ended = tokio::time::timeout(PATIENT, serving).await;
    let ended = ended.expect("in time").expect("no panic");
    assert!(matches!(ended, Err(FrameError::Slow)), "{ended:?}");
}

#[tokio::test]
async fn a_supervisor_that_falls_silent_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let listener = UnixListener::bind(&path).expect("it binds");
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a worker comes");
            write(&mut stream, &ToWorker::Welcome)
                .await
                .expect("it writes");
            held.push(stream);
        }
    });
    let remote = Remote::connect(&path).await.expect("it connects");
    let mut tail = remote.tail();
    let heard = tokio::time::timeout(PATIENT, tail.recv()).await;
    assert!(matches!(heard, Ok(Ok(News::Unsure))), "{heard:?}");
    silent.abort();
}

#[tokio::test]
async fn a_worker_that_was_cut_off_serves_nothing_stored_until_it_has_read_what_it_missed() {
    let mut place = Place::new();
    let remote = Remote::connect(&place.path).await.expect("it connects");
    let remote: Arc<dyn ControlStore> = Arc::new(remote);
    let told = Arc::new(Told::default());
    let following = Following::start(remote.clone(), told.clone()).await;
    let following = following.expect("it reads");
    place.purge("oak").await;
    until("the first is told", || told.sequences() == [1]).await;

    // A moment: nobody is cut off, and nothing is missed.
    place.close().await;
    place.purge("elm").await;
    assert!(remote.snapshot().await.is_err(), "nobody answers");
    place.open();
    until("the second is told", || told.sequences() == [1, 2]).await;
    assert!(told.cut_off.lock().is_empty());

    place.close().await;
    let lost = std::time::Instant::now();
    place.purge("ash").await;
    place.purge("oak").await;
    until("it is cut off", || *told.cut_off.lock() == [true]).await;
    assert!(lost.elapsed() >= Duration::from_secs(2), "not at once");
    assert_eq!(told.sequences(), [1, 2]);
    place.open();
    until("it is together again", || {
        *told.cut_off.lock() == [true, false]
    })
    .await;
    let purges = [(1, "oak"), (2, "elm"), (3, "ash"), (4, "oak")];
    let purges = purges.map(|(sequence, tenant)| (sequence, all_of(tenant)));
    let mut heard = told.purges.lock().clone();
    // The same may be told twice: what was read before a connection broke is read again.
    heard.sort_by_key(|(sequence, _)| *sequence);
    heard.dedup();
    assert_eq!(heard, purges);
    assert_eq!(following.applied().borrow().sequence, Sequence(4));
}
