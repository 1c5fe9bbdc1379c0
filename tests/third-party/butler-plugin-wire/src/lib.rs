//! A destination that is reached by a TCP connection of the plugin's own, as a third party would write it.
//!
//! Lines of text, each way:
//!
//! | line | from | meaning |
//! | --- | --- | --- |
//! | `EVENT <delivery id> <event as JSON>` | plugin | take this |
//! | `ACK <delivery id>` | peer | I have it: `delivered` |
//! | `REFUSE <delivery id> <reason>` | peer | never: `reject` |
//! | `SAY <id> <text>` | peer | a message of the peer's own, which becomes an event `wire.said` |
//! | `HEARD <id>` | plugin | the event is stored |
//!
//! The connection lives on the plugin's own runtime; a delivery waits for its line there. When the connection breaks,
//! all that were not acknowledged are retried.

mod connection;

use butler_plugin_api::{Delivery, DeliveryError, Health, Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use connection::{Answer, Connection, Outgoing, State};

/// Settings of the wire.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Host and port of the peer.
    address: String,
}

struct Wire {
    deliveries: mpsc::Sender<Outgoing>,
    state: State,
    task: JoinHandle<()>,
}

impl Plugin for Wire {
    type Settings = Settings;

    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        let mut manifest =
            Manifest::new("wire", "Sends events over TCP").default_events(Manifest::ALERTS).concurrency(100);
        manifest.emits = vec!["wire.said".to_owned()];
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let (deliveries, incoming) = mpsc::channel(100);
        let state = State::default();
        let connection = Connection::new(settings.address, host.clone(), state.clone());
        let task = host.runtime().spawn(connection.run(incoming));
        Ok(Self { deliveries, state, task })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let event = serde_json::to_string(&delivery.event)
            .map_err(|error| DeliveryError::reject(format!("the event cannot be written as JSON: {error}")))?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { id: delivery.delivery_id.clone(), event, answer };
        if self.deliveries.send(outgoing).await.is_err() {
            return Err(DeliveryError::retry("the connection has been closed"));
        }
        match answered.await {
            Ok(Answer::Acknowledged) => Ok(()),
            Ok(Answer::Refused(reason)) => Err(DeliveryError::reject(reason)),
            Err(_) => Err(DeliveryError::retry("the connection broke before the peer acknowledged")),
        }
    }

    async fn health(&self) -> Health {
        match self.state.trouble() {
            None => Health::Good,
            Some(trouble) => Health::Bad(trouble),
        }
    }

    async fn stop(&self) {
        self.task.abort();
    }
}

butler_plugin_api::export!(Wire);
