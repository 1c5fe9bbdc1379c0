//! `/v5/schedules`: when tasks of Qlik Sense are started.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use butler_plugin_api::{Endpoint, Scope};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::answer::{self, Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, object};
use super::super::request::Call;
use super::query::Query;
use crate::schedule::{self, ChangeError, Fault, Form, Schedule, Scheduler, Unread};
use crate::store::{Run, RunState, StoreError, rfc3339};

/// So many next runs are told.
const NEXT_RUNS: usize = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Schedules {
    List,
    One,
    Create,
    Replace,
    Delete,
    Start,
    Stop,
    Run,
    Export,
    Import,
}

/// What is declared of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let of = |method: &str, path: &str, summary: &str| {
        let scope = if method == "GET" { Scope::Read } else { Scope::Scheduler };
        let path = format!("/v5/schedules{path}");
        Endpoint::new(method, &path, scope, summary).answer(
            503,
            "The scheduler is off, or the store cannot be written",
            Value::Null,
        )
    };
    let known = |endpoint: Endpoint| endpoint.answer(404, "There is no such schedule", Value::Null);
    let record = record_schema();
    let (bad, none) = ("The schedule cannot work", Value::Null);
    let list = json!({ "type": "object", "required": ["schedules"], "properties": { "schedules": { "type": "array", "items": record } } });
    // They share the switches of Butler 16 with those of `/v4` that do the same.
    let switch = |verb: &str, name: &str, summary: &str| {
        known(of("POST", &format!("/{{id}}/{verb}"), summary))
            .named(name)
            .answer(200, "The schedule", record_schema())
            .answer(409, "The schedule cannot run", Value::Null)
    };
    let created = of("POST", "", "Makes a schedule")
        .named("createNewSchedule")
        .body(body_schema())
        .answer(201, "The schedule", record.clone())
        .answer(400, bad, none.clone())
        .answer(409, "There is one with this id", none.clone());
    let replaced = known(of("PUT", "/{id}", "Replaces a schedule"))
        .named("updateSchedule")
        .body(body_schema())
        .answer(200, "The schedule", record.clone())
        .answer(400, bad, none.clone());
    let run = known(of("POST", "/{id}/run", "Starts the task of a schedule now"))
        .named("startSchedule")
        .answer(200, "It was started", run_schema())
        .answer(409, "It was not started, since it runs still", run_schema())
        .answer(502, "It was not started", run_schema());
    let export = of("GET", "/export", "All schedules as YAML, with `format=butler16` as Butler 16 has them")
        .named("getSchedule")
        .query(json!({
            "type": "object", "additionalProperties": false,
            "properties": { "format": { "type": "string", "enum": ["butler16"], "errorMessage": "must be butler16, or left out" } },
        }))
        .answer(200, "YAML", json!({ "contentMediaType": "application/yaml" }))
        .answer(400, "There is no such format", none.clone())
        .answer(409, "There are schedules that cannot be written so", none.clone());
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let import = of(
        "POST",
        "/import",
        "Adds the schedules of a file of this Butler or of Butler 16, all or none; with `replace=true` also in place of others",
    )
    .named("createNewSchedule")
    .query(json!({
        "type": "object", "additionalProperties": false,
        "properties": { "replace": { "type": "boolean", "description": "Whether schedules of the same ids are replaced" } },
    }))
    .answer(
        201,
        "How many, and what is odd",
        object(json!({ "imported": { "type": "integer" }, "ids": texts, "warnings": texts })),
    )
    .answer(400, "What is wrong with the file, line by line", none.clone())
    .answer(409, "There are schedules with these ids", none);
    let own = Own::Schedules;
    vec![
        Declared::new(
            of("GET", "", "Lists the schedules").named("getSchedule").answer(200, "The schedules", list),
            own(Schedules::List),
        ),
        Declared::new(
            known(of("GET", "/{id}", "A schedule")).named("getSchedule").answer(200, "The schedule", record),
            own(Schedules::One),
        ),
        Declared::new(created, own(Schedules::Create)),
        Declared::new(replaced, own(Schedules::Replace)),
        Declared::new(
            known(of("DELETE", "/{id}", "Deletes a schedule")).named("deleteSchedule").answer(
                204,
                "It is deleted",
                Value::Null,
            ),
            own(Schedules::Delete),
        ),
        Declared::new(switch("start", "startSchedule", "Lets a schedule run"), own(Schedules::Start)),
        Declared::new(switch("stop", "stopSchedule", "Lets a schedule run no more"), own(Schedules::Stop)),
        Declared::new(run, own(Schedules::Run)),
        Declared::new(export, own(Schedules::Export)),
        Declared::new(import, own(Schedules::Import)).raw("application/yaml"),
    ]
}

