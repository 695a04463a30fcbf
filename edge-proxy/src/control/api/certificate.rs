//! Certificates that the edge looks after.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/certificates/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// What is done.
    pub action: CertificateAction,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is done with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateAction {
    /// The host is looked after from now on: checked, issued, renewed.
    Add,
    /// It is tried again now, whatever failed before.
    Issue,
    /// It is replaced now, with a new key.
    Renew,
    /// It is replaced now, and the one that was live is revoked: others have its key.
    Revoke,
}

impl CertificateAction {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Issue => "issue",
            Self::Renew => "renew",
            Self::Revoke => "revoke",
        }
    }
}

/// The last try of a host since this edge started: `GET /v1/certificates/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateReport {
    /// A host, or `*.` and one.
    pub host: String,
    /// How far it is.
    pub stage: CertificateStage,
    /// The authority that is asked, or that issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The last moment of the certificate that is live, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it is tried again by itself, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
    /// True: a policy stands in the way, such as the quota of a day.
    #[serde(default)]
    pub refused: bool,
}

/// How far a try is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateStage {
    /// Others are before it.
    Waiting,
    /// The host's own addresses are asked for a token of this edge.
    Checking,
    /// An order is under way.
    Ordering,
    /// The certificate is live.
    Issued,
    /// It was not issued.
    Failed,
}

/// `POST /v1/authorities/{authority}/key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RekeyRequest {
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The account at this authority has another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RekeyReport {
    /// As the config names it.
    pub authority: String,
}
