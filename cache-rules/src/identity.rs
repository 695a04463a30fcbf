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
/// use cache_rules::identity::{Grant, Identity, WrongTenant};
///
/// let (oak, elm) = ("oak".parse()?, "elm".parse()?);
/// let pupil = Identity { subject: "7".into(), tenant: oak, roles: Default::default() };
/// assert!(Grant::tenant(&pupil, &pupil.tenant).is_ok());
/// assert_eq!(Grant::tenant(&pupil, &elm), Err(WrongTenant));
/// # Ok::<(), cache_rules::tenant::NotATenant>(())
/// ```
///
/// ```compile_fail,E0451
/// use cache_rules::{identity::Grant, rules::Scope, tenant::TenantId};
///
/// // A grant is proven, not claimed: this does not compile.
/// fn claimed(tenant: TenantId) -> Grant {
///     Grant { scope: Scope::Tenant, tenant }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    scope: Scope,
    tenant: TenantId,
}

/// The credentials are good, but at another school than the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the identity belongs to another tenant than the host")]
pub struct WrongTenant;

impl Grant {
    /// What everyone may share who reached a host of this tenant: no identity was asked for.
    pub fn public(host_tenant: &TenantId) -> Self {
        Self {
            scope: Scope::Public,
            tenant: host_tenant.clone(),
        }
    }

    /// What the people of one school may share.
    ///
    /// # Errors
    /// When the identity belongs to another school than the one whose host was asked.
    pub fn tenant(identity: &Identity, host_tenant: &TenantId) -> Result<Self, WrongTenant> {
        if identity.tenant == *host_tenant {
            Ok(Self {
                scope: Scope::Tenant,
                tenant: host_tenant.clone(),
            })
        } else {
            Err(WrongTenant)
        }
    }

    /// Who shares.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// In which school.
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_prints_no_person() {
        let identity = Identity {
            subject: "pupil-4711".into(),
            tenant: "oak".parse().expect("a tenant id"),
            roles: BTreeSet::from(["guardian-of-9".to_owned()]),
        };
        let text = format!("{identity:?}");
        assert!(
            !text.contains("4711") && !text.contains("guardian"),
            "{text}"
        );
    }
}
