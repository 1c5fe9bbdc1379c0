//! Makes all parts, without letting anything happen yet.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use butler_plugin_api::Instance as InstanceDocument;
use tokio::sync::{Notify, mpsc};

use super::reload::{self, Asked};
use super::{Failure, Setup};
use crate::cloud::CloudEvents;
use crate::config::{Config, Loaded, PluginEntry, Rest, Secrets};
use crate::current::Current;
use crate::delivery::Queues;
use crate::http::HttpClients;
use crate::ingest::{self, UdpServer};
use crate::observe::{Roads, TaskStates};
use crate::pipeline::{Enricher, EnricherParts, Router};
use crate::plugins::{Instance, PluginMetrics, Shared};
use crate::qlik::{Cloud, Engine, Lookups, Repository};
use crate::reconcile::{Notifications, Reconciler, ReconcilerParts};
use crate::rest;
use crate::schedule::Scheduler;
use crate::start_tasks::TaskStarter;
use crate::store::{LockedStore, Released, Store, StoreError, now_ms};

/// Under this name the store keeps when nodes were heard of.
pub(super) const NODES: &str = "nodes";

/// All parts of a daemon. The sockets are bound; what arrives waits in them.
pub(super) struct Parts {
    pub(super) core: Core,
    pub(super) setup: Setup,
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) enricher: Arc<Enricher>,
    pub(super) reconciler: Option<Arc<Reconciler>>,
    pub(super) notifications: Option<Notifications>,
    pub(super) engine: Option<Arc<Engine>>,
    pub(super) scheduler: Option<Arc<Scheduler>>,
    pub(super) udp: Option<Arc<ingest::Running>>,
    pub(super) server: rest::Serving,
    pub(super) rest_address: SocketAddr,
    /// The REST server's certificate, if it has one.
    pub(super) tls: Option<Arc<rest::Tls>>,
    /// Removed when it is dropped.
    pub(super) run_file: Arc<rest::RunFile>,
    pub(super) reloads: mpsc::Receiver<Asked>,
}

/// What stays over a reload, with what a reload replaces.
#[derive(Clone)]
pub(super) struct Core {
    pub(super) store: Store,
    /// Told when an event was accepted.
    pub(super) accepted: Arc<Notify>,
    pub(super) queues: Queues,
    pub(super) config: Arc<Current<Config>>,
    router: Arc<Current<Router>>,
    pub(super) instances: Arc<Current<Vec<Arc<Instance>>>>,
    secrets: Arc<Current<Secrets>>,
    pub(super) lookups: Option<Arc<Lookups>>,
    task_starter: Option<Arc<TaskStarter>>,
    cloud_events: Arc<CloudEvents>,
    metrics: Arc<PluginMetrics>,
    pub(super) roads: Arc<Roads>,
    udp: Option<Arc<ingest::Running>>,
    started_ms: i64,
}

impl Core {
    async fn new(
        loaded: &Loaded,
        store: Store,
        lookups: Option<Arc<Lookups>>,
        udp: Option<Arc<ingest::Running>>,
    ) -> Result<Self, StoreError> {
        let cloud = loaded.config.qlik_cloud.as_ref();
        let roads = Arc::new(Roads::read(&store.kept(NODES).await?.unwrap_or_default()));
        let accepted: Arc<Notify> = Arc::default();
        let config = Arc::new(Current::new(loaded.config.clone()));
        let task_starter = lookups
            .as_ref()
            .map(|lookups| TaskStarter::new(lookups.clone(), store.clone(), accepted.clone(), config.clone()));
        Ok(Self {
            cloud_events: CloudEvents::new(cloud, store.clone(), accepted.clone()),
            store,
            roads,
            accepted,
            queues: Queues::default(),
            config,
            task_starter,
            router: Arc::default(),
            instances: Arc::default(),
            secrets: Arc::new(Current::new(loaded.secrets.clone())),
            lookups,
            metrics: Arc::default(),
            udp,
            started_ms: now_ms(),
        })
    }

