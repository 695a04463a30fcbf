//! What a client proves itself with: the cookies that the config names, and `Authorization`.
//!
//! The same value goes to the identity check and to the origin of a tenant rule, so that nobody is checked with one
//! set of credentials and served with another. Other cookies never reach the origin of a cached read: they are not
//! in the key.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};

/// The names of the cookies that are credentials.
#[derive(Debug, Clone, Default)]
pub struct CredentialNames {
    cookies: Box<[Box<str>]>,
}

/// The credentials of one request. Never printed, never stored as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    cookie: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
}

/// Credentials that could mean two people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Two `Authorization` lines.
    #[error("`Authorization` was sent twice")]
    AuthorizationTwice,
    /// Two cookies of one name, even of the same value.
    #[error("a session cookie was sent twice")]
    CookieTwice,
}

impl CredentialNames {
    /// The cookies that the config calls credentials; their case counts.
    pub fn new(cookies: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self {
            cookies: cookies.into_iter().map(Into::into).collect(),
        }
    }

    /// Takes the credentials out of a request; none when it has neither.
    ///
    /// # Errors
    /// When the request has two of one kind: the edge and the origin could pick different ones.
    ///
    /// ```
    /// use cache_rules::credentials::CredentialNames;
    /// use http::{HeaderMap, HeaderValue, header::COOKIE};
    ///
    /// let names = CredentialNames::new(["_session"]);
    /// let mut headers = HeaderMap::new();
    /// headers.insert(COOKIE, HeaderValue::from_static("theme=dark; _session=abc"));
    /// let credentials = names.of(&headers)?.expect("a session cookie");
    /// assert_eq!(credentials.headers()[COOKIE], "_session=abc");
    /// # Ok::<(), cache_rules::credentials::CredentialError>(())
    /// ```
    pub fn of(&self, headers: &HeaderMap) -> Result<Option<Credentials>, CredentialError> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let authorization = lines.next().cloned();
        if lines.next().is_some() {
            return Err(CredentialError::AuthorizationTwice);
        }
        let cookie = self.cookie(headers)?;
        if cookie.is_none() && authorization.is_none() {
            return Ok(None);
        }
        let mut credentials = Credentials {
            cookie,
            authorization,
        };
        let values = [&mut credentials.cookie, &mut credentials.authorization];
        for value in values.into_iter().flatten() {
            value.set_sensitive(true);
        }
        Ok(Some(credentials))
    }

    /// The named cookies, in the order of the config, as one `Cookie` line.
    fn cookie(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, CredentialError> {
        let mut line: Vec<u8> = Vec::new();
        for name in &self.cookies {
            let mut found = headers
                .get_all(COOKIE)
                .iter()
                .flat_map(|value| value.as_bytes().split(|&b| b == b';'))
                .map(<[u8]>::trim_ascii)
                .filter(|pair| named(pair, name.as_bytes()));
            let Some(pair) = found.next() else { continue };
            if found.next().is_some() {
                return Err(CredentialError::CookieTwice);
            }
            if !line.is_empty() {
                line.extend_from_slice(b"; ");
            }
            line.extend_from_slice(pair);
        }
        // Bytes of a header value, joined by `; `, are a header value.
        Ok(HeaderValue::from_bytes(&line)
            .ok()
            .filter(|v| !v.is_empty()))
    }
}

fn named(pair: &[u8], name: &[u8]) -> bool {
    pair.strip_prefix(name)
        .is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
}

