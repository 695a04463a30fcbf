//! `morning`: what reaches the platform when a school begins its day?
//!
//! Classes sign in and open the same pages within five minutes, at several schools at once, while
//! teachers write and announcements are purged. The edge runs in this process, with its clock moved
//! from second to second, so that the five minutes take as long as the requests do. What is counted
//! is what the platform was asked, by the platform.

mod day;
mod platform;
mod plot;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use edge_proxy::edge::Edge;
use edge_proxy::listener::Sockets;
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::task::JoinSet;

use self::day::{Visit, What};
use self::platform::Platform;
use crate::error::BenchError;
use crate::inside;

/// Seconds in one bar of the plot.
const BAR_S: u64 = 5;
/// For the edge to find its origin well.
const READY_MAX: Duration = Duration::from_secs(30);

const RULES: &str = r#"
[[rule]]
name = "school"
path = "/api/v1/school"
scope = "public"
ttl_s = 60
[[rule]]
name = "announcements"
path = "/api/v1/announcements"
scope = "tenant"
ttl_s = 60
tags = ["announcements"]
[[rule]]
name = "terms"
path = "/api/v1/terms"
scope = "tenant"
ttl_s = 60
[[rule]]
name = "bells"
path = "/api/v1/bell_schedule"
scope = "tenant"
ttl_s = 60
[[rule]]
name = "courses"
path = "/api/v1/courses"
scope = "tenant"
ttl_s = 60
tags = ["courses"]
[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
tags = ["course:{id}"]
invalidates = ["course:{id}", "courses"]
[[rule]]
name = "of-course"
path = "/api/v1/courses/{id}/{part}"
scope = "tenant"
ttl_s = 60
tags = ["course:{id}"]
[[rule]]
name = "unit"
path = "/api/v1/units/{id}"
scope = "tenant"
ttl_s = 60
[[rule]]
name = "of-unit"
path = "/api/v1/units/{id}/lessons"
scope = "tenant"
ttl_s = 60
[[rule]]
name = "lesson"
path = "/api/v1/lessons/{id}"
scope = "tenant"
ttl_s = 60
"#;

/// How large the morning is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Schools behind the edge.
    pub schools: usize,
    /// Classes of each.
    pub classes: usize,
    /// Pupils of each class.
    pub pupils: usize,
    /// How long it is, in its own time.
    pub seconds: u64,
}

/// What was counted.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Schools, classes of each and pupils of each class.
    pub people: [usize; 3],
    /// With the platform asked whose credentials these are, and with the platform saying so beside its pages.
    pub mornings: Vec<Morning>,
}

/// One morning.
#[derive(Debug, Clone, Serialize)]
pub struct Morning {
    /// How the edge learned who somebody is.
    pub identity: &'static str,
    /// Reads that rules cover.
    pub reads: u64,
    /// How many of these the platform was asked for.
    pub reached: u64,
    /// How often the platform was asked who somebody is.
    pub identity_checks: u64,
    /// Pages, writes and reads of one person, which always reach the platform.
    pub passed: u64,
    /// Writes and purges.
    pub changes: u64,
    /// Reads that reached the platform and identity checks, in percent of the reads.
    pub share_percent: f64,
    /// The same in pieces of five seconds: reads, reads that reached the platform, identity checks.
    pub bars: Vec<[u64; 3]>,
}

/// Lives both mornings.
///
/// # Errors
/// When a part cannot be started or a request is not answered.
pub fn measure(options: &Options, say: &mut dyn FnMut(String)) -> Result<Report, BenchError> {
    let runtime = tokio::runtime::Runtime::new().map_err(BenchError::io("the runtime"))?;
    let mut mornings = Vec::new();
    for (identity, tells) in [("asked", false), ("told beside pages", true)] {
        say(format!("identity {identity}"));
        mornings.push(runtime.block_on(live(options, identity, tells))?);
    }
    Ok(Report {
        people: [options.schools, options.classes, options.pupils],
        mornings,
    })
}

impl Report {
    /// As a table in Markdown.
    pub fn table(&self) -> String {
        let [schools, classes, pupils] = self.people;
        let mut text = format!(
            "morning: {schools} schools, {classes} classes of {pupils} each, within five minutes\n\n\
             | identity | reads that rules cover | reached the platform | identity checks | both, of the reads | passed | writes and purges |\n\
             |---|--:|--:|--:|--:|--:|--:|\n"
        );
        for morning in &self.mornings {
            text.push_str(&format!(
                "| {} | {} | {} | {} | {:.1} % | {} | {} |\n",
                morning.identity,
                morning.reads,
                morning.reached,
                morning.identity_checks,
                morning.share_percent,
                morning.passed,
                morning.changes,
            ));
        }
        text
    }

    /// As a page with a plot.
    pub fn page(&self) -> String {
        plot::page(self)
    }
}

