//! One responder for files of a release and for cached reads.
//!
//! A [`Representation`] holds one [`Form`] per coding with its header built beforehand: a hit clones
//! that header and a reference to the bytes, and nothing else. Where the bytes are is the type
//! parameter: a cached read holds them (`Bytes`), a file names a blob that is opened only when the
//! answer has a body.
//!
//! A file may also be told by what differs from another one that the client holds (RFC 9842): such a
//! form is chosen only when the client offers that very dictionary and may have it (see
//! [`super::dictionary`]).
//!
//! Order of RFC 9110, section 13.2.2: preconditions (412), then validators (304), then ranges (206,
//! 416). Two choices of ours:
//! - A request with a usable `Range` is answered from the identity form (see [`super::range`]).
//! - `If-None-Match` may name *any* form that the client takes, not only the one it would get now:
//!   a client that holds a copy in one coding keeps it when a better coding is there later.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::SystemTime;

use asset_pipeline::digest::Digest;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED, RANGE, VARY,
};
use http::response;
use http::{Method, StatusCode};
use pingora_http::ResponseHeader;

use super::conditional::{self, ETag};
use super::dictionary;
use super::negotiate::{Accepted, Coding};
use super::parts::Parts;
use super::range::{self, Asked};

/// Something that can be sent, in each coding that there is.
#[derive(Debug)]
pub struct Representation<S> {
    identity: Form<S>,
    /// Best first. Set at once for files; later, by a background task, for cached reads.
    encoded: OnceLock<Box<[Form<S>]>>,
    /// By the digest of the dictionary; files only.
    deltas: Box<[(Digest, Form<S>)]>,
    modified: Option<SystemTime>,
    fields: Fields,
}

/// One coding of a representation.
#[derive(Debug)]
pub struct Form<S> {
    coding: Coding,
    etag: Option<ETag>,
    header: ResponseHeader,
    bytes: u64,
    source: S,
}

/// What a form is made of.
#[derive(Debug)]
pub struct Source<S> {
    /// Its validator.
    pub etag: Option<ETag>,
    /// Its length.
    pub bytes: u64,
    /// Where its bytes are.
    pub at: S,
}

/// Header fields that all forms share. Kept only while forms may still be added.
#[derive(Debug)]
enum Fields {
    Done,
    Open(HeaderMap),
}

/// What a request gets: a header, and the bytes that follow it, if any.
#[derive(Debug)]
pub struct Answer<S> {
    /// Status and fields; rooms may add their own.
    pub header: Box<ResponseHeader>,
    /// What the content is encoded with.
    pub coding: Coding,
    /// The body; none for HEAD, 304, 412 and 416.
    pub content: Option<Content<S>>,
}

/// A part, or all, of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<S> {
    /// Where the bytes are.
    pub at: S,
    /// Which of them.
    pub cut: Cut,
}

/// What is sent of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// One part; all, where that is their length.
    Part(Range<u64>),
    /// Several, with what frames them.
    Parts(Box<Parts>),
}

impl Cut {
    /// How many bytes are sent.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Part(part) => part.end - part.start,
            Self::Parts(parts) => parts.bytes,
        }
    }
}

impl<S: Clone> Representation<S> {
    /// With all its codings. `Vary` names `Accept-Encoding` only where there is a choice.
    pub fn complete(
        fields: HeaderMap,
        identity: Source<S>,
        encoded: Vec<(Coding, Source<S>)>,
    ) -> Self {
        Self::with_deltas(fields, identity, encoded, Vec::new())
    }

    /// With all its codings, and with forms that need a dictionary of this digest. The fields say
    /// whether the choice depends on one.
    pub fn with_deltas(
        fields: HeaderMap,
        identity: Source<S>,
        encoded: Vec<(Coding, Source<S>)>,
        deltas: Vec<(Digest, Coding, Source<S>)>,
    ) -> Self {
        let (fields, modified) = shared(fields, !encoded.is_empty());
        let identity = Form::new(&fields, Coding::Identity, identity);
        let mut deltas: Vec<_> = deltas
            .into_iter()
            .map(|(from, coding, source)| (from, Form::new(&fields, coding, source)))
            .collect();
        deltas.sort_by_key(|(from, form)| (*from, form.coding));
        Self {
            identity,
            encoded: OnceLock::from(forms(&fields, encoded)),
            deltas: deltas.into(),
            modified,
            fields: Fields::Done,
        }
    }

    /// With the identity form only, until [`Self::add_encoded`].
    pub fn growing(fields: HeaderMap, identity: Source<S>) -> Self {
        let (fields, modified) = shared(fields, true);
        Self {
            identity: Form::new(&fields, Coding::Identity, identity),
            encoded: OnceLock::new(),
            deltas: Box::default(),
            modified,
            fields: Fields::Open(fields),
        }
    }

    /// With the identity form only, as it was sent: for ever.
    pub fn alone(fields: HeaderMap, identity: Source<S>) -> Self {
        let (fields, modified) = shared(fields, false);
        Self {
            identity: Form::new(&fields, Coding::Identity, identity),
            encoded: OnceLock::from(Box::default()),
            deltas: Box::default(),
            modified,
            fields: Fields::Open(fields),
        }
    }

