//! Posts alerts to Prometheus' Alertmanager.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Alertmanager;

impl Plugin for Alertmanager {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("alertmanager", "Posts alerts to Prometheus' Alertmanager")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Alertmanager);
