//! The keys under which pins are written: kept in the state folder, so that a restart frees nobody.
//!
//! One key writes for a week and proves for another: as long as the oldest cookie that it wrote. The
//! file has a line for each, the newest first: the second when it was made, and 64 hex digits. Another
//! process of the same edge may turn the keys: what it wrote is taken over.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use parking_lot::Mutex;

use super::pins::PIN_S_MAX;

/// How long one key writes: what it wrote last is good for as long again.
const WRITES_S: u64 = PIN_S_MAX;
/// The one that writes, and the one before it.
const KEYS_MAX: usize = 2;

/// What pins are written and proven with.
pub struct PinKeys {
    keys: ArcSwap<Vec<Key>>,
    file: Option<PathBuf>,
    /// Held while they are turned.
    turning: Mutex<()>,
}

#[derive(Clone)]
struct Key {
    made_s: u64,
    secret: [u8; 32],
    mac: hmac::Key,
}

/// Why keys cannot be kept in their file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KeysError {
    #[error("the keys of pins in {path} cannot be used: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{0} is no file of the edge's keys of pins: move it away and a new one is made, which ends all pins"
    )]
    NotKeys(PathBuf),
}

impl fmt::Debug for PinKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinKeys").finish_non_exhaustive()
    }
}

impl PinKeys {
    /// Keys that are kept in `file`, which is made when it is not there, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be read or made, or is something else.
    pub fn kept(file: PathBuf, now: SystemTime) -> Result<Self, KeysError> {
        let keys = Self {
            keys: ArcSwap::from_pointee(Vec::new()),
            file: Some(file),
            turning: Mutex::new(()),
        };
        keys.tend(now)?;
        Ok(keys)
    }

    /// Keys that nobody else has.
    #[cfg(test)]
    pub(super) fn drawn() -> Self {
        Self {
            keys: ArcSwap::from_pointee(vec![Key::drawn(0)]),
            file: None,
            turning: Mutex::new(()),
        }
    }

    /// Takes over what another process wrote, and turns the keys when it is time.
    ///
    /// # Errors
    /// When the file cannot be used; the keys in memory go on.
    pub fn tend(&self, now: SystemTime) -> Result<(), KeysError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let _turning = self.turning.lock();
        let now_s = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let io = |source| KeysError::Io {
            path: path.clone(),
            source,
        };
        let mut keys = match std::fs::read_to_string(path) {
            Ok(text) => parsed(&text).ok_or_else(|| KeysError::NotKeys(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(error)),
        };
        // A key of the future was made by a clock that was wrong.
        let writes = |key: &Key| key.made_s <= now_s && now_s < key.made_s + WRITES_S;
        if !keys.first().is_some_and(writes) {
            keys.insert(0, Key::drawn(now_s));
            keys.truncate(KEYS_MAX);
            keys.retain(|key| now_s < key.made_s.saturating_add(2 * WRITES_S));
            // Written first: what is signed with a key must be provable after a restart.
            write(path, &keys).map_err(io)?;
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    pub(super) fn sign(&self, text: &[u8]) -> hmac::Tag {
        let keys = self.keys.load();
        // There is always one: `kept` fails without.
        hmac::sign(&keys[0].mac, text)
    }

    pub(super) fn any(&self, proves: impl Fn(&hmac::Key) -> bool) -> bool {
        self.keys.load().iter().any(|key| proves(&key.mac))
    }
}

impl Key {
    fn drawn(made_s: u64) -> Self {
        Self::of(made_s, rand::random())
    }

    fn of(made_s: u64, secret: [u8; 32]) -> Self {
        Self {
            made_s,
            secret,
            mac: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        }
    }
}

fn parsed(text: &str) -> Option<Vec<Key>> {
    let key = |line: &str| {
        let (made_s, digits) = line.split_once(' ')?;
        let mut secret = [0; 32];
        hex::decode_to_slice(digits, &mut secret).ok()?;
        Some(Key::of(made_s.parse().ok()?, secret))
    };
    let keys: Option<Vec<Key>> = text.lines().map(key).collect();
    keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len()))
}

fn write(path: &Path, keys: &[Key]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Its mode is 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for key in keys {
        writeln!(file, "{} {}", key.made_s, hex::encode(key.secret))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// How often an edge tends them: a key may write this much longer than it should.
pub const TENDED_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_350_000 + seconds)
    }

    fn proves(keys: &PinKeys, tag: &hmac::Tag) -> bool {
        keys.any(|key| hmac::verify(key, b"text", tag.as_ref()).is_ok())
    }

    #[test]
    fn keys_are_kept_and_turn_each_week_and_prove_for_one_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pin-keys");
        let keys = PinKeys::kept(file.clone(), at(0)).expect("they are made");
        let mode = std::fs::metadata(&file).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let first = keys.sign(b"text");
        let again = PinKeys::kept(file.clone(), at(1)).expect("they are read");
        assert!(proves(&again, &first), "a restart frees nobody");

        again.tend(at(WRITES_S)).expect("they turn");
        let second = again.sign(b"text");
        assert_ne!(first.as_ref(), second.as_ref());
        assert!(proves(&again, &first));
        assert!(!proves(&keys, &second));
        keys.tend(at(WRITES_S))
            .expect("what another wrote is taken over");
        assert!(proves(&keys, &second));
        assert_eq!(keys.sign(b"text").as_ref(), second.as_ref());

        keys.tend(at(2 * WRITES_S)).expect("they turn");
        assert!(!proves(&keys, &first), "the oldest cookie is over");
        assert!(proves(&keys, &second));
        // Nobody was there for a month: nothing old is believed.
        keys.tend(at(20 * WRITES_S)).expect("they turn");
        assert!(!proves(&keys, &second));
        keys.tend(at(0))
            .expect("a clock that went back makes new keys");
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pin-keys");
        for text in ["", "hello", "1 abcd", "x 00"] {
            std::fs::write(&file, text).expect("a file");
            assert!(PinKeys::kept(file.clone(), at(0)).is_err(), "{text:?}");
            assert_eq!(std::fs::read_to_string(&file).expect("a file"), text);
        }
        assert!(PinKeys::kept(folder.path().join("no/where"), at(0)).is_err());
    }
}
