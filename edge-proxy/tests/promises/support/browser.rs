//! A real browser: headless Chromium, driven over its DevTools protocol.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::wait::{soon, until, until_or};

/// Where Debian and others put it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// A page is at rest when the network was silent for this long.
const REST: Duration = Duration::from_millis(300);

/// A running browser with a profile of its own; both end with this value.
pub(crate) struct Browser {
    _process: Killed,
    _profile: TempDir,
    wire: Arc<Wire>,
}

/// A process that does not outlive this value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One tab and what happened in it since it was last asked.
pub(crate) struct Tab {
    wire: Arc<Wire>,
    session: String,
}

/// What happened in a tab.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    pub(crate) requests: BTreeMap<String, Loaded>,
    pub(crate) errors: Vec<String>,
}

/// One request of a page.
#[derive(Debug, Default, Clone)]
pub(crate) struct Loaded {
    pub(crate) url: String,
    /// `Script`, `Document` and so on.
    pub(crate) kind: String,
    pub(crate) status: u16,
    /// `h2` and so on.
    pub(crate) protocol: String,
    pub(crate) encoding: String,
    pub(crate) from_cache: bool,
    /// What came over the network, its header included.
    pub(crate) bytes: u64,
    pub(crate) failure: Option<String>,
}

type Socket = WebSocketStream<TcpStream>;

struct Wire {
    sink: tokio::sync::Mutex<SplitSink<Socket, Message>>,
    next: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<u64, oneshot::Sender<Value>>,
    tabs: BTreeMap<String, State>,
}

#[derive(Default)]
struct State {
    log: Log,
    loading: HashSet<String>,
    loaded: bool,
    last: Option<Instant>,
}

/// The browser's program, if there is one.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

impl Browser {
    /// Starts it. Every host is on loopback, and the key with this hash is trusted.
    ///
    /// None where it is not installed; with `CI=true` that is a failure, unless `TESTS_WITHOUT`
    /// says that it could not be had.
    pub(crate) async fn start(spki_hash: &str) -> Option<Self> {
        let Some(program) = program() else {
            let set = |name, value| std::env::var(name).is_ok_and(|text: String| text == value);
            let must = set("CI", "true") && !set("TESTS_WITHOUT", "chromium");
            assert!(!must, "Chromium is not installed");
            super::fixtures::skipped("Chromium is not installed");
            return None;
        };
        let profile = tempfile::tempdir().expect("there is a place for temporary files");
        let process = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                // Compression dictionaries are for public roots and localhost else.
                "--disable-features=CompressionDictionaryTransportRequireKnownRootCert",
                "--remote-debugging-port=0",
                "--host-resolver-rules=MAP * 127.0.0.1",
            ])
            .arg(format!("--ignore-certificate-errors-spki-list={spki_hash}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = until("Chromium says where it listens", async || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.split_once('\n')?;
            (!path.is_empty()).then(|| (port.to_owned(), path.trim().to_owned()))
        })
        .await;
        let wire = Wire::open(&port, &path).await;
        Some(Self {
            _process: Killed(process),
            _profile: profile,
            wire,
        })
    }

    /// A new tab.
    pub(crate) async fn tab(&self) -> Tab {
        let target = self
            .wire
            .call(None, "Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attached = self
            .wire
            .call(
                None,
                "Target.attachToTarget",
                json!({ "targetId": target["targetId"], "flatten": true }),
            )
            .await;
        let session = attached["sessionId"]
            .as_str()
            .expect("an attached tab has a session")
            .to_owned();
        self.wire
            .shared
            .lock()
            .tabs
            .insert(session.clone(), State::default());
        let tab = Tab {
            wire: Arc::clone(&self.wire),
            session,
        };
        for domain in ["Page", "Network", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab
    }

    /// Asks it to end; a browser that does not is killed with this value.
    pub(crate) async fn close(self) {
        self.wire.call(None, "Browser.close", json!({})).await;
    }
}

impl Tab {
    /// Loads a page and waits until the network rests.
    pub(crate) async fn load(&self, url: &str) -> Log {
        self.with(|state| *state = State::default());
        let answer = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(
            answer.get("errorText").is_none(),
            "{url} is not loaded: {answer}"
        );
        self.rest().await
    }

    /// Waits until the page is loaded and the network rests: what happened since the last load.
    pub(crate) async fn rest(&self) -> Log {
        let rested = until_or(async || {
            self.with(|state| {
                let quiet = state.last.is_some_and(|last| last.elapsed() > REST);
                (state.loaded && state.only_prefetches() && quiet).then(|| state.log.clone())
            })
        });
        rested.await.unwrap_or_else(|| {
            self.with(|state| {
                let waits = state
                    .loading
                    .iter()
                    .filter_map(|id| state.log.requests.get(id));
                let waits: Vec<_> = waits.collect();
                panic!("loaded: {}, still waiting for {waits:#?}", state.loaded)
            })
        })
    }

    /// The value of an expression in the page; a promise is awaited.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        let answer = self
            .call(
                "Runtime.evaluate",
                json!({ "expression": expression, "awaitPromise": true, "returnByValue": true }),
            )
            .await;
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.wire.call(Some(&self.session), method, params).await
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut shared = self.wire.shared.lock();
        look(shared.tabs.entry(self.session.clone()).or_default())
    }
}

