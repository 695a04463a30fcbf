//! Bad files: each is named, says nothing of a key, and takes nothing away.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::{CertError, CertStore, Fault};

use crate::link::{client, connect, server};
use crate::paper::{Authority, Folder, Life, Paper};

/// How a pair is spoilt, the file to blame, and why.
type Spoil = (
    &'static str,
    fn(&Folder, &Authority, &Paper),
    &'static str,
    fn(&Fault) -> bool,
);

const HOST: &str = "school.example";

fn write(folder: &Folder, chain: &str, key: &str) {
    folder.put("school.crt", chain);
    folder.put("school.key", key);
}

/// The first `tenths` tenths of a text.
fn cut(text: &str, tenths: usize) -> &str {
    &text[..text.len() * tenths / 10]
}

const SPOILS: &[Spoil] = &[
    (
        "the key of another certificate",
        |folder, authority, paper| {
            write(
                folder,
                &paper.chain_pem(),
                &authority.issue(&[HOST]).key_pem,
            )
        },
        "school.key",
        |fault| *fault == Fault::KeyMismatch,
    ),
    (
        "no key",
        |folder, _, paper| {
            folder.put("school.crt", paper.chain_pem());
            let _ = fs::remove_file(folder.file("school.key"));
        },
        "school.key",
        |fault| *fault == Fault::MissingKey,
    ),
    (
        "a key and no certificate",
        |folder, _, paper| {
            folder.put("school.key", &paper.key_pem);
            let _ = fs::remove_file(folder.file("school.crt"));
        },
        "school.key",
        |fault| *fault == Fault::KeyWithoutCertificate,
    ),
    (
        "a chain cut off",
        |folder, _, paper| write(folder, cut(&paper.chain_pem(), 8), &paper.key_pem),
        "school.crt",
        |fault| *fault == Fault::DamagedPem,
    ),
    (
        "a key cut off",
        |folder, _, paper| write(folder, &paper.chain_pem(), cut(&paper.key_pem, 6)),
        "school.key",
        |fault| *fault == Fault::DamagedPem,
    ),
    (
        "a key with a line gone",
        |folder, _, paper| {
            let lines: Vec<&str> = paper
                .key_pem
                .lines()
                .enumerate()
                .filter(|(n, _)| *n != 1)
                .map(|(_, l)| l)
                .collect();
            write(folder, &paper.chain_pem(), &lines.join("\n"));
        },
        "school.key",
        |fault| matches!(fault, Fault::UnusableKey | Fault::DamagedPem),
    ),
    (
        "a key whose first line swallowed the second",
        |folder, _, paper| {
            write(
                folder,
                &paper.chain_pem(),
                &paper.key_pem.replacen("-----\n", "", 1),
            )
        },
        "school.key",
        |fault| *fault == Fault::DamagedPem,
    ),
    (
        "an empty key",
        |folder, _, paper| write(folder, &paper.chain_pem(), ""),
        "school.key",
        |fault| *fault == Fault::NoKey,
    ),
    (
        "an encrypted key",
        |folder, _, paper| {
            write(
                folder,
                &paper.chain_pem(),
                &paper.key_pem.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            )
        },
        "school.key",
        |fault| *fault == Fault::NoKey,
    ),
    (
        "two keys",
        |folder, authority, paper| {
            write(
                folder,
                &paper.chain_pem(),
                &format!("{}{}", paper.key_pem, authority.issue(&[HOST]).key_pem),
            );
        },
        "school.key",
        |fault| *fault == Fault::TwoKeys,
    ),
    (
        "a key in both files",
        |folder, _, paper| {
            write(
                folder,
                &format!("{}{}", paper.chain_pem(), paper.key_pem),
                &paper.key_pem,
            )
        },
        "school.key",
        |fault| *fault == Fault::TwoKeys,
    ),
    (
        "two chains",
        |folder, _, paper| {
            write(folder, &paper.chain_pem(), &paper.key_pem);
            folder.put("school.pem", paper.chain_pem());
        },
        "school.pem",
        |fault| *fault == Fault::TwoChains,
    ),
    (
        "no certificate in the file",
        |folder, _, paper| write(folder, "-- to be done --\n", &paper.key_pem),
        "school.crt",
        |fault| *fault == Fault::NoCertificate,
    ),
    (
        "a certificate that is not one",
        |folder, _, paper| {
            let chain = format!(
                "{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                paper.leaf_pem
            );
            write(folder, &chain, &paper.key_pem);
        },
        "school.crt",
        |fault| *fault == Fault::NotX509(2),
    ),
    (
        "a chain of another authority",
        |folder, _, paper| {
            let stray = rcgen::generate_simple_self_signed(["stray.example".to_owned()])
                .expect("a certificate is made");
            write(
                folder,
                &format!("{}{}", paper.leaf_pem, stray.cert.pem()),
                &paper.key_pem,
            );
        },
        "school.crt",
        |fault| *fault == Fault::ChainOrder(2),
    ),
    (
        "no names",
        |folder, authority, _| {
            let bare = authority.issue(&[]);
            write(folder, &bare.chain_pem(), &bare.key_pem);
        },
        "school.crt",
        |fault| *fault == Fault::NoNames,
    ),
    (
        "a name that nobody can ask for",
        |folder, authority, _| {
            let odd = authority.issue(&[HOST, "w*.school.example"]);
            write(folder, &odd.chain_pem(), &odd.key_pem);
        },
        "school.crt",
        |fault| *fault == Fault::BadName("w*.school.example".to_owned()),
    ),
    (
        "expired",
        |folder, authority, _| {
            let old = authority.issue_for(
                &[HOST],
                Life {
                    from: 2019,
                    to: 2020,
                },
            );
            write(folder, &old.chain_pem(), &old.key_pem);
        },
        "school.crt",
        |fault| matches!(fault, Fault::Expired(_)),
    ),
    (
        "of the future",
        |folder, authority, _| {
            let young = authority.issue_for(
                &[HOST],
                Life {
                    from: 2110,
                    to: 2120,
                },
            );
            write(folder, &young.chain_pem(), &young.key_pem);
        },
        "school.crt",
        |fault| matches!(fault, Fault::NotYetValid(_)),
    ),
    (
        "too large",
        |folder, _, paper| write(folder, &"#".repeat(256 * 1024 + 1), &paper.key_pem),
        "school.crt",
        |fault| *fault == Fault::TooLarge(256 * 1024),
    ),
    (
        "a folder in place of the key",
        |folder, _, paper| {
            folder.put("school.crt", paper.chain_pem());
            let _ = fs::remove_file(folder.file("school.key"));
            fs::create_dir(folder.file("school.key")).expect("a folder is made");
        },
        "school.key",
        |fault| *fault == Fault::NotAFile,
    ),
    (
        "a link to nowhere",
        |folder, _, paper| {
            folder.put("school.crt", paper.chain_pem());
            let _ = fs::remove_file(folder.file("school.key"));
            std::os::unix::fs::symlink("/nowhere/school.key", folder.file("school.key"))
                .expect("a link is made");
        },
        "school.key",
        |fault| *fault == Fault::Unreadable(std::io::ErrorKind::NotFound),
    ),
];

