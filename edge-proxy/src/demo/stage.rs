//! Sets the demo up: certificates, two published releases, two origins, config files, the edge.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use asset_pipeline::id::ReleaseId;
use asset_pipeline::publish::{Publish, PublishError, publish};
use asset_pipeline::store::{Store, StoreError};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::ca::{Ca, CaError};
use super::origin::{Origin, SESSION_COOKIE};
use super::school::{Registry, SCHOOLS};
use super::site::{self, SiteError};
use crate::colour::{Colour, PerColour};
use crate::config::{self, Mistakes};
use crate::edge::{Edge, StartError};
use crate::listener::Sockets;

/// The one app.
pub(super) const APP: &str = "learn";
/// With it exactly one of the two schools lies below 50 %.
pub(super) const SALT: &str = "demo";
const TLS_PORT: u16 = 8443;
const PLAIN_PORT: u16 = 8080;
/// Publishing and mirroring take a second; a slow machine gets more.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why the demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A file, folder or port.
    #[error("the demo could not be set up: {what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The embedded site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The demo's own config.
    #[error("the demo's own config is wrong: {0}")]
    Config(#[from] Mistakes),
    /// The folder store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A release.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A name of the demo's.
    #[error(transparent)]
    Name(#[from] asset_pipeline::id::NotAName),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] StartError),
    /// It started and did not become ready.
    #[error("the edge did not become ready: {0}")]
    NotReady(String),
}

/// Which ports the edge listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// 8443 and 8080 where they are free, so that URLs can be remembered.
    Known,
    /// Whatever is free.
    Free,
}

/// The demo, running. Its folder is removed when it is dropped.
pub(super) struct Stage {
    pub(super) ca: Ca,
    pub(super) origins: PerColour<Origin>,
    pub(super) public: SocketAddr,
    pub(super) plain: SocketAddr,
    edge: Edge,
    folder: TempDir,
}

impl Stage {
    /// Starts everything and waits until the edge is ready.
    pub(super) async fn set(ports: Ports) -> Result<Self, StageError> {
        let folder = tempfile::Builder::new()
            .prefix("bellwether-demo-")
            .tempdir()
            .map_err(broken("a temporary folder"))?;
        let at = folder.path();
        let ca = certificates(at)?;
        let releases = PerColour {
            blue: "one".parse::<ReleaseId>()?,
            green: "two".parse::<ReleaseId>()?,
        };
        for colour in Colour::BOTH {
            release(at, colour, releases.get(colour)).await?;
        }

        let registry = Arc::new(Registry::new());
        let origin = |colour| {
            let release = releases.get(colour).clone();
            Origin::start(colour, release, Arc::clone(&registry))
        };
        let origins = PerColour {
            blue: origin(Colour::Blue).await.map_err(broken("an origin"))?,
            green: origin(Colour::Green).await.map_err(broken("an origin"))?,
        };

        let public = port(ports, TLS_PORT)?;
        let plain = port(ports, PLAIN_PORT)?;
        write(at, "edge.toml", &edge_toml(at, public, plain, &origins))?;
        write(at, "tenants.toml", &tenants_toml())?;
        write(at, "rules.toml", RULES)?;
        let config = config::load(&at.join("edge.toml"))?;
        let edge = Edge::start(config, Sockets::new()).await?;
        ready(&edge).await?;
        Ok(Self {
            ca,
            origins,
            public,
            plain,
            edge,
            folder,
        })
    }

    /// Lets what is under way finish, and removes the folder.
    pub(super) async fn end(self) {
        self.edge.drain().await;
    }

    /// What a browser or curl must trust.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The config that commands take.
    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.path().join("edge.toml")
    }

    /// The operator's socket.
    pub(super) fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }
}

fn broken(what: &str) -> impl Fn(io::Error) -> StageError {
    move |source| StageError::Io {
        what: what.to_owned(),
        source,
    }
}

fn certificates(at: &Path) -> Result<Ca, StageError> {
    let folder = at.join("certificates");
    fs::create_dir(&folder).map_err(broken("the folder of certificates"))?;
    let ca = Ca::new()?;
    ca.write(&at.join("ca.pem"))?;
    for school in &SCHOOLS {
        ca.issue(school.host, &folder)?;
    }
    Ok(ca)
}