    /// Adds the codings of a growing representation, once; their tags follow from the identity
    /// form's (`"x"`, `"x-br"`). A later call changes nothing.
    pub fn add_encoded(&self, encoded: Vec<(Coding, u64, S)>) {
        let Fields::Open(fields) = &self.fields else {
            return;
        };
        self.encoded.get_or_init(|| {
            let sources = encoded.into_iter().map(|(coding, bytes, at)| {
                let etag = self.identity.etag.as_ref().map(|etag| etag.coded(coding));
                (coding, Source { etag, bytes, at })
            });
            forms(fields, sources.collect())
        });
    }

    /// The identity form's validator.
    pub fn etag(&self) -> Option<&ETag> {
        self.identity.etag.as_ref()
    }

    /// The identity form's bytes.
    pub fn identity(&self) -> &S {
        &self.identity.source
    }

    /// The codings that were added, to be added to another representation of the same bytes.
    pub fn codings(&self) -> Option<Vec<(Coding, u64, S)>> {
        let forms = self.encoded.get()?.iter();
        Some(
            forms
                .map(|form| (form.coding, form.bytes, form.source.clone()))
                .collect(),
        )
    }

    /// The fields that all forms share, while forms may still be added.
    pub fn fields(&self) -> Option<&HeaderMap> {
        match &self.fields {
            Fields::Open(fields) => Some(fields),
            Fields::Done => None,
        }
    }

    /// All forms, identity last.
    pub fn forms(&self) -> impl Iterator<Item = &Form<S>> {
        let deltas = self.deltas.iter().map(|(_, form)| form);
        deltas.chain(self.encoded()).chain([&self.identity])
    }

    /// The answer to a GET or HEAD with these header fields.
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> Answer<S> {
        self.answer_of(method, headers, |_| true)
    }

    /// The answer from those forms whose bytes are `usable`; from the identity form if none is.
    pub fn answer_of(
        &self,
        method: &Method,
        headers: &HeaderMap,
        usable: impl Fn(&S) -> bool,
    ) -> Answer<S> {
        let accepted = Accepted::of(headers);
        let chosen = self.chosen(headers, accepted, usable);
        if let Some(early) = self.without_content(headers, accepted, chosen) {
            return early;
        }
        if method == Method::HEAD {
            return Answer {
                header: Box::new(chosen.header.clone()),
                coding: chosen.coding,
                content: None,
            };
        }
        if let Some(value) = headers.get(RANGE)
            && (accepted.takes(Coding::Identity) || self.encoded().is_empty())
            && let Some(part) = self.part(value, headers)
        {
            return part;
        }
        chosen.whole()
    }

    fn encoded(&self) -> &[Form<S>] {
        self.encoded.get().map_or(&[], |forms| forms)
    }

    fn chosen(
        &self,
        headers: &HeaderMap,
        accepted: Accepted,
        usable: impl Fn(&S) -> bool,
    ) -> &Form<S> {
        self.told_by_dictionary(headers, accepted)
            .iter()
            .map(|(_, form)| form)
            .chain(self.encoded())
            .chain([&self.identity])
            .filter(|form| usable(&form.source))
            .filter_map(|form| Some((accepted.rank(form.coding, form.bytes)?, form)))
            .max_by_key(|(rank, _)| *rank)
            .map_or(&self.identity, |(_, form)| form)
    }

    /// The forms for the dictionary that the client offers.
    fn told_by_dictionary(&self, headers: &HeaderMap, accepted: Accepted) -> &[(Digest, Form<S>)] {
        let takes = || accepted.takes(Coding::Dcb) || accepted.takes(Coding::Dcz);
        if self.deltas.is_empty() || !takes() {
            return &[];
        }
        let Some(offered) = dictionary::offered(headers) else {
            return &[];
        };
        let start = self.deltas.partition_point(|(from, _)| *from < offered);
        let end = self.deltas.partition_point(|(from, _)| *from <= offered);
        &self.deltas[start..end]
    }

    /// 412 or 304, where a condition says so.
    fn without_content(
        &self,
        headers: &HeaderMap,
        accepted: Accepted,
        chosen: &Form<S>,
    ) -> Option<Answer<S>> {
        let etags = || self.forms().filter_map(|form| form.etag.as_ref());
        if !conditional::may_proceed(headers, etags(), self.modified) {
            return Some(refused(StatusCode::PRECONDITION_FAILED, None));
        }
        let held =
            |form: &Form<S>| conditional::not_modified(headers, form.etag.as_ref(), self.modified);
        let form = if held(chosen) {
            chosen
        } else {
            if !headers.contains_key(http::header::IF_NONE_MATCH) {
                return None;
            }
            // A form that took a dictionary is held decoded, whatever the client could decode now.
            let told = |form: &Form<S>| matches!(form.coding, Coding::Dcb | Coding::Dcz);
            self.forms()
                .find(|form| (told(form) || accepted.takes(form.coding)) && held(form))?
        };
        Some(Answer {
            header: Box::new(form.not_modified()),
            coding: form.coding,
            content: None,
        })
    }

