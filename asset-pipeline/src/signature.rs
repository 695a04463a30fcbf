//! Who published a release: an Ed25519 signature over the digest of its manifest.
//!
//! A manifest names the app, the release and the digest of every file, so its digest stands for all
//! of it. Who can write to the store but has no key can neither make a release nor change one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// What is signed is of use nowhere else.
const CONTEXT: &[u8] = b"bellwether manifest 1\n";
const PREFIX: &str = "ed25519:";

/// What a signature is checked with: `ed25519:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("a public key is `ed25519:` and 64 hex digits, as `asset-pipeline keygen` prints it")]
pub struct NotAKey;

/// A signature, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key that it says it was made with.
    pub key: PublicKey,
    /// 64 bytes in hex.
    pub signature: String,
}

impl Signature {
    /// Whether it is of one of these keys, and of this manifest.
    pub fn is_of(&self, trusted: &[PublicKey], manifest: &Digest) -> bool {
        let Ok(signature) = hex::decode(&self.signature) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, self.key.0);
        trusted.contains(&self.key) && key.verify(&message(manifest), &signature).is_ok()
    }
}

impl PublicKey {
    /// The name that the key has in a store.
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

fn message(manifest: &Digest) -> Vec<u8> {
    [CONTEXT, manifest.as_bytes()].concat()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let text = text.strip_prefix(PREFIX).ok_or(NotAKey)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAKey)?;
        Ok(Self(bytes))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "publish")]
pub use secret::{SecretKey, SecretKeyError};

#[cfg(feature = "publish")]
mod secret {
    use std::fs::OpenOptions;
    use std::io::{self, Write as _};
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::{Digest, PublicKey, Signature, message};

    /// How a key's file begins: nobody takes it for anything else.
    const HEAD: &str = "bellwether-secret-key-ed25519:";
    /// Longer files are none.
    const FILE_BYTES_MAX: u64 = 1024;

    /// What releases are signed with.
    #[derive(Clone)]
    pub struct SecretKey(Arc<Ed25519KeyPair>);

    /// Why there is no key.
    #[derive(Debug, thiserror::Error)]
    pub enum SecretKeyError {
        /// It could not be read or written.
        #[error("{}: {source}", .file.display())]
        Io {
            /// The key's file.
            file: PathBuf,
            /// What the disk said.
            source: io::Error,
        },
        /// The file holds something else.
        #[error("{} holds no key: make one with `asset-pipeline keygen`", .0.display())]
        NotAKey(PathBuf),
        /// Others may read the file.
        #[error("{} can be read by others: `chmod 600` it, and make a new key if somebody did", .0.display())]
        Open(PathBuf),
        /// The system gives no random numbers.
        #[error("the system gives no random numbers")]
        Random,
    }

    impl std::fmt::Debug for SecretKey {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "SecretKey(of {})", self.public())
        }
    }

    impl SecretKey {
        /// Makes a key and writes it to a new file that only its owner may read.
        ///
        /// # Errors
        ///
        /// The file is there already, or cannot be written.
        pub fn create(file: &Path) -> Result<Self, SecretKeyError> {
            let io = |source| SecretKeyError::Io {
                file: file.to_owned(),
                source,
            };
            let mut seed = [0; 32];
            SystemRandom::new()
                .fill(&mut seed)
                .map_err(|_| SecretKeyError::Random)?;
            let key = Self::of(&seed).ok_or(SecretKeyError::Random)?;
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut out = options.open(file).map_err(io)?;
            let text = format!("{HEAD}{}\n", hex::encode(seed));
            out.write_all(text.as_bytes()).map_err(io)?;
            out.sync_all().map_err(io)?;
            Ok(key)
        }

        /// Reads a key.
        ///
        /// # Errors
        ///
        /// There is none, or others may read it.
        pub fn read(file: &Path) -> Result<Self, SecretKeyError> {
            let io = |source| SecretKeyError::Io {
                file: file.to_owned(),
                source,
            };
            let metadata = std::fs::metadata(file).map_err(io)?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(SecretKeyError::Open(file.to_owned()));
            }
            let not_a_key = || SecretKeyError::NotAKey(file.to_owned());
            if metadata.len() > FILE_BYTES_MAX {
                return Err(not_a_key());
            }
            let text = std::fs::read_to_string(file).map_err(|_| not_a_key())?;
            let mut seed = [0; 32];
            let hex = text.trim().strip_prefix(HEAD).ok_or_else(not_a_key)?;
            hex::decode_to_slice(hex, &mut seed).map_err(|_| not_a_key())?;
            Self::of(&seed).ok_or_else(not_a_key)
        }

        fn of(seed: &[u8; 32]) -> Option<Self> {
            let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
            Some(Self(Arc::new(pair)))
        }

        /// What its signatures are checked with.
        pub fn public(&self) -> PublicKey {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(self.0.public_key().as_ref());
            PublicKey(bytes)
        }

        /// Signs a release by the digest of its manifest.
        pub fn sign(&self, manifest: &Digest) -> Signature {
            Signature {
                key: self.public(),
                signature: hex::encode(self.0.sign(&message(manifest))),
            }
        }
    }
}

#[cfg(all(test, feature = "publish"))]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_manifest() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let key = SecretKey::create(&file).expect("a key");
        let other = SecretKey::create(&folder.path().join("other")).expect("a key");
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let signature = SecretKey::read(&file).expect("a key").sign(&one);
        let trusted = [other.public(), key.public()];
        assert!(signature.is_of(&trusted, &one));
        assert!(!signature.is_of(&trusted, &two));
        assert!(!signature.is_of(&[other.public()], &one));
        assert!(!signature.is_of(&[], &one));
        for changed in ["", "00", "zz", &"0".repeat(128), &signature.signature[2..]] {
            let changed = Signature {
                signature: changed.to_owned(),
                ..signature.clone()
            };
            assert!(!changed.is_of(&trusted, &one));
        }
        let claimed = Signature {
            key: other.public(),
            ..signature
        };
        assert!(!claimed.is_of(&trusted, &one));
    }

    #[test]
    fn a_key_is_kept_from_others_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let key = SecretKey::create(&file).expect("a key");
        let mode = std::fs::metadata(&file).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(SecretKey::create(&file).is_err());
        assert_eq!(
            SecretKey::read(&file).expect("a key").public(),
            key.public()
        );
        let text = std::fs::read_to_string(&file).expect("a file");
        let secret = text.trim().rsplit(':').next().expect("a seed");
        assert!(!format!("{key:?}").contains(secret));
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, open).expect("changed");
        assert!(matches!(
            SecretKey::read(&file),
            Err(SecretKeyError::Open(_))
        ));
        std::fs::write(&file, "ed25519:0011").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
        assert!(matches!(
            SecretKey::read(&file),
            Err(SecretKeyError::NotAKey(_))
        ));
    }

    #[test]
    fn a_public_key_is_text() {
        let text = format!("ed25519:{}", "0a".repeat(32));
        let key: PublicKey = text.parse().expect("a key");
        assert_eq!(key.to_string(), text);
        for wrong in [
            "",
            "ed25519:",
            "ed25519:0a",
            &text[8..],
            "rsa:00",
            &text.replace('a', "g"),
        ] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }
}
