//! MQTT with Mosquitto: what is published, security, brokers and daemons that go away, and what comes from the broker.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod receiving;
mod secure;

use e2e::qlik::Site;
use e2e::{Butler, Mosquitto, Sense, datagram, failure, http, run, wait_for};
use serde_json::{Value, json};

/// An instance with short waits between attempts. `more`: further settings.
fn config(broker: &Mosquitto, more: &str) -> String {
    instance("mqtt", &broker.url(), "", more)
}

/// `on`: a line with rules.
fn instance(name: &str, url: &str, on: &str, more: &str) -> String {
    format!(
        "plugins:\n  - use: mqtt\n    name: {name}\n{on}    retry: {{ initial: 50ms, max: 500ms }}\n    settings:\n      \
         url: \"{url}\"\n      connectTimeout: 2s\n{more}"
    )
}

/// Events of any kind, emitted by the probe.
const ALL: &str = "    on: [{ events: [\"*\"] }]\n";

async fn emit(butler: &Butler, kind: &str, data: Value) {
    let (status, answer) = butler.post("/v5/probe/emit", &json!({ "kind": kind, "data": data })).await;
    assert_eq!(status, 201, "{answer}");
}

async fn put(butler: &Butler, body: &Value) -> (u16, String) {
    let request = http().put(format!("{}/v4/mqttpublishmessage", butler.rest())).bearer_auth(butler.token());
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
    let answer = answer.expect("the daemon answers");
    (answer.status().as_u16(), answer.text().await.expect("the daemon answers whole"))
}

/// What the instance says of itself, once it has this in it. Quick where a delivery has failed: otherwise Butler asks every
/// half minute.
async fn wait_health(butler: &Butler, name: &str, part: &str) -> String {
    wait_for(&format!("the health of {name} with `{part}`; log:\n{}", butler.log()), || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let text = answer.to_string();
        (text.contains(name) && text.contains(part)).then_some(text)
    })
    .await
}

