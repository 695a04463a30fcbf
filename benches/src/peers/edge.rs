//! The edge itself, as operators start it: `edge-proxy run --config`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use asset_pipeline::publish::{Input, Publish, publish};
use asset_pipeline::store::Store;

use super::{Peer, Place, Server, write};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::log::AccessLog;
use crate::process::{Process, free_address};

/// The release that the site is published as.
pub(crate) const RELEASE: &str = "bench-1";
const TENANTS: &str = "[tenants.bench]\nhosts = [\"localhost\"]\n";
const RULES: &str = r#"[[rule]]
name = "lists"
path = "/api/v1/lists/{name}"
scope = "public"
ttl_s = 86400
[[rule]]
name = "lists-of-a-school"
path = "/api/v1/school/lists/{name}"
scope = "tenant"
ttl_s = 86400
"#;

pub(super) fn start(place: &Place) -> Result<Server, BenchError> {
    let folder = place.folder(Peer::Edge)?;
    let store = format!("file://{}", folder.join("store").display());
    publish_site(&place.ground, &store)?;
    let address = free_address()?;
    let log = AccessLog::new(folder.join("access.log"));
    let config = format!(
        r#"state = "{folder}/state"
[listeners]
public = ["{address}"]
observe = "off"
[tls]
certificates = "{certificates}"
hsts = "off"
[store]
url = "{store}"
[log]
access = "{log}"
[identity]
cookies = ["_session"]
subject = "/id"
tenant = "/school/id"
[apps.learn.services.web]
paths = ["/"]
[apps.learn.first]
live = "blue"
[apps.learn.first.blue]
release = "{RELEASE}"
schema = "1..1"
members = {{ web = ["{origin}"] }}
"#,
        folder = folder.display(),
        certificates = place.ground.certificates().display(),
        log = log.path().display(),
        origin = place.origin.address(),
    );
    write(&folder.join("tenants.toml"), TENANTS)?;
    write(&folder.join("rules.toml"), RULES)?;
    let file = folder.join("edge.toml");
    write(&file, &config)?;
    let mut command = Command::new(&place.edge);
    command.arg("run").arg("--config").arg(&file);
    Ok(Server {
        peer: Peer::Edge,
        address,
        log,
        process: Process::start("edge", &mut command, place.cores, &folder)?,
    })
}

/// The binary that is given, or else one that is built beside this program, so that what is measured is
/// what is in the tree.
pub(crate) fn given_or_built(given: Option<&Path>) -> Result<PathBuf, BenchError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "edge-proxy", "--bin", "edge-proxy"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = command.status().is_ok_and(|status| status.success());
    if !built {
        return Err(BenchError::Build {
            command: format!("{command:?}"),
        });
    }
    let own = env::current_exe().map_err(BenchError::io("the path of this program"))?;
    Ok(own.with_file_name("edge-proxy"))
}

/// Publishes the files as a release, as a build would.
pub(crate) fn publish_site(ground: &Ground, store: &str) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Publish(error.to_string());
    let app = "learn".parse().map_err(|e| failed(&e))?;
    let release = RELEASE.parse().map_err(|e| failed(&e))?;
    let store = Store::open(store).map_err(|e| failed(&e))?;
    let what = Publish {
        from: Input::Next,
        ..Publish::new(ground.site(), app, release, store)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(BenchError::io("the runtime of the publish"))?;
    runtime
        .block_on(publish(what, &()))
        .map(drop)
        .map_err(|e| failed(&e))
}
