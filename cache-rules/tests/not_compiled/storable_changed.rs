//! What was judged stays what was judged: no cookie gets in afterwards.

use cache_rules::answer::Storable;
use http::header::{HeaderValue, SET_COOKIE};

fn added(mut storable: Storable, cookie: HeaderValue) {
    storable.headers.insert(SET_COOKIE, cookie);
}

fn main() {}
