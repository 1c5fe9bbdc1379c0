//! What is published where.

use butler_plugin_api::{Event, Response, ServiceError};

use super::*;
use crate::payload;

/// Topics and payloads of a delivery, by `render`.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub(super) fn rendered(fake: &FakeHost, more: Value, delivery: &Delivery) -> Result<Vec<(String, String)>, String> {
    let mut settings = json!({ "url": "mqtt://127.0.0.1:1" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plugin: Mqtt = block_on(fake.start(settings)).map_err(|error| error.to_string())?;
    let input = serde_json::to_value(delivery).unwrap();
    let rendered = block_on(plugin.invoke("render", input)).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = rendered["messages"].as_array().unwrap();
    Ok(messages.iter().map(|message| (text(&message["topic"]), text(&message["payload"]))).collect())
}

fn keys(payload: &str) -> Vec<String> {
    // The order in the text: a map would sort.
    let mut keys = Vec::new();
    let (mut depth, mut in_text, mut escaped, mut current) = (0, false, false, String::new());
    let mut last_text = String::new();
    for c in payload.chars() {
        if in_text {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    in_text = false;
                    last_text = std::mem::take(&mut current);
                }
                _ => current.push(c),
            }
            continue;
        }
        match c {
            '"' => in_text = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => keys.push(last_text.clone()),
            _ => {}
        }
    }
    keys
}

const TASK: &str = "11111111-2222-4333-8444-555555555555";

fn qlik() -> FakeHost {
    let task = json!([{ "id": TASK, "name": "Sales nightly", "whatever": { "deep": [1, null] } }]);
    FakeHost::new("mqtt").qlik("task/full", task).qlik("app/full", json!([{ "id": "app", "name": "Sales" }]))
}

/// A delivery whose app has an id as Qlik Sense makes them.
fn of(kind: &str) -> Delivery {
    let mut delivery = sample_delivery(kind);
    if let Some(app) = &mut delivery.event.data.app {
        app.id = "aaaaaaaa-2222-4333-8444-555555555555".to_owned();
    }
    delivery
}

