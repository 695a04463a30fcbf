//! Where the answers to challenges go: HTTP to whoever listens on port 80, DNS to a program of the operator.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use super::fault::IssueFault;

/// A zone that takes longer to reach all its servers needs another way.
const HOOK: Duration = Duration::from_secs(180);

/// Whoever answers `GET /.well-known/acme-challenge/TOKEN` on port 80 of every host.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// From the moment this returns, `token` is answered with `answer`.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    async fn publish(&self, token: &str, answer: &str) -> Result<(), String>;

    /// `token` need not be answered any more.
    async fn withdraw(&self, token: &str);

    /// No token need be answered any more: whoever published them was stopped in the middle of an order.
    async fn withdraw_all(&self);
}

/// Whether a token is one: what RFC 8555, 8.1 allows, and not too long.
pub fn is_token(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (16..=128).contains(&text.len()) && text.bytes().all(letter)
}

/// A program that changes TXT records: `HOOK present|absent _acme-challenge.HOST VALUE`.
///
/// It ends with 0 when every server of the zone answers so. It has no other environment than `PATH`.
#[derive(Debug, Clone)]
pub(super) struct Hook(pub(super) PathBuf);

impl Hook {
    pub(super) async fn present(&self, record: &Record) -> Result<(), IssueFault> {
        self.run("present", record).await
    }

    /// What is left over is found by its name; the order has ended either way.
    pub(super) async fn absent(&self, record: &Record) {
        let _left_over = self.run("absent", record).await;
    }

    async fn run(&self, verb: &str, record: &Record) -> Result<(), IssueFault> {
        let why = |text: &str| IssueFault::Answer(format!("the DNS hook {text}"));
        let mut hook = Command::new(&self.0);
        hook.arg(verb)
            .arg(&record.name)
            .arg(&record.value)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut hook = hook
            .spawn()
            .map_err(|error| why(&format!("cannot be started: {}", error.kind())))?;
        match tokio::time::timeout(HOOK, hook.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(why(&format!("failed with {status}; try it by hand"))),
            Ok(Err(error)) => Err(why(&format!("cannot be waited for: {}", error.kind()))),
            Err(_) => Err(why("took longer than three minutes")),
        }
    }
}

/// A TXT record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_and_bounded() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for bad in [
            "",
            "short",
            "../../../../etc/passwd",
            &"a".repeat(129),
            "a b c d e f g h i j k",
        ] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
