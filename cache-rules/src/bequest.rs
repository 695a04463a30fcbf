//! The one way of a stored answer from one process to the next.
//!
//! ```text
//! sealed   = mac (16 bytes) || content
//! content  = FORMAT || key || age, fresh for, stale while, stale if (ms, 8 bytes each) || lines sent || lines remembered || rest
//! key      = length (4 bytes) || bytes
//! lines    = count (2 bytes) || (length (2 bytes) || name || length (4 bytes) || value)*
//! ```
//!
//! Numbers are big endian. Only what is made of a [`Storable`](crate::answer::Storable) can be sealed, and a [`Kept`] or
//! a [`CacheKey`] comes out only where the seal is whole: it is a MAC (SipHash-2-4, 128 bits) under a secret that two
//! processes share for the seconds that it takes. The rule is asked for again: one that is not there any more, or says
//! anything else now, keeps nothing. What an answer depends on, and whether that was purged since, is no matter of this
//! module: it goes in `rest`, and who opens it has to ask.

use std::borrow::Borrow as _;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use siphasher::sip128::SipHasher24;

use crate::answer::{Keeping, Kept, Memory, Windows};
use crate::key::CacheKey;
use crate::rules::{Policy, RuleSet, Scope};
use crate::tenant::TenantId;

/// Raised whenever the bytes mean something else, and whenever the rules let less be kept of an answer than before: what
/// an older version kept is then fetched again.
pub const FORMAT: u8 = 1;

/// Of the MAC.
const MAC_BYTES: usize = 16;

/// What two processes share while one leaves its stored answers to the other.
#[derive(Clone)]
pub struct Seal([u8; 16]);

/// A stored answer of another process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened<'a> {
    /// Under what it is kept.
    pub key: CacheKey,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who may share it.
    pub scope: Scope,
    /// What is sent with it.
    pub headers: HeaderMap,
    /// What is kept beside.
    pub kept: Kept,
    /// What the other process added: its bytes, and what it depends on.
    pub rest: &'a [u8],
}

/// Why a stored answer of another process is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Not sealed with this secret, or not as it was sealed.
    #[error("the seal is broken")]
    Seal,
    /// Sealed by a version that means something else by these bytes.
    #[error("another version's format")]
    Format,
    /// The rule that let it be kept is not there, or says something else now.
    #[error("its rule has changed")]
    Rule,
}

impl Seal {
    /// With a secret from the system's source of randomness.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// What shows that somebody has the secret, without telling it.
    pub fn word(&self) -> [u8; MAC_BYTES] {
        // No content begins so: the format is never 0.
        self.mac(b"\0the next process")
    }

    /// Whether who showed this word has the secret.
    pub fn is_shown_by(&self, word: [u8; MAC_BYTES]) -> bool {
        same(self.word(), word)
    }

    /// Seals a stored answer that came `since`. None: its time is over, or it is kept as it was sent.
    pub fn close(
        &self,
        key: &CacheKey,
        (headers, kept): (&HeaderMap, &Kept),
        since: Duration,
        rest: &[&[u8]],
    ) -> Option<Vec<u8>> {
        let left = kept.fresh_for().checked_sub(since)?;
        if left.is_zero() || *kept.keeping() != Keeping::Own {
            return None;
        }
        let mut sealed = vec![0; MAC_BYTES];
        sealed.push(FORMAT);
        let key: &[u8] = key.borrow();
        sealed.extend_from_slice(&u32::try_from(key.len()).ok()?.to_be_bytes());
        sealed.extend_from_slice(key);
        let stale = kept.stale();
        // An age is rounded up, what is left of a lifetime down.
        let age = kept.age() + since + Duration::from_nanos(999_999);
        for time in [age, left, stale.while_revalidate, stale.if_error] {
            let ms = u64::try_from(time.as_millis()).ok()?;
            sealed.extend_from_slice(&ms.to_be_bytes());
        }
        write_lines(&mut sealed, headers.iter(), headers.len())?;
        let remembered = kept.memory().lines();
        let lines = remembered.iter().map(|(name, value)| (name, value));
        write_lines(&mut sealed, lines, remembered.len())?;
        rest.iter().for_each(|part| sealed.extend_from_slice(part));
        let mac = self.mac(&sealed[MAC_BYTES..]);
        sealed[..MAC_BYTES].copy_from_slice(&mac);
        Some(sealed)
    }

