//! The servers that are compared. Each is set up as its own documents advise for speed.

mod edge;
mod h2o;
mod nginx;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use self::edge::{RELEASE, given_or_built, publish_site};
use crate::cores::Cores;
use crate::error::BenchError;
use crate::ground::Ground;
use crate::log::AccessLog;
use crate::origin::Origin;
use crate::process::Process;
use crate::tools;

/// A server that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// This project's edge.
    Edge,
    /// nginx, of which the ratios are made.
    Nginx,
    /// H2O, the fastest that Debian has.
    H2o,
}

impl Peer {
    /// All of them, in the order of their turns.
    pub const ALL: [Self; 3] = [Self::Edge, Self::Nginx, Self::H2o];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Nginx => "nginx",
            Self::H2o => "h2o",
        }
    }

    /// Whether it can be started here, or why not. The edge is always there: it is built.
    pub(crate) fn installed(self) -> Result<(), BenchError> {
        match self {
            Self::Edge => Ok(()),
            Self::Nginx => tools::NGINX.find().map(drop),
            Self::H2o => tools::H2O.find().map(drop),
        }
    }

    /// What it says of itself.
    pub(crate) fn version(self) -> String {
        match self {
            Self::Edge => format!("edge {}", env!("CARGO_PKG_VERSION")),
            Self::Nginx => tools::NGINX.version("-v").replace("nginx version: ", ""),
            Self::H2o => tools::H2O.version("--version").replace("version ", ""),
        }
    }

    /// Starts it with one worker on the server's core.
    pub(crate) fn start(self, place: &Place) -> Result<Server, BenchError> {
        match self {
            Self::Edge => edge::start(place),
            Self::Nginx => nginx::start(place),
            Self::H2o => h2o::start(place),
        }
    }
}

/// Where servers are started, and what they are started with.
pub(crate) struct Place {
    pub(crate) ground: Ground,
    pub(crate) origin: Origin,
    pub(crate) cores: Cores,
    /// The edge's binary.
    pub(crate) edge: PathBuf,
}

impl Place {
    /// With this binary of the edge, or one that is built from this tree. From here on this process stays on
    /// the load's core: a build may use both.
    pub(crate) fn on(ground: Ground, edge: Option<&Path>) -> Result<Self, BenchError> {
        let cores = Cores::choose()?;
        let edge = given_or_built(edge)?;
        cores.stay_with_load()?;
        let origin = Origin::start(&ground)?;
        Ok(Self {
            ground,
            origin,
            cores,
            edge,
        })
    }

    /// A folder for one server.
    fn folder(&self, peer: Peer) -> Result<PathBuf, BenchError> {
        let folder = self.ground.folder().join(peer.name());
        std::fs::create_dir_all(&folder).map_err(BenchError::io(format!(
            "the folder of {} cannot be made",
            peer.name()
        )))?;
        Ok(folder)
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    pub(crate) log: AccessLog,
    pub(crate) process: Process,
}

fn write(path: &std::path::Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::io(path.display().to_string()))
}
