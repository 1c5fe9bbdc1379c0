//! Raises and resolves Signl4 alerts.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Signl4;

impl Plugin for Signl4 {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("signl4", "Raises and resolves Signl4 alerts")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Signl4);
