//! Who a client is, as the origin said, and the proof that an answer may be shared with them.
//!
//! A [`Grant`] is that proof. Every key and every stored answer needs one, and it is made only here: whoever forgot
//! to ask who the client is has nothing to look up with.

use std::collections::BTreeSet;
use std::fmt;

use crate::rules::Scope;
use crate::tenant::TenantId;

/// Whose credentials these are, as the origin said.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the person. It is personal data: it is never printed.
    pub subject: String,
    /// The school they signed in to.
    pub tenant: TenantId,
    /// What they may do there.
    pub roles: BTreeSet<String>,
    /// Somebody else acts as them ("view as"): what is answered is shared with nobody.
    pub acting: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &"redacted")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Proof that the client may share the answers of a scope in a tenant.
///
/// ```
/// use cache_rules::identity::{Grant, Identity, Ungranted};
///
/// let (oak, elm) = ("oak".parse()?, "elm".parse()?);
/// let pupil = Identity { subject: "7".into(), tenant: oak, roles: Default::default(), acting: false };
/// assert!(Grant::tenant(&pupil, &pupil.tenant).is_ok());
/// assert_eq!(Grant::tenant(&pupil, &elm), Err(Ungranted::OtherTenant));
/// # Ok::<(), cache_rules::tenant::NotATenant>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    scope: Scope,
    tenant: TenantId,
    /// Those of scope `role`, in order.
    roles: BTreeSet<String>,
}

/// The credentials are good, but nothing is shared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ungranted {
    /// They are another school's than the host's.
    #[error("the identity belongs to another tenant than the host")]
    OtherTenant,
    /// Somebody else acts as their owner.
    #[error("somebody else acts under this identity")]
    Acting,
}

impl Grant {
    /// What everyone may share who reached a host of this tenant: no identity was asked for.
    pub fn public(host_tenant: &TenantId) -> Self {
        Self {
            scope: Scope::Public,
            tenant: host_tenant.clone(),
            roles: BTreeSet::new(),
        }
    }

    /// What the people of one school may share.
    ///
    /// # Errors
    /// When the identity belongs to another school than the one whose host was asked, or somebody else acts under it.
    pub fn tenant(identity: &Identity, host_tenant: &TenantId) -> Result<Self, Ungranted> {
        Self::proven(Scope::Tenant, BTreeSet::new(), identity, host_tenant)
    }

    /// What the people of one school may share who have the very same roles.
    ///
    /// # Errors
    /// When the identity belongs to another school than the one whose host was asked, or somebody else acts under it.
    pub fn role(identity: &Identity, host_tenant: &TenantId) -> Result<Self, Ungranted> {
        Self::proven(Scope::Role, identity.roles.clone(), identity, host_tenant)
    }

    fn proven(
        scope: Scope,
        roles: BTreeSet<String>,
        identity: &Identity,
        host_tenant: &TenantId,
    ) -> Result<Self, Ungranted> {
        if identity.tenant != *host_tenant {
            return Err(Ungranted::OtherTenant);
        }
        if identity.acting {
            return Err(Ungranted::Acting);
        }
        Ok(Self {
            scope,
            tenant: host_tenant.clone(),
            roles,
        })
    }

    /// Who shares.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The roles that the answers of scope `role` are for; none in other scopes.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str)
    }

    /// In which school.
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant
    }
}

/// Roles can tell who somebody is, so they are not printed.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("scope", &self.scope)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_as_somebody_else_shares_nothing_with_them() {
        let oak: TenantId = "oak".parse().expect("a tenant id");
        let viewed = Identity {
            subject: "7".into(),
            tenant: oak.clone(),
            roles: BTreeSet::new(),
            acting: true,
        };
        assert_eq!(Grant::tenant(&viewed, &oak), Err(Ungranted::Acting));
        assert_eq!(Grant::role(&viewed, &oak), Err(Ungranted::Acting));
    }

    #[test]
    fn an_identity_prints_no_person() {
        let identity = Identity {
            subject: "pupil-4711".into(),
            tenant: "oak".parse().expect("a tenant id"),
            roles: BTreeSet::from(["guardian-of-9".to_owned()]),
            acting: false,
        };
        let text = format!("{identity:?}");
        assert!(
            !text.contains("4711") && !text.contains("guardian"),
            "{text}"
        );
    }
}
