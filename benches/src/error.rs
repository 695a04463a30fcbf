//! Why something could not be measured.

use std::io;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BenchError {
    #[error("{program} is not installed: `apt-get install {package}`")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the server and the load need a core each, and this process may only use {0}")]
    Cores(usize),
    #[error("the edge could not be built: `{command}` failed")]
    Build { command: String },
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the files could not be published: {0}")]
    Publish(String),
    #[error("{file}: {reason}")]
    Picture { file: String, reason: String },
    #[error("{peer} ended before it was asked to:\n{said}")]
    Ended { peer: &'static str, said: String },
    #[error("{peer}, {case}: {difference}")]
    Differs {
        peer: &'static str,
        case: String,
        difference: String,
    },
    #[error("{program} took longer than {limit_s} s and was stopped")]
    Slow { program: &'static str, limit_s: u64 },
    #[error("{program} failed:\n{said}")]
    Failed { program: &'static str, said: String },
    #[error("the output of {program} was not understood: no {part} in\n{said}")]
    Output {
        program: &'static str,
        part: &'static str,
        said: String,
    },
    #[error("no case has a name with `{0}` in it")]
    NoCase(String),
}

impl BenchError {
    /// An I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
