//! The host's own endpoints: what each is called by, and what it declares. Their handlers are in `v4`, `v5` and `metrics`.

use butler_plugin_api::{Endpoint, Scope};

use super::{v4, v5};

/// An endpoint of the host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Ping,
    StartTasks,
    Live,
    Ready,
    Plugins,
    Nodes,
    QlikNotification,
    QlikCloudEvents,
    Events,
    Event,
    Deliveries,
    Delivery,
    Retry,
    Move,
    PostMessage,
    Reload,
    Metrics,
    ListApps,
    DumpApp,
    ReloadApp,
    AppReloads,
    V4Schedules(v4::Schedules),
    Schedules(v5::Schedules),
}

/// What is declared of an endpoint, as a plugin does in its manifest.
pub(super) struct Declared {
    pub(super) endpoint: Endpoint,
    /// For everybody, whatever the scope says.
    pub(super) open: bool,
    pub(super) own: Own,
}

impl Declared {
    pub(super) fn new(endpoint: Endpoint, own: Own) -> Self {
        Self { endpoint, open: false, own }
    }

    /// For everybody: it needs no scope.
    pub(super) fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

/// All of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let mut all = v4::endpoints();
    all.extend(v5::endpoints());
    let metrics = Endpoint::new("GET", "/metrics", Scope::Read, "Metrics in the text format of Prometheus");
    all.push(Declared::new(metrics, Own::Metrics));
    all
}
