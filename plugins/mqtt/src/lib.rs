//! Publishes events over MQTT, and takes task starts and events of Qlik Cloud from there.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Mqtt;

impl Plugin for Mqtt {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("mqtt", "Publishes events over MQTT, and takes task starts and events of Qlik Cloud from there")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Mqtt);
