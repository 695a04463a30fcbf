//! Starts every part of the edge, and ends them in the right order.
//!
//! One constructor for the command, the demo and the tests: what is tested is what runs. Everything
//! that can fail fails before the first connection is accepted.

mod assembly;
mod bound;
mod issuing;
mod papers;
mod part;
mod probe;
mod view;

use std::hash::RandomState;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asset_pipeline::store::Store;
use certs::{ServerOptions, Tickets, Watch, server_config};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use self::assembly::Assembly;
use self::bound::Bound;
pub(crate) use self::bound::{ADMIN, EVENTS, OBSERVE, named, optioned};
use self::part::opened;
pub use self::part::{Monitors, Part};
pub use self::probe::Probe;
use self::view::View;
use crate::assets::catalog::{Catalog, Options};
use crate::assets::images::making::Making;
use crate::assets::in_use::{Reporting, edge_id};
use crate::cache::Cache;
use crate::cache::epochs::Epochs;
use crate::clock::Clock;
use crate::config::checked::{Config, Events, Limits, Listeners, Proof};
use crate::control::admin::Admin;
use crate::control::challenges::Challenges;
use crate::control::events::Events as EventDesk;
use crate::control::follow::{Following, seed};
use crate::control::socket::SocketError;
use crate::control::store::{ControlStore, Sequence};
use crate::exchange::InFlight;
use crate::identity::{Identities, Revoked};
use crate::listener::{Connections, Front, Sockets};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::observe;
use crate::pictures::Pictures;
use crate::proxy::Hall;
use crate::rate::Rates;
use crate::record::{RecordError, Records};
use crate::split::keys::{KeysError, PinKeys, TENDED_EVERY};
use crate::tls::Handshake;
use crate::upstream::client::Client;
use crate::world::first_state;

/// In the state folder, as a browser's pin outlives a restart.
const PIN_KEYS: &str = "pin-keys";
/// How often the folder of certificates is looked at: a renewed one is served within seconds.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(2);
/// How often the ticket keys are looked at: another edge may have turned them a moment ago.
const TICKETS_EVERY: Duration = Duration::from_secs(10);
/// How often control is told what requests came to: what is wrong is seen within seconds.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Identity checks under way at once: far more than schools have people who sign in in one second.
const IDENTITY_CHECKS_MAX: usize = 10_000;
/// Uploads of pupils' work: a 64 KiB window would cap them at 64 KiB per round trip.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of one answer may wait in memory for a slow reader.
const H2_SEND_BUFFER: usize = 128 * 1024;
/// What must fit on the disk of the state folder.
const DISK_BYTES_MIN: usize = 64 * 1024;
/// Of the thread that reads releases: a third of what those who serve get, where there is not enough for all.
const CATALOG_NICENESS: i32 = 5;
/// After the last request has ended, connections get this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// A running edge.
pub struct Edge {
    asked: Listeners,
    sockets: Sockets,
    front: Arc<Front<HttpProxy<Hall>>>,
    in_flight: Arc<InFlight>,
    connections: Arc<Connections>,
    assembly: Arc<Assembly>,
    view: Arc<View>,
    metrics: Arc<Metrics>,
    records: Arc<Records>,
    clock: Clock,
    drain: Duration,
    handover: Duration,
    desk: Admin,
    gate: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    _certificates: Watch,
    _tickets: Watch,
    _following: Following,
}

