//! The commands as they are typed, without a running edge.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EDGE: &str = r#"
state = "state"
[listeners]
public = ["127.0.0.1:8443"]
[tls]
certificates = "certs"
[store]
url = "file:///srv/assets"
[apps.learn.services.web]
paths = ["/"]
[apps.learn.first.blue]
release = "r1"
schema = "1"
members = { web = ["127.0.0.1:3000"] }
"#;

const TENANTS: &str = "[tenants.oak]\nhosts = [\"oak.school.test\"]\n";

/// A config with a certificate for its only host.
fn written() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["oak.school.test".to_owned()])?;
    fs::create_dir(folder.path().join("certs"))?;
    for (name, text) in [
        ("edge.toml", EDGE),
        ("tenants.toml", TENANTS),
        ("rules.toml", ""),
        ("certs/oak.crt", &made.cert.pem()),
        ("certs/oak.key", &made.signing_key.serialize_pem()),
    ] {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

fn edge_proxy(folder: &Path, words: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .current_dir(folder)
        .args(words)
        .output()
}

/// Exit code, standard output and standard error.
fn seen(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_good_config_is_counted_and_exits_with_0() -> Outcome {
    let folder = written()?;
    let output = edge_proxy(folder.path(), &["check", "--config", "edge.toml"])?;
    let good = "good: 1 apps, 1 tenants with 1 hosts, 0 rules";
    assert_eq!(seen(&output), (Some(0), good.to_owned(), String::new()));

    let output = edge_proxy(folder.path(), &["check", "--config", "edge.toml", "--json"])?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        (&answer["good"], &answer["hosts"]),
        (&true.into(), &1.into())
    );
    Ok(())
}

#[test]
fn mistakes_are_printed_as_places_and_exit_with_1() -> Outcome {
    let folder = written()?;
    fs::write(
        folder.path().join("edge.toml"),
        EDGE.replace("public", "publik"),
    )?;
    fs::remove_file(folder.path().join("rules.toml"))?;
    let output = edge_proxy(folder.path(), &["check", "--config", "edge.toml"])?;
    let said = "edge.toml:4: listeners.publik: unknown key, did you mean `public`?\n\
        rules.toml: cannot be read: No such file or directory (os error 2)\n\
        the config cannot be used";
    assert_eq!(seen(&output), (Some(1), String::new(), said.to_owned()));

    let output = edge_proxy(folder.path(), &["check", "--config", "edge.toml", "--json"])?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(answer["good"], false);
    assert_eq!(answer["mistakes"][0]["line"], 4);
    assert_eq!(answer["mistakes"][0]["key"], "listeners.publik");
    Ok(())
}

#[test]
fn a_certificate_without_its_key_and_a_host_without_a_certificate_are_found() -> Outcome {
    let folder = written()?;
    fs::write(
        folder.path().join("tenants.toml"),
        TENANTS.to_owned() + "[tenants.elm]\nhosts = [\"elm.school.test\"]\n",
    )?;
    fs::copy(
        folder.path().join("certs/oak.crt"),
        folder.path().join("certs/elm.crt"),
    )?;
    let (code, _, said) = seen(&edge_proxy(
        folder.path(),
        &["check", "--config", "edge.toml"],
    )?);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("elm.key: is missing"), "{said}");
    assert!(
        said.contains("no certificate covers the host `elm.school.test`"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_command_finds_the_socket_and_says_that_no_edge_is_there() -> Outcome {
    let folder = written()?;
    let socket = folder.path().join("state/admin.sock");
    let said = format!("no edge answers at {}", socket.display());
    // A mistake elsewhere in the config does not keep an operator from a running edge.
    fs::write(
        folder.path().join("edge.toml"),
        EDGE.replace("public", "publik"),
    )?;
    for words in [
        &["status"][..],
        &["shift", "learn", "green=10%"],
        &["purge", "--tenant", "oak", "--all"],
        &["explain", "https://oak.school.test/"],
    ] {
        let words = [words, &["--config", "edge.toml"]].concat();
        let (code, out, err) = seen(&edge_proxy(folder.path(), &words)?);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}");
        assert!(err.contains(&said), "{words:?}: {err}");
    }
    let output = edge_proxy(
        folder.path(),
        &["status", "--json", "--admin", "other.sock"],
    )?;
    let problem: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("other.sock")),
        "{problem}"
    );

    let (code, _, err) = seen(&edge_proxy(
        folder.path(),
        &["status", "--config", "none.toml"],
    )?);
    let said = "none.toml: cannot be read: No such file or directory (os error 2)";
    assert_eq!((code, err.as_str()), (Some(1), said));
    Ok(())
}

