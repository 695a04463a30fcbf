//! The words of the command line.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use edge_proxy::config::{self, ConfigFile, Mistakes};
use edge_proxy::control::client::{ExplainArgs, PurgeArgs, ShiftArgs};

pub(crate) mod check;

/// Where a package puts it.
const CONFIG: &str = "/etc/bellwether/edge.toml";

/// The edge of a multi-tenant school platform.
///
/// Commands wait until they are done. They exit with 0 when it is done, 1 when it failed, 2 when the
/// command is wrong, and 3 when a policy refuses it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The config; commands find the admin socket in it.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// The admin socket, without looking into the config.
    #[arg(long, global = true, value_name = "SOCKET")]
    pub(crate) admin: Option<PathBuf>,
    /// Answers in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Where commands go.
    pub(crate) fn socket(&self) -> Result<PathBuf, Mistakes> {
        match &self.admin {
            Some(socket) => Ok(socket.clone()),
            None => config::admin_socket(&self.config),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything on loopback, to be looked at: two schools, two releases, two colours.
    #[cfg(feature = "demo")]
    Demo {
        /// Walks through it, says what was seen, and exits with 0 or 1.
        #[arg(long)]
        check: bool,
    },
    /// Serves, until SIGTERM; requests under way may finish.
    Run,
    /// Says everything that is wrong with the config and the certificates, and opens nothing.
    Check,
    /// Config files.
    #[command(subcommand)]
    Config(Config),
    /// Shows what the edge does: apps, colours, members, cache, certificates.
    Status,
    /// Moves traffic between the colours of an app, and returns when requests see it.
    Shift(Shift),
    /// Makes stored answers of a school unusable, and returns when requests see it.
    Purge(Purge),
    /// Says what would happen to a request, room by room: why was this not cached?
    Explain(Explain),
}

impl Command {
    /// What is logged unless `RUST_LOG` says otherwise.
    pub(crate) fn log_level(&self) -> &'static str {
        match self {
            // People read what the demo says; the edge's own words would stand between.
            #[cfg(feature = "demo")]
            Self::Demo { .. } => "warn",
            _ => "info",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Prints the JSON schema of a config file, for editors.
    Schema {
        /// The file.
        #[arg(value_enum, default_value = "edge")]
        file: ConfigFile,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Shift {
    /// The app.
    pub(crate) app: String,
    /// A colour and its share, such as `green=10%` or `green=1000bp`; the other colour gets the rest.
    #[arg(value_name = "COLOUR=WEIGHT")]
    pub(crate) weight: String,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Purge {
    /// The school.
    #[arg(long)]
    pub(crate) tenant: String,
    /// What carries this tag, such as `course:7`.
    #[arg(long, group = "what")]
    pub(crate) tag: Option<String>,
    /// What is stored under this path, with any query.
    #[arg(long, group = "what")]
    pub(crate) url: Option<String>,
    /// Everything of the school.
    #[arg(long, group = "what")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Such as `https://maple.school.example/api/v1/courses`.
    pub(crate) url: String,
    /// The method; GET by default.
    #[arg(long)]
    pub(crate) method: Option<String>,
}

/// What can be said of every change.
#[derive(Debug, Args)]
pub(crate) struct Note {
    /// Says what would be done and does nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why, for the audit log.
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

impl From<&Shift> for ShiftArgs {
    fn from(typed: &Shift) -> Self {
        Self {
            app: typed.app.clone(),
            weight: typed.weight.clone(),
            dry_run: typed.note.dry_run,
            reason: typed.note.reason.clone(),
        }
    }
}

impl From<&Purge> for PurgeArgs {
    fn from(typed: &Purge) -> Self {
        Self {
            tenant: typed.tenant.clone(),
            tag: typed.tag.clone(),
            url: typed.url.clone(),
            all: typed.all,
            dry_run: typed.note.dry_run,
            reason: typed.note.reason.clone(),
        }
    }
}

impl From<&Explain> for ExplainArgs {
    fn from(typed: &Explain) -> Self {
        Self {
            url: typed.url.clone(),
            method: typed.method.clone(),
        }
    }
}

/// Prints an answer. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn out(answer: impl Display) {
    let _closed = writeln!(io::stdout(), "{answer}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_of_the_command_line_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_purge_names_a_school_and_one_thing() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' '));
        for good in [
            "edge-proxy purge --tenant oak --all",
            "edge-proxy purge --tenant oak --tag course:7 --dry-run --json",
            "edge-proxy --admin /run/edge.sock purge --tenant oak --url /api/v1/school",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "edge-proxy purge --all",
            "edge-proxy purge --tenant oak",
            "edge-proxy purge --tenant oak --all --tag x",
        ] {
            assert!(
                parse(bad).is_err_and(|error| error.exit_code() == 2),
                "{bad}"
            );
        }
    }
}
