//! Sends events, logs and metrics to New Relic.
//!
//! [`settings`], checked as [`relic`], has rules that say which kinds go to which API, and [`accounts`] to which accounts. [`facts`] makes
//! [`attributes`] of an event; [`event`], [`log`] and [`metric`] make the bodies of requests within New Relic's limits. [`api`]
//! sends one, and [`deliver`] all of a delivery, each account for itself, so that what has arrived is not repeated.
//! [`endpoint`] is what load scripts send by; [`operations`] what `butler check` and `butler render` ask.

mod accounts;
mod api;
mod attributes;
mod deliver;
mod endpoint;
mod event;
mod facts;
mod import;
mod log;
mod metric;
mod operations;
mod relic;
mod settings;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use butler_plugin_api::{
    Delivery, DeliveryError, Host, Manifest, OperationError, Plugin, Request, Response, StartError,
};
use serde_json::Value;

use relic::Relic;
use settings::Settings;

/// How many unknown names of accounts are remembered, so that each is told once.
const MOST_UNKNOWN: usize = 1000;

struct NewRelic {
    relic: Relic,
    host: Host,
    /// Names of accounts that tasks have, and the settings do not.
    unknown: Mutex<BTreeSet<String>>,
}

impl Plugin for NewRelic {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let manifest = Manifest::new("new-relic", "Sends events, logs and metrics to New Relic")
            .default_events(Manifest::ALERTS)
            .concurrency(8)
            .script_log()
            .operation("check")
            .operation("render")
            .operation("import");
        endpoint::endpoints().into_iter().fold(manifest, Manifest::endpoint)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let relic = Relic::try_from(settings).map_err(StartError::Config)?;
        Ok(Self { relic, host, unknown: Mutex::default() })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        self.send(delivery).await
    }

    async fn call(&self, request: Request) -> Response {
        match request.route.as_str() {
            endpoint::EVENT => self.post_event(&request).await,
            endpoint::METRIC => self.post_metric(&request).await,
            _ => Response::error(404, "the plugin new-relic does not serve this path"),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => self.render(input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }
}

butler_plugin_api::export!(NewRelic);

impl NewRelic {
    /// Tells of a name that a custom property has, once.
    fn note_unknown(&self, name: String) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() < MOST_UNKNOWN && !unknown.contains(&name) {
            tracing::warn!(
                "a custom property names the account `{name}`, which is none of `accounts`: add or correct it"
            );
            unknown.insert(name);
        }
    }
}

/// What New Relic drops, as the end-to-end tests have it.
#[cfg(test)]
#[path = "../../../tests/e2e/src/new_relic/rules.rs"]
mod rules;
#[cfg(test)]
mod tests;
