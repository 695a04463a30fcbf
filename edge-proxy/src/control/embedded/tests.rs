use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::event::{Event, Purge};
use super::tables::META;
use super::*;

fn note(what: &str) -> Note {
    Note {
        at: Timestamp::UNIX_EPOCH,
        who: "uid 0".into(),
        what: what.into(),
        from: "a".into(),
        to: "b".into(),
        why: None,
        receipt: None,
    }
}

fn key(name: &str) -> Key {
    Key::app(&name.parse().expect("an app"))
}

fn put(name: &str, expected: u64, value: &str) -> Change {
    Change::Put {
        key: key(name),
        expected: Sequence(expected),
        value: value.into(),
    }
}

fn purge(tenant: &str) -> Change {
    let tenant = tenant.parse().expect("a tenant");
    Change::Append(Event::Purge(Purge::Tenant(tenant)))
}

async fn commit(store: &Embedded, change: Change) -> Result<u64, StoreError> {
    let sequence = store.commit(change, note("test")).await?;
    Ok(sequence.0)
}

#[tokio::test]
async fn a_record_changes_only_from_the_revision_that_was_read() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(&folder.path().join("state/state.redb")).expect("it opens");
    assert_eq!(store.record(&key("learn")).await?, None);
    assert_eq!(commit(&store, put("learn", 0, "one")).await?, 1);
    let again = commit(&store, put("learn", 0, "other")).await;
    assert!(
        matches!(
            &again,
            Err(StoreError::Conflict {
                found: Sequence(1),
                ..
            })
        ),
        "{again:?}"
    );
    assert_eq!(commit(&store, put("learn", 1, "two")).await?, 2);
    assert!(commit(&store, put("learn", 1, "three")).await.is_err());
    assert!(commit(&store, put("absent", 7, "x")).await.is_err());
    let record = store.record(&key("learn")).await?.expect("it is there");
    assert_eq!(
        (record.revision, record.value.as_slice()),
        (Sequence(2), &b"two"[..])
    );
    // What was refused took no number and left no note.
    assert_eq!(commit(&store, purge("oak")).await?, 3);
    assert_eq!(store.audit(10, None).await?.newest.len(), 3);
    let huge = "x".repeat(RECORD_BYTES_MAX + 1);
    let refused = commit(&store, put("learn", 2, &huge)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    Ok(())
}

#[tokio::test]
async fn of_two_writers_with_one_revision_exactly_one_wins() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Embedded::open(&folder.path().join("state.redb")).expect("it opens"));
    let tries = (0..20).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { commit(&store, put("learn", 0, &number.to_string())).await })
    });
    let tries: Vec<_> = tries.collect();
    let mut won = 0;
    for attempt in tries {
        won += u32::from(attempt.await.expect("no panic").is_ok());
    }
    assert_eq!(won, 1);
    Ok(())
}

#[tokio::test]
async fn everything_survives_a_restart_and_the_sequence_goes_on() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let before = {
        let store = Embedded::open(&path).expect("it opens");
        commit(&store, put("learn", 0, "one")).await?;
        commit(&store, purge("oak")).await?;
        commit(&store, purge("elm")).await?;
        (
            store.snapshot().await?,
            store.events(Sequence(0), 9).await?,
            store.audit(9, None).await?,
        )
    };
    let store = Embedded::open(&path).expect("it opens again");
    let after = (
        store.snapshot().await?,
        store.events(Sequence(0), 9).await?,
        store.audit(9, None).await?,
    );
    assert_eq!(before, after);
    assert_eq!(after.0.sequence, Sequence(3));
    assert_eq!(
        after
            .1
            .iter()
            .map(|entry| entry.sequence.0)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(commit(&store, purge("oak")).await?, 4);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "only this account may read it");
    Ok(())
}

