//! One instance by itself, without the daemon: for commands that try it out.
//!
//! Its store is its own and is thrown away, so a running daemon is not disturbed, and whatever was told before does not
//! count. Nothing is written to Qlik Sense. What a plugin does beside deliveries ([`Plugin::run`](butler_plugin_api::Plugin::run))
//! is not begun, as in `butler check`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use butler_plugin_api::{Data, Delivery, Event, Execution, Outcome, Task, kind};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

use super::Setup;
use super::parts::{instance_document, shared};
use crate::config::{Config, PluginEntry, Span};
use crate::current::Current;
use crate::delivery::Queues;
use crate::pipeline::{Enricher, EnricherParts, Router, Ruling};
use crate::plugins::Instance;
use crate::qlik::{Cloud, Lookups, is_guid};
use crate::store::{NewEvent, Store, now_ms, rfc3339};

/// Qlik Sense has just answered, and somebody waits: what it cannot tell within this time is missing.
const PATIENCE: Span = Span::seconds(2);
/// Each look-up has a limit of its own that is shorter.
const LONGEST: Duration = Duration::from_mins(1);
/// So often it is looked whether an event has been routed.
const LOOK: Duration = Duration::from_millis(20);
/// A plugin gets so long for its stop.
const STOP: Duration = Duration::from_secs(5);

/// A running instance.
pub struct Alone {
    instance: Arc<Instance>,
    config: Config,
    lookups: Option<Arc<Lookups>>,
    store: Store,
    /// Removed with everything in it when this is dropped.
    _folder: TempDir,
}

/// What became of an event on its way to the instance.
pub struct Routed {
    /// The event with the facts that were found.
    pub event: Event,
    /// What each rule of the instance says to it, in their order.
    pub rulings: Vec<Ruling>,
    /// What is to be delivered, if a rule takes it.
    pub delivery: Option<Delivery>,
}

impl Alone {
    /// Starts the instance of this name. Without `lookups` it has no Qlik Sense.
    pub async fn start(setup: &Setup, name: &str, lookups: Option<Arc<Lookups>>) -> anyhow::Result<Self> {
        let config = &setup.loaded.config;
        let found = config.plugins.iter().find(|entry| entry.instance() == name);
        let Some((entry, opened)) = found.and_then(|entry| Some((entry, setup.libraries.get(&entry.plugin)?))) else {
            let names: Vec<&str> = config.plugins.iter().map(PluginEntry::instance).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!("there is no instance `{name}` in {}; it has {names}", setup.loaded.path.display());
        };
        let folder = tempfile::Builder::new().prefix("butler-").tempdir().context("there is no room for a store")?;
        let store = Store::open(&folder.path().join("alone.db")).await?;
        let shared = Arc::new(shared(&setup.loaded, store.clone(), lookups.clone()));
        let document = instance_document(&setup.loaded, entry);
        let instance = Instance::new(document, entry.clone(), opened.library.clone(), shared);
        let alone = Self { instance, config: config.clone(), lookups, store, _folder: folder };
        match alone.instance.start().await {
            Ok(()) => Ok(alone),
            Err(error) => {
                alone.stop().await;
                // Kept as it is, since some callers want to know whether it is about the settings.
                Err(anyhow::Error::new(error).context(format!("the instance `{name}` does not start")))
            }
        }
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Has a task of Qlik Sense told as failed, as a test: with the facts of its last execution, by the rules of the instance.
    pub async fn route_task(&self, id: &str) -> anyhow::Result<Routed> {
        let lookups = self.lookups.as_ref().context("the config has no `qlik:`, so no task can be looked up")?;
        if !is_guid(id) {
            bail!("`{id}` is no id of a task: copy it from the QMC (column ID of the tasks)");
        }
        let server = lookups.repository().server();
        let facts = lookups.task_as_it_is(id).await?;
        let facts = facts.with_context(|| {
            let user = self.config.qlik.as_ref().map(|qlik| qlik.user.as_str()).unwrap_or_default();
            format!("{server} has no task {id}, or {user} may not read it")
        })?;
        let execution = facts.last.as_ref().and_then(|last| last.execution.result_id.clone());
        let data = Data {
            task: Some(Task { id: id.to_owned(), ..Task::default() }),
            execution: execution.map(|id| Execution { result_id: Some(id), ..Execution::default() }),
            ..Data::default()
        };
        let now = now_ms();
        let (kind, source) = (kind::RELOAD_TASK_FAILED.to_owned(), Event::TEST.to_owned());
        let event = NewEvent { kind, time: now, received: now, source, keys: Vec::new(), data };
        let accepted = self.store.accept(vec![event]).await?;
        let seq = accepted.first().map(|one| one.seq()).context("the event was not stored")?;
        self.routed(seq).await
    }

    /// Lets the daemon's own enricher find out the facts of an event and route it.
    async fn routed(&self, seq: i64) -> anyhow::Result<Routed> {
        let mut config = self.config.clone();
        config.enrich.give_up_after = PATIENCE;
        let router = Arc::new(Current::new(Router::new([(self.instance.entry(), self.instance.manifest())])));
        let enricher = Enricher::new(EnricherParts {
            store: self.store.clone(),
            accepted: Arc::new(Notify::new()),
            lookups: self.lookups.clone(),
            cloud: Cloud::new(&config)?,
            config: Arc::new(Current::new(config)),
            router: router.clone(),
            // Without a queue the delivery waits in the store.
            queues: Queues::default(),
            tasks: Arc::default(),
            untold: Arc::default(),
        });
        let (stop, stopping) = watch::channel(false);
        let work = tokio::spawn(enricher.run(stopping));
        let waiting = async {
            loop {
                match self.store.event(seq).await? {
                    Some(row) if row.state == "routed" => return anyhow::Ok(row.event),
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        let event = tokio::time::timeout(LONGEST, waiting).await;
        stop.send_replace(true);
        work.await?;
        let event = event.map_err(|_| anyhow!("the facts were not found out within {} s", LONGEST.as_secs()))??;
        let rulings = router.get().explain(&event).into_iter().next().unwrap_or_default();
        let claimed = self.store.claim(self.instance.name(), 1, false, 60_000).await?;
        let delivery = claimed.into_iter().next().map(|claimed| Delivery {
            delivery_id: self.store.delivery_id(claimed.id),
            attempt: claimed.attempt,
            first_attempt_at: rfc3339(now_ms()),
            event: claimed.event,
            ..Delivery::default()
        });
        Ok(Routed { event, rulings, delivery })
    }

    /// Hands a delivery over, once.
    pub async fn deliver(&self, delivery: Delivery) -> anyhow::Result<Outcome> {
        self.instance.deliver(vec![delivery]).await.pop().context("the plugin gave no outcome")
    }

    /// Ends it.
    pub async fn stop(self) {
        self.instance.stop(STOP).await;
        self.store.close().await;
    }
}
