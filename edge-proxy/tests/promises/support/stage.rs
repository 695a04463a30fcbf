//! A real edge on loopback between scripted origins and the clients of a test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_proxy::colour::{Colour, PerColour};
use edge_proxy::config::{self, checked::Config};
use edge_proxy::edge::Edge;
use edge_proxy::listener::Sockets;
use serde_json::Value;
use tempfile::TempDir;

use super::admin;
use super::certificates::{Authority, Pair};
use super::client::{Client, Http};
use super::origin::Origin;
use super::raw::Raw;
use super::site::{self, APP};
use super::wait::{soon, until};

/// Two schools; the first is the one that most tests use.
pub(crate) const MAPLE: &str = "maple.school.test";
pub(crate) const OAK: &str = "oak.school.test";

/// What is put on the stage before the edge starts.
pub(crate) struct Plan {
    tenants: Vec<(String, Vec<String>)>,
    rings: Vec<(String, String)>,
    ring_tables: String,
    rules: String,
    limits: String,
    routes: String,
    redirect: u16,
    listeners: String,
    tables: String,
    top: String,
    app: String,
    identity: String,
    store: Option<PathBuf>,
    blue_release: String,
    green_release: String,
    green_schema: String,
    members: PerColour<Option<std::net::SocketAddr>>,
    ready: bool,
}

/// The edge and everything around it; all of it ends with this value.
pub(crate) struct Stage {
    pub(crate) edge: Edge,
    pub(crate) blue: Origin,
    pub(crate) green: Origin,
    pub(crate) authority: Authority,
    pub(crate) pair: Pair,
    config: PathBuf,
    folder: TempDir,
}

/// Everything around an edge, before it starts.
pub(crate) struct Set {
    pub(crate) blue: Origin,
    pub(crate) green: Origin,
    pub(crate) authority: Authority,
    pub(crate) pair: Pair,
    pub(crate) config: PathBuf,
    pub(crate) folder: TempDir,
}

/// Two schools, blue live on `r1`, green idle on `r2`, and nothing cached.
pub(crate) fn plan() -> Plan {
    Plan {
        tenants: vec![
            ("maple".to_owned(), vec![MAPLE.to_owned()]),
            ("oak".to_owned(), vec![OAK.to_owned()]),
        ],
        rings: Vec::new(),
        ring_tables: String::new(),
        rules: String::new(),
        limits: String::new(),
        routes: String::new(),
        redirect: 0,
        listeners: String::new(),
        tables: String::new(),
        top: String::new(),
        app: String::new(),
        identity: "cookies = [\"_session\"]\nsubject = \"/id\"\ntenant = \"/school/id\"\nroles = \"/roles\"\n".to_owned(),
        store: None,
        blue_release: "r1".to_owned(),
        green_release: "r2".to_owned(),
        green_schema: "1..2".to_owned(),
        members: PerColour {
            blue: None,
            green: None,
        },
        ready: true,
    }
}

impl Plan {
    /// One more school.
    pub(crate) fn tenant(mut self, id: &str, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.tenants.push((id.to_owned(), hosts));
        self
    }

    /// Puts a school into a ring.
    pub(crate) fn ring(mut self, school: &str, ring: &str) -> Self {
        self.rings.push((school.to_owned(), ring.to_owned()));
        self
    }

    /// The `[rings]` of `tenants.toml`.
    pub(crate) fn ring_tables(mut self, text: &str) -> Self {
        self.ring_tables = text.to_owned();
        self
    }

    /// The text of `rules.toml`.
    pub(crate) fn rules(mut self, rules: &str) -> Self {
        self.rules = rules.to_owned();
        self
    }

    /// A line of `[limits]`.
    pub(crate) fn limit(mut self, line: &str) -> Self {
        self.limits.push_str(line);
        self.limits.push('\n');
        self
    }

    /// A line of `[listeners]`.
    pub(crate) fn listener(mut self, line: &str) -> Self {
        self.listeners.push_str(line);
        self.listeners.push('\n');
        self
    }

    /// The port that plain HTTP is redirected from; any free one otherwise.
    pub(crate) fn redirect(mut self, port: u16) -> Self {
        self.redirect = port;
        self
    }

    /// A table of `edge.toml`.
    pub(crate) fn table(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self.tables.push('\n');
        self
    }

    /// A line of `edge.toml` before its tables.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// A line of the app.
    pub(crate) fn app(mut self, line: &str) -> Self {
        self.app.push_str(line);
        self.app.push('\n');
        self
    }

    /// The keys of `[identity]`, in place of a question to the origin.
    pub(crate) fn identity(mut self, text: &str) -> Self {
        self.identity = text.to_owned();
        self
    }

    /// A path prefix that is treated apart.
    pub(crate) fn route(mut self, path: &str, keys: &str) -> Self {
        let _ = write!(
            self.routes,
            "[[apps.{APP}.routes]]\npath = \"{path}\"\n{keys}\n"
        );
        self
    }

