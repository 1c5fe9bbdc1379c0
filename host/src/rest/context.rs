//! What the handlers work with.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::config::Secrets;
use crate::ingest;
use crate::observe::TaskStates;
use crate::plugins::{Instance, Shared};
use crate::qlik::Lookups;
use crate::store::{Store, now_ms};

/// Wakes the queue of the instance with this name.
pub type Wake = Box<dyn Fn(&str) + Send + Sync>;

/// What a [`Context`] is made of.
pub struct ContextParts {
    /// Events and deliveries.
    pub store: Store,
    /// All instances of the config, whether they run or not.
    pub instances: Vec<Arc<Instance>>,
    /// The UDP socket, if the config has one.
    pub udp: Option<Arc<ingest::Running>>,
    /// Qlik Sense, if the config has it.
    pub lookups: Option<Arc<Lookups>>,
    /// Last known states of tasks.
    pub tasks: Arc<TaskStates>,
    /// Metrics of plugins, and what must not leave the process.
    pub shared: Arc<Shared>,
    /// Called when a delivery became pending again.
    pub wake: Wake,
}

/// What the handlers work with. Shared by all requests.
pub struct Context {
    pub(super) store: Store,
    pub(super) instances: Vec<Arc<Instance>>,
    /// Their names.
    pub(super) names: BTreeSet<String>,
    pub(super) udp: Option<Arc<ingest::Running>>,
    pub(super) lookups: Option<Arc<Lookups>>,
    pub(super) tasks: Arc<TaskStates>,
    pub(super) shared: Arc<Shared>,
    pub(super) wake: Wake,
    /// When it was made: for the uptime. Milliseconds since 1970.
    pub(super) started_ms: i64,
    /// Version of Butler.
    pub(super) version: &'static str,
}

impl Context {
    /// A context; Butler counts as started now.
    pub fn new(parts: ContextParts) -> Self {
        let ContextParts { store, instances, udp, lookups, tasks, shared, wake } = parts;
        let names = instances.iter().map(|instance| instance.name().to_owned()).collect();
        let (started_ms, version) = (now_ms(), env!("CARGO_PKG_VERSION"));
        Self { store, instances, names, udp, lookups, tasks, shared, wake, started_ms, version }
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.shared.secrets
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("instances", &self.instances).finish_non_exhaustive()
    }
}
