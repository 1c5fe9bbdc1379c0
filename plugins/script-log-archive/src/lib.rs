//! Stores the script logs of failed reloads in files.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct ScriptLogArchive;

impl Plugin for ScriptLogArchive {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("script-log-archive", "Stores the script logs of failed reloads in files")
    }

    async fn start(_settings: Settings, _host: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(ScriptLogArchive);