    /// Event streams and WebSockets below a path.
    pub(crate) fn stream(self, path: &str) -> Self {
        self.route(path, "kind = \"stream\"")
    }

    /// Another store than that of the small site.
    pub(crate) fn store(mut self, folder: &Path) -> Self {
        self.store = Some(folder.to_owned());
        self
    }

    /// The release that blue names.
    pub(crate) fn blue_release(mut self, release: &str) -> Self {
        self.blue_release = release.to_owned();
        self
    }

    /// The release that green names.
    pub(crate) fn green_release(mut self, release: &str) -> Self {
        self.green_release = release.to_owned();
        self
    }

    /// The database schemas that green works with; blue has `1..2`.
    pub(crate) fn green_schema(mut self, schema: &str) -> Self {
        self.green_schema = schema.to_owned();
        self
    }

    /// An address in place of a colour's origin.
    pub(crate) fn member(mut self, colour: Colour, address: std::net::SocketAddr) -> Self {
        *self.members.get_mut(colour) = Some(address);
        self
    }

    /// Does not wait until the edge is ready for clients.
    pub(crate) fn unready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// Starts the origins and the edge, and waits until it is ready.
    pub(crate) async fn start(self) -> Stage {
        let ready = self.ready;
        let set = self.set().await;
        let edge = start(&set.config).await;
        let stage = Stage {
            edge,
            blue: set.blue,
            green: set.green,
            authority: set.authority,
            pair: set.pair,
            config: set.config,
            folder: set.folder,
        };
        if ready {
            stage.ready().await;
        }
        stage
    }

    /// Starts the origins and writes what an edge needs.
    pub(crate) async fn set(self) -> Set {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let blue = Origin::start("blue").await;
        let green = Origin::start("green").await;
        let authority = Authority::new();
        let pair = authority.issue(&["school.test", "*.school.test"]);
        let certificates = folder.path().join("certificates");
        std::fs::create_dir(&certificates).expect("the test's folder can be written");
        pair.write(&certificates, "school");
        let store = match &self.store {
            Some(store) => store.clone(),
            None => site::published().await.to_owned(),
        };
        let edge_toml = self.edge_toml(folder.path(), &store, &blue, &green);
        let put = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text)
                .expect("the test's folder can be written");
        };
        put("tenants.toml", &self.tenants_toml());
        put("rules.toml", &self.rules);
        put("edge.toml", &edge_toml);
        let config = folder.path().join("edge.toml");
        Set {
            blue,
            green,
            authority,
            pair,
            config,
            folder,
        }
    }

    fn edge_toml(&self, folder: &Path, store: &Path, blue: &Origin, green: &Origin) -> String {
        let folder = folder.display();
        let store = site::url(store);
        let limits = &self.limits;
        let routes = &self.routes;
        let redirect = self.redirect;
        let (listeners, tables, identity) = (&self.listeners, &self.tables, &self.identity);
        let (top, app) = (&self.top, &self.app);
        let member = |colour, origin: &Origin| self.members.get(colour).unwrap_or(origin.address);
        let (blue, green) = (member(Colour::Blue, blue), member(Colour::Green, green));
        let blue_release = &self.blue_release;
        let (green_release, green_schema) = (&self.green_release, &self.green_schema);
        let probe = "{ interval_s = 0.1, timeout_s = 2, unhealthy_after = 2, healthy_after = 1 }";
        format!(
            r#"
state = "{folder}/state"
{top}

[listeners]
public = ["127.0.0.1:0"]
redirect = ["127.0.0.1:{redirect}"]
redirect_port = 8443
danger_plain = ["127.0.0.1:0"]
observe = "127.0.0.1:0"
{listeners}
{tables}

[tls]
certificates = "{folder}/certificates"
hsts = "off"

[store]
url = "{store}"
poll_s = 0.1

[log]
access = "{folder}/access.log"

[limits]
{limits}

[identity]
{identity}

[apps.{APP}]
salt = "{APP}"
{app}

[apps.{APP}.services.web]
paths = ["/"]
probe = {probe}

[apps.{APP}.services.api]
paths = ["/api"]
probe = {probe}

{routes}

[apps.{APP}.first]
live = "blue"

[apps.{APP}.first.blue]
release = "{blue_release}"
schema = "1..2"
members = {{ web = ["{blue}"], api = ["{blue}"] }}

[apps.{APP}.first.green]
release = "{green_release}"
schema = "{green_schema}"
members = {{ web = ["{green}"], api = ["{green}"] }}
"#
        )
    }

    fn tenants_toml(&self) -> String {
        let tables = self.ring_tables.clone() + "\n";
        self.tenants.iter().fold(tables, |mut text, (id, hosts)| {
            let _ = writeln!(text, "[tenants.\"{id}\"]\nhosts = {hosts:?}");
            if let Some((_, ring)) = self.rings.iter().find(|(school, _)| school == id) {
                let _ = writeln!(text, "ring = {ring:?}");
            }
            text
        })
    }
}

