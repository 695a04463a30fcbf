//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use asset_pipeline::gc;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::publish::{DELTA_RELEASES, Input, Publish};
use asset_pipeline::signature::{PublicKey, SecretKey};
use asset_pipeline::store::Store;
use asset_pipeline::weigh::Budget;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Publishes immutable releases of a site, and reads them back.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a rule."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Write the result as one JSON object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish a folder as a release. To repeat it is quick and changes nothing.
    Publish {
        #[command(flatten)]
        what: What,
        /// How many of the last releases to make deltas against, for returning visitors; 0: none.
        #[arg(long, value_name = "RELEASES", default_value_t = DELTA_RELEASES)]
        deltas: usize,
        /// Add one file of what most pages share, which browsers fetch when they have nothing else to do: it
        /// tells them new files of later releases.
        #[arg(long)]
        dictionary: bool,
        /// Leave pictures as they are. To make their smaller forms may take minutes the first time.
        #[arg(long)]
        no_images: bool,
        /// Refuse a release whose pages weigh more than this file allows.
        #[arg(long, value_name = "FILE", value_parser = budget)]
        budget: Option<Budget>,
        /// Sign the release with this key, as `keygen` made it.
        #[arg(long, value_name = "FILE", value_parser = key)]
        key: Option<SecretKey>,
    },
    /// Look at one picture, or make forms of it, within limits; started by `publish`.
    #[command(hide = true)]
    Picture {
        /// What is to be done.
        job: String,
    },
    /// Make a key to sign releases with, and print the public key that edges are to trust.
    Keygen {
        /// Where to write the secret key: a new file.
        file: PathBuf,
    },
    /// Say what a publish would do, and write nothing.
    Plan {
        #[command(flatten)]
        what: What,
    },
    /// Compare two releases file by file.
    Diff {
        /// The one.
        from: ReleaseId,
        /// The other.
        to: ReleaseId,
        /// What the releases are of.
        #[arg(long)]
        app: AppId,
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
    },
    /// Say what pages weigh: for a first visit, and for who comes back after a deploy.
    Report {
        /// The release.
        release: ReleaseId,
        /// What it is of.
        #[arg(long)]
        app: AppId,
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// The release that a returning visitor has seen; the one published before, if not given.
        #[arg(long)]
        since: Option<ReleaseId>,
        /// Write a page with bar charts too.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Fail with 3 when pages weigh more than this file allows.
        #[arg(long, value_name = "FILE", value_parser = budget)]
        budget: Option<Budget>,
    },
    /// Read everything that releases name, check every digest and decode every encoding.
    Verify {
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// Only this app.
        #[arg(long)]
        app: Option<AppId>,
        /// Only this release of it.
        #[arg(long, requires = "app")]
        release: Option<ReleaseId>,
        /// Every release must be signed by this public key, or by another one given this way.
        #[arg(long, value_name = "KEY")]
        trusted: Vec<PublicKey>,
    },
    /// Delete what no release that stays needs. One run marks, a later one deletes: to be run each night.
    Gc {
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// How many of the last releases of each app stay.
        #[arg(long, value_name = "RELEASES", default_value_t = gc::KEEP)]
        keep: usize,
        /// Releases that are younger stay: the longest time that a browser keeps a page open [default: 30d]
        #[arg(long, value_name = "TIME", value_parser = time)]
        younger_than: Option<Duration>,
        /// How long nothing may have needed what is deleted [default: 12h]
        #[arg(long, value_name = "TIME", value_parser = time)]
        grace: Option<Duration>,
        /// Go on although no edge ever reported what it serves.
        #[arg(long)]
        no_edge: bool,
        /// Say what would be done, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the releases of a store.
    Releases {
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// Only this app.
        #[arg(long)]
        app: Option<AppId>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum From {
    /// Found out.
    Auto,
    /// Next.js.
    Next,
    /// `vite build` with `build.manifest`.
    Vite,
    /// Rails' `assets:precompile` with Propshaft.
    Rails,
    /// Files that are their own source.
    Plain,
}

/// What to publish, and where.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// The folder: a project of Next.js, Vite or Rails after its build, or files as they are.
    dir: PathBuf,
    /// What the release is of.
    #[arg(long)]
    app: AppId,
    /// The release's id, which is never used again for other content.
    #[arg(long)]
    release: ReleaseId,
    /// Where to: `file:///srv/assets`, or the path of a folder.
    #[arg(long, value_parser = store)]
    store: Store,
    /// What made the folder.
    #[arg(long, value_enum, default_value_t = From::Auto)]
    from: From,
    /// Publish although files refer to files that are not in the folder.
    #[arg(long)]
    allow_broken: bool,
}

impl What {
    pub(crate) fn publish(self) -> Publish {
        let mut publish = Publish::new(self.dir, self.app, self.release, self.store);
        publish.from = match self.from {
            From::Auto => Input::Auto,
            From::Next => Input::Next,
            From::Vite => Input::Vite,
            From::Rails => Input::Propshaft,
            From::Plain => Input::Plain,
        };
        publish.allow_broken = self.allow_broken;
        publish
    }
}

fn store(url: &str) -> Result<Store, String> {
    Store::open(url).map_err(|error| error.to_string())
}

/// Such as `30d` or `12h`.
fn time(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let time = span.to_duration(days).map_err(|error| error.to_string())?;
    Duration::try_from(time).map_err(|_| "it is negative".to_owned())
}

fn key(file: &str) -> Result<SecretKey, String> {
    SecretKey::read(std::path::Path::new(file)).map_err(|error| error.to_string())
}

fn budget(file: &str) -> Result<Budget, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    Budget::from_toml(&text).map_err(|error| error.to_string())
}
