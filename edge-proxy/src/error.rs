//! Every way a request can end without its answer, and the one map from there to a status.
//!
//! Two texts: the short public one here, and a reason for logs and metrics. Neither ever holds a
//! path, a query, a header's value or anything else that a client sent.

use std::fmt;

use http::StatusCode;

use crate::upstream::client::ClientError;

/// Why a request was not answered as asked. The variants say who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client sent what is not, or not unambiguously, HTTP.
    Malformed(&'static str),
    /// The request's header or target is over the limit.
    HeaderTooLarge,
    /// The target is over the limit.
    TargetTooLong,
    /// The body is over the limit of its route.
    BodyTooLarge,
    /// A method that the edge answers for nobody.
    MethodNotAllowed,
    /// A host that is no tenant's, or that the connection's certificate does not cover.
    Misdirected(&'static str),
    /// The plain surface: the same under `https`.
    ToHttps,
    /// No app serves this path.
    NoRoute,
    /// Below a hashed prefix, in no retained release.
    UnknownFile,
    /// A picture is asked for in a way that none is made in.
    Picture(&'static str),
    /// The address of a school's picture is not signed for it, or not any more.
    Unsigned(&'static str),
    /// There is no file, or none that a picture is made of.
    NoPicture(&'static str),
    /// A tenant's read without credentials, or with ones that the origin does not know.
    Unauthenticated,
    /// Credentials of another tenant, or ones that the origin refuses.
    Forbidden,
    /// Nobody can say whose credentials these are.
    IdentityUnavailable,
    /// The colour has no release, or its file cannot be read whole.
    FileUnavailable,
    /// No member of the pool is healthy.
    NoMember,
    /// No connection to the origin: nothing was sent.
    Unreachable,
    /// The origin was silent for too long.
    OriginTimedOut,
    /// The origin's answer broke off or is not HTTP.
    OriginBroken,
    /// The client wants a stored answer or none, and there is none.
    NotStored,
    /// More reads wait for the origin than the edge holds.
    Busy,
    /// The app is paused: too many wait already, or this one has waited for as long as it may.
    Paused,
    /// Somebody asked more often than a rate of the config allows.
    RateLimited,
    /// A fault of the edge.
    Internal(&'static str),
}

/// A change that is made under a pause has taken its ten seconds already.
const PAUSED_RETRY_S: u32 = 5;

/// What happens to the connection after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Keep,
    /// Its next bytes cannot be trusted to be a request.
    Close,
}

impl Refusal {
    /// The status, what happens next, and the reason as a word for logs and metrics.
    pub fn map(self) -> (StatusCode, After, &'static str) {
        use After::{Close, Keep};
        use StatusCode as S;
        match self {
            Self::Malformed(reason) => (S::BAD_REQUEST, Close, reason),
            Self::HeaderTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Close,
                "header_too_large",
            ),
            Self::TargetTooLong => (S::URI_TOO_LONG, Close, "target_too_long"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, Close, "body_too_large"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, Close, "method_not_allowed"),
            Self::Misdirected(reason) => (S::MISDIRECTED_REQUEST, Keep, reason),
            Self::ToHttps => (S::PERMANENT_REDIRECT, Keep, "to_https"),
            Self::NoRoute => (S::NOT_FOUND, Keep, "no_route"),
            Self::UnknownFile => (S::NOT_FOUND, Keep, "unknown_file"),
            Self::Picture(reason) => (S::BAD_REQUEST, Keep, reason),
            Self::Unsigned(reason) => (S::FORBIDDEN, Keep, reason),
            Self::NoPicture(reason) => (S::NOT_FOUND, Keep, reason),
            Self::Unauthenticated => (S::UNAUTHORIZED, Keep, "unauthenticated"),
            Self::Forbidden => (S::FORBIDDEN, Keep, "forbidden"),
            Self::IdentityUnavailable => (S::SERVICE_UNAVAILABLE, Keep, "identity_unavailable"),
            Self::FileUnavailable => (S::SERVICE_UNAVAILABLE, Keep, "file_unavailable"),
            Self::NoMember => (S::SERVICE_UNAVAILABLE, Keep, "no_member"),
            Self::Unreachable => (S::BAD_GATEWAY, Keep, "unreachable"),
            Self::OriginTimedOut => (S::GATEWAY_TIMEOUT, Keep, "origin_timed_out"),
            Self::OriginBroken => (S::BAD_GATEWAY, Keep, "origin_broken"),
            Self::NotStored => (S::GATEWAY_TIMEOUT, Keep, "only_if_cached"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, Keep, "busy"),
            Self::Paused => (S::SERVICE_UNAVAILABLE, Keep, "paused"),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, Keep, "rate_limited"),
            Self::Internal(reason) => (S::INTERNAL_SERVER_ERROR, Close, reason),
        }
    }

    /// One sentence for people, which says what they can do.
    pub fn public(self) -> &'static str {
        match self {
            Self::Malformed(_) => "The request could not be understood.",
            Self::HeaderTooLarge => {
                "The request's header is too large. Clearing this site's cookies may help."
            }
            Self::TargetTooLong => "The address is too long.",
            Self::BodyTooLarge => "What was sent is too large.",
            Self::MethodNotAllowed => "This method is not allowed.",
            Self::Misdirected(_) => "There is no such site here.",
            Self::ToHttps => "This site is served over https.",
            Self::NoRoute | Self::UnknownFile => "There is nothing at this address.",
            Self::Picture(_) => "There is no such form of a picture here.",
            Self::Unsigned(_) => {
                "This address is not good, or not any more. Please load the page again."
            }
            Self::NoPicture(_) => "There is no such picture here.",
            Self::Unauthenticated => "Please sign in.",
            Self::Forbidden => "This is not open to you.",
            Self::IdentityUnavailable
            | Self::FileUnavailable
            | Self::NoMember
            | Self::Paused
            | Self::Busy => "This site is busy. Please try again in a moment.",
            Self::Unreachable | Self::OriginTimedOut | Self::OriginBroken => {
                "This site did not answer. Please try again in a moment."
            }
            Self::NotStored => "This is not stored here.",
            Self::RateLimited => "That was too often. Please try again in a moment.",
            Self::Internal(_) => "Something went wrong here. Please try again.",
        }
    }

    /// Seconds after which another try makes sense.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::IdentityUnavailable | Self::FileUnavailable | Self::NoMember | Self::Busy => {
                Some(2)
            }
            Self::Paused => Some(PAUSED_RETRY_S),
            _ => None,
        }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoMember => Self::NoMember,
            ClientError::Connect => Self::Unreachable,
            ClientError::TimedOut => Self::OriginTimedOut,
            ClientError::Broken | ClientError::TooLong => Self::OriginBroken,
            ClientError::Invalid => Self::Internal("origin_request"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.map().2)
    }
}

impl std::error::Error for Refusal {}
