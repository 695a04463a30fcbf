//! What an origin is told of a request, beside what the client sent.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use pingora_http::RequestHeader;

use super::Request;
use crate::colour::Colour;
use crate::listener::Surface;

/// Who asks, by which way, and which version is meant: its fields are made only when an origin is asked, and most reads
/// need none. No client can set them (see [`super::admit`]).
#[derive(Debug, Clone, Copy)]
pub struct Introduction<'a> {
    /// What was let in.
    pub request: &'a Request,
    /// By which way it came.
    pub surface: Surface,
    /// The colour that is asked.
    pub colour: Colour,
}

impl Introduction<'_> {
    /// Puts the fields in place of those of the same names.
    pub fn put(self, fields: &mut HeaderMap) {
        for (name, value) in self.fields() {
            fields.insert(HeaderName::from_static(name), value);
        }
    }

    /// The same for a request of the edge's own, and which host it asks: without the port that the client named. That is in
    /// no key, so nobody may learn of it here.
    ///
    /// # Errors
    /// The host is no header value; a checked one is.
    pub fn put_with_host(self, fields: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        let host = HeaderValue::try_from(self.request.host.as_str())?;
        self.put(fields);
        fields.insert("x-forwarded-host", host.clone());
        fields.insert(HOST, host);
        Ok(())
    }

    /// The same where a request is passed on.
    ///
    /// # Errors
    /// When there are more fields than a header can have.
    pub fn put_on(self, header: &mut RequestHeader) -> pingora_core::Result<()> {
        for (name, value) in self.fields() {
            header.insert_header(name, value)?;
        }
        Ok(())
    }

    fn fields(self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let Self {
            request,
            surface,
            colour,
        } = self;
        let proto = match surface {
            Surface::Public => "https",
            Surface::Redirect | Surface::DangerPlain => "http",
        };
        // Addresses, checked hosts, ids and words are header values.
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let fields = [
            ("x-forwarded-for", value(&request.client.to_string())),
            ("x-forwarded-proto", Some(HeaderValue::from_static(proto))),
            ("x-forwarded-host", value(&request.authority())),
            ("x-request-id", Some(request.id.to_value())),
            ("traceparent", value(&traceparent(request))),
            ("x-edge-tenant", value(request.tenant.as_str())),
            ("x-edge-colour", value(colour.as_str())),
        ];
        let said = fields.into_iter();
        said.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The trace that a request begins (W3C Trace Context): its id is the request's.
fn traceparent(request: &Request) -> String {
    let id = request.id.as_str();
    ["00-", id, "-", &id[..16], "-00"].concat()
}
