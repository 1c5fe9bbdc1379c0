//! `PUT` and `POST /v4/reloadtask/{taskId}/start`: starts tasks by id, tag or custom property.
//!
//! Further types of items are those that plugins offer in their manifests. They are handed over before any task is started,
//! since a task may read what they leave.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::http::{Method, StatusCode};
use butler_plugin_api::{Endpoint, Scope, StartTaskItem};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::coerce::Shape;
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use super::super::request::{self, Call};
use super::super::switches::{ITEM_OF_BUTLER_16, Switches};
use crate::plugins::Instance;
use crate::qlik::QlikError;
use crate::start_tasks::{Outcome, Report, Request, Selection, Started};

/// Instead of a task id: only the body counts.
const ONLY_BODY: &str = "-";

// An empty id is an unknown one, and no task has an empty value: the tasks of other items are started.
static ID: LazyLock<Option<Shape>> = LazyLock::new(|| shape(&texts(&[("taskId", 0)])));
static TAG: LazyLock<Option<Shape>> = LazyLock::new(|| shape(&texts(&[("tag", 1)])));
static PROPERTY: LazyLock<Option<Shape>> =
    LazyLock::new(|| shape(&texts(&[("customPropertyName", 1), ("customPropertyValue", 0)])));

pub(super) fn endpoints() -> [Declared; 2] {
    ["PUT", "POST"].map(|method| {
        let path = "/v4/reloadtask/{taskId}/start";
        let endpoint = Endpoint::new(method, path, Scope::Tasks, "Starts tasks of Qlik Sense")
            .named("senseStartTask")
            .query(json!({ "type": "object", "properties": { "allTaskIdsMustExist": {
                "type": "boolean", "default": false,
                "description": "Starts no task by its id if one of the ids is unknown",
            } } }))
            .body(items_schema())
            .answer(200, "What was started, and what not", answered::<Body>())
            .answer(403, "An item needs a further scope; no task was started", Value::Null)
            .answer(500, "A plugin did not take its item; no task was started", Value::Null)
            .answer(502, "Qlik Sense does not answer", Value::Null)
            .answer(503, "No Qlik Sense in the config", Value::Null);
        Declared::new(endpoint, Own::StartTasks)
    })
}

/// What the body may be. The items are looked at one by one: which types there are depends on the plugins of the config.
fn items_schema() -> Value {
    let item = json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "description": "`starttaskid`, `starttasktag`, `starttaskcustomproperty`, or a type that a plugin takes" },
            "payload": { "description": "What the type asks for" },
        },
    });
    json!({
        "description": "What to start beside the task of the path. No body, and `{}`, mean nothing more.",
        "type": ["array", "object", "null"],
        "items": item,
        "examples": [[
            { "type": "starttaskid", "payload": { "taskId": "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01" } },
            { "type": "starttasktag", "payload": { "tag": "nightly" } },
            { "type": "starttaskcustomproperty",
              "payload": { "customPropertyName": "taskGroup", "customPropertyValue": "sales" } },
        ]],
    })
}

/// An object that must have these texts, each with its least length.
fn texts(texts: &[(&str, u32)]) -> Value {
    let names: Vec<&str> = texts.iter().map(|(name, _)| *name).collect();
    let text = |(name, least): &(&str, u32)| ((*name).to_owned(), json!({ "type": "string", "minLength": least }));
    let properties: Map<String, Value> = texts.iter().map(text).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn shape(schema: &Value) -> Option<Shape> {
    // The schemas are our own, and used by each test of the endpoint.
    Shape::new(schema).ok().flatten()
}

/// An item of the body.
enum Item {
    Selection(Selection),
    /// For a plugin: the instance, type and payload.
    Other(Arc<Instance>, String, Value),
}

// Names and order are those of Butler 16.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "TasksStarted")]
struct Body<'a> {
    #[serde(rename = "tasksId")]
    ids: ById<'a>,
    #[serde(rename = "tasksTag")]
    tags: Vec<TaskRef<'a>>,
    #[serde(rename = "tasksTagDenied")]
    tags_denied: Vec<Value>,
    #[serde(rename = "tasksCP")]
    properties: Vec<TaskRef<'a>>,
    #[serde(rename = "tasksCPDenied")]
    properties_denied: Vec<Value>,
    /// Not in the API of Butler 16, which did not wait for Qlik Sense's answer.
    #[serde(rename = "tasksFailed", skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed<'a>>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct ById<'a> {
    started: Vec<TaskRef<'a>>,
    invalid: Vec<Value>,
    denied: Vec<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TaskRef<'a> {
    task_id: &'a str,
    task_name: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Failed<'a> {
    #[serde(flatten)]
    task: TaskRef<'a>,
    reason: &'a str,
}

