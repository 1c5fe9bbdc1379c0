//! Made-up objects: all that differs between them, derived from the identifiers asked for.

use jiff::{SignedDuration, Timestamp};

use super::{Endpoint, template::Slot};
use crate::{
    Filter, ids,
    site::{State, stamp},
};

/// Made-up apps share this many owners.
const OWNERS: usize = 100;

/// How long made-up executions took.
const DURATION: SignedDuration = SignedDuration::from_millis(9_190);

/// The identifiers and times of a made-up task, app, user or execution result, and of what it refers to.
#[derive(Debug)]
pub(super) struct Subject {
    task: String,
    app: String,
    owner: String,
    execution: String,
    result: String,
    file: String,
    start: String,
    stop: String,
}

impl Subject {
    /// The object that a path leads to.
    pub(super) fn by_path(endpoint: Endpoint, id: &str) -> Self {
        match endpoint {
            Endpoint::AppById => Self::app(id),
            Endpoint::UserById => Self::user(id),
            Endpoint::ExecutionResultById => Self::result(id),
            _ => Self::task(id),
        }
    }

    /// The objects that a filter can let through and whether it lets all of them through for sure. `None` if it does
    /// not say which objects it wants.
    pub(super) fn by_filter(endpoint: Endpoint, filter: &Filter) -> Option<(Vec<Self>, bool)> {
        let all = |ids: &[&str], make: fn(&str) -> Self| ids.iter().map(|id| make(id)).collect();
        if !matches!(endpoint, Endpoint::ExecutionResult | Endpoint::ExecutionResultFull) {
            let make = match endpoint {
                Endpoint::AppFull => Self::app,
                Endpoint::UserFull => Self::user,
                _ => Self::task,
            };
            return Some((all(&filter.guids("id")?, make), filter.only_compares_guids(&["id"])));
        }
        let tasks = filter.guids("taskID");
        match (filter.guids("executionID"), tasks.as_deref()) {
            (Some(executions), Some([task])) => {
                let subjects = executions.iter().map(|execution| Self::execution_of(task, execution)).collect();
                Some((subjects, filter.only_compares_guids(&["executionID", "taskID"])))
            }
            (Some(executions), _) => {
                Some((all(&executions, Self::execution), filter.only_compares_guids(&["executionID"])))
            }
            (None, Some(tasks)) => Some((all(tasks, Self::task), filter.only_compares_guids(&["taskID"]))),
            (None, None) => Some((all(&filter.guids("id")?, Self::result), filter.only_compares_guids(&["id"]))),
        }
    }

    fn task(id: &str) -> Self {
        Self::execution_of(id, &ids::derived(id, "execution"))
    }

    fn app(id: &str) -> Self {
        let task = ids::derived(id, "task");
        Self { app: id.to_owned(), owner: owner_of(id), ..Self::task(&task) }
    }

    fn user(id: &str) -> Self {
        Self { owner: id.to_owned(), ..Self::task(id) }
    }

    fn execution(id: &str) -> Self {
        Self::execution_of(&ids::derived(id, "task"), id)
    }

    fn result(id: &str) -> Self {
        let execution = ids::derived(id, "execution");
        Self { result: id.to_owned(), ..Self::execution(&execution) }
    }

    fn execution_of(task: &str, execution: &str) -> Self {
        let now = Timestamp::now();
        let app = ids::derived(task, "app");
        Self {
            task: task.to_owned(),
            owner: owner_of(&app),
            app,
            execution: execution.to_owned(),
            result: ids::derived(execution, "result"),
            file: ids::derived(execution, "file"),
            start: stamp(now.checked_sub(DURATION).unwrap_or(now)),
            stop: stamp(now),
        }
    }

    pub(super) fn value(&self, slot: Slot) -> &str {
        match slot {
            Slot::Task => &self.task,
            Slot::App => &self.app,
            Slot::Owner => &self.owner,
            Slot::Execution => &self.execution,
            Slot::Result => &self.result,
            Slot::File => &self.file,
            Slot::Start => &self.start,
            Slot::Stop => &self.stop,
        }
    }

    /// Whether the site itself has what this endpoint would show.
    pub(super) fn exists(&self, endpoint: Endpoint, state: &State) -> bool {
        match endpoint {
            Endpoint::AppFull | Endpoint::AppById => state.apps.get(&self.app).is_some(),
            Endpoint::UserFull | Endpoint::UserById => state.users.get(&self.owner).is_some(),
            Endpoint::ExecutionResult | Endpoint::ExecutionResultFull | Endpoint::ExecutionResultById => {
                state.tasks.get(&self.task).is_some()
                    || state.results.get(&self.result).is_some()
                    || state.results.iter().any(|result| result.execution_id.eq_ignore_ascii_case(&self.execution))
            }
            _ => state.tasks.get(&self.task).is_some(),
        }
    }
}

fn owner_of(app: &str) -> String {
    let number = app.bytes().fold(0, |sum: usize, byte| (sum * 31 + usize::from(byte)) % OWNERS);
    ids::derived(&number.to_string(), "owner")
}
