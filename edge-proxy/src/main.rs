//! The edge's binary: arguments, logging, then one command and its exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use edge_proxy::config::{self, Mistakes};
use edge_proxy::control::api::CertificateAction;
use edge_proxy::control::client;
use edge_proxy::listener::Sockets;
use edge_proxy::supervisor::duty::{self, DutyError};
use edge_proxy::supervisor::{self, Binary, Carried, Ended};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tracing::warn;
use tracing_subscriber::EnvFilter;

mod command;

use command::{Arguments, Certs, Command, OnHost, check};

// Requests allocate little and often: mimalloc takes a fifth off a cached answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// pingora says an error for each connection that breaks off, with bytes of the request in it: a scanner
/// would fill the log. What is refused is counted, and what was asked is in the access records.
const QUIET: &str = "pingora_core=off,pingora_proxy=off";

fn main() -> ExitCode {
    let arguments = Arguments::typed();
    log_to_stderr(arguments.command.log_level());
    obey(&arguments).unwrap_or_else(|error| {
        let mistakes = error.downcast_ref::<Mistakes>();
        match mistakes.or_else(|| error.downcast_ref::<DutyError>()?.mistakes()) {
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
    let certificate = |on: &OnHost, action| {
        socket().map(|socket| client::certificate(&socket, action, &on.into(), json))
    };
    Ok(match &arguments.command {
        #[cfg(feature = "demo")]
        Command::Demo { check } => demo(*check, json)?,
        Command::Run => run(&arguments.config)?,
        Command::Worker { control } => work(&arguments.config, control)?,
        Command::Picture(typed) => command::picture::make(typed)?,
        Command::Upgrade(typed) => client::upgrade(&socket()?, &typed.request()?, json),
        Command::Check => check::check(&arguments.config).report(json),
        Command::Config(command::Config::Schema { file }) => {
            command::out(format_args!("{:#}", config::schema(*file)));
            ExitCode::SUCCESS
        }
        Command::Status => client::status(&socket()?, json),
        Command::Certs(Certs::List) => client::certificates(&socket()?, json),
        Command::Certs(Certs::Add(on)) => certificate(on, CertificateAction::Add)?,
        Command::Certs(Certs::Issue(on)) => certificate(on, CertificateAction::Issue)?,
        Command::Certs(Certs::Renew(on)) => certificate(on, CertificateAction::Renew)?,
        Command::Certs(Certs::Revoke(on)) => certificate(on, CertificateAction::Revoke)?,
        Command::Certs(Certs::Rekey { authority, reason }) => {
            client::rekey(&socket()?, authority, reason.as_deref(), json)
        }
        Command::Shift(typed) => client::shift(&socket()?, &typed.into(), json),
        Command::Deploy(typed) => client::deploy(&socket()?, &typed.into(), json),
        Command::Rollout(typed) => client::rollout(&socket()?, &typed.into(), json),
        Command::Freeze(typed) => client::freeze(&socket()?, &typed.app, &typed.into(), json),
        Command::Drain(typed) => client::drain(&socket()?, &typed.into(), json),
        Command::Pause(typed) => client::pause(&socket()?, &typed.into(), json),
        Command::Unpause(typed) => client::pause(&socket()?, &typed.into(), json),
        Command::Purge(typed) => client::purge(&socket()?, &typed.into(), json),
        Command::Audit(typed) => client::audit(&socket()?, &typed.into(), json),
        Command::Cache(typed) => client::cache(&socket()?, &typed.into(), json),
        Command::Rules(asked) => command::rules::run(asked, &arguments.config, json)?,
        Command::Override(typed) => command::order::print(typed, &arguments.config, json)?,
        Command::Images(typed) => command::images::run(typed, &arguments.config, json)?,
        Command::Explain(typed) => client::explain(&socket()?, &typed.into(), json),
    })
}

#[cfg(feature = "demo")]
fn demo(check: bool, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        match check {
            true => edge_proxy::demo::check(json).await,
            false => edge_proxy::demo::show().await,
        }
    })?)
}

fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let carried = Carried::take().context("what the supervisor before has left cannot be read")?;
    let ended = supervise(path, carried.as_ref());
    if let (Err(error), Some(carried)) = (&ended, carried)
        && let Some(stays) = carried.back(&format!("{error:#}"))
    {
        warn!(error = %stays, "the supervisor before cannot be executed");
    }
    match ended? {
        Ended::Exit(code) => Ok(code),
        Ended::Become(going) => Err(going.go()).context("the new supervisor cannot be executed"),
    }
}

fn supervise(path: &Path, carried: Option<&Carried>) -> anyhow::Result<Ended> {
    let config = config::load(path)?;
    let files = raise_open_files();
    if files < 2 * config.limits.connections_max as u64 {
        warn!(
            files,
            connections_max = config.limits.connections_max,
            "fewer open files than two for each connection that the limits allow: raise LimitNOFILE"
        );
    }
    let (sockets, binary) = match carried {
        Some(carried) => (carried.sockets(), carried.program()?),
        None => (Sockets::inherit(), Binary::of_this_process()?),
    };
    let sockets = sockets.context("the sockets that were passed in cannot be used")?;
    Ok(runtime("supervisor")?.block_on(supervisor::run(config, path, binary, sockets, carried))?)
}

/// What `run` starts: its sockets and its state are the supervisor's.
fn work(path: &Path, control: &Path) -> anyhow::Result<ExitCode> {
    raise_open_files();
    Ok(runtime("edge")?.block_on(duty::serve(path, control))?)
}

fn runtime(name: &str) -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name(name)
        .enable_all()
        .build()
        .context("no threads to serve with")
}

/// Service managers start with 1024 and allow more to those who ask. Returns what is allowed now.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// Standard output is for access records and for answers.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{QUIET}")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| Unheard)
        .init();
}

/// Standard error, whether or not somebody still reads it: a worker outlives who started it.
struct Unheard;

impl Write for Unheard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _unheard = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