/// Reads a config; pictures are made by the command, as this program is another one.
fn load(config: &Path) -> Config {
    let mut config = config::load(config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    config.images.program = env!("CARGO_BIN_EXE_edge-proxy").into();
    config
}

async fn start(config: &Path) -> Edge {
    Edge::start(load(config), Sockets::new())
        .await
        .unwrap_or_else(|error| panic!("the edge does not start: {error}"))
}

impl Stage {
    /// Waits until the edge would take clients.
    pub(crate) async fn ready(&self) {
        until("the edge is ready", async || {
            self.edge.not_ready().is_empty().then_some(())
        })
        .await;
    }

    /// Ends the edge and starts it anew with what it left on disk.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|| ()).await
    }

    /// As [`Self::restart`]; `meanwhile` happens while no edge runs.
    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce()) -> Self {
        let Self {
            edge,
            blue,
            green,
            authority,
            pair,
            config,
            folder,
        } = self;
        edge.drain().await;
        meanwhile();
        // The connection of the last command may hold the state file for a moment.
        let edge = until("the state file is free", async || {
            Edge::start(load(&config), Sockets::new()).await.ok()
        })
        .await;
        let stage = Self {
            edge,
            blue,
            green,
            authority,
            pair,
            config,
            folder,
        };
        stage.ready().await;
        stage
    }

    /// The origin of a colour.
    pub(crate) fn origin(&self, colour: Colour) -> &Origin {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// Where TLS is spoken.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.edge.addresses().public[0]
    }

    /// Where plain HTTP is only redirected.
    pub(crate) fn redirect_address(&self) -> std::net::SocketAddr {
        self.edge.addresses().redirect[0]
    }

    /// Where plain HTTP is served.
    pub(crate) fn plain_address(&self) -> std::net::SocketAddr {
        self.edge.addresses().danger_plain[0]
    }

    /// Where health and figures are read.
    pub(crate) fn observe_address(&self) -> std::net::SocketAddr {
        self.edge
            .addresses()
            .observe
            .expect("tests let the edge be observed")
    }

    /// A new connection over TLS.
    pub(crate) async fn client(&self, host: &str, http: Http) -> Client {
        let tls = self.authority.client(&[http.alpn()]);
        Client::open(self.address(), host, tls, http).await
    }

    /// A new HTTP/2 connection.
    pub(crate) async fn h2(&self, host: &str) -> Client {
        self.client(host, Http::Two).await
    }

    /// A new HTTP/1.1 connection.
    pub(crate) async fn h1(&self, host: &str) -> Client {
        self.client(host, Http::One).await
    }

    /// A new connection over TLS for bytes.
    pub(crate) async fn raw(&self, sni: &str) -> Raw {
        Raw::tls(self.address(), sni, self.authority.client(&["http/1.1"])).await
    }

    /// The folder of certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.path().join("certificates")
    }

    /// The folder of everything that the edge writes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The access log so far.
    pub(crate) fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// A request over the operator's socket: status and JSON.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        admin::call(&self.edge.addresses().admin, method, path, body).await
    }

    /// Moves weight, and is done when requests see it.
    pub(crate) async fn shift(&self, weight: &str) {
        let (status, answer) = self.try_shift(weight).await;
        assert_eq!(status, 200, "{weight}: {answer}");
    }

    /// Moves weight, unless that is refused.
    pub(crate) async fn try_shift(&self, weight: &str) -> (u16, Value) {
        let path = format!("/v1/apps/{APP}/shift");
        let body = serde_json::json!({ "weight": weight });
        self.admin("POST", &path, Some(body)).await
    }

    /// Waits until a colour may get weight.
    pub(crate) async fn colour_ready(&self, colour: Colour) {
        until("the colour is well and its release complete", async || {
            let (_, status) = self.admin("GET", "/v1/status", None).await;
            let colours = status["apps"][APP]["colours"].as_array()?.clone();
            let of_colour = colours
                .into_iter()
                .find(|of| of["colour"] == colour.as_str())?;
            of_colour["refused"].as_array()?.is_empty().then_some(())
        })
        .await;
    }

    /// Purges a tag of a school.
    pub(crate) async fn purge(&self, tenant: &str, tag: &str) {
        let body = serde_json::json!({ "tenant": tenant, "tag": tag });
        let (status, answer) = self.admin("POST", "/v1/purge", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Runs an operator's command as a process of its own.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-proxy"));
        command.args(arguments).arg("--config").arg(&self.config);
        let output = tokio::task::spawn_blocking(move || command.output());
        soon("the command ends", output)
            .await
            .expect("nothing panics in there")
            .expect("the binary was built")
    }
}
