//! Writes events as points to InfluxDB.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Influxdb;

impl Plugin for Influxdb {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("influxdb", "Writes events as points to InfluxDB")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Influxdb);
