//! Lends port 80 to the keeper of certificates: what authorities ask for is a record of the state, so every process that
//! follows it answers, whichever of them placed the order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use certs::acme::{Answers, is_token};
use jiff::Timestamp;
use tokio::sync::watch;

use super::follow::{Applied, Following};
use super::store::{Change, ControlStore, Key, Note, Sequence, StoreError};

/// Orders under way are few; what crashes left behind goes with the next start.
const PENDING_MAX: usize = 64;
/// Requests see a change within this.
const APPLY: Duration = Duration::from_secs(5);
/// Changes that meet another one are decided again this often.
const TRIES: usize = 8;

/// Publishes answers through the state.
pub struct Challenges {
    store: Arc<dyn ControlStore>,
    applied: watch::Receiver<Applied>,
}

type Pending = BTreeMap<String, String>;

impl Challenges {
    /// `following` is what carries this store's changes to the request path.
    pub fn new(store: Arc<dyn ControlStore>, following: &Following) -> Self {
        Self {
            store,
            applied: following.applied(),
        }
    }

    /// Changes the record, and waits until requests see it; false: `change` said that there is no room.
    async fn change(
        &self,
        what: &str,
        change: impl Fn(&mut Pending) -> bool,
    ) -> Result<bool, StoreError> {
        let key = Key::challenges();
        let mut tried = 0;
        loop {
            tried += 1;
            let record = self.store.record(&key).await?;
            let expected = record
                .as_ref()
                .map_or(Sequence::ZERO, |record| record.revision);
            let was: Pending = record
                .and_then(|record| serde_json::from_slice(&record.value).ok())
                .unwrap_or_default();
            let mut pending = was.clone();
            if !change(&mut pending) {
                return Ok(false);
            }
            if pending == was {
                return Ok(true);
            }
            let note = Note {
                at: Timestamp::now(),
                who: "edge".into(),
                what: what.to_owned(),
                from: format!("{} pending", was.len()),
                to: format!("{} pending", pending.len()),
                why: None,
                receipt: None,
            };
            let put = Change::Put {
                key: key.clone(),
                expected,
                value: serde_json::to_vec(&pending).expect("texts always have a JSON form"),
            };
            match self.store.commit(put, note).await {
                Ok(sequence) => {
                    let mut applied = self.applied.clone();
                    let seen = applied.wait_for(|applied| applied.sequence >= sequence);
                    // A change that is kept and not seen in time fails the order, not the edge.
                    let _late = tokio::time::timeout(APPLY, seen).await;
                    return Ok(true);
                }
                Err(StoreError::Conflict { .. }) if tried < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Answers for Challenges {
    async fn publish(&self, token: &str, answer: &str) -> Result<(), String> {
        if !is_token(token) {
            return Err("the authority's token is none".to_owned());
        }
        let published = self.change("answer a challenge", |pending| {
            pending.insert(token.to_owned(), answer.to_owned());
            pending.len() <= PENDING_MAX
        });
        match published.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{PENDING_MAX} challenges are pending already")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn withdraw(&self, token: &str) {
        let withdrawn = self.change("end a challenge", |pending| {
            pending.remove(token);
            true
        });
        if let Err(error) = withdrawn.await {
            tracing::warn!("an answer to an authority stays until the next start: {error}");
        }
    }

    async fn withdraw_all(&self) {
        let withdrawn = self.change("forget challenges", |pending| {
            pending.clear();
            true
        });
        if let Err(error) = withdrawn.await {
            tracing::warn!("answers to authorities stay until the next start: {error}");
        }
    }
}
