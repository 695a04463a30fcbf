//! Keys that the config names in a file and that both sides of a signature have: of operators' orders, and of the
//! addresses of pictures.
//!
//! A file has one line, or two while the key is changed: the first signs, both prove.

use std::fmt;
use std::path::Path;

use asset_pipeline::digest::Digest;
use aws_lc_rs::hmac;

/// The current key and the one before or after it.
const KEYS_MAX: usize = 2;
/// Below this a key can be guessed.
const KEY_BYTES_MIN: usize = 32;

/// One key or two; none where no file is named: then nothing is signed and nothing proven.
#[derive(Default, Clone)]
pub struct SigningKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    mac: hmac::Key,
    /// Tells it from another one, where configs are compared.
    digest: Digest,
}

/// Why a file has no keys.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NoKeys {
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "`{0}` has no line, or more than two: write the key in one line, and while it is changed both"
    )]
    Count(String),
    #[error("`{0}` has a key of less than 32 bytes: `openssl rand -hex 32` makes one")]
    Short(String),
}

impl SigningKeys {
    /// Reads a file of one or two lines, each a key.
    ///
    /// # Errors
    /// When it cannot be read, or has no, weak or too many keys.
    pub fn read(path: &Path) -> Result<Self, NoKeys> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| NoKeys::Unreadable {
            path: name(),
            source,
        })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        if !(1..=KEYS_MAX).contains(&lines.len()) {
            return Err(NoKeys::Count(name()));
        }
        if lines.iter().any(|line| line.len() < KEY_BYTES_MIN) {
            return Err(NoKeys::Short(name()));
        }
        let key = |line: &&str| Key {
            mac: hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()),
            digest: Digest::of(line.as_bytes()),
        };
        Ok(Self(lines.iter().map(key).collect()))
    }

    /// Signs with the first; none: there is no key.
    pub fn sign(&self, text: &str) -> Option<hmac::Tag> {
        let key = self.0.first()?;
        Some(hmac::sign(&key.mac, text.as_bytes()))
    }

    /// Whether one of them signed this. Compared in constant time.
    pub fn proves(&self, text: &str, mac: &[u8]) -> bool {
        let mut keys = self.0.iter();
        keys.any(|key| hmac::verify(&key.mac, text.as_bytes(), mac).is_ok())
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl PartialEq for SigningKeys {
    fn eq(&self, other: &Self) -> bool {
        let ours = self.0.iter().map(|key| key.digest);
        ours.eq(other.0.iter().map(|key| key.digest))
    }
}

impl Eq for SigningKeys {}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lines: &str) -> Result<SigningKeys, NoKeys> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), lines).expect("a file");
        SigningKeys::read(file.path())
    }

    fn key(letter: &str) -> String {
        letter.repeat(32)
    }

    #[test]
    fn while_a_key_is_changed_both_prove_and_the_new_one_signs() {
        let (a, b) = (key("a"), key("b"));
        let old = keys(&a).expect("a key");
        let both = keys(&format!("{b}\n{a}\n")).expect("two keys");
        let new = keys(&b).expect("a key");
        let signed = |keys: &SigningKeys| keys.sign("text").expect("there is a key");
        assert!(both.proves("text", signed(&old).as_ref()));
        assert!(both.proves("text", signed(&new).as_ref()));
        assert!(!new.proves("text", signed(&old).as_ref()));
        assert!(!both.proves("another text", signed(&old).as_ref()));
        assert!(!both.proves("text", &signed(&old).as_ref()[..31]));
        assert_eq!(signed(&both).as_ref(), signed(&new).as_ref());
        assert!(SigningKeys::default().sign("text").is_none());
        assert!(!SigningKeys::default().proves("text", &[]));
        assert!(old == keys(&a).expect("a key") && old != both);
    }

    #[test]
    fn weak_missing_and_too_many_keys_are_refused() {
        let (a, b, c) = (key("a"), key("b"), key("c"));
        for bad in ["", "\n\n", "short", &format!("{a}\n{b}\n{c}")] {
            assert!(keys(bad).is_err(), "{bad:?}");
        }
        assert!(SigningKeys::read(Path::new("/nowhere/keys")).is_err());
        assert_eq!(format!("{:?}", keys(&a).expect("a key")), "1 keys");
    }
}
