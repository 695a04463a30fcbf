//! What certificate authorities say. Also compiled into the tests of certs.
//!
//! The first byte of an input is which answer it takes the place of (`a` to `i`, in the order of an order), the second one
//! its status and when to ask again, the rest its body. All other answers are as they should be, so that what is strange is met in every step.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use certs::acme::{Answers, is_token, rehearse};
use http::{Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

/// The statuses that an input chooses from.
const STATUSES: [u16; 8] = [200, 201, 204, 400, 403, 404, 409, 503];
/// When to ask again, with it.
const RETRIES: [&str; 4] = [
    "",
    "1",
    "18446744073709551615",
    "Fri, 31 Dec 9999 23:59:59 GMT",
];
/// Of a clock that jumps to what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// A log line, not a page.
const SAID_BYTES_MAX: usize = 1200;

const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// The right answers: path, status, body.
const STEPS: [(&str, u16, &str); 9] = [
    (
        "/dir",
        200,
        r#"{"newNonce":"https://authority.example/nonce","newAccount":"https://authority.example/account","newOrder":"https://authority.example/new-order","revokeCert":"https://authority.example/revoke","keyChange":"https://authority.example/key"}"#,
    ),
    ("/nonce", 200, ""),
    ("/account", 201, r#"{"status":"valid"}"#),
    (
        "/new-order",
        201,
        r#"{"status":"pending","identifiers":[{"type":"dns","value":"oak.school.example"}],"authorizations":["https://authority.example/proof"],"finalize":"https://authority.example/finalize"}"#,
    ),
    (
        "/proof",
        200,
        r#"{"identifier":{"type":"dns","value":"oak.school.example"},"status":"pending","challenges":[{"type":"http-01","url":"https://authority.example/challenge","status":"pending","token":"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"}]}"#,
    ),
    (
        "/challenge",
        200,
        r#"{"type":"http-01","url":"https://authority.example/challenge","status":"processing","token":"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"}"#,
    ),
    (
        "/order",
        200,
        r#"{"status":"ready","identifiers":[],"authorizations":["https://authority.example/proof"],"finalize":"https://authority.example/finalize"}"#,
    ),
    (
        "/finalize",
        200,
        r#"{"status":"valid","identifiers":[],"authorizations":[],"finalize":"https://authority.example/finalize","certificate":"https://authority.example/certificate"}"#,
    ),
    ("/certificate", 200, CHAIN),
];

/// An authority in memory.
struct Script {
    finalized: AtomicBool,
    strange: Option<(usize, u16, &'static str, Bytes)>,
}

impl HttpClient for Script {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let path = request.uri().path();
        let step = STEPS.iter().position(|(of, ..)| *of == path);
        let finalized = self
            .finalized
            .fetch_or(path == "/finalize", Ordering::Relaxed);
        let (status, retry, body) = match (step, &self.strange) {
            (Some(step), Some((at, status, retry, body))) if step == *at => {
                (*status, *retry, body.clone())
            }
            (Some(step), _) => {
                // The order is looked at before and after.
                let ended = finalized && path == "/order";
                let (_, status, body) = STEPS[step + usize::from(ended)];
                (status, "", Bytes::from_static(body.as_bytes()))
            }
            (None, _) => (404, "", Bytes::new()),
        };
        let location = match path {
            "/account" => "https://authority.example/account/1",
            _ => "https://authority.example/order",
        };
        let response = Response::builder()
            .status(status)
            .header("replay-nonce", "oFvnlFP1wIhRlYS2jTaXbA")
            .header("location", location)
            .header("retry-after", retry)
            .body(());
        Box::pin(async move {
            let (parts, ()) = response
                .map_err(|error| Error::Other(Box::new(error)))?
                .into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// Port 80 in memory.
#[derive(Default)]
struct Port(Arc<Mutex<BTreeSet<String>>>);

#[async_trait]
impl Answers for Port {
    async fn publish(&self, token: &str, _: &str) -> Result<(), String> {
        if !is_token(token) {
            return Err("no token".to_owned());
        }
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.insert(token.to_owned());
        Ok(())
    }

    async fn withdraw(&self, token: &str) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.remove(token);
    }

    async fn withdraw_all(&self) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.clear();
    }
}

/// Whatever an authority says, the order ends in time, no answer stays out, and why it failed is one short line.
pub fn answers(data: &[u8]) {
    let strange = match data {
        [step, status, body @ ..] => {
            let step = usize::from(step.wrapping_sub(b'a')) % STEPS.len();
            let (status, retry) = (usize::from(*status) % 8, usize::from(*status) / 8 % 4);
            let body = Bytes::copy_from_slice(body);
            Some((step, STATUSES[status], RETRIES[retry], body))
        }
        _ => None,
    };
    let usual = strange.is_none();
    let port = Port::default();
    let script = Script {
        finalized: AtomicBool::new(false),
        strange,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async {
        let order = rehearse(Box::new(script), &port, PATIENCE);
        tokio::time::timeout(4 * PATIENCE, order).await
    });
    let outcome = ended.expect("an order is bounded in time");
    assert!(!usual || outcome.as_deref() == Ok(CHAIN), "{outcome:?}");
    let out = port.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(out.is_empty(), "{out:?} stays out");
    if let Err(fault) = outcome {
        let said = fault.to_string();
        assert!(said.len() <= SAID_BYTES_MAX, "{said}");
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
}
