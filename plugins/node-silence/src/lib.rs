//! Tells when a Sense node is not heard of any more by UDP, though it should be: its log appender is missing or broken, or what
//! it sends does not arrive.
//!
//! * `watch`: a look at all nodes, and the event.
//! * `site`: what Qlik Sense tells of nodes and executions.
//! * `silence`: that of one node; `hours`: which time counts; `memory`: what is kept over restarts.

mod hours;
mod memory;
mod settings;
mod silence;
mod site;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;

use std::sync::{Mutex, PoisonError};

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, ServiceError, StartError, kind};
use jiff::Timestamp;
use serde_json::{Value, json};

use settings::Settings;
use trouble::Trouble;
use watch::Watch;

struct NodeSilence {
    watch: Watch,
    /// Why the last look did not tell what it should.
    trouble: Mutex<Option<Trouble>>,
}

impl Plugin for NodeSilence {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("node-silence", "Tells when a Sense node is not heard of any more")
            .emits(&[kind::NODE_SILENT])
            .operation("check")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let (limits, hours) = settings.check().map_err(StartError::Config)?;
        host.schedule().check(&settings.when).await.map_err(|error| match error {
            ServiceError::Invalid(text) => StartError::Config(format!("`when`: {text}")),
            error => StartError::Unavailable(error.to_string()),
        })?;
        let late = settings.late();
        Ok(Self { watch: Watch { host, settings, limits, hours, late }, trouble: Mutex::default() })
    }

    async fn run(&self) {
        let host = &self.watch.host;
        while let Ok(tick) = host.schedule().next("look", &self.watch.settings.when).await {
            let now = Timestamp::now();
            self.look(now, tick.planned.parse().unwrap_or(now)).await;
        }
    }

    async fn invoke(&self, operation: &str, _input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => {
                let found = self.watch.check(Timestamp::now()).await;
                found.map(|line| json!(line)).map_err(|trouble| OperationError::Failed(trouble.to_string()))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Health::Good,
            Some(trouble) if trouble.is_for_good() => Health::Bad(trouble.to_string()),
            Some(trouble) => Health::Degraded(trouble.to_string()),
        }
    }
}

impl NodeSilence {
    /// Looks once, as was planned for some time. The same trouble is said once.
    async fn look(&self, now: Timestamp, planned: Timestamp) {
        let trouble = match self.watch.look(now, planned).await {
            Ok(()) => None,
            Err(Trouble::Stopped) => return,
            Err(trouble) => Some(trouble),
        };
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &trouble) {
            (Some(before), Some(now)) if before.is_like(now) => return,
            (_, Some(now)) => tracing::warn!("{now}"),
            (Some(_), None) => tracing::info!("silent nodes are looked for again"),
            (None, None) => {}
        }
        *last = trouble;
    }
}

butler_plugin_api::export!(NodeSilence);
