//! The facts of an event as attributes: names of Butler 16, and a scheme for all that it did not have.
//!
//! New Relic's attributes are flat. A fact within a fact has the names joined by a dot (`qs_certificate.daysUntilExpiry`).

use std::collections::BTreeMap;

use butler_plugin_api::{Data, Delivery, Event, butler16, kind};
use jiff::Timestamp;
use serde_json::Value;

use crate::attributes::{Attributes, json};
use crate::relic::Named;

/// How many facts an event without a form of its own may bring, and how deep they may be nested.
const MOST_FACTS: usize = 100;
const DEEPEST: usize = 4;
/// New Relic takes events of the last and the next 24 hours; an hour is kept for the way and for clocks.
const WINDOW_MS: i64 = 23 * 3_600_000;

/// Whether an event tells of the state of a Windows service, which has a form of its own.
pub(crate) fn is_service(event: &Event) -> bool {
    matches!(event.kind.as_str(), kind::SERVICE_STOPPED | kind::SERVICE_STARTED | kind::SERVICE_STATE)
}

/// `qs_reloadTaskFailedEvent` of `reload-task.failed` and `Event`; `qs_serviceStateEvent` for states of services.
///
/// Letters and digits only, so that New Relic takes it whatever the kind is.
pub(crate) fn type_name(event: &Event, suffix: &str) -> String {
    if is_service(event) {
        return format!("qs_serviceState{suffix}");
    }
    let mut name = "qs_".to_owned();
    for word in event.kind.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        name.push_str(&if name == "qs_" { first.to_ascii_lowercase() } else { first.to_ascii_uppercase() });
        name.push_str(rest);
    }
    name + suffix
}

/// Static attributes and the facts. `version`: that of Butler.
pub(crate) fn attributes(event: &Event, given: &Named, version: &str) -> Attributes {
    let mut attributes = Attributes::new(given);
    if is_service(event) {
        service(&mut attributes, event);
        return attributes;
    }
    let data = &event.data;
    attributes.set("version", version);
    attributes.set_known("qs_hostName", data.node.as_deref());
    attributes.set_known("qs_user", data.user.as_deref().map(butler16::slashed_user).as_deref());
    attributes.set_known("qs_taskName", data.task.as_ref().map(|task| task.name.as_str()));
    attributes.set_known("qs_taskId", data.task.as_ref().map(|task| task.id.as_str()));
    attributes.set_known("qs_appName", data.app.as_ref().map(|app| app.name.as_str()));
    attributes.set_known("qs_appId", data.app.as_ref().map(|app| app.id.as_str()));
    attributes.set_known("qs_logTimeStamp", data.log.as_ref().map(|log| log.timestamp.as_str()));
    attributes.set_known("qs_logLevel", data.log.as_ref().map(|log| log.level.as_str()));
    attributes.set_known("qs_executionId", data.execution.as_ref().and_then(|execution| execution.id.as_deref()));
    attributes.set_known("qs_logMessage", data.log.as_ref().map(|log| log.message.as_str()));
    properties(&mut attributes, "qs_appCustomProperty_", data.app.as_ref().map(|app| &app.custom_properties));
    properties(&mut attributes, "qs_taskCustomProperty_", data.task.as_ref().map(|task| &task.custom_properties));
    tags(&mut attributes, "qs_taskTag_", data.task.as_ref().map(|task| task.tags.as_slice()));
    tags(&mut attributes, "qs_appTag_", data.app.as_ref().map(|app| app.tags.as_slice()));
    further(&mut attributes, data);
    attributes
}

fn properties(attributes: &mut Attributes, prefix: &str, properties: Option<&BTreeMap<String, Vec<String>>>) {
    for (name, values) in properties.into_iter().flatten() {
        attributes.set_known(&format!("{prefix}{name}"), Some(&values.join(", ")));
    }
}

fn tags(attributes: &mut Attributes, prefix: &str, tags: Option<&[String]>) {
    for tag in tags.into_iter().flatten() {
        attributes.set(&format!("{prefix}{tag}"), "true");
    }
}

