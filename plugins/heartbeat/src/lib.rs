//! Pings an address while Butler is well.

use butler_plugin_api::{Host, Manifest, Plugin, StartError, When};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// When to look.
    when: When,
}

struct Heartbeat {
    settings: Settings,
    host: Host,
}

impl Plugin for Heartbeat {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("heartbeat", "Pings an address while Butler is well")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        Ok(Self { settings, host })
    }

    async fn run(&self) {
        while let Ok(tick) = self.host.schedule().next("look", &self.settings.when).await {
            tracing::debug!(planned = tick.planned, "looks");
        }
    }
}

butler_plugin_api::export!(Heartbeat);
