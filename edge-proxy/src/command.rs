//! The words of the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use edge_proxy::config::{self, ConfigFile, Mistakes};
use edge_proxy::control::api::{
    DeployRequest, DrainRequest, FreezeRequest, PauseRequest, RolloutCommand, RolloutRequest,
    UpgradeRequest,
};
use edge_proxy::control::client::{
    AuditArgs, CacheArgs, CertificateArgs, DeployArgs, DrainArgs, ExplainArgs, PauseArgs,
    PurgeArgs, RolloutArgs, ShiftArgs,
};

pub(crate) mod check;
pub(crate) mod images;
pub(crate) mod order;
pub(crate) mod picture;
pub(crate) mod rules;

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
    /// Reads what was typed; a command that is wrong ends the process with 2.
    pub(crate) fn typed() -> Self {
        Self::parse_from(with_services(std::env::args_os()))
    }

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
    /// Serves, until SIGTERM; requests under way may finish. SIGHUP reads the files again and opens
    /// the access log again.
    Run,
    /// Says everything that is wrong with the config and the certificates, and opens nothing.
    Check,
    /// Config files.
    #[command(subcommand)]
    Config(Config),
    /// Shows what the edge does: apps, colours, members, cache, certificates.
    Status,
    /// Certificates.
    #[command(subcommand)]
    Certs(Certs),
    /// Moves traffic between the colours of an app, and returns when requests see it.
    Shift(Shift),
    /// Makes an idle colour a new version, and returns when all its members are healthy and all its
    /// files are here; else it is again what it was.
    Deploy(Deploy),
    /// Leaves a colour: all traffic and all who are bound to it go to the other one, who is there may
    /// finish. Returns when nobody is left; with 1 when the time is over before.
    Drain(Drain),
    /// Holds an app's requests: they wait, for at most 10 s, before they are led to a colour. Returns when
    /// no origin is answering anybody, with 1 when one still is. Stored answers and files go on.
    Pause(Pause),
    /// Lets those that wait go on, by the weights of now.
    Unpause(Unpause),
    /// Gives a colour its traffic step by step, and takes it back when the new version is worse.
    #[command(subcommand)]
    Rollout(Rollout),
    /// Lets no rollout and no shift give a newer version more, until a time; back is always possible.
    Freeze(Freeze),
    /// Prints a signed header that sends the requests that carry it to one colour, whatever the weights
    /// are: to look at a version before anybody else does. It ends by itself.
    Override(order::Override),
    /// Pictures of schools, by addresses that the app signs.
    #[command(subcommand)]
    Images(images::Images),
    /// Lets another version of the edge take over without losing a request. It is started, reads and
    /// checks everything and is walked through before it accepts anybody; if anything fails, nothing
    /// has changed.
    Upgrade(Upgrade),
    /// What serves, started by `run`.
    #[command(hide = true)]
    Worker {
        /// The supervisor's socket.
        #[arg(long)]
        control: PathBuf,
    },
    /// Makes one form of a picture, from standard input to standard output, and limits itself; started by
    /// `run`.
    #[command(hide = true)]
    Picture(picture::Picture),
    /// Makes stored answers of a school unusable, and returns when requests see it.
    Purge(Purge),
    /// Lists who changed what and why, and checks that no record was changed since; exits with 1 and names
    /// the first that was.
    Audit(Audit),
    /// The kill switch of the cache of reads: kept across a restart, and returns when requests see it.
    #[command(subcommand)]
    Cache(Cache),
    /// The rules beside the description of the API that they are for.
    #[command(subcommand)]
    Rules(rules::Rules),
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

