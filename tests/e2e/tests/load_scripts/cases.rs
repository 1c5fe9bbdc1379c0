//! What each Sub of the library sends, from the description of Butler 16, and what it makes of the answer.
//!
//! The answers are those that Butler gives when the cases of a group are played in their order: they can be played against a
//! double and against Butler itself.

use e2e::qlik::Site;
use serde_json::{Value, json};

/// Name, fields and rows of a table.
type Made = (&'static str, Vec<&'static str>, Vec<Vec<String>>);

/// A piece of a script that makes one call.
pub struct Case {
    pub script: String,
    /// The method that is meant.
    pub method: &'static str,
    pub target: String,
    /// Null for GET.
    pub body: Value,
    pub answer: (u16, Value),
    /// Variables after it, by name; `*` is any text.
    pub variables: Vec<(&'static str, &'static str)>,
    /// A table after it: name, fields, rows.
    pub table: Option<Made>,
}

fn case(script: &str, method: &'static str, target: &str, body: Value, answer: (u16, Value)) -> Case {
    Case {
        script: script.to_owned(),
        method,
        target: target.to_owned(),
        body,
        answer,
        variables: Vec::new(),
        table: None,
    }
}

impl Case {
    fn sets(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn makes(mut self, name: &'static str, fields: &[&'static str], rows: &[&[&str]]) -> Self {
        let rows = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        self.table = Some((name, fields.to_vec(), rows));
        self
    }
}

const TASK: &str = Site::SAMPLE_RELOAD_TASK;
const OTHER: &str = Site::SAMPLE_EXTERNAL_PROGRAM_TASK;
const APP: &str = Site::SAMPLE_APP;

/// A text with all that is dangerous on its way, as a script writes it, and as it must arrive.
pub const NASTY: &str = "'say \"hi\"; it' & Chr(39) & 's [5*3] \\ C:\\new // /* no end' & Chr(13) & Chr(10) & Chr(9) & Chr(36) & '(vButlerPort) äß€✓日本 ' & Chr(128512) & Chr(127) & Chr(1)";

pub fn nasty() -> String {
    "say \"hi\"; it's [5*3] \\ C:\\new // /* no end\r\n\t$(vButlerPort) äß€✓日本 😀\u{7f}\u{1}".to_owned()
}

/// Tasks and apps.
pub fn tasks() -> Vec<Case> {
    let name = |id: &str| if id == TASK { "Reload order analysis" } else { "Export prices" };
    let started = |ids: &[&str], tag: &[&str], property: &[&str]| {
        let list =
            |ids: &[&str]| ids.iter().map(|id| json!({ "taskId": id, "taskName": name(id) })).collect::<Vec<_>>();
        let tasks = json!({
            "tasksId": { "started": list(ids), "invalid": [], "denied": [] },
            "tasksTag": list(tag), "tasksTagDenied": [], "tasksCP": list(property), "tasksCPDenied": [],
        });
        (200, tasks)
    };
    let path = |id: &str| format!("/v4/reloadtask/{id}/start");
    let by_id = |id: &str| json!({ "type": "starttaskid", "payload": { "taskId": id } });
    let table = |name: &str, lines: &str| format!("Qualify *;\n{name}:\nLOAD * Inline [\n{lines}\n];\n");
    let ids = table("ButlerTaskIDs", &format!("TaskId\n{TASK}\n{OTHER}"));
    let drop = |name: &str| format!("\nUnqualify *;\nDrop Table {name};");
    let reload = |on_success: Value, on_failure: Value, partial: &str, mode: u8| {
        json!({ "partialReload": partial, "reloadMode": mode, "startQSEoWTaskOnSuccess": on_success,
                "startQSEoWTaskOnFailure": on_failure })
    };
    let app = format!("/v4/app/{APP}/reload");
    let app_answer = || (201, json!({ "appId": APP }));
    vec![
        case(&format!("Call StartTask('{TASK}')"), "PUT", &path(TASK), json!([]), started(&[TASK], &[], &[])),
        case(
            &(ids.clone() + &format!("Call StartTask('{TASK}', 'ButlerTaskIDs')") + &drop("ButlerTaskIDs")),
            "PUT",
            &path(TASK),
            json!([by_id(TASK), by_id(OTHER)]),
            started(&[TASK, OTHER], &[], &[]),
        ),
        // The guide for Butler 16 has Null() and nothing at all where no task is named.
        case(
            &(ids + "Call StartTask(Null(), 'ButlerTaskIDs')" + &drop("ButlerTaskIDs")),
            "PUT",
            &path("-"),
            json!([by_id(TASK), by_id(OTHER)]),
            started(&[TASK, OTHER], &[], &[]),
        ),
        case(
            &(table("ButlerTags", "Tag\nnightly") + "Call StartTask(, Null(), 'ButlerTags')" + &drop("ButlerTags")),
            "PUT",
            &path("-"),
            json!([{ "type": "starttasktag", "payload": { "tag": "nightly" } }]),
            started(&[], &[TASK, OTHER], &[]),
        ),
        case(
            &(table("Properties", "Name, Value\ntaskGroup, sales")
                + "Call StartTask('-', Null(), '', 'Properties')"
                + &drop("Properties")),
            "PUT",
            &path("-"),
            json!([{ "type": "starttaskcustomproperty",
                     "payload": { "customPropertyName": "taskGroup", "customPropertyValue": "sales" } }]),
            started(&[], &[], &[TASK]),
        ),
        case(
            &format!("Call ReloadSenseApp('{APP}', 'true', '1', '[\"{TASK}\", \"{OTHER}\"]', '[]')"),
            "PUT",
            &app,
            reload(json!([TASK, OTHER]), json!([]), "true", 1),
            app_answer(),
        ),
        case(
            &format!("Call ReloadSenseApp('{APP}', False(), 7, , '{TASK}')"),
            "PUT",
            &app,
            reload(json!([]), json!([TASK]), "false", 0),
            app_answer(),
        ),
    ]
}

