//! Answers that cost little: whatever identifier is asked for exists.
//!
//! Objects look like those of a site, because templates are made from such objects at start. All that varies is derived
//! from the identifier, so the same question always gets the same answer, apart from times: executions ended just now.

use hyper::{StatusCode, body::Bytes};
use serde_json::Value;

use super::{
    Endpoint, Reply, Route,
    query::Query,
    subject::Subject,
    template::{Slot, Template},
};
use crate::{
    App, ExecutionResult, Run, ScriptLogs, Site, Status, Task, User, ids,
    site::{State, failed_log},
};

/// Lines in the one script log that all made-up executions share.
const LOG_LINES: usize = 300;

pub(super) struct Cheap {
    reload_task: Template,
    condensed_task: Template,
    external_program_task: Template,
    user_sync_task: Template,
    app: Template,
    user: Template,
    result: Template,
    condensed_result: Template,
    log: Bytes,
}

impl Cheap {
    /// `outcome`: how all executions ended.
    pub(super) fn new(outcome: Status) -> Self {
        let log = failed_log(LOG_LINES);
        let site = Site::empty();
        let owner = User::new("LAB", format!("user-{}", Slot::Owner.marker()), "Made-up user")
            .id(Slot::Owner.marker())
            .email(format!("user-{}@example.com", Slot::Owner.marker()));
        site.add_user(owner.clone());
        let app = App::new(format!("App {}", Slot::App.marker()), Slot::Owner.marker())
            .id(Slot::App.marker())
            .tag("sales")
            .custom_property("department", "Sales")
            .description("Made up for a benchmark");
        site.add_app(app.clone());

        let name = |kind: &str| format!("{kind} {}", Slot::Task.marker());
        let mut state = site.write();
        let (reload_task, result) =
            executed(Task::reload(name("Reload"), Slot::App.marker()), outcome, &log, &mut state);
        let (external_program_task, _) = executed(Task::external_program(name("Program")), outcome, &log, &mut state);
        let (user_sync_task, _) = executed(Task::user_sync(name("Sync")), outcome, &log, &mut state);
        Self {
            condensed_task: Template::new(&Task::condense(&reload_task)),
            reload_task: Template::new(&reload_task),
            external_program_task: Template::new(&external_program_task),
            user_sync_task: Template::new(&user_sync_task),
            app: Template::new(&app.full(&state)),
            user: Template::new(&owner.full(&state)),
            result: Template::new(&result),
            condensed_result: Template::new(&ExecutionResult::condense(result)),
            log: log.into(),
        }
    }

    /// An answer, unless the question is one for the site.
    pub(super) fn answer(&self, route: &Route, query: &Query, site: &Site) -> Option<Reply> {
        match route.endpoint {
            Endpoint::ScriptLog => self.reference(route, query.get("fileReferenceId"), site),
            Endpoint::ScriptLogFile => self.reference(route, query.get("executionResultId"), site),
            Endpoint::ScriptLogDownload => {
                (!site.read().has_handed_out(&route.id)).then(|| Reply::text(StatusCode::OK, self.log.clone()))
            }
            Endpoint::TaskStart => {
                (ids::is_guid(&route.id) && site.read().tasks.get(&route.id).is_none()).then(Reply::no_content)
            }
            _ if route.id.is_empty() => self.list(route.endpoint, query, site),
            _ => self.by_id(route, site),
        }
    }

    fn by_id(&self, route: &Route, site: &Site) -> Option<Reply> {
        let template = self.template(route.endpoint)?;
        if !ids::is_guid(&route.id) {
            return None;
        }
        let subject = Subject::by_path(route.endpoint, &route.id);
        if subject.exists(route.endpoint, &site.read()) {
            return None;
        }
        let mut body = String::new();
        template.render(&mut body, |slot| subject.value(slot));
        Some(Reply::json(body))
    }

    fn list(&self, endpoint: Endpoint, query: &Query, site: &Site) -> Option<Reply> {
        let template = self.template(endpoint)?;
        let filter = query.filter().ok()??;
        let (subjects, all_match) = Subject::by_filter(endpoint, &filter)?;
        {
            let state = site.read();
            if subjects.iter().any(|subject| subject.exists(endpoint, &state)) {
                return None;
            }
        }
        // The filter may be about parts that only the full object has.
        let full = match endpoint {
            Endpoint::Task | Endpoint::ReloadTask => &self.reload_task,
            Endpoint::ExecutionResult => &self.result,
            _ => template,
        };
        let matches = |subject: &Subject| {
            let mut text = String::new();
            full.render(&mut text, |slot| subject.value(slot));
            serde_json::from_str(&text).is_ok_and(|object: Value| filter.matches(&object))
        };
        let mut body = String::from("[");
        for subject in subjects.iter().filter(|subject| all_match || matches(subject)) {
            if body.len() > 1 {
                body.push(',');
            }
            template.render(&mut body, |slot| subject.value(slot));
        }
        body.push(']');
        Some(Reply::json(body))
    }

    #[allow(clippy::unused_self, reason = "reads as one of the answers beside it")]
    fn reference(&self, route: &Route, from: Option<&str>, site: &Site) -> Option<Reply> {
        let from = from.filter(|id| ids::is_guid(id))?;
        let state = site.read();
        let refused = match route.endpoint {
            Endpoint::ScriptLog => ScriptLogs::May2025,
            _ => ScriptLogs::Old,
        };
        if state.script_logs == refused || state.tasks.get(&route.id).is_some() {
            return None;
        }
        let value = ids::derived(from, "download");
        Some(Reply::json(format!(r#"{{"schemaPath":"WrappedGuid","value":"{value}"}}"#)))
    }

    fn template(&self, endpoint: Endpoint) -> Option<&Template> {
        match endpoint {
            Endpoint::Task | Endpoint::ReloadTask => Some(&self.condensed_task),
            Endpoint::TaskFull | Endpoint::ReloadTaskFull | Endpoint::ReloadTaskById => Some(&self.reload_task),
            Endpoint::ExternalProgramTaskById => Some(&self.external_program_task),
            Endpoint::UserSyncTaskById => Some(&self.user_sync_task),
            Endpoint::ExecutionResult => Some(&self.condensed_result),
            Endpoint::ExecutionResultFull | Endpoint::ExecutionResultById => Some(&self.result),
            Endpoint::AppFull | Endpoint::AppById => Some(&self.app),
            Endpoint::UserFull | Endpoint::UserById => Some(&self.user),
            _ => None,
        }
    }
}

/// A task that has been executed, and the result of that, with markers wherever two of them would differ.
fn executed(task: Task, outcome: Status, log: &str, state: &mut State) -> (Value, Value) {
    let task = task.id(Slot::Task.marker()).tag("nightly").tag("sales").custom_property("taskGroup", "benchmark");
    state.define(&task.tags, &task.custom_properties, task.kind.object_type());
    let mut result = state.record(&task, &Slot::Execution.marker(), Run::new(outcome).script_log(log));
    result.id = Slot::Result.marker();
    result.start_time = Slot::Start.marker();
    if outcome.is_final() {
        result.stop_time = Slot::Stop.marker();
    }
    if result.script_log_size > 0 {
        result.file_reference_id = Slot::File.marker();
    }
    for (position, detail) in result.details.iter_mut().enumerate() {
        detail.created = if position < 2 { Slot::Start } else { Slot::Stop }.marker();
    }
    let full_result = result.full();
    let task = Task { last_result: Some(result.id.clone()), ..task };
    state.results.insert(result);
    (task.full(state), full_result)
}
