//! Keys that tokens are signed with (RFC 7517), and the one thing that is done with them.
//!
//! Only public keys of three kinds are known. There is no code for symmetric keys or for `none`:
//! what is not here cannot be asked for by a token.

use std::collections::HashMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::config::checked::Algorithm;

/// The current key, the next one, and those of a few more issuers behind one address.
const KEYS_MAX: usize = 32;

/// Public keys by their ids.
pub(super) type KeySet = HashMap<String, PublicKey>;

/// A key and how it is used.
#[derive(Debug)]
pub(super) enum PublicKey {
    /// For ES256, or ES384: the point as X9.62 writes it.
    Curve(Algorithm, Vec<u8>),
    /// For EdDSA.
    Edwards(Vec<u8>),
    /// For the algorithm that it names, or either of the two.
    Rsa {
        only: Option<Algorithm>,
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// Why a text is not taken as keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKeys {
    #[error("they are no JSON Web Key Set")]
    Malformed,
    #[error("they are more than {KEYS_MAX}")]
    TooMany,
    #[error("two of them have the same `kid`")]
    Ambiguous,
    #[error("one of them is a private or a shared key, which belongs to nobody but the issuer")]
    Private,
    #[error("none of them is an EC, Ed25519 or RSA key for signatures with a `kid`")]
    Useless,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
}

/// Reads a set. Keys for other uses are left out.
///
/// # Errors
/// When it is not one, cannot be trusted, or holds nothing of use.
pub(super) fn read(text: &[u8]) -> Result<KeySet, NotKeys> {
    let raw: RawSet = serde_json::from_slice(text).map_err(|_| NotKeys::Malformed)?;
    if raw.keys.len() > KEYS_MAX {
        return Err(NotKeys::TooMany);
    }
    let mut keys = KeySet::new();
    for raw in raw.keys {
        if raw.d.is_some() || raw.k.is_some() {
            return Err(NotKeys::Private);
        }
        let Some((kid, key)) = usable(raw) else {
            continue;
        };
        if keys.insert(kid, key).is_some() {
            return Err(NotKeys::Ambiguous);
        }
    }
    if keys.is_empty() {
        return Err(NotKeys::Useless);
    }
    Ok(keys)
}

fn usable(raw: RawKey) -> Option<(String, PublicKey)> {
    if raw.used_for.is_some_and(|used_for| used_for != "sig") {
        return None;
    }
    let bytes = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
    let only = match &raw.alg {
        Some(name) => Some(Algorithm::named(name)?),
        None => None,
    };
    let fits = |algorithm| only.is_none_or(|only| only == algorithm);
    let curve = |algorithm, width, x: Vec<u8>, y: Vec<u8>| {
        let whole = x.len() == width && y.len() == width && fits(algorithm);
        whole.then(|| PublicKey::Curve(algorithm, [&[4][..], &x, &y].concat()))
    };
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("EC", Some("P-256")) => curve(Algorithm::Es256, 32, bytes(raw.x)?, bytes(raw.y)?)?,
        ("EC", Some("P-384")) => curve(Algorithm::Es384, 48, bytes(raw.x)?, bytes(raw.y)?)?,
        ("OKP", Some("Ed25519")) if fits(Algorithm::EdDsa) => PublicKey::Edwards(bytes(raw.x)?),
        ("RSA", None) if fits(Algorithm::Rs256) || fits(Algorithm::Ps256) => PublicKey::Rsa {
            only,
            n: bytes(raw.n)?,
            e: bytes(raw.e)?,
        },
        _ => return None,
    };
    Some((raw.kid?, key))
}

