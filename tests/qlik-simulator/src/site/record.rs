//! Running tasks: what a run leaves behind in the repository.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::execution::NODE;
use super::{
    Detail, ExecutionResult, NO_REFERENCE, NO_TIME, Site, Status, Task, TaskKind, script_log, state::State, time::stamp,
};
use crate::ids;

/// There is no such task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no task {0}")]
pub struct UnknownTask(pub String);

/// Which execution identifier an execution result carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutionIds {
    /// The one that the run was given, so that log events lead to the result.
    #[default]
    Equal,
    /// Another one.
    Different,
}

/// One attempt to execute a task, in full detail. Most tests get by with [`Site::fail_task`] and its siblings.
#[derive(Clone, Debug)]
pub struct Run {
    status: Status,
    duration: Duration,
    end: Option<SystemTime>,
    node: String,
    script_log: LogChoice,
}

#[derive(Clone, Debug)]
enum LogChoice {
    Generated,
    Given(String),
    None,
}

impl Run {
    /// A run that has come to this state. It lasts 9.19 seconds and ends now.
    pub fn new(status: Status) -> Self {
        let node = NODE.to_owned();
        Self { status, duration: Duration::from_millis(9_190), end: None, node, script_log: LogChoice::Generated }
    }

    /// How long the run took, or has been going on.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// When the run ended.
    #[must_use]
    pub fn ending_at(mut self, end: SystemTime) -> Self {
        self.end = Some(end);
        self
    }

    /// Host name of the node that executed it, if not the one node of the sample site.
    #[must_use]
    pub fn on_node(mut self, host: &str) -> Self {
        host.clone_into(&mut self.node);
        self
    }

    /// The script log, with line ends as they shall be served. Only reload tasks have one.
    #[must_use]
    pub fn script_log(mut self, text: impl Into<String>) -> Self {
        self.script_log = LogChoice::Given(text.into());
        self
    }

    /// No script log (yet): the file reference is [`NO_REFERENCE`].
    #[must_use]
    pub fn without_script_log(mut self) -> Self {
        self.script_log = LogChoice::None;
        self
    }
}

/// Running tasks. If the last result of the task is an unfinished one with the same execution identifier, it is
/// brought up to date; otherwise there is a new result.
impl Site {
    /// The task fails now.
    pub fn fail_task(&self, task_id: &str, execution_id: &str) -> Result<ExecutionResult, UnknownTask> {
        self.run_task(task_id, execution_id, Run::new(Status::FinishedFail))
    }

    /// The task succeeds now.
    pub fn succeed_task(&self, task_id: &str, execution_id: &str) -> Result<ExecutionResult, UnknownTask> {
        self.run_task(task_id, execution_id, Run::new(Status::FinishedSuccess))
    }

    /// The task is aborted now.
    pub fn abort_task(&self, task_id: &str, execution_id: &str) -> Result<ExecutionResult, UnknownTask> {
        self.run_task(task_id, execution_id, Run::new(Status::Aborted))
    }

    /// The task has just started and goes on running.
    pub fn begin_task(&self, task_id: &str, execution_id: &str) -> Result<ExecutionResult, UnknownTask> {
        self.run_task(task_id, execution_id, Run::new(Status::Started).lasting(Duration::ZERO))
    }

    /// Anything else that can become of a task.
    pub fn run_task(&self, task_id: &str, execution_id: &str, run: Run) -> Result<ExecutionResult, UnknownTask> {
        let mut state = self.write();
        let task = state.tasks.get(task_id).cloned().ok_or_else(|| UnknownTask(task_id.to_owned()))?;
        let result = state.record(&task, execution_id, run);
        if let Some(task) = state.tasks.get_mut(task_id) {
            task.last_result = Some(result.id.clone());
        }
        if task.kind == TaskKind::Reload
            && result.status == Status::FinishedSuccess
            && let Some(app) = state.apps.get_mut(&task.app_id)
        {
            app.last_reload_time.clone_from(&result.stop_time);
        }
        state.listeners.retain(|listener| listener.send(result.full()).is_ok());
        Ok(result)
    }
}

