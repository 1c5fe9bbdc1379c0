//! The daemon: the only place that knows all parts, wires them, starts and stops them.
//!
//! Start: config and plugins validated; store locked and opened; sockets bound; instances started side by side. All of it or
//! nothing: until the sockets are bound nothing has happened that anybody could see. Stop: the same backwards.

mod setup;
mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use butler_plugin_api::abi::host::exit_without_destructors;
use butler_plugin_api::{Data, Instance as InstanceDocument, kind};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use setup::{Setup, load};

use crate::config::{Config, Loaded, PluginEntry, Report};
use crate::delivery::Queue;
use crate::ingest::{Running, UdpServer};
use crate::observe::TaskStates;
use crate::pipeline::{Enricher, EnricherParts, Router, accept_datagrams};
use crate::plugins::{HttpClients, Instance, PluginMetrics, Shared};
use crate::qlik::{Lookups, Repository};
use crate::rest;
use crate::store::{NewEvent, Released, Store, now_ms};

/// Why the daemon ended.
pub enum Failure {
    /// The config cannot work: exit code 2.
    Config(String),
    /// Something else: exit code 1.
    Other(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config(_) => 2,
            Self::Other(_) => 1,
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Config(report.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Drains what is under way at a stop for at most this time, before it is left for the next start.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs until a signal. `setup` is consumed; the log is installed.
pub async fn run(setup: Setup) -> Result<(), Failure> {
    let Setup { loaded, libraries } = setup;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let signals = StopSignals::listen();
    let (config, secrets) = (loaded.config.clone(), Arc::new(loaded.secrets.clone()));
    let started = Instant::now();

    let lookups = qlik(&config)?;
    let store = Store::open(&config.store.path).await.map_err(anyhow::Error::from)?;
    let udp = config.udp.as_ref().map(UdpServer::bind).transpose().map_err(anyhow::Error::from)?;
    let server = rest::Server::bind(&config.rest).map_err(anyhow::Error::from)?;

    let accepted = Arc::new(Notify::new());
    let shared = Arc::new(Shared {
        runtime: tokio::runtime::Handle::current(),
        store: store.clone(),
        accepted: accepted.clone(),
        http: HttpClients::new(config.tls.clone()),
        qlik: lookups.clone(),
        metrics: PluginMetrics::default(),
        secrets: secrets.clone(),
    });
    let instances: Vec<Arc<Instance>> = config
        .plugins
        .iter()
        .filter_map(|entry| {
            // Validation has refused entries whose plugin was not opened.
            let library = libraries.get(&entry.plugin)?.clone();
            Some(Instance::new(document(&loaded, entry), entry.clone(), library, shared.clone()))
        })
        .collect();
    let parked = store
        .park(instances.iter().map(|instance| instance.name().to_owned()).collect())
        .await
        .map_err(anyhow::Error::from)?;
    if parked > 0 {
        tracing::warn!(deliveries = parked, "deliveries of instances that are not in the config any more are parked");
    }
    let queues: HashMap<String, Arc<Notify>> =
        instances.iter().map(|instance| (instance.name().to_owned(), Arc::new(Notify::new()))).collect();
    let tasks = Arc::new(TaskStates::default());
    let enricher = Enricher::new(EnricherParts {
        store: store.clone(),
        accepted: accepted.clone(),
        lookups: lookups.clone(),
        enrich: config.enrich.clone(),
        script_log: config.script_log.clone(),
        wants_script_log: instances.iter().any(|instance| instance.manifest().script_log),
        router: Router::new(instances.iter().map(|instance| (instance.entry(), instance.manifest()))),
        queues: queues.clone(),
        tasks: tasks.clone(),
    });
    let released = {
        let (queues, accepted) = (queues.clone(), accepted.clone());
        move |released: Released| {
            for queue in released.instances.iter().filter_map(|instance| queues.get(instance)) {
                queue.notify_one();
            }
            if released.noticed {
                accepted.notify_one();
            }
        }
    };

    let udp: Option<Arc<Running>> = match udp {
        Some(server) => Some(Arc::new(server.start().context("the thread that receives UDP cannot be started")?)),
        None => None,
    };
    let context = rest::Context::new(rest::ContextParts {
        store: store.clone(),
        instances: instances.clone(),
        udp: udp.clone(),
        lookups,
        tasks,
        shared: shared.clone(),
        wake: {
            let queues = queues.clone();
            Box::new(move |instance| {
                if let Some(queue) = queues.get(instance) {
                    queue.notify_one();
                }
            })
        },
    });
    let rest_address = server.local_addr();
    let run_file = rest::RunFile::write(&config.store.path, rest_address, udp.as_ref().map(|udp| udp.local_addr()))
        .map_err(anyhow::Error::from)?;
    let server =
        server.with_routes(Arc::new(context), &run_file).map_err(|error| Failure::Config(error.to_string()))?;

    // From here on things happen.
    let (stop_input, input_stopping) = watch::channel(false);
    let (stop_work, work_stopping) = watch::channel(false);
    let (refused, mut refusals) = mpsc::unbounded_channel::<(String, String)>();
    let mut work: JoinSet<()> = JoinSet::new();
    let mut supervisors: JoinSet<()> = JoinSet::new();
    let grace = config.shutdown_timeout.duration() / 2;
    for instance in &instances {
        let refused = refused.clone();
        supervisors.spawn(instance.clone().supervise(work_stopping.clone(), move |name, message| {
            let _ = refused.send((name.to_owned(), message.to_owned()));
        }));
        let wake = queues[instance.name()].clone();
        let queue = Queue::new(instance.clone(), store.clone(), wake, grace, released.clone());
        work.spawn(queue.run(work_stopping.clone()));
    }
    let enriching = tokio::spawn(enricher.run(work_stopping.clone()));
    work.spawn(upkeep::run(store.clone(), config.clone(), released, work_stopping.clone()));
    let accepting = udp.clone().map(|udp| tokio::spawn(accept_datagrams(udp, store.clone(), accepted.clone())));
    let serving = tokio::spawn(server.run(input_stopping));
    let tell = async |kind: &str, data: serde_json::Value| {
        let now = now_ms();
        let data: Data = serde_json::from_value(data).unwrap_or_default();
        let event = NewEvent {
            kind: kind.to_owned(),
            time: now,
            received: now,
            source: "butler".to_owned(),
            keys: Vec::new(),
            data,
        };
        match store.accept(vec![event]).await {
            Ok(_) => accepted.notify_one(),
            Err(error) => tracing::error!(kind, %error, "an event of Butler itself cannot be stored"),
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    tell(kind::BUTLER_STARTED, json!({ "version": version, "message": format!("Butler {version} has started") })).await;
    if let Some(udp) = &udp {
        let message = format!("receives events at {}", udp.local_addr());
        tell(kind::UDP_LISTENING, json!({ "address": udp.local_addr().to_string(), "message": message })).await;
    }
    announce(&config, &instances, rest_address, udp.as_deref(), started);

    let result = tokio::select! {
        signal = signals.received() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Some((instance, message)) = refusals.recv() => {
            Err(Failure::Config(format!("the instance `{instance}` refuses its settings: {message}")))
        }
    };

    let deadline = Instant::now() + config.shutdown_timeout.duration();
    let stop = async {
        tell(kind::BUTLER_STOPPING, json!({ "message": "Butler is stopping" })).await;
        stop_input.send_replace(true);
        if let Some(udp) = &udp {
            udp.stop();
        }
        if let Some(accepting) = accepting {
            let _ = accepting.await;
        }
        if result.is_ok() {
            drain(&store, DRAIN.min(config.shutdown_timeout.duration() / 4)).await;
        }
        stop_work.send_replace(true);
        let _ = enriching.await;
        while work.join_next().await.is_some() {}
        while supervisors.join_next().await.is_some() {}
        // Less than there is, so that it can be said who did not stop.
        let rest = deadline.saturating_duration_since(Instant::now()).mul_f32(0.8).max(Duration::from_millis(200));
        let mut stopping = JoinSet::new();
        for instance in instances {
            stopping.spawn(async move { (instance.stop(rest).await, instance.name().to_owned()) });
        }
        let mut clean = true;
        while let Some(stopped) = stopping.join_next().await {
            if let Ok((false, name)) = stopped {
                tracing::error!(instance = name, "did not stop in time and is abandoned");
                clean = false;
            }
        }
        let _ = serving.await;
        clean
    };
    let clean = tokio::time::timeout_at(deadline, stop).await.unwrap_or_else(|_| {
        tracing::error!(
            "not everything ended within `shutdownTimeout` ({}); what was in flight stays in the store",
            config.shutdown_timeout
        );
        false
    });
    // In trouble the store does not wait for its disk.
    let _ = tokio::time::timeout(Duration::from_secs(2), store.close()).await;
    drop(run_file);
    tracing::info!("stopped");
    if !clean {
        if let Err(failure) = &result {
            eprintln!("{failure}");
        }
        exit_without_destructors(result.err().map_or(0, |failure| failure.exit_code()));
    }
    result
}

/// The look-ups at Qlik Sense that the config asks for.
fn qlik(config: &Config) -> Result<Option<Arc<Lookups>>, Failure> {
    let Some(qlik) = &config.qlik else { return Ok(None) };
    let repository = Repository::new(qlik).map_err(anyhow::Error::from)?;
    Ok(Some(Arc::new(Lookups::new(Arc::new(repository), &config.script_log))))
}

/// What an instance is told when it is made.
pub fn document(loaded: &Loaded, entry: &PluginEntry) -> InstanceDocument {
    InstanceDocument {
        name: entry.instance().to_owned(),
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        links: loaded.config.links.clone(),
        config_dir: loaded.base_dir.to_string_lossy().into_owned(),
        log_level: entry.log_level.unwrap_or(loaded.config.log.level).number(),
    }
}

fn announce(
    config: &Config,
    instances: &[Arc<Instance>],
    rest: std::net::SocketAddr,
    udp: Option<&Running>,
    started: Instant,
) {
    let names: Vec<&str> = instances.iter().map(|instance| instance.name()).collect();
    let udp = udp.map_or_else(|| "off (no `udp:` in the config)".to_owned(), |udp| udp.local_addr().to_string());
    let qlik = config.qlik.as_ref().map_or("off (no `qlik:` in the config)", |qlik| qlik.host.as_str());
    let ready_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(udp, rest = %format!("http://{rest}"), qlik, instances = names.join(" "), ready_ms,
        "Butler {} is ready", env!("CARGO_PKG_VERSION"));
}

/// Waits until accepted events are routed and due deliveries have been handed out, or the time is over.
async fn drain(store: &Store, limit: Duration) {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        let waiting = store.accepted_count().await.unwrap_or(0) + store.due_count().await.unwrap_or(0);
        if waiting == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The signals that ask for a stop; heard from the moment that they are listened to.
struct StopSignals {
    #[cfg(unix)]
    streams: Option<[tokio::signal::unix::Signal; 2]>,
}

impl StopSignals {
    #[cfg(unix)]
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Without handlers the system ends the process on a signal; the store survives that.
        let streams = signal(SignalKind::terminate()).and_then(|one| Ok([one, signal(SignalKind::interrupt())?])).ok();
        Self { streams }
    }

    #[cfg(unix)]
    async fn received(self) -> &'static str {
        let Some([mut terminate, mut interrupt]) = self.streams else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn received(self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}
