//! What was sealed for one school is not taken for another.

use cache_rules::bequest::Opened;
use cache_rules::tenant::TenantId;

fn moved<'a>(opened: Opened<'a>, tenant: TenantId) -> Opened<'a> {
    Opened { tenant, ..opened }
}

fn main() {}