impl State {
    pub(crate) fn record(&mut self, task: &Task, execution_id: &str, run: Run) -> ExecutionResult {
        let end = run.end.and_then(|end| Timestamp::try_from(end).ok()).unwrap_or_else(Timestamp::now);
        let unfinished = task
            .last_result
            .as_ref()
            .and_then(|id| self.results.get(id))
            .filter(|result| !result.status.is_final() && result.given_execution_id == execution_id);
        let (id, start, own_execution_id) = match unfinished {
            Some(result) => (result.id.clone(), result.start_time.parse().unwrap_or(end), result.execution_id.clone()),
            None => (
                ids::random(),
                end.checked_sub(run.duration).unwrap_or(end),
                match self.execution_ids {
                    ExecutionIds::Equal => execution_id.to_owned(),
                    ExecutionIds::Different => ids::random(),
                },
            ),
        };
        let is_final = run.status.is_final();
        let log = match run.script_log {
            _ if task.kind != TaskKind::Reload || !is_final => None,
            // These never got as far as running the script.
            LogChoice::Generated if matches!(run.status, Status::Skipped | Status::Reset) => None,
            LogChoice::Generated => Some(script_log::generated(run.status, start, end)),
            LogChoice::Given(text) => Some(text),
            LogChoice::None => None,
        };
        let file_reference_id = if log.is_some() { ids::random() } else { NO_REFERENCE.to_owned() };
        let result = ExecutionResult {
            id,
            task_id: task.id.clone(),
            execution_id: own_execution_id,
            app_id: if task.kind.has_app() { task.app_id.clone() } else { NO_REFERENCE.to_owned() },
            node: run.node,
            status: run.status,
            start_time: stamp(start),
            stop_time: if is_final { stamp(end) } else { NO_TIME.to_owned() },
            duration_ms: if is_final {
                end.duration_since(start).as_millis().try_into().unwrap_or_default()
            } else {
                0
            },
            file_reference_id,
            script_log_size: log.as_ref().map_or(0, String::len),
            details: details(run.status, start, end),
            given_execution_id: execution_id.to_owned(),
        };
        if let Some(log) = log {
            self.logs.insert(result.file_reference_id.clone(), log.into());
        }
        self.results.insert(result.clone());
        result
    }
}

/// The states that an execution goes through until it reaches `status`, as QRS words them.
fn details(status: Status, start: Timestamp, end: Timestamp) -> Vec<Detail> {
    let path: &[Status] = match status {
        Status::NeverStarted => &[],
        Status::Triggered => &[Status::Triggered],
        Status::Aborted => {
            &[Status::Triggered, Status::Started, Status::AbortInitiated, Status::Aborting, Status::Aborted]
        }
        Status::Started | Status::Queued | Status::Skipped => &[Status::Triggered, status],
        _ => &[Status::Triggered, Status::Started, status],
    };
    let mut previous = None;
    let mut details = Vec::new();
    for (position, state) in path.iter().enumerate() {
        // The history begins a little before the start and ends a little after the end.
        let step = Duration::from_millis(10 * position as u64);
        let base = if position < 2 { start.checked_sub(Duration::from_millis(10)) } else { Ok(end) };
        let created = base.and_then(|base| base.checked_add(step)).unwrap_or(start);
        let message = match previous {
            None => format!("Changing task state to {state:?}"),
            Some(previous) => format!("Changing task state from {previous:?} to {state:?}"),
        };
        details.push(Detail { created: stamp(created), message });
        previous = Some(state);
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_result_history_and_log() {
        let site = Site::sample();
        let task = site.add_task(Task::reload("Load orders", Site::SAMPLE_APP));
        let result = site.fail_task(&task, "e1").unwrap();
        assert_eq!(site.last_result(&task), Some(result.clone()));
        assert_eq!(
            (result.execution_id.as_str(), result.status, result.duration_ms),
            ("e1", Status::FinishedFail, 9_190)
        );
        let messages: Vec<_> = result.details.iter().map(|detail| detail.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "Changing task state to Triggered",
                "Changing task state from Triggered to Started",
                "Changing task state from Started to FinishedFail",
            ]
        );
        assert!(result.details.is_sorted_by_key(|detail| detail.created.clone()));
        let state = site.read();
        assert_eq!(state.logs[&result.file_reference_id].len(), result.script_log_size);
    }

    #[test]
    fn a_running_execution_is_finished_in_place() {
        let site = Site::sample();
        let task = site.add_task(Task::reload("Load orders", Site::SAMPLE_APP));
        let begun = site.begin_task(&task, "e1").unwrap();
        assert_eq!((begun.stop_time.as_str(), begun.file_reference_id.as_str()), (NO_TIME, NO_REFERENCE));
        let ended = site.succeed_task(&task, "e1").unwrap();
        assert_eq!(ended.id, begun.id);
        let retried = site.succeed_task(&task, "e1").unwrap();
        assert_ne!(retried.id, begun.id);
    }

    #[test]
    fn execution_identifiers_can_differ() {
        let site = Site::sample();
        site.set_execution_ids(ExecutionIds::Different);
        let task = site.add_task(Task::user_sync("Sync"));
        let result = site.fail_task(&task, "e1").unwrap();
        assert_ne!(result.execution_id, "e1");
        assert_eq!(result.file_reference_id, NO_REFERENCE);
        assert_eq!(site.fail_task("nobody", "e1"), Err(UnknownTask("nobody".to_owned())));
    }
}
