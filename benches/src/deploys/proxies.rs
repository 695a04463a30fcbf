//! nginx and HAProxy, told as their documents say: another file, and a reload.

use std::net::SocketAddr;
use std::path::PathBuf;
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

fn folder(ground: &Ground, name: &str) -> Result<PathBuf, BenchError> {
    let folder = ground.folder().join(name);
    std::fs::create_dir_all(&folder).map_err(BenchError::io(name))?;
    Ok(folder)
}

fn write(path: &PathBuf, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::io(path.display().to_string()))
}

pub(super) struct Nginx {
    address: SocketAddr,
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    split: Split,
    process: Option<Process>,
}

impl Nginx {
    pub(super) fn start(ground: &Ground, first: SocketAddr) -> Result<Self, BenchError> {
        let program = tools::NGINX.find()?;
        let folder = folder(ground, "nginx")?;
        let mut nginx = Self {
            address: free_address()?,
            certificate: ground.certificate_file(),
            key: ground.key_file(),
            split: Split {
                old: first,
                new: first,
                percent: 100,
            },
            process: None,
            folder,
        };
        nginx.write()?;
        let mut command = Command::new(program);
        command
            .arg("-p")
            .arg(&nginx.folder)
            .arg("-c")
            .arg(nginx.folder.join("nginx.conf"));
        nginx.process = Some(Process::start(
            "nginx",
            &mut command,
            Cores::choose()?,
            &nginx.folder,
        )?);
        Ok(nginx)
    }

    fn write(&self) -> Result<(), BenchError> {
        let Split { old, new, percent } = self.split;
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
        let config = format!(
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
        );
        write(&self.folder.join("nginx.conf"), &config)
    }

    fn tell(&self) -> Result<(), BenchError> {
        self.write()?;
        self.process
            .as_ref()
            .map_or(Ok(()), |process| reload(process, Signal::HUP))
    }
}

impl Server for Nginx {
    fn address(&self) -> SocketAddr {
        self.address
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

pub(super) struct Haproxy {
    address: SocketAddr,
    folder: PathBuf,
    split: Split,
    process: Option<Process>,
}

impl Haproxy {
    pub(super) fn start(ground: &Ground, first: SocketAddr) -> Result<Self, BenchError> {
        let program = tools::HAPROXY.find()?;
        let folder = folder(ground, "haproxy")?;
        let read = |path: PathBuf| {
            std::fs::read_to_string(path).map_err(BenchError::io("the certificate"))
        };
        let pair = format!(
            "{}\n{}",
            read(ground.certificate_file())?,
            read(ground.key_file())?
        );
        write(&folder.join("pair.pem"), &pair)?;
        let mut haproxy = Self {
            address: free_address()?,
            split: Split {
                old: first,
                new: first,
                percent: 100,
            },
            process: None,
            folder,
        };
        haproxy.write()?;
        let mut command = Command::new(program);
        command
            .arg("-W")
            .arg("-f")
            .arg(haproxy.folder.join("haproxy.cfg"));
        haproxy.process = Some(Process::start(
            "haproxy",
            &mut command,
            Cores::choose()?,
            &haproxy.folder,
        )?);
        Ok(haproxy)
    }

    fn write(&self) -> Result<(), BenchError> {
        let Split { old, new, percent } = self.split;
        let config = format!(
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
        );
        write(&self.folder.join("haproxy.cfg"), &config)
    }

    fn tell(&self) -> Result<(), BenchError> {
        self.write()?;
        self.process
            .as_ref()
            .map_or(Ok(()), |process| reload(process, Signal::USR2))
    }
}

impl Server for Haproxy {
    fn address(&self) -> SocketAddr {
        self.address
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
