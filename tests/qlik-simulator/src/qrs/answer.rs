//! Answers from the contents of the site.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Endpoint, Qrs, Reply, Route, query::Query};
use crate::{ExecutionResult, Filter, NO_REFERENCE, Tag, Task, TaskKind, ids, site::State};

impl Qrs {
    pub(super) fn answer(&self, route: &Route, query: &Query) -> Reply {
        if let Some(cheap) = &self.cheap
            && let Some(reply) = cheap.answer(route, query, &self.site)
        {
            return reply;
        }
        match route.endpoint {
            Endpoint::TaskStart => self.start(&route.id).map_or_else(Reply::not_found, |_| Reply::no_content()),
            Endpoint::TaskStartSynchronous => self.start(&route.id).map_or_else(Reply::not_found, |session| {
                Reply::json(json!({ "value": session, "schemaPath": "WrappedGuid" }).to_string()).created()
            }),
            Endpoint::ScriptLog => {
                let file = query.get("fileReferenceId").unwrap_or_default();
                reference(self.site.write().reference_by_file(&route.id, file))
            }
            Endpoint::ScriptLogFile => {
                let result = query.get("executionResultId").unwrap_or_default();
                reference(self.site.write().reference_by_result(&route.id, result))
            }
            Endpoint::ScriptLogDownload => match self.site.read().download(&route.id) {
                Some(log) => Reply::text(StatusCode::OK, log.as_bytes().to_vec()),
                None => Reply::not_found(),
            },
            Endpoint::About => Reply::json(about().to_string()),
            Endpoint::Enums => Reply::json(enums().to_string()),
            Endpoint::License => Reply::json(self.site.read().license.full().to_string()),
            Endpoint::AccessTypeOverview => Reply::json(self.site.read().access_types.overview().to_string()),
            _ => self.look_up(route, query),
        }
    }

    /// Starts a task: the id of the session, or that of nothing when the task does not start. Absent: there is none such.
    fn start(&self, task_id: &str) -> Option<String> {
        let mut state = self.site.write();
        let task = state.tasks.get(task_id)?;
        let without_app = task.kind.has_app() && state.apps.get(&task.app_id).is_none();
        if !task.enabled || state.no_scheduler || without_app {
            return Some(NO_REFERENCE.to_owned());
        }
        let id = task.id.clone();
        state.starts.push(id);
        Some(ids::random())
    }

    /// `POST tag`: adds a tag.
    pub(super) fn add_tag(&self, body: &[u8]) -> Reply {
        let tag: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(name) = tag["name"].as_str().filter(|name| !name.is_empty()) else {
            return Reply::text(StatusCode::BAD_REQUEST, "A tag needs a name");
        };
        let tag = Tag::new(name);
        let answer = Reply::json(tag.full().to_string()).created();
        self.site.add_tag(tag);
        answer
    }

    /// `DELETE tag/{id}`.
    pub(super) fn remove_tag(&self, id: &str) -> Reply {
        if self.site.write().tags.remove(id) { Reply::no_content() } else { Reply::not_found() }
    }