impl Credentials {
    /// As request headers, for the identity check and for the origin.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(2);
        self.add_to(&mut headers);
        headers
    }

    /// The value of `Authorization`.
    pub fn authorization(&self) -> Option<&[u8]> {
        self.authorization.as_ref().map(HeaderValue::as_bytes)
    }

    /// The token of `Authorization: Bearer` (RFC 6750).
    pub fn bearer(&self) -> Option<&[u8]> {
        let (scheme, token) = self.authorization()?.split_at_checked(7)?;
        let is_one = scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty();
        is_one.then_some(token)
    }

    /// The value of one of the named cookies.
    pub fn cookie_named(&self, name: &str) -> Option<&[u8]> {
        let line = self.cookie.as_ref()?.as_bytes();
        let mut pairs = line.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let pair = pairs.find(|pair| named(pair, name.as_bytes()))?;
        let value = pair[name.len()..].trim_ascii_start();
        Some(value[1..].trim_ascii())
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.cookie {
            headers.insert(COOKIE, value.clone());
        }
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
    }

    /// Feeds the credentials to a keyed hash, framed so that two different sets never feed the same bytes.
    pub fn feed(&self, mut update: impl FnMut(&[u8])) {
        for value in [&self.cookie, &self.authorization] {
            let bytes = value.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
            update(&(bytes.len() as u64).to_be_bytes());
            update(bytes);
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|&(name, value)| {
            let value = HeaderValue::from_static(value);
            (http::HeaderName::from_static(name), value)
        });
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn only_named_cookies_and_authorization_are_credentials() {
        let names = CredentialNames::new(["sid", "remember"]);
        type Row = (
            &'static [(&'static str, &'static str)],
            Result<Option<&'static str>, CredentialError>,
        );
        let table: &[Row] = &[
            (&[], Ok(None)),
            (&[("cookie", "theme=dark")], Ok(None)),
            (&[("cookie", "SID=1; sid2=2; xsid=3; sid")], Ok(None)),
            (&[("cookie", "a=1;sid=7;b=2")], Ok(Some("sid=7"))),
            (
                &[("cookie", "remember=1"), ("cookie", "sid=7")],
                Ok(Some("sid=7; remember=1")),
            ),
            (
                &[("cookie", "sid=7; sid=8")],
                Err(CredentialError::CookieTwice),
            ),
            (
                &[("cookie", "sid=7"), ("cookie", "sid =7")],
                Err(CredentialError::CookieTwice),
            ),
            (
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                Err(CredentialError::AuthorizationTwice),
            ),
        ];
        for (lines, expected) in table {
            let seen = names.of(&headers(lines)).map(|found| {
                found.map(|c| {
                    let line = c.headers()[COOKIE].clone();
                    line.to_str().expect("ASCII").to_owned()
                })
            });
            assert_eq!(
                seen.as_ref().map(Option::as_deref),
                expected.as_ref().map(|e| *e),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_token_is_found_where_it_is_and_nowhere_else() {
        let names = CredentialNames::new(["sid", "token"]);
        let of = |lines| {
            names
                .of(&headers(lines))
                .expect("one of each")
                .expect("some")
        };
        let cookies = of(&[("cookie", "sid=7; token = a.b ;x=y")]);
        assert_eq!(cookies.cookie_named("token"), Some(&b"a.b"[..]));
        assert_eq!(cookies.cookie_named("sid"), Some(&b"7"[..]));
        assert_eq!((cookies.cookie_named("x"), cookies.bearer()), (None, None));
        for (value, token) in [
            ("Bearer a.b", Some(&b"a.b"[..])),
            ("bEARER a.b", Some(b"a.b")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic a.b", None),
        ] {
            let line: &'static [_] = vec![("authorization", value)].leak();
            assert_eq!(of(line).bearer(), token, "{value}");
        }
    }

    #[test]
    fn different_credentials_feed_different_bytes_and_print_nothing() {
        let names = CredentialNames::new(["sid"]);
        let fed = |lines| {
            let credentials = names
                .of(&headers(lines))
                .expect("one of each")
                .expect("some");
            assert_eq!(format!("{credentials:?}"), "Credentials(redacted)");
            assert!(!format!("{:?}", credentials.headers()).contains("secret"));
            let mut bytes = Vec::new();
            credentials.feed(|part| bytes.extend_from_slice(part));
            bytes
        };
        let cookie = fed(&[("cookie", "sid=secret")]);
        let authorization = fed(&[("authorization", "sid=secret")]);
        let both = fed(&[("cookie", "sid=secret"), ("authorization", "sid=secret")]);
        assert!(cookie != authorization && cookie != both && authorization != both);
    }
}