/// A list of apps, which changes with the site: only for the double.
pub fn apps() -> Vec<Case> {
    vec![
        case(
            "Call GetApps('Apps')",
            "GET",
            "/v4/apps/list",
            Value::Null,
            (200, json!([{ "id": "a-1", "name": "Sales" }, { "id": "a-2", "name": "Stock" }])),
        )
        .makes("Apps", &["App ID", "App name"], &[&["a-1", "Sales"], &["a-2", "Stock"]]),
    ]
}

/// Messages.
pub fn messages() -> Vec<Case> {
    let text = nasty();
    let slack =
        |channel: &str| json!({ "channel": channel, "from_user": "Load script", "msg": text, "emoji": ":ghost:" });
    let mqtt = json!({ "topic": "stage/1", "message": text });
    vec![
        case(
            &format!("Call PostToSlack('etl', 'Load script', {NASTY}, ':ghost:')"),
            "PUT",
            "/v4/slackpostmessage",
            slack("#etl"),
            (201, slack("#etl")),
        ),
        case(
            "Call PostToSlack('#ops', 'Load script', 'No face')",
            "PUT",
            "/v4/slackpostmessage",
            json!({ "channel": "#ops", "from_user": "Load script", "msg": "No face" }),
            (201, json!({ "channel": "#ops", "from_user": "Load script", "msg": "No face" })),
        ),
        case(
            &format!("Call PostToMQTT('stage/1', {NASTY})"),
            "PUT",
            "/v4/mqttpublishmessage",
            mqtt.clone(),
            (201, mqtt),
        ),
        case(
            &format!("Call PostMessage({NASTY}, '#reloads', , 'Load script', , 'vDeliveries')"),
            "POST",
            "/v5/messages",
            json!({ "text": text, "channel": "#reloads", "from": "Load script" }),
            (202, json!({ "eventId": "*", "deliveries": 1 })),
        )
        .sets("vDeliveries", "1"),
        case(
            "Call PostMessage('Stock loaded')",
            "POST",
            "/v5/messages",
            json!({ "text": "Stock loaded" }),
            (202, json!({ "eventId": "*", "deliveries": 1 })),
        ),
    ]
}