/// Why the edge did not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("the state folder {path} cannot be used: {source}")]
    State { path: PathBuf, source: io::Error },
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Certificates(#[from] certs::CertError),
    #[error(transparent)]
    Tickets(#[from] certs::TicketProblem),
    #[error(transparent)]
    PinKeys(#[from] KeysError),
    #[error(transparent)]
    Seal(#[from] certs::SealProblem),
    #[error(transparent)]
    Keeper(#[from] certs::acme::KeeperProblem),
    #[error(transparent)]
    Admin(#[from] SocketError),
    #[error(transparent)]
    Control(#[from] crate::control::embedded::OpenError),
    #[error(transparent)]
    ControlStore(#[from] crate::control::store::StoreError),
    #[error(transparent)]
    Store(#[from] asset_pipeline::store::StoreError),
    #[error(transparent)]
    AccessLog(#[from] RecordError),
}

impl Edge {
    /// Starts everything that `config` names, in this process. Sockets come from `sockets`.
    ///
    /// # Errors
    /// When a part cannot start; then nothing is left running.
    pub async fn start(config: Config, sockets: Sockets) -> Result<Self, StartError> {
        let edge = Self::prepare(config, sockets, Part::Whole).await?;
        edge.accept();
        Ok(edge)
    }

    /// Starts everything but accepts nobody, before [`Self::accept`].
    ///
    /// # Errors
    /// When a part cannot start; then nothing is left running.
    pub async fn prepare(
        config: Config,
        mut sockets: Sockets,
        part: Part,
    ) -> Result<Self, StartError> {
        // Some dependency would pick a provider without ML-KEM if none were set.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Arc::new(Metrics::new());
        let records = Arc::new(Records::open(
            &config.access_log,
            metrics.records_dropped.clone(),
        )?);
        let (certificates, seal) = issuing::certificates(&config)?;
        let watch = certificates.watch(CERTIFICATES_EVERY, note_certificates)?;
        let asked = config.listeners.clone();
        let whole = part.is_whole();
        let mut bound = Bound::of(&asked, &mut sockets, whole)?;
        let listeners = bound.listeners(&asked);
        let events = config.events.clone();
        let events_at = events.as_ref().map(|events| events.listen);
        let events_at = events_at
            .map(|at| listen_for_events(&mut sockets, at))
            .transpose()?;
        let config = Arc::new(Config {
            listeners,
            events: events
                .zip(events_at.as_ref())
                .map(|(events, (_, listen))| Events {
                    listen: *listen,
                    ..events
                }),
            ..config
        });
        let limits = &config.limits;
        let clock = Clock::default();
        let epochs = Arc::new(Epochs::default());
        let client = Client::new(limits);

        let make_state = |source| StartError::State {
            path: config.state.clone(),
            source,
        };
        std::fs::create_dir_all(&config.state).map_err(make_state)?;
        // A full disk is found out now, not when the first file of a release is to be kept.
        tempfile::NamedTempFile::new_in(&config.state)
            .and_then(|mut file| file.write_all(&[0; DISK_BYTES_MIN]))
            .map_err(make_state)?;
        let tickets = match &config.ticket_keys {
            Some(file) => Tickets::kept(file)?,
            None => Tickets::new(),
        };
        let ticket_watch = tickets
            .watch(TICKETS_EVERY, |problem| warn!(%problem, "session tickets"))
            .map_err(StartError::Thread)?;
        let handshake = Handshake::new(server_config(
            Arc::clone(&certificates),
            tickets,
            ServerOptions {
                record_bytes: config.record_bytes,
                ..ServerOptions::default()
            },
        ));
        let pins = Arc::new(PinKeys::kept(config.state.join(PIN_KEYS), clock.wall())?);
        let (store, admin, reports) = part.control(&config)?;
        let first = config
            .apps
            .values()
            .map(|app| (app.id.clone(), first_state(app)));
        seed(&*store, first, jiff::Timestamp::now()).await?;

        let lifetime_max = match config.identity.as_ref().map(|identity| &identity.proof) {
            Some(Proof::Token(token)) => token.lifetime_max,
            Some(Proof::Origin { .. }) | None => Duration::ZERO,
        };
        let revoked = Arc::new(Revoked::new(clock.clone(), lifetime_max));
        let assembly = Arc::new(Assembly::new(
            Arc::clone(&config),
            Arc::clone(&epochs),
            Arc::clone(&revoked),
            client.clone(),
            Arc::clone(&metrics),
        ));
        // Before anything is stored: what a worker beside this one ends is ended here, and the other way round.
        let hearing = Arc::clone(&epochs);
        store.hear_ended(Box::new(move |ended| hearing.ended(ended)));
        let telling = Arc::clone(&store);
        epochs.tell(move |ended| telling.end(ended));
        let following = Following::start(Arc::clone(&store), Arc::clone(&assembly) as _).await?;
        if !lifetime_max.is_zero() {
            // After the tail is heard: who is signed out in between is told twice, and never missed.
            revoked.recall(&*store).await?;
        }
        let keeper = match (&config.acme, seal) {
            (Some(acme), Some(seal)) => {
                let challenges = Challenges::new(Arc::clone(&store), &following);
                let certificates = Arc::clone(&certificates);
                let metrics = Arc::clone(&metrics);
                let world = assembly.world();
                Some(issuing::keeper(
                    acme,
                    seal,
                    certificates,
                    challenges,
                    world,
                    metrics,
                )?)
            }
            _ => None,
        };
        let edge = edge_id(&config.state).map_err(make_state)?;
        let options = Options {
            mirror: config.state.join("mirror"),
            poll: config.store.poll,
            memory_bytes_max: config.store.memory_bytes_max,
            blob_bytes_max: config.store.blob_bytes_max,
            trusted_keys: config.store.trusted_keys.clone(),
            reporting: Reporting {
                edge: edge.clone(),
                sent: metrics.store_reports.clone(),
                failed: metrics.store_report_failures.clone(),
            },
        };
        let catalog = Catalog::open(Store::open(&config.store.url)?, options, assembly.named())
            .map_err(make_state)?;
        assembly.restock(Arc::clone(&catalog.tables().borrow()));

        let cache = Arc::new(Cache::new(
            limits,
            Arc::clone(&epochs),
            clock.clone(),
            client.clone(),
            Arc::clone(&metrics),
        ));
        let pictures = Arc::new(Pictures::new(
            config.images.program.clone(),
            limits,
            Arc::clone(&epochs),
            clock.clone(),
            client.clone(),
        ));
        let identities = config.identity.as_ref().map(|identity| {
            let (epochs, metrics) = (Arc::clone(&epochs), Arc::clone(&metrics));
            Arc::new(Identities::new(
                identity,
                IDENTITY_CHECKS_MAX,
                epochs,
                Arc::clone(&revoked),
                clock.clone(),
                metrics,
            ))
        });
        let identities_to_follow = identities.clone();
        let in_flight = Arc::new(InFlight::default());
        let connections = Arc::new(Connections::new(limits));
        let view = Arc::new(View {
            world: assembly.world(),
            catalog: Arc::clone(&catalog),
            cache: Arc::clone(&cache),
            pictures: Arc::clone(&pictures),
            certificates: Arc::clone(&certificates),
            keeper: keeper.clone(),
            connections: Arc::clone(&connections),
            metrics: Arc::clone(&metrics),
            began: Instant::now(),
            draining: AtomicBool::new(false),
        });
        let shown = Arc::downgrade(&view);
        metrics.on_scrape(move |metrics| {
            if let Some(view) = shown.upgrade() {
                view.show(metrics);
            }
        });
        let making = config.images.make.then(|| {
            let (blobs, metrics) = (Arc::clone(catalog.blobs()), Arc::clone(&metrics));
            Making::new(config.images.program.clone(), blobs, metrics)
        });
        let hall = Hall {
            making,
            pictures,
            world: assembly.world(),
            certificates,
            cache,
            identities,
            blobs: Arc::clone(catalog.blobs()),
            mirror: Mirror::new(client.clone()),
            client,
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            records: Arc::clone(&records),
            in_flight: Arc::clone(&in_flight),
            draining: sockets.draining(),
            rates: Rates::default(),
            pins: Arc::clone(&pins),
            devices: RandomState::default(),
        };
        let hall = Arc::new(proxy_of(hall, limits));
        let front = Arc::new(Front {
            app: hall,
            handshake,
            draining: sockets.draining(),
            proxy_protocol_from: config.listeners.proxy_protocol_from.clone(),
            limits: limits.clone(),
            metrics: Arc::clone(&metrics),
            connections: Arc::clone(&connections),
        });

        let (stop, stopped) = watch::channel(false);
        let (gate, gated) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if let Some(identities) = identities_to_follow {
            tasks.spawn(identities.follow_keys());
        }
        for (listener, surface) in bound.http.drain(..) {
            let (front, gate) = (Arc::clone(&front), gated.clone());
            tasks.spawn(async move {
                if opened(gate).await
                    && let Err(error) = front.accept(listener, surface).await
                {
                    warn!(%error, "a listener ended");
                }
            });
        }
        tasks.spawn(tend(pins, clock.clone()));
        follow_releases(&mut tasks, &assembly, &catalog, stopped.clone())?;
        if let Some(listener) = bound.observe.take() {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| {
                StartError::Listen {
                    address: "observe".to_owned(),
                    source,
                }
            })?;
            let monitors = Monitors {
                view: Arc::clone(&view),
                in_flight: Arc::clone(&in_flight),
                desk: None,
            };
            tasks.spawn(observe::serve(
                listener,
                Arc::new(monitors),
                stopped.clone(),
            ));
        }
        let desk = Admin::new(Arc::clone(&store), Arc::clone(&view) as _, &following);
        report(&mut tasks, store, Arc::clone(&assembly), desk.clone());
        let evidence = desk.evidence();
        metrics.on_scrape(move |metrics| metrics.evidence(evidence().into_iter()));
        if let Some(keeper) = keeper {
            // As the judge: who takes over from a worker takes over its certificates.
            let (gate, mut retired) = (gated.clone(), sockets.draining());
            tasks.spawn(async move {
                if opened(gate).await {
                    tokio::select! {
                        () = keeper.run() => {}
                        () = async { drop(retired.wait_for(|retired| *retired).await) } => {}
                    }
                }
            });
        }
        // One process judges: a worker that retires leaves it to the one that took over.
        let (conducting, mut retired) = (
            desk.conduct(reports, config.state.join("judge.json")),
            sockets.draining(),
        );
        let (gate_of_judge, resumed) = (gated.clone(), desk.clone());
        tasks.spawn(async move {
            if opened(gate_of_judge).await {
                resumed.resume().await;
                tokio::select! {
                    () = conducting => {}
                    () = async { drop(retired.wait_for(|retired| *retired).await) } => {}
                }
            }
        });
        if let (Some((listener, _)), Some(events)) = (events_at, &config.events) {
            let events = EventDesk::new(desk.clone(), events.secrets.clone(), edge, clock.clone());
            // Who takes over from a worker takes over its events; a whole edge hears them to its end.
            let until = if whole {
                stopped.clone()
            } else {
                sockets.draining()
            };
            tasks.spawn(async move {
                if opened(gated).await {
                    events.serve(listener, until).await;
                }
            });
        }
        if let Some(admin) = admin {
            tasks.spawn(desk.clone().serve(admin, stopped.clone()));
        }
        if let Some((listener, mutual)) = bound.admin.take() {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| {
                StartError::Listen {
                    address: "listeners.admin_tcp".to_owned(),
                    source,
                }
            })?;
            let operators = mutual.listen(listener);
            tasks.spawn(desk.clone().serve_apart(operators, stopped));
        }
        Ok(Self {
            asked,
            sockets,
            front,
            in_flight,
            connections,
            assembly,
            view,
            metrics,
            records,
            clock,
            drain: config.limits.drain,
            handover: config.limits.handover,
            desk,
            gate,
            stop,
            tasks,
            _certificates: watch,
            _tickets: ticket_watch,
            _following: following,
        })
    }

    /// Where it listens, with the ports that the system gave for 0.
    pub fn addresses(&self) -> Listeners {
        self.assembly.config().listeners.clone()
    }

    /// Where the platform posts its events, with the port that the system gave for 0.
    pub fn events_address(&self) -> Option<std::net::SocketAddr> {
        let config = self.assembly.config();
        config.events.as_ref().map(|events| events.listen)
    }

    /// The clock of its cache, for tests.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its counters, for tests and benches.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Every stored answer, for tests that look for what must not be there.
    pub fn stored(&self) -> Vec<crate::cache::Stored> {
        self.view.cache.dump()
    }

    /// Why it should get no new clients; empty: it should.
    pub fn not_ready(&self) -> Vec<String> {
        self.view.not_ready()
    }

    /// Why one of its colours could not take traffic, whether it has any or not; empty: all could.
    pub fn unfit(&self) -> Vec<String> {
        self.view.unfit(|_| true)
    }

    /// Opens the access log by its name again, after a rotation moved the file away.
    pub fn reopen_log(&self) {
        self.records.reopen();
    }

    /// Requests from now on see these files. Sockets, folders and the store stay as they are: what
    /// asks for other ones takes effect at the next start, and is named in the answer.
    pub fn reload(&self, config: Config) -> Vec<&'static str> {
        let now = self.assembly.config();
        let fixed = [
            ("listeners", self.asked != config.listeners),
            ("state", now.state != config.state),
            ("tls.certificates", now.certificates != config.certificates),
            ("acme", now.acme != config.acme),
            ("tls.record_bytes", now.record_bytes != config.record_bytes),
            ("tls.ticket_keys", now.ticket_keys != config.ticket_keys),
            ("store", now.store != config.store),
            ("identity", now.identity != config.identity),
            ("log.access", now.access_log != config.access_log),
            ("events", secrets(&now) != secrets(&config)),
        ];
        let listeners = now.listeners.clone();
        let events = now.events.clone();
        self.assembly.reload(Arc::new(Config {
            listeners,
            events,
            ..config
        }));
        fixed
            .into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(key, _)| key)
            .collect()
    }

    /// Accepts no more, lets every request under way finish within the drain limit, and ends.
    /// Returns how many requests were cut off.
    pub async fn drain(mut self) -> usize {
        self.view.draining.store(true, Ordering::Relaxed);
        self.sockets.drain();
        let finished = tokio::time::timeout(self.drain, self.in_flight.none_left()).await;
        let cut = if finished.is_ok() {
            0
        } else {
            self.in_flight.count()
        };
        // Idle connections go now: their clients were told with the last answer, or get a GOAWAY.
        self.front.app.http_cleanup().await;
        self.connections.dismiss();
        let _ = tokio::time::timeout(GOODBYE, self.connections.none_left()).await;
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        self.records.close();
        cut
    }
}

/// Turns the keys of pins when it is time. What fails is tried again: the keys in memory go on.
async fn tend(pins: Arc<PinKeys>, clock: Clock) {
    loop {
        tokio::time::sleep(TENDED_EVERY).await;
        let (pins, now) = (Arc::clone(&pins), clock.wall());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || pins.tend(now)).await {
            warn!(%error, "the keys of pins");
        }
    }
}

fn proxy_of(hall: Hall, limits: &Limits) -> HttpProxy<Hall> {
    let conf = ServerConf {
        max_retries: 2,
        ..ServerConf::default()
    };
    let mut proxy = pingora_proxy::http_proxy(&Arc::new(conf), hall);
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(limits.h2_streams_max);
    h2.max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX));
    h2.initial_window_size(H2_STREAM_WINDOW);
    h2.initial_connection_window_size(H2_CONNECTION_WINDOW);
    h2.max_send_buffer_size(H2_SEND_BUFFER);
    proxy.h2_options = Some(h2);
    proxy
}

/// Keeps tables and mirror up to date. The catalog has a thread of its own, since it syncs files, and one that
/// gives way: to read a large release takes the processor for longer than an answer does.
fn follow_releases(
    tasks: &mut JoinSet<()>,
    assembly: &Arc<Assembly>,
    catalog: &Arc<Catalog>,
    stopped: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let (running, stop) = (Arc::clone(catalog), stopped.clone());
    std::thread::Builder::new()
        .name("catalog".to_owned())
        .spawn(move || {
            // Linux: of this thread alone. Where it may not be, releases come as they did.
            let _ = rustix::process::nice(CATALOG_NICENESS);
            runtime.block_on(running.run(stop));
        })
        .map_err(StartError::Thread)?;
    let (restocked, mut tables) = (Arc::clone(assembly), catalog.tables());
    // The thread may have published before anybody listened.
    tables.mark_changed();
    tasks.spawn(async move {
        while tables.changed().await.is_ok() {
            let tables = Arc::clone(&tables.borrow_and_update());
            restocked.restock(tables);
        }
    });
    let (assembly, catalog) = (Arc::clone(assembly), Arc::clone(catalog));
    tasks.spawn(async move {
        let mut changed = assembly.changed();
        loop {
            catalog.name(assembly.named());
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Tells control what requests came to, and processes beside this one who is there.
fn report(
    tasks: &mut JoinSet<()>,
    store: Arc<dyn ControlStore>,
    assembly: Arc<Assembly>,
    desk: Admin,
) {
    tasks.spawn(async move {
        let mut every = tokio::time::interval(REPORT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled = Sequence::ZERO;
        loop {
            every.tick().await;
            store.report(assembly.counted());
            settled = desk.tell_who_is_there(settled);
        }
    });
}

fn note_certificates(report: &certs::Report) {
    for problem in &report.problems {
        warn!(%problem, "a certificate was not taken");
    }
}

/// A port of 0 is another one each time: what asks for a restart is told by the folder.
fn secrets(config: &Config) -> Option<&std::path::Path> {
    config
        .events
        .as_ref()
        .map(|events| events.secrets.as_path())
}

fn listen_for_events(
    sockets: &mut Sockets,
    at: std::net::SocketAddr,
) -> Result<(tokio::net::TcpListener, std::net::SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        address: at.to_string(),
        source,
    };
    let listener = sockets.listen(EVENTS, at).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    Ok((listener, address))
}
