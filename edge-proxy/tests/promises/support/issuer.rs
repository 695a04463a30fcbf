//! An issuer of tokens that says of the people of a test who they are.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificates::place;
use super::school::Person;

/// Signs with one key, which lies in a file that the edge reads.
pub(crate) struct Issuer {
    key: EcdsaKeyPair,
    kid: String,
    folder: TempDir,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let issuer = Self {
            key: fresh(),
            kid: "key-1".to_owned(),
            folder: tempfile::tempdir().expect("there is a place for temporary files"),
        };
        issuer.publish();
        issuer
    }

    /// The file of its public keys.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// `[identity]` of an edge that believes it, with more keys of its token part.
    pub(crate) fn identity(&self, more: &str) -> String {
        Self::believed(&self.file().display().to_string(), more)
    }

    /// The same, with the keys elsewhere.
    pub(crate) fn believed(keys: &str, more: &str) -> String {
        format!(
            r#"
subject = "/sub"
tenant = "/tenant"
roles = "/roles"
[identity.token]
keys = "{keys}"
algorithms = ["ES256"]
issuer = "https://id.school.test"
audience = "edge"
{more}
"#
        )
    }

    /// What it says of somebody from now on, for a quarter of an hour.
    pub(crate) fn claims(who: Person) -> Value {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since_1970.expect("it is later than 1970").as_secs();
        json!({
            "iss": "https://id.school.test",
            "aud": ["edge", "api"],
            "sub": who.name,
            "tenant": who.tenant,
            "roles": [who.role],
            "iat": now,
            "exp": now + 900,
        })
    }

    /// What it says, signed, as `Authorization` has it.
    pub(crate) fn signed(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid }).to_string();
        let said = format!("{}.{}", encoded(header), encoded(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), said.as_bytes());
        let signature = encoded(signature.expect("the key can sign"));
        format!("Bearer {said}.{signature}")
    }

    /// A fresh token of somebody.
    pub(crate) fn bearer(&self, who: Person) -> String {
        self.signed(&Self::claims(who))
    }

    /// Signs with a new key from now on, and publishes that one alone.
    pub(crate) fn turn(&mut self, kid: &str) {
        self.key = fresh();
        self.kid = kid.to_owned();
        self.publish();
    }

    /// Its public keys.
    pub(crate) fn keys(&self) -> String {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": encoded(x), "y": encoded(y),
        });
        json!({ "keys": [key] }).to_string()
    }

    fn publish(&self) {
        place(Path::new(&self.file()), self.keys().as_bytes());
    }
}

fn fresh() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made")
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Whom a token names, whoever signed it.
pub(crate) fn subject(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["sub"].as_str()?.to_owned())
}
