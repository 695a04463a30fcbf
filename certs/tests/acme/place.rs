//! A keeper with its folders, and the port 80 that it is lent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use certs::acme::{Act, Answers, Around, Authority, Keeper, Options, PointsHere, Stage};
use certs::{CertStore, Seal};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The host that most tests are about.
pub(crate) const HOST: &str = "oak.school.example";
/// Whoever tells of this host panics.
pub(crate) const PANICS: &str = "panics.school.example";
/// For anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Port 80: what is published is answered.
#[derive(Clone, Default)]
pub(crate) struct Port {
    pub(crate) pending: Arc<Mutex<BTreeMap<String, String>>>,
    /// What is answered in place of the right answer.
    pub(crate) lie: Option<&'static str>,
}

impl Port {
    /// Listens until the test ends.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let port = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let port = port.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = port.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        address
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let token = path.strip_prefix("/.well-known/acme-challenge/");
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let known = token.and_then(|token| pending.get(token)).cloned();
        let text = match (known, self.lie) {
            (Some(answer), Some(_)) if answer.ends_with(".points-here") => answer,
            (Some(_), Some(lie)) => lie.to_owned(),
            (Some(answer), None) => answer,
            (None, _) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                return response;
            }
        };
        Response::new(Full::from(text))
    }

    /// How many answers are out.
    pub(crate) fn count(&self) -> usize {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.len()
    }
}

#[async_trait]
impl Answers for Port {
    async fn publish(&self, token: &str, answer: &str) -> Result<(), String> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.insert(token.to_owned(), answer.to_owned());
        Ok(())
    }

    async fn withdraw(&self, token: &str) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.remove(token);
    }

    async fn withdraw_all(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.clear();
    }
}

/// A keeper and everything around it.
pub(crate) struct Place {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) certs: Arc<CertStore>,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    ahead: Arc<AtomicU64>,
    running: JoinHandle<()>,
}

/// What may be different in a test.
pub(crate) struct Plan {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) roots: PathBuf,
    pub(crate) port: Port,
    pub(crate) points_here: PointsHere,
    pub(crate) dns_hook: Option<PathBuf>,
    pub(crate) orders_per_day: u32,
    pub(crate) request: Duration,
}

impl Plan {
    pub(crate) fn new(authorities: Vec<Authority>, roots: &Path, port: Port) -> Self {
        Self {
            authorities,
            roots: roots.to_owned(),
            port,
            points_here: PointsHere::Unchecked,
            dns_hook: None,
            orders_per_day: 100,
            request: PATIENCE,
        }
    }

    pub(crate) fn start(self) -> Place {
        self.start_in(Arc::new(tempfile::tempdir().expect("a folder")))
    }

    /// With the folder that another keeper left, or has.
    pub(crate) fn start_in(self, folder: Arc<TempDir>) -> Place {
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("folder")).expect("a folder");
        std::fs::write(at("seal.key"), "07".repeat(32)).expect("a key");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(at("seal.key"), mode).expect("a mode");
        let seal = Arc::new(Seal::open(&at("seal.key")).expect("a key"));
        let ahead = Arc::new(AtomicU64::new(0));
        let moved = Arc::clone(&ahead);
        let clock: certs::Clock = Arc::new(move || {
            SystemTime::now() + Duration::from_secs(moved.load(Ordering::Relaxed))
        });
        let certs = CertStore::open_managed(
            at("folder"),
            at("managed"),
            Arc::clone(&seal),
            Arc::clone(&clock),
        )
        .expect("both folders are there");
        let options = Options {
            dir: at("managed"),
            authorities: self.authorities,
            roots: self.roots,
            points_here: self.points_here,
            dns_hook: self.dns_hook,
            orders_per_day: self.orders_per_day,
            request: self.request,
            order: 2 * PATIENCE,
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let around = Around {
            certs: Arc::clone(&certs),
            answers: Arc::new(self.port),
            clock,
            chance: Box::new(|| 0.5),
            wanted: Box::new(|name| !name.starts_with("gone.")),
            told: Box::new(move |told| {
                assert_ne!(told.name, PANICS, "as planned");
                let outcome = told
                    .outcome
                    .map_or_else(|fault| fault.as_str(), |()| "issued");
                let text = format!("{} {outcome}", told.authority.unwrap_or("-"));
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(text);
            }),
        };
        let keeper = Keeper::open(options, seal, around).expect("a keeper");
        let running = tokio::spawn(Arc::clone(&keeper).run());
        Place {
            keeper,
            certs,
            folder,
            told,
            ahead,
            running,
        }
    }
}

impl Place {
    /// Begins an act and waits for its end.
    pub(crate) async fn act(&self, act: Act, name: &str) -> Stage {
        let begun = self.keeper.begin(act, name, "oak");
        begun.unwrap_or_else(|why| panic!("{act:?} {name}: {why}"));
        until("the try ends", async || match self.keeper.stage(name) {
            Some(stage @ (Stage::Issued(..) | Stage::Failed(..))) => Some(stage),
            _ => None,
        })
        .await
    }

    /// Adds a host, whose certificate must be issued.
    pub(crate) async fn issue(&self, name: &str) -> String {
        match self.act(Act::Add, name).await {
            Stage::Issued(authority, _) => authority,
            other => panic!("{name}: {other:?}, {:?}", self.told()),
        }
    }

    /// Lets time pass.
    pub(crate) fn later(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The chain on disk.
    pub(crate) fn chain(&self, stem: &str) -> String {
        let file = self
            .folder
            .path()
            .join("managed")
            .join(format!("{stem}.crt"));
        std::fs::read_to_string(file).expect("a chain is there")
    }

    /// Ends the keeper and gives back its folder.
    pub(crate) async fn end(self) -> Arc<TempDir> {
        self.running.abort();
        let _ended = self.running.await;
        self.folder
    }
}

/// Waits, but not for ever.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
