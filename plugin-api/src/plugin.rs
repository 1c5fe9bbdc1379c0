//! The trait that a plugin implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::{Delivery, DeliveryError};
use crate::host::Host;
use crate::manifest::Manifest;
use crate::request::{Request, Response};

/// A plugin. One value of the type is one *instance*: an entry under `plugins:` of the host's config.
///
/// Methods are `async` and are polled by the host on one thread per instance, several at a time; write them as
/// `async fn` in the implementation. Only [`Plugin::manifest`] and [`Plugin::start`] have no default.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// The `settings:` of an entry. The derived JSON Schema is the documentation that people and editors see: give every
    /// field a doc comment. Unknown fields are refused by the host if the type has `#[serde(deny_unknown_fields)]`.
    type Settings: DeserializeOwned + JsonSchema + Send + 'static;

    /// Set it to `true` to have the plugin's futures polled inside a tokio runtime of the plugin's own
    /// ([`Host::runtime`]). A constant, since the feature alone may have been turned on for another crate of one build.
    #[cfg(feature = "runtime")]
    const RUNTIME: bool = false;

    /// What the plugin is and can do. Called on the host's thread before anything is started: do nothing else here.
    fn manifest() -> Manifest;

    /// Makes an instance: reads files, prepares, connects if need be. What goes on for longer belongs to [`Plugin::run`].
    fn start(settings: Self::Settings, host: Host) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// The instance's own work beside deliveries: a connection that is kept, a source that is listened to. Begins when
    /// [`Plugin::start`] has succeeded, in the daemon only: `butler check` starts instances too, and must not consume
    /// anything. May end at any time; is dropped after [`Plugin::stop`]. A panic restarts the instance.
    ///
    /// Should several hosts share a store one day, it runs on one of them at a time.
    fn run(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Brings one event to the destination.
    ///
    /// The future may be dropped at any await: when its deadline passes, and when the instance ends.
    fn deliver(&self, delivery: &Delivery) -> impl Future<Output = Result<(), DeliveryError>> + Send {
        let kind = delivery.event.kind.clone();
        async move { Err(DeliveryError::reject(format!("this plugin does not take events ({kind})"))) }
    }

    /// Brings several events to the destination, with one result each, in the same order.
    ///
    /// For a plugin whose manifest sets [`Manifest::batch`]; by default calls [`Plugin::deliver`] one after another. An
    /// implementation of your own that emits events names their keys itself ([`Host::emit_once`]): only the default knows
    /// which delivery an event comes from.
    fn deliver_batch(&self, deliveries: &[Delivery]) -> impl Future<Output = Vec<Result<(), DeliveryError>>> + Send {
        async move {
            let mut results = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                let result = crate::abi::plugin::in_delivery(delivery, self.deliver(delivery)).await;
                results.push(result.unwrap_or_else(|panic| Err(DeliveryError::Panicked(panic))));
            }
            results
        }
    }

    /// Answers a request to one of the endpoints of the manifest.
    fn call(&self, request: Request) -> impl Future<Output = Response> + Send {
        async move { Response::error(404, &format!("{} {} is not served", request.method, request.route)) }
    }

    /// Performs an operation of the manifest: `check` (probe the destination without an alert; answers a line for
    /// people as a JSON text) or `render` (what would be sent for the [`Delivery`] in `input`, by the template file
    /// `templateFile` if `input` has that beside the delivery's fields: a text, or an object with the parts by name;
    /// [`OperationError::Failed`] where the template does not work).
    fn invoke(&self, operation: &str, input: Value) -> impl Future<Output = Result<Value, OperationError>> + Send {
        let _ = input;
        let operation = operation.to_owned();
        async move { Err(OperationError::Unsupported(operation)) }
    }

    /// Converts sections of a config file of Butler 16 to instances of this plugin, for operation `import` (`butler
    /// migrate`). Needs no started instance. Input: `{"butler": …, "folders": […]}`, the whole old config. Output:
    /// `{"instances": […], "usedKeys": […], "remarks": […], "secrets": {…}}`. The module `import` (feature `import`) has
    /// types for both, and reads the old config.
    fn import(old: Value) -> Result<Value, OperationError> {
        let _ = old;
        Err(OperationError::Unsupported("import".to_owned()))
    }

    /// How the instance is. Called every half minute.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::Good }
    }

    /// Finishes cleanly; deliveries under way have ended before. What is left after the host's deadline is abandoned.
    fn stop(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Why an instance could not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", content = "message", rename_all = "camelCase")]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot work: the host refuses to start and shows this text. Say which setting, and what would be right.
    #[error("{0}")]
    Config(String),
    /// Something outside is not there now: the host starts anyway and keeps trying; deliveries wait in the store.
    #[error("{0}")]
    Unavailable(String),
    /// Made by the SDK from a panic; treated as `Unavailable`.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", content = "message", rename_all = "camelCase")]
#[non_exhaustive]
pub enum OperationError {
    /// The plugin has no such operation.
    #[error("no operation `{0}`")]
    Unsupported(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// Made by the SDK from a panic.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "message", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Health {
    /// All well.
    Good,
    /// It works in part, or has worked until now; the text says what is wrong.
    Degraded(String),
    /// It does not work.
    Bad(String),
}
