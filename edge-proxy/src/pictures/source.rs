//! The file that a picture is made of, as the origin gives it to the edge: without anybody's credentials.

use asset_pipeline::image::{SOURCE_BYTES_MAX, is_any};
use bytes::Bytes;
use cache_rules::derived::Derived;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};

use super::KEPT;
use crate::clock::Clock;
use crate::error::Refusal;
use crate::session::Introduction;
use crate::upstream::client::{Client, ClientError};
use crate::upstream::pool::Pool;

/// By which the origin knows that the edge has proven a signature: clients' fields of such names are removed.
const PROVEN: HeaderName = HeaderName::from_static("x-edge-picture");

/// A file.
pub(super) struct Source {
    /// None: whatever it is, it is no picture that is decoded.
    pub(super) bytes: Option<Bytes>,
    /// None: the origin does not let it be kept.
    pub(super) kept: Option<Derived>,
}

/// Why there is no file.
pub(super) enum NoSource {
    /// The origin does not have it, or not for this.
    Unknown,
    /// The origin gives no answer.
    Refused(Refusal),
}

/// What the origin is asked for: of a client's request nothing but who asks it, as with every request of the edge.
///
/// # Errors
/// The parts are no request.
pub fn request(target: &str, introduction: Introduction<'_>) -> Result<Request<()>, Refusal> {
    let wrong = |_| Refusal::Internal("picture_request");
    let mut asked = Request::builder()
        .method(Method::GET)
        .uri(target)
        .body(())
        .map_err(wrong)?;
    let fields = asked.headers_mut();
    introduction
        .put_with_host(fields)
        .map_err(|_| Refusal::Internal("picture_host"))?;
    fields.insert(ACCEPT, HeaderValue::from_static("image/*"));
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.insert(PROVEN, HeaderValue::from_static("signed"));
    Ok(asked)
}

impl Source {
    /// Asks a member.
    pub(super) async fn ask(
        client: &Client,
        pool: &Pool,
        request: Request<()>,
        clock: &Clock,
    ) -> Result<Self, NoSource> {
        let refused = |error: ClientError| NoSource::Refused(error.into());
        let sent = clock.wall();
        let answer = client.get(pool, request).await.map_err(refused)?;
        let exchange = (sent, clock.wall());
        let (status, headers) = (answer.head.status, &answer.head.headers);
        if status.is_server_error() {
            return Err(NoSource::Refused(Refusal::OriginBroken));
        }
        // A redirect leads somewhere else than what was signed.
        if status != StatusCode::OK {
            return Err(NoSource::Unknown);
        }
        let kept = Derived::of(status, headers, KEPT, exchange).ok();
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let plain = codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if !plain {
            return Ok(Self { bytes: None, kept });
        }
        let bytes = match answer.whole(SOURCE_BYTES_MAX as usize).await {
            // What the bytes are, not what the origin says that they are.
            Ok(bytes) if is_any(&bytes) => Some(bytes.into()),
            Ok(_) | Err(ClientError::TooLong) => None,
            Err(error) => return Err(refused(error)),
        };
        Ok(Self { bytes, kept })
    }
}
