mod filling;
mod kept;
mod reading;
mod renewing;

use cache_rules::host::HostName;
use cache_rules::identity::Identity;
use cache_rules::rules::{RuleSet, Scope};
use cache_rules::tag::Tag;
use cache_rules::verdict::{Ask, Verdict};
use http::header::{HOST, HeaderMap};
use http::{Method, Request, StatusCode};

use super::entry::Origin;
use super::*;
use crate::upstream::scripted::{Scripted, Then};

const RULES: &str = r#"
    [[rule]]
    name = "public"
    path = "/p/{id}"
    scope = "public"
    ttl_s = 60
    stale_while_revalidate_s = 10
    stale_if_error_s = 100
    tags = ["p:{id}"]

    [[rule]]
    name = "school"
    path = "/t/{id}"
    scope = "tenant"
    ttl_s = 60
    tags = ["t:{id}"]

    [[rule]]
    name = "conformance"
    path = "/d/**"
    scope = "public"
    ttl_s = 60
    consent = "rule"
    policy = "danger_rfc9111"
"#;
const PUBLIC: &str =
    "content-type: application/json\r\ncache-control: max-age=30\r\nx-edge-cache-scope: public\r\n";
const PRIVATE: &str = "content-type: application/json\r\ncache-control: private\r\n";
const LARGE: usize = 300 * 1024;

/// A cache and the origin that fills it.
struct Stage {
    cache: Arc<Cache>,
    origin: Scripted,
    rules: RuleSet,
}

/// What an origin sends.
fn answer(status: &str, lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{lines}content-length: {length}\r\n\r\n{body}").into_bytes()
}

fn oak() -> TenantId {
    "oak".parse().expect("a tenant id")
}

fn tagged(tag: &str) -> Purge {
    Purge::Tag(oak(), Tag::parse(tag).expect("a tag"))
}

impl Stage {
    async fn new(script: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Arc<Self> {
        Self::with(Limits::default(), Arc::default(), script).await
    }

    async fn with(
        limits: Limits,
        epochs: Arc<Epochs>,
        script: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let client = Client::new(&limits);
        let metrics = Arc::new(Metrics::new());
        let cache = Cache::new(&limits, epochs, Clock::default(), client, metrics);
        Arc::new(Self {
            cache: Arc::new(cache),
            origin: Scripted::start(script).await,
            rules: RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes"),
        })
    }

    /// One that says the same each time.
    async fn saying(lines: &'static str, body: &'static str) -> Arc<Self> {
        Self::new(move |_| (answer("200 OK", lines, body), Then::Keep)).await
    }

    fn job(&self, path: &str) -> Job {
        let headers = HeaderMap::new();
        let ask = Ask {
            method: &Method::GET,
            path,
            query: None,
            headers: &headers,
            has_body: false,
        };
        let Verdict::Store(plan) = self.rules.verdict(&ask) else {
            panic!("{path} is covered");
        };
        let grant = match plan.scope() {
            Scope::Public => Grant::public(&oak()),
            Scope::Tenant | Scope::Role => {
                let identity = Identity {
                    subject: "7".to_owned(),
                    tenant: oak(),
                    roles: Default::default(),
                    acting: false,
                };
                Grant::tenant(&identity, &oak()).expect("the same school")
            }
        };
        let host = HostName::parse("oak.example").expect("a host");
        let request = Request::get(path).header(HOST, host.as_str()).body(());
        Job {
            key: plan.key(&grant, &host, "r1"),
            plan,
            grant,
            pool: Arc::clone(&self.origin.pool),
            request: request.expect("a request"),
            old: None,
        }
    }

    /// What is made of an answer, without an origin and without being kept.
    fn made(&self, path: &str, status: StatusCode, lines: &str, body: &str) -> Arc<Entry> {
        let job = self.job(path);
        let mut headers = HeaderMap::new();
        for line in lines.split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").expect("a field");
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let now = self.cache.clock.wall();
        let storable = match job.plan.answer(&job.grant, status, &headers, now, now) {
            cache_rules::answer::Answer::Store(storable) => *storable,
            cache_rules::answer::Answer::Pass(reason) => panic!("not kept: {reason}"),
        };
        let origin = Origin {
            tenant: job.grant.tenant_id(),
            path,
            scope: job.grant.scope(),
            born: self.cache.epochs.now(),
        };
        let body = bytes::Bytes::from(body.to_owned());
        let (epochs, clock) = (&self.cache.epochs, &self.cache.clock);
        Arc::new(Entry::new(storable, body, origin, epochs, clock))
    }

    fn find(&self, path: &str) -> Found {
        self.find_as(path, &Wishes::default())
    }

    fn find_as(&self, path: &str, wishes: &Wishes) -> Found {
        let job = self.job(path);
        self.cache.find(&job.plan, &job.grant, &job.key, wishes)
    }

    async fn fetch(&self, path: &str, old: Option<&Arc<Entry>>) -> Read {
        let job = || Job {
            old: old.cloned(),
            ..self.job(path)
        };
        self.cache.fetch(&Wishes::default(), job).await
    }

    /// Fetches beside the test.
    fn fetching(self: &Arc<Self>, path: &'static str) -> tokio::task::JoinHandle<Read> {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.fetch(path, None).await })
    }

    /// Two who want the same: one who starts a fetch, and one who comes before the origin answers.
    async fn two(self: &Arc<Self>, path: &'static str) -> [tokio::task::JoinHandle<Read>; 2] {
        self.origin.answers(false);
        let first = self.fetching(path);
        self.origin.asked_times(1).await;
        let joined = self.fetching(path);
        // It is aboard before the answer is there.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.origin.answers(true);
        [first, joined]
    }

    /// Fetches what is to be stored.
    async fn stored(&self, path: &str) -> Arc<Entry> {
        match self.fetch(path, None).await {
            Read::Entry { entry, .. } => entry,
            other => panic!("not stored: {other:?}"),
        }
    }

    fn pass(&self, seconds: u64) {
        self.cache.clock.advance(Duration::from_secs(seconds));
    }

    fn asked(&self) -> usize {
        self.origin.asked().len()
    }

    /// Waits until no fetch is under way.
    async fn landed(&self) {
        let landed = async {
            while !self.cache.fills.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(60), landed).await;
        outcome.expect("each fetch ends");
    }
}

async fn whole(stream: &mut Stream) -> Result<Vec<u8>, crate::upstream::client::ClientError> {
    let mut whole = Vec::new();
    while let Some(piece) = stream.piece().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
