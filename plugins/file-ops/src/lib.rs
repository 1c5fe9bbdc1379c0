//! Copies, moves and deletes files and makes directories, within approved directories.

use butler_plugin_api::{Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {}

struct Skeleton;

impl Plugin for Skeleton {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("file-ops", "Copies, moves and deletes files and makes directories, within approved directories")
    }

    async fn start(_: Settings, _: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Skeleton);
