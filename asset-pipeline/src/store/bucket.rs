//! A store in a bucket of an S3 service.
//!
//! What is not secret may stand in the URL; secrets come from the environment or the usual files, and are
//! in no text of ours. A server that answers late or not at all is asked again, with growing pauses and a limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use percent_encoding::percent_decode_str;

use super::StoreError;
use super::credentials;

/// How long one request may take: the largest file over a slow line.
const REQUEST_MAX: Duration = Duration::from_secs(300);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A server that is started anew is back by then.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The first pause is the shortest; each next one is chosen between it and the last one times [`PAUSE_GROWTH`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pauses chosen like that grow from a factor of e on (the mean of ln(3 u) is above 0, of ln(2 u) below).
const PAUSE_GROWTH: f64 = 3.0;
/// As many as the shortest pauses would take: it is the time that ends it.
const RETRIES_MAX: usize = (RETRY_MAX.as_millis() / PAUSE_FIRST.as_millis()) as usize;

/// `s3://bucket/prefix?endpoint=https://s3.example&region=eu-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    name: String,
    prefix: Path,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Bucket {
    /// Reads what comes after `s3://`.
    pub(super) fn of(rest: &str) -> Result<Self, &'static str> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(plain) {
            return Err("a bucket's name is 3 to 63 small letters, digits, `-` or `.`");
        }
        let prefix = Path::from_url_path(prefix).map_err(|_| "its prefix is no path")?;
        let mut bucket = Self {
            name: name.to_owned(),
            prefix,
            endpoint: None,
            region: None,
        };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| "its query is not UTF-8")?;
            match key {
                "endpoint" => bucket.endpoint = Some(reachable(&value)?.to_owned()),
                "region" => bucket.region = Some(value.into_owned()),
                _ => return Err("its query knows `endpoint` and `region` only"),
            }
        }
        Ok(bucket)
    }

    /// For people.
    pub(super) fn url(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
            .trim_end_matches('/')
            .to_owned()
    }

    /// Connects to nothing yet.
    pub(super) fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let wrong = |reason: String| StoreError::Unreachable {
            url: self.url(),
            path: "its bucket".to_owned(),
            reason,
        };
        let mut builder = AmazonS3Builder::new();
        let found = credentials::found().map_err(wrong)?;
        for (key, value) in found.settings {
            builder = builder.with_config(key, value);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        let endpoint = self.endpoint.clone().or(found.endpoint);
        if let Some(endpoint) = &endpoint {
            let endpoint = reachable(endpoint).map_err(|reason| wrong(reason.to_owned()))?;
            builder = builder.with_endpoint(endpoint);
            if builder
                .get_config_value(&AmazonS3ConfigKey::Region)
                .is_none()
            {
                builder = builder.with_region("us-east-1");
            }
        }
        let client = ClientOptions::new()
            .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
            .with_connect_timeout(CONNECT_MAX)
            .with_timeout(REQUEST_MAX);
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: PAUSE_FIRST,
                max_backoff: PAUSE_MAX,
                base: PAUSE_GROWTH,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_MAX,
        };
        let objects = builder
            .with_bucket_name(&self.name)
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(|error| wrong(plain(&error.to_string())))?;
        Ok(match self.prefix.as_ref().is_empty() {
            true => Arc::new(objects),
            false => Arc::new(PrefixStore::new(objects, self.prefix.clone())),
        })
    }
}

/// What a server says, without the document that comes with it: that repeats the names of keys.
pub(super) fn plain(text: &str) -> String {
    let text = text.split('<').next().unwrap_or_default();
    text.trim_end_matches([':', ' ', '\n'])
        .chars()
        .take(300)
        .collect()
}

/// Without TLS only what never leaves the machine.
fn reachable(endpoint: &str) -> Result<&str, &'static str> {
    if endpoint.starts_with("https://") {
        return Ok(endpoint);
    }
    let Some(rest) = endpoint.strip_prefix("http://") else {
        return Err("its endpoint is no `https://` URL");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let near = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match near {
        true => Ok(endpoint),
        false => Err("its endpoint is not on this machine and has no TLS: write `https://`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_a_prefix_and_where_the_server_is() {
        for (rest, url) in [
            ("assets", "s3://assets"),
            ("assets/", "s3://assets"),
            ("assets/of/learn", "s3://assets/of/learn"),
            (
                "as.sets/x?endpoint=https://s3.example&region=eu-1",
                "s3://as.sets/x",
            ),
            ("assets?endpoint=http%3A%2F%2F127.0.0.1:8333", "s3://assets"),
            ("assets?endpoint=http://[::1]:8333", "s3://assets"),
            ("assets?endpoint=http://localhost:1/", "s3://assets"),
        ] {
            let bucket = Bucket::of(rest).expect(rest);
            assert_eq!(bucket.url(), url);
        }
        for rest in [
            "",
            "ab",
            "Assets",
            "user:secret@bucket",
            "assets?endpoint=http://s3.example",
            "assets?endpoint=http://127.0.0.1.example/",
            "assets?endpoint=http://localhost@s3.example/",
            "assets?endpoint=ftp://127.0.0.1",
            "assets?secret_access_key=x",
            "assets/a//b",
        ] {
            assert!(Bucket::of(rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn what_a_server_says_is_cut_before_its_document() {
        let said = "Server returned non-2xx status code: 403 Forbidden: <?xml><AWSAccessKeyId>AKIA";
        assert_eq!(
            plain(said),
            "Server returned non-2xx status code: 403 Forbidden"
        );
    }
}
