//! H2O: files and pass-through. It has no cache for answers of an origin.

use std::process::Command;

use super::{Peer, Place, Server, write};
use crate::case::{Size, What};
use crate::error::BenchError;
use crate::log::AccessLog;
use crate::process::{Process, free_address};
use crate::tools;

pub(super) fn start(place: &Place) -> Result<Server, BenchError> {
    let program = tools::H2O.find()?;
    let folder = place.folder(Peer::H2o)?;
    let address = free_address()?;
    let log = AccessLog::new(folder.join("access.log"));
    // As root it would become a user who may not read a folder of root.
    let user = if rustix::process::geteuid().is_root() {
        "user: root\n"
    } else {
        ""
    };
    let pass = What::Pass.path(Size::Small);
    let pass = pass.rsplit_once('/').map_or(pass, |(prefix, _)| prefix);
    let config = format!(
        r#"{user}num-threads: 1
pid-file: {folder}/h2o.pid
error-log: {folder}/error.log
access-log: {log}
listen:
  host: {host}
  port: {port}
  ssl:
    certificate-file: {certificate}
    key-file: {key}
    minimum-version: TLSv1.2
proxy.preserve-host: ON
proxy.timeout.keepalive: 60000
hosts:
  "default":
    paths:
      "/_next/static":
        file.dir: {site}/_next/static
        header.set: "Cache-Control: public, max-age=31536000, immutable"
        header.set: "Vary: accept-encoding"
        header.set: "X-Content-Type-Options: nosniff"
        header.set: "Timing-Allow-Origin: *"
      "{pass}":
        proxy.reverse.url: "http://{origin}{pass}"
"#,
        folder = folder.display(),
        log = log.path().display(),
        host = address.ip(),
        port = address.port(),
        certificate = place.ground.certificate_file().display(),
        key = place.ground.key_file().display(),
        site = place.ground.site().display(),
        origin = place.origin.address(),
    );
    let file = folder.join("h2o.conf");
    write(&file, &config)?;
    let mut command = Command::new(program);
    command.arg("--mode=worker").arg("--conf").arg(&file);
    Ok(Server {
        peer: Peer::H2o,
        address,
        log,
        process: Process::start("h2o", &mut command, place.cores, &folder)?,
    })
}
