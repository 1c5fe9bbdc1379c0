//! From QRS's JSON to the facts of an event.
//!
//! Nothing is taken for granted: releases differ, and a field that is missing or of another type is just not known. QRS
//! writes the year 1753 for "no time" and the zero GUID for "no reference"; both become absent. Times are of UTC here,
//! whatever offset they came with, and so are those that came without.

use std::collections::BTreeMap;

use butler_plugin_api::{App, Detail, Execution, NamedRef, Owner, Task};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

const ZERO_GUID: &str = "00000000-0000-0000-0000-000000000000";

/// Times before 1754 mean that there is none.
const NO_TIME_BEFORE: Timestamp = Timestamp::constant(-6_816_268_800, 0);

/// Steps of an execution that are kept, the latest.
const MAX_DETAILS: usize = 200;

/// Name of a type in facts, and what its kinds of events begin with; in order of QRS's numbers.
const TASK_TYPES: [(&str, &str); 5] = [
    ("reload", "reload-task"),
    ("external-program", "external-program-task"),
    ("user-sync", "user-sync-task"),
    ("distribute", "distribute-task"),
    ("preload", "preload-task"),
];

const STATUS_TEXTS: [&str; 15] = [
    "NeverStarted",
    "Triggered",
    "Started",
    "Queued",
    "AbortInitiated",
    "Aborting",
    "Aborted",
    "FinishedSuccess",
    "FinishedFail",
    "Skipped",
    "Retry",
    "Error",
    "Reset",
    "DistributionQueue",
    "DistributionRunning",
];

/// What QRS knows of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskFacts {
    /// The task.
    pub task: Task,
    /// QRS's number of its type: 0 reload, 1 external program, 2 user sync, 3 distribute, 4 preload.
    pub type_number: Option<i64>,
    /// Its app, for types that have one.
    pub app: Option<NamedRef>,
    /// The result of its last execution, if it ever ran.
    pub last: Option<ResultFacts>,
    /// When QRS was asked, milliseconds of the Unix epoch.
    pub asked_ms: i64,
}

/// What QRS knows of one execution of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResultFacts {
    /// The execution. Its `id` is absent: whether QRS's is that of the log line is for others to know.
    pub execution: Execution,
    /// What the older call for the script log wants; absent: there is no log (yet).
    pub file_reference: Option<String>,
}

/// What QRS knows of an app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppFacts {
    /// The app; its owner is without email addresses.
    pub app: App,
    /// Id of the owner's `user` object.
    pub owner_id: Option<String>,
}

/// What the kinds of events of a type of task begin with: `reload-task` for 0.
pub fn task_subject(type_number: i64) -> Option<&'static str> {
    Some(TASK_TYPES.get(usize::try_from(type_number).ok()?)?.1)
}

/// The name of an execution status.
pub fn status_text(status: i64) -> Option<&'static str> {
    STATUS_TEXTS.get(usize::try_from(status).ok()?).copied()
}

/// Whether an execution with this status is over.
pub fn is_final(status: i64) -> bool {
    matches!(status, 6 | 7 | 8 | 9 | 11 | 12)
}

/// The name of an execution status in the dictionary that QRS has of its numbers (`about/api/enums`): an object of objects,
/// each with `values` such as `8: FinishedFail` and the fields that hold them as `usages`.
pub(super) fn status_texts(json: &Value) -> BTreeMap<i64, String> {
    let is_status =
        |usage: &Value| usage.as_str().is_some_and(|usage| usage.eq_ignore_ascii_case("ExecutionResult.Status"));
    let named = json.as_object().into_iter().flat_map(|named| named.values());
    let values = named.filter(|one| items(&one["usages"]).any(is_status)).flat_map(|one| items(&one["values"]));
    let pairs = values.filter_map(|value| value.as_str()?.split_once(':'));
    pairs.filter_map(|(number, name)| Some((number.trim().parse().ok()?, name.trim().to_owned()))).collect()
}

