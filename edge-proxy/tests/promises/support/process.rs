//! `edge-proxy run` as a process of its own, with what a stage has around it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::admin;
use super::stage::Set;
use super::wait::{soon, until};

/// A running supervisor and its workers; they end with this value.
pub(crate) struct Process {
    pub(crate) set: Set,
    supervisor: Child,
    log: Arc<Mutex<Vec<String>>>,
    read: AtomicUsize,
}

impl Drop for Process {
    fn drop(&mut self) {
        // A supervisor that is told to end ends its workers; twice, so that it waits for nobody.
        for _ in 0..2 {
            self.signal("TERM");
        }
        let _ended = self.supervisor.wait();
    }
}

impl Process {
    /// Starts it and waits until it serves.
    pub(crate) async fn run(set: Set) -> Self {
        let (supervisor, log) = start(&set.config);
        let process = Self {
            set,
            supervisor,
            log,
            read: AtomicUsize::new(0),
        };
        process.serves().await;
        process
    }

    async fn serves(&self) {
        self.says("the edge accepts connections").await;
        until("a request would be served", async || {
            let ready = self.status().await["not_ready"].as_array()?.is_empty();
            ready.then_some(())
        })
        .await;
    }

    /// Waits for a line that was not waited for before.
    pub(crate) async fn says(&self, text: &str) -> String {
        until(&format!("the log says `{text}`"), async || {
            let log = self.log.lock();
            let from = self.read.load(Ordering::Relaxed);
            let at = from + log[from..].iter().position(|line| line.contains(text))?;
            self.read.store(at + 1, Ordering::Relaxed);
            Some(log[at].clone())
        })
        .await
    }

    /// Everything that it said.
    pub(crate) fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Kills it and its worker without a word, and starts it again on what they left.
    pub(crate) async fn kill(&mut self) {
        let worker = self.worker().await;
        self.signal("KILL");
        signal(worker, "KILL");
        self.ended().await;
        (self.supervisor, self.log) = start(&self.set.config);
        self.read.store(0, Ordering::Relaxed);
        self.serves().await;
    }

    /// Where TLS is spoken: the ports stay the same, whoever serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.named("public=[")
    }

    /// Where plain HTTP is served.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.named("plain=[")
    }

    /// What monitors read.
    pub(crate) async fn observe(&self) -> String {
        let address = self.observed();
        let text = async {
            let client = super::client::Client::open_plain(address, "monitor").await;
            client.get("/metrics").await.text().to_owned()
        };
        soon("the counters are read", text).await
    }

    /// Where monitors ask.
    pub(crate) fn observed(&self) -> SocketAddr {
        self.named("monitors=")
    }

    /// The first address that it said under a name.
    pub(crate) fn named(&self, field: &str) -> SocketAddr {
        let log = self.log.lock();
        let after = log.iter().find_map(|line| Some(line.split_once(field)?.1));
        let after = after.expect("it said where it listens");
        let address = after.split([']', ',', ' ']).next().unwrap_or_default();
        address.parse().expect("an address")
    }

    /// `status`, as operators see it.
    pub(crate) async fn status(&self) -> Value {
        self.admin("GET", "/v1/status", None).await.1
    }

    /// A request over the operator's socket: status and JSON.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let socket = self.set.folder.path().join("state/admin.sock");
        admin::call(&socket, method, path, body).await
    }

    /// The process that keeps the sockets.
    pub(crate) fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }

    /// The process that serves.
    pub(crate) async fn worker(&self) -> u64 {
        self.status().await["pid"]
            .as_u64()
            .expect("it has a number")
    }

    /// Runs an operator's command as a process of its own.
    pub(crate) async fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-proxy"));
        command.args(words).arg("--config").arg(&self.set.config);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(std::time::Duration::from_secs(90), output).await;
        let output = output.expect("the command ends");
        output
            .expect("nothing panics in there")
            .expect("the binary was built")
    }

    /// Sends a signal to the supervisor.
    pub(crate) fn signal(&self, name: &str) {
        signal(u64::from(self.supervisor.id()), name);
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        until("the supervisor has ended", async || {
            let ended = self.supervisor.try_wait().expect("it is a child");
            ended.map(|status| status.code())
        })
        .await
    }

    /// A program in the stage's folder, as a script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.set.folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
        let may_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, may_run).expect("it can be made to run");
        path
    }
}

/// Starts it; its log is read to its end, so that it never waits for a full pipe.
fn start(config: &Path) -> (Child, Arc<Mutex<Vec<String>>>) {
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .arg("run")
        .arg("--config")
        .arg(config)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let stderr = supervisor.stderr.take().expect("it is piped");
    let lines = Arc::clone(&log);
    std::thread::spawn(move || {
        let read = BufReader::new(stderr).lines().map_while(Result::ok);
        read.for_each(|line| lines.lock().push(line));
    });
    (supervisor, log)
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u64, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    // One that has ended already hears nothing.
    assert!(sent.is_ok(), "there is a kill");
}
