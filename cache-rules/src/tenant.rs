//! Which host is which school.
//!
//! There is no default tenant: a host that is not listed has none, and the edge answers it with a refusal.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::host::HostName;

/// The id of one school, exactly as the origin writes it. It goes into keys, metrics and log lines.
///
/// ```
/// use cache_rules::tenant::TenantId;
///
/// let tenant: TenantId = "oak-primary".parse()?;
/// assert_eq!(tenant.as_str(), "oak-primary");
/// assert!("oak primary".parse::<TenantId>().is_err());
/// # Ok::<(), cache_rules::tenant::NotATenant>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// A text that is no tenant's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id is 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`")]
pub struct NotATenant;

impl TenantId {
    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = NotATenant;

    fn from_str(text: &str) -> Result<Self, NotATenant> {
        let fits = (1..=64).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(NotATenant)
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every tenant with its hosts; a host belongs to one tenant.
#[derive(Debug, Default)]
pub struct Tenants {
    list: Vec<(TenantId, Vec<HostName>)>,
    /// Host to place in `list`.
    by_host: HashMap<HostName, usize>,
}

/// What is wrong with a list of tenants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantMistake {
    /// One host, two schools: whose pages would it show?
    #[error(
        "host `{host}` is named by tenant `{first}` and by tenant `{second}`; a host names one tenant"
    )]
    HostTwice {
        /// The host.
        host: HostName,
        /// The tenant that names it first.
        first: TenantId,
        /// The tenant that names it again; the same one if it lists the host twice.
        second: TenantId,
    },
    /// The same id again.
    #[error("tenant `{tenant}` is listed twice; list its hosts in one place")]
    TenantTwice {
        /// The tenant.
        tenant: TenantId,
    },
    /// It could never be reached.
    #[error("tenant `{tenant}` has no host; give it one or remove it")]
    NoHost {
        /// The tenant.
        tenant: TenantId,
    },
}

impl Tenants {
    /// Joins tenants and hosts into the table that requests are looked up in.
    ///
    /// # Errors
    /// With every mistake of the list, in its order.
    ///
    /// ```
    /// use cache_rules::{host::HostName, tenant::Tenants};
    ///
    /// let oak = HostName::parse("oak.example")?;
    /// let tenants = Tenants::build(vec![("oak".parse()?, vec![oak.clone()])]).expect("no host is named twice");
    /// assert_eq!(tenants.of_host(&oak).map(|tenant| tenant.as_str()), Some("oak"));
    /// assert_eq!(tenants.of_host(&HostName::parse("elm.example")?), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(list: Vec<(TenantId, Vec<HostName>)>) -> Result<Self, Vec<TenantMistake>> {
        let mut mistakes = Vec::new();
        let mut by_host: HashMap<HostName, usize> = HashMap::new();
        let mut by_id: HashMap<&TenantId, usize> = HashMap::new();
        for (place, (tenant, hosts)) in list.iter().enumerate() {
            if by_id.insert(tenant, place).is_some() {
                let tenant = tenant.clone();
                mistakes.push(TenantMistake::TenantTwice { tenant });
            }
            if hosts.is_empty() {
                let tenant = tenant.clone();
                mistakes.push(TenantMistake::NoHost { tenant });
            }
            for host in hosts {
                if let Some(&first) = by_host.get(host) {
                    mistakes.push(TenantMistake::HostTwice {
                        host: host.clone(),
                        first: list[first].0.clone(),
                        second: tenant.clone(),
                    });
                } else {
                    by_host.insert(host.clone(), place);
                }
            }
        }
        if mistakes.is_empty() {
            Ok(Self { list, by_host })
        } else {
            Err(mistakes)
        }
    }

    /// The tenant that a host names.
    pub fn of_host(&self, host: &HostName) -> Option<&TenantId> {
        self.by_host.get(host).map(|&place| &self.list[place].0)
    }

    /// Every tenant with its hosts, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, &[HostName])> {
        self.list
            .iter()
            .map(|(tenant, hosts)| (tenant, hosts.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a tenant id")
    }

    fn entry(id: &str, hosts: &[&str]) -> (TenantId, Vec<HostName>) {
        let hosts = hosts.iter().map(|h| HostName::parse(h).expect("a host"));
        (tenant(id), hosts.collect())
    }

    #[test]
    fn a_host_names_its_tenant_and_no_other_host_does() {
        let list = vec![
            entry("oak", &["oak.example", "www.oak.example"]),
            entry("elm", &["elm.example"]),
        ];
        let tenants = Tenants::build(list).expect("a clean list");
        for (host, expected) in [
            ("oak.example", Some("oak")),
            ("WWW.oak.example.", Some("oak")),
            ("elm.example", Some("elm")),
            ("x.oak.example", None),
            ("oak.example.evil.example", None),
            ("evil-oak.example", None),
        ] {
            let host = HostName::parse(host).expect("a host");
            assert_eq!(tenants.of_host(&host).map(TenantId::as_str), expected);
        }
        assert_eq!(tenants.iter().count(), 2);
    }

    #[test]
    fn every_mistake_is_reported_and_a_shared_host_names_both_tenants() {
        let list = vec![
            entry("oak", &["a.example"]),
            entry("elm", &["A.example."]),
            entry("elm", &["b.example", "b.example"]),
            entry("ash", &[]),
        ];
        let host_twice = |host: &str, first, second| TenantMistake::HostTwice {
            host: HostName::parse(host).expect("a host"),
            first: tenant(first),
            second: tenant(second),
        };
        let expected = vec![
            host_twice("a.example", "oak", "elm"),
            TenantMistake::TenantTwice {
                tenant: tenant("elm"),
            },
            host_twice("b.example", "elm", "elm"),
            TenantMistake::NoHost {
                tenant: tenant("ash"),
            },
        ];
        assert_eq!(Tenants::build(list).expect_err("four mistakes"), expected);
    }

    #[test]
    fn an_id_is_a_plain_name() {
        for id in ["oak", "OAK_1", "a.b-c", "7"] {
            assert!(id.parse::<TenantId>().is_ok(), "{id:?}");
        }
        let long = "a".repeat(65);
        for id in ["", ".a", "-a", "a b", "a/b", "ä", "a\n", long.as_str()] {
            assert!(id.parse::<TenantId>().is_err(), "{id:?}");
        }
    }
}
