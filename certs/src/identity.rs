//! One certificate that may be served: chain, key, names and dates, checked against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::error::Fault;
use crate::folder::{Digest, Pair};
use crate::name::Name;

const NAME_SHOWN_MAX: usize = 80;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much of its life a certificate has left, as far as somebody has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// More than a quarter: nothing to do.
    Good,
    /// A quarter or less: it should have been renewed.
    Soon,
    /// A tenth or less: somebody has to look now.
    Now,
    /// Nothing: clients refuse it.
    Expired,
}

/// Authorities recommend to renew at two thirds of the life; at a quarter something did not work.
const SOON: f64 = 0.25;
/// Of a certificate of 90 days nine are left: time for a working week and a weekend.
const NOW: f64 = 0.10;

impl Urgency {
    /// Every value, from good to bad.
    pub const ALL: [Self; 4] = [Self::Good, Self::Soon, Self::Now, Self::Expired];

    /// What a life from `from` to `to` comes to at `now`.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use certs::Urgency;
    ///
    /// let day = |n: u64| UNIX_EPOCH + Duration::from_secs(n * 86_400);
    /// assert_eq!(Urgency::of(day(0), day(90), day(60)), Urgency::Good);
    /// assert_eq!(Urgency::of(day(0), day(90), day(70)), Urgency::Soon);
    /// assert_eq!(Urgency::of(day(0), day(90), day(82)), Urgency::Now);
    /// assert_eq!(Urgency::of(day(0), day(90), day(91)), Urgency::Expired);
    /// ```
    pub fn of(from: SystemTime, to: SystemTime, now: SystemTime) -> Self {
        let Ok(left) = to.duration_since(now) else {
            return Self::Expired;
        };
        let life = to.duration_since(from).unwrap_or_default();
        let part = left.as_secs_f64() / life.as_secs_f64().max(1.0);
        match part {
            part if part <= NOW => Self::Now,
            part if part <= SOON => Self::Soon,
            _ => Self::Good,
        }
    }

    /// As a label: `good`, `soon`, `now` or `expired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Soon => "soon",
            Self::Now => "now",
            Self::Expired => "expired",
        }
    }
}

/// Who brings a certificate and renews it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Somebody puts files into the folder.
    Folder,
    /// The edge had it issued and renews it.
    Managed,
}

impl Source {
    /// As a word: `folder` or `managed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Managed => "managed",
        }
    }
}

/// A certificate that is being served, for people and for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    /// The name of the pair: its files without their ending.
    pub name: String,
    /// The file that holds the chain.
    pub file: PathBuf,
    /// Who renews it.
    pub source: Source,
    /// The hosts that it covers, in lower case; a wildcard as `*.example`.
    pub names: Vec<String>,
    /// The kind of its key: `ECDSA`, `Ed25519` or `RSA`.
    pub key: &'static str,
    /// The first moment of its life.
    pub not_before: SystemTime,
    /// The last moment of its life.
    pub not_after: SystemTime,
    /// Whole days until `not_after`; negative when that has passed.
    pub days_left: i64,
    /// Whether somebody has to act.
    pub urgency: Urgency,
}

/// A chain and a key that belong together.
pub(crate) struct Identity {
    name: String,
    file: PathBuf,
    /// What the pair's files held, so that an unchanged pair is not read twice.
    pub(crate) digest: Digest,
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) names: Vec<Name>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Identity {
    /// Checks a pair: key, names, dates and chain order. The file to blame comes with the fault.
    pub(crate) fn load(pair: &Pair, now: SystemTime) -> Result<Self, (PathBuf, Fault)> {
        let (file, chain_pem) = pair.chain()?;
        let blame = |fault| (file.clone(), fault);
        let chain = certificates(chain_pem).map_err(blame)?;
        let leaf = read_chain(&chain).map_err(blame)?;
        if now < leaf.not_before {
            return Err(blame(Fault::NotYetValid(leaf.not_before)));
        }
        if now > leaf.not_after {
            return Err(blame(Fault::Expired(leaf.not_after)));
        }

        let (key_file, key) = private_key(pair, &file, chain_pem)?;
        let key = any_supported_type(&key).map_err(|_| (key_file.clone(), Fault::UnusableKey))?;
        let certified = CertifiedKey::new(chain, key);
        // A key whose public half cannot be told would pass as "unknown"; every kind we load can tell.
        certified
            .keys_match()
            .map_err(|_| (key_file, Fault::KeyMismatch))?;

        Ok(Self {
            name: pair.name.clone(),
            file,
            digest: pair.digest,
            certified: Arc::new(certified),
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        })
    }

    /// Which of several certificates of one host goes first: small signatures, then the longest life, then the name.
    pub(crate) fn rank(&self) -> impl Ord + '_ {
        let kind = match self.certified.key.algorithm() {
            SignatureAlgorithm::ECDSA => 0,
            SignatureAlgorithm::ED25519 => 1,
            _ => 2,
        };
        (kind, std::cmp::Reverse(self.not_after), &self.name)
    }

    /// The first and the last moment of its life.
    pub(crate) fn life(&self) -> (SystemTime, SystemTime) {
        (self.not_before, self.not_after)
    }

    pub(crate) fn info(&self, source: Source, now: SystemTime) -> CertInfo {
        CertInfo {
            name: self.name.clone(),
            file: self.file.clone(),
            source,
            names: self.names.iter().map(Name::to_string).collect(),
            key: match self.certified.key.algorithm() {
                SignatureAlgorithm::ECDSA => "ECDSA",
                SignatureAlgorithm::ED25519 => "Ed25519",
                _ => "RSA",
            },
            not_before: self.not_before,
            not_after: self.not_after,
            days_left: days_between(now, self.not_after),
            urgency: Urgency::of(self.not_before, self.not_after, now),
        }
    }
}

