//! The variables in a tidy, nested form: the event as it is, with what people want to read beside it.

use butler_plugin_api::{Data, Delivery, Instance};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::headline;
use crate::time;

/// How many rows the general list of facts has at most.
const MOST_FACTS: usize = 30;

pub(super) fn add(base: &mut Map<String, Value>, delivery: &Delivery, instance: &Instance, zone: &TimeZone) {
    let event = &delivery.event;
    let mut data = serde_json::to_value(&event.data).unwrap_or_default();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            base.insert(name.to_owned(), value);
        }
    };
    for name in ["task", "app", "log", "scriptLog"] {
        put(name, data[name].clone());
    }
    // It is at the top, where it is shortened when the message is too long.
    data.as_object_mut().and_then(|data| data.remove("scriptLog"));
    if let Some(execution) = &event.data.execution {
        let mut value = data["execution"].clone();
        if let Some(millis) = execution.duration_ms {
            value["duration"] = time::duration_text(millis).into();
        }
        let times = [("startTimeLocal", &execution.start_time), ("stopTimeLocal", &execution.stop_time)];
        for (name, text) in times {
            if let Some(text) = text.as_ref().filter(|text| !time::is_never(text)) {
                value[name] = time::short(text, zone).into();
            }
        }
        put("execution", value);
    }
    put("links", links(delivery, instance));
    put("facts", facts(&event.data));
    put("note", delivery.note().into());
    put("summary", event.summary().into());
    put("heading", heading(delivery).into());
    put(
        "event",
        json!({
            "id": event.id, "kind": event.kind, "subject": event.subject(), "outcome": event.outcome(),
            "time": event.time, "timeLocal": time::short(&event.time, zone), "receivedAt": event.received_at,
            "source": event.source, "data": data,
        }),
    );
}

/// `Reload task failed: Sales nightly`.
fn heading(delivery: &Delivery) -> String {
    let event = &delivery.event;
    let task = event.data.task.iter().flat_map(|task| [&task.name, &task.id]);
    let app = event.data.app.iter().flat_map(|app| [&app.name, &app.id]);
    match task.chain(app).find(|name| !name.is_empty()) {
        Some(name) => format!("{}: {name}", headline(&event.kind)),
        None => headline(&event.kind),
    }
}

/// The links of the config, and all of them once more as one list of buttons.
fn links(delivery: &Delivery, instance: &Instance) -> Value {
    let links = &instance.links;
    let app = delivery.event.data.app.as_ref().filter(|app| !app.id.is_empty()).and_then(|app| links.app(&app.id));
    let fixed = [("Open QMC", &links.qmc), ("Open hub", &links.hub), ("Open app", &app)];
    let fixed =
        fixed.into_iter().filter_map(|(title, url)| url.as_ref().map(|url| json!({ "title": title, "url": url })));
    let custom = links
        .custom
        .iter()
        .map(|link| json!({ "id": link.id, "title": link.link_text, "tooltip": link.comment, "url": link.url }));
    let buttons: Vec<Value> = fixed.chain(custom.clone()).collect();
    let custom: Vec<Value> = custom.collect();
    json!({ "qmc": links.qmc, "hub": links.hub, "app": app, "custom": custom, "buttons": buttons })
}

/// What is known, as rows of title and value, for events of any kind.
fn facts(data: &Data) -> Value {
    let mut rows = Vec::new();
    let mut row = |title: &str, value: &str| {
        if !value.is_empty() && rows.len() < MOST_FACTS {
            rows.push(json!({ "title": title, "value": value }));
        }
    };
    row("Task", data.task.as_ref().map_or("", |task| &task.name));
    row("Task id", data.task.as_ref().map_or("", |task| &task.id));
    row("App", data.app.as_ref().map_or("", |app| &app.name));
    row("App id", data.app.as_ref().map_or("", |app| &app.id));
    row("Owner", data.app.as_ref().and_then(|app| app.owner.as_ref()).map_or("", |owner| &owner.name));
    row("Node", data.node.as_deref().unwrap_or_default());
    row("User", &data.user.as_deref().unwrap_or_default().replace('\\', "/"));
    for (name, value) in &data.further() {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    row(&format!("{} {}", words(name), words(field).to_lowercase()), &scalar(value));
                }
            }
            other => row(&words(name), &scalar(other)),
        }
    }
    rows.into()
}

/// A text, number or truth, or a list of such; nothing for what is deeper.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(items) => items.iter().map(scalar).filter(|item| !item.is_empty()).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Object(_) => String::new(),
    }
}

/// `daysUntilExpiry` as `Days until expiry`.
fn words(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        match letter {
            letter if index == 0 => text.extend(letter.to_uppercase()),
            letter if letter.is_uppercase() => {
                text.push(' ');
                text.extend(letter.to_lowercase());
            }
            '-' | '_' | '.' => text.push(' '),
            letter => text.push(letter),
        }
    }
    text
}
