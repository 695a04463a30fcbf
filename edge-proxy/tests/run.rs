//! `edge-proxy run` as a service manager starts, changes and stops it.

#[path = "run/s3.rs"]
mod s3;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Longer than a busy machine takes for any of the steps.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running edge; it ends with the test.
struct Running {
    process: Child,
    log: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends its worker; it has ended already when the test got that far.
        for _ in 0..2 {
            let _told = self.signal("TERM");
        }
        let _ended = self.process.wait();
    }
}

impl Running {
    fn start(folder: &Path) -> std::io::Result<Self> {
        Self::of(edge_proxy(folder, &["run"]))
    }

    fn of(mut command: Command) -> std::io::Result<Self> {
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (line, log) = mpsc::channel();
        if let Some(stderr) = process.stderr.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stderr).lines().map_while(Result::ok);
                lines.for_each(|text| drop(line.send(text)));
            });
        }
        Ok(Self { process, log })
    }

    /// Waits for a line of the log.
    fn says(&self, text: &str) -> Result<String, String> {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => before.push(line),
                Err(_) => return Err(format!("no `{text}` in:\n{}", before.join("\n"))),
            }
        }
    }

    fn signal(&self, name: &str) -> std::io::Result<()> {
        let id = self.process.id().to_string();
        Command::new("kill")
            .args(["-s", name, &id])
            .stderr(Stdio::null())
            .status()
            .map(drop)
    }
}

fn edge_proxy(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-proxy"));
    command
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .args(words)
        .args(["--config", "edge.toml"]);
    command
}

fn written() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    write_config(folder.path(), &format!("file://{}", store.display()))?;
    Ok(folder)
}

fn write_config(folder: &Path, store: &str) -> Outcome {
    let made = rcgen::generate_simple_self_signed(["oak.school.test".to_owned()])?;
    fs::create_dir(folder.join("certs"))?;
    let edge = format!(
        "state = \"state\"\n\
         [listeners]\npublic = [\"127.0.0.1:0\"]\ndanger_plain = [\"127.0.0.1:0\"]\nobserve = \"off\"\n\
         [tls]\ncertificates = \"certs\"\n\
         [store]\nurl = \"{store}\"\npoll_s = 0.2\n\
         [log]\naccess = \"off\"\n\
         [apps.learn.services.web]\npaths = [\"/\"]\n\
         [apps.learn.first.blue]\nrelease = \"r1\"\nschema = \"1\"\nmembers = {{ web = [\"127.0.0.1:1\"] }}\n"
    );
    for (name, text) in [
        ("edge.toml", edge),
        (
            "tenants.toml",
            "[tenants.oak]\nhosts = [\"oak.school.test\"]\n".to_owned(),
        ),
        ("rules.toml", String::new()),
        ("certs/oak.crt", made.cert.pem()),
        ("certs/oak.key", made.signing_key.serialize_pem()),
    ] {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_changed_file_is_taken_over_a_bad_one_changes_nothing_and_a_signal_ends_it() -> Outcome {
    let folder = written()?;
    let edge = Running::start(folder.path())?;
    edge.says("the edge accepts connections")?;
    let tenants = folder.path().join("tenants.toml");
    let explain = || edge_proxy(folder.path(), &["explain", "https://elm.school.test/"]).output();

    fs::write(&tenants, "[tenants.oak]\nhosts = [\"elm.school.test\"]\n")?;
    edge.says("the changed config is live")?;
    let taken_over = explain()?;
    assert!(said(&taken_over).contains("tenant oak"), "{taken_over:?}");

    fs::write(&tenants, "[tenants.oak]\nhost = []\n")?;
    edge.says("the changed config is not used")?;
    edge.says("tenants.toml:2: tenants.oak.host: unknown key, did you mean `hosts`?")?;
    assert_eq!(explain()?.stdout, taken_over.stdout);

    let refused = edge_proxy(folder.path(), &["shift", "learn", "green=10%"]).output()?;
    assert_eq!(refused.status.code(), Some(3), "green was never deployed");

    edge.signal("TERM")?;
    edge.says("every request was answered")?;
    let mut edge = edge;
    assert_eq!(edge.process.wait()?.code(), Some(0));
    Ok(())
}

/// What the service manager was told until `last`.
fn told(manager: &UnixDatagram, last: &str) -> std::io::Result<Vec<String>> {
    manager.set_read_timeout(Some(PATIENCE))?;
    let mut told = Vec::new();
    while told.last().is_none_or(|text| text != last) {
        let mut text = [0; 256];
        let bytes = manager.recv(&mut text)?;
        told.push(String::from_utf8_lossy(&text[..bytes]).into_owned());
    }
    Ok(told)
}

/// As systemd starts it: the socket is bound by somebody else, who is told when it serves.
#[test]
fn a_service_manager_passes_sockets_and_is_told() -> Outcome {
    let folder = written()?;
    let held = TcpListener::bind("127.0.0.1:0")?;
    let address = held.local_addr()?;
    let config = folder.path().join("edge.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(
        &config,
        text.replacen("127.0.0.1:0", &address.to_string(), 1),
    )?;
    let manager = UnixDatagram::bind(folder.path().join("notify"))?;

    // The number of the process is known to the process alone.
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_edge-proxy"))
        .args(["run", "--config", "edge.toml"])
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "bellwether.socket")
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("WATCHDOG_USEC", "200000");
    let passed = FdMapping {
        parent_fd: held.try_clone()?.into(),
        child_fd: 3,
    };
    command.fd_mappings(vec![passed])?;
    // Who binds it again would be refused: it is open here too.
    let edge = Running::of(command)?;
    edge.says(&format!("public=[{address}]"))?;
    assert_eq!(told(&manager, "READY=1")?, ["READY=1"]);
    told(&manager, "WATCHDOG=1")?;
    assert!(TcpStream::connect(address).is_ok());
    edge.signal("TERM")?;
    told(&manager, "STOPPING=1")?;
    let mut edge = edge;
    assert_eq!(edge.process.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn what_cannot_start_says_why_and_exits_with_1() -> Outcome {
    let folder = written()?;
    fs::remove_file(folder.path().join("certs/oak.key"))?;
    let output = edge_proxy(folder.path(), &["run"]).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("oak.key: is missing"), "{error}");
    assert!(!folder.path().join("state/admin.sock").exists());
    Ok(())
}