#[test]
fn a_failed_reload_has_the_two_messages_of_the_original() {
    for (kind, topic) in [(kind::RELOAD_TASK_FAILED, "failure"), (kind::RELOAD_TASK_ABORTED, "aborted")] {
        let messages = rendered(&qlik(), json!({}), &of(kind)).unwrap();
        assert_eq!(messages[0], (format!("qliksense/task_{topic}"), "Sales nightly".to_owned()));
        assert_eq!(messages[1].0, format!("qliksense/task_{topic}_full"));
        let payload = &messages[1].1;
        let expected = [
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
        assert_eq!(keys(payload), expected, "{payload}");
        let value: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(value["qs_taskMetadata"]["whatever"], json!({ "deep": [1, null] }));
        assert_eq!(value["qs_appMetadata"]["name"], "Sales");
        assert_eq!(value["qs_taskTags"], json!(["nightly", "finance"]));
        assert_eq!(value["qs_taskCustomProperties"], json!([{ "name": "Butler_Mail", "value": "Yes" }]));
        assert_eq!((&value["hostName"], &value["user"]), (&json!("sense1"), &json!(r"LAB\sa_scheduler")));
        assert!(!payload.contains(": ") && !payload.contains('\n'), "compact: {payload}");
    }
}

#[test]
fn users_have_one_separator_and_what_is_not_known_is_not_there() {
    let mut delivery = of(kind::RELOAD_TASK_FAILED);
    delivery.event.data.user = Some(r"LAB\\anna".to_owned());
    delivery.event.data.app = None;
    delivery.event.data.log = None;
    delivery.event.data.missing = vec!["task".to_owned(), "app".to_owned()];
    let gone = qlik().fail_service("qlik", ServiceError::Unavailable("gone".to_owned()));
    let messages = rendered(&gone, json!({}), &delivery).unwrap();
    let value: Value = serde_json::from_str(&messages[1].1).unwrap();
    assert_eq!(value["user"], r"LAB\anna");
    let expected = ["hostName", "user", "taskName", "taskId", "executionId", "qs_appMetadata", "qs_taskMetadata"];
    assert_eq!(keys(&messages[1].1), expected);
    assert_eq!((&value["qs_appMetadata"], &value["qs_taskMetadata"]), (&Value::Null, &Value::Null));
    assert!(!messages[1].1.contains("undefined"));
    // Without any facts there is a message all the same.
    delivery.event.data = butler_plugin_api::Data::default();
    let messages = rendered(&gone, json!({}), &delivery).unwrap();
    assert_eq!(messages[0].1, "reload-task.failed");
    assert!(messages[1].1.contains("sample-1"), "{}", messages[1].1);
}

#[test]
fn services_have_topics_of_their_own_and_the_keys_of_the_original() {
    let mut delivery = sample_delivery(kind::SERVICE_STOPPED);
    let service = delivery.event.data.service.as_mut().unwrap();
    service.host = Some("srv1".to_owned());
    let messages = rendered(&qlik(), json!({}), &delivery).unwrap();
    assert_eq!(messages[0].0, "qliksense/service_stopped/srv1/QlikSenseEngineService");
    assert!(
        messages[0]
            .1
            .ends_with(r#""serviceStatus":"STOPPED","servicePrevStatus":"RUNNING","serviceStatusChanged":true}"#)
    );
    // Stopped at the first look.
    delivery.event.data.service.as_mut().unwrap().previous_state = None;
    let first = rendered(&qlik(), json!({}), &delivery).unwrap();
    let end = r#""serviceStatus":"STOPPED","servicePrevStatus":"PAUSED","serviceStatusChanged":true}"#;
    assert!(first[0].1.ends_with(end), "{}", first[0].1);
    let stopped = [
        "serviceHost",
        "serviceName",
        "serviceFriendlyName",
        "serviceDisplayName",
        "serviceDependencies",
        "serviceStartType",
        "serviceExePath",
        "serviceStatus",
        "servicePrevStatus",
        "serviceStatusChanged",
    ];
    assert_eq!(keys(&messages[0].1), stopped);
    let mut state = stopped[..8].to_vec();
    state.swap(2, 3);
    assert_eq!(messages[1].0, "qliksense/service_status/srv1/QlikSenseEngineService");
    assert_eq!(keys(&messages[1].1), state);

    let running = rendered(&qlik(), json!({}), &sample_delivery(kind::SERVICE_STARTED)).unwrap();
    let mut expected = stopped.to_vec();
    expected.swap(2, 3);
    assert_eq!(keys(&running[0].1), expected);
    assert!(running[0].0.starts_with("qliksense/service_running/"));
    let state_only = rendered(&qlik(), json!({}), &sample_delivery(kind::SERVICE_STATE)).unwrap();
    assert!(state_only.len() == 1 && state_only[0].0.starts_with("qliksense/service_status/"));
    assert_eq!(keys(&state_only[0].1), state);

    // Names that nobody would choose, and none.
    let service = delivery.event.data.service.as_mut().unwrap();
    (service.host, service.name) = (Some("a/b+c#d\0".to_owned()), None);
    let messages = rendered(&qlik(), json!({}), &delivery).unwrap();
    assert_eq!(messages[0].0, "qliksense/service_stopped/a_b_c_d_/_");
    // Only the state, as with an empty `serviceStoppedTopic`.
    let only = json!({ "topics": [{ "events": ["service.stopped"], "publish": [
        { "topic": "s/{{service.host}}", "payload": "serviceState" }] }] });
    let messages = rendered(&qlik(), only, &delivery).unwrap();
    assert!(messages.len() == 1 && messages[0].0 == "s/a_b_c_d_", "{messages:?}");
}

#[test]
fn licences_and_udp_have_the_forms_of_the_original() {
    let licence = |kind: &str, expired: bool, date: Option<&str>, days: Option<i64>| {
        let mut delivery = sample_delivery(kind);
        let licence = delivery.event.data.server_license.as_mut().unwrap();
        licence.expired = Some(expired);
        (licence.expiry_date, licence.days_until_expiry) = (date.map(str::to_owned), days);
        rendered(&qlik(), json!({}), &delivery).unwrap().pop().unwrap()
    };
    let date = Some("2027-03-31");
    assert_eq!(
        licence(kind::SERVER_LICENSE_STATUS, false, date, Some(45)),
        (
            "qliksense/qliksense_server_license".to_owned(),
            r#"{"licenseExpired":false,"expiryDateStr":"2027-03-31","daysUntilExpiry":45}"#.to_owned()
        )
    );
    assert_eq!(
        licence(kind::SERVER_LICENSE_STATUS, false, None, None).1,
        r#"{"licenseExpired":false,"expiryDateStr":null,"daysUntilExpiry":null}"#
    );
    let (topic, text) = licence(kind::SERVER_LICENSE_EXPIRING, false, date, Some(45));
    assert_eq!(topic, "qliksense/qliksense_server_license_expire");
    assert_eq!(text, "Qlik Sense server license is about to expire in 45 days, on 2027-03-31");
    let expired = |date| licence(kind::SERVER_LICENSE_EXPIRED, true, date, Some(-3)).1;
    assert_eq!(expired(date), "Qlik Sense server license expired on 2027-03-31");
    assert_eq!(expired(None), "Qlik Sense server license expired");
    let soon = licence(kind::SERVER_LICENSE_EXPIRING, false, None, None).1;
    assert_eq!(soon, "Qlik Sense server license is about to expire");

    for (kind, text) in [(kind::UDP_LISTENING, "start"), (kind::UDP_FAILED, "error")] {
        let messages = rendered(&qlik(), json!({}), &sample_delivery(kind)).unwrap();
        assert_eq!(messages, [("qliksense/butler/task_failure_server".to_owned(), text.to_owned())]);
    }
}

#[test]
fn sessions_have_the_topics_of_versions_4_to_6() {
    for (kind, topic) in [
        (kind::USER_SESSION_STARTED, "session/start"),
        (kind::USER_SESSION_STOPPED, "session/stop"),
        (kind::USER_CONNECTION_OPENED, "connection/open"),
        (kind::USER_CONNECTION_CLOSED, "connection/close"),
    ] {
        let messages = rendered(&qlik(), json!({ "rootTopic": "site/a" }), &sample_delivery(kind)).unwrap();
        assert_eq!(messages, [(format!("site/a/{topic}"), "sense1: LAB/ann".to_owned())]);
    }
}

#[test]
fn every_other_kind_has_a_topic_with_the_event() {
    for kind in kind::ALL.iter().chain(&["moon.risen", "chat.room.left", "no-dot", "a/b.+"]) {
        let delivery = sample_delivery(kind);
        let messages = rendered(&qlik(), json!({}), &delivery).unwrap();
        assert!(!messages.is_empty(), "{kind}");
        for (topic, payload) in messages.iter().filter(|(topic, _)| topic.starts_with("qliksense/event/")) {
            let event: Event = serde_json::from_str(payload).unwrap();
            assert_eq!(event, delivery.event);
            assert!(!topic.contains(['+', '#']), "{topic}");
        }
    }
    let topic = |kind: &str| rendered(&qlik(), json!({}), &sample_delivery(kind)).unwrap().pop().unwrap().0;
    assert_eq!(topic("preload-task.failed"), "qliksense/event/preload-task/failed");
    assert_eq!(topic("reload-task.succeeded"), "qliksense/event/reload-task/succeeded");
    assert_eq!(topic("a/b.+"), "qliksense/event/a_b/_");
    assert_eq!(topic("no-dot"), "qliksense/event/no-dot");
}

#[test]
fn messages_of_others_go_where_they_say() {
    let mut delivery = sample_delivery(kind::MESSAGE_POSTED);
    let message = |delivery: &Delivery| rendered(&qlik(), json!({}), delivery);
    assert_eq!(message(&delivery).unwrap(), [("qliksense/notes".to_owned(), "Stock loaded".to_owned())]);
    let set = |delivery: &mut Delivery, topic: Option<&str>| {
        delivery.event.data.posted.as_mut().unwrap().topic = topic.map(str::to_owned);
    };
    set(&mut delivery, None);
    assert_eq!(message(&delivery).unwrap()[0].0, "qliksense/message");
    for (topic, part) in [("a/#", "wildcard"), ("$SYS/x", "begins with `$`"), ("a\0b", "control character")] {
        set(&mut delivery, Some(topic));
        let error = message(&delivery).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn topics_of_the_settings_go_before_the_built_in_ones() {
    let topics = json!({ "qos": 2, "retain": true, "topics": [
        { "events": ["reload-task.failed"], "publish": [
            { "topic": "failed/{{taskName}}/{{app.name}}", "text": "{{taskName}}: {{#if nothing}}x{{/if}}{{user}}" },
            { "topic": "$aws/rules/x", "payload": "name", "qos": 0, "retain": false },
            { "topic": "fixed", "text": "plain" }] },
        { "events": ["*-task.*"], "publish": [] },
        { "events": ["user-session.*"], "publish": [{ "topic": "{{taskName}}{{user}}/x" }] }
    ] });
    let mut delivery = of(kind::RELOAD_TASK_FAILED);
    delivery.event.data.task.as_mut().unwrap().name = "50% + \"tax\"/#1\u{1b}".to_owned();
    let messages = rendered(&qlik(), topics.clone(), &delivery).unwrap();
    let topics_of: Vec<&str> = messages.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics_of, ["failed/50% _ \"tax\"__1_/Sales \"EU\"", "$aws/rules/x", "fixed"]);
    assert_eq!(messages[0].1, "50% + \"tax\"/#1\u{1b}: LAB\\sa_scheduler", "payloads are not cleaned");
    assert_eq!(rendered(&qlik(), topics.clone(), &of("preload-task.failed")).unwrap(), []);
    let mut session = sample_delivery(kind::USER_SESSION_STARTED);
    session.event.data.user = Some("$SYS".to_owned());
    let error = rendered(&qlik(), topics, &session).unwrap_err();
    assert!(error.contains("begins with `$`"), "{error}");

    // Nothing for a topic, and far too much.
    let only = json!({ "topics": [{ "events": ["*"], "publish": [{ "topic": "{{nothing}}" }] }] });
    assert!(rendered(&qlik(), only, &delivery).unwrap_err().contains("the topic is empty"));
    delivery.event.data.task.as_mut().unwrap().name = "x".repeat(70_000);
    let long = json!({ "topics": [{ "events": ["*"], "publish": [{ "topic": "{{taskName}}" }] }] });
    assert!(rendered(&qlik(), long, &delivery).unwrap_err().contains("70000 bytes"));
}

#[test]
fn a_topic_that_cannot_be_costs_no_message() {
    block_on(async {
        let publish = json!([{ "topic": "{{nothing}}" }, { "topic": "fixed", "payload": "name" }]);
        let settings = json!({ "url": "mqtt://127.0.0.1:1", "topics": [{ "events": ["*"], "publish": publish }] });
        let plugin: Mqtt = qlik().start(settings).await.unwrap();
        let plan = plugin.planner(None).plan(&of(kind::RELOAD_TASK_FAILED)).await.unwrap();
        let topics: Vec<&str> = plan.messages.iter().map(|planned| planned.message.topic.as_str()).collect();
        assert_eq!(topics, ["qliksense/event/reload-task/failed", "fixed"]);
        assert!(plan.misplaced.unwrap().contains("the topic is empty"));
        assert_eq!((plan.trouble, plugin.try_templates().await), (None, Ok(())), "no fault of the template");
    });
}

#[test]
fn a_burst_of_one_task_asks_once_and_a_dead_qlik_holds_up_nothing() {
    let fake = qlik();
    block_on(async {
        // The plugin is there for its runtime.
        let plugin: Mqtt = fake.start(json!({ "url": "mqtt://127.0.0.1:1" })).await.unwrap();
        let metadata = crate::metadata::Metadata::new(plugin.host.clone());
        let (one, two) = (of(kind::RELOAD_TASK_FAILED), of(kind::RELOAD_TASK_ABORTED));
        let first = payload::butler16(&one.event, Some(&metadata)).await;
        let _ = fake.clone().qlik("task/full", json!([]));
        let second = payload::butler16(&two.event, Some(&metadata)).await;
        for payload in [first, second] {
            let value: Value = serde_json::from_slice(&payload.bytes).unwrap();
            assert_eq!(value["qs_taskMetadata"]["name"], "Sales nightly", "the second did not ask");
        }
        let without = payload::butler16(&one.event, None).await;
        assert!(
            String::from_utf8(without.bytes).unwrap().ends_with(r#""qs_appMetadata":null,"qs_taskMetadata":null}"#)
        );
    });
}

fn put(running: &Running, body: &Value) -> (u16, String) {
    let mut request = butler_plugin_api::Request::new("PUT", "/v4/mqttpublishmessage");
    request.body = body.to_string().into_bytes();
    let Response { status, body, .. } = block_on(running.plugin.call(request));
    (status, String::from_utf8(body).unwrap())
}

#[test]
fn who_may_only_send_messages_starts_no_task_by_it() {
    let broker = Broker::start();
    let obeyed = json!({ "startTask": { "topic": "starts" }, "cloud": { "topic": "cloud" } });
    let running = Running::start(FakeHost::new("mqtt"), settings(&broker, obeyed));
    broker.wait("the status", |seen| !seen.published.is_empty());
    for topic in ["starts", "cloud/reloads"] {
        let (status, answer) = put(&running, &json!({ "topic": topic, "message": "x" }));
        assert!(status == 403 && answer.contains("listens to this topic"), "{status} {answer}");
        let mut posted = of(kind::MESSAGE_POSTED);
        posted.event.data.posted.as_mut().unwrap().topic = Some(topic.to_owned());
        let error = block_on(running.plugin.deliver(&posted)).unwrap_err();
        assert!(matches!(error, DeliveryError::Reject { .. }), "{error:?}");
    }
    assert!(broker.on("starts").is_empty() && broker.on("cloud/reloads").is_empty());
}

#[test]
fn load_scripts_publish_by_rest() {
    let broker = Broker::start();
    let running = Running::start(FakeHost::new("mqtt"), settings(&broker, json!({})));
    broker.wait("the status", |seen| !seen.published.is_empty());
    let body = json!({ "topic": "a/b", "message": "Hello \"you\"" });
    assert_eq!(put(&running, &body), (201, r#"{"topic":"a/b","message":"Hello \"you\""}"#.to_owned()));
    let message = broker.on("a/b").pop().unwrap();
    assert_eq!((message.text().as_str(), message.qos, message.retain), ("Hello \"you\"", 1, false));
    for topic in ["", "a/#", "a\0"] {
        let (status, answer) = put(&running, &json!({ "topic": topic, "message": "x" }));
        assert!(status == 400 && answer.contains("topic"), "{status} {answer}");
    }
    broker.set(|behaviour| behaviour.acknowledges = false);
    let (status, answer) = put(&running, &body);
    assert!(status == 502 && answer.contains("does not acknowledge"), "{status} {answer}");
    broker.set(|behaviour| behaviour.accepts = false);
    broker.cut();
    running.fake.wait_until("the connection to be lost", |_| running.plugin.link.now().is_err());
    let (status, answer) = put(&running, &body);
    assert!(status == 503 && answer.contains(&broker.url()), "{status} {answer}");
    running.stop();
}
