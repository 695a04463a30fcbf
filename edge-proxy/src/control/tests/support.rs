//! A running control room: real state file, real socket, real commands; only the edge is made up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use async_trait::async_trait;
use cache_rules::host::HostName;
use cache_rules::tenant::TenantId;
use certs::acme::{Act, NotNow, NotRekeyed, Stage};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::colour::{Colour, PerColour, Split};
use crate::control::admin::Admin;
use crate::control::api::{Cache, Explanation, Step};
use crate::control::edge::{
    ColourFacts, Edge, Estimate, Facts, Follower, MemberFacts, ReleaseFacts,
};
use crate::control::embedded::Embedded;
use crate::control::event::Purge;
use crate::control::follow::{Following, seed};
use crate::control::rollout::Unit;
use crate::control::socket::AdminSocket;
use crate::control::state::{AppState, ColourState, Phase, State};
use crate::control::store::{ControlStore, Sequence};
use crate::explain::Asker;

/// The edge that the test describes.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) ill: Mutex<bool>,
    pub(super) missing: Mutex<usize>,
    pub(super) in_flight: Mutex<u64>,
    pub(super) frozen: Mutex<bool>,
    pub(super) state: Mutex<Arc<State>>,
    pub(super) purges: Mutex<Vec<(u64, Purge)>>,
}

impl Follower for Fake {
    fn adopt(&self, state: &Arc<State>, _: Sequence) {
        *self.state.lock() = state.clone();
    }

    fn purge(&self, purge: &Purge, sequence: Sequence) {
        self.purges.lock().push((sequence.0, purge.clone()));
    }

    fn soften(&self, purge: &Purge, sequence: Sequence) {
        self.purge(purge, sequence);
    }

    fn cut_off(&self, _: bool) {}
}

#[async_trait]
impl Edge for Fake {
    async fn colour(&self, app: &AppId, colour: Colour) -> ColourFacts {
        let healthy = !*self.ill.lock();
        let member = MemberFacts {
            address: ([127, 0, 0, 1], 4001).into(),
            healthy,
            why: (!healthy).then(|| "connection refused".to_owned()),
        };
        let missing = *self.missing.lock();
        let deployed = self.state.lock().apps[app].colours.get(colour).clone();
        let release = deployed.map_or_else(|| "r1".parse().expect("an id"), |of| of.release);
        let release = ReleaseFacts {
            id: release,
            known: true,
            present: 7,
            missing,
            missing_first: vec!["app.js".into()],
        };
        ColourFacts {
            services: BTreeMap::from([("web".to_owned(), vec![member])]),
            release: Some(release),
            in_flight: *self.in_flight.lock(),
            ..ColourFacts::default()
        }
    }

    fn there(&self, _: &AppId, _: Colour) -> ColourFacts {
        ColourFacts::default()
    }

    async fn facts(&self) -> Facts {
        Facts {
            uptime: Duration::from_secs(5),
            not_ready: vec![],
            connections: 3,
            cache: Cache::default(),
            certificates: vec![],
            certificate_problems: vec![],
        }
    }

    fn services(&self, _: &AppId) -> Vec<String> {
        vec!["web".into()]
    }

    fn units(&self, _: &AppId) -> Option<Vec<Unit>> {
        let unit = |(tenant, bucket): (&str, u16)| Unit {
            tenant: tenant.into(),
            bucket,
            ring: "rest".into(),
        };
        Some([("oak", 700), ("elm", 6_000)].map(unit).into())
    }

    fn has_ring(&self, ring: &str) -> bool {
        ring == "rest"
    }

    fn frozen(&self, _: &str, now: Timestamp) -> Option<Timestamp> {
        self.frozen.lock().then_some(now)
    }

    fn tenant_of(&self, host: &HostName) -> Option<TenantId> {
        let tenant = host.as_str().strip_suffix(".example")?;
        tenant.parse().ok().filter(|tenant| self.is_tenant(tenant))
    }

    fn is_tenant(&self, tenant: &TenantId) -> bool {
        ["oak", "elm"].contains(&tenant.as_str())
    }

    fn tenant_below(&self, parent: &HostName) -> Option<TenantId> {
        self.tenant_of(parent)
    }

    fn begin_certificate(&self, act: Act, name: &str, _: &TenantId) -> Option<Result<(), NotNow>> {
        (act == Act::Add && name == "oak.example").then_some(Ok(()))
    }

    fn certificate_stage(&self, name: &str) -> Option<Stage> {
        (name == "oak.example").then_some(Stage::Checking)
    }