async fn live(
    options: &Options,
    identity: &'static str,
    tells: bool,
) -> Result<Morning, BenchError> {
    let platform = Platform::start(tells).await?;
    let folder = inside::folder()?;
    let edge = start(folder.path(), options, &platform).await?;
    let school = Arc::new(School {
        client: Client::builder(TokioExecutor::new()).build_http(),
        plain: edge.addresses().danger_plain[0].to_string(),
        admin: edge.addresses().admin.clone(),
    });
    let mut visits = day::plan(options).into_iter().peekable();
    let mut morning = Morning {
        identity,
        reads: 0,
        reached: 0,
        identity_checks: 0,
        passed: 0,
        changes: 0,
        share_percent: 0.0,
        bars: Vec::new(),
    };
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    for second in 0..options.seconds {
        let mut under_way = JoinSet::new();
        while let Some(visit) = visits.next_if(|visit| visit.second <= second) {
            let school = Arc::clone(&school);
            match &visit.what {
                What::Page { shared, .. } => morning.reads += shared.len() as u64,
                What::Write { .. } | What::Purge { .. } => morning.changes += 1,
                What::SignIn => {}
            }
            under_way.spawn(async move { school.visited(visit).await });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.map_err(|error| BenchError::io("a visit")(std::io::Error::other(error)))??;
        }
        if (second + 1) % BAR_S == 0 || second + 1 == options.seconds {
            morning.bars.push([
                morning.reads,
                count(&platform.asked.shared),
                count(&platform.asked.identity),
            ]);
        }
        edge.clock().advance(Duration::from_secs(1));
    }
    edge.drain().await;
    morning.reached = count(&platform.asked.shared);
    morning.identity_checks = count(&platform.asked.identity);
    morning.passed = count(&platform.asked.passed);
    let both = morning.reached + morning.identity_checks;
    morning.share_percent = 100.0 * both as f64 / morning.reads.max(1) as f64;
    // From sums to pieces.
    for at in (1..morning.bars.len()).rev() {
        let before = morning.bars[at - 1];
        for (sum, before) in morning.bars[at].iter_mut().zip(before) {
            *sum -= before;
        }
    }
    Ok(morning)
}

/// An edge in this process, on loopback.
async fn start(folder: &Path, options: &Options, platform: &Platform) -> Result<Edge, BenchError> {
    let failed = |what: &'static str, why: String| BenchError::io(what)(std::io::Error::other(why));
    let origin = platform.address.to_string();
    let config = inside::config(folder, options.schools, RULES, "", &origin)?;
    let edge = Edge::start(config, Sockets::new())
        .await
        .map_err(|error| failed("the edge", error.to_string()))?;
    let ready = async {
        // Its release has no files here, and none are asked for.
        while !edge.not_ready().iter().all(|why| why.contains("release")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(READY_MAX, ready)
        .await
        .map_err(|_| failed("the edge", "its origin is not well".to_owned()))?;
    Ok(edge)
}

/// The way to the edge.
struct School {
    client: Client<HttpConnector, Full<Bytes>>,
    plain: String,
    admin: std::path::PathBuf,
}

impl School {
    async fn visited(self: Arc<Self>, visit: Visit) -> Result<(), BenchError> {
        let ask = |method: &'static str, path: String| {
            let (school, person) = (visit.school, visit.person.clone());
            let this = Arc::clone(&self);
            async move { this.ask(method, school, &person, &path).await }
        };
        match visit.what {
            What::SignIn => ask("POST", "/session".to_owned()).await,
            What::Write { course } => ask("PUT", format!("/api/v1/courses/{course}")).await,
            What::Purge { tag } => inside::purge(&self.admin, visit.school, tag).await,
            What::Page { page, shared, own } => {
                ask("GET", page.to_owned()).await?;
                let mut reads = JoinSet::new();
                for path in shared.into_iter().chain([own]) {
                    reads.spawn(ask("GET", path));
                }
                while let Some(read) = reads.join_next().await {
                    read.map_err(|error| BenchError::io("a read")(std::io::Error::other(error)))??;
                }
                Ok(())
            }
        }
    }

    async fn ask(
        &self,
        method: &str,
        school: usize,
        person: &str,
        path: &str,
    ) -> Result<(), BenchError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.plain))
            .header("host", format!("school-{school}.example"))
            .header("cookie", format!("_session={person}"))
            .body(Full::default());
        let what = format!("{method} {path}");
        let request =
            request.map_err(|error| BenchError::io(&*what)(std::io::Error::other(error)))?;
        inside::success(&what, self.client.request(request)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_morning_is_counted_by_the_platform() {
        let options = Options {
            schools: 2,
            classes: 2,
            pupils: 6,
            seconds: 200,
        };
        let report = measure(&options, &mut |_| ()).expect("a morning");
        let [asked, told] = &report.mornings[..] else {
            panic!("two mornings");
        };
        assert_eq!(asked.reads, 2 * 2 * 6 * 11);
        assert!(
            asked.reached > 0 && asked.reached < asked.reads / 2,
            "{asked:?}"
        );
        assert!(asked.identity_checks >= 24, "each is asked for: {asked:?}");
        assert!(told.identity_checks < asked.identity_checks / 2, "{told:?}");
        let sums = asked.bars.iter().fold([0; 3], |sum, bar| {
            [sum[0] + bar[0], sum[1] + bar[1], sum[2] + bar[2]]
        });
        assert_eq!(sums, [asked.reads, asked.reached, asked.identity_checks]);
        let page = report.page();
        assert!(page.contains("<svg") && !page.contains("http:"), "{page}");
    }
}
