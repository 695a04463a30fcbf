//! nginx: files through `sendfile` and `open_file_cache`, JSON through `proxy_cache`.
//!
//! Its access log is gathered in a buffer, which is faster than its default of one write per
//! request: the edge gathers its records too.

use std::process::Command;

use super::{Peer, Place, Server, write};
use crate::error::BenchError;
use crate::log::AccessLog;
use crate::process::{Process, free_address};
use crate::tools;

pub(super) fn start(place: &Place) -> Result<Server, BenchError> {
    let program = tools::NGINX.find()?;
    let folder = place.folder(Peer::Nginx)?;
    let address = free_address()?;
    let log = AccessLog::new(folder.join("access.log"));
    // As root it would give its worker to a user who may not read a folder of root.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        r#"daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    types {{ text/javascript js; application/json json; }}
    default_type application/octet-stream;
    access_log {log} combined buffer=64k flush=100ms;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_temp_path {folder}/proxy;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=reads:8m inactive=1d use_temp_path=off;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    # The whole of the largest answer: nothing goes through a temporary file.
    proxy_buffer_size 8k;
    proxy_buffers 16 8k;
    upstream origin {{
        server {origin};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} ssl http2;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ecdh_curve X25519:prime256v1;
        ssl_session_cache shared:tls:1m;
        http2_max_concurrent_streams 128;
        location /_next/static/ {{
            root {site};
            add_header Cache-Control "public, max-age=31536000, immutable";
            add_header Vary "accept-encoding";
            add_header X-Content-Type-Options nosniff;
            add_header Timing-Allow-Origin "*";
        }}
        location /api/ {{
            proxy_pass http://origin;
            proxy_cache reads;
            proxy_cache_key $scheme$host$request_uri;
        }}
        location / {{
            proxy_pass http://origin;
        }}
    }}
}}
"#,
        folder = folder.display(),
        log = log.path().display(),
        origin = place.origin.address(),
        certificate = place.ground.certificate_file().display(),
        key = place.ground.key_file().display(),
        site = place.ground.site().display(),
    );
    let file = folder.join("nginx.conf");
    write(&file, &config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    Ok(Server {
        peer: Peer::Nginx,
        address,
        log,
        process: Process::start("nginx", &mut command, place.cores, &folder)?,
    })
}
