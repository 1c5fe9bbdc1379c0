//! Sends events, logs and metrics to New Relic.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct NewRelic;

impl Plugin for NewRelic {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("new-relic", "Sends events, logs and metrics to New Relic")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(NewRelic);
