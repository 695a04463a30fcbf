//! The operator's API on the unix socket.
//!
//! This file knows HTTP; what a command does is in [`commands`]. Nothing of a URL, header or body
//! is logged, only what was done.

mod certificates;
mod commands;
mod deploy;
mod document;
mod drain;
mod once;
mod paths;
mod pause;
mod platform;
mod rollout;
mod told;
mod underway;

use std::collections::BTreeMap;
use std::sync::Arc;

use asset_pipeline::id::AppId;
use tokio::sync::watch;

pub(crate) use self::document::of_operators;
use self::underway::Underway;
use super::api::{DeployReport, DrainReport, InFlight};
use super::beside::{Presence, There};
use super::edge::{ColourFacts, Edge, Facts};
use super::follow::{Applied, Following};
use super::idempotency::Keys;
use super::observed::Observed;
use super::socket::AdminSocket;
use super::store::{ControlStore, Sequence};
use crate::colour::{Colour, PerColour};
use crate::surface::{self, Accept};

/// What the handlers work with.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn ControlStore>,
    edge: Arc<dyn Edge>,
    applied: watch::Receiver<Applied>,
    keys: Keys,
    pub(super) observed: Observed,
    deploys: Underway<DeployReport>,
    drains: Underway<DrainReport>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// `following` is what carries this store's changes to the request path.
    pub fn new(store: Arc<dyn ControlStore>, edge: Arc<dyn Edge>, following: &Following) -> Self {
        Self {
            store,
            edge,
            applied: following.applied(),
            keys: Keys::default(),
            observed: Observed::default(),
            deploys: Underway::default(),
            drains: Underway::default(),
        }
    }

    /// Answers operators until `stop` turns true.
    pub async fn serve(self, mut socket: AdminSocket, stop: watch::Receiver<bool>) {
        if let Some(listener) = socket.listener() {
            surface::serve(listener, self.router(), stop).await;
        }
    }

    /// Answers operators on another machine, who have shown their certificates.
    pub(crate) async fn serve_apart(self, operators: impl Accept, stop: watch::Receiver<bool>) {
        surface::serve(operators, self.router(), stop).await;
    }

    /// What requests see.
    pub(super) fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    /// How a colour is, with those who are with it in processes that serve beside this one.
    pub(super) async fn colour(&self, app: &AppId, colour: Colour) -> ColourFacts {
        let here = self.edge.colour(app, colour).await;
        here.and(app, colour, &self.store.beside())
    }

    /// Everything about the process that is not about a colour.
    pub(super) async fn facts(&self) -> Facts {
        self.edge.facts().await
    }

    /// The judge's evidence against the new versions of rollouts under way, by app. Holds nothing of the edge.
    pub(crate) fn evidence(&self) -> impl Fn() -> Vec<(String, f64)> + Send + Sync + use<> {
        let (observed, applied) = (self.observed.clone(), self.applied.clone());
        move || {
            let state = Arc::clone(&applied.borrow().state);
            let under_way = state.apps.iter().filter(|(_, now)| {
                let rollout = now.rollout.as_ref();
                rollout.is_some_and(|rollout| rollout.is_under_way())
            });
            under_way
                .map(|(app, _)| (app.to_string(), observed.evidence(app)))
                .collect()
        }
    }

    /// Tells processes beside this one who is with versions here. `settled`: the last change that was seen when this was
    /// told before.
    pub(crate) fn tell_who_is_there(&self, settled: Sequence) -> Sequence {
        let applied = self.applied();
        let mut apps = BTreeMap::new();
        for app in applied.state.apps.keys() {
            let mut there = PerColour::default();
            for colour in Colour::BOTH {
                *there.get_mut(colour) = There::of(&self.edge.there(app, colour));
            }
            apps.insert(app.clone(), there);
        }
        self.store.present(Presence { settled, apps });
        applied.sequence
    }

    /// A process beside this one that has not said since a change who is with its versions: somebody may be.
    pub(super) fn unheard(&self, since: Sequence) -> Option<InFlight> {
        let beside = self.store.beside();
        let unheard = beside.iter().filter(|there| there.settled < since).count();
        (unheard > 0).then(|| InFlight {
            class: "unheard".to_owned(),
            count: unheard as u64,
            oldest_s: 0,
        })
    }

    /// The apps that a deploy or a drain is under way of: it would end with this process.
    pub(crate) fn underway(&self) -> Vec<AppId> {
        let mut apps = self.deploys.apps();
        apps.extend(self.drains.apps());
        apps
    }
}