#[test]
fn a_wrong_command_exits_with_2() -> Outcome {
    let folder = tempfile::tempdir()?;
    for words in [
        &["chek"][..],
        &["check", "--loud"],
        &["config", "schema", "nothing"],
        &["shift", "learn", "red=10%", "--admin", "none.sock"],
        &["purge", "--all"],
        &[],
    ] {
        assert_eq!(
            edge_proxy(folder.path(), words)?.status.code(),
            Some(2),
            "{words:?}"
        );
    }
    Ok(())
}

#[test]
fn a_schema_is_printed_for_each_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    for (words, key) in [
        (&["config", "schema"][..], "listeners"),
        (&["config", "schema", "tenants"], "tenants"),
        (&["config", "schema", "rules"], "rule"),
    ] {
        let output = edge_proxy(folder.path(), words)?;
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        assert!(schema["properties"][key].is_object(), "{words:?}");
    }
    Ok(())
}

/// What `edge-proxy picture` makes of these bytes.
fn picture(words: &[&str], bytes: &[u8]) -> std::io::Result<Output> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .arg("picture")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    // It may have ended before it has read all.
    let _told = stdin.map(|mut stdin| stdin.write_all(bytes));
    child.wait_with_output()
}

fn png(width: u32, height: u32) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
        .write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

#[test]
fn a_picture_is_made_smaller_within_the_limits_of_its_process() -> Outcome {
    let made = picture(&["64", "webp", "full"], &png(96, 72)?)?;
    assert!(made.status.success(), "{made:?}");
    let shown = image::load_from_memory(&made.stdout)?;
    assert_eq!((shown.width(), shown.height()), (64, 48));

    for (format, how) in [("webp", "q75"), ("jpeg", "q50")] {
        let made = picture(&["64", format, how], &png(96, 72)?)?;
        assert!(made.status.success(), "{made:?}");
        let shown = image::load_from_memory(&made.stdout)?;
        assert_eq!((shown.width(), shown.height()), (64, 48), "{format}");
    }

    // The most that is decoded is not too much for the limits of memory and time; as far as code that is not
    // optimised can show.
    let (width, height) = if cfg!(debug_assertions) {
        (2_500, 1_600)
    } else {
        (8_000, 5_000)
    };
    let large = picture(&["32", "webp", "lean"], &png(width, height)?)?;
    assert!(large.status.success(), "{large:?}");
    assert_eq!(image::load_from_memory(&large.stdout)?.width(), 32);

    for (bytes, reason) in [
        (png(12_001, 8)?, "exceeds limit"),
        (
            b"<svg onload='steal()'/>".to_vec(),
            "no PNG, JPEG, WebP or GIF",
        ),
        (png(96, 72)?[..300].to_vec(), "cannot be decoded"),
    ] {
        let refused = picture(&["64", "webp", "full"], &bytes)?;
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr)?;
        assert!(said.contains(reason), "{said}");
        assert!(refused.stdout.is_empty());
    }
    for words in [
        ["64", "jpeg", "full"],
        ["64", "webp", "most"],
        ["64", "avif", "q75"],
        ["64", "webp", "q0"],
        ["-1", "webp", "full"],
    ] {
        assert_eq!(picture(&words, b"")?.status.code(), Some(2), "{words:?}");
    }
    Ok(())
}

/// The Ruby of the README, run as it stands there.
#[test]
fn the_readmes_ruby_signs_addresses_as_the_edge_does() -> Outcome {
    let folder = written()?;
    let key = "the key of the pictures, long enough to be one";
    fs::write(folder.path().join("picture.keys"), format!("{key}\n"))?;
    let pictures = "[apps.learn.pictures]\npath = \"/media\"\nkeys = \"picture.keys\"\n";
    fs::write(folder.path().join("edge.toml"), format!("{EDGE}{pictures}"))?;
    let path = "/media/caf%C3%A9/hill.jpg";
    let url = format!("https://oak.school.test{path}");
    let words = ["--config", "edge.toml", "--json", "images", "sign", &url];
    let output = edge_proxy(folder.path(), &words)?;
    let (code, printed, said) = seen(&output);
    assert_eq!(code, Some(0), "{said}");
    let printed: serde_json::Value = serde_json::from_str(&printed)?;
    let readme = include_str!("../../README.md");
    let snippet = readme
        .split("```ruby\n")
        .find_map(|part| {
            part.split_once("```")
                .filter(|(text, _)| text.contains("module Pictures"))
        })
        .ok_or("the README has it")?
        .0;
    let expires = &printed["expires_s"];
    let call = format!(
        "{snippet}\nputs Pictures.address({key:?}, \"oak\", {path:?}, width: 640, expires: {expires})\n"
    );
    let output = match Command::new("ruby").args(["-e", &call]).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: ruby is not installed (Debian: apt install ruby): {error}");
            return Ok(());
        }
    };
    let (code, address, said) = seen(&output);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(printed["url"], format!("https://oak.school.test{address}"));
    Ok(())
}
