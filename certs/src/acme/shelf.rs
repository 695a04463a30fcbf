//! The managed folder: what the edge had issued, and what it knows of each host that it looks after.
//!
//! ```text
//! NAME.crt      the chain, as PEM           NAME.json         when it was tried, and when it is next
//! NAME.sealed   its key, sealed             NAME.account      an authority's account, sealed
//! keeper.lock   held by who looks after it  orders.json       orders of the last day, by tenant
//!                                           NAME.rekeying     its account is getting another key
//! ```
//!
//! A wildcard `*.school.example` is called `_any.school.example`. All files are for their owner alone.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::schedule::Span;
use crate::folder::{Pair, SEALED};
use crate::identity::Identity;
use crate::seal::{Seal, replace};

/// More hosts than a platform of schools has.
const RECORDS_MAX: usize = 20_000;
const RECORD: &str = "json";
const ORDERS: &str = "orders.json";
const CHARGE: &str = "keeper.lock";
const DRAFT: &str = "draft";
/// What a wildcard's star is in the name of a file: no host has such a label.
const ANY: &str = "_any.";

/// What is known of a host that is looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// A host, or `*.` and one.
    pub(super) name: String,
    /// Who it is counted for.
    pub(super) tenant: String,
    /// Who issued the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authority: Option<String>,
    /// When it is renewed, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renew_at: Option<u64>,
    /// The window that the authority suggests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<(u64, u64)>,
    /// When the authority is asked for its window again.
    #[serde(default)]
    pub(super) ask_at: u64,
    /// Failures in a row.
    #[serde(default)]
    pub(super) failures: u32,
    /// Not tried before.
    #[serde(default)]
    pub(super) retry_at: u64,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

impl Record {
    pub(super) fn new(name: &str, tenant: &str) -> Self {
        Self {
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            authority: None,
            renew_at: None,
            window: None,
            ask_at: 0,
            failures: 0,
            retry_at: 0,
            why: None,
        }
    }
}

/// Seconds since 1970, as records keep time.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A time that a record keeps; what is no time is the far future.
pub(super) fn at(seconds: u64) -> SystemTime {
    let far = 1 << 40;
    UNIX_EPOCH + Duration::from_secs(seconds.min(far))
}

/// Held by the one process that looks after a folder.
pub(super) struct Charge(
    #[expect(dead_code, reason = "the lock lasts as long as the open file")] File,
);

/// The folder.
pub(super) struct Shelf {
    dir: PathBuf,
    seal: Arc<Seal>,
}

impl Shelf {
    /// Makes the folder where there is none.
    pub(super) fn open(dir: &Path, seal: Arc<Seal>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            seal,
        })
    }

    /// The right to change this folder, which ends with the process that has it; none: another one has it, or a lock
    /// cannot be had here.
    pub(super) fn take_charge(&self) -> Option<Charge> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.dir.join(CHARGE)).ok()?;
        file.try_lock().ok()?;
        self.sweep();
        Some(Charge(file))
    }

    /// Deletes what a process that was killed had begun to write.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let drafts = entries.map(|entry| entry.path());
        for draft in drafts.filter(|path| path.extension().is_some_and(|of| of == DRAFT)) {
            // One that stays is in nobody's way.
            let _left = fs::remove_file(draft);
        }
    }

    /// Every record that can be read. One that cannot is left where it is: its certificate is served until it ends.
    pub(super) fn records(&self) -> io::Result<BTreeMap<String, Record>> {
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let is_record = path.extension().is_some_and(|ending| ending == RECORD);
            if !is_record || path.ends_with(ORDERS) || records.len() >= RECORDS_MAX {
                continue;
            }
            if let Some(record) = read::<Record>(&path) {
                records.insert(record.name.clone(), record);
            }
        }
        Ok(records)
    }

    pub(super) fn keep(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        replace(&self.file(&record.name, RECORD), &text)
    }

    /// Puts a certificate and its key on the shelf; a bad one never replaces a good one.
    pub(super) fn put(
        &self,
        name: &str,
        (chain, key): (&str, &str),
        now: SystemTime,
    ) -> Result<Span, PutFault> {
        let stem = stem(name);
        let pair = Pair::loose(&stem, chain.as_bytes(), key.as_bytes());
        let identity =
            Identity::load(&pair, now).map_err(|(_, fault)| PutFault::Unusable(fault))?;
        if !identity.names.iter().any(|of| of.to_string() == name) {
            return Err(PutFault::Unusable(crate::Fault::NoNames));
        }
        let disk = |error: io::Error| PutFault::Disk(error.kind());
        let sealed = self.seal.close(&stem, key.as_bytes()).map_err(disk)?;
        // Between the two writes the pair does not match; whoever reads it then keeps the former one.
        replace(&self.file(name, SEALED), &sealed).map_err(disk)?;
        replace(&self.file(name, "crt"), chain.as_bytes()).map_err(disk)?;
        Ok(identity.life())
    }

    /// An authority's account, opened.
    pub(super) fn account<T: DeserializeOwned>(&self, authority: &str) -> Option<T> {
        let sealed = fs::read(self.account_file(authority)).ok()?;
        let text = self.seal.unclose(&account_name(authority), &sealed)?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn keep_account(&self, authority: &str, account: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(account)?;
        let sealed = self.seal.close(&account_name(authority), &text)?;
        replace(&self.account_file(authority), &sealed)
    }

    /// From now until [`Self::rekeyed`] the kept key may not be the account's.
    pub(super) fn rekeying(&self, authority: &str) -> io::Result<()> {
        replace(&self.rekeying_file(authority), b"")
    }

    /// The kept key is the account's.
    pub(super) fn rekeyed(&self, authority: &str) {
        // One that stays costs an account at the next start, nothing else.
        let _absent = fs::remove_file(self.rekeying_file(authority));
    }

    pub(super) fn is_rekeying(&self, authority: &str) -> bool {
        self.rekeying_file(authority).exists()
    }

    fn rekeying_file(&self, authority: &str) -> PathBuf {
        self.dir.join(format!("{authority}.rekeying"))
    }

    /// When orders were placed, by tenant.
    pub(super) fn orders(&self) -> BTreeMap<String, Vec<u64>> {
        read(&self.dir.join(ORDERS)).unwrap_or_default()
    }

    pub(super) fn keep_orders(&self, orders: &BTreeMap<String, Vec<u64>>) -> io::Result<()> {
        replace(&self.dir.join(ORDERS), &serde_json::to_vec(orders)?)
    }

    fn account_file(&self, authority: &str) -> PathBuf {
        self.dir.join(format!("{authority}.account"))
    }

    fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", stem(name)))
    }
}

/// Why a certificate did not come onto the shelf.
pub(super) enum PutFault {
    Unusable(crate::Fault),
    Disk(io::ErrorKind),
}

/// The name of a host's files.
pub(super) fn stem(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(rest) => format!("{ANY}{rest}"),
        None => name.to_owned(),
    }
}

/// No host has a space in it, so a key is never taken for an account.
fn account_name(authority: &str) -> String {
    format!("account {authority}")
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
