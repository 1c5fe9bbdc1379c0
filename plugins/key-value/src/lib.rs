//! A key-value store for load scripts and other callers of the REST API.

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
        Manifest::new("key-value", "A key-value store for load scripts and other callers of the REST API")
    }

    async fn start(_: Settings, _: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

butler_plugin_api::export!(Skeleton);