#[tokio::test]
async fn reloads_are_told_as_butler_16_did() {
    let (sense, broker) = (Sense::start().await, Mosquitto::start().await);
    let subscriber = broker.subscribe("qliksense/#").await;
    let butler = sense.butler(&config(&broker, "")).await;
    let mut failed = sense.failed(Site::SAMPLE_RELOAD_TASK);
    failed.user = r"LAB\\anna".to_owned();
    butler.send(&[failure(&failed)]);
    assert_eq!(subscriber.wait("qliksense/task_failure").await.payload, "Reload order analysis");
    let full = subscriber.wait("task_failure_full").await;
    let order = [
        "hostName",
        "user",
        "taskName",
        "taskId",
        "appName",
        "appId",
        "logTimeStamp",
        "logLevel",
        "executionId",
        "logMessage",
        "qs_appTags",
        "qs_appCustomProperties",
        "qs_taskTags",
        "qs_taskCustomProperties",
        "qs_appMetadata",
        "qs_taskMetadata",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|key| full.payload.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {full:?}")))
        .collect();
    assert!(places.is_sorted(), "{full:?}");
    let value = full.json();
    assert_eq!((&value["user"], &value["executionId"]), (&json!(r"LAB\anna"), &json!(failed.execution_id)));
    assert_eq!(value["qs_taskMetadata"]["id"], Site::SAMPLE_RELOAD_TASK);
    assert_eq!(value["qs_appMetadata"]["id"], failed.app_id);
    assert!(value["qs_appMetadata"]["owner"].is_object() && full.qos == 1 && !full.retained, "{full:?}");

    let aborted = sense.about(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[datagram("reload-task.aborted", &aborted)]);
    assert_eq!(subscriber.wait("qliksense/task_aborted").await.payload, "Reload order analysis");
    assert_eq!(subscriber.wait("task_aborted_full").await.json()["taskId"], Site::SAMPLE_RELOAD_TASK);
    butler.wait_delivery("delivered", "mqtt").await;

    // The state of the connection, for those who come later too.
    let late = broker.subscribe("qliksense/butler/mqtt/status").await;
    let status = late.wait("mqtt/status").await;
    let begin = format!("Connected to MQTT broker 127.0.0.1:{} with client ID mqtt-", broker.port());
    assert!(status.retained && status.payload.starts_with(&begin), "{status:?}");
    butler.stop().await;
    late.wait_that("the end", |message| message.payload == "offline").await;
    assert_eq!(broker.subscribe("qliksense/butler/mqtt/status").await.wait("status").await.payload, "offline");
}

#[tokio::test]
async fn services_licences_and_all_else_have_topics() {
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("site/#").await;
    let more = "      rootTopic: site\n      topics:\n        - events: [node.silent]\n          publish:\n            - \
                { topic: \"nodes/{{event.data.node}}/{{event.outcome}}\", text: \"{{message}}!\", qos: 2, retain: true }\n";
    let config = instance("mqtt", &broker.url(), ALL, more) + "  - use: probe\n";
    let nodes = broker.subscribe("nodes/#").await;
    let butler = Butler::start(&config).await;
    subscriber
        .wait_that("the UDP server", |m| m.topic == "site/butler/task_failure_server" && m.payload == "start")
        .await;
    subscriber.wait("site/event/butler/started").await;
    let service = |state: &str, previous: &str| {
        json!({ "service": { "host": "srv1", "name": "QlikSenseEngineService", "displayName": "Qlik Sense Engine Service",
                "friendlyName": "Engine", "startType": "Automatic", "dependencies": ["A"], "exePath": "e.exe",
                "state": state, "previousState": previous } })
    };
    emit(&butler, "service.stopped", service("STOPPED", "RUNNING")).await;
    let stopped = subscriber.wait("site/service_stopped/srv1/QlikSenseEngineService").await.payload;
    let end = r#""serviceStatus":"STOPPED","servicePrevStatus":"RUNNING","serviceStatusChanged":true}"#;
    assert!(stopped.ends_with(end), "{stopped}");
    let state = subscriber.wait("site/service_status/srv1/QlikSenseEngineService").await.payload;
    assert!(state.ends_with(r#""serviceStatus":"STOPPED"}"#), "{state}");
    emit(&butler, "service.started", service("RUNNING", "STOPPED")).await;
    subscriber.wait("site/service_running/srv1/QlikSenseEngineService").await;

    let licence = json!({ "serverLicense": { "expired": false, "expiryDate": "2027-03-31", "daysUntilExpiry": 45 } });
    for kind in ["server-license.status", "server-license.expiring"] {
        emit(&butler, kind, licence.clone()).await;
    }
    let status = subscriber.wait("site/qliksense_server_license").await.payload;
    assert_eq!(status, r#"{"licenseExpired":false,"expiryDateStr":"2027-03-31","daysUntilExpiry":45}"#);
    let text = subscriber.wait("site/qliksense_server_license_expire").await.payload;
    assert_eq!(text, "Qlik Sense server license is about to expire in 45 days, on 2027-03-31");

    emit(&butler, "node.silent", json!({ "node": "a/b #+\u{7}", "message": "nothing heard" })).await;
    let silent = nodes.wait_that("the silent node", |_| true).await;
    assert_eq!(
        (silent.topic.as_str(), silent.payload.as_str(), silent.qos),
        ("nodes/a_b ___/silent", "nothing heard!", 2)
    );
    assert!(broker.subscribe("nodes/#").await.wait_that("the kept message", |_| true).await.retained);

    // A message that names its topic, and one that cannot have it.
    let (status, answer) =
        butler.post("/v5/messages", &json!({ "text": "Stock loaded", "topic": "stock/state" })).await;
    assert!(status < 300, "{answer}");
    let (status, _) = butler.post("/v5/messages", &json!({ "text": "x", "topic": "stock/#" })).await;
    assert!(status < 300);
    let dead = butler.wait_delivery("dead", "mqtt").await;
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("wildcard")), "{dead}");
    wait_for("all others to be delivered", || async {
        (butler.deliveries("state=pending").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn load_scripts_publish_what_they_like() {
    let mut broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("scripts/#").await;
    let butler = Butler::start(&config(&broker, "")).await;
    let body = json!({ "topic": "scripts/a", "message": "Größe: \"5\"" });
    wait_for("a connection", || async { (put(&butler, &body).await.0 == 201).then_some(()) }).await;
    assert_eq!(put(&butler, &body).await, (201, r#"{"topic":"scripts/a","message":"Größe: \"5\""}"#.to_owned()));
    assert_eq!(subscriber.wait("scripts/a").await.payload, "Größe: \"5\"");
    // The largest that the REST API takes.
    let large = "x".repeat(1_000_000);
    assert_eq!(put(&butler, &json!({ "topic": "scripts/large", "message": large })).await.0, 201);
    assert_eq!(subscriber.wait("scripts/large").await.payload.len(), 1_000_000);
    for (body, part) in [
        (json!({ "topic": "scripts/#", "message": "x" }), "wildcard"),
        (json!({ "topic": "", "message": "x" }), "empty"),
        (json!({ "topic": "scripts/a" }), "message"),
        (json!({ "message": "x" }), "topic"),
    ] {
        let (status, answer) = put(&butler, &body).await;
        assert!(status == 400 && answer.contains(part), "{status} {answer}");
    }
    broker.kill();
    wait_for("the connection to be lost", || async { (put(&butler, &body).await.0 == 503).then_some(()) }).await;
    let begun = std::time::Instant::now();
    let (status, answer) = put(&butler, &body).await;
    assert!(status == 503 && answer.contains("not published") && answer.contains(&broker.url()), "{status} {answer}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
}

#[tokio::test]
async fn trying_it_out_does_not_disturb_the_daemon() {
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("qliksense/#").await;
    let butler = Butler::start(&config(&broker, "      clientId: butler-1\n      startTask: { topic: s }\n")).await;
    subscriber.wait("mqtt/status").await;
    let path = butler.config().to_str().unwrap();
    let check = e2e::command(&["check", "-c", path]).await;
    assert!(check.code == 0 && check.stdout.contains("accepts us as butler-1-"), "{check:?}");
    let test = e2e::command(&["test-alert", "-c", path, "--instance", "mqtt"]).await;
    assert_eq!(test.code, 0, "{test:?}");
    subscriber.wait("task_failure_full").await;
    let render = run(&["render", "-c", path, "--instance", "mqtt", "--event", "service.stopped"]);
    assert!(render.stdout.contains("qliksense/service_stopped/sense1/QlikSenseEngineService"), "{render:?}");
    let status: Vec<String> =
        subscriber.messages().into_iter().filter(|m| m.topic.ends_with("status")).map(|m| m.payload).collect();
    assert_eq!(status.len(), 1, "the daemon's connection was not touched: {status:?}");
}