fn body_schema() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["name", "cron", "timeZone", "taskId"],
        "properties": {
            "id": text,
            "name": text,
            "cron": { "type": "string", "description": "5 or 6 fields, months from 1" },
            "timeZone": { "type": "string", "description": "Name of the IANA database" },
            "taskId": { "type": "string", "description": "Id of the task, a GUID" },
            "enabled": { "type": "boolean", "description": "Whether it runs; true if absent" },
            "startupState": {
                "type": "string",
                "enum": schedule::STARTUP_STATES,
                "description": "Whether it runs after each start of Butler; absent: as it was",
            },
            "tags": { "type": "array", "items": text },
            "missed": { "type": "string", "enum": ["skip", "once"] },
            "overlap": { "type": "string", "enum": ["allow", "skip"] },
            "created": text,
            "properties": { "type": "object", "description": "Whatever else is to be kept" },
        },
        "additionalProperties": false,
    })
}

fn record_schema() -> Value {
    let mut schema = body_schema();
    let times = json!({ "type": "array", "items": { "type": "string", "format": "date-time" } });
    schema["properties"]["error"] = json!({ "type": "string", "description": "Why it cannot run, if so" });
    schema["properties"]["nextRuns"] = times;
    schema["properties"]["lastRun"] = json!({ "anyOf": [run_schema(), { "type": "null" }] });
    schema
}

fn run_schema() -> Value {
    let time = json!({ "type": "string", "format": "date-time" });
    json!({
        "type": "object",
        "required": ["planned", "claimed", "result"],
        "properties": {
            "planned": time,
            "claimed": time,
            "result": { "type": "string", "enum": ["starting", "started", "failed", "skipped", "missed"] },
            "message": { "type": ["string", "null"] },
        },
    })
}

/// A schedule as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<S> {
    #[serde(flatten)]
    schedule: Shown<S>,
    next_runs: Vec<String>,
    last_run: Option<RunRow>,
    /// Why it cannot run.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<S> {
    Read(S),
    /// As it is stored.
    Unread(Map<String, Value>),
}

#[derive(Serialize)]
struct RunRow {
    planned: String,
    /// When it was taken up.
    claimed: String,
    result: &'static str,
    /// Id of the execution session, or why it was not started.
    message: Option<String>,
}

impl From<Run> for RunRow {
    fn from(run: Run) -> Self {
        let (planned, claimed) = (rfc3339(run.planned), rfc3339(run.claimed));
        Self { planned, claimed, result: word(run.state), message: run.message }
    }
}

fn word(state: RunState) -> &'static str {
    match state {
        RunState::Claimed => "starting",
        RunState::Started => "started",
        RunState::Failed => "failed",
        RunState::Skipped => "skipped",
        RunState::Missed => "missed",
    }
}

/// The schedules with an id, or all, as they are shown.
async fn rows(scheduler: &Scheduler, id: Option<&str>) -> Result<Vec<impl Serialize + use<>>, StoreError> {
    let mut runs = scheduler.last_runs(id).await?;
    let mut last = |id: &str| {
        let place = runs.iter().position(|run| run.schedule == id)?;
        Some(RunRow::from(runs.swap_remove(place)))
    };
    let mut rows = Vec::new();
    for schedule in scheduler.all().into_iter().filter(|one| id.is_none_or(|id| one.id == id)) {
        let next_runs = schedule.next_runs(NEXT_RUNS).into_iter().map(rfc3339).collect();
        rows.push(Row { last_run: last(&schedule.id), schedule: Shown::Read(schedule.own()), next_runs, error: None });
    }
    for Unread { id, mut record, error } in
        scheduler.unread().into_iter().filter(|one| id.is_none_or(|id| one.id == id))
    {
        let last_run = last(&id);
        record.insert("id".to_owned(), id.into());
        rows.push(Row { schedule: Shown::Unread(record), next_runs: Vec::new(), last_run, error: Some(error) });
    }
    Ok(rows)
}

