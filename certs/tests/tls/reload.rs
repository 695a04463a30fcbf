//! Certificates that change while they are in use.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, UNIX_EPOCH};

use certs::{CertStore, Fault, Report, Watch};

use crate::link::{Link, client, connect, server};
use crate::paper::{Authority, Folder, Life, Paper};

/// How often the tests look, and for how long they wait for what must come.
const LOOK: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(30);

fn watch(store: &Arc<CertStore>) -> (Watch, Receiver<Report>) {
    let (tell, told) = channel();
    let watch = store
        .watch(LOOK, move |report| {
            let _ = tell.send(report.clone());
        })
        .expect("the system gives a thread");
    (watch, told)
}

/// Reports until one is what the test waits for: a look may fall between the two files of a pair.
fn wait_for(told: &Receiver<Report>, wanted: impl Fn(&Report) -> bool) -> Report {
    loop {
        let report = told
            .recv_timeout(DEADLINE)
            .expect("the watch sees the change");
        if wanted(&report) {
            return report;
        }
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let authority = Authority::new();
    let folder = Folder::new();
    let (old, new) = (
        authority.issue(&["a.example"]),
        authority.issue(&["a.example", "b.example"]),
    );
    folder.put_pair("a", &old);
    let store = folder.open();
    let server = server(&store);
    let Ok(mut before) = connect(&client(&authority), &server, "a.example") else {
        panic!("the first is refused")
    };
    let mut under_way = Link::begin(&client(&authority), &server, "a.example");

    folder.put_pair("a", &new);
    let report = store.reload();
    assert_eq!(
        (report.replaced, report.problems),
        (vec!["a".to_owned()], vec![])
    );

    assert_eq!(before.say("still here"), "still here");
    assert_eq!(before.leaf(), &old.leaf);
    assert!(
        under_way.settle().is_ok(),
        "a handshake under way ends well"
    );
    for name in ["a.example", "b.example"] {
        let Ok(after) = connect(&client(&authority), &server, name) else {
            panic!("{name} is refused")
        };
        assert_eq!(after.leaf(), &new.leaf, "{name}");
    }
    assert_eq!(
        store.reload(),
        Report {
            live: 1,
            ..Report::default()
        },
        "nothing changed since"
    );
}

#[test]
fn pairs_come_and_go_one_by_one() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    folder.put_pair("b", &authority.issue(&["b.example", "*.b.example"]));
    assert_eq!(
        store.reload(),
        Report {
            added: vec!["b".to_owned()],
            live: 2,
            ..Report::default()
        }
    );
    assert!(store.covers(Some("b.example"), "x.b.example"));
    folder.remove("a.crt");
    folder.remove("a.key");
    assert_eq!(
        store.reload(),
        Report {
            removed: vec!["a".to_owned()],
            live: 1,
            ..Report::default()
        }
    );
    assert!(!store.covers(Some("a.example"), "a.example"));
}

#[test]
fn a_folder_that_goes_away_or_becomes_empty_changes_nothing() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let inner = folder.file("inner");
    fs::create_dir(&inner).expect("a folder is made");
    for file in ["a.crt", "a.key"] {
        fs::rename(folder.file(file), inner.join(file)).expect("a file is moved");
    }
    let store = CertStore::open(&inner).expect("a good pair");

    let faults = |report: &Report| {
        report
            .problems
            .iter()
            .map(|problem| problem.fault.clone())
            .collect::<Vec<_>>()
    };
    let away = folder.file("away");
    fs::rename(&inner, &away).expect("the folder is moved");
    assert_eq!(
        faults(&store.reload()),
        [Fault::Unreadable(std::io::ErrorKind::NotFound)]
    );
    fs::create_dir(&inner).expect("a folder is made");
    let emptied = store.reload();
    assert_eq!(faults(&emptied), [Fault::NothingLeft]);
    assert_eq!(emptied.problems, store.problems());
    assert!(store.covers(Some("a.example"), "a.example"));

    fs::remove_dir(&inner).expect("the folder is removed");
    fs::rename(&away, &inner).expect("the folder is back");
    assert_eq!(
        store.reload(),
        Report {
            live: 1,
            ..Report::default()
        }
    );
}