/// Whether a text has the form of a GUID and names something.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text != ZERO_GUID
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// An element of `task/full`.
pub(super) fn task(json: &Value) -> Option<TaskFacts> {
    let type_number = int(&json["taskType"]);
    let type_name = type_number.and_then(|number| TASK_TYPES.get(usize::try_from(number).ok()?)).map(|names| names.0);
    let task = Task {
        id: id(&json["id"])?,
        name: string(&json["name"]),
        task_type: type_name.map(str::to_owned),
        enabled: json["enabled"].as_bool(),
        tags: names(&json["tags"]),
        custom_properties: custom_properties(&json["customProperties"]),
        is_manually_triggered: json["isManuallyTriggered"].as_bool(),
        is_partial_reload: json["isPartialReload"].as_bool(),
        max_retries: int(&json["maxRetries"]),
        session_timeout_minutes: int(&json["taskSessionTimeout"]),
        modified_by: text(&json["modifiedByUserName"]),
        modified_date: time(&json["modifiedDate"]),
        next_execution: time(&json["operational"]["nextExecution"]),
    };
    let last = result(&json["operational"]["lastExecutionResult"]);
    Some(TaskFacts { task, type_number, app: named(&json["app"]), last, asked_ms: 0 })
}

/// An element of `app/full`.
pub(super) fn app(json: &Value) -> Option<AppFacts> {
    let owner = owner(&json["owner"]);
    let app = App {
        id: id(&json["id"])?,
        name: string(&json["name"]),
        description: text(&json["description"]),
        file_size_bytes: int(&json["fileSize"]).and_then(|size| u64::try_from(size).ok()),
        last_reload_time: time(&json["lastReloadTime"]),
        modified_date: time(&json["modifiedDate"]),
        modified_by: text(&json["modifiedByUserName"]),
        publish_time: time(&json["publishTime"]),
        published: json["published"].as_bool(),
        stream: named(&json["stream"]),
        tags: names(&json["tags"]),
        custom_properties: custom_properties(&json["customProperties"]),
        owner: owner.clone(),
    };
    Some(AppFacts { app, owner_id: owner.map(|owner| owner.id) })
}

/// A `user`, whole or condensed.
pub(super) fn owner(json: &Value) -> Option<Owner> {
    let email = |attribute: &Value| {
        let is_email = attribute["attributeType"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("email"));
        is_email.then(|| text(&attribute["attributeValue"])).flatten().map(|email| email.trim().to_owned())
    };
    Some(Owner {
        id: id(&json["id"])?,
        name: string(&json["name"]),
        user_id: string(&json["userId"]),
        user_directory: string(&json["userDirectory"]),
        emails: items(&json["attributes"]).filter_map(email).filter(|email| !email.is_empty()).collect(),
    })
}

/// An `executionresult`, whole or condensed.
pub(super) fn result(json: &Value) -> Option<ResultFacts> {
    let status = int(&json["status"]);
    let mut details: Vec<_> = items(&json["details"])
        .map(|detail| Detail {
            time: time(&detail["detailCreatedDate"]).unwrap_or_default(),
            message: string(&detail["message"]),
            detail_type: int(&detail["detailsType"]).unwrap_or_default(),
        })
        .collect();
    // Times of one form sort as texts, but the number of digits may vary. What cannot be read comes last.
    details.sort_by_cached_key(|detail| (millis(&detail.time).is_none(), millis(&detail.time), detail.time.clone()));
    details.drain(..details.len().saturating_sub(MAX_DETAILS));
    let execution = Execution {
        id: None,
        result_id: Some(id(&json["id"])?),
        status,
        status_text: status.and_then(status_text).map(str::to_owned),
        start_time: time(&json["startTime"]),
        stop_time: time(&json["stopTime"]),
        duration_ms: int(&json["duration"]),
        node: text(&json["executingNodeName"]),
        details,
        script_log_size: int(&json["scriptLogSize"]),
    };
    Some(ResultFacts { execution, file_reference: id(&json["fileReferenceID"]) })
}

/// A time of QRS as milliseconds of the Unix epoch. Without an offset it is UTC.
pub fn millis(time: &str) -> Option<i64> {
    timestamp(time).map(Timestamp::as_millisecond)
}

/// A time of QRS in the form of an event's times: UTC with milliseconds.
pub(super) fn event_time(time: &str) -> Option<String> {
    timestamp(time).map(|time| format!("{time:.3}"))
}

