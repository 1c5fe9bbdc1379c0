//! Makes all parts, without letting anything happen yet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use butler_plugin_api::Instance as InstanceDocument;
use tokio::sync::Notify;

use super::{Failure, Setup};
use crate::config::{Config, Loaded, PluginEntry};
use crate::ingest::{self, UdpServer};
use crate::observe::TaskStates;
use crate::pipeline::{Enricher, EnricherParts, Router};
use crate::plugins::{HttpClients, Instance, PluginMetrics, Shared};
use crate::qlik::{Lookups, Repository};
use crate::rest;
use crate::store::{Released, Store};

/// All parts of a daemon. The sockets are bound; what arrives waits in them.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) store: Store,
    /// Told when an event was accepted.
    pub(super) accepted: Arc<Notify>,
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) queues: Queues,
    pub(super) enricher: Arc<Enricher>,
    pub(super) udp: Option<Arc<ingest::Running>>,
    pub(super) server: rest::Serving,
    pub(super) rest_address: SocketAddr,
    /// Removed when it is dropped.
    pub(super) run_file: rest::RunFile,
}

/// Wakes the queues, by instance.
#[derive(Clone)]
pub(super) struct Queues(Arc<HashMap<String, Arc<Notify>>>);

impl Queues {
    fn new(instances: &[Arc<Instance>]) -> Self {
        let named = instances.iter().map(|instance| (instance.name().to_owned(), Arc::new(Notify::new())));
        Self(Arc::new(named.collect()))
    }

    /// What the queue of an instance waits for.
    pub(super) fn of(&self, instance: &Instance) -> Arc<Notify> {
        // Each instance has one; another would never be told.
        self.0.get(instance.name()).cloned().unwrap_or_default()
    }

    pub(super) fn wake(&self, instance: &str) {
        if let Some(queue) = self.0.get(instance) {
            queue.notify_one();
        }
    }

    /// Wakes whom the store has set free.
    pub(super) fn released(&self, accepted: &Notify, released: &Released) {
        released.instances.iter().for_each(|instance| self.wake(instance));
        if released.noticed {
            accepted.notify_one();
        }
    }
}

impl Parts {
    /// Opens the store, binds the sockets, makes the instances.
    pub(super) async fn make(setup: Setup) -> Result<Self, Failure> {
        let Setup { loaded, libraries } = setup;
        let config = loaded.config.clone();
        let lookups = lookups(&config).map_err(anyhow::Error::from)?;
        let store = Store::open(&config.store.path).await.map_err(anyhow::Error::from)?;
        let udp = config.udp.as_ref().map(UdpServer::bind).transpose().map_err(anyhow::Error::from)?;
        let server = rest::Server::bind(&config.rest).map_err(anyhow::Error::from)?;

        let shared = shared(&loaded, store.clone(), lookups.clone());
        let instances: Vec<Arc<Instance>> = config
            .plugins
            .iter()
            .filter_map(|entry| {
                // Validation has refused entries whose plugin was not opened.
                let library = libraries.get(&entry.plugin)?.clone();
                Some(Instance::new(instance_document(&loaded, entry), entry.clone(), library, shared.clone()))
            })
            .collect();
        park(&store, &instances).await?;
        let queues = Queues::new(&instances);
        let tasks = Arc::new(TaskStates::default());
        let enricher = Enricher::new(EnricherParts {
            store: store.clone(),
            accepted: shared.accepted.clone(),
            lookups: lookups.clone(),
            enrich: config.enrich.clone(),
            script_log: config.script_log.clone(),
            wants_script_log: instances.iter().any(|instance| instance.manifest().script_log),
            router: Router::new(instances.iter().map(|instance| (instance.entry(), instance.manifest()))),
            wake: {
                let queues = queues.clone();
                Box::new(move |instance| queues.wake(instance))
            },
            tasks: tasks.clone(),
        });

        let udp = udp.map(UdpServer::start).transpose().context("the thread that receives UDP cannot be started")?;
        let udp = udp.map(Arc::new);
        let rest_address = server.local_addr();
        let udp_address = udp.as_ref().map(|udp| udp.local_addr());
        let run_file =
            rest::RunFile::write(&config.store.path, rest_address, udp_address).map_err(anyhow::Error::from)?;
        let context = rest::Context::new(rest::ContextParts {
            store: store.clone(),
            instances: instances.clone(),
            udp: udp.clone(),
            lookups,
            tasks,
            shared: shared.clone(),
            wake: {
                let queues = queues.clone();
                Box::new(move |instance| queues.wake(instance))
            },
        });
        let server =
            server.with_routes(Arc::new(context), &run_file).map_err(|error| Failure::Config(error.to_string()))?;
        let accepted = shared.accepted.clone();
        Ok(Self { config, store, accepted, instances, queues, enricher, udp, server, rest_address, run_file })
    }
}

/// The look-ups at Qlik Sense that the config asks for.
pub fn lookups(config: &Config) -> Result<Option<Arc<Lookups>>, crate::qlik::QlikError> {
    let Some(qlik) = &config.qlik else { return Ok(None) };
    let repository = Arc::new(Repository::new(qlik)?);
    Ok(Some(Arc::new(Lookups::new(repository, &config.script_log))))
}

/// What all instances share. Belongs to the runtime that it is made in.
pub fn shared(loaded: &Loaded, store: Store, qlik: Option<Arc<Lookups>>) -> Arc<Shared> {
    Arc::new(Shared {
        runtime: tokio::runtime::Handle::current(),
        store,
        accepted: Arc::new(Notify::new()),
        http: HttpClients::new(loaded.config.tls.clone()),
        qlik,
        metrics: PluginMetrics::default(),
        secrets: Arc::new(loaded.secrets.clone()),
    })
}

/// What an instance is told when it is made.
pub fn instance_document(loaded: &Loaded, entry: &PluginEntry) -> InstanceDocument {
    InstanceDocument {
        name: entry.instance().to_owned(),
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        links: loaded.config.links.clone(),
        config_dir: loaded.base_dir.to_string_lossy().into_owned(),
        log_level: entry.log_level.unwrap_or(loaded.config.log.level).number(),
    }
}

/// Sets deliveries of instances apart that are not in the config any more.
async fn park(store: &Store, instances: &[Arc<Instance>]) -> Result<(), Failure> {
    let names = instances.iter().map(|instance| instance.name().to_owned()).collect();
    let parked = store.park(names).await.map_err(anyhow::Error::from)?;
    if parked > 0 {
        tracing::warn!(deliveries = parked, "deliveries of instances that are not in the config any more are parked");
    }
    Ok(())
}