/// What the chain says of itself.
struct Leaf {
    names: Vec<Name>,
    not_before: SystemTime,
    not_after: SystemTime,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = sections::<CertificateDer<'static>>(pem)?;
    if chain.is_empty() {
        Err(Fault::NoCertificate)
    } else {
        Ok(chain)
    }
}

/// The pair's one private key: in its own file or beside the chain.
fn private_key(
    pair: &Pair,
    chain_file: &Path,
    chain_pem: &[u8],
) -> Result<(PathBuf, PrivateKeyDer<'static>), (PathBuf, Fault)> {
    let beside = sections::<PrivateKeyDer<'static>>(chain_pem)
        .map_err(|fault| (chain_file.to_owned(), fault))?;
    let (file, mut keys) = match pair.key() {
        Some((file, content)) => {
            let pem = content.map_err(|fault| (file.clone(), fault))?;
            let own =
                sections::<PrivateKeyDer<'static>>(pem).map_err(|fault| (file.clone(), fault))?;
            if !beside.is_empty() {
                return Err((file, Fault::TwoKeys));
            }
            (file, own)
        }
        None if beside.is_empty() => return Err((pair.key_file(), Fault::MissingKey)),
        None => (chain_file.to_owned(), beside),
    };
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok((file, key)),
        (Some(_), false) => Err((file, Fault::TwoKeys)),
        (None, _) => Err((file, Fault::NoKey)),
    }
}

/// All sections of one kind. The parser's own error is dropped on purpose: it may quote a line of a key.
fn sections<T: PemObject>(pem: &[u8]) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    for item in T::pem_slice_iter(pem) {
        match item {
            Ok(item) => found.push(item),
            Err(pem::Error::NoItemsFound) => break,
            Err(_) => return Err(Fault::DamagedPem),
        }
    }
    Ok(found)
}

/// Reads the whole chain, so that a damaged or misplaced issuer is found here and not by a phone.
fn read_chain(chain: &[CertificateDer<'static>]) -> Result<Leaf, Fault> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (position, der) in chain.iter().enumerate() {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => parsed.push(certificate),
            _ => return Err(Fault::NotX509(position + 1)),
        }
    }
    for (position, link) in parsed.windows(2).enumerate() {
        if link[0].issuer().as_raw() != link[1].subject().as_raw() {
            return Err(Fault::ChainOrder(position + 2));
        }
    }
    let leaf = parsed.first().ok_or(Fault::NoCertificate)?;
    Ok(Leaf {
        names: names(leaf)?,
        not_before: system_time(leaf.validity().not_before),
        not_after: system_time(leaf.validity().not_after),
    })
}

fn names(leaf: &X509Certificate<'_>) -> Result<Vec<Name>, Fault> {
    let alternatives = leaf
        .subject_alternative_name()
        .map_err(|_| Fault::NotX509(1))?
        .ok_or(Fault::NoNames)?;
    let mut names = Vec::new();
    for general in &alternatives.value.general_names {
        if let GeneralName::DNSName(text) = general {
            names.push(Name::parse(text).ok_or_else(|| bad_name(text))?);
        }
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        Err(Fault::NoNames)
    } else {
        Ok(names)
    }
}

/// Enough of the name to find it, and no control characters.
fn bad_name(text: &str) -> Fault {
    Fault::BadName(text.escape_default().take(NAME_SHOWN_MAX).collect())
}

fn system_time(time: ASN1Time) -> SystemTime {
    // Before 1970 is before every clock that this runs under.
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

fn days_between(from: SystemTime, to: SystemTime) -> i64 {
    let days = |span: Duration| i64::try_from(span.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(left) => days(left),
        Err(over) => -1 - days(over.duration()),
    }
}