#[tokio::test]
async fn the_tail_tells_every_change_in_order() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(&folder.path().join("state.redb")).expect("it opens");
    let mut tail = store.tail();
    commit(&store, put("learn", 0, "one")).await?;
    assert!(commit(&store, put("learn", 0, "two")).await.is_err());
    commit(&store, purge("oak")).await?;
    for expected in 1..=2 {
        match tail.recv().await {
            Ok(News::Committed(change)) => assert_eq!(change.sequence, Sequence(expected)),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn old_events_are_dropped_and_whoever_needs_them_is_told() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let keep = Keep {
        events: 5,
        notes: 3,
    };
    let store = Embedded::open_with(&path, keep, Box::new(open_file)).expect("it opens");
    commit(&store, put("learn", 0, "one")).await?;
    for _ in 0..20 {
        commit(&store, purge("oak")).await?;
    }
    assert_eq!(store.audit(100, None).await?.newest.len(), 3);
    let gone = store.events(Sequence(3), 100).await;
    assert!(
        matches!(
            gone,
            Err(StoreError::Compacted {
                oldest: Sequence(17),
                ..
            })
        ),
        "{gone:?}"
    );
    let kept = store.events(Sequence(16), 100).await?;
    assert_eq!(
        kept.iter()
            .map(|entry| entry.sequence.0)
            .collect::<Vec<_>>(),
        [17, 18, 19, 20, 21]
    );
    assert_eq!(store.events(Sequence(21), 100).await?, []);
    let pages = store.events(Sequence(17), 2).await?;
    assert_eq!(
        pages
            .iter()
            .map(|entry| entry.sequence.0)
            .collect::<Vec<_>>(),
        [18, 19]
    );
    Ok(())
}

#[test]
fn a_file_that_is_not_a_state_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let junk = b"not a state file, but long enough to look like one".repeat(400);
    std::fs::write(&path, &junk).expect("it can be written");
    let error = Embedded::open(&path).expect_err("it is no state");
    assert!(
        matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("state.redb"), "{error}");
    assert_eq!(std::fs::read(&path).expect("it is there"), junk);
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    drop(Embedded::open(&path).expect("it opens"));
    let database = Database::create(&path).expect("it opens");
    let write = database.begin_write().expect("it writes");
    {
        let mut meta = write.open_table(META).expect("it is there");
        meta.insert("format", FORMAT + 1).expect("it writes");
    }
    write.commit().expect("it commits");
    drop(database);
    let error = Embedded::open(&path).expect_err("it is of a later version");
    assert!(
        matches!(error, OpenError::Newer { found, .. } if found == FORMAT + 1),
        "{error}"
    );
}

/// A disk that takes a number of writes and then none.
#[derive(Debug)]
struct Failing {
    file: FileBackend,
    writes_left: Arc<AtomicI64>,
}

impl Failing {
    fn write(&self) -> std::io::Result<()> {
        match self.writes_left.fetch_sub(1, Ordering::SeqCst) {
            1.. => Ok(()),
            _ => Err(std::io::ErrorKind::StorageFull.into()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.write()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.write()?;
        self.file.write(offset, data)
    }
}

fn failing(writes_left: Arc<AtomicI64>) -> Open {
    Box::new(move |path| {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(path).map_err(io)?;
        let file = FileBackend::new(file).map_err(|error| opening(path, error))?;
        let backend = Failing {
            file,
            writes_left: writes_left.clone(),
        };
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| opening(path, error))
    })
}

/// The disk fails at the first, second, third ... write of a command. Whatever the moment: what was
/// acknowledged is there, what was not is there whole or not at all, and the store goes on as soon
/// as the disk does, without a restart.
#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() -> Result<(), StoreError> {
    let mut failed = 0;
    for good_writes in 0..40 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let writes_left = Arc::new(AtomicI64::new(i64::MAX));
        let open = failing(writes_left.clone());
        let store = Embedded::open_with(&path, Keep::default(), open).expect("it opens");
        let mut tail = store.tail();
        commit(&store, put("learn", 0, "before")).await?;

        writes_left.store(good_writes, Ordering::SeqCst);
        let during = commit(&store, put("learn", 1, "after")).await;
        if let Err(error) = &during {
            failed += 1;
            assert!(error.to_string().contains("state.redb"), "{error}");
        }
        writes_left.store(i64::MAX, Ordering::SeqCst);