    /// The instances of a config, not started.
    pub(super) fn instances<'a>(&self, setup: &'a Setup) -> impl Iterator<Item = (&'a PluginEntry, Arc<Instance>)> {
        let shared = Arc::new(Shared {
            accepted: self.accepted.clone(),
            metrics: self.metrics.clone(),
            task_starter: self.task_starter.clone(),
            only_looks: false,
            cloud_events: self.cloud_events.clone(),
            config: self.config.clone(),
            started_ms: self.started_ms,
            udp: self.udp.clone(),
            roads: self.roads.clone(),
            ..shared(&setup.loaded, self.store.clone(), self.lookups.clone())
        });
        setup.loaded.config.plugins.iter().filter_map(move |entry| {
            // Validation has refused entries whose plugin was not opened.
            let library = setup.libraries.get(&entry.plugin)?.library.clone();
            let document = instance_document(&setup.loaded, entry);
            Some((entry, Instance::new(document, entry.clone(), library, shared.clone())))
        })
    }

    /// From here on this config and these instances count.
    pub(super) fn turn_to(&self, loaded: &Loaded, instances: &[Arc<Instance>]) {
        self.config.set(loaded.config.clone());
        self.secrets.set(loaded.secrets.clone());
        let entries = instances.iter().map(|instance| (instance.entry(), instance.manifest()));
        self.router.set(Router::new(entries));
        self.instances.set(instances.to_vec());
    }

    /// Wakes whom the store has set free.
    pub(super) fn released(&self, released: &Released) {
        released.instances.iter().for_each(|instance| self.queues.wake(instance));
        if released.noticed {
            self.accepted.notify_one();
        }
    }

    /// Sets deliveries of instances apart that are not in the config any more.
    pub(super) async fn park(&self) -> anyhow::Result<()> {
        let parked = self.store.park(self.queues.names()).await?;
        if parked > 0 {
            tracing::warn!(
                deliveries = parked,
                "deliveries of instances that are not in the config any more are parked; `butler deliveries move` gives \
                 them to another"
            );
        }
        Ok(())
    }
}

impl Parts {
    /// Locks the store, binds the sockets, opens the store, makes the instances. In this order: all that can refuse a start comes
    /// before the store is brought to the present version, and that another Butler has the store tells more than that it
    /// has a port. Meanwhile datagrams are received, and the system keeps who calls the REST server.
    pub(super) async fn make(setup: Setup) -> Result<Self, Failure> {
        let config = &setup.loaded.config;
        let lookups = lookups(config).map_err(anyhow::Error::from)?;
        let cloud = Cloud::new(config).map_err(anyhow::Error::from)?;
        let store = LockedStore::take(&config.store.path).await.map_err(anyhow::Error::from)?;
        let udp = config.udp.as_ref().map(UdpServer::bind).transpose().map_err(anyhow::Error::from)?;
        let server = rest::Server::bind(&rest_of(config)).map_err(|error| match error {
            rest::BindError::Certificate(_) => Failure::Config(error.to_string()),
            rest::BindError::Address { .. } => Failure::Other(error.into()),
        })?;

        let udp = udp.map(UdpServer::start).transpose().context("the thread that receives UDP cannot be started")?;
        let udp = udp.map(Arc::new);
        let meanwhile = Meanwhile(udp.clone());
        let store = store.open().await.map_err(anyhow::Error::from)?;
        let core = Core::new(&setup.loaded, store.clone(), lookups.clone(), udp.clone()).await;
        let core = core.map_err(anyhow::Error::from)?;
        let instances: Vec<Arc<Instance>> = core.instances(&setup).map(|(_, instance)| instance).collect();
        for instance in &instances {
            core.queues.add(instance.name());
        }
        core.park().await?;
        core.turn_to(&setup.loaded, &instances);
        let (tasks, untold) = (Arc::new(TaskStates::default()), Arc::new(ingest::Counter::default()));
        let enricher = Enricher::new(EnricherParts {
            store: store.clone(),
            accepted: core.accepted.clone(),
            lookups: lookups.clone(),
            cloud: cloud.clone(),
            config: core.config.clone(),
            router: core.router.clone(),
            queues: core.queues.clone(),
            tasks: tasks.clone(),
            untold: untold.clone(),
        });
        let reconciler = lookups.clone().map(|lookups| {
            Reconciler::new(ReconcilerParts {
                lookups,
                store: store.clone(),
                accepted: core.accepted.clone(),
                config: core.config.clone(),
                roads: core.roads.clone(),
            })
        });

        let notifications = config.qlik.as_ref().and_then(|qlik| qlik.notifications.as_ref()).zip(reconciler.clone());
        let (notifications, call_back) = notifications
            .map(|(settings, reconciler)| Notifications::new(reconciler, &settings.callback, config.udp.is_some()))
            .transpose()
            .context("the system gives no random numbers")?
            .unzip();
        let (rest_address, tls) = (server.local_addr(), server.tls());
        let addresses = [udp.as_ref().map(|udp| udp.local_addr()), udp.as_ref().and_then(|udp| udp.sessions_addr())];
        let scheduler = if config.scheduler.enabled {
            let opened = Scheduler::open(store.clone(), core.task_starter.clone(), core.accepted.clone()).await;
            Some(opened.map_err(anyhow::Error::from)?)
        } else {
            None
        };
        // Who finds it takes the start for done: nothing is waited for after it, and so no stop cuts it off.
        let run_file = server.write_run_file(&config.store.path, addresses).map_err(anyhow::Error::from)?;
        let engine = config.qlik.as_ref().zip(core.task_starter.as_ref()).map(|(qlik, starter)| {
            let repository = starter.lookups().repository().clone();
            Arc::new(Engine::new(qlik, repository, core.secrets.clone(), starter.follow_up()))
        });
        let (reload, reloads) = reload::channel();
        let context = rest::Context::new(rest::ContextParts {
            store,
            accepted: core.accepted.clone(),
            router: core.router.clone(),
            cloud,
            cloud_events: core.cloud_events.clone(),
            instances: core.instances.clone(),
            udp: udp.clone(),
            lookups,
            task_starter: core.task_starter.clone(),
            scheduler: scheduler.clone(),
            engine: engine.clone(),
            tasks,
            roads: core.roads.clone(),
            call_back,
            untold,
            metrics: core.metrics.clone(),
            secrets: core.secrets.clone(),
            queues: core.queues.clone(),
            tls: tls.clone(),
            reload,
        });
        let server =
            server.with_routes(Arc::new(context), &run_file).map_err(|error| Failure::Config(error.to_string()))?;
        meanwhile.end();
        Ok(Self {
            core,
            setup,
            instances,
            enricher,
            reconciler,
            notifications,
            engine,
            scheduler,
            udp,
            server,
            rest_address,
            tls,
            run_file,
            reloads,
        })
    }
}

