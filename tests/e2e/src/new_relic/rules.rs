//! What New Relic drops from what it was sent, as its documentation says: *Data requirements and limits for custom event
//! data*, *Log event data*, *Metric API limits and restricted attributes*. Also used by the unit tests of the plugin.

use serde_json::{Map, Value};

const DAY: i64 = 86_400_000;
/// Most attributes of an event, of a record of a log, of a metric.
const MOST: [usize; 3] = [254, 255, 150];
/// Longest text of a log that is kept, in bytes.
const LONGEST_MESSAGE: usize = 128 * 1024;
/// Names that mean something else than what was sent.
const RESERVED: [&str; 2] = ["accountId", "appId"];

/// Why an event, or one of a list of events, is dropped. `now`: milliseconds since 1970.
pub fn event_fault(body: &Value, now: i64) -> Option<String> {
    match body {
        Value::Array(events) => events.iter().find_map(|event| one_event(event, now).err()),
        event => one_event(event, now).err(),
    }
}

fn one_event(event: &Value, now: i64) -> Result<(), String> {
    let attributes = event.as_object().ok_or("an event is no object")?;
    let name = event["eventType"].as_str().ok_or("no `eventType`")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ' ');
    if name.is_empty() || name.chars().count() > 255 || !name.chars().all(fits) {
        return Err(format!("the type `{name}` is none"));
    }
    if name == "Metric" || name == "MetricRaw" || name.starts_with("Public_") {
        return Err(format!("the type `{name}` is taken"));
    }
    flat(attributes, MOST[0], 4096, false)?;
    time(&event["timestamp"], now, DAY, DAY)
}

/// Why records of logs are dropped.
pub fn log_fault(body: &Value, now: i64) -> Option<String> {
    blocks(body, |common, block| {
        let shared = common["attributes"].as_object().cloned().unwrap_or_default();
        let records = block["logs"].as_array().ok_or("no `logs`")?;
        for record in records {
            let message = record["message"].as_str().ok_or("a record without `message`")?;
            if message.is_empty() || message.len() > LONGEST_MESSAGE {
                return Err(format!("a message of {} bytes is cut", message.len()));
            }
            let mut all = shared.clone();
            all.extend(record["attributes"].as_object().cloned().unwrap_or_default());
            // `message` and `timestamp` are attributes too.
            flat(&all, MOST[1] - 2, 4094, false)?;
            time(&record["timestamp"], now, 2 * DAY, DAY)?;
        }
        Ok(())
    })
}

/// Why metrics are dropped.
pub fn metric_fault(body: &Value, now: i64) -> Option<String> {
    blocks(body, |common, block| {
        let shared = common["attributes"].as_object().cloned().unwrap_or_default();
        time(&common["timestamp"], now, 2 * DAY, DAY)?;
        let metrics = block["metrics"].as_array().filter(|metrics| !metrics.is_empty()).ok_or("no `metrics`")?;
        for metric in metrics {
            let name = metric["name"].as_str().filter(|name| !name.is_empty()).ok_or("a metric without a name")?;
            if name.chars().count() > 255 {
                return Err("a name is too long".to_owned());
            }
            let interval = [common, metric].iter().any(|place| place["interval.ms"].as_u64().is_some_and(|ms| ms > 0));
            match metric["type"].as_str() {
                Some("gauge") => {}
                Some("count") if interval => {}
                Some("count") => return Err(format!("the count `{name}` has no interval")),
                _ => return Err(format!("the type of `{name}` is none")),
            }
            let value = &metric["value"];
            if !value.is_number() || (value.is_u64() && !value.is_i64()) {
                return Err(format!("the value of `{name}` is {value}"));
            }
            let mut all = shared.clone();
            all.extend(metric["attributes"].as_object().cloned().unwrap_or_default());
            flat(&all, MOST[2], 4096, true)?;
        }
        Ok(())
    })
}

fn blocks(body: &Value, check: impl Fn(&Value, &Value) -> Result<(), String>) -> Option<String> {
    let Some(blocks) = body.as_array() else { return Some("the body is no list".to_owned()) };
    blocks.iter().find_map(|block| check(&block["common"], block).err())
}

/// Texts and numbers, not too many and not too long; truths for metrics only.
fn flat(attributes: &Map<String, Value>, most: usize, longest: usize, truths: bool) -> Result<(), String> {
    if attributes.len() > most {
        return Err(format!("{} attributes", attributes.len()));
    }
    for (name, value) in attributes {
        if name.is_empty() || name.chars().count() > 255 || RESERVED.contains(&name.as_str()) {
            return Err(format!("the name `{name}` is none, or taken"));
        }
        match value {
            Value::Number(_) => {}
            Value::Bool(_) if truths => {}
            Value::String(text) if text.encode_utf16().count() <= longest => {}
            Value::String(text) => return Err(format!("`{name}` has {} bytes", text.len())),
            _ => return Err(format!("`{name}` is neither a text nor a number")),
        }
    }
    Ok(())
}

/// Absent, or milliseconds since 1970, not too long ago and not too far ahead.
fn time(given: &Value, now: i64, before: i64, after: i64) -> Result<(), String> {
    match given.as_i64() {
        None if given.is_null() => Ok(()),
        Some(time) if now - time < before && time - now < after => Ok(()),
        _ => Err(format!("the time {given} is none, or too far away")),
    }
}