/// Keys and values.
pub fn keys() -> Vec<Case> {
    let pair = |key: &str, value: &str, ttl: Option<u32>| {
        let mut pair = json!({ "namespace": "my ns/ä", "key": key, "value": value });
        if let Some(ttl) = ttl {
            pair["ttl"] = json!(ttl);
        }
        pair
    };
    let (ns, key) = ("my%20ns%2F%C3%A4", "a%26b%3D%23%25%2B");
    let add = format!("/v4/keyvalues/{ns}");
    let text = nasty();
    let no_content = || (204, Value::Null);
    vec![
        case(
            &format!("Call AddKeyValue('my ns/ä', 'a&b=#%+', {NASTY}, 0)"),
            "POST",
            &add,
            json!({ "key": "a&b=#%+", "value": text }),
            (201, pair("a&b=#%+", &text, Some(0))),
        ),
        case(
            "Call AddKeyValue('my ns/ä', 'n', 5, 60000)",
            "POST",
            &add,
            json!({ "key": "n", "value": "5", "ttl": "60000" }),
            (201, pair("n", "5", Some(60000))),
        ),
        case(
            "Call GetKeyValue('my ns/ä', 'n', 'vFound')",
            "GET",
            &format!("/v4/keyvalues/{ns}?key=n"),
            Value::Null,
            (200, pair("n", "5", None)),
        )
        .sets("vFound", "5"),
        case(
            "Call GetKeyValue('my ns/ä', 'a&b=#%+', 'vFound')",
            "GET",
            &format!("/v4/keyvalues/{ns}?key={key}"),
            Value::Null,
            (200, pair("a&b=#%+", &text, None)),
        )
        .sets("vFound", "NASTY"),
        case(
            "Call ExistsKeyValue('my ns/ä', 'n', 'vIsThere')",
            "GET",
            &format!("/v4/keyvalues/{ns}/keyexists?key=n"),
            Value::Null,
            (200, json!({ "keyExists": true, "keyValue": pair("n", "5", None) })),
        )
        .sets("vIsThere", "true"),
        case(
            "Call ExistsKeyValue('my ns/ä', 'none', 'vIsThere')",
            "GET",
            &format!("/v4/keyvalues/{ns}/keyexists?key=none"),
            Value::Null,
            (200, json!({ "keyExists": false, "keyValue": {} })),
        )
        .sets("vIsThere", "false"),
        case(
            "Call GetAllKeysInNamespace('Keys', 'my ns/ä')",
            "GET",
            &format!("/v4/keylist/{ns}"),
            Value::Null,
            (200, json!({ "namespace": "my ns/ä", "keys": [{ "key": "a&b=#%+" }, { "key": "n" }] })),
        )
        .makes("Keys", &["Key"], &[&["a&b=#%+"], &["n"]]),
        case(
            &format!("Call StartTask_KeyValue('{TASK}', 'p', 'k', 'v', 3000)"),
            "PUT",
            &format!("/v4/reloadtask/{TASK}/start"),
            json!([{ "type": "keyvaluestore", "payload": { "namespace": "p", "key": "k", "value": "v", "ttl": "3000" } }]),
            (200, json!({ "tasksId": { "started": [{ "taskId": TASK, "taskName": "Reload order analysis" }] } })),
        ),
        case(
            "Qualify *;\nPairs:\nLOAD * Inline [\nNamespace, Key, Value, TTL\np, a, 1,\np, b, 2, 60000\n];\n\
             Call StartTask('-', , , , 'Pairs')\nUnqualify *;\nDrop Table Pairs;",
            "PUT",
            "/v4/reloadtask/-/start",
            json!([
                { "type": "keyvaluestore", "payload": { "namespace": "p", "key": "a", "value": "1" } },
                { "type": "keyvaluestore", "payload": { "namespace": "p", "key": "b", "value": "2", "ttl": "60000" } },
            ]),
            (200, json!({ "tasksId": { "started": [] } })),
        ),
        case(
            "Call GetKeyValueNamespaces('Namespaces')",
            "GET",
            "/v4/keyvaluesnamespaces",
            Value::Null,
            (200, json!(["my ns/ä", "p"])),
        )
        .makes("Namespaces", &["Namespace name"], &[&["my ns/ä"], &["p"]]),
        case("Call DeleteKeyValue('my ns/ä', 'a&b=#%+')", "DELETE", &format!("{add}/{key}"), json!({}), no_content()),
        case("Call DeleteKeyValueNamespace('my ns/ä')", "DELETE", &add, json!({}), no_content()),
        case("Call DeleteKeyValueNamespace('p')", "DELETE", "/v4/keyvalues/p", json!({}), no_content()),
    ]
}