/// Answers one of them.
pub(in super::super) async fn schedules(context: &Context, call: &Call, asked: Schedules) -> Result<Answer, Failure> {
    let scheduler = context.scheduler()?;
    let id = call.param("id");
    match asked {
        Schedules::List => {
            let rows = rows(scheduler, None).await?;
            Ok(answer(&context.secrets(), StatusCode::OK, &json!({ "schedules": rows })))
        }
        Schedules::One => one(context, scheduler, id, StatusCode::OK).await,
        Schedules::Create => {
            let schedule = read(call, None)?;
            let id = schedule.id.clone();
            scheduler.add(vec![schedule], false).await.map_err(failure)?;
            told(call, "made", &id);
            one(context, scheduler, &id, StatusCode::CREATED).await
        }
        Schedules::Replace => {
            let new = read(call, Some(id))?;
            let change = |former: Option<&Schedule>| Schedule {
                created: former.map_or(new.created.clone(), |former| former.created.clone()),
                ..new
            };
            scheduler.replace(id, change).await.map_err(failure)?;
            told(call, "replaced", id);
            one(context, scheduler, id, StatusCode::OK).await
        }
        Schedules::Delete => {
            scheduler.remove(id).await.map_err(failure)?;
            told(call, "deleted", id);
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Schedules::Start | Schedules::Stop => {
            let on = asked == Schedules::Start;
            scheduler.switch(Some(id), on, true).await.map_err(failure)?;
            told(call, if on { "started" } else { "stopped" }, id);
            one(context, scheduler, id, StatusCode::OK).await
        }
        Schedules::Run => {
            let run = scheduler.run_now(id, &who(call)).await.map_err(failure)?;
            let status = match run.state {
                RunState::Started => StatusCode::OK,
                RunState::Skipped => StatusCode::CONFLICT,
                _ => StatusCode::BAD_GATEWAY,
            };
            let time = rfc3339(run.planned);
            let row =
                RunRow { planned: time.clone(), claimed: time, result: word(run.state), message: Some(run.message) };
            Ok(answer(&context.secrets(), status, &row))
        }
        Schedules::Export => export(context, scheduler, call),
        Schedules::Import => import(context, scheduler, call).await,
    }
}

async fn one(context: &Context, scheduler: &Scheduler, id: &str, status: StatusCode) -> Result<Answer, Failure> {
    let row = rows(scheduler, Some(id)).await?.pop();
    let row = row.ok_or_else(|| failure(ChangeError::Unknown(id.to_owned())))?;
    Ok(answer(&context.secrets(), status, &row))
}

/// The schedule of a body; `id`: of the path.
fn read(call: &Call, id: Option<&str>) -> Result<Schedule, Failure> {
    let mut entries: Map<String, Value> =
        serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
    if let Some(id) = id {
        let other = entries.insert("id".to_owned(), id.into()).filter(|other| *other != id);
        if let Some(other) = other {
            return Err(Failure::bad_request(format!(
                "the body has the id {other}, the path `{id}`: leave it out of the body"
            )));
        }
    }
    Schedule::read_new(&entries, Form::Own).map_err(|faults| {
        let faults = faults.into_iter().map(|Fault { field, message }| format!("`{field}` {message}"));
        Failure::bad_request(faults.collect::<Vec<_>>().join("; "))
    })
}

/// `GET /v5/schedules/export`
fn export(context: &Context, scheduler: &Scheduler, call: &Call) -> Result<Answer, Failure> {
    let form = if Query(&call.query).text("format").is_some() { Form::Butler16 } else { Form::Own };
    let unread = scheduler.unread();
    let lost = unread.iter().filter(|unread| form == Form::Butler16 || unread.record.is_empty());
    let lost: Vec<String> = lost.map(|unread| format!("`{}`: {}", unread.id, unread.error)).collect();
    if !lost.is_empty() {
        let message = format!("these schedules cannot be written so, replace or delete them: {}", lost.join(", "));
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    let yaml = schedule::write_file(&scheduler.all(), &unread, form);
    Ok(answer::text(&context.secrets(), HeaderValue::from_static("application/yaml; charset=utf-8"), &yaml))
}

/// `POST /v5/schedules/import`: 201 `{"imported": 2, "ids": ["a", "b"], "warnings": []}`.
async fn import(context: &Context, scheduler: &Arc<Scheduler>, call: &Call) -> Result<Answer, Failure> {
    let replace = call.query.get("replace").is_some_and(|replace| *replace == true);
    let file = std::str::from_utf8(&call.body).map_err(|error| {
        Failure::bad_request(format!("the file is not UTF-8, from byte {} on", error.valid_up_to()))
    })?;
    let read = schedule::read_file(file).map_err(|faults| {
        let left_out = faults.len().saturating_sub(100);
        let mut lines: Vec<String> = faults.into_iter().take(100).collect();
        lines.extend((left_out > 0).then(|| format!("… and {left_out} more")));
        Failure::bad_request(lines.join("\n"))
    })?;
    let ids: Vec<String> = read.schedules.iter().map(|schedule| schedule.id.clone()).collect();
    scheduler.add(read.schedules, replace).await.map_err(|error| match error {
        ChangeError::Exist(_) => {
            Failure::new(StatusCode::CONFLICT, format!("{error}; `replace=true` puts the new ones in their place"))
        }
        other => failure(other),
    })?;
    told(call, "imported", &ids.join(" "));
    let body = json!({ "imported": ids.len(), "ids": ids, "warnings": read.warnings });
    Ok(answer(&context.secrets(), StatusCode::CREATED, &body))
}

fn failure(error: ChangeError) -> Failure {
    match error {
        ChangeError::Unknown(_) => Failure::not_found(error.to_string()),
        ChangeError::Busy | ChangeError::Late => Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        ChangeError::Exist(_) | ChangeError::TooMany | ChangeError::Unread { .. } => {
            Failure::new(StatusCode::CONFLICT, error.to_string())
        }
        ChangeError::Store(error) => Failure::from(error),
    }
}

fn who(call: &Call) -> String {
    call.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default()
}

fn told(call: &Call, what: &str, id: &str) {
    tracing::info!(caller = who(call), schedule = id, "a schedule was {what} by REST");
}
