//! One order from its beginning to the chain: challenges answered, key made, certificate fetched.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::sync::Mutex;

use super::answers::{Answers, Hook, Record};
use super::fault::IssueFault;

/// What an authority gave, as PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What an order needs beside its account.
pub(super) struct Order<'a> {
    /// A host, or `*.` and one.
    pub(super) name: &'a str,
    /// The certificate that it takes over from (RFC 9773).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    pub(super) answers: &'a dyn Answers,
    pub(super) hook: Option<&'a Hook>,
    /// For everything.
    pub(super) patience: Duration,
}

/// Answers that are out, to be taken back whatever happens.
#[derive(Default)]
struct Out {
    tokens: Vec<String>,
    records: Vec<Record>,
}

impl Order<'_> {
    pub(super) async fn place(&self, account: &Account) -> Result<Issued, IssueFault> {
        let out = Mutex::new(Out::default());
        let steps = self.steps(account, &out);
        let issued = tokio::time::timeout(self.patience, steps).await;
        let Out { tokens, records } = out.into_inner();
        for token in tokens {
            self.answers.withdraw(&token).await;
        }
        for record in records {
            if let Some(hook) = self.hook {
                hook.absent(&record).await;
            }
        }
        issued.unwrap_or_else(|_| {
            let text = format!("the order was not done within {:?}", self.patience);
            Err(IssueFault::Authority(text))
        })
    }

    async fn steps(&self, account: &Account, out: &Mutex<Out>) -> Result<Issued, IssueFault> {
        let names = [Identifier::Dns(self.name.to_owned())];
        let mut order = self.begin(account, &names).await?;
        let wildcard = self.name.starts_with("*.");
        let kind = match wildcard {
            true => ChallengeType::Dns01,
            false => ChallengeType::Http01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                _ => return Err(IssueFault::Authority("an authorization is void".to_owned())),
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let text = "it offers no challenge that this edge can answer".to_owned();
                return Err(IssueFault::Authority(text));
            };
            let answer = challenge.key_authorization();
            if wildcard {
                let value = answer.dns_value();
                self.tell_dns(value, out).await?;
            } else {
                out.lock().await.tokens.push(challenge.token.clone());
                let told = self
                    .answers
                    .publish(&challenge.token, answer.as_str())
                    .await;
                told.map_err(IssueFault::Answer)?;
            }
            challenge.set_ready().await?;
        }
        // The deadline of the whole order ends it; the library's own is never the nearer one.
        let retries = RetryPolicy::new()
            .initial_delay(Duration::from_millis(250))
            .backoff(1.5)
            .timeout(2 * self.patience);
        match order.poll_ready(&retries).await? {
            OrderStatus::Invalid => return Err(why_invalid(&mut order).await),
            _ => {
                let (request, key) = signing_request(self.name)?;
                order.finalize_csr(&request).await?;
                let chain = order.poll_certificate(&retries).await?;
                Ok(Issued { chain, key })
            }
        }
    }

    /// An authority that does not take the word of what is replaced takes the order without it.
    async fn begin(
        &self,
        account: &Account,
        names: &[Identifier],
    ) -> Result<instant_acme::Order, IssueFault> {
        if let Some(replaces) = &self.replaces {
            let order = NewOrder::new(names).replaces(replaces.clone());
            match account.new_order(&order).await.map_err(IssueFault::from) {
                Ok(order) => return Ok(order),
                Err(fault @ IssueFault::RateLimited { .. }) => return Err(fault),
                Err(_) => {}
            }
        }
        Ok(account.new_order(&NewOrder::new(names)).await?)
    }

    async fn tell_dns(&self, value: String, out: &Mutex<Out>) -> Result<(), IssueFault> {
        let hook = self.hook.ok_or_else(|| {
            IssueFault::Answer(
                "a wildcard needs a DNS hook: name one in `acme.dns_hook`".to_owned(),
            )
        })?;
        let host = self.name.trim_start_matches("*.");
        let record = Record {
            name: format!("_acme-challenge.{host}"),
            value,
        };
        out.lock().await.records.push(record.clone());
        hook.present(&record).await
    }
}

/// What the authority says of the challenge that it did not accept.
async fn why_invalid(order: &mut instant_acme::Order) -> IssueFault {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let problem = state
                .challenges
                .iter()
                .find_map(|known| known.error.clone());
            if let Some(problem) = problem {
                return problem.into();
            }
        }
    }
    IssueFault::Refused {
        kind: String::new(),
        said: "the order is invalid, without a reason".to_owned(),
    }
}

/// A request for a certificate, and its new key as PEM.
fn signing_request(name: &str) -> Result<(Vec<u8>, String), IssueFault> {
    let made = || {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = params.serialize_request(&key)?;
        Ok::<_, rcgen::Error>((request.der().to_vec(), key.serialize_pem()))
    };
    made().map_err(|_| IssueFault::Answer("no request for this name can be written".to_owned()))
}
