//! Who is asked, by what name, for what: the first room of a request.
//!
//! After it the rooms see one canonical host, its tenant, a checked path, and a header without
//! anything that only the edge may say. Everything ambiguous is refused here, before any routing:
//! what one parser reads differently from the next is how requests are smuggled.

mod framing;
mod introduction;
mod stripped;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cache_rules::host::{Authority, HostName};
use cache_rules::target;
use cache_rules::tenant::TenantId;
use certs::CertStore;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Uri};
use ipnet::IpNet;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;

use crate::config::checked::{Config, Limits};
use crate::error::Refusal;
use crate::listener::{Peer, Surface};
use crate::split::claims::Said;

pub use introduction::Introduction;

/// A request that was let in.
#[derive(Debug)]
pub struct Request {
    /// The school.
    pub tenant: TenantId,
    /// The name it was asked by.
    pub host: HostName,
    /// The port that was named with it.
    pub port: Option<u16>,
    /// The client's address, as far as those between are trusted.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The path as it was sent: passed on byte for byte.
    pub path: String,
    /// The path decoded once; none: the same as sent.
    pub decoded: Option<String>,
    /// The query as it was sent.
    pub query: Option<String>,
    /// Made here; never the client's.
    pub id: RequestId,
    /// The length that it says its body has.
    pub body_bytes: Option<u64>,
    /// Whether a body comes with it.
    pub has_body: bool,
    /// What it says of the version that it belongs to.
    pub said: Said,
}

impl Request {
    /// The path that tables are asked for.
    pub fn lookup_path(&self) -> &str {
        self.decoded.as_deref().unwrap_or(&self.path)
    }

    /// A request that nobody made, to explain what would happen to it.
    pub fn imagined(tenant: TenantId, authority: Authority, method: Method, url: &Uri) -> Self {
        Self {
            tenant,
            host: authority.host,
            port: authority.port,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method,
            decoded: decoded(url.path()),
            path: url.path().to_owned(),
            query: url.query().map(str::to_owned),
            id: RequestId::new(),
            body_bytes: None,
            has_body: false,
            said: Said::of_query(url.query()),
        }
    }

    /// Host and port as the client names them.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host.as_str()),
            None => self.host.as_str().to_owned(),
        }
    }
}

/// 128 random bits, in hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    pub(crate) fn new() -> Self {
        let mut text = [0; 32];
        let bits: [u8; 16] = rand::random();
        // The buffer has the length that 16 bytes take.
        let _ = hex::encode_to_slice(bits, &mut text);
        Self(text)
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As the value of a header field.
    pub fn to_value(self) -> HeaderValue {
        // Hexadecimal digits are one.
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lets a request in or says why not.
///
/// # Errors
/// A [`Refusal`]: malformed, over a limit, or for a host that is not served here.
pub fn admit(
    session: &mut ServerSession,
    peer: &Peer,
    config: &Config,
    certificates: &CertStore,
) -> Result<Request, Refusal> {
    let limits = &config.limits;
    if let Some(h1) = session.as_http1() {
        framing::check(&h1.get_headers_raw_bytes(), limits)?;
    }
    let header = session.req_header();
    check_size(header, limits)?;
    if header.method == Method::TRACE || header.method == Method::CONNECT {
        return Err(Refusal::MethodNotAllowed);
    }
    let authority = authority(header)?;
    let tenant = config
        .tenants
        .of_host(&authority.host)
        .ok_or(Refusal::Misdirected("unknown_host"))?
        .clone();
    if peer.surface == Surface::Public
        && !certificates.covers(peer.sni.as_deref(), authority.host.as_str())
    {
        // A browser reuses a connection for every name of its certificate; asking again on a
        // connection of its own is what 421 is for (RFC 9110, 15.5.20).
        return Err(Refusal::Misdirected("certificate_does_not_cover_host"));
    }
    let raw = header
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    target::check(raw).map_err(|_| Refusal::Malformed("bad_target"))?;
    let path = header.uri.path();
    let request = Request {
        tenant,
        host: authority.host,
        port: authority.port,
        client: client(
            peer.address.ip(),
            &header.headers,
            &config.listeners.forwarded_from,
        ),
        method: header.method.clone(),
        path: path.to_owned(),
        decoded: decoded(path),
        query: header.uri.query().map(str::to_owned),
        id: RequestId::new(),
        body_bytes: content_length(header)?,
        has_body: false,
        said: Said::default(),
    };
    let has_body = !session.is_body_empty();
    let header = session.req_header_mut();
    let said = Said::take(header);
    stripped::strip(header);
    Ok(Request {
        has_body,
        said,
        ..request
    })
}

/// The path decoded once, where that makes a difference. One that cannot be decoded without doubt,
/// such as one with `%2F`, is the name of no file and of no prefix but its own.
fn decoded(path: &str) -> Option<String> {
    let decoded = path
        .contains('%')
        .then(|| target::decoded(path).ok())
        .flatten()?;
    Some(decoded.into_owned())
}

/// Makes an upgrade look as if a body were to come.
///
/// pingora tells the side that talks to the origin of an empty body's end. When the origin's 101 is
/// there before that news, it takes it for the end of the upgraded connection (pingora-proxy 0.9.1,
/// `proxy_handle_upstream`: a random choice of two that are ready). A body that is still to come has
/// no end to tell of, and turns into the connection's bytes with the 101.
///
/// # Errors
/// Never: the value is plain text.
pub fn leave_open(header: &mut RequestHeader) -> pingora_core::Result<()> {
    if header.headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    header.insert_header(TRANSFER_ENCODING, "chunked")
}

/// Takes back what [`leave_open`] said: the origin is told what the client said.
pub fn close_again(header: &mut RequestHeader) {
    header.remove_header(&TRANSFER_ENCODING);
}

fn check_size(header: &RequestHeader, limits: &Limits) -> Result<(), Refusal> {
    if header.headers.len() > limits.header_count_max {
        return Err(Refusal::HeaderTooLarge);
    }
    let bytes: usize = header
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > limits.header_bytes_max {
        return Err(Refusal::HeaderTooLarge);
    }
    let target = header
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    Ok(())
}

/// The one authority of the request; pingora has checked that `Host` and target agree.
fn authority(header: &RequestHeader) -> Result<Authority, Refusal> {
    let mut hosts = header.headers.get_all(HOST).iter();
    let text = match (header.uri.authority(), hosts.next()) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| Refusal::Malformed("bad_host"))?,
        (None, None) => return Err(Refusal::Malformed("no_host")),
    };
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("not_exactly_one_host"));
    }
    Authority::parse(text).map_err(|_| Refusal::Malformed("bad_host"))
}

fn content_length(header: &RequestHeader) -> Result<Option<u64>, Refusal> {
    let Some(value) = header.headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(Refusal::Malformed("bad_content_length"))
}

/// The chain of those between, as they tell it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses of a chain that are looked at: more proxies than any request goes through.
const CHAIN_MAX: usize = 32;

/// Who sent it: the last of those in `X-Forwarded-For` that no trusted proxy is, read from the end,
/// because everything before the first untrusted one may be made up.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let fields = headers.get_all(FORWARDED_FOR).iter().rev();
    let texts = fields.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for text in texts.map(str::trim).take(CHAIN_MAX) {
        let is_trusted = trusted.iter().any(|network| network.contains(&client));
        match address(text) {
            Some(before) if is_trusted => client = before.to_canonical(),
            _ => return client,
        }
    }
    client
}

/// An address with or without a port, as proxies write them.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| {
        text.parse()
            .ok()
            .map(|with_port: SocketAddr| with_port.ip())
    })
}

#[cfg(test)]
mod tests;
