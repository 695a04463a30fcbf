//! The edge, told by its own commands.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Server;
use crate::cores::Cores;
use crate::error::BenchError;
use crate::ground::Ground;
use crate::peers::{RELEASE, publish_site};
use crate::process::{Process, free_address};

const COLOURS: [&str; 2] = ["blue", "green"];

/// Before the first answer.
const BEGIN: Duration = Duration::from_secs(60);

pub(super) struct Edge {
    address: SocketAddr,
    folder: PathBuf,
    certificates: PathBuf,
    binary: PathBuf,
    /// The colour that was deployed last.
    newest: usize,
    _process: Process,
}

/// An upgrade that must change nothing.
pub(super) struct Failure {
    what: &'static str,
    program: Option<PathBuf>,
    /// Broken while it is tried: where, and with what.
    broken: Option<(PathBuf, Vec<u8>)>,
    killed: bool,
}

impl Edge {
    pub(super) fn start(
        ground: &Ground,
        binary: &Path,
        first: SocketAddr,
    ) -> Result<Self, BenchError> {
        let folder = ground.folder().join("edge");
        std::fs::create_dir_all(&folder).map_err(BenchError::io("the folder of the edge"))?;
        let store = format!("file://{}", folder.join("store").display());
        publish_site(ground, &store)?;
        let address = free_address()?;
        let config = format!(
            r#"state = "{folder}/state"
[listeners]
public = ["{address}"]
observe = "off"
[tls]
certificates = "{certificates}"
hsts = "off"
[store]
url = "{store}"
[log]
access = "{folder}/access.log"
[limits]
body_bytes_max = 67_108_864
[apps.learn.services.web]
paths = ["/"]
probe = {{ path = "/up", interval_s = 0.2 }}
[[apps.learn.routes]]
path = "/live"
kind = "stream"
[apps.learn.first]
live = "blue"
[apps.learn.first.blue]
release = "{RELEASE}"
schema = "1..1"
members = {{ web = ["{first}"] }}
"#,
            folder = folder.display(),
            certificates = ground.certificates().display(),
        );
        let tenants = "[tenants.bench]\nhosts = [\"localhost\"]\n";
        for (name, text) in [
            ("edge.toml", config.as_str()),
            ("tenants.toml", tenants),
            ("rules.toml", ""),
        ] {
            write(&folder.join(name), text.as_bytes())?;
        }
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg("--config")
            .arg(folder.join("edge.toml"));
        let process = Process::start("edge", &mut command, Cores::choose()?, &folder)?;
        let edge = Self {
            address,
            certificates: ground.certificates(),
            binary: binary.to_owned(),
            folder,
            newest: 0,
            _process: process,
        };
        let began = Instant::now();
        while edge.worker().is_err() && began.elapsed() < BEGIN {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(edge)
    }

    /// Another version takes over: the same program, unless one is given.
    pub(super) fn upgrade(&self, program: Option<&Path>) -> Result<(), BenchError> {
        let mut words = vec!["upgrade".to_owned()];
        words.extend(program.map(|program| program.display().to_string()));
        self.command(&words).map(drop)
    }

    /// The ways in which an upgrade fails.
    pub(super) fn failures(&self) -> Result<Vec<Failure>, BenchError> {
        let good = Failure {
            what: "",
            program: None,
            broken: None,
            killed: false,
        };
        let script = |name: &str, text: &str| -> Result<Option<PathBuf>, BenchError> {
            let path = self.folder.join(name);
            write(&path, format!("#!/bin/sh\n{text}\n").as_bytes())?;
            let may_run = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, may_run).map_err(BenchError::io(name))?;
            Ok(Some(path))
        };
        let full = format!(
            "trap '' XFSZ; ulimit -f 8; exec {} \"$@\"",
            self.binary.display()
        );
        let other = rcgen::KeyPair::generate()?;
        Ok(vec![
            Failure {
                what: "a program that crashes",
                program: script("crashing", "exit 3")?,
                ..good
            },
            Failure {
                what: "a program that hangs",
                program: script("hanging", "exec sleep 600")?,
                broken: None,
                killed: false,
            },
            Failure {
                what: "a broken config",
                program: None,
                broken: Some((self.folder.join("edge.toml"), b"state = 1\n".to_vec())),
                killed: false,
            },
            Failure {
                what: "a wrong certificate",
                program: None,
                broken: Some((
                    self.certificates.join("bench.key"),
                    other.serialize_pem().into_bytes(),
                )),
                killed: false,
            },
            Failure {
                what: "a full disk",
                program: script("full", &full)?,
                broken: None,
                killed: false,
            },
            Failure {
                what: "a SIGKILL before it accepts",
                program: script("killed", "sleep 1; kill -9 $$")?,
                broken: None,
                killed: true,
            },
        ])
    }

    /// Tries one of them, which must be refused and leave the serving process as it is.
    pub(super) fn fail(&self, failure: &Failure) -> Result<(), BenchError> {
        let before = self.worker()?;
        let kept = match &failure.broken {
            Some((path, bad)) => {
                let good = std::fs::read(path).map_err(BenchError::io(failure.what))?;
                write(path, bad)?;
                Some((path, good))
            }
            None => None,
        };
        let mut words = vec!["upgrade".to_owned(), "--wait".to_owned(), "5s".to_owned()];
        words.extend(
            failure
                .program
                .as_ref()
                .map(|path| path.display().to_string()),
        );
        let upgraded = self.command(&words);
        if let Some((path, good)) = kept {
            write(path, &good)?;
        }
        let after = self.worker()?;
        if upgraded.is_ok() || before != after {
            let said = format!("{} (killed: {}) was let in", failure.what, failure.killed);
            return Err(BenchError::Failed {
                program: "edge-proxy upgrade",
                said,
            });
        }
        Ok(())
    }

    /// Ends the serving process as a bug would.
    pub(super) fn kill_worker(&self) -> Result<(), BenchError> {
        let pid = self.worker()?.to_string();
        let killed = Command::new("kill").args(["-s", "KILL", &pid]).status();
        killed.map(drop).map_err(BenchError::io("kill"))
    }

    /// The serving process.
    fn worker(&self) -> Result<u64, BenchError> {
        let said = self.command(&["status".to_owned(), "--json".to_owned()])?;
        let status: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        status["pid"].as_u64().ok_or(BenchError::Output {
            program: "edge-proxy status",
            part: "pid",
            said,
        })
    }

    fn command(&self, words: &[String]) -> Result<String, BenchError> {
        let output = Command::new(&self.binary)
            .arg("--admin")
            .arg(self.folder.join("state/admin.sock"))
            .args(words)
            .output()
            .map_err(BenchError::io("the edge's command"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(BenchError::Failed {
            program: "edge-proxy",
            said: format!("{words:?}: {}", String::from_utf8_lossy(&said)),
        })
    }
}

impl Server for Edge {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn deploy(&mut self, version: SocketAddr) -> Result<(), BenchError> {
        self.newest = 1 - self.newest;
        let colour = COLOURS[self.newest];
        let words = format!(
            "deploy learn --colour {colour} --release {RELEASE} --service web={version} --schema 1..1 --drain 60s --wait 60s"
        );
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        self.command(&words).map(drop)
    }

    fn shift(&mut self, percent: u8) -> Result<(), BenchError> {
        let share = format!("{}={percent}%", COLOURS[self.newest]);
        self.command(&["shift".to_owned(), "learn".to_owned(), share])
            .map(drop)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    std::fs::write(path, bytes).map_err(BenchError::io(path.display().to_string()))
}