/// Files below a folder, in which `in/a #1.txt` is.
pub fn files(folder: &str) -> Vec<Case> {
    let path = |file: &str| format!("{folder}/{file}");
    let copied = |flags: &Value| {
        let mut copied = json!({ "fromFile": path("in/a #1.txt"), "toFile": path("out/ä 'b'.txt") });
        copied["overwrite"] = flags[0].clone();
        copied["preserveTimestamp"] = flags[1].clone();
        copied
    };
    let moved = |overwrite: Value| json!({ "fromFile": path("out/ä 'b'.txt"), "toFile": path("out/c.txt"), "overwrite": overwrite });
    let copy = format!("'{folder}\\in\\a #1.txt', '{folder}/out/ä ' & Chr(39) & 'b' & Chr(39) & '.txt'");
    let directory = |name: &str| json!({ "directory": name });
    vec![
        case(
            &format!("Call CopyFile({copy}, 'true', 'false')"),
            "PUT",
            "/v4/filecopy",
            copied(&json!(["true", "false"])),
            (201, copied(&json!([true, false]))),
        ),
        case(
            &format!("Call CopyFile({copy}, True())"),
            "PUT",
            "/v4/filecopy",
            copied(&json!(["true", "false"])),
            (201, copied(&json!([true, false]))),
        ),
        case(
            &format!("Call MoveFile('{folder}/out/ä ' & Chr(39) & 'b' & Chr(39) & '.txt', '{folder}/out/c.txt')"),
            "PUT",
            "/v4/filemove",
            moved(json!("false")),
            (201, moved(json!(false))),
        ),
        case(
            &format!("Call DeleteFile('{folder}/out/c.txt')"),
            "DELETE",
            "/v4/filedelete",
            json!({ "deleteFile": path("out/c.txt") }),
            (204, Value::Null),
        ),
        case(
            &format!("Call CreateDir('{folder}\\out\\new')"),
            "POST",
            "/v4/createdir",
            directory(&path("out/new")),
            (201, directory(&path("out/new"))),
        ),
        case(
            "Call CreateDirQVD('2031\\q1')",
            "POST",
            "/v4/createdirqvd",
            directory("2031/q1"),
            (201, directory("2031/q1")),
        ),
    ]
}

/// Schedules.
pub fn schedules(id: &str) -> Vec<Case> {
    let asked = json!({ "name": "Morning load", "cronSchedule": "0 6 * 0,6 1-5", "timezone": "Europe/Oslo",
                        "qlikSenseTaskId": TASK, "startupState": "started" });
    let record = |state: &str| {
        let mut record = asked.clone();
        (record["id"], record["lastKnownState"]) = (json!(id), json!(state));
        record
    };
    let path = |verb: &str| format!("/v4/schedules/{id}{verb}");
    let fields = [
        "Schedule ID",
        "Schedule name",
        "Schedule cron",
        "Schedule time zone",
        "Schedule task ID",
        "Schedule startup state",
        "Schedule state",
    ];
    vec![
        case(
            &format!("Call AddSchedule('Morning load', '0 6 * 0,6 1-5', 'Europe/Oslo', '{TASK}', , 'vScheduleId')"),
            "POST",
            "/v4/schedules",
            asked.clone(),
            (201, record("started")),
        )
        .sets("vScheduleId", "*"),
        case("Call StopSchedule(vScheduleId)", "PUT", &path("/stop"), json!({}), (200, json!([record("stopped")]))),
        case("Call StartSchedule(vScheduleId)", "PUT", &path("/start"), json!({}), (200, json!([record("started")]))),
        case("Call GetSchedules('Schedules')", "GET", "/v4/schedules", Value::Null, (200, json!([record("started")])))
            .makes(
                "Schedules",
                &fields,
                &[&[id, "Morning load", "0 6 * 0,6 1-5", "Europe/Oslo", TASK, "started", "started"]],
            ),
        case("Call DeleteSchedule(vScheduleId)", "DELETE", &path(""), json!({}), (204, Value::Null)),
    ]
}

/// What is enabled, and base conversion.
pub fn system() -> Vec<Case> {
    vec![
        case(
            "Call GetEnabledButlerAPIEndpoints('Enabled')",
            "GET",
            "/v4/configfile/endpointsenabled",
            Value::Null,
            (200, json!(["butlerping", "keyValueStore"])),
        )
        .makes("Enabled", &["Endpoint name"], &[&["butlerping"], &["keyValueStore"]]),
        case(
            "Call Base62ToBase16('abc', 'vNumber')",
            "GET",
            "/v4/base62tobase16?base62=abc",
            Value::Null,
            (200, json!({ "base62": "abc", "base16": "98de" })),
        )
        .sets("vNumber", "98de"),
        case(
            "Call Base16ToBase62('98de', 'vNumber')",
            "GET",
            "/v4/base16tobase62?base16=98de",
            Value::Null,
            (200, json!({ "base62": "abc", "base16": "98de" })),
        )
        .sets("vNumber", "abc"),
    ]
}
