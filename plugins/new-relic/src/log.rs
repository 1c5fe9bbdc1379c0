//! Bodies for the Log API: attributes in common, and the text in as many records and requests as it needs.

use butler_plugin_api::butler16::{self, LogLines, Zone};
use butler_plugin_api::{Delivery, Event};
use serde_json::{Map, Value};

use crate::attributes::{LONGEST_IN_LOGS, json};
use crate::facts;
use crate::relic::Rule;

/// Most attributes of a record, and those of them that are set at its end: which event, type, text, time, part.
const MOST: usize = 255;
const AT_THE_END: usize = 9;
/// Most bytes of the facts.
const BYTES: usize = 400_000;
/// Most bytes of a request, of 1,000,000 that New Relic takes.
const REQUEST: usize = 950_000;
/// Longest text of a record in bytes, of 128 kB that New Relic keeps, and in bytes of JSON.
const PART: usize = 120_000;
const PART_AS_JSON: usize = 400_000;

/// The bodies of the requests, in order. `lines`: of the script log, if there is one. `now`: milliseconds since 1970.
pub(crate) fn bodies(
    delivery: &Delivery,
    rule: &Rule,
    lines: Option<&LogLines>,
    zone: &Zone,
    version: &str,
    now: i64,
) -> Vec<String> {
    let event = &delivery.event;
    let mut attributes = facts::attributes(event, &rule.attributes, version);
    if !facts::is_service(event) {
        facts::whole_run(&mut attributes, &event.data, zone, lines.map(|lines| lines.tail.len()));
    }
    attributes.leave_out(&rule.leave_out);
    attributes.fit(MOST - AT_THE_END, BYTES);
    facts::identity(&mut attributes, delivery);
    attributes.set("logtype", facts::type_name(event, "Log"));
    attributes.cut_texts(LONGEST_IN_LOGS);
    let head = format!(r#"[{{"common":{{"attributes":{}}},"logs":["#, json(&attributes));
    let tail = "]}]";

    let text = message(event, lines);
    let parts = split(&text);
    let timestamp = facts::timestamp(event, now);
    let mut bodies = vec![head.clone()];
    for (number, part) in parts.iter().enumerate() {
        let record = record(part, number, parts.len(), timestamp);
        let body = bodies.last_mut().map_or(0, |body| body.len());
        if body > head.len() && body + record.len() + tail.len() >= REQUEST {
            bodies.push(head.clone());
        }
        // There is always one.
        if let Some(body) = bodies.last_mut() {
            if body.len() > head.len() {
                body.push(',');
            }
            body.push_str(&record);
        }
    }
    for body in &mut bodies {
        body.push_str(tail);
    }
    bodies
}

fn record(part: &str, number: usize, parts: usize, timestamp: Option<i64>) -> String {
    let mut record = Map::new();
    record.insert("message".to_owned(), part.into());
    if let Some(time) = timestamp {
        // A millisecond each, so that they are shown in order.
        let place = i64::try_from(number).unwrap_or_default();
        record.insert("timestamp".to_owned(), time.saturating_add(place).into());
    }
    if parts > 1 {
        let numbers = [("butler_part", number + 1), ("butler_parts", parts)];
        let numbers = numbers.map(|(name, number)| (name.to_owned(), Value::from(number)));
        record.insert("attributes".to_owned(), Value::Object(Map::from_iter(numbers)));
    }
    json(&record)
}

/// The text: for reloads the steps of the run and the end of the script log, as in Butler 16.
pub(crate) fn message(event: &Event, lines: Option<&LogLines>) -> String {
    if facts::is_service(event) {
        return service(event);
    }
    let mut text = event.data.execution.as_ref().map(butler16::details).unwrap_or_default();
    if text.is_empty() && (lines.is_some() || !is_reload(event)) {
        text = event.summary();
    }
    match lines {
        Some(lines) => text + "\r\n" + &"-".repeat(31) + "\r\n\r\n" + &lines.tail.join("\r\n"),
        None if is_reload(event) && text.is_empty() => NO_LOG.to_owned(),
        None if is_reload(event) => text + "\r\n" + &"-".repeat(31) + "\r\n\r\n" + NO_LOG,
        None => text,
    }
}

const NO_LOG: &str = "Script log not available for this reload task.";

fn is_reload(event: &Event) -> bool {
    event.kind.starts_with("reload-task.")
}

fn service(event: &Event) -> String {
    let service = event.data.service.as_deref().cloned().unwrap_or_default();
    let name = service.display_name.or(service.name).unwrap_or_default();
    let host = service.host.or_else(|| event.data.node.clone()).unwrap_or_default();
    match facts::service_state(event) {
        Some(state) if matches!(state.as_str(), "STOPPED" | "RUNNING") => {
            format!("Windows service \"{name}\" on host \"{host}\" is {state}.")
        }
        Some(state) => format!("Windows service \"{name}\" on host \"{host}\" is in state \"{state}\"."),
        None => event.summary(),
    }
}

/// A text in parts that New Relic keeps whole; cut between lines where there are some. There is at least one.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(end) = end_of_part(rest) {
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(rest);
    }
    parts
}

