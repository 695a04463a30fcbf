//! The edge's binary: arguments, logging, then one command and its exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use edge_proxy::config::{self, Config, Mistakes};
use edge_proxy::control::api::CertificateAction;
use edge_proxy::control::client;
use edge_proxy::edge::Edge;
use edge_proxy::listener::Sockets;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

mod command;

use command::{Arguments, Certs, Command, OnHost, check};

// Requests allocate little and often: mimalloc takes a fifth off a cached answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An edit is live within two looks: a file that is being written is not judged half-way.
const CONFIG_EVERY: Duration = Duration::from_secs(1);

/// pingora says an error for each connection that breaks off, with bytes of the request in it: a scanner
/// would fill the log. What is refused is counted, and what was asked is in the access records.
const QUIET: &str = "pingora_core=off,pingora_proxy=off";

fn main() -> ExitCode {
    let arguments = Arguments::typed();
    log_to_stderr(arguments.command.log_level());
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
    let certificate = |on: &OnHost, action| {
        socket().map(|socket| client::certificate(&socket, action, &on.into(), json))
    };
    Ok(match &arguments.command {
        #[cfg(feature = "demo")]
        Command::Demo { check } => demo(*check, json)?,
        Command::Run => run(&arguments.config)?,
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
        Command::Shift(typed) => client::shift(&socket()?, &typed.into(), json),
        Command::Deploy(typed) => client::deploy(&socket()?, &typed.into(), json),
        Command::Drain(typed) => client::drain(&socket()?, &typed.into(), json),
        Command::Pause(typed) => client::pause(&socket()?, &typed.into(), json),
        Command::Unpause(typed) => client::pause(&socket()?, &typed.into(), json),
        Command::Purge(typed) => client::purge(&socket()?, &typed.into(), json),
        Command::Audit(typed) => client::audit(&socket()?, &typed.into(), json),
        Command::Cache(typed) => client::cache(&socket()?, &typed.into(), json),
        Command::Rules(asked) => command::rules::run(asked, &arguments.config, json)?,
        Command::Override(typed) => command::order::print(typed, &arguments.config, json)?,
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
    let config = config::load(path)?;
    let files = raise_open_files();
    if files < 2 * config.limits.connections_max as u64 {
        warn!(
            files,
            connections_max = config.limits.connections_max,
            "fewer open files than two for each connection that the limits allow: raise LimitNOFILE"
        );
    }
    let sockets = Sockets::inherit().context("the sockets that were passed in cannot be used")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("edge")
        .enable_all()
        .build()
        .context("no threads to serve with")?;
    runtime.block_on(async {
        let mut changes = config::watch(path, CONFIG_EVERY, &config);
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut rotated = signal(SignalKind::hangup())?;
        let edge = Edge::start(config, sockets).await?;
        loop {
            tokio::select! {
                changed = changes.changed() => take_over(&edge, changed),
                _ = rotated.recv() => edge.reopen_log(),
                _ = terminated.recv() => break,
                _ = interrupted.recv() => break,
            }
        }
        info!("no more connections; requests under way may finish");
        tokio::select! {
            cut = edge.drain() => match cut {
                0 => {
                    info!("every request was answered");
                    return Ok(ExitCode::SUCCESS);
                }
                cut => warn!(cut, "requests were cut off at the limit `drain_s`"),
            },
            _ = terminated.recv() => warn!("told to stop again: requests were cut off"),
            _ = interrupted.recv() => warn!("told to stop again: requests were cut off"),
        }
        Ok(ExitCode::FAILURE)
    })
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

fn take_over(edge: &Edge, changed: Result<Config, Mistakes>) {
    match changed {
        Ok(config) => {
            let fingerprint = config.fingerprint;
            let at_next_start = edge.reload(config);
            info!(%fingerprint, ?at_next_start, "the changed config is live");
        }
        Err(mistakes) => warn!("the changed config is not used:\n{mistakes}"),
    }
}

/// Standard output is for access records and for answers.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{QUIET}")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
