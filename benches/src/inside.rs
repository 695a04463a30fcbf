//! The config of an edge in this process: several schools, one origin, on loopback.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use edge_proxy::config::{self, Config};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::error::BenchError;

/// For one answer; a busy machine needs a while.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A folder for everything of one run; it is gone with this value.
pub(crate) fn folder() -> Result<TempDir, BenchError> {
    let made = tempfile::Builder::new()
        .prefix("bellwether-bench-")
        .tempdir();
    made.map_err(BenchError::io("the folder of the run cannot be written"))
}

/// The files, read as the edge reads them.
pub(crate) fn config(
    folder: &Path,
    schools: usize,
    rules: &str,
    limits: &str,
    origin: &str,
) -> Result<Config, BenchError> {
    let file = write(folder, schools, "127.0.0.1:0", rules, limits, origin)?;
    config::load(&file)
        .map_err(|mistakes| BenchError::io("the config")(io::Error::other(mistakes.to_string())))
}

/// Writes the files, and says where the first one is. School `n` is `school-n` at `school-n.example`.
pub(crate) fn write(
    folder: &Path,
    schools: usize,
    listen: &str,
    rules: &str,
    limits: &str,
    origin: &str,
) -> Result<PathBuf, BenchError> {
    let unwritable = || BenchError::io("the folder of the run cannot be written");
    for name in ["certificates", "store"] {
        std::fs::create_dir(folder.join(name)).map_err(unwritable())?;
    }
    // The edge does not start without a certificate, also where it serves without TLS.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    put("certificates/any.crt", &made.cert.pem()).map_err(unwritable())?;
    put("certificates/any.key", &made.signing_key.serialize_pem()).map_err(unwritable())?;
    let tenants: String = (0..schools)
        .map(|n| format!("[tenants.school-{n}]\nhosts = [\"school-{n}.example\"]\n"))
        .collect();
    put("tenants.toml", &tenants).map_err(unwritable())?;
    put("rules.toml", rules).map_err(unwritable())?;
    let text = format!(
        r#"state = "{folder}/state"
[listeners]
danger_plain = ["{listen}"]
observe = "off"
[tls]
certificates = "{folder}/certificates"
[store]
url = "file://{folder}/store"
[log]
access = "off"
[limits]
{limits}
[identity]
cookies = ["_session"]
subject = "/id"
tenant = "/school/id"
[apps.learn.services.web]
paths = ["/"]
[apps.learn.first]
live = "blue"
[apps.learn.first.blue]
release = "bench-1"
schema = "1..1"
members = {{ web = ["{origin}"] }}
"#,
        folder = folder.display(),
    );
    put("edge.toml", &text).map_err(unwritable())?;
    Ok(folder.join("edge.toml"))
}

/// Reads an answer to its end; an error if it is no success or takes too long.
pub(crate) async fn success<E: Display>(
    what: &str,
    answer: impl Future<Output = Result<Response<Incoming>, E>>,
) -> Result<(), BenchError> {
    let exchange = async {
        let answer = answer.await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        body.map_err(|error| error.to_string())?;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("the answer is {status}")),
        }
    };
    let in_time = tokio::time::timeout(ANSWER_MAX, exchange).await;
    in_time
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
        .map_err(|why| BenchError::io(what)(io::Error::other(why)))
}

/// Purges a tag of a school, as the command does.
pub(crate) async fn purge(admin: &Path, school: usize, tag: &str) -> Result<(), BenchError> {
    let failed = |why: String| BenchError::io("a purge")(io::Error::other(why));
    let stream = UnixStream::connect(admin)
        .await
        .map_err(BenchError::io("the operator's socket"))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    tokio::spawn(connection);
    let body = format!("{{\"tenant\":\"school-{school}\",\"tag\":\"{tag}\"}}");
    let request = Request::post("/v1/purge")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(error.to_string()))?;
    success("a purge", sender.send_request(request)).await
}
