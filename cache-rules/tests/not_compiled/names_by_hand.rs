//! A name is read, so that two writings of one are one, and what is no name is refused.

use cache_rules::host::HostName;
use cache_rules::tag::Tag;
use cache_rules::target::CanonicalPath;
use cache_rules::tenant::TenantId;

fn tenant(text: &str) -> TenantId {
    TenantId(text.into())
}

fn host(text: &str) -> HostName {
    HostName(text.into())
}

fn tag(text: &str) -> Tag {
    Tag(text.into())
}

fn path(text: &str) -> CanonicalPath<'_> {
    CanonicalPath(text.into())
}

fn main() {}
