//! Credentials say nothing before somebody was asked whose they are.

use cache_rules::credentials::Credentials;
use cache_rules::identity::Grant;
use cache_rules::tenant::TenantId;

fn tenant(credentials: &Credentials, host: &TenantId) {
    let _ = Grant::tenant(credentials, host);
}

fn main() {}
