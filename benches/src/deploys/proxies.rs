//! nginx and HAProxy, told as their documents say: another file, and a reload.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::Server;
use crate::cores::Cores;
use crate::error::BenchError;
use crate::ground::Ground;
use crate::process::{Process, free_address};
use crate::tools;

/// The versions, and the share of the newest.
#[derive(Clone, Copy)]
struct Split {
    old: SocketAddr,
    new: SocketAddr,
    percent: u8,
}

impl Split {
    fn deployed(self, version: SocketAddr) -> Self {
        Self {
            old: self.new,
            new: version,
            percent: 0,
        }
    }
}

fn reload(process: &Process, signal: Signal) -> Result<(), BenchError> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| {
        kill_process(pid, signal)
    });
    sent.map_err(|error| BenchError::io("a reload")(error.into()))
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::io(path.display().to_string()))
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
}

impl Kind {
    pub(super) const BOTH: [Self; 2] = [Self::Nginx, Self::Haproxy];

    /// As the table names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    fn tool(self) -> &'static tools::Tool {
        match self {
            Self::Nginx => &tools::NGINX,
            Self::Haproxy => &tools::HAPROXY,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
        }
    }

    /// What makes it read its file again.
    fn signal(self) -> Signal {
        match self {
            Self::Nginx => Signal::HUP,
            Self::Haproxy => Signal::USR2,
        }
    }
}

/// One of them, running.
pub(super) struct Proxy {
    kind: Kind,
    place: Place,
    split: Split,
    process: Process,
}

/// What its file names.
struct Place {
    address: SocketAddr,
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Proxy {
    pub(super) fn start(
        kind: Kind,
        ground: &Ground,
        first: SocketAddr,
    ) -> Result<Self, BenchError> {
        let program = kind.tool().find()?;
        let folder = ground.folder().join(kind.name());
        std::fs::create_dir_all(&folder).map_err(BenchError::io(kind.name()))?;
        let place = Place {
            address: free_address()?,
            certificate: ground.certificate_file(),
            key: ground.key_file(),
            folder,
        };
        let split = Split {
            old: first,
            new: first,
            percent: 100,
        };
        let file = place.folder.join(kind.file());
        write(&file, &place.config(kind, split)?)?;
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(&place.folder).arg("-c").arg(file),
            Kind::Haproxy => command.arg("-W").arg("-f").arg(file),
        };
        let cores = Cores::choose()?;
        let process = Process::start(kind.name(), &mut command, cores, &place.folder)?;
        Ok(Self {
            kind,
            place,
            split,
            process,
        })
    }

    fn tell(&self) -> Result<(), BenchError> {
        let config = self.place.config(self.kind, self.split)?;
        write(&self.place.folder.join(self.kind.file()), &config)?;
        reload(&self.process, self.kind.signal())
    }
}

impl Server for Proxy {
    fn address(&self) -> SocketAddr {
        self.place.address
    }

    fn deploy(&mut self, version: SocketAddr) -> Result<(), BenchError> {
        self.split = self.split.deployed(version);
        self.tell()
    }

    fn shift(&mut self, percent: u8) -> Result<(), BenchError> {
        self.split.percent = percent;
        self.tell()
    }
}

impl Place {
    fn config(&self, kind: Kind, split: Split) -> Result<String, BenchError> {
        match kind {
            Kind::Nginx => Ok(self.of_nginx(split)),
            Kind::Haproxy => {
                let read = |path: &Path| {
                    std::fs::read_to_string(path).map_err(BenchError::io("the certificate"))
                };
                let pair = format!("{}\n{}", read(&self.certificate)?, read(&self.key)?);
                write(&self.folder.join("pair.pem"), &pair)?;
                Ok(self.of_haproxy(split))
            }
        }
    }

    fn of_nginx(&self, split: Split) -> String {
        let Split { old, new, percent } = split;
        // As root it would give its worker to a user who may not read a folder of root.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let shares = match percent {
            100 => "* new;".to_owned(),
            0 => "* old;".to_owned(),
            percent => format!("{percent}% new; * old;"),
        };
        format!(
            r#"daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log combined buffer=64k flush=100ms;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_temp_path {folder}/proxy;
    proxy_http_version 1.1;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    split_clients $request_id $version {{ {shares} }}
    upstream old {{ server {old}; keepalive 64; }}
    upstream new {{ server {new}; keepalive 64; }}
    server {{
        listen {address} ssl http2;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://$version;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
        location /live/events {{
            proxy_pass http://$version;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"#,
            folder = self.folder.display(),
            address = self.address,
            certificate = self.certificate.display(),
            key = self.key.display(),
        )
    }

    fn of_haproxy(&self, split: Split) -> String {
        let Split { old, new, percent } = split;
        format!(
            r#"global
    maxconn 4096
    stats socket {folder}/admin.sock mode 600 expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
frontend public
    bind {address} ssl crt {folder}/pair.pem alpn h2,http/1.1
    default_backend versions
backend versions
    balance roundrobin
    server old {old} weight {rest}
    server new {new} weight {percent}
"#,
            folder = self.folder.display(),
            address = self.address,
            rest = 100 - percent,
        )
    }
}
