use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, file).expect("a file");
    }
    folder
}

fn listed(folder: &Path) -> Result<Listing, PublishError> {
    scan(folder, &trees(folder))
}

fn trees(folder: &Path) -> Vec<Tree> {
    vec![Tree {
        folder: folder.to_owned(),
        url: "/".to_owned(),
    }]
}

fn reason(folder: &Path) -> String {
    listed(folder).expect_err("it is refused").to_string()
}

#[test]
fn files_are_listed_by_url_and_dotted_names_are_left_out() {
    let folder = folder(&[
        "b.css",
        "a/[id]/x.js",
        ".env",
        ".git/config",
        ".well-known/x",
    ]);
    let listing = listed(folder.path()).expect("a listing");
    let urls: Vec<&str> = listing.files.iter().map(|file| file.url.as_str()).collect();
    assert_eq!(urls, ["/.well-known/x", "/a/[id]/x.js", "/b.css"]);
    assert_eq!(listing.skipped.len(), 2);
    assert_eq!(listing.files[1].read().expect("its bytes"), b"a/[id]/x.js");
}

#[test]
fn a_link_within_the_folder_is_followed() {
    let folder = folder(&["shared/a.js"]);
    symlink("shared", folder.path().join("again")).expect("a link");
    let listing = listed(folder.path()).expect("a listing");
    let urls: Vec<&str> = listing.files.iter().map(|file| file.url.as_str()).collect();
    assert_eq!(urls, ["/again/a.js", "/shared/a.js"]);
}

#[test]
fn links_that_lead_out_or_in_circles_are_refused() {
    for (target, link, why) in [
        ("/etc/hostname", "name", "out of the folder"),
        ("/etc", "etc", "out of the folder"),
        ("nowhere", "dangling", "cannot be read"),
        ("..", "a/up", "a folder around it"),
    ] {
        let folder = folder(&["a/b"]);
        symlink(target, folder.path().join(link)).expect("a link");
        let reason = reason(folder.path());
        assert!(reason.contains(why) && reason.contains(link), "{reason}");
    }
    let folder = folder(&["a/x", "b/x"]);
    symlink("../b", folder.path().join("a/b")).expect("a link");
    symlink("../a", folder.path().join("b/a")).expect("a link");
    assert!(reason(folder.path()).contains("a folder around it"));
}

#[test]
fn names_that_no_request_can_have_are_refused() {
    for (name, why) in [
        (b"caf\xe9.png".as_slice(), "not UTF-8"),
        (b"a\nb.png", "control character"),
        (b"a\\b.png", "backslash"),
    ] {
        let folder = folder(&[]);
        fs::write(folder.path().join(OsStr::from_bytes(name)), "x").expect("a file");
        assert!(reason(folder.path()).contains(why));
    }
}

#[test]
fn a_socket_is_refused() {
    let folder = folder(&["a"]);
    let _socket =
        std::os::unix::net::UnixListener::bind(folder.path().join("s")).expect("a socket");
    assert!(reason(folder.path()).contains("neither a file nor a folder"));
}

#[test]
fn two_trees_may_not_hold_one_url() {
    let folder = folder(&["one/x/a.js", "two/a.js"]);
    let trees = [("one", "/"), ("two", "/x/")].map(|(name, url)| Tree {
        folder: folder.path().join(name),
        url: url.to_owned(),
    });
    let error = scan(folder.path(), &trees).expect_err("it is refused");
    assert!(matches!(error, PublishError::Clash { url, .. } if url == "/x/a.js"));
}

/// What is done to a folder after it was listed, and the file that the refusal names.
#[test]
fn every_change_is_seen_and_named() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &str); 5] = [
        (
            "grown",
            |at| fs::write(at.join("m"), "longer").expect("written"),
            "m",
        ),
        (
            "same size",
            |at| fs::write(at.join("m"), "x").expect("written"),
            "m",
        ),
        (
            "gone",
            |at| fs::remove_file(at.join("m")).expect("removed"),
            "m",
        ),
        (
            "new",
            |at| fs::write(at.join("a"), "x").expect("written"),
            "a",
        ),
        (
            "new at the end",
            |at| fs::write(at.join("z"), "x").expect("written"),
            "z",
        ),
    ];
    for (what, change, named) in changes {
        let folder = folder(&["b", "m", "q"]);
        let listing = listed(folder.path()).expect("a listing");
        let trees = trees(folder.path());
        assert!(listing.unchanged(folder.path(), &trees).is_ok());
        change(folder.path());
        let error = listing
            .unchanged(folder.path(), &trees)
            .expect_err("a change is seen");
        assert!(
            matches!(&error, PublishError::Changed { file } if file.ends_with(named)),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_file_that_was_replaced_is_not_read() {
    let folder = folder(&["m", "new"]);
    let listing = listed(folder.path()).expect("a listing");
    fs::rename(folder.path().join("new"), folder.path().join("m")).expect("replaced");
    for file in &listing.files {
        assert!(matches!(file.read(), Err(PublishError::Changed { .. })));
    }
}
