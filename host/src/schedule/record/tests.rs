//! Both forms, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::qlik::is_guid;

const TASK: &str = "5d2c7f10-1111-4a2b-9c3d-0123456789ab";

fn read(value: &Value, form: Form) -> Result<Schedule, Vec<String>> {
    let faults =
        |faults: Vec<Fault>| faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    Schedule::read(value.as_object().unwrap(), form).map_err(faults)
}

#[test]
fn both_forms_say_the_same() {
    let theirs = json!({
        "name": "Morning", "cronSchedule": "0 6 1 1 *", "timezone": "europe/oslo", "qlikSenseTaskId": TASK,
        "startupState": "stop", "tags": ["finance"], "id": 12, "owner": { "team": 3 }, "lastKnownState": "started",
    });
    let schedule = read(&theirs, Form::Butler16).unwrap();
    assert_eq!((schedule.id.as_str(), schedule.enabled), ("12", false));
    assert_eq!(
        serde_json::to_string(&schedule.butler16()).unwrap(),
        format!(
            r#"{{"name":"Morning","cronSchedule":"0 6 1 1 *","timezone":"Europe/Oslo","qlikSenseTaskId":"{TASK}","startupState":"stop","tags":["finance"],"owner":{{"team":3}},"id":"12","lastKnownState":"stopped"}}"#
        )
    );
    let own = json!(schedule.own());
    assert_eq!(
        own,
        json!({
            "id": "12", "name": "Morning", "cron": "0 6 1 2 *", "timeZone": "Europe/Oslo", "taskId": TASK, "enabled": false,
            "startupState": "stop", "tags": ["finance"], "missed": "skip", "overlap": "allow", "properties": { "owner": { "team": 3 } },
        })
    );
    assert_eq!(read(&own, Form::Own).unwrap(), schedule);
    assert_eq!(read(&json!(schedule.butler16()), Form::Butler16).unwrap(), schedule);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let wrong = json!({
        "cron": "0 25 * * *", "timeZone": "Europe/Olso", "taskId": "x", "enabled": "yes", "missed": "twice", "tags": [{}],
        "overlap": 1, "created": "today", "colour": "red", "id": "export", "startupState": "on", "properties": [],
    });
    let faults = read(&wrong, Form::Own).unwrap_err();
    for (part, n) in [
        ("name: is missing", 1),
        ("cron: column 3 (hour): `25` stands where a number from 0 to 23 must be", 1),
        ("timeZone: there is no time zone `Europe/Olso`: is `Europe/Oslo` meant?", 1),
        ("taskId: must be the id of a task, a GUID", 1),
        ("enabled: must be true or false", 1),
        ("missed: must be `skip` or `once`", 1),
        ("overlap: must be `allow` or `skip`", 1),
        ("tags: must be a text", 1),
        ("created: must be a date", 1),
        ("colour: there is no such property", 1),
        ("id: `export` is a word of the API", 1),
        ("startupState: must be one of start, started, stop, stopped", 1),
        ("properties: must be an object", 1),
    ] {
        assert_eq!(faults.iter().filter(|fault| fault.starts_with(part)).count(), n, "{part}: {faults:#?}");
    }
    assert_eq!(faults.len(), 13, "{faults:#?}");
    let long = json!({ "name": "x".repeat(501), "cron": "* * * * *", "timeZone": "UTC", "taskId": TASK, "tags": vec!["x"; 101] });
    assert_eq!(read(&long, Form::Own).unwrap_err().len(), 2);
}

#[test]
fn further_properties_shadow_none_of_butler_16() {
    let own = |properties: Value| json!({ "id": "x", "name": "x", "cron": "* * * * *", "timeZone": "UTC", "taskId": TASK, "properties": properties });
    let schedule = read(&own(json!({ "cron": 1, "Name": 2 })), Form::Own).unwrap();
    let theirs = serde_json::to_string(&schedule.butler16()).unwrap();
    assert_eq!(read(&serde_json::from_str(&theirs).unwrap(), Form::Butler16).unwrap(), with_state(schedule));
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let names = theirs.as_object().unwrap().keys().map(String::as_str).chain(["tags", "timeZone", "created"]);
    for name in names.filter(|name| !["cron", "Name"].contains(name)) {
        let faults = read(&own(json!({ name: "y" })), Form::Own).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].starts_with(&format!("properties: must not have `{name}`")),
            "{faults:?}"
        );
    }
}

/// As it comes back from Butler 16's form, which always has a state for the start.
fn with_state(schedule: Schedule) -> Schedule {
    Schedule { startup_state: Some("started".to_owned()), ..schedule }
}

#[test]
fn no_tags_and_an_empty_list_of_tags_stay_what_they_are() {
    let mut value = json!({
        "name": "x", "cronSchedule": "* * * * *", "timezone": "UTC", "qlikSenseTaskId": TASK, "startupState": "start",
    });
    for tags in [None, Some(json!([])), Some(json!(["a"]))] {
        if let Some(tags) = &tags {
            value["tags"] = tags.clone();
        }
        let schedule = read(&value, Form::Butler16).unwrap();
        let kept = read(&json!(schedule.own()), Form::Own).unwrap();
        for answer in [json!(kept.butler16()), json!(kept.butler16_listed())] {
            assert_eq!(answer.get("tags"), tags.as_ref());
        }
    }
}

#[test]
fn the_start_decides_only_where_it_is_said() {
    let value = |more: Value| {
        let mut value = json!({ "name": "x", "cron": "* * * * *", "timeZone": "UTC", "taskId": TASK });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&value, Form::Own).unwrap()
    };
    let mut by_state = value(json!({ "startupState": "started" }));
    assert!(by_state.enabled);
    by_state.switch(false, false);
    assert!(!by_state.enabled && by_state.clone().at_start().enabled);
    by_state.switch(false, true);
    assert!(!by_state.clone().at_start().enabled, "what is to last does");
    assert_eq!(json!(by_state.butler16())["startupState"], "stopped");
    let plain = value(json!({ "enabled": false }));
    assert!(!plain.clone().at_start().enabled && plain.startup_state.is_none());
    assert!(plain.id.len() == 36 && plain.id.as_bytes()[14] == b'4' && is_guid(&plain.id), "{}", plain.id);
    assert_ne!(value(json!({})).id, value(json!({})).id);
}

#[test]
fn the_zone_that_butler_16_obeyed_counts() {
    let value = json!({
        "name": "x", "cronSchedule": "* * * * *", "timezone": "Europe/Oslo", "timeZone": "Asia/Kolkata", "qlikSenseTaskId": TASK,
        "startupState": "start",
    });
    assert_eq!(read(&value, Form::Butler16).unwrap().zone.name(), "Asia/Kolkata");
}
