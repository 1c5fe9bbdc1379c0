use butler_plugin_api::testing::{FakeHost, block_on, damage, import_of, imported, unread};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Chat;

/// Every key that Butler 16 knows; all that can be on is, or nothing.
fn complete(on: bool) -> Value {
    let block = |name: &str, more: Value| {
        let mut block = json!({
            "webhookURL": format!("https://hooks.slack.test/{name}"),
            "channel": "sense-task-failure",
            "messageType": "formatted",
            "basicMsgTemplate": "{{taskName}}",
            "rateLimit": 60,
            "templateFile": format!("/no/such/folder/{name}.handlebars"),
            "fromUser": "Qlik Sense",
            "iconEmoji": ":ghost:",
        });
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        block
    };
    let reload = json!({ "enable": on, "headScriptLogLines": 10, "tailScriptLogLines": 20 });
    let cloud = json!({
        "enable": on, "headScriptLogLines": 10, "tailScriptLogLines": 20, "basicContentOnly": true,
        "alertEnableByTag": { "enable": false, "tag": "Butler - Send Slack alert if app reload fails" },
    });
    json!({
        "slackNotification": {
            "enable": on,
            "restMessage": { "webhookURL": "https://hooks.slack.test/rest" },
            "reloadTaskFailure": block("failed", reload.clone()),
            "reloadTaskAborted": block("aborted", reload),
            "serviceStopped": block("stopped", json!({})),
            "serviceStarted": block("started", json!({})),
        },
        "restServerConfig": { "enable": on },
        "restServerEndpointsEnable": { "slackPostMessage": on },
        "serviceMonitor": { "enable": on, "alertDestination": { "slack": { "enable": on } } },
        "qlikSenseCloud": {
            "enable": on,
            "event": { "mqtt": { "tenant": { "alert": { "slackNotification": { "reloadAppFailure": block("cloud", cloud) } } } } },
        },
    })
}

fn names(instances: &[Value]) -> Vec<&str> {
    instances.iter().map(|instance| instance["name"].as_str().unwrap()).collect()
}

#[test]
fn a_complete_section_becomes_instances_that_start() {
    let butler = complete(true);
    let (answer, instances) = imported::<Chat>(&butler, &[]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    for instance in instances {
        block_on(FakeHost::new("slack").start::<Chat>(instance["settings"].clone())).unwrap();
    }
    insta::assert_json_snapshot!(answer);
}

#[test]
fn what_is_off_is_told_and_not_taken_over() {
    let mut butler = complete(false);
    let (answer, _) = imported::<Chat>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    let keys: Vec<&str> = answer.remarks.iter().map(|remark| remark.key.as_str()).collect();
    let cloud = "qlikSenseCloud.event.mqtt.tenant.alert.slackNotification.reloadAppFailure";
    assert_eq!(keys, ["slackNotification", cloud]);
    butler["slackNotification"]["enable"] = true.into();
    butler["slackNotification"]["reloadTaskFailure"]["enable"] = true.into();
    let (answer, _) = imported::<Chat>(&butler, &[]).unwrap();
    assert_eq!((names(&answer.instances), unread(&butler, &answer)), (vec!["slack-reload-task-failed"], Vec::new()));
}

#[test]
fn load_scripts_post_by_the_first_instance_whether_alerts_are_on_or_not() {
    let mut butler = complete(true);
    assert_eq!(names(&imported::<Chat>(&butler, &[]).unwrap().0.instances)[0], "slack-message-posted");
    butler["slackNotification"]["enable"] = false.into();
    let (answer, _) = imported::<Chat>(&butler, &[]).unwrap();
    let cloud = "slack-cloud-app-reload-failed";
    assert_eq!((names(&answer.instances), unread(&butler, &answer)), (vec!["slack-message-posted", cloud], Vec::new()));
    assert!(answer.remarks.iter().all(|remark| remark.key != "slackNotification"));
    butler["restServerConfig"]["enable"] = false.into();
    assert_eq!(names(&imported::<Chat>(&butler, &[]).unwrap().0.instances), [cloud]);
    butler["restServerConfig"]["enable"] = true.into();
    butler["slackNotification"]["restMessage"]["webhookURL"] = "hooks".into();
    assert_eq!(names(&imported::<Chat>(&butler, &[]).unwrap().0.instances), [cloud]);
}

#[test]
fn another_channel_is_another_instance() {
    let mut butler = complete(true);
    butler["slackNotification"]["reloadTaskAborted"] = butler["slackNotification"]["reloadTaskFailure"].clone();
    let of = |butler: &Value| imported::<Chat>(butler, &[]).unwrap().0.instances;
    assert_eq!(names(&of(&butler))[1..3], ["slack-reload-task", "slack-service-stopped"]);
    butler["slackNotification"]["reloadTaskAborted"]["channel"] = "other".into();
    assert_eq!(names(&of(&butler))[1..3], ["slack-reload-task-failed", "slack-reload-task-aborted"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn faulty_configs_become_sound_ones(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
        let mut butler = complete(true);
        for (place, how) in faults {
            damage(&mut butler, place, how);
        }
        import_of::<Chat>(&butler);
    }
}
