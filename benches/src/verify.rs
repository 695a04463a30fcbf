//! Before anything is measured: do all peers do the same work?

use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ProtocolVersion;

use crate::case::{Case, What};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::origin::Origin;
use crate::peers::Server;
use crate::visit::{Answer, Visitor, alpn};

/// How long a server may take until it is ready: probes, mirrors and caches need a moment.
const READY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// How often a stored answer is asked for to see that the origin is not.
const AGAIN: u64 = 5;

/// Asks until the answer is as it must be, or says how it differs. Returns the bytes of its header.
pub(crate) async fn verify(
    visitor: &Visitor,
    server: &mut Server,
    case: Case,
    ground: &Ground,
    origin: &Origin,
) -> Result<usize, BenchError> {
    let expected = ground.body(case.path());
    let until = Instant::now() + READY;
    let header_bytes = loop {
        server.process.still_runs()?;
        let difference = match visitor
            .get(server.address, case.protocol, case.path())
            .await
        {
            Ok(answer) => match difference(&answer, case, &expected) {
                None => break answer.header_bytes,
                Some(difference) => difference,
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() > until {
            return Err(differs(server, case, difference));
        }
        tokio::time::sleep(LOOK).await;
    };
    let before = origin.asked(case.path());
    for _ in 0..AGAIN {
        let answer = visitor
            .get(server.address, case.protocol, case.path())
            .await;
        let again = match answer {
            Ok(answer) => difference(&answer, case, &expected),
            Err(error) => Some(error.to_string()),
        };
        if let Some(difference) = again {
            return Err(differs(server, case, difference));
        }
    }
    asked_as_it_should(server, case, origin.asked(case.path()) - before, AGAIN)?;
    Ok(header_bytes)
}

/// A hit asks the origin for nothing; what is passed through asks it each time.
pub(crate) fn asked_as_it_should(
    server: &Server,
    case: Case,
    asked: u64,
    requests: u64,
) -> Result<(), BenchError> {
    match case.what {
        What::Pass if asked < requests => Err(differs(
            server,
            case,
            format!("of {requests} requests only {asked} reached the origin"),
        )),
        What::File | What::Json | What::Tenant if asked > 0 => Err(differs(
            server,
            case,
            format!("of {requests} requests {asked} reached the origin, so they were no hits"),
        )),
        _ => Ok(()),
    }
}

fn difference(answer: &Answer, case: Case, expected: &Bytes) -> Option<String> {
    if answer.protocol != alpn(case.protocol) {
        let settled = String::from_utf8_lossy(&answer.protocol);
        return Some(format!("the handshake settled on `{settled}`"));
    }
    if answer.tls != Some(ProtocolVersion::TLSv1_3) {
        return Some(format!("the handshake settled on {:?}", answer.tls));
    }
    if answer.status != 200 {
        return Some(format!("the status is {}", answer.status));
    }
    if let Some(coding) = &answer.coding {
        return Some(format!("the coding is {coding}, and none was asked for"));
    }
    (answer.body != *expected).then(|| {
        format!(
            "the body of {} bytes is not the expected one of {}",
            answer.body.len(),
            expected.len()
        )
    })
}

fn differs(server: &Server, case: Case, difference: String) -> BenchError {
    BenchError::Differs {
        peer: server.peer.name(),
        case: case.name(),
        difference: format!("{difference}\n{}", server.process.said())
            .trim_end()
            .to_owned(),
    }
}
