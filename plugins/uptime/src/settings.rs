//! The settings.

use std::time::Duration;

use butler_plugin_api::When;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the reports on Butler itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// When `butler.uptime` is emitted and the line is written to the log. `missed` has no effect: what was missed is not
    /// made up for.
    pub(crate) when: When,
    /// Level of the line in the log; `off`: none is written. `log.level` of the config says which levels are shown.
    pub(crate) log_level: Level,
    /// Emits `butler.ingest` as well, what was received by UDP since the last one. Absent: not.
    pub(crate) ingest: Option<Counting>,
}

/// When the figures of UDP are emitted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Counting {
    /// When `butler.ingest` is emitted.
    pub(crate) when: When,
}

/// Level of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for Settings {
    fn default() -> Self {
        Self { when: When::every(Duration::from_mins(15)), log_level: Level::Debug, ingest: None }
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self { when: When::every(Duration::from_secs(20)) }
    }
}
