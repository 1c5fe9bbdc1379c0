//! What became of a start, as events: `task-start.succeeded` and `task-start.failed`.

use std::collections::HashSet;

use butler_plugin_api::{App, Data, Execution, Task, TaskStart, kind};

use super::{Outcome, Report, Request, Selection, Started, TaskStarter};
use crate::qlik::QlikError;
use crate::store::{NewEvent, now_ms};

/// An event of each task, and of each selection that led to none.
pub(super) fn of(report: &Report, caller: &str) -> Vec<NewEvent> {
    let mut told = HashSet::new();
    let mut events = Vec::new();
    for (selection, outcome) in report {
        let start = start_of(selection, caller);
        match outcome {
            Outcome::Tasks(tasks) => {
                let once = tasks.iter().filter(|started| told.insert(&started.task.task.id));
                events.extend(once.map(|started| of_task(started, start.clone())));
            }
            Outcome::Denied => events.push(refused(selection, start, "`qlik.startTaskFilter` does not allow it")),
            Outcome::Unknown => events.push(refused(selection, start, "Qlik Sense has no task with this id")),
            Outcome::HeldBack => {
                events.push(refused(selection, start, "other tasks of the same request do not exist"));
            }
        }
    }
    events
}

/// None was started, since QRS cannot be asked which tasks there are.
pub(super) fn of_failure(request: &Request, error: &QlikError) -> Vec<NewEvent> {
    let reason = error.to_string();
    let refused = |selection| refused(selection, start_of(selection, &request.caller), &reason);
    request.selections.iter().map(refused).collect()
}

/// A task was not started, for a reason that is known before Qlik Sense is asked.
pub(crate) fn not_started(task: &str, caller: &str, reason: &str) -> NewEvent {
    let selection = Selection::TaskId(task.to_owned());
    refused(&selection, start_of(&selection, caller), reason)
}

impl TaskStarter {
    /// Keeps events of what became of a start.
    pub(crate) async fn tell(&self, events: Vec<NewEvent>) {
        if events.is_empty() {
            return;
        }
        match self.store.accept(events).await {
            Ok(_) => self.accepted.notify_one(),
            Err(error) => tracing::error!(%error, "what became of starts of tasks cannot be stored as events"),
        }
    }
}

fn start_of(selection: &Selection, caller: &str) -> TaskStart {
    TaskStart {
        selected_by: Some(selected_by(selection).to_owned()),
        selector: Some(selection.text()),
        caller: Some(caller.to_owned()),
    }
}

fn selected_by(selection: &Selection) -> &'static str {
    match selection {
        Selection::TaskId(_) => "taskId",
        Selection::Tag(_) => "tag",
        Selection::CustomProperty { .. } => "customProperty",
    }
}

fn of_task(started: &Started, start: TaskStart) -> NewEvent {
    let (task, caller) = (&started.task.task, start.caller.clone().unwrap_or_default());
    let app = started.task.app.as_ref();
    let app = app.map(|app| Box::new(App { id: app.id.clone(), name: app.name.clone(), ..App::default() }));
    let mut data = Data { task: Some(task.clone()), app, task_start: Some(Box::new(start)), ..Data::default() };
    match &started.result {
        Ok(session) => {
            tracing::info!(task = task.id, name = task.name, caller, "started a task");
            data.message = Some(format!("started for {caller}"));
            data.execution = Some(Execution { id: Some(session.clone()), ..Execution::default() });
            event(kind::TASK_START_SUCCEEDED, data)
        }
        Err(reason) => {
            tracing::warn!(task = task.id, name = task.name, caller, "a task was not started: {reason}");
            data.message = Some(reason.clone());
            event(kind::TASK_START_FAILED, data)
        }
    }
}

fn refused(selection: &Selection, start: TaskStart, reason: &str) -> NewEvent {
    let (by, text) = (selected_by(selection), selection.text());
    tracing::warn!(by, text, caller = start.caller, "tasks were not started: {reason}");
    let task = match selection {
        Selection::TaskId(id) => Some(Task { id: id.clone(), ..Task::default() }),
        Selection::Tag(_) | Selection::CustomProperty { .. } => None,
    };
    let message = Some(format!("{by} {text}: {reason}"));
    event(kind::TASK_START_FAILED, Data { task, message, task_start: Some(Box::new(start)), ..Data::default() })
}

fn event(kind: &str, data: Data) -> NewEvent {
    let now = now_ms();
    NewEvent { kind: kind.to_owned(), time: now, received: now, source: "butler".to_owned(), keys: Vec::new(), data }
}
