//! One order with whoever speaks for an authority, without a network: what it says is fuzzed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient, NewAccount};

use super::answers::Answers;
use super::fault::IssueFault;
use super::order::Order;
use super::tame::tame;

/// What an authority says, as the wire hands it on.
struct Tamed(Box<dyn HttpClient>);

impl HttpClient for Tamed {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asked = self.0.request(request);
        Box::pin(async move {
            let BytesResponse { parts, mut body } = asked.await?;
            let body = body.into_bytes().await.map_err(Error::Other)?;
            tame(parts, body).map_err(|fault| Error::Other(Box::new(fault)))
        })
    }
}

/// An account and an order for one host, as a keeper has them; the chain that came.
///
/// # Errors
/// As an order that is meant.
pub async fn rehearse(
    http: Box<dyn HttpClient>,
    answers: &dyn Answers,
    patience: Duration,
) -> Result<String, IssueFault> {
    let asked = NewAccount {
        contact: &[],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = "https://authority.example/dir".to_owned();
    let made = Account::builder_with_http(Box::new(Tamed(http))).create(&asked, directory, None);
    let (account, _) = tokio::time::timeout(patience, made)
        .await
        .unwrap_or_else(|_| Err(Error::Timeout(None)))?;
    let order = Order {
        name: "oak.school.example",
        replaces: None,
        answers,
        hook: None,
        patience,
    };
    Ok(order.place(&account).await?.chain)
}
