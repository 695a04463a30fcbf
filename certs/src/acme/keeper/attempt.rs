//! One try: the host is looked at, authorities are asked in their order, and what came of it is kept.

use instant_acme::{RevocationReason, RevocationRequest};
use rustls::sign::CertifiedKey;

use super::super::account::Authority;
use super::super::fault::IssueFault;
use super::super::order::Order;
use super::super::schedule::{Span, renew_at};
use super::super::shelf::{PutFault, Record};
use super::{Act, Keeper, Stage, identifier};

/// A token of our own: 32 letters.
const TOKEN_BYTES: usize = 16;

/// A try that brought a certificate.
struct Done {
    authority: String,
    life: Span,
    /// Why the former one is still valid, where it was to be revoked.
    not_revoked: Option<IssueFault>,
}

impl Keeper {
    /// One try, whose outcome is kept.
    pub(super) async fn attempt(&self, name: &str, act: Act) {
        let Some(record) = self.ledger.record(name) else {
            return;
        };
        let _turn = Turn { keeper: self, name };
        // Now, not at the end: whoever takes over in the middle of an order goes on with it.
        self.keep(&record);
        let Ok(_place) = self.places.acquire().await else {
            return;
        };
        let outcome = self.steps(&record, act).await;
        let chance = (self.around.chance)();
        let kept = match outcome {
            Ok(Done {
                authority,
                life,
                not_revoked,
            }) => {
                let renew = renew_at(life, None, chance);
                let kept = self.ledger.issued(name, &authority, life, renew);
                if let Some(fault) = not_revoked {
                    self.tell(name, Some(&authority), Err(&fault));
                    self.ledger.at(name, Stage::Failed(fault, renew));
                }
                kept
            }
            Err(fault) => self.ledger.failed(name, &fault, self.now(), chance),
        };
        if let Some(record) = kept {
            self.keep(&record);
        }
    }

    fn keep(&self, record: &Record) {
        if let Err(error) = self.shelf.keep(record) {
            self.tell(&record.name, None, Err(&IssueFault::Disk(error.kind())));
        }
    }

    async fn steps(&self, record: &Record, act: Act) -> Result<Done, IssueFault> {
        let name = record.name.as_str();
        let begun = self.may_begin(record).await;
        if let Err(fault) = begun {
            self.tell(name, None, Err(&fault));
            return Err(fault);
        }
        let old = self.around.certs.managed_chain(name);
        let mut last = IssueFault::AllPaused;
        for authority in &self.options.authorities {
            if self.ledger.is_paused(&authority.name, self.now()) {
                continue;
            }
            self.ledger
                .at(name, Stage::Ordering(authority.name.clone()));
            let outcome = self.order(authority, record, old.as_deref()).await;
            self.ledger
                .judge(&authority.name, outcome.as_ref().err(), self.now());
            self.tell(name, Some(&authority.name), outcome.as_ref().map(drop));
            match outcome {
                Ok(life) => {
                    self.around.certs.reload();
                    let not_revoked = match (act, old.as_deref()) {
                        (Act::Revoke, Some(old)) => self.revoke(record, old).await.err(),
                        _ => None,
                    };
                    return Ok(Done {
                        authority: authority.name.clone(),
                        life,
                        not_revoked: not_revoked
                            .map(|fault| IssueFault::NotRevoked(fault.to_string())),
                    });
                }
                Err(fault) if !fault.is_of_authority() => return Err(fault),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Whether the host points here and its tenant's quota has something left.
    async fn may_begin(&self, record: &Record) -> Result<(), IssueFault> {
        let name = record.name.as_str();
        if !name.starts_with("*.") {
            self.ledger.at(name, Stage::Checking);
            let answers = &*self.around.answers;
            let token = token()?;
            self.options
                .points_here
                .check(name, &token, answers)
                .await?;
        }
        let most = self.options.orders_per_day;
        let orders = self.ledger.charge(&record.tenant, most, self.now())?;
        let kept = self.shelf.keep_orders(&orders);
        kept.map_err(|error| IssueFault::Disk(error.kind()))
    }

    async fn order(
        &self,
        authority: &Authority,
        record: &Record,
        old: Option<&CertifiedKey>,
    ) -> Result<Span, IssueFault> {
        let mut account = self.account(authority, false).await?;
        let same = record.authority.as_deref() == Some(&authority.name);
        let order = Order {
            name: &record.name,
            replaces: old.filter(|_| same).and_then(identifier),
            answers: &*self.around.answers,
            hook: self.hook.as_ref(),
            patience: self.options.order,
        };
        let mut issued = order.place(&account).await;
        if issued.as_ref().is_err_and(IssueFault::is_no_account) {
            account = self.account(authority, true).await?;
            issued = order.place(&account).await;
        }
        let issued = issued?;
        let put = self
            .shelf
            .put(&record.name, (&issued.chain, &issued.key), self.now());
        put.map_err(|fault| match fault {
            PutFault::Unusable(fault) => IssueFault::Unusable(fault),
            PutFault::Disk(kind) => IssueFault::Disk(kind),
        })
    }

    async fn revoke(&self, record: &Record, old: &CertifiedKey) -> Result<(), IssueFault> {
        let mut authorities = self.options.authorities.iter();
        let issuer = authorities.find(|of| Some(&of.name) == record.authority.as_ref());
        let (Some(authority), Some(certificate)) = (issuer, old.cert.first()) else {
            let text = "the authority that issued it is no longer configured".to_owned();
            return Err(IssueFault::Authority(text));
        };
        let account = self.account(authority, false).await?;
        let request = RevocationRequest {
            certificate,
            reason: Some(RevocationReason::KeyCompromise),
        };
        Ok(account.revoke(&request).await?)
    }
}

/// A try under way: one that breaks off in the middle does not keep its host busy for ever.
struct Turn<'a> {
    keeper: &'a Keeper,
    name: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fault = IssueFault::Answer("the try broke off; its panic is in the log".to_owned());
            let (ledger, now) = (&self.keeper.ledger, self.keeper.now());
            ledger.failed(self.name, &fault, now, 0.5);
        }
    }
}

fn token() -> Result<String, IssueFault> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| IssueFault::Answer("the system gives no randomness".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
