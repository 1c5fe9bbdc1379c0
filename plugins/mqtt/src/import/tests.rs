use butler_plugin_api::testing::{damage, filled_settings, import_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Mqtt;

/// All keys, with the topics of the sample file.
fn complete() -> Value {
    json!({
        "mqttConfig": {
            "enable": true,
            "brokerHost": "broker.test",
            "brokerPort": 1884,
            "azureEventGrid": {
                "enable": true,
                "clientId": "butler",
                "clientCertFile": "/no/such/cert.pem",
                "clientKeyFile": "/no/such/key.pem",
            },
            "taskFailureSendFull": true,
            "taskAbortedSendFull": true,
            "subscriptionRootTopic": "qliksense/#",
            "taskStartTopic": "qliksense/start_task",
            "taskFailureTopic": "qliksense/task_failure",
            "taskFailureFullTopic": "qliksense/task_failure_full",
            "taskFailureServerStatusTopic": "qliksense/butler/task_failure_server",
            "taskAbortedTopic": "qliksense/task_aborted",
            "taskAbortedFullTopic": "qliksense/task_aborted_full",
            "serviceRunningTopic": "qliksense/service_running",
            "serviceStoppedTopic": "qliksense/service_stopped",
            "serviceStatusTopic": "qliksense/service_status",
            "qlikSenseServerLicenseTopic": "qliksense/qliksense_server_license",
            "qlikSenseServerLicenseExpireTopic": "qliksense/qliksense_server_license_expire",
            "qlikSenseCloud": { "event": { "mqttForward": {
                "enable": true,
                "broker": { "host": "cloud.test", "port": 8765, "username": "joe", "password": "joes-secret" },
                "topic": { "subscriptionRoot": "qscloud/#", "appReload": "qscloud/app/reload" },
            } } },
        },
        "serviceMonitor": { "enable": true, "alertDestination": { "mqtt": { "enable": true } } },
        "qlikSenseLicense": { "serverLicenseMonitor": { "enable": true, "destination": { "mqtt": {
            "enable": true, "sendRecurring": { "enable": true }, "sendAlert": { "enable": true },
        } } } },
        "qlikSenseCloud": { "enable": true },
    })
}

/// With other values in `mqttConfig`, and without Azure.
#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn with(changes: Value) -> Value {
    let mut old = complete();
    old["mqttConfig"]["azureEventGrid"]["enable"] = false.into();
    for (name, value) in changes.as_object().unwrap() {
        old["mqttConfig"][name] = value.clone();
    }
    old
}

fn is_told(answer: &Value, part: &str) -> bool {
    answer["remarks"].to_string().contains(part)
}

#[test]
fn all_keys_are_taken_over() {
    let answer = import_of::<Mqtt>(&complete());
    insta::assert_snapshot!("complete", format!("{answer:#}"));
    assert!(!is_told(&answer, "would be refused"), "{answer:#}");
}

#[test]
fn everything_off_is_nothing() {
    let answer = import_of::<Mqtt>(&with(json!({ "enable": false })));
    assert_eq!(answer["instances"], json!([]));
    insta::assert_snapshot!("off", format!("{:#}", answer["remarks"]));
    assert_eq!(import_of::<Mqtt>(&json!({}))["remarks"], json!([]));
}

#[test]
fn the_usual_topics_need_no_settings() {
    let answer = import_of::<Mqtt>(&with(json!({})));
    let settings = &filled_settings(&answer)[0];
    assert_eq!(
        settings,
        &json!({ "url": "mqtt://broker.test:1884", "startTask": { "topic": "qliksense/start_task" } })
    );
}

#[test]
fn kinds_are_those_that_are_switched_on() {
    let events = |old: &Value| import_of::<Mqtt>(old)["instances"][0]["on"][0]["events"].to_string();
    assert!(events(&complete()).contains("service.state") && events(&complete()).contains("server-license.status"));
    for (switch, kinds) in
        [("/serviceMonitor/enable", "service."), ("/qlikSenseLicense/serverLicenseMonitor/enable", "server-license.")]
    {
        let mut old = complete();
        *old.pointer_mut(switch).unwrap() = false.into();
        assert!(!events(&old).contains(kinds), "{switch}");
    }
    let mut old = complete();
    old["serviceMonitor"]["alertDestination"]["mqtt"]["enable"] = false.into();
    let expected = json!([
        "reload-task.failed",
        "reload-task.aborted",
        "udp.listening",
        "udp.failed",
        "server-license.status",
        "server-license.expiring",
        "server-license.expired",
    ]);
    assert_eq!(events(&old), expected.to_string());
}