#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Lists those that are served: days left, where they come from, what happens next.
    List,
    /// Looks after a host of tenants.toml from now on: checks that it points here, has its certificate issued, renews it.
    Add(OnHost),
    /// Tries at once what failed before, whatever the pause.
    Issue(OnHost),
    /// Replaces a certificate now, with a new key.
    Renew(OnHost),
    /// Replaces a certificate whose key is known to others, then revokes it.
    Revoke(OnHost),
    /// Gives the account at an authority another key, when the present one is known to others.
    Rekey {
        /// As `[[acme.authority]]` names it.
        authority: String,
        /// Why, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OnHost {
    /// Such as `maple.school.example`, or `*.school.example` by DNS.
    pub(crate) host: String,
    /// Why, for the audit log.
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

impl From<&OnHost> for CertificateArgs {
    fn from(typed: &OnHost) -> Self {
        Self {
            host: typed.host.clone(),
            reason: typed.reason.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Shift {
    /// The app.
    pub(crate) app: String,
    /// A colour and its share, such as `green=10%` or `green=1000bp`; the other colour gets the rest.
    #[arg(value_name = "COLOUR=WEIGHT")]
    pub(crate) weight: String,
    /// Goes on where schools are frozen.
    #[arg(long, requires = "reason")]
    pub(crate) despite_freeze: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The app.
    pub(crate) app: String,
    /// The colour that becomes this version: one without traffic.
    #[arg(long)]
    pub(crate) colour: String,
    /// A published release.
    #[arg(long)]
    pub(crate) release: String,
    /// The members of a service, such as `web=10.0.3.2:3000,10.0.3.3:3000`; `--web 10.0.3.2:3000` is
    /// the same. Every service of the app needs at least one.
    #[arg(long = "service", value_name = "NAME=ADDRESS,...", value_parser = service)]
    pub(crate) services: Vec<(String, Vec<String>)>,
    /// The database schemas that it works with, `N` or `MIN..MAX`; those of the other colour if left out.
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// How long it has to become whole and healthy, such as `90s` or `5m`.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    pub(crate) wait: u32,
    /// Drains the colour first, and how long that may take: without it, it may have neither weight nor
    /// requests under way, and nobody who is bound to it may have come within the hour.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) drain: Option<u32>,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The app.
    pub(crate) app: String,
    /// The colour that is left.
    pub(crate) colour: String,
    /// How long who is there may go on, such as `90s` or `10m`.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = seconds)]
    pub(crate) wait: u32,
    /// When event streams and WebSockets are asked to end; after 10 s, or half of the wait, by default.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) streams: Option<u32>,
    #[command(flatten)]
    pub(crate) note: Note,
}

impl From<&Drain> for DrainArgs {
    fn from(typed: &Drain) -> Self {
        Self {
            app: typed.app.clone(),
            request: DrainRequest {
                colour: typed.colour.clone(),
                wait_s: Some(typed.wait),
                streams_s: typed.streams,
                dry_run: typed.note.dry_run,
                reason: typed.note.reason.clone(),
            },
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The app.
    pub(crate) app: String,
    /// How long those under way get to end, at most `10s`.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    pub(crate) wait: u32,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// The app.
    pub(crate) app: String,
    /// Such as `2026-12-01T16:00:00+01:00`.
    #[arg(long, value_name = "TIME", required_unless_present = "off")]
    until: Option<String>,
    /// It is over now.
    #[arg(long, conflicts_with = "until")]
    off: bool,
    #[command(flatten)]
    note: Note,
}

impl From<&Freeze> for FreezeRequest {
    fn from(typed: &Freeze) -> Self {
        Self {
            until: typed.until.clone(),
            dry_run: typed.note.dry_run,
            reason: typed.note.reason.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Starts one, says which schools each step moves, and returns when the first step is in force.
    Start {
        /// The app.
        app: String,
        /// The colour that gets traffic.
        #[arg(long)]
        to: String,
        /// Rising weights; the last is 100%.
        #[arg(long, value_delimiter = ',', default_value = "1%,5%,25%,50%,100%")]
        steps: Vec<String>,
        /// Rings of schools that go before any weight, one after the other.
        #[arg(long, value_delimiter = ',')]
        rings: Vec<String>,
        /// How long each step is looked at.
        #[arg(long, value_name = "TIME", default_value = "2m", value_parser = seconds)]
        hold: u32,
        /// How often the new version must be asked in each step: silence promotes nobody.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        requests: u64,
        /// Goes on where schools are frozen.
        #[arg(long, requires = "reason")]
        despite_freeze: bool,
        #[command(flatten)]
        note: Note,
    },
    /// Shows weights, requests, errors, times, what speaks against the new version and the time left; on a
    /// terminal until it ends.
    Status {
        /// The app.
        app: String,
    },
    /// Stays where it is; the judge may still roll it back.
    Pause(Steer),
    /// Goes on; the time of the step begins anew.
    Resume(Steer),
    /// Gives the new version everything, now.
    Promote(Steer),
    /// Gives the old version everything, now, and ends what is bound to the new one.
    Abort(Steer),
}

#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// The app.
    app: String,
    /// Goes on where schools are frozen; for `promote`.
    #[arg(long, requires = "reason")]
    despite_freeze: bool,
    #[command(flatten)]
    note: Note,
}

impl From<&Rollout> for RolloutArgs {
    fn from(typed: &Rollout) -> Self {
        let steer = |command, steer: &Steer| Self::Steer {
            app: steer.app.clone(),
            command,
            request: RolloutCommand {
                despite_freeze: steer.despite_freeze,
                dry_run: steer.note.dry_run,
                reason: steer.note.reason.clone(),
            },
        };
        match typed {
            Rollout::Start {
                app,
                to,
                steps,
                rings,
                hold,
                requests,
                despite_freeze,
                note,
            } => Self::Start {
                app: app.clone(),
                request: RolloutRequest {
                    to: to.clone(),
                    steps: steps.clone(),
                    rings: rings.clone(),
                    hold_s: Some(*hold),
                    requests: Some(*requests),
                    despite_freeze: *despite_freeze,
                    dry_run: note.dry_run,
                    reason: note.reason.clone(),
                },
            },
            Rollout::Status { app } => Self::Status { app: app.clone() },
            Rollout::Pause(typed) => steer("pause", typed),
            Rollout::Resume(typed) => steer("resume", typed),
            Rollout::Promote(typed) => steer("promote", typed),
            Rollout::Abort(typed) => steer("abort", typed),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// The app.
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// As the edge is asked.
fn pause(app: &str, wait_s: Option<u32>, paused: bool, note: &Note) -> PauseArgs {
    PauseArgs {
        app: app.to_owned(),
        request: PauseRequest {
            paused,
            wait_s,
            dry_run: note.dry_run,
            reason: note.reason.clone(),
        },
    }
}

impl From<&Pause> for PauseArgs {
    fn from(typed: &Pause) -> Self {
        pause(&typed.app, Some(typed.wait), true, &typed.note)
    }
}

impl From<&Unpause> for PauseArgs {
    fn from(typed: &Unpause) -> Self {
        pause(&typed.app, None, false, &typed.note)
    }
}

/// `NAME=ADDRESS,...`.
fn service(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, addresses) = text
        .split_once('=')
        .ok_or("a service is written as NAME=ADDRESS,..., such as `web=10.0.3.2:3000`")?;
    let addresses = addresses
        .split(',')
        .map(|address| address.trim().to_owned());
    Ok((name.to_owned(), addresses.collect()))
}

/// `90s`, `5m`, `1h`.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let form = || "a time is a number with its unit, such as `90s`, `5m` or `1h`".to_owned();
    let unit = text.chars().last().ok_or_else(form)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(form()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| form())?;
    number.checked_mul(each).ok_or_else(form)
}

/// Lets a deploy name its services as options: `--web ADDRESS` is `--service web=ADDRESS`. Which
/// services an app has is known to the edge alone.
fn with_services(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = typed.collect();
    let deploys = words.iter().any(|word| word == "deploy");
    if !deploys {
        return words;
    }
    let command = Arguments::command();
    let known: Vec<String> = command
        .find_subcommand("deploy")
        .into_iter()
        .chain([&command])
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .chain(["help".to_owned(), "version".to_owned()])
        .collect();
    let mut at = 0;
    while at < words.len() {
        let option = words[at].to_str().and_then(|word| word.strip_prefix("--"));
        if let Some(option) = option.map(str::to_owned) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option.as_str(), None),
            };
            let next = words.get(at + 1).and_then(|word| word.to_str());
            let value = value.clone().or_else(|| next.map(str::to_owned));
            if let Some(value) = value
                && !name.is_empty()
                && !known.iter().any(|known| known == name)
            {
                let words_taken = if option.contains('=') { 1 } else { 2 };
                let replaced = ["--service".into(), format!("{name}={value}").into()];
                words.splice(at..at + words_taken, replaced);
                at += 1;
            }
        }
        at += 1;
    }
    words
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The new version's program; what is now at the path that `run` was started from if left out.
    pub(crate) binary: Option<PathBuf>,
    /// How long it has to become ready, such as `90s` or `5m`.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    pub(crate) wait: u32,
    /// The supervisor becomes that version too, once it serves: the same process executes it, and keeps sockets and worker.
    #[arg(long)]
    pub(crate) supervisor: bool,
    /// The new version begins with an empty cache of reads: for one that mends what was stored.
    #[arg(long)]
    pub(crate) cold: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

impl Upgrade {
    /// As it is asked for; a path is meant from where the command is typed.
    pub(crate) fn request(&self) -> io::Result<UpgradeRequest> {
        let binary = self
            .binary
            .as_deref()
            .map(std::path::absolute)
            .transpose()?;
        Ok(UpgradeRequest {
            binary: binary.map(|path| path.display().to_string()),
            wait_s: Some(self.wait),
            dry_run: self.note.dry_run,
            supervisor: self.supervisor,
            cold: self.cold,
            reason: self.note.reason.clone(),
        })
    }
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
    /// What everyone may see is only stale from now on, as its rule says; what some may see is ended.
    #[arg(long)]
    pub(crate) soft: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// What to look at.
    #[arg(value_enum, default_value = "log")]
    pub(crate) what: AuditWhat,
    /// How many of the newest records are listed, at most 1000; all are checked.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// A record and its hash as they once were: it must still be that one.
    #[arg(long, value_name = "CHANGE:HASH")]
    pub(crate) seen: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum AuditWhat {
    /// The audit log.
    Log,
}

impl From<&Audit> for AuditArgs {
    fn from(typed: &Audit) -> Self {
        let AuditWhat::Log = typed.what;
        Self {
            limit: typed.limit,
            seen: typed.seen.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Every request passes: no rule is read, and nobody's identity is asked for. Files go on.
    Off(Note),
    /// Reads are cached again, by the rules. What was purged meanwhile stays purged.
    On(Note),
}

impl From<&Cache> for CacheArgs {
    fn from(typed: &Cache) -> Self {
        let (off, note) = match typed {
            Cache::Off(note) => (true, note),
            Cache::On(note) => (false, note),
        };
        Self {
            off,
            dry_run: note.dry_run,
            reason: note.reason.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Such as `https://maple.school.example/api/v1/courses`.
    pub(crate) url: String,
    /// The method; GET by default.
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// Who asks: TENANT/SUBJECT or TENANT/SUBJECT:ROLE,ROLE, such as `oak/7:pupil`.
    #[arg(long = "as", value_name = "IDENTITY")]
    pub(crate) asker: Option<String>,
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
            despite_freeze: typed.despite_freeze,
            dry_run: typed.note.dry_run,
            reason: typed.note.reason.clone(),
        }
    }
}

impl From<&Deploy> for DeployArgs {
    fn from(typed: &Deploy) -> Self {
        let mut services = BTreeMap::<String, Vec<String>>::new();
        for (name, addresses) in &typed.services {
            let members = services.entry(name.clone()).or_default();
            members.extend_from_slice(addresses);
        }
        Self {
            app: typed.app.clone(),
            request: DeployRequest {
                colour: typed.colour.clone(),
                release: typed.release.clone(),
                services,
                schema: typed.schema.clone(),
                wait_s: Some(typed.wait),
                drain_s: typed.drain,
                dry_run: typed.note.dry_run,
                reason: typed.note.reason.clone(),
            },
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
            soft: typed.soft,
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
            asker: typed.asker.clone(),
        }
    }
}

/// Prints an answer. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn out(answer: impl Display) {
    let _closed = writeln!(io::stdout(), "{answer}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_command_line_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_deploy_names_services_as_options() {
        let parse = |text: &str| {
            let words = text.split(' ').map(OsString::from);
            Arguments::try_parse_from(with_services(words))
        };
        let typed = parse(
            "edge-proxy deploy learn --colour green --release r3 --web 10.0.0.1:1,10.0.0.2:1 --wait 5m --api=10.0.0.1:2 --service web=10.0.0.3:1 --json",
        );
        let typed = typed.expect("a deploy");
        assert!(typed.json);
        let Command::Deploy(deploy) = &typed.command else {
            panic!("{typed:?}");
        };
        let request = DeployArgs::from(deploy).request;
        assert_eq!(
            request.services["web"],
            ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]
        );
        assert_eq!(request.services["api"], ["10.0.0.1:2"]);
        assert_eq!((request.wait_s, request.drain_s), (Some(300), None));
        for bad in [
            "edge-proxy deploy learn --colour green",
            "edge-proxy deploy learn --colour green --release r3 --web",
            "edge-proxy deploy learn --colour green --release r3 --wait 5",
            "edge-proxy shift learn green=1% --web 10.0.0.1:1",
        ] {
            assert!(
                parse(bad).is_err_and(|error| error.exit_code() == 2),
                "{bad}"
            );
        }
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
