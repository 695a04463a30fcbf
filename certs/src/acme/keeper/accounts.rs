//! The accounts at authorities, while they are in use, and another key for one of them.

use std::time::Duration;

use instant_acme::Account;

use super::super::account::Authority;
use super::super::fault::IssueFault;
use super::{Keeper, ORDERS_MAX};

/// For orders under way to end before an account gets another key: somebody waits for it.
const REKEY_WAIT: Duration = Duration::from_secs(8);
/// For its requests; a command waits 25 s.
const REKEY: Duration = Duration::from_secs(12);

/// Why an account has the same key as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotRekeyed {
    #[error("no authority of that name is configured")]
    Unknown,
    #[error("orders are under way; try again in a minute")]
    Busy,
    #[error("{0}")]
    Failed(IssueFault),
}

impl Keeper {
    /// Gives the account at an authority another key, while no order is under way.
    ///
    /// # Errors
    ///
    /// Why it has the same key as before; after a fault of the wire, a new account is made with the next order.
    pub async fn rekey(&self, authority: &str) -> Result<(), NotRekeyed> {
        let mut authorities = self.options.authorities.iter();
        let authority = authorities.find(|of| of.name == authority);
        let authority = authority.ok_or(NotRekeyed::Unknown)?;
        let all = u32::try_from(ORDERS_MAX).unwrap_or(u32::MAX);
        let places = tokio::time::timeout(REKEY_WAIT, self.places.acquire_many(all)).await;
        let (Ok(Ok(_places)), mut accounts) = (places, self.accounts.lock().await) else {
            return Err(NotRekeyed::Busy);
        };
        let rekeying = authority.rekey(&self.shelf, &self.wire);
        let rekeyed = tokio::time::timeout(REKEY, rekeying).await;
        let rekeyed = rekeyed.unwrap_or_else(|_| {
            let text = format!("it did not answer within {REKEY:?}");
            Err(IssueFault::Authority(text))
        });
        // What is in memory may have a key that is of no more use.
        accounts.remove(&authority.name);
        let account = rekeyed.map_err(NotRekeyed::Failed)?;
        accounts.insert(authority.name.clone(), account);
        Ok(())
    }

    /// The account at an authority; `anew`: the one that is known is of no more use.
    pub(super) async fn account(
        &self,
        authority: &Authority,
        anew: bool,
    ) -> Result<Account, IssueFault> {
        // Held while an account is made, or two would be.
        let mut accounts = self.accounts.lock().await;
        if let Some(account) = accounts.get(&authority.name)
            && !anew
        {
            return Ok(account.clone());
        }
        let account = match anew {
            true => authority.new_account(&self.shelf, &self.wire).await?,
            false => authority.account(&self.shelf, &self.wire).await?,
        };
        accounts.insert(authority.name.clone(), account.clone());
        Ok(account)
    }
}