/// The time in which a start may still fail or be stopped. What comes by UDP then is in memory only, and lost with it; that is told.
struct Meanwhile(Option<Arc<ingest::Running>>);

impl Meanwhile {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        let messages = self.0.as_ref().map_or(0, |udp| udp.snapshot().buffered);
        if messages > 0 {
            tracing::warn!(
                messages,
                "what came by UDP during this start is not kept; failures that Qlik Sense still lists are found by the next \
                 one (`qlik.reconcile`)"
            );
        }
    }
}

/// The REST server's settings: it may be called by the name that Qlik Sense has for it.
fn rest_of(config: &Config) -> Rest {
    let mut rest = config.rest.clone();
    let callback = config.qlik.as_ref().and_then(|qlik| qlik.notifications.as_ref());
    let callback = callback.and_then(|settings| settings.callback.parse::<url::Url>().ok());
    rest.hosts.extend(callback.as_ref().and_then(url::Url::host_str).map(str::to_owned));
    rest
}

/// The look-ups at Qlik Sense that the config asks for.
pub fn lookups(config: &Config) -> Result<Option<Arc<Lookups>>, crate::qlik::QlikError> {
    let Some(qlik) = &config.qlik else { return Ok(None) };
    let repository = Arc::new(Repository::new(qlik)?);
    Ok(Some(Arc::new(Lookups::new(repository, &config.script_log, config.enrich.concurrency))))
}

/// What all instances share, for who only looks: nothing is written to Qlik Sense, and no task is started. Belongs to the
/// runtime that it is made in.
pub fn shared(loaded: &Loaded, store: Store, qlik: Option<Arc<Lookups>>) -> Shared {
    let accepted: Arc<Notify> = Arc::default();
    Shared {
        runtime: tokio::runtime::Handle::current(),
        cloud_events: CloudEvents::new(loaded.config.qlik_cloud.as_ref(), store.clone(), accepted.clone()),
        store,
        accepted,
        http: HttpClients::new(loaded.config.tls.clone()),
        started_ms: now_ms(),
        udp: None,
        roads: Arc::default(),
        qlik,
        task_starter: None,
        only_looks: true,
        config: Arc::new(Current::new(loaded.config.clone())),
        metrics: Arc::default(),
        secrets: Arc::new(loaded.secrets.clone()),
    }
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
