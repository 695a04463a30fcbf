//! The words of the command line.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use edge_proxy::config::ConfigFile;

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
    /// The config.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// Answers in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Says everything that is wrong with the config and the certificates, and opens nothing.
    Check,
    /// Config files.
    #[command(subcommand)]
    Config(Config),
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

/// Prints an answer. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn out(answer: impl Display) {
    let _closed = writeln!(io::stdout(), "{answer}");
}
