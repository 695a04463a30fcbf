//! The edge's binary: arguments, logging, then one command and its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

mod command;

use command::{Arguments, Command, Config, check};

// Requests allocate little and often: mimalloc takes a fifth off a cached answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    obey(&arguments)
}

fn obey(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Check => check::check(&arguments.config).report(arguments.json),
        Command::Config(Config::Schema { file }) => {
            command::out(format_args!("{:#}", edge_proxy::config::schema(*file)));
            ExitCode::SUCCESS
        }
    }
}

/// Standard output is for access records and for answers.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