/// Where the first part of a text ends; none if it is short enough.
fn end_of_part(text: &str) -> Option<usize> {
    let mut as_json = 0;
    let mut line = 0;
    for (at, c) in text.char_indices() {
        as_json += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        };
        if at + c.len_utf8() > PART || as_json > PART_AS_JSON {
            return Some(if line > 0 { line } else { at });
        }
        if c == '\n' {
            line = at + 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::kind;
    use butler_plugin_api::testing::{sample_delivery, sample_event, sample_events};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lines(count: usize) -> LogLines {
        LogLines { head: Vec::new(), tail: (0..count).map(|n| format!("line {n}")).collect() }
    }

    fn zone() -> Zone {
        Zone::new(Some("Europe/Stockholm")).unwrap()
    }

    #[test]
    fn texts_of_reloads_are_those_of_butler_16() {
        let mut event = sample_event(kind::RELOAD_TASK_FAILED);
        let text = message(&event, Some(&lines(2)));
        let (details, log) = text.split_once("\r\n-------------------------------\r\n\r\n").unwrap();
        assert!(details.starts_with("2026-03-04T05:05:00.900Z\tChanging") && details.ends_with("FinishedFail\n"));
        assert_eq!(log, "line 0\r\nline 1");
        assert!(message(&event, None).ends_with(&format!("-\r\n\r\n{NO_LOG}")), "the steps are told all the same");
        event.data.execution = None;
        assert_eq!(message(&event, None), NO_LOG);
        let cloud = sample_event(kind::CLOUD_APP_RELOAD_FAILED);
        assert!(message(&cloud, Some(&lines(1))).starts_with("Cloud app reload failed: Orders: the script failed"));
    }

    #[test]
    fn services_are_told_by_their_state() {
        let mut event = sample_event(kind::SERVICE_STOPPED);
        assert_eq!(
            message(&event, None),
            "Windows service \"Qlik Sense Engine Service\" on host \"sense1\" is STOPPED."
        );
        event.data.service.as_mut().unwrap().state = Some("Paused".to_owned());
        assert!(message(&event, None).ends_with(" is in state \"PAUSED\"."));
        event.kind = kind::SERVICE_STATE.to_owned();
        event.data.service = None;
        assert!(message(&event, None).starts_with("Service state"));
    }

    #[test]
    fn every_kind_has_a_text_and_flat_attributes() {
        let rule = crate::tests::rule(&json!({ "kinds": ["*"] }));
        for event in sample_events() {
            let delivery = Delivery { event, ..sample_delivery("x.y") };
            let bodies = bodies(&delivery, &rule, None, &zone(), "17.0.0", 0);
            let body: Value = serde_json::from_str(&bodies[0]).unwrap();
            assert!(!body[0]["logs"][0]["message"].as_str().unwrap().is_empty(), "{}", delivery.event.kind);
            let attributes = body[0]["common"]["attributes"].as_object().unwrap();
            assert!(attributes.values().all(|value| value.is_string() || value.is_number()), "{body}");
        }
    }

    #[test]
    fn a_long_log_goes_in_several_records_and_requests() {
        let rule = crate::tests::rule(&json!({ "kinds": ["*"] }));
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        delivery.event.data.execution = None;
        let lines = lines(200_000);
        let now = facts::millis(&delivery.event).unwrap();
        let bodies = bodies(&delivery, &rule, Some(&lines), &zone(), "17.0.0", now);
        assert_eq!(bodies.len(), 4, "of 2.5 MB");
        let mut text = String::new();
        let mut count = 0;
        for body in &bodies {
            assert!(body.len() < 1_000_000, "{}", body.len());
            let body: Value = serde_json::from_str(body).unwrap();
            for record in body[0]["logs"].as_array().unwrap() {
                count += 1;
                assert_eq!(record["attributes"]["butler_part"], count);
                assert_eq!(record["timestamp"], now + count - 1);
                let part = record["message"].as_str().unwrap();
                assert!(part.len() <= PART && (part.ends_with('\n') || part.ends_with("line 199999")));
                text.push_str(part);
            }
            assert_eq!(body[0]["logs"][0]["attributes"]["butler_parts"], 21);
        }
        assert_eq!((count, text), (21, message(&delivery.event, Some(&lines))));
    }

    #[test]
    fn what_json_writes_longer_makes_smaller_parts() {
        for piece in ["\u{1}", "\"", "\n\u{1f}"] {
            let text = piece.repeat(200_000 / piece.len());
            let parts = split(&text);
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| part.len() <= PART && json(part).len() <= PART_AS_JSON + 2), "{piece:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_small_and_lose_nothing(
            piece in "[a\u{1}\n\"\u{1F600}]{1,20}", times in 0_usize..8_000,
        ) {
            let text = piece.repeat(times);
            let parts = split(&text);
            prop_assert_eq!(parts.concat(), text.as_str());
            for part in parts {
                prop_assert!(part.len() <= PART && json(&part).len() <= PART_AS_JSON + 2);
            }
        }
    }
}
