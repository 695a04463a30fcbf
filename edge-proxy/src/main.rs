//! The edge's binary: arguments, logging, then one command and its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use edge_proxy::config::{self, Mistakes};
use edge_proxy::control::client;
use serde_json::json;
use tracing_subscriber::EnvFilter;

mod command;

use command::{Arguments, Command, check};

// Requests allocate little and often: mimalloc takes a fifth off a cached answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    obey(&arguments).unwrap_or_else(|error| {
        match error.downcast_ref::<Mistakes>() {
            Some(mistakes) if arguments.json => {
                command::out(format_args!("{:#}", json!({ "mistakes": mistakes })));
            }
            // Each line is a place in a file already.
            Some(mistakes) => eprintln!("{mistakes}"),
            None => eprintln!("error: {error:#}"),
        }
        ExitCode::FAILURE
    })
}

fn obey(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    let socket = || arguments.socket();
    Ok(match &arguments.command {
        Command::Check => check::check(&arguments.config).report(json),
        Command::Config(command::Config::Schema { file }) => {
            command::out(format_args!("{:#}", config::schema(*file)));
            ExitCode::SUCCESS
        }
        Command::Status => client::status(&socket()?, json),
        Command::Shift(typed) => client::shift(&socket()?, &typed.into(), json),
        Command::Purge(typed) => client::purge(&socket()?, &typed.into(), json),
        Command::Explain(typed) => client::explain(&socket()?, &typed.into(), json),
    })
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
