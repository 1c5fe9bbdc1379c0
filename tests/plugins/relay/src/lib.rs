//! A plugin for the end-to-end tests: passes events on by HTTP in the order of their tasks, or misbehaves in every
//! delivery. It has no endpoints, so that several instances fit into one daemon.

use std::time::Duration;

use butler_plugin_api::{Delivery, DeliveryError, Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Settings of the relay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// Where deliveries go, as JSON.
    url: Option<String>,
    /// What goes wrong.
    fault: Fault,
    /// Kind of an event that each delivery emits when it has arrived.
    emits: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Fault {
    #[default]
    None,
    /// Panics.
    Panic,
    /// Never ends.
    Hang,
    /// Blocks its thread for ever.
    Block,
    /// Is never ready to take it.
    Refuse,
}

struct Relay {
    settings: Settings,
    host: Host,
}

impl Plugin for Relay {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("relay", "Passes events on in order")
            .default_events(&["reload-task.*"])
            .ordered()
            .concurrency(8)
            .emits(&["relay.*"]);
        manifest.deadline_seconds = 2;
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        Ok(Self { settings, host })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        match self.settings.fault {
            Fault::None => {}
            Fault::Panic => panic!("the relay was told to panic"),
            Fault::Hang => std::future::pending().await,
            Fault::Block => loop {
                std::thread::park();
            },
            Fault::Refuse => return Err(DeliveryError::retry("the relay was told to refuse")),
        }
        if let Some(url) = &self.settings.url {
            let request = self.host.http().post(url.as_str()).timeout(Duration::from_millis(300)).json(delivery);
            request.send().await?.error_for_status()?;
        }
        if let Some(kind) = &self.settings.emits {
            self.host.emit(kind, json!({ "after": delivery.event.kind })).await?;
        }
        Ok(())
    }
}

butler_plugin_api::export!(Relay);