fn timestamp(time: &str) -> Option<Timestamp> {
    if let Ok(time) = time.parse() {
        return Some(time);
    }
    let local: DateTime = time.parse().ok()?;
    local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn items(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn string(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn text(json: &Value) -> Option<String> {
    json.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// As QRS wrote it if that is in UTC.
fn time(json: &Value) -> Option<String> {
    let text = text(json)?;
    let time = timestamp(&text)?;
    if time < NO_TIME_BEFORE {
        return None;
    }
    if text.ends_with('Z') { Some(text) } else { Some(format!("{time:.3}")) }
}

fn id(json: &Value) -> Option<String> {
    text(json).filter(|id| id != ZERO_GUID)
}

fn int(json: &Value) -> Option<i64> {
    // Some releases write whole numbers as `9190.0`; others might as `"9190"`.
    #[allow(clippy::cast_possible_truncation, reason = "floats are cut to the range")]
    json.as_i64().or_else(|| json.as_f64().map(|number| number as i64)).or_else(|| json.as_str()?.trim().parse().ok())
}

fn named(json: &Value) -> Option<NamedRef> {
    Some(NamedRef { id: id(&json["id"])?, name: string(&json["name"]) })
}

fn names(json: &Value) -> Vec<String> {
    items(json).filter_map(|tag| text(&tag["name"])).collect()
}

fn custom_properties(json: &Value) -> BTreeMap<String, Vec<String>> {
    let mut properties = BTreeMap::<_, Vec<_>>::new();
    for property in items(json) {
        if let (Some(name), Some(value)) = (text(&property["definition"]["name"]), property["value"].as_str()) {
            properties.entry(name).or_default().push(value.to_owned());
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_read() {
        let facts = task(&json!({
            "id": "t1", "name": "Load", "taskType": 0, "enabled": true, "taskSessionTimeout": 1440, "maxRetries": 2.0,
            "isManuallyTriggered": false, "isPartialReload": true, "modifiedByUserName": "LAB\\ann",
            "modifiedDate": "2025-01-02T08:00:00.000Z",
            "tags": [{ "id": "x", "name": "nightly" }, { "id": "y" }, 7],
            "customProperties": [
                { "value": "a", "definition": { "name": "group" } },
                { "value": "b", "definition": { "name": "group" } },
                { "value": "c", "definition": null }, { "definition": { "name": "none" } }],
            "app": { "id": "a1", "name": "Sales" },
            "operational": { "nextExecution": "1753-01-01T00:00:00.000Z",
                             "lastExecutionResult": { "id": "00000000-0000-0000-0000-000000000000", "status": 0 } }
        }))
        .unwrap();
        assert_eq!(facts.task.task_type.as_deref(), Some("reload"));
        assert_eq!((facts.task.max_retries, facts.task.session_timeout_minutes), (Some(2), Some(1440)));
        assert_eq!(facts.task.tags, ["nightly"]);
        assert_eq!(facts.task.custom_properties, BTreeMap::from([("group".into(), vec!["a".into(), "b".into()])]));
        assert_eq!(facts.app.unwrap().id, "a1");
        assert_eq!((facts.task.next_execution, facts.last), (None, None));
    }

    #[test]
    fn an_app_and_its_owner_are_read() {
        let facts = app(&json!({
            "id": "a1", "name": "Sales", "description": "", "fileSize": 1234, "published": true,
            "publishTime": "1753-01-01T00:00:00.000Z", "lastReloadTime": "2025-03-09T14:05:07.310Z",
            "stream": { "id": "s1", "name": "Finance" },
            "owner": { "id": "u1", "userId": "ann", "userDirectory": "LAB", "name": "Ann" }
        }))
        .unwrap();
        assert_eq!((facts.app.description, facts.app.publish_time), (None, None));
        assert_eq!((facts.app.file_size_bytes, facts.app.stream.unwrap().name.as_str()), (Some(1234), "Finance"));
        assert_eq!((facts.owner_id.as_deref(), facts.app.owner.unwrap().user_id.as_str()), (Some("u1"), "ann"));

        let owner = owner(&json!({ "id": "u1", "attributes": [
            { "attributeType": "Email", "attributeValue": " a@x " },
            { "attributeType": "group", "attributeValue": "g" },
            { "attributeType": "EMAIL", "attributeValue": "b@x" }, { "attributeType": "email", "attributeValue": "" },
            { "attributeType": "email" }, null] }))
        .unwrap();
        assert_eq!(owner.emails, ["a@x", "b@x"]);
    }

    #[test]
    fn an_execution_is_read_and_its_steps_are_sorted() {
        let step =
            |time: &str, message: &str| json!({ "detailCreatedDate": time, "message": message, "detailsType": 2 });
        let facts = result(&json!({
            "id": "er1", "status": 8, "startTime": "2025-03-09T14:04:58.120Z", "stopTime": "1753-01-01T00:00:00.000Z",
            "duration": 9190, "executingNodeName": "sense1", "scriptLogSize": 17,
            "fileReferenceID": "00000000-0000-0000-0000-000000000000",
            "details": [step("2025-03-09T10:02:00.000Z", "c"), step("2025-03-09T10:00:00Z", "a"), step("?", "d"),
                        step("2025-03-09T10:01:00.5Z", "b"), step("2025-03-09T10:01:00.5Z", "b2")]
        }))
        .unwrap();
        let execution = facts.execution;
        assert_eq!(
            execution.details.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(),
            ["a", "b", "b2", "c", "d"]
        );
        assert_eq!((execution.status_text.as_deref(), execution.duration_ms), (Some("FinishedFail"), Some(9190)));
        assert_eq!((execution.stop_time, facts.file_reference, execution.id), (None, None, None));
    }

    #[test]
    fn long_histories_keep_their_end() {
        let details: Vec<_> = (0..500)
            .map(|n| (format!("2025-03-09T10:{:02}:{:02}Z", n / 60, n % 60), n.to_string()))
            .map(|(time, message)| json!({ "detailCreatedDate": time, "message": message }))
            .collect();
        let facts = result(&json!({ "id": "er1", "details": details })).unwrap();
        assert_eq!((facts.execution.details.len(), facts.execution.details[0].message.as_str()), (200, "300"));
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(
            (status_text(0), status_text(6), status_text(14)),
            (Some("NeverStarted"), Some("Aborted"), Some("DistributionRunning"))
        );
        assert_eq!((status_text(15), status_text(-1), status_text(i64::MAX)), (None, None, None));
        assert_eq!((task_subject(4), task_subject(5)), (Some("preload-task"), None));
    }

    #[test]
    fn guids_and_times() {
        assert!(is_guid("5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01") && is_guid("5D2F9A10-7C3B-4E6A-9D41-6B1C2E3F4A01"));
        for text in [
            "",
            ZERO_GUID,
            "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a0",
            "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a0g",
            "' or 1 eq 1 or '5d2f9a10-7c3b-4e6a-",
        ] {
            assert!(!is_guid(text), "{text}");
        }
        assert_eq!(event_time("2025-03-09T14:05:07.3Z").as_deref(), Some("2025-03-09T14:05:07.300Z"));
        assert_eq!(event_time("2025-03-09T16:05:07.300+02:00").as_deref(), Some("2025-03-09T14:05:07.300Z"));
        assert_eq!(event_time("2025-03-09T14:05:07").as_deref(), Some("2025-03-09T14:05:07.000Z"));
        assert_eq!(event_time("soon"), None);
    }

    /// JSON of any form whose members often have the names that are looked for.
    fn any_json() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "id",
            "name",
            "taskType",
            "tags",
            "customProperties",
            "definition",
            "value",
            "operational",
            "nextExecution",
            "lastExecutionResult",
            "status",
            "details",
            "detailCreatedDate",
            "message",
            "detailsType",
            "startTime",
            "stopTime",
            "duration",
            "fileSize",
            "owner",
            "attributes",
            "attributeType",
            "attributeValue",
            "stream",
            "app",
            "maxRetries",
            "fileReferenceID",
            "values",
            "usages",
            "other",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                "email",
                ZERO_GUID,
                "ExecutionResult.Status",
                "15: Odd",
                "1753-01-01T00:00:00.000Z",
                "2025-03-09T14:05:07.3Z",
                "-9999-01-01T00:00",
                "9999-12-31T23:59:59.999999999999Z"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((keys.clone(), inner), 0..8)
                    .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(json in any_json()) {
            if let Some(facts) = task(&json) {
                prop_assert!(!facts.task.id.is_empty());
            }
            if let Some(facts) = app(&json) {
                prop_assert_eq!(facts.owner_id.is_some(), facts.app.owner.is_some());
            }
            status_texts(&json);
            if let Some(owner) = owner(&json) {
                prop_assert!(owner.emails.iter().all(|email| !email.is_empty()));
            }
            if let Some(facts) = result(&json) {
                prop_assert!(facts.execution.details.len() <= MAX_DETAILS);
                prop_assert!(facts.execution.result_id.is_some());
            }
        }

        #[test]
        fn no_time_is_too_odd(text in "[-0-9TZ:+. ]{0,40}") {
            if let Some(time) = event_time(&text) {
                prop_assert_eq!(millis(&time), millis(&text));
            }
        }
    }
}
