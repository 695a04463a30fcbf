//! Why a certificate was not issued, and who has to act.

use std::time::Duration;

use instant_acme::{Error, Problem};

/// What an authority says is cut off here: its texts are not ours.
const SAID_CHARS_MAX: usize = 200;

/// The authority has forgotten the account.
const NO_ACCOUNT: &str = "accountDoesNotExist";

/// Why a certificate was not issued. Holds no key, and of what an authority said only its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueFault {
    /// The authority could not prove that the host is ours, or must not issue for it.
    #[error("the authority refuses: {said}")]
    Refused {
        /// The last word of the problem's type, such as `unauthorized`.
        kind: String,
        /// What it said.
        said: String,
    },
    /// Too many orders.
    #[error("the authority's rate limit is reached: {said}")]
    RateLimited {
        /// When it may be asked again, if it said.
        after: Option<Duration>,
        /// What it said.
        said: String,
    },
    /// No connection, no answer in time, an error of its own, or an answer that is not ACME.
    #[error("the authority cannot be used: {0}")]
    Authority(String),
    /// Every authority failed so often that it is left alone for a while.
    #[error("every authority failed lately and is left alone until its pause is over")]
    AllPaused,
    /// The tenant had as many certificates issued as a day allows.
    #[error(
        "the day's quota of {0} orders for this tenant is spent; it is refilled over the next 24 hours"
    )]
    Quota(u32),
    /// The host's addresses do not lead to this edge.
    #[error("it does not point here: {0}")]
    Elsewhere(String),
    /// The challenge could not be put where the authority looks.
    #[error("the challenge could not be answered: {0}")]
    Answer(String),
    /// What the authority issued cannot be served.
    #[error("what the authority issued cannot be used: the certificate {0}")]
    Unusable(crate::Fault),
    /// The certificate was replaced, but the former one is still valid.
    #[error(
        "it was replaced, but the former certificate was not revoked: {0}; ask its authority to"
    )]
    NotRevoked(String),
    /// The managed folder cannot be written.
    #[error("the managed folder cannot be written: {0}; check its owner, mode and space")]
    Disk(std::io::ErrorKind),
}

impl IssueFault {
    /// As a label of a metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::RateLimited { .. } => "rate_limited",
            Self::Authority(_) | Self::AllPaused => "authority",
            Self::Quota(_) => "quota",
            Self::Elsewhere(_) => "elsewhere",
            Self::Answer(_) => "answer",
            Self::Unusable(_) => "unusable",
            Self::NotRevoked(_) => "not_revoked",
            Self::Disk(_) => "disk",
        }
    }

    /// Whether the authority does not know the account any more.
    pub(super) fn is_no_account(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == NO_ACCOUNT)
    }

    /// Whether another authority may do what this one did not.
    pub(super) fn is_of_authority(&self) -> bool {
        match self {
            Self::Refused { kind, .. } => {
                matches!(
                    kind.as_str(),
                    NO_ACCOUNT | "caa" | "rejectedIdentifier" | "unsupportedIdentifier"
                )
            }
            Self::RateLimited { .. } | Self::Authority(_) | Self::Unusable(_) => true,
            Self::AllPaused
            | Self::Quota(_)
            | Self::Elsewhere(_)
            | Self::Answer(_)
            | Self::NotRevoked(_)
            | Self::Disk(_) => false,
        }
    }
}

/// What happened to one request, told through the library's own error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireFault {
    #[error("no connection")]
    Connect,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("its answer broke off")]
    Broken,
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("its answer was status {0}")]
    Status(u16),
    #[error("its answer holds a URL that is none, or not of https")]
    NotAUrl,
    #[error("too many requests")]
    TooMany(Option<Duration>),
}

impl From<Error> for IssueFault {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => problem.into(),
            Error::Timeout(_) => Self::Authority("the order was not done in time".to_owned()),
            Error::Json(_) => Self::Authority("its answer is not ACME".to_owned()),
            Error::Other(other) => match other.downcast_ref::<WireFault>() {
                Some(WireFault::TooMany(after)) => Self::RateLimited {
                    after: *after,
                    said: WireFault::TooMany(None).to_string(),
                },
                Some(fault) => Self::Authority(fault.to_string()),
                None => Self::Authority("its answer does not fit the request".to_owned()),
            },
            Error::Str(what) => Self::Authority(format!("its answer lacks something: {what}")),
            Error::Unsupported(what) => Self::Authority(format!("it does not support {what}")),
            // Texts of keys and URLs of an account stay out.
            _ => Self::Authority("a request to it could not be made".to_owned()),
        }
    }
}

impl From<Problem> for IssueFault {
    fn from(problem: Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = clean(kind.rsplit(':').next().unwrap_or_default());
        let detail = problem.detail.as_deref().or_else(|| {
            let mut details = problem.subproblems.iter();
            details.find_map(|part| part.detail.as_deref())
        });
        let said = match detail {
            Some(detail) => format!("{kind}: {}", clean(detail)),
            None => kind.clone(),
        };
        match kind.as_str() {
            "rateLimited" => Self::RateLimited { after: None, said },
            NO_ACCOUNT
            | "caa"
            | "connection"
            | "dns"
            | "incorrectResponse"
            | "rejectedIdentifier"
            | "tls"
            | "unauthorized"
            | "unsupportedIdentifier"
            | "orderNotReady"
            | "malformed"
            | "compound"
            | "badCSR" => Self::Refused { kind, said },
            _ => Self::Authority(said),
        }
    }
}

/// One line without control characters, not too long.
fn clean(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> IssueFault {
        Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some(detail.to_owned()),
            status: None,
            subproblems: Vec::new(),
        }
        .into()
    }

    #[test]
    fn what_an_authority_says_names_who_has_to_act() {
        for (kind, label, elsewhere) in [
            ("unauthorized", "refused", false),
            ("dns", "refused", false),
            ("caa", "refused", true),
            ("rejectedIdentifier", "refused", true),
            ("rateLimited", "rate_limited", true),
            ("serverInternal", "authority", true),
            ("userActionRequired", "authority", true),
        ] {
            let fault = problem(kind, "because");
            assert_eq!(
                (fault.as_str(), fault.is_of_authority()),
                (label, elsewhere),
                "{kind}"
            );
        }
        let long = problem("dns", &format!("a\nb\u{7}{}", "x".repeat(900)));
        let text = long.to_string();
        assert!(
            text.starts_with("the authority refuses: dns: a b x"),
            "{text}"
        );
        assert!(text.len() < 300);
    }

    #[test]
    fn a_fault_of_the_wire_is_the_authoritys() {
        let fault = |fault: WireFault| IssueFault::from(Error::Other(Box::new(fault)));
        assert_eq!(fault(WireFault::Connect).as_str(), "authority");
        let later = Some(Duration::from_secs(60));
        assert!(matches!(
            fault(WireFault::TooMany(later)),
            IssueFault::RateLimited { after, .. } if after == later
        ));
    }
}
