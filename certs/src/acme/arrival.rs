//! Whether a host leads here: this edge asks the host's own addresses for a token that only it knows.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answers::Answers;
use super::fault::IssueFault;

/// Where authorities look.
const PORT: u16 = 80;
/// More addresses than one edge has.
const ADDRESSES_MAX: usize = 8;
/// For one address.
const PATIENCE: Duration = Duration::from_secs(5);
/// A token is far shorter.
const ANSWER_BYTES_MAX: usize = 1024;

/// How it is found out whether a host points here before an authority is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointsHere {
    /// The addresses that the system's resolver gives are asked, at port 80.
    Resolved,
    /// This address is asked, for an edge that cannot reach its own public addresses.
    At(SocketAddr),
    /// Nobody is asked.
    Unchecked,
}

impl PointsHere {
    /// Asks every address of `host` for a token that is published now.
    pub(super) async fn check(
        self,
        host: &str,
        token: &str,
        answers: &dyn Answers,
    ) -> Result<(), IssueFault> {
        let addresses = match self {
            Self::Unchecked => return Ok(()),
            Self::At(address) => vec![address],
            Self::Resolved => resolved(host).await?,
        };
        let answer = format!("{token}.points-here");
        let published = answers.publish(token, &answer).await;
        published.map_err(IssueFault::Answer)?;
        let mut outcome = Ok(());
        for address in addresses {
            if !leads_here(address, host, token, &answer).await {
                let ip: IpAddr = address.ip();
                outcome = Err(IssueFault::Elsewhere(format!(
                    "{ip} does not answer with this edge's token at port {}; change the host's DNS, or open the port",
                    address.port()
                )));
                break;
            }
        }
        answers.withdraw(token).await;
        outcome
    }
}

async fn resolved(host: &str) -> Result<Vec<SocketAddr>, IssueFault> {
    let unknown = || {
        let text = "no address of it is known; make its A and AAAA records those of this edge";
        IssueFault::Elsewhere(text.to_owned())
    };
    let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, PORT))).await;
    let found = looked_up.map_err(|_| unknown())?.map_err(|_| unknown())?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(unknown());
    }
    Ok(addresses)
}

async fn leads_here(address: SocketAddr, host: &str, token: &str, answer: &str) -> bool {
    let asked = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let request = Request::get(format!("/.well-known/acme-challenge/{token}"))
            .header(HOST, host)
            .body(Empty::<Bytes>::new())
            .ok()?;
        // Ends with its sender.
        tokio::spawn(connection);
        let reply = sender.send_request(request).await.ok()?;
        let good = reply.status().is_success();
        let body = Limited::new(reply.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.ok()?.to_bytes();
        Some(good && body.trim_ascii() == answer.as_bytes())
    };
    let said = tokio::time::timeout(PATIENCE, asked).await;
    said.ok().flatten().unwrap_or(false)
}