#[test]
fn a_certificate_that_ends_while_it_is_live_stays_until_another_comes() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair(
        "a",
        &authority.issue_for(
            &["a.example"],
            Life {
                from: 2029,
                to: 2030,
            },
        ),
    );
    let now = Arc::new(AtomicU64::new(1_893_456_000 - 60));
    let clock = Arc::clone(&now);
    let store = CertStore::open_with(
        folder.path(),
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst))),
    )
    .expect("a good pair");
    assert_eq!(store.list()[0].days_left, 0);
    now.fetch_add(120, Ordering::SeqCst);
    assert_eq!(
        store.reload(),
        Report {
            live: 1,
            ..Report::default()
        }
    );
    assert_eq!(store.list()[0].days_left, -1);
    folder.put_pair(
        "a",
        &authority.issue_for(
            &["a.example"],
            Life {
                from: 2029,
                to: 2031,
            },
        ),
    );
    assert_eq!(store.reload().replaced, ["a"]);
}

#[test]
fn the_watch_sees_files_that_are_written_and_stops_when_dropped() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    let (watch, told) = watch(&store);

    folder.put_pair("b", &authority.issue(&["b.example"]));
    wait_for(&told, |report| report.added == ["b"]);
    folder.put("b.crt", "damaged");
    let report = wait_for(&told, |report| {
        report
            .problems
            .iter()
            .any(|p| p.fault == Fault::NoCertificate)
    });
    assert_eq!(report.live, 2);

    drop(watch);
    // The thread is gone, and what it held with it.
    while told.try_recv().is_ok() {}
    assert_eq!(
        told.recv_timeout(DEADLINE),
        Err(RecvTimeoutError::Disconnected)
    );
    assert_eq!(Arc::strong_count(&store), 1);
}

#[test]
fn the_watch_sees_a_link_that_is_swapped() {
    let authority = Authority::new();
    let folder = Folder::new();
    // As Kubernetes mounts a secret: links through `..data`, which is swapped in one step.
    let version = |name: &str, paper: &Paper| {
        fs::create_dir(folder.file(name)).expect("a folder is made");
        fs::write(folder.file(name).join("a.crt"), paper.chain_pem()).expect("a file is written");
        fs::write(folder.file(name).join("a.key"), &paper.key_pem).expect("a file is written");
    };
    let (one, two) = (
        authority.issue(&["a.example"]),
        authority.issue(&["a.example"]),
    );
    version("..1", &one);
    version("..2", &two);
    symlink("..1", folder.file("..data")).expect("a link is made");
    for file in ["a.crt", "a.key"] {
        symlink(format!("..data/{file}"), folder.file(file)).expect("a link is made");
    }
    let store = folder.open();
    let (_watch, told) = watch(&store);

    symlink("..2", folder.file("..data_new")).expect("a link is made");
    fs::rename(folder.file("..data_new"), folder.file("..data")).expect("the link is swapped");
    wait_for(&told, |report| report.replaced == ["a"]);
    let Ok(link) = connect(&client(&authority), &server(&store), "a.example") else {
        panic!("the client is refused")
    };
    assert_eq!(link.leaf(), &two.leaf);
}

#[test]
fn the_watch_takes_a_young_certificate_when_its_time_has_come() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair(
        "a",
        &authority.issue_for(
            &["a.example"],
            Life {
                from: 2020,
                to: 2040,
            },
        ),
    );
    folder.put_pair(
        "young",
        &authority.issue_for(
            &["young.example"],
            Life {
                from: 2030,
                to: 2040,
            },
        ),
    );
    let now = Arc::new(AtomicU64::new(1_893_456_000 - 60));
    let clock = Arc::clone(&now);
    let store = CertStore::open_with(
        folder.path(),
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst))),
    )
    .expect("a good pair");
    assert!(matches!(store.problems()[0].fault, Fault::NotYetValid(_)));
    let (_watch, told) = watch(&store);
    now.fetch_add(120, Ordering::SeqCst);
    let report = wait_for(&told, |report| report.added == ["young"]);
    assert_eq!(report.problems, []);
}

#[test]
fn files_that_look_as_they_did_are_not_read_again() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    let (_watch, told) = watch(&store);
    // The same bytes in new files are no news, and other bytes are, also without a new size or time.
    let path = folder.path().join("a.crt");
    let bytes = fs::read(&path).expect("the chain is there");
    fs::write(&path, &bytes).expect("the folder can be written");
    assert_eq!(
        told.recv_timeout(Duration::from_millis(100)),
        Err(RecvTimeoutError::Timeout)
    );
    let mut other = bytes.clone();
    other[40] ^= 1;
    fs::write(&path, &other).expect("the folder can be written");
    assert!(wait_for(&told, |report| !report.problems.is_empty()).problems[0].kept);
    fs::write(&path, &bytes).expect("the folder can be written");
    wait_for(&told, |report| report.problems.is_empty());
}
