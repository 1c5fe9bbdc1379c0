//! The general form, for kinds that Butler 16 did not write, and for those of third parties.
//!
//! `node.silent` is the measurement `node_silent`. Where, to what and on whose behalf it happened are tags; so are a few
//! facts that tell series apart. All other facts are fields: `certificate.daysUntilExpiry` is `days_until_expiry`, what is
//! in no section of its own keeps its path, `phase_full`. Lists are JSON texts.

use butler_plugin_api::Event;
use butler_plugin_api::butler16::LogLines;
use serde_json::{Map, Value};

use crate::line::{Point, cut};
use crate::points::{Maker, about};
use crate::script;
use crate::task::{Times, run};

/// Most fields of one point, and how deep facts are looked into.
const MOST_FIELDS: usize = 100;
const DEEPEST: usize = 6;
/// Longest text of a field here, in bytes: a hundred of them are one point.
const LONGEST: usize = 8_000;

/// Sections of facts that are the subject of their kind: their names say nothing more.
const SUBJECTS: [&str; 11] =
    ["session", "certificate", "silence", "taskStart", "cloud", "butler", "udp", "dead", "audit", "posted", "service"];
/// Facts of these sections that tell series apart, and are few: tags.
const TAGS: [&str; 10] = [
    "context",
    "subject",
    "selected_by",
    "caller",
    "instance",
    "method",
    "channel",
    "tenant_id",
    "version",
    "reload_trigger",
];

/// How an event came about that a plugin emitted: the host's own affair.
const CHAIN: &str = "chainDepth";

/// The point of an event.
pub(crate) fn point(event: &Event, measurement: &str, log: Option<&LogLines>, maker: &Maker) -> Point {
    let data = &event.data;
    let mut point = about(event, measurement);
    if let Some(execution) = &data.execution {
        run(&mut point, execution, maker, Times::Forms);
    }
    if let Some(line) = &data.log {
        point.text("log_timestamp", Some(line.timestamp.clone()));
        point.text("log_message", Some(line.message.clone()));
    }
    if let Some(lines) = log {
        point.text("scriptLog", Some(script::of_failure(data.execution.as_ref(), lines)));
    }
    for (section, fact) in data.further().into_iter().filter(|(name, _)| name != CHAIN) {
        if SUBJECTS.contains(&section.as_str()) && fact.is_object() {
            add(&mut point, &section, "", &fact, 0);
        } else {
            add(&mut point, "", &name(&section), &fact, 0);
        }
    }
    if point.field_count() == 0 {
        point.text("message", Some(event.summary()));
    }
    point
}

/// Adds a fact, or all facts in it. One whose name is taken is left out.
fn add(point: &mut Point, section: &str, path: &str, fact: &Value, depth: usize) {
    if point.field_count() >= MOST_FIELDS || depth > DEEPEST {
        return;
    }
    if point.has_field(path) || point.tags.contains_key(path) {
        return;
    }
    let is_tag = !section.is_empty() && TAGS.contains(&path);
    match fact {
        Value::Null => {}
        Value::Bool(flag) => point.flag(path, Some(*flag)),
        Value::Number(number) => point.float(path, number.as_f64()),
        Value::String(text) if is_tag => point.tag(path, Some(text.as_str())),
        Value::String(text) => point.text(path, Some(cut(text, LONGEST))),
        Value::Array(items) if items.is_empty() => {}
        Value::Array(_) => point.text(path, Some(cut(&fact.to_string(), LONGEST))),
        Value::Object(facts) => inside(point, section, path, facts, depth),
    }
}

fn inside(point: &mut Point, section: &str, path: &str, facts: &Map<String, Value>, depth: usize) {
    for (key, fact) in facts {
        let path = match path {
            // What an id identifies is in the name of the section alone.
            "" if key == "id" => format!("{}_id", name(section)),
            "" => name(key),
            path => format!("{path}_{}", snake(key)),
        };
        add(point, section, &path, fact, depth + 1);
    }
}

/// `node.silent` as `node_silent`; what cannot be in a name is `_`, and none begins with it: those are InfluxDB's own.
pub(crate) fn measurement(kind: &str) -> String {
    let name: String = kind.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    named(name.trim_start_matches('_'))
}

fn name(key: &str) -> String {
    named(snake(key).trim_start_matches('_'))
}

/// `daysUntilExpiry` as `days_until_expiry`.
fn snake(key: &str) -> String {
    let mut name = String::new();
    let mut after_small = false;
    for letter in key.chars() {
        if letter.is_uppercase() && after_small {
            name.push('_');
        }
        after_small = letter.is_lowercase() || letter.is_numeric();
        name.extend(letter.to_lowercase().map(|c| if c.is_alphanumeric() { c } else { '_' }));
    }
    name
}

/// InfluxDB has a column `time` of its own, and a name is not empty.
fn named(name: &str) -> String {
    match name {
        "" => "value".to_owned(),
        "time" => "time_".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_event;
    use serde_json::json;

    use super::*;
    use crate::tests::maker;

    #[test]
    fn names_are_those_of_influxdb() {
        let names = ["daysUntilExpiry", "URL", "_id", "a b=c,d", "time", "", "HTTPStatus2xx", "ÄÖ"];
        assert_eq!(
            names.map(name),
            ["days_until_expiry", "url", "id", "a_b_c_d", "time_", "value", "httpstatus2xx", "äö"].map(str::to_owned)
        );
        assert_eq!(measurement("chat.room-opened"), "chat_room_opened");
        assert_eq!(measurement("#._x"), "x");
    }

    #[test]
    fn facts_of_any_form_and_number_make_a_point() {
        let mut event = sample_event("moon.risen");
        let mut deep = json!(1);
        for _ in 0..50 {
            deep = json!({ "d": deep });
        }
        let other = json!({ "phase": { "full": true, "Age": 14.2, "time": "now" }, "craters": ["a", 1, null], "none": null,
                            "empty": [], "deep": deep, "host": "other", "long": "x".repeat(1 << 20), "nothing": {} });
        event.data.other = other.as_object().unwrap().clone();
        for number in 0..500 {
            event.data.other.insert(format!("z{number}"), json!(number));
        }
        let point = point(&event, &measurement(&event.kind), None, &maker(json!({})));
        let line = point.line(None).unwrap();
        assert!(line.starts_with("moon_risen,host=sense1 craters=\"[\\\"a\\\",1,null]\","), "{line}");
        assert!(line.contains("phase_age=14.2,phase_full=true,phase_time=\"now\""), "{line}");
        assert_eq!(point.field_count(), MOST_FIELDS);
        assert!(line.len() < 12_000, "{}", line.len());
    }

    #[test]
    fn an_event_without_facts_is_a_point_too() {
        let mut event = sample_event("moon.risen");
        event.data = butler_plugin_api::Data::default();
        assert_eq!(
            point(&event, &measurement(&event.kind), None, &maker(json!({}))).line(None).unwrap(),
            "moon_risen message=\"Moon risen\""
        );
    }
}
