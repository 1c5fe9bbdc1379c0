//! What the handlers work with.

use std::fmt;
use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Notify;

use super::answer::Failure;
use super::server::{Connections, Tls};
use crate::cloud::CloudEvents;
use crate::config::Secrets;
use crate::current::Current;
use crate::delivery::Queues;
use crate::ingest;
use crate::observe::{Roads, TaskStates};
use crate::pipeline::Router;
use crate::plugins::{Instance, PluginMetrics};
use crate::qlik::{Cloud, Engine, Lookups};
use crate::reconcile::CallBack;
use crate::schedule::Scheduler;
use crate::start_tasks::TaskStarter;
use crate::store::{Store, now_ms};

/// Reads the config anew; what became of it, as JSON, or what is wrong with the config.
pub type Reload = Box<dyn Fn() -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// What a [`Context`] is made of.
pub struct ContextParts {
    /// Events and deliveries.
    pub store: Store,
    /// Told when an event was accepted.
    pub accepted: Arc<Notify>,
    /// Routes.
    pub router: Arc<Current<Router>>,
    /// All instances of the config, whether they run or not.
    pub instances: Arc<Current<Vec<Arc<Instance>>>>,
    /// The UDP socket, if the config has one.
    pub udp: Option<Arc<ingest::Running>>,
    /// Qlik Sense, if the config has it.
    pub lookups: Option<Arc<Lookups>>,
    /// Starts tasks, if the config has Qlik Sense.
    pub task_starter: Option<Arc<TaskStarter>>,
    /// Starts tasks by schedule, unless the config has it off.
    pub scheduler: Option<Arc<Scheduler>>,
    /// The tenants of Qlik Cloud that the config has.
    pub cloud: Arc<Cloud>,
    /// Takes events of Qlik Cloud.
    pub cloud_events: Arc<CloudEvents>,
    /// The engine of Qlik Sense, if the config has it.
    pub engine: Option<Arc<Engine>>,
    /// Last known states of tasks.
    pub tasks: Arc<TaskStates>,
    /// When Sense nodes were heard of.
    pub roads: Arc<Roads>,
    /// Where Qlik Sense tells what has ended, if the config lets it.
    pub call_back: Option<Arc<CallBack>>,
    /// Failed reloads outside the scheduler that `appReload` leaves untold.
    pub untold: Arc<ingest::Counter>,
    /// Metrics of plugins.
    pub metrics: Arc<PluginMetrics>,
    /// What must not leave the process.
    pub secrets: Arc<Current<Secrets>>,
    /// Told when a delivery became pending again.
    pub queues: Queues,
    /// Certificate of the REST server, if it has one.
    pub tls: Option<Arc<Tls>>,
    /// Called when somebody asks for it.
    pub reload: Reload,
}

/// What the handlers work with. Shared by all requests.
pub struct Context {
    pub(super) store: Store,
    pub(super) accepted: Arc<Notify>,
    pub(super) router: Arc<Current<Router>>,
    instances: Arc<Current<Vec<Arc<Instance>>>>,
    pub(super) udp: Option<Arc<ingest::Running>>,
    pub(super) lookups: Option<Arc<Lookups>>,
    pub(super) task_starter: Option<Arc<TaskStarter>>,
    scheduler: Option<Arc<Scheduler>>,
    pub(super) cloud: Arc<Cloud>,
    pub(super) cloud_events: Arc<CloudEvents>,
    pub(super) engine: Option<Arc<Engine>>,
    pub(super) tasks: Arc<TaskStates>,
    pub(super) roads: Arc<Roads>,
    pub(super) call_back: Option<Arc<CallBack>>,
    pub(super) untold: Arc<ingest::Counter>,
    pub(super) metrics: Arc<PluginMetrics>,
    secrets: Arc<Current<Secrets>>,
    pub(super) queues: Queues,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) reload: Reload,
    /// Connections of the REST server.
    pub(super) connections: Arc<Connections>,
    /// When it was made: for the uptime. Milliseconds since 1970.
    pub(super) started_ms: i64,
    /// Version of Butler.
    pub(super) version: &'static str,
}

impl Context {
    /// A context; Butler counts as started now.
    pub fn new(parts: ContextParts) -> Self {
        let ContextParts {
            store,
            accepted,
            router,
            instances,
            udp,
            lookups,
            task_starter,
            scheduler,
            cloud,
            cloud_events,
            engine,
            tasks,
            roads,
            call_back,
            untold,
            metrics,
            secrets,
            queues,
            tls,
            reload,
        } = parts;
        let (started_ms, version) = (now_ms(), env!("CARGO_PKG_VERSION"));
        Self {
            store,
            accepted,
            router,
            instances,
            udp,
            lookups,
            task_starter,
            scheduler,
            cloud,
            cloud_events,
            engine,
            tasks,
            roads,
            call_back,
            untold,
            metrics,
            secrets,
            queues,
            tls,
            reload,
            connections: Arc::default(),
            started_ms,
            version,
        }
    }

    pub(super) fn instances(&self) -> Arc<Vec<Arc<Instance>>> {
        self.instances.get()
    }

    /// The scheduler, or the answer that it is off.
    pub(super) fn scheduler(&self) -> Result<&Arc<Scheduler>, Failure> {
        let off = "the scheduler is off: set `scheduler.enabled` in the config, and restart Butler";
        self.scheduler.as_ref().ok_or_else(|| Failure::new(StatusCode::SERVICE_UNAVAILABLE, off))
    }

    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.secrets.get()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("instances", &self.instances).finish_non_exhaustive()
    }
}
