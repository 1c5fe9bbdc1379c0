//! Rows of facts that this version does not know, such as those of other authors' plugins: titles and forms by their names.

use serde_json::{Map, Value};

use super::Rows;
use crate::butler16::time;
use crate::message::numbers;

pub(super) fn add(rows: &mut Rows<'_>, facts: &Map<String, Value>) {
    for (name, value) in facts {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    let title = format!("{} {}", words(unit(name).0), words(unit(field).0).to_lowercase());
                    let shown = shown(rows, field, value);
                    rows.text(&title, &shown);
                }
            }
            other => {
                let shown = shown(rows, name, other);
                rows.text(&words(unit(name).0), &shown);
            }
        }
    }
}

/// A fact as people read it, by the unit in its name: sizes, durations, times, yes and no.
fn shown(rows: &Rows<'_>, name: &str, value: &Value) -> String {
    match (value, unit(name).1) {
        (Value::Number(number), Some(Unit::Bytes)) => number.as_i64().map_or_else(String::new, numbers::size_text),
        (Value::Number(number), Some(Unit::Millis)) => number.as_i64().map_or_else(String::new, time::duration_text),
        (Value::Bool(truth), _) => if *truth { "yes" } else { "no" }.to_owned(),
        (Value::String(text), _) => time::short(text, &rows.presentation.zone),
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
