//! Events of Qlik Cloud, as its webhooks send them, in each of their three envelopes: the legacy form (CloudEvents 0.1 with
//! `extensions`), CloudEvents 1.0, and since November 2025 both at once.
//!
//! Format: Qlik's developer portal, "Qlik Cloud system events" (apps, reloads).

use butler_plugin_api::{App, CloudReload, Data, Execution, Owner};
use serde::Deserialize;
use serde_json::Value;

use crate::qlik::{is_guid, millis, short};

/// One for each attempt of the engine; `data` is of the engine.
const APP_RELOAD_FINISHED: &str = "com.qlik.v1.app.reload.finished";
/// One for each reload that was asked for; `data` is of the reload service.
const RELOAD_FINISHED: &str = "com.qlik.v1.reload.finished";

/// What a reload's status says when it failed: of the engine, and of the reload service.
const FAILED: [&str; 3] = ["error", "failed", "exceeded_limit"];

/// Longest id that is taken, in bytes.
const LONGEST_ID: usize = 256;
/// Errors, warnings and statements of an event that are kept, and how long each may be, in characters.
const TEXTS: usize = 50;
const LONGEST_TEXT: usize = 2_000;

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON, or of another form.
    #[error("it is not JSON of the form of an event: {0}")]
    NotJson(String),
    /// It names no tenant.
    #[error("it names no tenant (`tenantid`, or `extensions.tenantId` in the legacy form)")]
    NoTenant,
    /// It names two.
    #[error("it names two tenants")]
    TwoTenants,
    /// Something that every event has is not there.
    #[error("it has no {0}")]
    Lacks(&'static str),
    /// An id is too long or has control characters.
    #[error("the id of its {0} has more than {LONGEST_ID} bytes or control characters")]
    Id(&'static str),
}

/// What only the envelope tells, read without believing it.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    tenantid: Option<String>,
    #[serde(default)]
    extensions: Option<NamedExtensions>,
}

#[derive(Deserialize)]
struct NamedExtensions {
    #[serde(rename = "tenantId", default)]
    tenant_id: Option<String>,
}

/// The tenant that a message names. Nothing else of the message is kept or looked at.
pub(super) fn tenant_of(message: &[u8]) -> Result<String, Malformed> {
    let named: Named = serde_json::from_slice(message).map_err(|error| not_json(&error))?;
    match (named.tenantid, named.extensions.and_then(|extensions| extensions.tenant_id)) {
        (Some(one), Some(other)) if one != other => Err(Malformed::TwoTenants),
        (Some(id), _) | (None, Some(id)) if !id.is_empty() => Ok(id),
        _ => Err(Malformed::NoTenant),
    }
}

/// The error may quote the message, which may be long, and of a stranger.
fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed::NotJson(short(&error.to_string(), 200))
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// When it happened, ms since 1970.
    pub(super) time_ms: Option<i64>,
    pub(super) about: About,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum About {
    /// Something that is not told, and why.
    Other(String),
    /// A reload failed.
    Failure(Box<Failure>),
}

/// A reload that failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    /// What identifies it within the tenant: the id of the reload, or else that of the event.
    pub(super) identity: String,
    /// The facts; those of the tenant are for the caller, who knows it.
    pub(super) data: Data,
}

/// Reads a message.
pub(super) fn read(message: &[u8]) -> Result<Message, Malformed> {
    let json: Value = serde_json::from_slice(message).map_err(|error| not_json(&error))?;
    let kind = either(&json, "type", &json["eventType"]).ok_or(Malformed::Lacks("type"))?;
    let time_ms = either(&json, "time", &json["eventTime"]).as_deref().and_then(millis);
    if kind != APP_RELOAD_FINISHED && kind != RELOAD_FINISHED {
        return Ok(Message {
            time_ms,
            about: About::Other(format!("events of type `{}` are not told", short(&kind, 100))),
        });
    }
    let data = &json["data"];
    let status = text(&data["status"]).ok_or(Malformed::Lacks("`data.status`"))?;
    if !FAILED.iter().any(|failed| failed.eq_ignore_ascii_case(&status)) {
        let why = format!("the reload did not fail: its status is `{}`", short(&status, 100));
        return Ok(Message { time_ms, about: About::Other(why) });
    }
    let failure = failure(&json, kind, status)?;
    Ok(Message { time_ms, about: About::Failure(Box::new(failure)) })
}

