//! A grant is proven, not claimed, and one of a school is not made one of another.

use cache_rules::identity::Grant;
use cache_rules::rules::Scope;
use cache_rules::tenant::TenantId;

fn claimed(tenant: TenantId) -> Grant {
    Grant { scope: Scope::Tenant, tenant, roles: Default::default() }
}

fn moved(grant: Grant, tenant: TenantId) -> Grant {
    Grant { tenant, ..grant }
}

fn main() {}