impl PublicKey {
    /// Whether `signature` is this key's, by `algorithm`, of `signed`.
    pub(super) fn signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Curve(Algorithm::Es256, point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed, signature)
                    .is_ok()
            }
            (Self::Curve(Algorithm::Es384, point), Algorithm::Es384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                    .verify(signed, signature)
                    .is_ok()
            }
            (Self::Edwards(key), Algorithm::EdDsa) => UnparsedPublicKey::new(&ED25519, key)
                .verify(signed, signature)
                .is_ok(),
            (Self::Rsa { only, n, e }, Algorithm::Rs256 | Algorithm::Ps256)
                if only.is_none_or(|only| only == algorithm) =>
            {
                let how: &RsaParameters = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(how, signed, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    };
    use serde_json::{Value, json};

    use super::*;

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn set(keys: &[Value]) -> Result<KeySet, NotKeys> {
        read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn curve(pair: &EcdsaKeyPair, crv: &str) -> Value {
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        json!({ "kty": "EC", "crv": crv, "kid": crv, "x": encoded(x), "y": encoded(y) })
    }

    #[test]
    fn each_kind_of_key_verifies_its_own_algorithm_and_no_other() {
        let random = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // PKCS #1: two heads and a zero, the modulus, a head and the exponent.
        let (n, e) = (encoded(&rsa.public_key().as_ref()[9..265]), "AQAB");
        let either = json!({ "kty": "RSA", "kid": "either", "n": n, "e": e, "use": "sig" });
        let only = json!({ "kty": "RSA", "kid": "only", "n": n, "e": e, "alg": "PS256" });
        let keys = set(&[curve(&p256, "P-256"), curve(&p384, "P-384"), either, only]);
        let keys = keys.expect("four keys");
        let by_rsa = |how: &'static dyn RsaEncoding| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(how, &random, b"said", &mut signature)
                .expect("a signature");
            signature
        };
        let by_p256 = p256.sign(&random, b"said").expect("a signature");
        let by_p384 = p384.sign(&random, b"said").expect("a signature");
        let signatures = [
            ("P-256", Algorithm::Es256, by_p256.as_ref().to_vec()),
            ("P-384", Algorithm::Es384, by_p384.as_ref().to_vec()),
            ("either", Algorithm::Rs256, by_rsa(&RSA_PKCS1_SHA256)),
            ("either", Algorithm::Ps256, by_rsa(&RSA_PSS_SHA256)),
            ("only", Algorithm::Ps256, by_rsa(&RSA_PSS_SHA256)),
        ];
        for (kid, algorithm, signature) in &signatures {
            for one in Algorithm::ALL {
                let good = keys[*kid].signed(one, b"said", signature);
                assert_eq!(good, one == *algorithm, "{kid} {algorithm} as {one}");
                assert!(!keys[*kid].signed(one, b"unsaid", signature));
            }
        }
        assert!(!keys["only"].signed(Algorithm::Rs256, b"said", &signatures[2].2));
    }

    #[test]
    fn a_key_that_names_its_algorithm_is_for_that_one() {
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let edwards = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": encoded([1; 32]) });
        let rsa = json!({ "kty": "RSA", "kid": "a", "n": "AA", "e": "AQAB" });
        for (key, algorithms) in [
            (curve(&p256, "P-256"), &["ES256"][..]),
            (edwards, &["EdDSA"]),
            (rsa, &["RS256", "PS256"]),
        ] {
            for named in ["ES256", "ES384", "EdDSA", "RS256", "PS256", "HS256"] {
                let mut key = key.clone();
                key["alg"] = json!(named);
                let taken = algorithms.contains(&named);
                assert_eq!(set(&[key.clone()]).is_ok(), taken, "{key}");
            }
        }
    }

    #[test]
    fn a_set_that_cannot_be_trusted_is_no_set() {
        let edwards = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encoded([1; 32]) });
        assert_eq!(
            set(&[edwards("a"), edwards("b")]).map(|keys| keys.len()),
            Ok(2)
        );
        for (keys, why) in [
            (vec![], NotKeys::Useless),
            (vec![edwards("a"), edwards("a")], NotKeys::Ambiguous),
            (
                vec![json!({ "kty": "oct", "kid": "a", "k": "AAAA" })],
                NotKeys::Private,
            ),
            (
                vec![
                    edwards("b"),
                    json!({ "kty": "EC", "crv": "P-256", "kid": "a", "d": "AAAA" }),
                ],
                NotKeys::Private,
            ),
            (vec![json!({ "kty": "oct", "kid": "a" })], NotKeys::Useless),
            (
                vec![json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded([1; 32]) })],
                NotKeys::Useless,
            ),
            (
                vec![
                    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AA", "use": "enc" }),
                ],
                NotKeys::Useless,
            ),
            (
                vec![json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA" })],
                NotKeys::Useless,
            ),
            (
                vec![json!({ "kty": "RSA", "kid": "a", "n": "AA", "e": "AQAB", "alg": "RS512" })],
                NotKeys::Useless,
            ),
            (vec![json!("no key")], NotKeys::Malformed),
            (
                (0..33).map(|n| edwards(&n.to_string())).collect(),
                NotKeys::TooMany,
            ),
        ] {
            assert_eq!(set(&keys).err(), Some(why), "{keys:?}");
        }
        let most: Vec<Value> = (0..32).map(|n| edwards(&n.to_string())).collect();
        assert_eq!(set(&most).map(|keys| keys.len()), Ok(32));
        for text in ["", "{}", "[]", r#"{"keys":{}}"#] {
            assert_eq!(
                read(text.as_bytes()).err(),
                Some(NotKeys::Malformed),
                "{text}"
            );
        }
    }
}
