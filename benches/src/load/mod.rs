//! The load tools, and what they say.

mod h2load;
mod wrk;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::Protocol;
use crate::error::BenchError;
use crate::tools;

/// The cipher that all clients ask for, and nothing else: it is what browsers and `h2load` prefer, but
/// not what `wrk` and every server would choose.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
/// The group for the same reason: not all peers have the hybrid one.
const GROUP: &str = "X25519";
/// What a tool gets beyond the time that it was told, to connect and to sum up.
const GRACE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Runs the load tools, one at a time.
#[derive(Debug)]
pub(crate) struct Driver {
    wrk: PathBuf,
    h2load: PathBuf,
    folder: PathBuf,
}

/// What one run of a tool saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p99: Duration,
}

impl Driver {
    /// Finds the tools. Settings and what they write go to `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self, BenchError> {
        let settings = format!(
            "openssl_conf = settings\n[settings]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n\
             [all]\nMinProtocol = TLSv1.3\nCiphersuites = {CIPHER}\nGroups = {GROUP}\n"
        );
        fs::write(folder.join("openssl.cnf"), settings)
            .map_err(BenchError::io("the settings of the load tools"))?;
        Ok(Self {
            wrk: tools::WRK.find()?,
            h2load: tools::H2LOAD.find()?,
            folder: folder.to_owned(),
        })
    }

    /// Asks for `url` again and again, for so long.
    pub(crate) fn run(
        &self,
        protocol: Protocol,
        url: &str,
        time: Duration,
    ) -> Result<Seen, BenchError> {
        self.run_as(protocol, url, None, time)
    }

    /// The same with a cookie.
    pub(crate) fn run_as(
        &self,
        protocol: Protocol,
        url: &str,
        cookie: Option<&str>,
        time: Duration,
    ) -> Result<Seen, BenchError> {
        let cookie = cookie.map(|cookie| format!("cookie: {cookie}"));
        let header = cookie.iter().flat_map(|line| ["--header", line]);
        let seen = match protocol {
            Protocol::H1 => {
                let said =
                    self.finish("wrk", wrk::command(&self.wrk, url, time).args(header), time)?;
                wrk::parse(&said)
            }
            Protocol::H2 => {
                let log = self.folder.join("h2load.log");
                // It appends.
                let _ = fs::remove_file(&log);
                let mut command = h2load::command(&self.h2load, url, time, &log);
                let said = self.finish("h2load", command.args(header), time)?;
                let times = fs::read_to_string(&log).map_err(BenchError::io("h2load's log"))?;
                h2load::parse(&said, &times)
            }
        }?;
        Ok(seen)
    }

    fn finish(
        &self,
        program: &'static str,
        command: &mut Command,
        time: Duration,
    ) -> Result<String, BenchError> {
        let broken = || BenchError::io(program);
        let path = self.folder.join(format!("{program}.out"));
        let out = File::create(&path).map_err(broken())?;
        let err = out.try_clone().map_err(broken())?;
        let mut child = command
            .env("OPENSSL_CONF", self.folder.join("openssl.cnf"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(broken())?;
        let limit = time + GRACE;
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(broken())? {
                break status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                let limit_s = limit.as_secs();
                return Err(BenchError::Slow { program, limit_s });
            }
            std::thread::sleep(LOOK);
        };
        let said = fs::read_to_string(&path).map_err(broken())?;
        if status.success() {
            Ok(said)
        } else {
            Err(BenchError::Failed { program, said })
        }
    }
}