/// No line of the key's base64 is in `text`.
fn assert_no_key(text: &str, paper: &Paper) {
    for line in paper.key_pem.lines().filter(|line| !line.starts_with('-')) {
        for piece in line.as_bytes().chunks(8) {
            let piece = std::str::from_utf8(piece).expect("base64 is text");
            assert!(
                piece.len() < 8 || !text.contains(piece),
                "a piece of the key is in: {text}"
            );
        }
    }
}

#[test]
fn a_bad_pair_is_named_and_what_was_live_stays_live() {
    let authority = Authority::new();
    for (what, spoil, blamed, reason) in SPOILS {
        let folder = Folder::new();
        let good = authority.issue(&[HOST]);
        folder.put_pair("school", &good);
        folder.put_pair("other", &authority.issue(&["other.example"]));
        let store = folder.open();
        let server = server(&store);

        let next = authority.issue(&[HOST]);
        spoil(&folder, &authority, &next);
        let report = store.reload();
        let [problem] = report.problems.as_slice() else {
            panic!("{what}: {:?}", report.problems)
        };
        assert_eq!(problem.file, folder.file(blamed), "{what}: {problem}");
        assert!(
            reason(&problem.fault) && problem.kept,
            "{what}: {problem:?}"
        );
        assert_eq!(
            (
                report.live,
                report.added.len() + report.replaced.len() + report.removed.len()
            ),
            (2, 0),
            "{what}"
        );
        assert_eq!(store.problems(), report.problems, "{what}");
        assert_no_key(
            &format!("{report:?} {problem} {store:?} {:?}", store.list()),
            &next,
        );
        match connect(&client(&authority), &server, HOST) {
            Ok(link) => assert_eq!(link.leaf(), &good.leaf, "{what}"),
            Err(refused) => panic!("{what}: {}", refused.client),
        }
    }
}

