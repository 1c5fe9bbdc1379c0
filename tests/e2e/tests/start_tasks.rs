//! Starting tasks by REST as load scripts do, and by plugins.

use e2e::qlik::{Endpoint, Fault, Site, Task};
use e2e::{Butler, Sense, Sink, StoreLock, http, wait_for};
use serde_json::{Value, json};

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

/// Sends a request with this body, if any; status and JSON of the answer.
async fn send(butler: &Butler, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let mut request = http().request(method, format!("{}{path}", butler.rest()));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("the daemon answers whole");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {status} {text}")))
}

async fn start(butler: &Butler, id: &str, query: &str, body: &Value) -> Value {
    let path = format!("/v4/reloadtask/{id}/start{query}");
    let (status, answer) = send(butler, "PUT", &path, Some(&body.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn empty() -> Value {
    json!({
        "tasksId": { "started": [], "invalid": [], "denied": [] },
        "tasksTag": [], "tasksTagDenied": [], "tasksCP": [], "tasksCPDenied": [],
    })
}

#[tokio::test]
async fn tasks_are_started_by_id_tag_and_custom_property_and_told_of() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let config = format!(
        "plugins:\n  - use: webhook\n    on: [{{ events: [\"task-start.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    let butler = sense.butler(&config).await;
    let body = json!([
        { "type": "starttasktag", "payload": { "tag": "nightly" } },
        { "type": "starttaskcustomproperty", "payload": { "customPropertyName": "taskGroup", "customPropertyValue": "sales" } },
        { "type": "starttaskid", "payload": { "taskId": Site::SAMPLE_DISABLED_TASK } },
        { "payload": {} },
    ]);
    let upper = Site::SAMPLE_RELOAD_TASK.to_ascii_uppercase();
    let answer = start(&butler, &upper, "", &body).await;
    let reload = json!({ "taskId": Site::SAMPLE_RELOAD_TASK, "taskName": "Reload order analysis" });
    assert_eq!(answer["tasksId"], json!({ "started": [reload], "invalid": [], "denied": [] }), "{answer}");
    let tagged = json!([reload, { "taskId": Site::SAMPLE_EXTERNAL_PROGRAM_TASK, "taskName": "Export prices" }]);
    assert_eq!((&answer["tasksTag"], &answer["tasksCP"]), (&tagged, &json!([reload])), "{answer}");
    let failed = &answer["tasksFailed"];
    assert_eq!(failed[0]["taskId"], Site::SAMPLE_DISABLED_TASK, "{answer}");
    assert!(failed[0]["reason"].as_str().is_some_and(|reason| reason.contains("disabled")), "{answer}");
    // Chosen three times, started once.
    assert_eq!(sense.site().starts().len(), 2);

    let events: Vec<Value> = sink.wait(3).await.iter().map(e2e::Received::json).collect();
    let of = |task: &str| events.iter().find(|event| event["data"]["task"]["id"] == task).unwrap();
    let (started, refused) = (of(Site::SAMPLE_RELOAD_TASK), of(Site::SAMPLE_DISABLED_TASK));
    assert_eq!((&started["kind"], &refused["kind"]), (&json!("task-start.succeeded"), &json!("task-start.failed")));
    assert_eq!(started["data"]["taskStart"]["selectedBy"], "taskId", "{started}");
    assert_eq!(started["data"]["task"]["tags"], json!(["nightly"]), "{started}");
    assert!(started["data"]["taskStart"]["caller"].as_str().is_some_and(|caller| !caller.is_empty()), "{started}");
    assert!(refused["data"]["message"].as_str().is_some_and(|text| text.contains("enable it")), "{refused}");
}

#[tokio::test]
async fn answers_are_those_of_butler_16_or_better() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    // What is no id is told, and nobody is asked.
    let answer = start(&butler, "abc", "", &json!([])).await;
    let mut expected = empty();
    expected["tasksId"]["invalid"] = json!([{ "taskId": "abc" }]);
    assert_eq!(answer, expected);
    assert_eq!(sense.counts().requests_to(Endpoint::TaskFull), 0);

    // All must exist: none is started by id, but by tag.
    let ids = json!([
        { "type": "starttaskid", "payload": { "taskId": UNKNOWN } },
        { "type": "starttaskid", "payload": { "taskId": Site::SAMPLE_USER_SYNC_TASK } },
        { "type": "starttasktag", "payload": { "tag": "nightly" } },
    ]);
    let answer = start(&butler, Site::SAMPLE_PRELOAD_TASK, "?allTaskIdsMustExist=true", &ids).await;
    assert_eq!(answer["tasksId"]["started"], json!([]), "{answer}");
    assert_eq!(answer["tasksId"]["invalid"], json!([{ "taskId": UNKNOWN }]), "{answer}");
    assert_eq!(answer["tasksId"]["denied"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["tasksTag"].as_array().map(Vec::len), Some(2), "{answer}");
    let answer = start(&butler, Site::SAMPLE_PRELOAD_TASK, "?allTaskIdsMustExist=false", &ids).await;
    assert_eq!(answer["tasksId"]["started"].as_array().map(Vec::len), Some(2), "{answer}");

    // Nothing to start, in all its forms; an empty place for the id is one of them.
    for (path, body) in [
        ("/v4/reloadtask/-/start", Some("[]")),
        ("/v4/reloadtask//start", Some("[]")),
        ("/v4/reloadtask/-/start", Some("{}")),
        ("/v4/reloadtask/-/start", Some("")),
        ("/v4/reloadtask/-/start", None),
    ] {
        for method in ["PUT", "POST"] {
            assert_eq!(send(&butler, method, path, body).await, (200, empty()), "{method} {path} {body:?}");
        }
    }
    for (path, body, message) in [
        ("-", "[{\"type\":\"starttasks\",\"payload\":{}}]", "body/0/type must be equal to one of the allowed values"),
        ("-", "{\"taskId\":\"x\"}", "body must be array"),
        ("-", "[\"x\"]", "body/0 must be object"),
        ("-", "[{},{\"type\":\"starttasktag\"}]", "body/1 must have required property 'payload'"),
        ("-", "[{\"type\":\"starttaskid\",\"payload\":{}}]", "body/0/payload must have required property 'taskId'"),
        (
            "-",
            "[{\"type\":\"starttasktag\",\"payload\":{\"tag\":\"\"}}]",
            "body/0/payload/tag must NOT have fewer than 1 characters",
        ),
    ] {
        let (status, answer) = send(&butler, "PUT", &format!("/v4/reloadtask/{path}/start"), Some(body)).await;
        assert_eq!((status, &answer["message"]), (400, &json!(message)), "{body}: {answer}");
        assert_eq!(answer["code"], "FST_ERR_VALIDATION");
    }
    let (status, answer) = send(&butler, "PUT", "/v4/reloadtask/-/start?allTaskIdsMustExist=yes", Some("[]")).await;
    assert_eq!((status, &answer["message"]), (400, &json!("querystring/allTaskIdsMustExist must be boolean")));

    // An empty id or value, and what scripts of Butler 16 store where no plugin keeps it, hold back no task.
    let odd = json!([
        { "type": "keyvaluestore", "payload": { "namespace": "n", "key": "k", "value": "v" } },
        { "type": "keyvaluestore" },
        { "type": "starttaskid", "payload": { "taskId": "" } },
        { "type": "starttaskcustomproperty", "payload": { "customPropertyName": "taskGroup", "customPropertyValue": "" } },
    ]);
    let answer = start(&butler, Site::SAMPLE_PRELOAD_TASK, "", &odd).await;
    assert_eq!(answer["tasksId"]["started"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["tasksId"]["invalid"], json!([{ "taskId": "" }]), "{answer}");
    assert_eq!((&answer["tasksCP"], &answer["tasksCPDenied"]), (&json!([]), &json!([])), "{answer}");
    let passed_over =
        "an item `keyvaluestore` of a request to start tasks is passed over: no plugin of the config takes it";
    assert_eq!(butler.log().matches(passed_over).count(), 1, "once for both: {}", butler.log());

    // Not "no such task", when nobody knows.
    sense.stop().await;
    let path = format!("/v4/reloadtask/{UNKNOWN}/start");
    let (status, answer) = send(&butler, "PUT", &path, Some("[]")).await;
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(status == 502 && message.starts_with("Failed starting task: Qlik Sense at"), "{status} {answer}");
}

#[tokio::test]
async fn the_filter_holds_for_every_caller_and_follows_the_config() {
    let sense = Sense::start().await;
    let other = sense.site().add_task(Task::reload("Other", Site::SAMPLE_APP).tag("daily"));
    let filter = "startTaskFilter: { tags: [nightly] }";
    let butler = sense.butler_with(filter, "plugins:\n  - use: probe\n").await;
    let body = json!([
        { "type": "starttasktag", "payload": { "tag": "nightly" } },
        { "type": "starttasktag", "payload": { "tag": "daily" } },
        { "type": "starttaskcustomproperty", "payload": { "customPropertyName": "taskGroup", "customPropertyValue": "sales" } },
    ]);
    let answer = start(&butler, &other, "", &body).await;
    assert_eq!(answer["tasksTagDenied"], json!([{ "tag": "daily" }]), "{answer}");
    assert_eq!(answer["tasksCPDenied"], json!([{ "name": "taskGroup", "value": "sales" }]), "{answer}");
    assert_eq!(answer["tasksId"]["denied"], json!([{ "taskId": other }]), "{answer}");
    assert_eq!(sense.site().starts().len(), 2);

    // A plugin is a caller as well.
    let tasks = json!({ "taskIds": [other, Site::SAMPLE_RELOAD_TASK], "tags": ["daily"] });
    let (status, answer) = probe(&butler, "startTasks", &tasks).await;
    assert_eq!((status, &answer["denied"]), (200, &json!([other, "daily"])), "{answer}");
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(sense.site().starts().len(), 3);

    // Without a restart.
    butler.rewrite(&(sense.section("startTaskFilter: { tags: [daily] }") + "plugins:\n  - use: probe\n"));
    let (status, answer) = send(&butler, "POST", "/v5/reload", None).await;
    assert_eq!((status, &answer["needRestart"]), (200, &json!([])), "{answer}");
    assert_eq!(start(&butler, &other, "", &json!([])).await["tasksId"]["started"][0]["taskId"], other);
}

/// What the probe is answered by the service `qlik`. It may still be starting.
async fn probe(butler: &Butler, call: &str, body: &Value) -> (u16, Value) {
    wait_for("the probe to run", || async {
        let answer = send(butler, "POST", &format!("/v5/probe/qlik/{call}"), Some(&body.to_string())).await;
        (answer.0 != 503).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn items_of_other_types_go_to_the_plugin_that_offers_them() {
    let sense = Sense::start().await;
    let butler = sense.butler("plugins:\n  - use: probe\n").await;
    probe(&butler, "item", &json!({})).await;
    let item = |payload: Value| json!([{ "type": "probeitem", "payload": payload }]);
    let answer = start(&butler, Site::SAMPLE_RELOAD_TASK, "", &item(json!({ "key": "a", "ttl": "250" }))).await;
    assert_eq!(answer["tasksId"]["started"].as_array().map(Vec::len), Some(1), "{answer}");
    let (_, kept) = probe(&butler, "item", &json!({})).await;
    assert_eq!((&kept["type"], &kept["payload"]), (&json!("probeitem"), &json!({ "key": "a", "ttl": 250 })), "{kept}");
    assert!(kept["caller"].as_str().is_some_and(|caller| !caller.is_empty()), "{kept}");
    // The task may need what the item leaves: without it, it is not started.
    for (payload, status, message) in [
        (json!({ "key": "refused" }), 500, "Failed starting task: the item `probeitem` was not taken"),
        (json!({ "ttl": "x", "key": "a" }), 400, "body/0/payload/ttl must be integer"),
    ] {
        let path = format!("/v4/reloadtask/{}/start", Site::SAMPLE_RELOAD_TASK);
        let (found, answer) = send(&butler, "PUT", &path, Some(&item(payload).to_string())).await;
        let text = answer["message"].as_str().unwrap_or_default();
        assert!(found == status && text.starts_with(message), "{found} {answer}");
    }
    assert_eq!(sense.site().starts().len(), 1);
}

#[tokio::test]
async fn plugins_write_where_manifest_and_config_allow_it() {
    let sense = Sense::start().await;
    let butler = sense.butler_with("writes: [\"tag*\", \"task/*\"]", "plugins:\n  - use: probe\n").await;
    let (status, made) = probe(&butler, "post", &json!({ "path": "tag", "body": { "name": "by butler" } })).await;
    assert_eq!((status, &made["status"], &made["body"]["name"]), (200, &json!(201), &json!("by butler")), "{made}");
    let path = format!("tag/{}", made["body"]["id"].as_str().unwrap_or_default());
    let (_, gone) = probe(&butler, "delete", &json!({ "path": path })).await;
    assert_eq!(gone["status"], 204, "{gone}");
    let (_, gone) = probe(&butler, "delete", &json!({ "path": path })).await;
    assert_eq!(gone["status"], 404, "{gone}");

    let before = sense.counts().requests;
    for (call, path, reason) in [
        ("delete", "stream/1", "add it to `qlik.writes`"),
        ("put", "app/1", "add it to `qlik_writes`"),
        ("delete", "tag/../app/1", "are not allowed in it"),
        ("delete", "tag/%2e%2e/app/1", "are not allowed in it"),
        ("delete", "tag/%2e%2e%2fapp/1", "are not allowed in it"),
        ("delete", "tag/..\\app/1", "are not allowed in it"),
        // The filter holds for whoever starts a task.
        ("post", "task/5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01/start", "use `start_tasks`"),
        ("post", "task/5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01/Start/synchronous", "use `start_tasks`"),
    ] {
        let (status, answer) = probe(&butler, call, &json!({ "path": path, "body": {} })).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(status == 500 && error.contains(reason), "{path}: {answer}");
    }
    assert_eq!(sense.counts().requests, before);

    let (status, info) = probe(&butler, "systemInfo", &json!({})).await;
    assert_eq!((status, &info["version"], &info["productName"]), (200, &json!("14.187.4"), &json!("Qlik Sense")));
}

#[tokio::test]
async fn starts_need_their_scope_and_qlik_sense() {
    let butler = Butler::start(
        "rest:\n  listen: 127.0.0.1:0\n  tokens: [{ name: reader, sha256: \
         9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, scopes: [read] }]\n",
    )
    .await;
    let path = format!("/v4/reloadtask/{UNKNOWN}/start");
    let answer = http().put(format!("{}{path}", butler.rest())).bearer_auth("test").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let butler = Butler::start("").await;
    let (status, answer) = send(&butler, "PUT", &path, Some("[]")).await;
    assert!(status == 503 && answer["message"].as_str().is_some_and(|text| text.contains("`qlik:`")), "{answer}");
    assert_eq!(send(&butler, "PUT", "/v4/reloadtask/-/start", Some("[]")).await, (200, empty()));
}

#[tokio::test]
async fn a_start_without_an_answer_says_that_it_may_have_worked() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    sense.faults().add(Fault::reset().on(Endpoint::TaskStartSynchronous));
    let answer = start(&butler, Site::SAMPLE_RELOAD_TASK, "", &json!([])).await;
    let reason = answer["tasksFailed"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("may have been started all the same"), "{answer}");
    assert_eq!(sense.counts().requests_to(Endpoint::TaskStartSynchronous), 1);
}

#[tokio::test]
async fn while_the_store_cannot_be_written_the_answer_comes_and_the_event_later() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let lock = StoreLock::take(&butler.folder().join("butler.db"));

    // The client waits 20 s at most.
    let answer = start(&butler, Site::SAMPLE_RELOAD_TASK, "", &json!([])).await;
    assert_eq!(answer["tasksId"]["started"][0]["taskId"], Site::SAMPLE_RELOAD_TASK, "{answer}");
    drop(lock);
    butler.wait_routed(Site::SAMPLE_RELOAD_TASK, "task-start.succeeded").await;
}