    fn look_up(&self, route: &Route, query: &Query) -> Reply {
        let filter = match query.filter() {
            Ok(filter) => filter,
            Err(error) => return Reply::text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let state = self.site.read();
        if !route.id.is_empty() {
            return by_id(route, &state).map_or_else(Reply::not_found, |object| Reply::json(object.to_string()));
        }
        let mut objects = candidates(route.endpoint, filter.as_ref(), &state);
        drop(state);
        objects.retain(|object| filter.as_ref().is_none_or(|filter| filter.matches(object)));
        if counts(route.endpoint) {
            return Reply::json(json!({ "value": objects.len(), "schemaPath": "Int32" }).to_string());
        }
        query.sort(&mut objects);
        let objects: Value = objects.into_iter().map(|object| condense(route.endpoint, object)).collect();
        Reply::json(objects.to_string())
    }
}

/// Whether a number is wanted in place of a list.
fn counts(endpoint: Endpoint) -> bool {
    endpoint.pattern().ends_with("/count")
}

/// The object of a path with an identifier, if there is one.
fn by_id(route: &Route, state: &State) -> Option<Value> {
    let id = &route.id;
    let task = |wanted: fn(TaskKind) -> bool| {
        state.tasks.get(id).filter(|task| wanted(task.kind)).map(|task| task.full(state))
    };
    match route.endpoint {
        Endpoint::ReloadTaskById => task(TaskKind::has_app),
        Endpoint::ExternalProgramTaskById => task(|kind| kind == TaskKind::ExternalProgram),
        Endpoint::UserSyncTaskById => task(|kind| kind == TaskKind::UserSync),
        Endpoint::ExecutionResultById => state.results.get(id).map(ExecutionResult::full),
        Endpoint::AppById => state.apps.get(id).map(|app| app.full(state)),
        Endpoint::TagById => state.tags.get(id).map(Tag::full),
        Endpoint::UserById => state.users.get(id).map(|user| user.full(state)),
        _ => None,
    }
}

/// The full objects of a list that a filter may let through: as few as can be told without looking at their JSON.
fn candidates(endpoint: Endpoint, filter: Option<&Filter>, state: &State) -> Vec<Value> {
    let demanded = |field| filter.and_then(|filter| filter.guids(field));
    let ids = demanded("id");
    match endpoint {
        Endpoint::Task
        | Endpoint::TaskFull
        | Endpoint::TaskCount
        | Endpoint::ReloadTask
        | Endpoint::ReloadTaskFull
        | Endpoint::ReloadTaskCount => {
            let all = matches!(endpoint, Endpoint::Task | Endpoint::TaskFull | Endpoint::TaskCount);
            let wanted = |task: &&Task| all || task.kind.has_app();
            match ids {
                Some(ids) => ids
                    .iter()
                    .filter_map(|id| state.tasks.get(id))
                    .filter(wanted)
                    .map(|task| task.full(state))
                    .collect(),
                None => state.tasks.iter().filter(wanted).map(|task| task.full(state)).collect(),
            }
        }
        Endpoint::AppFull | Endpoint::AppCount => match ids {
            Some(ids) => ids.iter().filter_map(|id| state.apps.get(id)).map(|app| app.full(state)).collect(),
            None => state.apps.iter().map(|app| app.full(state)).collect(),
        },
        Endpoint::UserFull | Endpoint::UserCount => match ids {
            Some(ids) => ids.iter().filter_map(|id| state.users.get(id)).map(|user| user.full(state)).collect(),
            None => state.users.iter().map(|user| user.full(state)).collect(),
        },
        Endpoint::ExecutionResult | Endpoint::ExecutionResultFull | Endpoint::ExecutionResultCount => {
            let (tasks, executions) = (demanded("taskID"), demanded("executionID"));
            let among = |ids: &Option<Vec<&str>>, id: &str| {
                ids.as_ref().is_none_or(|ids| ids.iter().any(|other| other.eq_ignore_ascii_case(id)))
            };
            state
                .results
                .iter()
                .filter(|result| {
                    among(&executions, &result.execution_id)
                        && among(&tasks, &result.task_id)
                        && among(&ids, &result.id)
                })
                .map(ExecutionResult::full)
                .collect()
        }
        Endpoint::SchedulerServiceFull => state.schedulers.iter().map(crate::Scheduler::full).collect(),
        Endpoint::ServerNodeConfigurationFull => state.nodes.iter().map(crate::Node::full).collect(),
        Endpoint::Tag | Endpoint::TagFull | Endpoint::TagCount => state.tags.iter().map(Tag::full).collect(),
        Endpoint::CustomPropertyDefinitionFull | Endpoint::CustomPropertyDefinitionCount => {
            state.custom_properties.iter().map(crate::CustomPropertyDefinition::full).collect()
        }
        _ => Vec::new(),
    }
}

/// Lists that are not `…/full` show a short form.
fn condense(endpoint: Endpoint, full: Value) -> Value {
    match endpoint {
        Endpoint::Task | Endpoint::ReloadTask => Task::condense(&full),
        Endpoint::ExecutionResult => ExecutionResult::condense(full),
        Endpoint::Tag => json!({ "id": full["id"], "name": full["name"], "privileges": null }),
        _ => full,
    }
}

fn reference(reference: Option<String>) -> Reply {
    match reference {
        Some(value) => Reply::json(json!({ "value": value, "schemaPath": "WrappedGuid" }).to_string()),
        None => Reply::not_found(),
    }
}

/// The dictionary of numbers: each name with its values, and where they are used.
fn enums() -> Value {
    json!({
        "TaskTypeEnum": {
            "values": ["0: Reload", "1: ExternalProgram", "2: UserSync", "3: Distribute", "4: Preload"],
            "usages": ["ReloadTask.TaskType", "ExternalProgramTask.TaskType", "UserSyncTask.TaskType"],
        },
        "StatusEnum": {
            "values": [
                "0: NeverStarted", "1: Triggered", "2: Started", "3: Queued", "4: AbortInitiated", "5: Aborting",
                "6: Aborted", "7: FinishedSuccess", "8: FinishedFail", "9: Skipped", "10: Retry", "11: Error",
                "12: Reset", "13: DistributionQueue", "14: DistributionRunning",
            ],
            "usages": ["ExecutionResult.Status"],
        },
    })
}

fn about() -> Value {
    json!({
        "buildVersion": "14.187.4.0",
        "buildDate": "9/20/2013 10:09:00 AM",
        "databaseProvider": "Devart.Data.PostgreSql",
        "nodeType": 1,
        "sharedPersistence": true,
        "requiresBootstrap": false,
        "singleNodeOnly": false,
        "schemaPath": "About",
    })
}
