//! Watches Windows services, and those of systemd.

mod backend;
mod program;
mod rpc;

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

struct WindowsServices {
    settings: Settings,
    host: Host,
}

impl Plugin for WindowsServices {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("windows-services", "Watches Windows services, and those of systemd")
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

butler_plugin_api::export!(WindowsServices);
