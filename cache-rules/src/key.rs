//! The key of a stored answer.
//!
//! ```text
//! key       = version component*
//! component = tag (1 byte) || length (4 bytes, big endian) || bytes
//! ```
//!
//! in this order: scope, tenant, one component per role of scope `role`, host, rule, digest of the rule, path, one component per query pair, one per header
//! that the rule varies on (present and absent have different tags), release. Lengths come first, so no value can
//! imitate another component, whatever bytes it holds: `tenant_a` + `/path` is not `tenant_` + `a/path`.
//!
//! Two keys are equal only if all their bytes are. A hash alone never decides whose answer somebody sees.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use http::header::{ACCEPT_LANGUAGE, HeaderMap, HeaderName};

use crate::host::HostName;
use crate::identity::Grant;
use crate::plan::Plan;
use crate::rules::Scope;

/// Raised whenever the same request would get other bytes.
const VERSION: u8 = 2;

/// Under what an answer is kept. There is no way to make one without a [`Grant`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Arc<[u8]>);

impl CacheKey {
    pub(crate) fn build(plan: &Plan, grant: &Grant, host: &HostName, release: &str) -> Self {
        let mut len = 1;
        each_component(plan, grant, host, release, |_, bytes| {
            len += 5 + bytes.len()
        });
        // One allocation of the exact size, filled in place: this runs for every hit.
        let mut key: Arc<[u8]> = std::iter::repeat_n(VERSION, len).collect();
        let bytes = Arc::get_mut(&mut key).expect("nobody else has it yet");
        let mut at = 1;
        each_component(plan, grant, host, release, |tag, component| {
            let len = u32::try_from(component.len()).expect("a request is smaller than 4 GiB");
            bytes[at] = tag;
            bytes[at + 1..at + 5].copy_from_slice(&len.to_be_bytes());
            bytes[at + 5..at + 5 + component.len()].copy_from_slice(component);
            at += 5 + component.len();
        });
        Self(key)
    }

    /// This key and the values of some request headers, brought into one form as RFC 9111, 4.1 allows: lines joined, no
    /// spaces around commas, and languages of one weight in one order and case.
    pub(crate) fn variant(&self, request: &HeaderMap, names: &[HeaderName]) -> Self {
        let mut key = self.0.to_vec();
        for name in names {
            let lines: Vec<&[u8]> = request
                .get_all(name)
                .iter()
                .map(|line| line.as_bytes())
                .collect();
            let joined = lines.join(&b","[..]);
            let mut parts: Vec<&[u8]> = joined
                .split(|&b| b == b',')
                .map(<[u8]>::trim_ascii)
                .collect();
            let lower = joined.to_ascii_lowercase();
            if name == ACCEPT_LANGUAGE {
                parts = lower
                    .split(|&b| b == b',')
                    .map(<[u8]>::trim_ascii)
                    .collect();
                parts.sort_unstable();
            }
            let value = parts.join(&b","[..]);
            let tag = if lines.is_empty() { b'v' } else { b'V' };
            for (tag, bytes) in [(b'x', name.as_str().as_bytes()), (tag, &value)] {
                let len = u32::try_from(bytes.len()).expect("a request is smaller than 4 GiB");
                key.push(tag);
                key.extend_from_slice(&len.to_be_bytes());
                key.extend_from_slice(bytes);
            }
        }
        Self(key.into())
    }

    /// A key that another process made, and what it says of itself; none: it is none of this version. Only for bytes
    /// whose seal was looked at: a grant was proven when the key was made.
    pub(crate) fn reopened(bytes: &[u8]) -> Option<(Self, Said<'_>)> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let mut next = |tag: u8| {
            let (head, after) = rest.split_first_chunk::<5>()?;
            let (have, len) = head.split_first()?;
            let len = u32::from_be_bytes(len.try_into().ok()?);
            let (bytes, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
            (*have == tag).then(|| rest = after)?;
            std::str::from_utf8(bytes).ok()
        };
        let scope = match next(b's')? {
            "P" => Scope::Public,
            "T" => Scope::Tenant,
            "R" => Scope::Role,
            _ => return None,
        };
        let tenant = next(b't')?;
        while next(b'R').is_some() {}
        next(b'h')?;
        let rule = next(b'n')?;
        let (head, after) = rest.split_first_chunk::<5>()?;
        let (digest, _) = after.split_first_chunk()?;
        let said = Said {
            scope,
            tenant,
            rule,
            digest: u64::from_be_bytes(*digest),
        };
        (*head == [b'd', 0, 0, 0, 8]).then(|| (Self(bytes.into()), said))
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// Under whose rule a key was made, and for whom.
pub(crate) struct Said<'k> {
    pub(crate) scope: Scope,
    pub(crate) tenant: &'k str,
    pub(crate) rule: &'k str,
    /// Of all that the rule says.
    pub(crate) digest: u64,
}

fn each_component(
    plan: &Plan,
    grant: &Grant,
    host: &HostName,
    release: &str,
    mut add: impl FnMut(u8, &[u8]),
) {
    let rule = plan.checked_rule();
    add(b's', scope(grant.scope()));
    add(b't', grant.tenant_id().as_str().as_bytes());
    for role in grant.roles() {
        add(b'R', role.as_bytes());
    }
    add(b'h', host.as_str().as_bytes());
    add(b'n', rule.name.as_bytes());
    add(b'd', &rule.digest.to_be_bytes());
    add(b'p', plan.path().as_bytes());
    for pair in plan.pairs() {
        add(b'q', pair.as_bytes());
    }
    for value in plan.vary() {
        match value {
            Some(value) => add(b'V', value.as_bytes()),
            None => add(b'v', b""),
        }
    }
    if !rule.across_colours {
        add(b'r', release.as_bytes());
    }
}

fn scope(scope: Scope) -> &'static [u8] {
    match scope {
        Scope::Public => b"P",
        Scope::Tenant => b"T",
        Scope::Role => b"R",
    }
}

impl Borrow<[u8]> for CacheKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes hold query values: they are not printed.
impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