        let record = store
            .record(&key("learn"))
            .await?
            .expect("it was acknowledged");
        let expected: &[&[u8]] = if during.is_ok() {
            &[b"after"]
        } else {
            &[b"before", b"after"]
        };
        assert!(
            expected.contains(&record.value.as_slice()),
            "{good_writes}: {record:?}"
        );
        let notes = store.audit(10, None).await?.newest.len() as u64;
        assert_eq!(notes, record.revision.0, "a change and its note are one");
        let next = commit(&store, purge("oak")).await?;
        assert!(next > record.revision.0);
        if during.is_err() && record.value == b"after" {
            let told = [tail.recv().await, tail.recv().await];
            assert!(matches!(told[1], Ok(News::Unsure)), "{told:?}");
        }
        drop(store);
        let reopened = Embedded::open(&path).expect("it opens without the fault");
        assert_eq!(reopened.record(&key("learn")).await?, Some(record));
    }
    assert!(failed >= 3, "the fault was met only {failed} times");
    Ok(())
}

const CHILD: &str = "EDGE_TEST_STATE_FILE";

/// Not a test by itself: the process that [`a_process_killed_at_any_time`] kills.
#[test]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Embedded::open(Path::new(&path)).expect("it opens");
        let mut revision = store
            .record(&key("learn"))
            .await
            .expect("it reads")
            .map_or(0, |r| r.revision.0);
        for _ in 0..100_000 {
            revision = commit(&store, put("learn", revision, "value"))
                .await
                .expect("it commits");
            println!("\nacknowledged {revision}");
            let purged = commit(&store, purge("oak")).await.expect("it commits");
            println!("\nacknowledged {purged}");
        }
    });
}

#[tokio::test]
async fn a_process_killed_at_any_time_leaves_a_state_that_opens_with_all_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let mut acknowledged = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "--nocapture",
                "control::embedded::tests::writes_until_it_is_killed",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut lines = output.lines().map_while(Result::ok);
        let mut seen = 0;
        while seen < 3 + round * 7 {
            let line = lines.next().expect("the child goes on until it is killed");
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().expect("a number");
                seen += 1;
            }
        }
        let error = Embedded::open(&path).expect_err("the child has it");
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        child.kill().expect("it lives");
        // What it said before it died counts too.
        for line in lines {
            if let Some(number) = line
                .strip_prefix("acknowledged ")
                .and_then(|n| n.parse().ok())
            {
                acknowledged = number;
            }
        }
        child.wait().expect("it ended");

        let store = Embedded::open(&path).expect("it opens after a kill");
        let snapshot = store.snapshot().await.expect("it reads");
        assert!(
            snapshot.sequence.0 >= acknowledged,
            "{snapshot:?} lacks {acknowledged}"
        );
        let notes = store.audit(9, None).await.expect("it reads");
        assert_eq!(notes.broken, None, "the chain is whole after a kill");
        let notes = notes.records;
        assert_eq!(notes, snapshot.sequence.0, "a change and its note are one");
    }
}

#[tokio::test]
async fn a_store_that_is_busy_says_so_instead_of_queueing_without_end() {
    let (started, is_started) = std::sync::mpsc::channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let writes_left = Arc::new(AtomicI64::new(i64::MAX));
    let slow = {
        let open = failing(writes_left.clone());
        let opened = std::sync::atomic::AtomicBool::new(false);
        Box::new(move |path: &Path| {
            // The second opening, after the fault, takes as long as the test wants.
            if opened.swap(true, Ordering::SeqCst) {
                let _heard = started.send(());
                let _released = wait.recv();
            }
            open(path)
        })
    };
    let store = Arc::new(Embedded::open_with(&path, Keep::default(), slow).expect("it opens"));
    writes_left.store(0, Ordering::SeqCst);
    let fault = {
        let store = store.clone();
        tokio::spawn(async move { commit(&store, purge("oak")).await })
    };
    let started = tokio::task::spawn_blocking(move || is_started.recv());
    started.await.expect("no panic").expect("it opens again");
    writes_left.store(i64::MAX, Ordering::SeqCst);
    let waiting = |store: Arc<Embedded>| tokio::spawn(async move { store.snapshot().await });
    let mut queued = Vec::new();
    let mut busy = None;
    for _ in 0..QUEUE_MAX + 2 {
        queued.push(waiting(store.clone()));
        tokio::task::yield_now().await;
        if queued.last().is_some_and(|last| last.is_finished()) {
            busy = queued.pop();
            break;
        }
    }
    let busy = busy.expect("the queue has an end").await.expect("no panic");
    assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
    drop(release);
    assert!(fault.await.expect("no panic").is_err());
    for answer in queued {
        assert!(
            answer.await.expect("no panic").is_ok(),
            "what was queued is done"
        );
    }
}