#[test]
fn own_topics_become_entries() {
    let topics = |changes: Value| {
        let answer = import_of::<Mqtt>(&with(changes));
        assert!(!is_told(&answer, "would be refused"), "{answer:#}");
        answer["instances"][0]["settings"]["topics"].clone()
    };
    assert_eq!(
        topics(json!({ "taskFailureTopic": "a/failed", "taskAbortedSendFull": false })),
        json!([
            { "events": ["reload-task.failed"], "publish": [
                { "topic": "a/failed", "payload": "name" },
                { "topic": "qliksense/task_failure_full", "payload": "butler16" },
            ] },
            { "events": ["reload-task.aborted"], "publish": [{ "topic": "qliksense/task_aborted", "payload": "name" }] },
        ])
    );
    let service = "{{service.host}}/{{service.name}}";
    assert_eq!(
        topics(json!({ "serviceStoppedTopic": "a/down", "serviceStatusTopic": "" })),
        json!([
            { "events": ["service.stopped"], "publish": [{ "topic": format!("a/down/{service}"), "payload": "butler16" }] },
            { "events": ["service.started"], "publish": [
                { "topic": format!("qliksense/service_running/{service}"), "payload": "butler16" },
            ] },
            { "events": ["service.state"], "publish": [] },
        ])
    );
    assert_eq!(
        topics(json!({ "qlikSenseServerLicenseExpireTopic": "a/end", "taskFailureServerStatusTopic": "a/udp" })),
        json!([
            { "events": ["server-license.expir*"], "publish": [{ "topic": "a/end", "payload": "butler16" }] },
            { "events": ["udp.*"], "publish": [{ "topic": "a/udp", "payload": "butler16" }] },
        ])
    );
    let wild = import_of::<Mqtt>(&with(json!({ "taskFailureTopic": "a/#" })));
    assert!(is_told(&wild, "has a wildcard"), "{wild:#}");
}

#[test]
fn tasks_are_started_only_by_what_was_subscribed_to() {
    let start = |root: &str| {
        let answer = import_of::<Mqtt>(&with(json!({ "subscriptionRootTopic": root })));
        answer["instances"][0]["settings"]["startTask"].clone()
    };
    assert_eq!(start("qliksense/+"), json!({ "topic": "qliksense/start_task" }));
    assert_eq!(start("other/#"), json!(null));
    // One that cannot be is no reason to tell nobody of failed reloads.
    let wild =
        import_of::<Mqtt>(&with(json!({ "taskStartTopic": "qliksense/#", "subscriptionRootTopic": "qliksense/#" })));
    assert!(is_told(&wild, "no task is started by it") && !is_told(&wild, "would be refused"), "{wild:#}");
    assert!(wild["instances"][0]["settings"].get("startTask").is_none(), "{wild:#}");
}

#[test]
fn events_of_qlik_cloud_come_over_a_connection_of_their_own() {
    let mut old = complete();
    let names = |old: &Value| {
        let answer = import_of::<Mqtt>(old);
        answer["instances"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&old), [json!(null), json!("mqtt-cloud")]);
    old["qlikSenseCloud"]["enable"] = false.into();
    assert_eq!(names(&old), [json!(null)]);
    old = complete();
    old["mqttConfig"]["qlikSenseCloud"]["event"]["mqttForward"]["enable"] = false.into();
    assert_eq!(names(&old), [json!(null)]);
    old = complete();
    old["mqttConfig"]["brokerHost"] = json!(null);
    assert_eq!(names(&old), [json!("mqtt-cloud")]);
    // MQTT has no password without a user.
    old = complete();
    old["mqttConfig"]["qlikSenseCloud"]["event"]["mqttForward"]["broker"]["username"] = "".into();
    assert!(is_told(&import_of::<Mqtt>(&old), "its settings would be refused: `password` needs `user`"));
    assert_eq!(names(&old), [json!(null)]);
}

proptest! {
    #[test]
    fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..9)) {
        let mut old = complete();
        for (place, how) in faults {
            damage(&mut old, place, how);
        }
        import_of::<Mqtt>(&old);
    }
}