fn service(attributes: &mut Attributes, event: &Event) {
    let service = event.data.service.as_deref().cloned().unwrap_or_default();
    attributes.set_known("butler_serviceHost", service.host.as_deref().or(event.data.node.as_deref()));
    attributes.set_known("butler_serviceName", service.name.as_deref());
    attributes.set_known("butler_serviceDisplayName", service.display_name.as_deref());
    attributes.set_known("butler_serviceStatus", service_state(event).as_deref());
}

/// `STOPPED`, `RUNNING` or another state, in capitals. If it is not said the kind says it.
pub(crate) fn service_state(event: &Event) -> Option<String> {
    let state = event.data.service.as_ref().and_then(|service| service.state.as_deref()).map(str::to_uppercase);
    state.filter(|state| !state.is_empty()).or_else(|| match event.kind.as_str() {
        kind::SERVICE_STOPPED => Some("STOPPED".to_owned()),
        kind::SERVICE_STARTED => Some("RUNNING".to_owned()),
        _ => None,
    })
}

/// What the kind has beyond task, app, run and log line, as `qs_<name>`.
fn further(attributes: &mut Attributes, data: &Data) {
    let mut flat = Vec::new();
    for (name, fact) in data.further() {
        flatten(&mut flat, format!("qs_{name}"), fact, DEEPEST);
    }
    for (name, value) in flat {
        attributes.set(&name, value);
    }
}

