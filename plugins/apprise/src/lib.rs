//! Sends alerts through an Apprise API server.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Apprise;

impl Plugin for Apprise {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("apprise", "Sends alerts through an Apprise API server")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Apprise);
