//! Which part of an edge a process is, and when that part serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use asset_pipeline::id::AppId;
use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use tracing::info;

use super::view::View;
use super::{Edge, StartError};
use crate::config::checked::Config;
use crate::control::admin::Admin;
use crate::control::counters::Counters;
use crate::control::embedded::Embedded;
use crate::control::link::Remote;
use crate::control::socket::AdminSocket;
use crate::control::store::ControlStore;
use crate::exchange::InFlight;
use crate::observe::Observed;

/// The state, the operator's socket, and the reports of what requests came to.
type Control = (
    Arc<dyn ControlStore>,
    Option<AdminSocket>,
    broadcast::Receiver<Arc<Counters>>,
);

/// Which part of an edge this process is.
pub enum Part {
    /// All of it: the state, the operator's socket and the monitors too.
    Whole,
    /// What answers requests; the others are its supervisor's, with this store.
    Worker(Arc<Remote>),
}

impl Part {
    /// Whether operators and monitors come here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Where the state is, the operator's socket if it is this process's, and what all processes count.
    pub(super) fn control(self, config: &Config) -> Result<Control, StartError> {
        match self {
            Self::Worker(store) => {
                let reports = store.reports();
                Ok((store, None, reports))
            }
            Self::Whole => {
                let store = Embedded::open(&config.state.join("state.redb"))?;
                // After the state file: its lock is what keeps two starts apart, not a socket's name.
                let admin = AdminSocket::bind(&config.listeners.admin)?;
                let reports = store.reports();
                Ok((Arc::new(store), Some(admin), reports))
            }
        }
    }
}

impl Edge {
    /// From now on connections are accepted.
    pub fn accept(&self) {
        let listeners = self.addresses();
        info!(
            public = ?listeners.public,
            plain = ?listeners.danger_plain,
            observe = ?listeners.observe,
            "the edge accepts connections"
        );
        self.gate.send_replace(true);
    }

    /// What operators ask, for a listener that this edge does not have itself.
    pub(crate) fn operators(&self) -> axum::Router {
        self.desk.clone().router()
    }

    /// What is looked at from outside, also while it ends.
    pub fn monitors(&self) -> Arc<Monitors> {
        Arc::new(Monitors {
            view: Arc::clone(&self.view),
            in_flight: Arc::clone(&self.in_flight),
            desk: Some(self.desk.clone()),
        })
    }

    /// Accepts no more, since another process does: idle connections end with their next answer, or by
    /// their own limits. Ends when none is left, at the limit, or when `hurry` comes. Returns how many
    /// requests were cut off.
    pub async fn retire(self, hurry: impl Future<Output = ()>) -> usize {
        self.view.draining.store(true, Ordering::Relaxed);
        self.sockets.drain();
        tokio::select! {
            () = self.connections.none_left() => {}
            () = tokio::time::sleep(self.handover) => {}
            () = hurry => {}
        }
        self.drain().await
    }
}

/// What is looked at from outside, also while it ends.
pub struct Monitors {
    pub(super) view: Arc<View>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) desk: Option<Admin>,
}

impl Monitors {
    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// The apps that a deploy or a drain is under way of.
    pub fn underway(&self) -> Vec<AppId> {
        self.desk.as_ref().map(Admin::underway).unwrap_or_default()
    }

    /// Open connections of clients.
    pub fn connections(&self) -> usize {
        self.view.connections.open()
    }
}

#[async_trait]
impl Observed for Monitors {
    async fn metrics(&self) -> String {
        self.view.metrics.text()
    }

    async fn not_ready(&self) -> Vec<String> {
        self.view.not_ready()
    }
}

/// Turns true when connections are to be accepted.
pub(super) async fn opened(mut gate: watch::Receiver<bool>) -> bool {
    gate.wait_for(|open| *open).await.is_ok()
}
