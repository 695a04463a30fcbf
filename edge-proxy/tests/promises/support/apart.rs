//! An edge in a process of its own, so that what it needs can be told from what its clients need.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::client::{Client, Http};
use super::reply::Reply;
use super::stage::{Plan, Set};
use super::wait::{PATIENCE, until, until_or};

/// `edge-proxy run` between the origins of a set.
pub(crate) struct Apart {
    process: Child,
    pub(crate) set: Set,
    pub(crate) public: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) observe: SocketAddr,
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Apart {
    /// Starts it and waits until it answers for `host`.
    pub(crate) async fn start(plan: Plan, host: &str) -> Self {
        let set = plan.set().await;
        for origin in [&set.blue, &set.green] {
            origin.otherwise(|_| async { Reply::of("text/plain", "a page") });
        }
        let (process, [public, plain, observe]) = run(&set.config);
        let apart = Self {
            public,
            plain,
            observe,
            process,
            set,
        };
        apart.answers(host).await;
        apart
    }

    /// Kills it without a word, and starts it again on what it left.
    pub(crate) async fn kill(&mut self, host: &str) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ended");
        let (process, [public, plain, observe]) = run(&self.set.config);
        (self.process, self.public, self.plain, self.observe) = (process, public, plain, observe);
        self.answers(host).await;
    }

    async fn answers(&self, host: &str) {
        until("the edge answers", async || {
            let answer = self.client(host, Http::Two).await.get("/").await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// An operator's command, not yet begun.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-proxy"));
        command.args(words).arg("--config").arg(&self.set.config);
        command
    }

    /// A new connection over TLS.
    pub(crate) async fn client(&self, host: &str, http: Http) -> Client {
        let config = self.set.authority.client(&[http.alpn()]);
        Client::open(self.public, host, config, http).await
    }

    /// Resident memory in bytes, and the most that it ever was.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("the edge runs");
        let kib = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            number.expect("Linux says it") * 1024
        };
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// Waits until a counter whose name and labels hold `parts` is at least `least`, and returns it.
    pub(crate) async fn counted(&self, parts: &[&str], least: u64) -> u64 {
        let counted = until_or(async || {
            let count = self.count(parts).await;
            (count >= least).then_some(count)
        })
        .await;
        match counted {
            Some(count) => count,
            None => panic!(
                "{parts:?} is not {least} in:\n{}",
                self.refusals().await.join("\n")
            ),
        }
    }

    /// What was refused so far, by reason.
    async fn refusals(&self) -> Vec<String> {
        let metrics = Client::open_plain(self.observe, "localhost").await;
        let answer = metrics.get("/metrics").await;
        let lines = answer.text().lines();
        lines
            .filter(|line| line.starts_with("edge_malformed") || line.starts_with("edge_tls_hand"))
            .map(str::to_owned)
            .collect()
    }

    /// The sum of the samples whose lines hold all `parts`.
    pub(crate) async fn count(&self, parts: &[&str]) -> u64 {
        let metrics = Client::open_plain(self.observe, "localhost").await;
        let answer = metrics.get("/metrics").await;
        sum(answer.text(), parts)
    }

    /// Waits until no more than `most` connections are open.
    pub(crate) async fn quiet(&self, most: u64) {
        until("the attack's connections are gone", async || {
            let open = self.count(&["edge_connections "]).await;
            (open <= most).then_some(())
        })
        .await;
    }
}

/// The sum of the samples whose lines hold all `parts`.
pub(crate) fn sum(metrics: &str, parts: &[&str]) -> u64 {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The 99th percentile.
pub(crate) fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(index).copied().unwrap_or_default()
}

/// `edge-proxy run`, and where it listens: public, plain, observe.
fn run(config: &Path) -> (Child, [SocketAddr; 3]) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .env_remove("RUST_LOG")
        .args(["run", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let stderr = process.stderr.take().expect("it is piped");
    let (said, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        // Read to its end, so that the edge never waits for a full pipe.
        lines.for_each(|line| drop(said.send(line)));
    });
    let line = loop {
        let line = lines.recv_timeout(PATIENCE).expect("the edge starts");
        if line.contains("the edge accepts connections") {
            break line;
        }
    };
    let address = |key: &str| {
        let after = line.split(&format!("{key}=")).nth(1).expect("it is said");
        let text = after.trim_start_matches(['[', 'S', 'o', 'm', 'e', '(']);
        let end = text.find([']', ')', ',']).expect("it ends");
        text[..end].parse().expect("an address")
    };
    (process, ["public", "plain", "observe"].map(address))
}
