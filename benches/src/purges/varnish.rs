//! Varnish with the vmod xkey, as its own documents set it up.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::cores::Cores;
use crate::error::BenchError;
use crate::process::{Process, free_address};
use crate::tools;

/// Starts it. What it stores lies in memory, as ours does.
pub(super) fn start(
    folder: &Path,
    origin: SocketAddr,
    cores: Cores,
) -> Result<(Process, SocketAddr), BenchError> {
    let program = tools::VARNISH.find()?;
    let address = free_address()?;
    let vcl = format!(
        r#"vcl 4.1;
import xkey;
backend origin {{ .host = "{}"; .port = "{}"; }}
sub vcl_recv {{
    if (req.method == "PURGE") {{
        set req.http.gone = xkey.purge(req.http.tag);
        return (synth(200, req.http.gone));
    }}
    return (hash);
}}
"#,
        origin.ip(),
        origin.port()
    );
    let file = folder.join("varnish.vcl");
    std::fs::write(&file, vcl).map_err(BenchError::io("varnish.vcl"))?;
    let mut command = Command::new(program);
    command
        .args(["-F", "-j", "none", "-s", "malloc,2G"])
        .arg("-a")
        .arg(address.to_string())
        .arg("-n")
        .arg(folder.join("varnish"))
        .arg("-f")
        .arg(&file);
    let process = Process::start("varnish", &mut command, cores, folder)?;
    Ok((process, address))
}
