//! What can be wrong with a certificate, said without a word of what the files hold.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::time::ASN1Time;

/// Why no certificates can be served at all.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The folder itself cannot be read.
    #[error("certificates: {0}")]
    Folder(Problem),

    /// The folder was read and nothing in it can be served.
    #[error("certificates: no pair in {} can be served; put NAME.crt with NAME.key there{}", dir.display(), each(problems))]
    NothingUsable {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with each pair that is there.
        problems: Vec<Problem>,
    },

    /// The thread that watches the folder could not be started.
    #[error("certificates: the watch of {} could not be started: {source}", dir.display())]
    Watch {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file that could not be used, and what became of the certificate of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file to look at.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
    /// An earlier certificate of that name is live and stays so.
    pub kept: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.fault)?;
        if self.kept {
            f.write_str(" (what was live before stays live)")?;
        }
        Ok(())
    }
}

/// What is wrong with a file of the certificate folder.
///
/// The texts are ours: an error of a parser may quote the line that it did not understand, and that line may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The system refused to open or read it.
    #[error("cannot be read: {0}; check owner and mode")]
    Unreadable(io::ErrorKind),

    /// A folder, pipe or device has the name of a PEM file.
    #[error("is not a file; only PEM files may end in .crt, .pem or .key here")]
    NotAFile,

    /// Larger than any chain or key.
    #[error("is larger than {0} bytes; put one chain or one key there")]
    TooLarge(u64),

    /// More files than the store is made for.
    #[error("holds more than {0} PEM files; split the folder")]
    TooMany(usize),

    /// A section that does not end, or is not base64.
    #[error("is damaged: a PEM section is cut off or is not base64; copy the file again")]
    DamagedPem,

    /// No certificate in the file.
    #[error("holds no certificate; put the chain there as PEM, the host's own certificate first")]
    NoCertificate,

    /// A certificate that is not X.509.
    #[error("certificate {0} of the chain is not valid X.509; copy the file again")]
    NotX509(usize),

    /// The chain is not leaf, issuer, issuer of the issuer.
    #[error(
        "certificate {0} of the chain did not issue the one before it; order the chain from the host's own upwards"
    )]
    ChainOrder(usize),

    /// No DNS name in the certificate.
    #[error(
        "names no host: it has no DNS name in its subjectAltName, and TLS clients look nowhere else"
    )]
    NoNames,

    /// A name that no client can ask for.
    #[error("names `{0}`, which is not a host name (a wildcard may only be the whole first label)")]
    BadName(String),

    /// Its time has not come.
    #[error("is not valid before {}; check the clock", utc(*.0))]
    NotYetValid(SystemTime),

    /// Its time is over.
    #[error("expired at {}; renew it", utc(*.0))]
    Expired(SystemTime),

    /// The certificate has no key beside it.
    #[error("is missing; put the private key of the certificate there")]
    MissingKey,

    /// A key with nothing to prove.
    #[error("has no certificate beside it; put the chain there as .crt, or remove the key")]
    KeyWithoutCertificate,

    /// No key in the file.
    #[error("holds no private key that can be read; put it there as PEM, not encrypted")]
    NoKey,

    /// Keys in two places, or two in one.
    #[error("is a second private key for the same certificate; keep one")]
    TwoKeys,

    /// Chains in two files of one name.
    #[error("is a second chain of the same name; keep either .crt or .pem")]
    TwoChains,

    /// A key of a kind or size that is not served.
    #[error(
        "holds a key that is damaged or of a kind that is not served; use ECDSA P-256, P-384, Ed25519 or RSA from 2048 bits"
    )]
    UnusableKey,

    /// A sealed key of another name or under another seal key.
    #[error(
        "cannot be opened with the seal key: the key file was changed, or this file; put the former key below the present one"
    )]
    Sealed,

    /// The key belongs to another certificate.
    #[error("is not the key of the certificate beside it; put both files of one issue there")]
    KeyMismatch,

    /// Serving nothing is never what a change of files meant.
    #[error("holds no pair that can be served any more")]
    NothingLeft,
}

/// A time as a person reads it.
fn utc(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    };
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| format!("{seconds} s after 1970"), |t| t.to_string())
}

fn each(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}
