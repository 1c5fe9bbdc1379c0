//! The last known state of tasks, for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use butler_plugin_api::Event;

/// Tasks that get series of their own; further ones are counted only.
const MAX_TASKS: usize = 1000;

/// State of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskState {
    /// Name.
    pub name: String,
    /// Outcome of its last run: `failed`, `aborted`, `succeeded`.
    pub outcome: String,
    /// End of its last run, ms since 1970.
    pub last_ms: i64,
    /// End of its last successful run, ms since 1970.
    pub last_success_ms: Option<i64>,
    /// Duration of its last run in ms.
    pub duration_ms: Option<i64>,
}

/// States of all tasks heard of since the start.
#[derive(Debug, Default)]
pub struct TaskStates(Mutex<BTreeMap<String, TaskState>>);

impl TaskStates {
    /// Notes an event of a task; others, older ones and tests are ignored.
    pub fn note(&self, event: &Event, time: i64) {
        let real = event.subject().ends_with("-task") && event.source != Event::TEST;
        let Some(task) = event.data.task.as_ref().filter(|_| real) else { return };
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= MAX_TASKS && !states.contains_key(&task.id) {
            return;
        }
        let state = states.entry(task.id.clone()).or_default();
        if event.outcome() == "succeeded" {
            state.last_success_ms = state.last_success_ms.max(Some(time));
        }
        if time >= state.last_ms {
            state.name.clone_from(&task.name);
            event.outcome().clone_into(&mut state.outcome);
            state.last_ms = time;
            state.duration_ms = event.data.execution.as_ref().and_then(|execution| execution.duration_ms);
        }
    }

    /// All states by task id.
    pub fn all(&self) -> BTreeMap<String, TaskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_counts_and_success_is_remembered() {
        let states = TaskStates::default();
        let event = |kind: &str| -> Event {
            serde_json::from_value(
                serde_json::json!({ "id": "x-1", "kind": kind, "time": "", "receivedAt": "", "source": "udp",
                "data": { "task": { "id": "t", "name": "T" }, "execution": { "durationMs": 5 } } }),
            )
            .unwrap()
        };
        states.note(&event("reload-task.succeeded"), 10);
        states.note(&event("reload-task.failed"), 20);
        states.note(&event("reload-task.aborted"), 15);
        states.note(&event("node.silent"), 99);
        let state = &states.all()["t"];
        assert_eq!((state.outcome.as_str(), state.last_ms, state.last_success_ms), ("failed", 20, Some(10)));
    }
}