    async fn rekey(&self, authority: &str) -> Option<Result<(), NotRekeyed>> {
        (authority == "pebble").then_some(Ok(()))
    }

    fn covered(&self, _: &Purge) -> Estimate {
        Estimate {
            objects: 0,
            exact: true,
        }
    }

    async fn explain(
        &self,
        method: &http::Method,
        url: &http::Uri,
        _: Option<&Asker>,
    ) -> Result<Explanation, String> {
        let host = url.host().ok_or("no host")?;
        Ok(Explanation {
            summary: format!("{method} {}", url.path()),
            steps: vec![Step {
                room: "session".into(),
                outcome: host.into(),
                detail: None,
            }],
        })
    }
}

pub(super) struct Room {
    pub(super) folder: TempDir,
    pub(super) fake: Arc<Fake>,
    pub(super) store: Arc<Embedded>,
    pub(super) following: Following,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

pub(super) fn app(name: &str) -> AppId {
    name.parse().expect("an app")
}

/// `learn` has both colours, `portal` was never deployed as green.
fn first() -> [(AppId, AppState); 2] {
    let deployed = || {
        Some(ColourState {
            release: "r1".parse().expect("an id"),
            members: BTreeMap::new(),
            phase: Phase::Live,
            schema: "1".parse().expect("a range"),
            leaving: false,
        })
    };
    let state = |green| {
        AppState::new(
            PerColour {
                blue: deployed(),
                green,
            },
            Split::all(Colour::Blue),
        )
    };
    [
        (app("learn"), state(deployed())),
        (app("portal"), state(None)),
    ]
}

impl Room {
    pub(super) async fn open() -> Self {
        Self::open_in(tempfile::tempdir().expect("a folder")).await
    }

    pub(super) async fn open_in(folder: TempDir) -> Self {
        let path = folder.path().join("state.redb");
        let store = Arc::new(Embedded::open(&path).expect("it opens"));
        seed(store.as_ref(), first(), Timestamp::UNIX_EPOCH)
            .await
            .expect("it seeds");
        Self::with(folder, store.clone(), store).await
    }

    /// `seen` is the store as the admin listener sees it.
    pub(super) async fn with(
        folder: TempDir,
        store: Arc<Embedded>,
        seen: Arc<dyn ControlStore>,
    ) -> Self {
        let fake = Arc::new(Fake::default());
        let following = Following::start(store.clone(), fake.clone())
            .await
            .expect("it follows");
        let socket = AdminSocket::bind(&folder.path().join("admin.sock")).expect("it binds");
        let (stop, stopping) = watch::channel(false);
        let admin = Admin::new(seen, fake.clone(), &following);
        let task = tokio::spawn(admin.serve(socket, stopping));
        Self {
            folder,
            fake,
            store,
            following,
            stop,
            task,
        }
    }

    /// Ends everything and gives the folder back.
    pub(super) async fn close(self) -> TempDir {
        self.stop.send(true).expect("it listens to the stop");
        self.task.await.expect("no panic");
        drop(self.following);
        // The follower's task lets go of the store when it is next polled.
        let mut store = self.store;
        while let Err(shared) = Arc::try_unwrap(store).map(drop) {
            store = shared;
            tokio::task::yield_now().await;
        }
        self.folder
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub(super) fn green_bp(&self, name: &str) -> u16 {
        let state = self.fake.state.lock().clone();
        state.apps[&app(name)].split.weight_bp(Colour::Green)
    }

    /// Returns when requests see a colour as this release.
    pub(super) async fn becomes(&self, name: &str, colour: Colour, release: &str) {
        let seen = async {
            loop {
                let state = self.fake.state.lock().clone();
                let deployed = state.apps[&app(name)].colours.get(colour).clone();
                if deployed.is_some_and(|deployed| deployed.release.as_str() == release) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen)
            .await
            .expect("requests see it");
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[], &body.to_string()).await
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = UnixStream::connect(self.socket())
            .await
            .expect("it listens");
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {length}\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.expect("a status"),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Value,
}

impl Answer {
    /// An error of the form that errors have.
    pub(super) fn problem(&self, status: u16, kind: &str) -> &Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{self:?}"
        );
        assert_eq!(
            self.body["type"],
            format!("urn:bellwether:{kind}"),
            "{self:?}"
        );
        assert_eq!(self.body["status"], status, "{self:?}");
        &self.body
    }

    pub(super) fn ok(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        &self.body
    }
}