    /// Opens what another process sealed, if these rules would still keep it.
    ///
    /// # Errors
    /// When the seal, the format or the rule is not the same here.
    pub fn open<'a>(&self, rules: &RuleSet, sealed: &'a [u8]) -> Result<Opened<'a>, NotOpened> {
        let (mac, content) = sealed.split_first_chunk().ok_or(NotOpened::Seal)?;
        if !same(*mac, self.mac(content)) {
            return Err(NotOpened::Seal);
        }
        let content = content.strip_prefix(&[FORMAT]).ok_or(NotOpened::Format)?;
        let mut reader = Reader(content);
        let read = reader.answer().ok_or(NotOpened::Format)?;
        let (key, said) = CacheKey::reopened(read.key).ok_or(NotOpened::Format)?;
        let tenant = said.tenant.parse().map_err(|_| NotOpened::Format)?;
        let rule = rules.named(said.rule).ok_or(NotOpened::Rule)?;
        let same = rule.digest == said.digest && rule.scope == said.scope;
        if !same || rule.policy != Policy::Strict {
            return Err(NotOpened::Rule);
        }
        Ok(Opened {
            key,
            tenant,
            scope: said.scope,
            headers: read.headers,
            kept: read.kept,
            rest: reader.0,
        })
    }

    fn mac(&self, content: &[u8]) -> [u8; MAC_BYTES] {
        SipHasher24::new_with_key(&self.0).hash(content).as_bytes()
    }
}

/// As numbers: how long it takes says nothing of where they differ.
fn same(one: [u8; MAC_BYTES], other: [u8; MAC_BYTES]) -> bool {
    u128::from_ne_bytes(one) ^ u128::from_ne_bytes(other) == 0
}

/// The secret is not printed.
impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

fn write_lines<'a>(
    to: &mut Vec<u8>,
    lines: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    count: usize,
) -> Option<()> {
    to.extend_from_slice(&u16::try_from(count).ok()?.to_be_bytes());
    for (name, value) in lines {
        let name = name.as_str().as_bytes();
        to.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
        to.extend_from_slice(name);
        let value = value.as_bytes();
        to.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
        to.extend_from_slice(value);
    }
    Some(())
}

struct Reader<'a>(&'a [u8]);

struct Read<'a> {
    key: &'a [u8],
    headers: HeaderMap,
    kept: Kept,
}

impl<'a> Reader<'a> {
    fn answer(&mut self) -> Option<Read<'a>> {
        let key = self.long()?;
        let age = self.time()?;
        let fresh_for = self.time()?;
        let stale = Windows {
            while_revalidate: self.time()?,
            if_error: self.time()?,
        };
        let headers = self
            .lines()?
            .into_iter()
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
        let memory = Memory::reopened(self.lines()?);
        let kept = Kept::reopened((age, fresh_for), stale, memory);
        Some(Read { key, headers, kept })
    }

    fn lines(&mut self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let count = u16::from_be_bytes(*self.chunk()?);
        let line = |_| {
            let len = u16::from_be_bytes(*self.chunk()?);
            let name = HeaderName::from_bytes(self.bytes(len.into())?).ok()?;
            Some((name, HeaderValue::from_bytes(self.long()?).ok()?))
        };
        (0..count).map(line).collect()
    }

    fn time(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(u64::from_be_bytes(*self.chunk()?)))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_be_bytes(*self.chunk()?);
        self.bytes(usize::try_from(len).ok()?)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests;
