//! An authority and the edge's account there.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde_json::Value;

use super::fault::IssueFault;
use super::shelf::Shelf;
use super::wire::Wire;

/// Who issues certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// A word, as metrics and lists name it; its account is kept under it.
    pub name: String,
    /// The URL of its directory.
    pub directory: String,
    /// Whom it may write to, such as `mailto:operators@school.example`.
    pub contact: Vec<String>,
    /// An account elsewhere that the new one belongs to (RFC 8555, 7.3.4).
    pub external: Option<External>,
}

/// An account that an authority gave out by another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The id of its key.
    pub id: String,
    /// The file with its key, in base64url as authorities give it.
    pub key_file: PathBuf,
}

impl Authority {
    /// The account that is kept, or a new one that is kept from now on.
    pub(super) async fn account(&self, shelf: &Shelf, wire: &Wire) -> Result<Account, IssueFault> {
        // One that was made at another directory is of no use at this one.
        let known = shelf.account::<Value>(&self.name);
        let known = known.filter(|known| known["directory"] == self.directory);
        // Nobody knows which key the authority knows since; an account costs nothing.
        let known = known.filter(|_| !shelf.is_rekeying(&self.name));
        if let Some(known) = known.and_then(|known| serde_json::from_value(known).ok()) {
            let known: AccountCredentials = known;
            let builder = Account::builder_with_http(Box::new(wire.clone()));
            return Ok(builder.from_credentials(known).await?);
        }
        self.new_account(shelf, wire).await
    }

    /// A new account, in place of the one that the authority does not know any more.
    pub(super) async fn new_account(
        &self,
        shelf: &Shelf,
        wire: &Wire,
    ) -> Result<Account, IssueFault> {
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let asked = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.external.as_ref().map(External::key).transpose()?;
        let builder = Account::builder_with_http(Box::new(wire.clone()));
        let directory = self.directory.clone();
        let made = builder.create(&asked, directory, external.as_ref()).await?;
        let (account, credentials) = made;
        let kept = shelf.keep_account(&self.name, &credentials);
        kept.map_err(|error| IssueFault::Disk(error.kind()))?;
        shelf.rekeyed(&self.name);
        Ok(account)
    }

    /// The account with another key, which is kept from now on (RFC 8555, 7.3.5).
    pub(super) async fn rekey(&self, shelf: &Shelf, wire: &Wire) -> Result<Account, IssueFault> {
        let disk = |error: std::io::Error| IssueFault::Disk(error.kind());
        let mut account = self.account(shelf, wire).await?;
        // Between the authority's yes and the new key on the disk this process may end.
        shelf.rekeying(&self.name).map_err(disk)?;
        let credentials = account.update_key().await.map_err(|error| {
            let fault = IssueFault::from(error);
            if matches!(
                fault,
                IssueFault::Refused { .. } | IssueFault::RateLimited { .. }
            ) {
                shelf.rekeyed(&self.name);
            }
            fault
        })?;
        shelf.keep_account(&self.name, &credentials).map_err(disk)?;
        shelf.rekeyed(&self.name);
        Ok(account)
    }
}

impl External {
    fn key(&self) -> Result<ExternalAccountKey, IssueFault> {
        let problem = |what: &str| {
            let file = self.key_file.display();
            IssueFault::Authority(format!("the key of the external account, {file}, {what}"))
        };
        let text = std::fs::read_to_string(&self.key_file)
            .map_err(|error| problem(&format!("cannot be read: {}", error.kind())))?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        let key = key.map_err(|_| problem("is not base64url"))?;
        Ok(ExternalAccountKey::new(self.id.clone(), &key))
    }
}
