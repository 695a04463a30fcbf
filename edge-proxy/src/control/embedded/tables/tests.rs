//! The audit log against whoever can write to the file.

use jiff::Timestamp;
use redb::backends::InMemoryBackend;

use super::*;
use crate::control::event::Purge;

fn database() -> Database {
    let database = Database::builder().create_with_backend(InMemoryBackend::new());
    let database = database.expect("memory can be written");
    format_and_sequence(&database).expect("it is new");
    database
}

fn write(database: &Database, count: u64, keep: Keep) {
    for number in 0..count {
        let note = Note {
            at: Timestamp::UNIX_EPOCH,
            who: "uid 7".into(),
            what: format!("purge {number}"),
            from: String::new(),
            to: "everything".into(),
            why: None,
            receipt: None,
        };
        let change = Change::Append(Event::Purge(Purge::Everything));
        assert!(commit(database, &change, &note, keep).is_ok());
    }
}

fn looked_at(database: &Database, seen: Option<(Sequence, Digest)>) -> Audit {
    match audit(database, 3, seen) {
        Ok(audit) => audit,
        Err(_) => panic!("the log can be read"),
    }
}

fn broken(database: &Database) -> Option<u64> {
    let (sequence, _) = looked_at(database, None).broken?;
    Some(sequence.0)
}

/// Does to the tables what only somebody with the file can do.
fn tamper(
    database: &Database,
    change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>, &mut redb::Table<'_, u64, [u8; 32]>),
) {
    let write = database.begin_write().expect("it is open");
    {
        let mut notes = write.open_table(NOTES).expect("it is there");
        let mut chain = write.open_table(CHAIN).expect("it is there");
        change(&mut notes, &mut chain);
    }
    write.commit().expect("it commits");
}

#[test]
fn a_record_that_was_changed_or_left_out_is_named() {
    let database = database();
    write(&database, 9, Keep::default());
    assert_eq!(broken(&database), None);
    assert_eq!(looked_at(&database, None).records, 9);
    let mut kept = Vec::new();
    tamper(&database, |notes, _| {
        let note = notes.get(5).expect("it reads").expect("it is there");
        kept = note.value().to_vec();
        drop(note);
        let other = String::from_utf8_lossy(&kept).replace("uid 7", "uid 8");
        notes.insert(5, other.as_bytes()).expect("it writes");
    });
    assert_eq!(broken(&database), Some(5));
    tamper(&database, |notes, _| {
        notes.insert(5, kept.as_slice()).expect("it writes");
        notes.remove(9).expect("it writes");
    });
    assert_eq!(broken(&database), Some(9), "the last one is gone");
    tamper(&database, |notes, chain| {
        notes.remove(4).expect("it writes");
        chain.remove(4).expect("it writes");
    });
    assert_eq!(broken(&database), Some(5), "the one before is gone");
    tamper(&database, |notes, chain| {
        for sequence in 1..=4 {
            notes.remove(sequence).expect("it writes");
            chain.remove(sequence).expect("it writes");
        }
    });
    assert_eq!(broken(&database), Some(5), "the first ones are gone");
    tamper(&database, |notes, _| {
        notes.insert(6, &b"no note"[..]).expect("it writes");
    });
    let audit = looked_at(&database, None);
    assert!(audit.newest.iter().any(|noted| noted.note.is_none()));
}

#[test]
fn a_log_that_was_made_anew_is_not_the_one_that_was_seen() {
    let database = database();
    write(&database, 5, Keep::default());
    let last = looked_at(&database, None).newest[0].clone();
    let seen = Some((last.sequence, last.hash));
    write(&database, 5, Keep::default());
    assert_eq!(looked_at(&database, seen).broken, None);
    tamper(&database, |notes, chain| {
        let mut before = None;
        for sequence in 1..=10 {
            let hash = chained(before, Sequence(sequence), b"{}");
            notes.insert(sequence, &b"{}"[..]).expect("it writes");
            chain.insert(sequence, hash.as_bytes()).expect("it writes");
            before = Some(hash);
        }
    });
    assert_eq!(broken(&database), None, "it fits together");
    let found = looked_at(&database, seen).broken;
    assert_eq!(found.map(|(sequence, _)| sequence), Some(Sequence(5)));
    let never = looked_at(&database, Some((Sequence(77), last.hash)));
    assert_eq!(never.broken.map(|(sequence, _)| sequence.0), Some(77));
}

#[test]
fn what_is_dropped_for_its_age_breaks_nothing() {
    let database = database();
    let keep = Keep {
        notes: 4,
        ..Keep::default()
    };
    for count in [3, 4, 5] {
        write(&database, count, keep);
        assert_eq!(broken(&database), None);
    }
    assert_eq!(looked_at(&database, None).records, 4);
    tamper(&database, |notes, _| {
        notes.insert(9, &b"{}"[..]).expect("it writes");
    });
    assert_eq!(broken(&database), Some(9));
}

#[test]
fn a_file_of_before_the_chain_gets_one() {
    let database = database();
    write(&database, 4, Keep::default());
    let before = looked_at(&database, None);
    let write_all = database.begin_write().expect("it is open");
    write_all.delete_table(CHAIN).expect("it is there");
    write_all.commit().expect("it commits");
    format_and_sequence(&database).expect("it opens");
    assert_eq!(looked_at(&database, None), before);
    write(&database, 1, Keep::default());
    assert_eq!(broken(&database), None);
}