fn failure(json: &Value, kind: String, status: String) -> Result<Failure, Malformed> {
    let (data, extensions) = (&json["data"], &json["extensions"]);
    let (reload, resource) =
        (text(&data["reloadId"]), either(json, "toplevelresourceid", &extensions["topLevelResourceId"]));
    let (reload, app) = if kind == RELOAD_FINISHED {
        // The resource of such an event may be the reload.
        (reload.or_else(|| text(&data["id"])), text(&data["appId"]).or_else(|| resource.filter(|id| is_guid(id))))
    } else {
        (reload, resource.or_else(|| text(&data["appId"])))
    };
    let reload = id("reload", reload)?;
    let identity = match (&reload, id("event", either(json, "id", &json["eventId"]))?) {
        (Some(reload), _) => reload.clone(),
        (None, Some(event)) => format!("event:{event}"),
        (None, None) => return Err(Malformed::Lacks("id, neither of the reload nor of its own")),
    };
    let (app, user) = (id("app", app)?, id("user", either(json, "userid", &extensions["userId"]))?);
    let owner = id("owner", either(json, "ownerid", &extensions["ownerId"]))?;
    let errors = texts(&data["errors"]);
    let duration = whole(&data["duration"]);
    let cloud = CloudReload {
        reload_id: reload,
        reload_trigger: text(&data["type"]).filter(|_| kind == RELOAD_FINISHED),
        source: text(&json["source"]),
        event_type: Some(kind),
        event_type_version: text(&json["eventTypeVersion"]),
        status: Some(status),
        duration_ms: duration,
        error_code: text(&data["errorCode"]),
        error_message: text(&data["errorMessage"]),
        errors: errors.clone(),
        warnings: texts(&data["warnings"]),
        statements: texts(&data["statements"]),
        ended_with_memory_constraint: data["endedWithMemoryConstraint"].as_bool(),
        is_direct_query_mode: data["isDirectQueryMode"].as_bool(),
        is_partial_reload: data["isPartialReload"].as_bool().or_else(|| data["partial"].as_bool()),
        is_session_app: data["isSessionApp"].as_bool(),
        is_skip_store: data["isSkipStore"].as_bool(),
        peak_memory_bytes: whole(&data["peakMemoryBytes"]),
        size_memory_bytes: whole(&data["size"]["memory"]),
        row_limit: data["rowLimit"].as_i64(),
        usage: text(&data["usage"]),
        ..CloudReload::default()
    };
    let owner = owner.map(|id| Owner { user_id: id.clone(), id, ..Owner::default() });
    let app = app.map(|id| App { id, name: text(&data["name"]).unwrap_or_default(), owner, ..App::default() });
    let execution = Execution {
        start_time: text(&data["startTime"]).filter(|time| millis(time).is_some()),
        stop_time: text(&data["endTime"]).filter(|time| millis(time).is_some()),
        duration_ms: duration.and_then(|ms| i64::try_from(ms).ok()),
        ..Execution::default()
    };
    let known = execution != Execution::default();
    let data = Data {
        app: app.map(Box::new),
        execution: known.then_some(execution),
        user,
        message: cloud.error_message.clone().or_else(|| errors?.into_iter().next()),
        cloud: Some(Box::new(cloud)),
        ..Data::default()
    };
    Ok(Failure { identity, data })
}

/// An attribute of CloudEvents 1.0, or else its legacy form.
fn either(json: &Value, attribute: &str, legacy: &Value) -> Option<String> {
    text(&json[attribute]).or_else(|| text(legacy))
}

/// A text that says something.
fn text(json: &Value) -> Option<String> {
    json.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number that is not negative, also where it is written as a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(json: &Value) -> Option<u64> {
    json.as_u64().or_else(|| json.as_f64().filter(|number| (0.0..1e15).contains(number)).map(|number| number as u64))
}

fn id(what: &'static str, id: Option<String>) -> Result<Option<String>, Malformed> {
    match id {
        Some(id) if id.len() > LONGEST_ID || id.chars().any(char::is_control) => Err(Malformed::Id(what)),
        id => Ok(id),
    }
}

/// A list of texts or objects as texts; absent if there is none.
fn texts(json: &Value) -> Option<Vec<String>> {
    let written = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
    Some(json.as_array()?.iter().take(TEXTS).map(|item| short(&written(item), LONGEST_TEXT)).collect())
}
