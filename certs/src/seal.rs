//! Keys at rest: sealed with AES-256-GCM under a key that lies elsewhere, so that a copy of the state folder is of no use.
//!
//! ```text
//! bellwether sealed 1\n | nonce (12) | sealed bytes | tag (16)
//! ```
//!
//! The name of what is sealed is additional data: a file that was renamed or swapped with another does not open.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

const HEAD: &[u8] = b"bellwether sealed 1\n";
/// AES-256.
const KEY_BYTES: usize = 32;
/// The present key, and those that it takes over from.
const KEYS_MAX: usize = 4;
/// Four lines in hex, with room for what editors add.
const FILE_BYTES_MAX: u64 = 1024;

/// The keys that seal private keys at rest.
pub struct Seal {
    /// The first seals; all open.
    keys: Vec<RandomizedNonceKey>,
}

/// A key file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seal key: {}: {fault}", file.display())]
pub struct SealProblem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: SealFault,
}

/// What is wrong with a key file. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealFault {
    /// The system refused to open or read it.
    #[error("cannot be read: {0}; check owner and mode, or make one with `openssl rand -hex 32`")]
    Unreadable(io::ErrorKind),
    /// Who has it can read every private key of the state folder.
    #[error("can be read by everybody; chmod 0400, and make another if others may have read it")]
    ReadableByOthers,
    /// Something else is in it.
    #[error(
        "holds no key: write 64 hexadecimal digits (`openssl rand -hex 32`), and below them up to three former keys"
    )]
    NotAKey,
}

impl Seal {
    /// Reads the key file: 64 hexadecimal digits a line. The first line seals; the others open what was sealed before
    /// the key was changed.
    ///
    /// # Errors
    ///
    /// When the file can be read by everybody, or holds no key.
    pub fn open(file: &Path) -> Result<Self, SealProblem> {
        read(file).map_err(|fault| SealProblem {
            file: file.to_owned(),
            fault,
        })
    }

    /// Seals bytes that only something of this name may be.
    pub(crate) fn close(&self, name: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let key = self.keys.first().ok_or(io::ErrorKind::NotFound)?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok([HEAD, nonce.as_ref(), &sealed].concat())
    }

    /// Opens what [`close`](Self::close) made; none: it is something else, of another name, or under another key.
    pub(crate) fn unclose(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.strip_prefix(HEAD)?.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut bytes = sealed.to_vec();
            let plain = key
                .open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes)
                .ok()?
                .len();
            bytes.truncate(plain);
            Some(bytes)
        })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Seal, SealFault> {
    let unreadable = |error: io::Error| SealFault::Unreadable(error.kind());
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & 0o007 != 0 {
        return Err(SealFault::ReadableByOthers);
    }
    let mut text = String::new();
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(SealFault::NotAKey),
        Err(error) => return Err(unreadable(error)),
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Option<Vec<_>> = lines
        .map(|line| RandomizedNonceKey::new(&AES_256_GCM, &unhex::<KEY_BYTES>(line)?).ok())
        .collect();
    keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len()))
        .map(|keys| Seal { keys })
        .ok_or(SealFault::NotAKey)
}

/// Bytes from their hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Replaces a file in one step, for its owner alone, so that nobody reads half of it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    // Neither two processes that share a folder nor two tasks of one may write into the same draft.
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    draft.push(format!(".{}-{number}.draft", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        });
    if written.is_err() {
        // What is left over is for nobody.
        let _ = std::fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    fn seal(text: &str, mode: u32) -> Result<Seal, SealFault> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("seal.key");
        std::fs::write(&file, text).expect("it can be written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        Seal::open(&file).map_err(|problem| problem.fault)
    }

    #[test]
    fn what_was_sealed_opens_under_its_key_and_name_alone() {
        let one = seal(ONE, 0o600).expect("a key");
        let sealed = one.close("oak.example", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_ne!(sealed, one.close("oak.example", b"secret").expect("sealed"));
        let opened = one.unclose("oak.example", &sealed);
        assert_eq!(opened.as_deref(), Some(&b"secret"[..]));
        assert_eq!(one.unclose("elm.example", &sealed), None);
        let changed = seal(&format!("{TWO}\n{ONE}\n"), 0o400).expect("two keys");
        let opened = changed.unclose("oak.example", &sealed);
        assert_eq!(opened.as_deref(), Some(&b"secret"[..]));
        let other = seal(TWO, 0o640).expect("a key");
        assert_eq!(other.unclose("oak.example", &sealed), None);
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(one.unclose("oak.example", &bent), None, "byte {at}");
            assert_eq!(one.unclose("oak.example", &sealed[..at]), None, "cut {at}");
        }
    }

    #[test]
    fn a_key_file_is_hexadecimal_and_not_for_everybody() {
        for text in [
            "",
            "\n",
            "0101",
            &ONE[1..],
            &format!("{ONE}x"),
            &"z".repeat(64),
        ] {
            assert_eq!(seal(text, 0o600).err(), Some(SealFault::NotAKey), "{text}");
        }
        let five = [ONE; 5].join("\n");
        assert_eq!(seal(&five, 0o600).err(), Some(SealFault::NotAKey));
        assert_eq!(seal(ONE, 0o604).err(), Some(SealFault::ReadableByOthers));
        assert!(format!("{:?}", seal(ONE, 0o600)).ends_with("Seal { .. })"));
    }
}