#[test]
fn a_bad_pair_at_the_start_is_named_and_the_others_are_served() {
    let authority = Authority::new();
    for (what, spoil, blamed, reason) in SPOILS {
        let folder = Folder::new();
        let paper = authority.issue(&[HOST]);
        spoil(&folder, &authority, &paper);

        let refused = CertStore::open(folder.path()).expect_err("there is no good pair");
        assert!(refused.to_string().contains(blamed), "{what}: {refused}");
        assert_no_key(&format!("{refused} {refused:?}"), &paper);

        folder.put_pair("other", &authority.issue(&["other.example"]));
        let store = folder.open();
        let problems = store.problems();
        let [problem] = problems.as_slice() else {
            panic!("{what}: {problems:?}")
        };
        assert!(
            reason(&problem.fault) && !problem.kept,
            "{what}: {problem:?}"
        );
        assert!(
            store.covers(Some("other.example"), "other.example"),
            "{what}"
        );
        assert!(!store.covers(Some(HOST), HOST), "{what}");
    }
}

#[test]
fn a_pair_is_two_files_or_one_that_holds_both_and_other_files_are_left_alone() {
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.issue(&["one.example"]);
    folder.put("one.pem", format!("{}{}", one.key_pem, one.chain_pem()));
    let two = authority.issue(&["two.example"]);
    folder.put("two.pem", two.chain_pem());
    folder.put("two.key", &two.key_pem);
    folder.put_pair("dotted.name.example", &authority.issue(&["dotted.example"]));
    folder.put("README", "not ours");
    folder.put("..2026_data.crt", "not ours");
    fs::create_dir(folder.file("old")).expect("a folder is made");
    let store = folder.open();
    assert_eq!(store.problems(), []);
    let names: Vec<String> = store.list().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["dotted.name.example", "one", "two"]);
}

#[test]
fn the_list_says_file_names_kind_and_days_left() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair(
        "a",
        &authority.issue_for(
            &["*.B.example", "a.example"],
            Life {
                from: 2029,
                to: 2030,
            },
        ),
    );
    folder.put_pair("r", &authority.issue_rsa(&["r.example"]));
    let new_year_2030 = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let at = |time: SystemTime| {
        CertStore::open_with(folder.path(), std::sync::Arc::new(move || time))
            .expect("a good pair")
            .list()
    };
    let [a, r] = at(new_year_2030 - Duration::from_secs(36 * 60 * 60))
        .try_into()
        .expect("two pairs");
    assert_eq!(
        (a.name.as_str(), a.file, a.key, a.days_left),
        ("a", folder.file("a.crt"), "ECDSA", 1)
    );
    assert_eq!(a.names, ["a.example", "*.b.example"]);
    assert_eq!(a.not_after, new_year_2030);
    assert_eq!((r.key, r.names), ("RSA", vec!["r.example".to_owned()]));
}

#[test]
fn a_folder_that_is_not_there_or_empty_is_said() {
    let missing =
        CertStore::open(Path::new("/nowhere/certificates")).expect_err("there is no such folder");
    assert!(matches!(missing, CertError::Folder(_)));
    assert_eq!(
        missing.to_string(),
        "certificates: /nowhere/certificates: cannot be read: entity not found; check owner and mode"
    );
    let folder = Folder::new();
    let empty = CertStore::open(folder.path()).expect_err("the folder is empty");
    assert!(matches!(empty, CertError::NothingUsable { .. }));
}
