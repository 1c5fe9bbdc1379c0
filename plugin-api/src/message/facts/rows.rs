//! What is known, as rows of title and value.

use serde_json::{Value, json};

use crate::Data;
use crate::message::presentation::Presentation;
use crate::message::{numbers, time};

/// How many rows there are at most.
const MOST_FACTS: usize = 30;

/// What is known, as rows of title and value, for events of any kind.
pub(super) fn rows(data: &Data, presentation: &Presentation) -> Value {
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
    row("User", &presentation.user(data.user.as_deref().unwrap_or_default()));
    for (name, value) in &data.further() {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    row(
                        &format!("{} {}", words(name), words(unit(field).0).to_lowercase()),
                        &shown(field, value, presentation),
                    );
                }
            }
            other => row(&words(name), &shown(name, other, presentation)),
        }
    }
    rows.into()
}

/// A fact as people read it, by the unit in its name: sizes, durations, times, yes and no. Addresses are no facts: they are
/// behind buttons.
fn shown(name: &str, value: &Value, presentation: &Presentation) -> String {
    match (value, unit(name).1) {
        (Value::Number(number), Some(Unit::Bytes)) => number.as_i64().map_or_else(String::new, numbers::size_text),
        (Value::Number(number), Some(Unit::Millis)) => number.as_i64().map_or_else(String::new, time::duration_text),
        (Value::Bool(truth), _) => if *truth { "yes" } else { "no" }.to_owned(),
        (Value::String(text), _) if text.starts_with("http://") || text.starts_with("https://") => String::new(),
        (Value::String(text), _) => time::short(text, &presentation.zone),
        _ => scalar(value),
    }
}

enum Unit {
    Bytes,
    Millis,
}

/// The name of a fact without its unit.
fn unit(name: &str) -> (&str, Option<Unit>) {
    if let Some(name) = name.strip_suffix("Bytes") {
        return (name, Some(Unit::Bytes));
    }
    name.strip_suffix("Ms").map_or((name, None), |name| (name, Some(Unit::Millis)))
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