impl Log {
    /// Everything that a person at the screen, or at its console, would call an error.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let failed = self.requests.values().filter_map(|request| {
            let url = &request.url;
            match (&request.failure, request.status) {
                (Some(failure), _) => Some(format!("{url}: {failure}")),
                (None, 400..) => Some(format!("{url}: {}", request.status)),
                (None, _) => None,
            }
        });
        failed.chain(self.errors.iter().cloned()).collect()
    }
}

impl Wire {
    async fn open(port: &str, path: &str) -> Arc<Self> {
        let stream = TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .expect("Chromium listens");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tokio_tungstenite::client_async(url, stream)
            .await
            .expect("Chromium speaks WebSocket");
        let (sink, mut messages) = socket.split();
        let wire = Arc::new(Self {
            sink: tokio::sync::Mutex::new(sink),
            next: AtomicU64::new(1),
            shared: Mutex::default(),
        });
        let heard = Arc::downgrade(&wire);
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                let Some(wire) = heard.upgrade() else { return };
                if let Message::Text(text) = message
                    && let Ok(message) = serde_json::from_str(&text)
                {
                    wire.heard(message);
                }
            }
        });
        wire
    }

    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.shared.lock().answers.insert(id, answer);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let sent = self
            .sink
            .lock()
            .await
            .send(Message::text(message.to_string()))
            .await;
        sent.expect("Chromium listens");
        let mut answer = soon(&format!("{method} is answered"), answered)
            .await
            .expect("Chromium answers");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    fn heard(&self, mut message: Value) {
        let mut shared = self.shared.lock();
        if let Some(id) = message["id"].as_u64() {
            if let Some(answer) = shared.answers.remove(&id) {
                // A caller that gave up does not want it.
                let _ = answer.send(message);
            }
            return;
        }
        let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
        let params = message["params"].take();
        if let Some(state) = shared.tabs.get_mut(&session) {
            state.heard(message["method"].as_str().unwrap_or_default(), &params);
        }
    }
}

impl State {
    /// Whether what is left are Next.js' prefetches: hints, which the browser may hold back for as
    /// long as it likes. Their payloads are asked for and compared by other tests.
    fn only_prefetches(&self) -> bool {
        let asked = |id| self.log.requests.get(id);
        let left = self.loading.iter().filter_map(asked);
        left.into_iter()
            .all(|request| request.kind == "Fetch" && request.url.contains("_rsc="))
    }

    fn heard(&mut self, method: &str, params: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&params["requestId"]);
        if method.starts_with("Network.") || method.starts_with("Page.") {
            self.last = Some(Instant::now());
        }
        match method {
            "Page.loadEventFired" => self.loaded = true,
            "Network.requestWillBeSent" => {
                let url = text(&params["request"]["url"]);
                if url.starts_with("http") {
                    self.loading.insert(id.clone());
                    let request = self.log.requests.entry(id).or_default();
                    request.url = url;
                    request.kind = text(&params["type"]);
                }
            }
            "Network.responseReceived" => {
                let Some(request) = self.log.requests.get_mut(&id) else {
                    return;
                };
                let response = &params["response"];
                request.status =
                    u16::try_from(response["status"].as_u64().unwrap_or(0)).unwrap_or(0);
                request.protocol = text(&response["protocol"]);
                request.from_cache = response["fromDiskCache"] == true
                    || response["fromPrefetchCache"] == true
                    || response["fromServiceWorker"] == true;
                let headers = response["headers"].as_object();
                let encoding = headers.and_then(|headers| {
                    let mut named = headers.iter();
                    named.find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"))
                });
                request.encoding = encoding.map_or_else(String::new, |(_, value)| text(value));
            }
            "Network.requestServedFromCache" => {
                if let Some(request) = self.log.requests.get_mut(&id) {
                    request.from_cache = true;
                }
            }
            "Network.loadingFinished" => {
                self.loading.remove(&id);
                if let Some(request) = self.log.requests.get_mut(&id) {
                    let bytes = params["encodedDataLength"].as_f64().unwrap_or(0.0);
                    request.bytes = bytes as u64;
                }
            }
            "Network.loadingFailed" => {
                self.loading.remove(&id);
                // The page itself changed its mind, such as about a prefetch.
                if params["canceled"] != true
                    && let Some(request) = self.log.requests.get_mut(&id)
                {
                    request.failure = Some(text(&params["errorText"]));
                }
            }
            "Runtime.exceptionThrown" => {
                self.log.errors.push(params["exceptionDetails"].to_string());
            }
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                self.log.errors.push(params["args"].to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                let entry = &params["entry"];
                self.log
                    .errors
                    .push(format!("{} {}", text(&entry["text"]), text(&entry["url"])));
            }
            _ => {}
        }
    }
}
