//! `scheduler`: tasks that are started at planned times. The schedules themselves are made by REST and kept in the store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Starts tasks of Qlik Sense at planned times.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SchedulerConfig {
    /// Off: no task is started by schedule, and the API for schedules answers 503. What there is stays as it is.
    pub enabled: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