/// Scalars; lists of scalars as a text; what is nested deeper than `depth`, and lists of other things, as JSON.
fn flatten(flat: &mut Vec<(String, Value)>, name: String, fact: Value, depth: usize) {
    if flat.len() >= MOST_FACTS {
        return;
    }
    match fact {
        Value::Null => {}
        Value::Object(facts) if depth > 0 => {
            for (inner, fact) in facts {
                flatten(flat, format!("{name}.{inner}"), fact, depth - 1);
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            let texts = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            let text = texts.collect::<Vec<_>>().join(", ");
            if !text.is_empty() {
                flat.push((name, Value::from(text)));
            }
        }
        Value::Array(_) | Value::Object(_) => flat.push((name, Value::from(json(&fact)))),
        Value::String(text) if text.is_empty() => {}
        scalar => flat.push((name, scalar)),
    }
}

/// How the run ended, for events.
pub(crate) fn run(attributes: &mut Attributes, data: &Data) {
    let Some(execution) = &data.execution else { return };
    attributes.set("qs_executionStatusNum", execution.status);
    attributes.set_known("qs_executionStatusText", execution.status_text.as_deref());
    attributes.set("qs_executionDurationSeconds", execution.duration_ms.map(|millis| millis.max(0) / 1000));
}

/// The run and its script log, for logs. `lines`: how many of the script log are sent.
pub(crate) fn whole_run(attributes: &mut Attributes, data: &Data, zone: &butler16::Zone, lines: Option<usize>) {
    if let Some(execution) = &data.execution {
        attributes.set_known("qs_executingNodeName", execution.node.as_deref());
        let times = [
            ("qs_executionStartTime", "startTime", &execution.start_time),
            ("qs_executionStopTime", "stopTime", &execution.stop_time),
        ];
        for (name, prefix, time) in times {
            for (form, text) in time.iter().flat_map(|time| zone.forms(prefix, time)) {
                attributes.set(&format!("{name}.{form}"), text);
            }
        }
        let duration = execution.duration_ms.map(butler16::duration).unwrap_or_default();
        for unit in ["hours", "minutes", "seconds"] {
            attributes.set(&format!("qs_executionDuration.{unit}"), duration[unit].clone());
        }
        run(attributes, data);
        // As Butler 16 writes it; the right spelling is there as well.
        attributes.set_known("qs_exeuctionStatusText", execution.status_text.as_deref());
        attributes.set("qs_scriptLogSize", execution.script_log_size);
    }
    attributes.set("qs_scriptLogTailCount", lines);
}

/// Which event it is, and what a reader should know beyond it.
pub(crate) fn identity(attributes: &mut Attributes, delivery: &Delivery) {
    attributes.set_known("butler_eventId", Some(&delivery.event.id));
    attributes.set_known("butler_eventKind", Some(&delivery.event.kind));
    attributes.set_known("butler_eventTime", Some(&delivery.event.time));
    attributes.set_known("butler_note", Some(&delivery.note()));
}

/// When it happened, in milliseconds since 1970; nothing if that is no time.
pub(crate) fn millis(event: &Event) -> Option<i64> {
    event.time.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// The same, if New Relic takes it: what is older, or lies in the future, would be dropped. Without a time an event gets that
/// of its arrival.
pub(crate) fn timestamp(event: &Event, now: i64) -> Option<i64> {
    millis(event).filter(|time| time.abs_diff(now) <= WINDOW_MS.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{sample_event, sample_events};
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_made_of_the_kind() {
        for (kind, name) in [
            (kind::RELOAD_TASK_FAILED, "qs_reloadTaskFailedEvent"),
            (kind::RELOAD_TASK_ABORTED, "qs_reloadTaskAbortedEvent"),
            (kind::SERVICE_STOPPED, "qs_serviceStateEvent"),
            (kind::SERVICE_STARTED, "qs_serviceStateEvent"),
            (kind::SERVICE_UNKNOWN, "qs_serviceUnknownEvent"),
            (kind::EXTERNAL_PROGRAM_TASK_FAILED, "qs_externalProgramTaskFailedEvent"),
            ("moon.über-Full 'x", "qs_moonBerFullXEvent"),
            ("é", "qs_Event"),
        ] {
            assert_eq!(type_name(&sample_event(kind), "Event"), name);
        }
        assert_eq!(type_name(&sample_event(kind::RELOAD_TASK_FAILED), "Log"), "qs_reloadTaskFailedLog");
    }

    #[test]
    fn facts_go_before_static_attributes_of_the_same_name() {
        let given = vec![("qs_taskName".to_owned(), json!("static")), ("service".to_owned(), json!("butler"))];
        let attributes = attributes(&sample_event(kind::RELOAD_TASK_FAILED), &given, "17.0.0");
        assert_eq!(&attributes.names()[..3], ["qs_taskName", "service", "version"]);
        assert_eq!(serde_json::to_value(&attributes).unwrap()["qs_taskName"], "Sales nightly");
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        for mut event in sample_events() {
            event.data = Data::default();
            let attributes = attributes(&event, &Vec::new(), "17.0.0");
            let status = matches!(event.kind.as_str(), kind::SERVICE_STOPPED | kind::SERVICE_STARTED);
            let expected: &[&str] = match (is_service(&event), status) {
                (true, true) => &["butler_serviceStatus"],
                (true, false) => &[],
                _ => &["version"],
            };
            assert_eq!(attributes.names(), expected, "{}", event.kind);
        }
    }

    #[test]
    fn nested_facts_become_flat_and_stay_few() {
        let mut event = sample_event("moon.risen");
        let deep = json!({ "a": { "b": { "c": { "d": { "e": 1 } } } }, "list": [1, "x", true], "objects": [{ "o": 1 }],
                           "none": null, "empty": [] });
        event.data = Data::from_json(&json!({ "moon": deep }));
        let shown = serde_json::to_value(attributes(&event, &Vec::new(), "17.0.0")).unwrap();
        assert_eq!(
            shown,
            json!({ "version": "17.0.0", "qs_moon.a.b.c.d": "{\"e\":1}", "qs_moon.list": "1, x, true",
                    "qs_moon.objects": "[{\"o\":1}]" })
        );
        let many: serde_json::Map<_, _> = (0..5000).map(|n| (n.to_string(), json!(n))).collect();
        event.data = Data::from_json(&Value::Object(many));
        assert_eq!(attributes(&event, &Vec::new(), "17.0.0").names().len(), MOST_FACTS + 1);
    }

    #[test]
    fn times_that_new_relic_would_drop_are_not_sent() {
        let mut event = sample_event(kind::RELOAD_TASK_FAILED);
        let time = millis(&event).unwrap();
        assert_eq!(time, 1_772_600_767_890);
        for (now, sent) in [
            (time, true),
            (time + WINDOW_MS, true),
            (time + WINDOW_MS + 1, false),
            (time - WINDOW_MS, true),
            (time - WINDOW_MS - 1, false),
            (i64::MIN, false),
        ] {
            assert_eq!(timestamp(&event, now), sent.then_some(time), "{now}");
        }
        event.time = "soon".to_owned();
        assert_eq!(timestamp(&event, time), None);
    }
}