/// Starts tasks, and answers when Qlik Sense has answered.
pub(in super::super) async fn start_tasks(
    context: &Context,
    switches: &Switches,
    call: &Call,
) -> Result<Answer, Failure> {
    let all_task_ids_must_exist = call.query.get("allTaskIdsMustExist").is_some_and(|all| *all == true);
    let caller = call.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default();

    let mut selections = Vec::new();
    let id = call.param("taskId").trim();
    if !id.is_empty() && id != ONLY_BODY {
        selections.push(Selection::TaskId(id.to_owned()));
    }
    let mut others = Vec::new();
    for item in items(&context.instances(), switches, call)? {
        match item {
            Item::Selection(selection) => selections.push(selection),
            Item::Other(instance, kind, payload) => others.push((instance, kind, payload)),
        }
    }
    let starter = match (&context.task_starter, selections.is_empty()) {
        (Some(starter), _) => Some(starter),
        (None, true) => None,
        (None, false) => {
            let message = "Failed starting task: the config has no `qlik:`, so Butler cannot ask Qlik Sense";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
    };
    for (instance, kind, payload) in others {
        let input = json!({ "type": kind, "payload": payload, "caller": caller });
        if let Err(error) = instance.invoke("startTaskItem", input).await {
            let message = format!("Failed starting task: the item `{kind}` was not taken: {error}");
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
    }
    // In the order of Butler 16: ids, tags, custom properties.
    selections.sort_by_key(|selection| match selection {
        Selection::TaskId(_) => 0,
        Selection::Tag(_) => 1,
        Selection::CustomProperty { .. } => 2,
    });
    let report = match starter {
        Some(starter) => starter
            .start(Request { selections, all_task_ids_must_exist, caller })
            .await
            .map_err(|error| failure(&error))?,
        None => Report::new(),
    };
    Ok(answer(&context.secrets(), StatusCode::OK, &body(&report)))
}

fn failure(error: &QlikError) -> Failure {
    Failure::new(StatusCode::BAD_GATEWAY, format!("Failed starting task: {error}"))
}

fn apply(shape: Option<&Shape>, part: &str, value: &mut Value) -> Result<(), Failure> {
    shape.map_or(Ok(()), |shape| shape.apply(part, value)).map_err(Failure::validation)
}

/// The items of the body. No body, and an empty object, are no items.
fn items(instances: &[Arc<Instance>], switches: &Switches, call: &Call) -> Result<Vec<Item>, Failure> {
    let sent = request::parse(&Method::PUT, &call.headers, &call.body, true)?;
    let sent = match sent {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(object)) if object.is_empty() => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Failure::validation("body must be array".to_owned())),
    };
    let offered: BTreeMap<&str, (&Arc<Instance>, &StartTaskItem)> = instances
        .iter()
        .flat_map(|instance| instance.manifest().start_task_items.iter().map(move |item| (instance, item)))
        .map(|(instance, item)| (item.item_type.as_str(), (instance, item)))
        .collect();
    let mut shapes: BTreeMap<&str, Option<Shape>> = BTreeMap::new();
    let mut passed_over: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    let mut items = Vec::with_capacity(sent.len());
    for (number, mut item) in sent.into_iter().enumerate() {
        let at = format!("body/{number}");
        let wrong = |what: &str| Failure::validation(format!("{at}{what}"));
        let Some(fields) = item.as_object_mut() else { return Err(wrong(" must be object")) };
        // One without a type is none: so it was in Butler 16.
        let Some(kind) = fields.remove("type") else { continue };
        let kind = kind.as_str().unwrap_or_default();
        let known = matches!(kind, "starttaskid" | "starttasktag" | "starttaskcustomproperty");
        let off = offered.get(kind).is_some_and(|(_, item)| switches.turn_off_name(&item.name));
        if off || kind == ITEM_OF_BUTLER_16 && !offered.contains_key(kind) {
            let why = if off { "it is in `rest.disabledEndpoints`" } else { "no plugin of the config takes it" };
            passed_over.entry(kind.to_owned()).or_insert((why, 0)).1 += 1;
            continue;
        }
        if !known && !offered.contains_key(kind) {
            return Err(wrong("/type must be equal to one of the allowed values"));
        }
        let Some(mut payload) = fields.remove("payload") else {
            return Err(wrong(" must have required property 'payload'"));
        };
        let part = format!("{at}/payload");
        let own = match kind {
            "starttaskid" => Some(&ID),
            "starttasktag" => Some(&TAG),
            "starttaskcustomproperty" => Some(&PROPERTY),
            _ => None,
        };
        if let Some(own) = own {
            apply(own.as_ref(), &part, &mut payload)?;
            let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
            items.push(Item::Selection(match kind {
                "starttaskid" => Selection::TaskId(text("taskId")),
                "starttasktag" => Selection::Tag(text("tag")),
                _ => Selection::CustomProperty { name: text("customPropertyName"), value: text("customPropertyValue") },
            }));
        } else if let Some((kind, (instance, offered))) = offered.get_key_value(kind) {
            if let (Some(scope), Some(caller)) = (offered.scope, &call.caller) {
                caller.require(scope)?;
            }
            // Checked when the plugin was opened.
            let shape = shapes.entry(kind).or_insert_with(|| shape(&offered.payload));
            apply(shape.as_ref(), &part, &mut payload)?;
            items.push(Item::Other((*instance).clone(), (*kind).to_owned(), payload));
        }
    }
    // A request may have tens of thousands.
    for (kind, (why, count)) in passed_over {
        let caller = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
        tracing::warn!(caller, count, "an item `{kind}` of a request to start tasks is passed over: {why}");
    }
    Ok(items)
}

