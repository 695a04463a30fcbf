//! An edge in a process of its own, so that what it needs can be told from what its clients need.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Client, Http};
use super::process::Process;
use super::reply::Reply;
use super::stage::Plan;
use super::wait::{until, until_or};

/// `edge-proxy run` between the origins of a set, under attack or killed.
pub(crate) struct Apart {
    pub(crate) process: Process,
    pub(crate) public: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) observe: SocketAddr,
    worker: u64,
}

impl Apart {
    /// Starts it and waits until it answers for `host`.
    pub(crate) async fn start(plan: Plan, host: &str) -> Self {
        let set = plan.set().await;
        for origin in [&set.blue, &set.green] {
            origin.otherwise(|_| async { Reply::of("text/plain", "a page") });
        }
        let process = Process::run(set).await;
        let apart = Self {
            public: process.address(),
            plain: process.plain(),
            observe: process.observed(),
            worker: process.worker().await,
            process,
        };
        apart.answers(host).await;
        apart
    }

    /// Kills it without a word, and starts it again on what it left.
    pub(crate) async fn kill(&mut self, host: &str) {
        self.process.kill().await;
        self.public = self.process.address();
        self.plain = self.process.plain();
        self.observe = self.process.observed();
        self.worker = self.process.worker().await;
        self.answers(host).await;
    }

    async fn answers(&self, host: &str) {
        until("the edge answers", async || {
            let answer = self.client(host, Http::Two).await.get("/").await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// A new connection over TLS.
    pub(crate) async fn client(&self, host: &str, http: Http) -> Client {
        let config = self.process.set.authority.client(&[http.alpn()]);
        Client::open(self.public, host, config, http).await
    }

    /// Resident memory in bytes of who serves, and the most that it ever was.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker));
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
