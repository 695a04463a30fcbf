//! Neither rule nor origin was asked whether this head may be kept.

use cache_rules::answer::Storable;
use http::HeaderMap;

fn changed(storable: Storable, headers: HeaderMap) -> Storable {
    Storable { headers, ..storable }
}

fn main() {}