fn body(report: &Report) -> Body<'_> {
    let mut body = Body::default();
    for (selection, outcome) in report {
        match (selection, outcome) {
            (Selection::TaskId(id), Outcome::Unknown) => body.ids.invalid.push(json!({ "taskId": id })),
            (Selection::TaskId(id), Outcome::Denied | Outcome::HeldBack) => {
                body.ids.denied.push(json!({ "taskId": id }));
            }
            (Selection::Tag(tag), Outcome::Denied) => body.tags_denied.push(json!({ "tag": tag })),
            (Selection::CustomProperty { name, value }, Outcome::Denied) => {
                body.properties_denied.push(json!({ "name": name, "value": value }));
            }
            (selection, Outcome::Tasks(tasks)) => {
                let started = match selection {
                    Selection::TaskId(_) => &mut body.ids.started,
                    Selection::Tag(_) => &mut body.tags,
                    Selection::CustomProperty { .. } => &mut body.properties,
                };
                started.extend(tasks.iter().filter(|started| started.result.is_ok()).map(|started| reference(started)));
                for started in tasks {
                    let known = |failed: &Failed| failed.task.task_id == started.task.task.id;
                    if let Err(reason) = &started.result
                        && !body.failed.iter().any(known)
                    {
                        body.failed.push(Failed { task: reference(started), reason });
                    }
                }
            }
            // Only ids are unknown or held back.
            (_, Outcome::Unknown | Outcome::HeldBack) => {}
        }
    }
    body
}

fn reference(started: &Started) -> TaskRef<'_> {
    TaskRef { task_id: &started.task.task.id, task_name: &started.task.task.name }
}
