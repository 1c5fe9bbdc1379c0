//! A schedule, and the two forms in which it is written: Butler's own, and that of Butler 16.
//!
//! | here | Butler 16 |
//! | --- | --- |
//! | `cron`, months from 1 | `cronSchedule`, months from 0 |
//! | `timeZone` | `timezone` |
//! | `taskId` | `qlikSenseTaskId` |
//! | `enabled`: stays as it is left | `startupState` decides at each start; `lastKnownState` says how it is |
//! | `missed`, `overlap` | |
//! | `properties` | whatever else there was |

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde_json::{Map, Value};

use super::{Cron, Zone};

/// When a task is to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Unique. Any text without control characters.
    pub id: String,
    /// What people read.
    pub name: String,
    /// When.
    pub cron: Cron,
    /// By the clocks of which zone.
    pub zone: Zone,
    /// The task of Qlik Sense, a GUID.
    pub task_id: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Whether it runs after a start of Butler, in one of the words of [`STARTUP_STATES`]. Absent: as it was.
    pub startup_state: Option<String>,
    /// For people. Absent: nobody said anything of them.
    pub tags: Option<Vec<String>>,
    /// What becomes of runs for which Butler was away.
    pub missed: Missed,
    /// What becomes of a run while the task runs still.
    pub overlap: Overlap,
    /// RFC 3339.
    pub created: Option<String>,
    /// Further properties that somebody has given it.
    pub properties: Map<String, Value>,
}

/// The words for the state after a start.
pub const STARTUP_STATES: [&str; 4] = ["start", "started", "stop", "stopped"];

/// What becomes of runs for which Butler was away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// However many there were, the task is started once.
    Once,
}

/// What becomes of a run while the task runs still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Qlik Sense is asked to start it all the same.
    #[default]
    Allow,
    /// It is left out.
    Skip,
}

/// What is wrong with a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name; empty for the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// How a schedule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Butler's own.
    Own,
    /// That of Butler 16.
    Butler16,
}

impl Schedule {
    /// Switches it on or off. Unless it is for as long as Butler runs, it stays so.
    pub fn switch(&mut self, enabled: bool, lasting: bool) {
        self.enabled = enabled;
        if lasting {
            self.startup_state = None;
        }
    }

    /// What Butler starts with.
    #[must_use]
    pub fn at_start(mut self) -> Self {
        self.enabled = self.startup_state.as_deref().map_or(self.enabled, is_start);
        self
    }
}

fn is_start(state: &str) -> bool {
    state.starts_with("start")
}