async fn release(at: &Path, colour: Colour, id: &ReleaseId) -> Result<(), StageError> {
    let folder = at.join("sites").join(colour.as_str());
    fs::create_dir_all(&folder).map_err(broken("the folder of a release"))?;
    site::write(colour, &folder)?;
    let store_at = at.join("store");
    fs::create_dir_all(&store_at).map_err(broken("the store"))?;
    let store = Store::open(&format!("file://{}", store_at.display()))?;
    publish(Publish::new(folder, APP.parse()?, id.clone(), store), &()).await?;
    Ok(())
}

/// A free port of the loopback interface; the edge binds it a moment later.
fn port(ports: Ports, known: u16) -> Result<SocketAddr, StageError> {
    let wanted = match ports {
        Ports::Known => known,
        Ports::Free => 0,
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|listener| listener.local_addr())
        .map_err(broken("a port of the loopback interface"))
}

fn write(at: &Path, name: &str, text: &str) -> Result<(), StageError> {
    fs::write(at.join(name), text).map_err(broken(name))
}

async fn ready(edge: &Edge) -> Result<(), StageError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        // The idle colour too: the tour shifts to it.
        let missing = edge.unfit();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(StageError::NotReady(missing.join("; ")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn edge_toml(
    at: &Path,
    public: SocketAddr,
    plain: SocketAddr,
    origins: &PerColour<Origin>,
) -> String {
    let at = at.display();
    let port = public.port();
    let (blue, green) = (origins.blue.addr(), origins.green.addr());
    format!(
        r#"state = "{at}/state"

[listeners]
public = ["{public}"]
redirect = ["{plain}"]
redirect_port = {port}
admin = "{at}/admin.sock"
observe = "off"

[tls]
certificates = "{at}/certificates"
hsts = "off" # a browser would remember it for every demo to come

[store]
url = "file://{at}/store"
poll_s = 0.5

[log]
access = "{at}/access.log"

[identity]
cookies = ["{SESSION_COOKIE}"]
subject = "/id"
tenant = "/school/id"
roles = "/roles"

[apps.{APP}]
salt = "{SALT}"

[apps.{APP}.services.web]
paths = ["/"]
probe = {{ path = "/up", interval_s = 0.25, timeout_s = 5 }}

[apps.{APP}.services.api]
paths = ["/api"]
probe = {{ path = "/up", interval_s = 0.25, timeout_s = 5 }}

[[apps.{APP}.routes]]
path = "/api/v1/events"
kind = "stream"

[[apps.{APP}.routes]]
path = "/api/v1/socket"
kind = "stream"

[apps.{APP}.first]
live = "blue"

[apps.{APP}.first.blue]
release = "one"
schema = "1..2"
members = {{ web = ["{blue}"], api = ["{blue}"] }}

[apps.{APP}.first.green]
release = "two"
schema = "2..3"
members = {{ web = ["{green}"], api = ["{green}"] }}
"#
    )
}

fn tenants_toml() -> String {
    SCHOOLS
        .iter()
        .map(|school| format!("[tenants.{}]\nhosts = [\"{}\"]\n", school.id, school.host))
        .collect()
}

const RULES: &str = r#"[[rule]]
name = "catalogue"
path = "/api/v1/catalogue"
scope = "public"
ttl_s = 300

[[rule]]
name = "courses"
path = "/api/v1/courses"
scope = "tenant"
ttl_s = 60
"#;

#[cfg(test)]
mod tests {
    use cache_rules::tenant::TenantId;

    use super::*;
    use crate::colour::Split;
    use crate::split::{Splitter, Unit};

    #[test]
    fn exactly_one_school_moves_at_half() {
        let half = Split::with(Colour::Green, 5_000).expect("a weight");
        let splitter = Splitter::new(SALT, half);
        let moved = SCHOOLS.iter().filter(|school| {
            let tenant: TenantId = school.id.parse().expect("a name");
            splitter.choose(&Unit::Tenant(&tenant)).0 == Colour::Green
        });
        let moved: Vec<_> = moved.map(|school| school.id).collect();
        assert_eq!(moved, ["cedar"], "the notice and the tour say who moves");
    }
}
