//! `/v4/schedules`: schedules as Butler 16 has them, with months from 0.
//!
//! A start or stop lasts until the next start of Butler, when `startupState` decides; one by `/v5` lasts for good.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use butler_plugin_api::{Endpoint, Scope};
use serde_json::{Map, Value, json};

use super::super::answer::{self, Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, text};
use super::super::request::Call;
use crate::schedule::{ChangeError, Fault, Form, Months, STARTUP_STATES, Schedule, Scheduler};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Schedules {
    List,
    Create,
    Update,
    Delete,
    Start,
    StartAll,
    Stop,
    StopAll,
    Status,
}

/// What is declared of them. Names are those of Butler 16's switches.
pub(super) fn endpoints() -> Vec<Declared> {
    let of = |method: &str, path: &str, name: &str, summary: &str| {
        Endpoint::new(method, path, Scope::Scheduler, summary).named(name).answer(
            503,
            "The scheduler is off, or the store cannot be written",
            Value::Null,
        )
    };
    let record = record_schema();
    let list = json!({ "type": "array", "items": record });
    let unknown = "There is no such schedule";
    let id = json!({ "type": "object", "properties": { "id": { "type": "string" } } });
    let all = of("GET", "/v4/schedules", "getSchedule", "Lists all schedules, or one")
        .query(id)
        .answer(200, "The schedules", list.clone())
        .answer(400, unknown, Value::Null);
    let create = of("POST", "/v4/schedules", "createNewSchedule", "Makes a schedule")
        .body(body_schema())
        .answer(201, "The schedule", record.clone())
        .answer(400, "The schedule cannot work", Value::Null);
    let update = of("PUT", "/v4/schedules/{scheduleId}", "updateSchedule", "Replaces a schedule")
        .body(body_schema())
        .answer(200, "The schedule", record)
        .answer(400, "There is no such schedule, or it cannot work", Value::Null);
    let delete = of("DELETE", "/v4/schedules/{scheduleId}", "deleteSchedule", "Deletes a schedule")
        .answer(204, "It is deleted", Value::Null)
        .answer(400, unknown, Value::Null);
    let switch = |path: &str, name: &str, summary: &str| {
        of("PUT", path, name, summary).answer(200, "The schedules", list.clone()).answer(400, unknown, Value::Null)
    };
    let status = of("GET", "/v4/schedules/status", "getScheduleStatusAll", "Says as text which schedules run").answer(
        200,
        "A line for each schedule",
        text("text/plain"),
    );
    let one = "/v4/schedules/{scheduleId}";
    vec![
        Declared::new(all, Own::V4Schedules(Schedules::List)),
        Declared::new(create, Own::V4Schedules(Schedules::Create)),
        Declared::new(update, Own::V4Schedules(Schedules::Update)),
        Declared::new(delete, Own::V4Schedules(Schedules::Delete)),
        Declared::new(
            switch(&format!("{one}/start"), "startSchedule", "Starts a schedule"),
            Own::V4Schedules(Schedules::Start),
        ),
        Declared::new(
            switch("/v4/schedules/startall", "startSchedule", "Starts all schedules"),
            Own::V4Schedules(Schedules::StartAll),
        ),
        Declared::new(
            switch(&format!("{one}/stop"), "stopSchedule", "Stops a schedule"),
            Own::V4Schedules(Schedules::Stop),
        ),
        Declared::new(
            switch("/v4/schedules/stopall", "stopSchedule", "Stops all schedules"),
            Own::V4Schedules(Schedules::StopAll),
        ),
        Declared::new(status, Own::V4Schedules(Schedules::Status)),
    ]
}

/// In this order what is missing is told.
fn body_schema() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["name", "cronSchedule", "timezone", "qlikSenseTaskId", "startupState"],
        "properties": {
            "name": text,
            "cronSchedule": text,
            "timezone": text,
            "qlikSenseTaskId": text,
            "startupState": { "type": "string", "enum": STARTUP_STATES },
            "tags": { "type": "array", "items": text },
        },
    })
}

fn record_schema() -> Value {
    let mut schema = body_schema();
    for name in ["id", "created", "lastKnownState"] {
        schema["properties"][name] = json!({ "type": "string" });
    }
    schema
}

