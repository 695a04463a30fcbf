//! What the platform of a school says, once it has been proven, and what it has said before.

use cache_rules::tenant::TenantId;
use jiff::Timestamp;

use super::super::api::Problem;
use super::super::event::{Event, Purge};
use super::super::receipts::{Done, Mark, Receipt};
use super::super::store::{Change, Note, Sequence};
use super::Admin;

impl Admin {
    /// Purges what the platform of a school says, which has been proven. `tags`: how many it named.
    pub(in crate::control) async fn purge_told(
        &self,
        purge: Purge,
        what: String,
        (tenant, event, tags): (&TenantId, Mark, usize),
    ) -> Result<(Sequence, Done), Problem> {
        let estimate = self.covered(&purge).await;
        let done = Done {
            tags,
            objects: estimate.objects,
        };
        let note = Note {
            at: Timestamp::now(),
            who: format!("platform of {tenant}"),
            what,
            from: String::new(),
            // Tags of people are ids: the note says how many, not whose.
            to: format!("{} stored answers", estimate.objects),
            why: None,
            receipt: Some(Box::new(Receipt {
                tenant: tenant.to_string(),
                event,
                done,
            })),
        };
        let change = Change::Append(Event::Purge(purge));
        Ok((self.commit(change, note).await?, done))
    }

    /// What the platform told, as far as the newest `count_max` notes have it: when it was done, and the receipt.
    pub(in crate::control) async fn told(
        &self,
        count_max: usize,
    ) -> Result<Vec<(Timestamp, Sequence, Receipt)>, Problem> {
        let audit = self.store.audit(count_max, None).await?;
        // The oldest first.
        let told = audit.newest.into_iter().rev().filter_map(|noted| {
            let note = noted.note?;
            Some((note.at, noted.sequence, *note.receipt?))
        });
        Ok(told.collect())
    }
}
