//! No log line gets a cookie or a token because somebody printed what holds it.

use cache_rules::credentials::Credentials;

fn told(credentials: &Credentials) -> String {
    format!("{:?}", credentials.cookie)
}

fn main() {}
