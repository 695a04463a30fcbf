//! What another process leaves is opened with the secret that both share.

use cache_rules::bequest::Seal;
use cache_rules::rules::RuleSet;

fn opened(rules: &RuleSet, sealed: &[u8]) {
    let _ = Seal::open(rules, sealed);
}

fn guessed() -> Seal {
    Seal::default()
}

fn told(seal: &Seal) -> [u8; 16] {
    seal.0
}

fn main() {}