/// Answers one of them.
pub(in super::super) async fn schedules(context: &Context, call: &Call, asked: Schedules) -> Result<Answer, Failure> {
    let scheduler = context.scheduler()?;
    let id = call.param("scheduleId");
    match asked {
        Schedules::List => list(context, scheduler, call),
        Schedules::Create => {
            let schedule = read(call)?;
            let body = schedule.butler16();
            let id = schedule.id.clone();
            scheduler.add(vec![schedule], false).await.map_err(|error| failure("Failed adding new schedule", error))?;
            told(call, "made", &id);
            Ok(answer(&context.secrets(), StatusCode::CREATED, &body))
        }
        Schedules::Update => {
            let unknown = format!("REST SCHEDULER: Update for schedule ID {id} failed.");
            let new = read(call)?;
            let change = |former: Option<&Schedule>| match former {
                None => Schedule { id: id.to_owned(), ..new },
                Some(former) => Schedule {
                    id: former.id.clone(),
                    created: former.created.clone(),
                    missed: former.missed,
                    overlap: former.overlap,
                    ..new
                },
            };
            scheduler.replace(id, change).await.map_err(|error| failure(&unknown, error))?;
            told(call, "replaced", id);
            let schedule = scheduler.get(id).ok_or_else(|| Failure::bad_request(unknown))?;
            Ok(answer(&context.secrets(), StatusCode::OK, &schedule.butler16()))
        }
        Schedules::Delete => {
            let unknown = format!("REST SCHEDULER: Delete for schedule ID {id} failed.");
            scheduler.remove(id).await.map_err(|error| failure(&unknown, error))?;
            told(call, "deleted", id);
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Schedules::Start => switch(context, scheduler, call, Some(id), true).await,
        Schedules::StartAll => switch(context, scheduler, call, None, true).await,
        Schedules::Stop => switch(context, scheduler, call, Some(id), false).await,
        Schedules::StopAll => switch(context, scheduler, call, None, false).await,
        Schedules::Status => Ok(status(context, scheduler)),
    }
}

fn list(context: &Context, scheduler: &Scheduler, call: &Call) -> Result<Answer, Failure> {
    let Some(id) = call.query.get("id").and_then(Value::as_str) else {
        let all: Vec<_> = scheduler.all().iter().map(|schedule| schedule.butler16_listed()).collect();
        return Ok(answer(&context.secrets(), StatusCode::OK, &all));
    };
    let schedule = scheduler.get(id);
    let schedule =
        schedule.ok_or_else(|| Failure::bad_request(format!("REST SCHEDULER: Schedule ID {id} not found.")))?;
    Ok(answer(&context.secrets(), StatusCode::OK, &[schedule.butler16()]))
}

/// The schedule of a body that fits the schema above.
fn read(call: &Call) -> Result<Schedule, Failure> {
    let entries: Map<String, Value> =
        serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
    Schedule::read_new(&entries, Form::Butler16).map_err(|faults| {
        let faults = faults.into_iter().map(|Fault { field, message }| format!("body/{field} {message}"));
        Failure::validation(faults.collect::<Vec<_>>().join("; "))
    })
}

async fn switch(
    context: &Context,
    scheduler: &Arc<Scheduler>,
    call: &Call,
    id: Option<&str>,
    on: bool,
) -> Result<Answer, Failure> {
    let verb = if on { "starting" } else { "stopping" };
    let text = format!("REST SCHEDULER: Failed {verb} schedule ID {}.", id.unwrap_or_default());
    let switched = scheduler.switch(id, on, false).await.map_err(|error| failure(&text, error))?;
    told(call, if on { "started" } else { "stopped" }, id.unwrap_or("all"));
    let switched: Vec<_> = switched.iter().map(|schedule| schedule.butler16()).collect();
    Ok(answer(&context.secrets(), StatusCode::OK, &switched))
}

fn status(context: &Context, scheduler: &Scheduler) -> Answer {
    let mut text = "{\n".to_owned();
    for schedule in scheduler.all() {
        let state = if schedule.enabled { "Running" } else { "Stopped" };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "'{}': {} status: {state}", schedule.id, schedule.cron.text(Months::FromZero));
    }
    text += "}\n";
    answer::text(&context.secrets(), HeaderValue::from_static("text/plain; charset=utf-8"), &text)
}

/// `unknown`: what is answered when there is no such schedule.
fn failure(unknown: &str, error: ChangeError) -> Failure {
    match error {
        ChangeError::Unknown(_) => Failure::bad_request(unknown),
        ChangeError::Busy | ChangeError::Late => Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        ChangeError::Store(error) => Failure::from(error),
        other => Failure::bad_request(other.to_string()),
    }
}

fn told(call: &Call, what: &str, id: &str) {
    let caller = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
    tracing::info!(caller, schedule = id, "a schedule was {what} by REST");
}