    /// 206 or 416, where the range counts.
    fn part(&self, value: &HeaderValue, headers: &HeaderMap) -> Option<Answer<S>> {
        let form = &self.identity;
        let asked = range::asked(value.as_bytes(), form.bytes);
        if asked == Asked::Whole || !conditional::part_is_current(headers, form.etag.as_ref()) {
            return None;
        }
        let mut header = form.header.clone();
        let cut = match asked {
            Asked::Part(part) => {
                let range = format!("bytes {}-{}/{}", part.start, part.end - 1, form.bytes);
                put(&mut header, CONTENT_RANGE, text(&range));
                Cut::Part(part)
            }
            Asked::Parts(ranges) => {
                let content_type = header.headers.get(CONTENT_TYPE);
                let parts = Parts::of(ranges, content_type, form.bytes)?;
                put(&mut header, CONTENT_TYPE, parts.content_type.clone());
                Cut::Parts(Box::new(parts))
            }
            Asked::Whole | Asked::Unsatisfiable => {
                let all = format!("bytes */{}", form.bytes);
                return Some(refused(StatusCode::RANGE_NOT_SATISFIABLE, Some(all)));
            }
        };
        // A part of a file is nobody's dictionary.
        header.remove_header(&dictionary::USE_AS_DICTIONARY);
        put(&mut header, CONTENT_LENGTH, cut.bytes().into());
        header
            .set_status(StatusCode::PARTIAL_CONTENT)
            .expect("a status is a status");
        Some(Answer {
            header: Box::new(header),
            coding: form.coding,
            content: Some(Content {
                at: form.source.clone(),
                cut,
            }),
        })
    }
}

impl<S: Clone> Form<S> {
    fn new(fields: &HeaderMap, coding: Coding, source: Source<S>) -> Self {
        let mut fields = fields.clone();
        match coding {
            Coding::Identity => fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            _ => fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str())),
        };
        fields.insert(CONTENT_LENGTH, source.bytes.into());
        if let Some(etag) = &source.etag {
            fields.insert(ETAG, etag.value().clone());
        }
        Self {
            coding,
            etag: source.etag,
            header: header_of(StatusCode::OK, fields),
            bytes: source.bytes,
            source: source.at,
        }
    }

    /// Its coding.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where its bytes are.
    pub fn source(&self) -> &S {
        &self.source
    }

    fn whole(&self) -> Answer<S> {
        Answer {
            header: Box::new(self.header.clone()),
            coding: self.coding,
            content: Some(Content {
                at: self.source.clone(),
                cut: Cut::Part(0..self.bytes),
            }),
        }
    }

    /// The fields that a 304 repeats (RFC 9110, section 15.4.5).
    fn not_modified(&self) -> ResponseHeader {
        let mut fields = HeaderMap::with_capacity(8);
        for name in [CACHE_CONTROL, CONTENT_LOCATION, ETAG, EXPIRES, VARY] {
            for value in self.header.headers.get_all(&name) {
                fields.append(&name, value.clone());
            }
        }
        if self.etag.is_none()
            && let Some(modified) = self.header.headers.get(LAST_MODIFIED)
        {
            fields.insert(LAST_MODIFIED, modified.clone());
        }
        header_of(StatusCode::NOT_MODIFIED, fields)
    }
}

/// What every form sends, and when it was modified. Fields that belong to one form are dropped.
fn shared(mut fields: HeaderMap, choice: bool) -> (HeaderMap, Option<SystemTime>) {
    for name in [ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG] {
        fields.remove(name);
    }
    if choice && !varies_by_coding(&fields) {
        fields.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let modified = fields
        .get(LAST_MODIFIED)
        .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    (fields, modified)
}

fn varies_by_coding(fields: &HeaderMap) -> bool {
    fields.get_all(VARY).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .any(|name| name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes()))
    })
}

fn forms<S: Clone>(fields: &HeaderMap, encoded: Vec<(Coding, Source<S>)>) -> Box<[Form<S>]> {
    let mut forms: Vec<_> = encoded
        .into_iter()
        .filter(|(coding, _)| *coding != Coding::Identity)
        .map(|(coding, source)| Form::new(fields, coding, source))
        .collect();
    forms.sort_by_key(|form| form.coding);
    forms.into()
}

/// An answer that no cache may keep and that has no body.
fn refused<S>(status: StatusCode, content_range: Option<String>) -> Answer<S> {
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(range) = content_range {
        fields.insert(CONTENT_RANGE, text(&range));
    }
    Answer {
        header: Box::new(header_of(status, fields)),
        coding: Coding::Identity,
        content: None,
    }
}

/// A header without a map of letter cases: nothing that is served here needs one.
fn header_of(status: StatusCode, fields: HeaderMap) -> ResponseHeader {
    let (mut parts, ()) = response::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = fields;
    ResponseHeader::from(parts)
}

fn put(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    header
        .insert_header(name, value)
        .expect("a header value is a header value");
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and spaces are a header value")
}

#[cfg(test)]
mod tests;
