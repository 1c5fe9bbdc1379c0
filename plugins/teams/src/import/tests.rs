use butler_plugin_api::testing::{FakeHost, block_on, damage, import_of, imported, unread};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Teams;

/// Every key that Butler 16 knows; all that can be on is, or nothing.
fn complete(on: bool) -> Value {
    let block = |name: &str| {
        json!({
            "webhookURL": format!("https://flow.test/{name}?sig=s"),
            "messageType": "formatted",
            "basicMsgTemplate": "{{taskName}}",
            "rateLimit": 300,
            "templateFile": format!("{name}.handlebars"),
        })
    };
    let with = |mut block: Value, more: Value| {
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        block
    };
    let reload =
        |name: &str| with(block(name), json!({ "enable": on, "headScriptLogLines": 10, "tailScriptLogLines": 12 }));
    let cloud = json!({
        "enable": on, "headScriptLogLines": 15, "tailScriptLogLines": 15, "basicContentOnly": false,
        "alertEnableByTag": { "enable": on, "tag": "Butler - Send Teams alert if app reload fails" },
    });
    json!({
        "teamsNotification": {
            "enable": on,
            "reloadTaskFailure": reload("failed"),
            "reloadTaskAborted": reload("aborted"),
            "serviceStopped": block("stopped"),
            "serviceStarted": block("started"),
        },
        "serviceMonitor": { "enable": on, "alertDestination": { "teams": { "enable": on } } },
        "qlikSenseCloud": {
            "enable": on,
            "event": { "mqtt": { "tenant": { "alert": { "teamsNotification": { "reloadAppFailure":
                with(with(block("cloud"), cloud), json!({ "templateFile": "failed-reload-qscloud-workflow.handlebars" }))
            } } } } },
        },
    })
}

#[test]
fn a_complete_section_becomes_instances_that_start() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["failed", "aborted", "stopped", "started", "failed-reload-qscloud"] {
        std::fs::write(folder.path().join(format!("{name}.handlebars")), "{}").unwrap();
    }
    let butler = complete(true);
    let (answer, instances) = imported::<Teams>(&butler, &[folder.path().to_owned()]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    for instance in instances {
        block_on(FakeHost::new("teams").start::<Teams>(instance["settings"].clone())).unwrap();
    }
    let text = serde_json::to_string_pretty(&answer).unwrap();
    insta::assert_snapshot!(text.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn what_is_off_is_told_and_not_taken_over() {
    let butler = complete(false);
    let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    let keys: Vec<&str> = answer.remarks.iter().map(|remark| remark.key.as_str()).collect();
    let cloud = "qlikSenseCloud.event.mqtt.tenant.alert.teamsNotification.reloadAppFailure";
    assert_eq!(keys, ["teamsNotification", cloud]);
    // A block alone, and services that nobody watches.
    let mut butler = complete(true);
    butler["teamsNotification"]["reloadTaskAborted"]["enable"] = false.into();
    butler["serviceMonitor"]["enable"] = false.into();
    butler["qlikSenseCloud"]["enable"] = false.into();
    let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    let names: Vec<&Value> = answer.instances.iter().map(|instance| &instance["name"]).collect();
    assert_eq!(names, ["teams-reload-task-failed"]);
    assert_eq!(imported::<Teams>(&json!({}), &[]).unwrap().0.instances, Vec::<Value>::new());
}

#[test]
fn qlik_cloud_needs_no_switch_of_teams() {
    let mut butler = complete(true);
    butler["teamsNotification"]["enable"] = false.into();
    let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
    assert_eq!(answer.instances.len(), 1);
    assert_eq!(answer.instances[0]["on"][0]["events"], json!(["cloud-app-reload.failed"]));
}

#[test]
fn equal_settings_share_an_instance() {
    let mut butler = complete(true);
    let failed = butler["teamsNotification"]["reloadTaskFailure"].clone();
    butler["teamsNotification"]["reloadTaskAborted"] = failed;
    butler["teamsNotification"]["reloadTaskAborted"]["rateLimit"] = 60.into();
    let stopped = butler["teamsNotification"]["serviceStopped"].clone();
    butler["teamsNotification"]["serviceStarted"] = stopped;
    let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
    let names: Vec<&Value> = answer.instances.iter().map(|instance| &instance["name"]).collect();
    assert_eq!(names, ["teams-reload-task", "teams-service", "teams-cloud-app-reload-failed"]);
    let on = json!([
        { "events": ["reload-task.failed"], "throttle": { "per": "task", "every": "300s" } },
        { "events": ["reload-task.aborted"], "throttle": { "per": "task", "every": "60s" } },
    ]);
    assert_eq!(answer.instances[0]["on"], on);
    let on = json!([{ "events": ["service.stopped", "service.started"], "throttle": { "per": "service", "every": "300s" } }]);
    assert_eq!(answer.instances[1]["on"], on);
    assert_eq!(answer.secrets.len(), 3, "{:?}", answer.secrets);
}

#[test]
fn types_of_messages() {
    let mut butler = complete(true);
    let block = &mut butler["teamsNotification"]["reloadTaskFailure"];
    block["messageType"] = " Basic".into();
    block["rateLimit"] = 0.into();
    block["headScriptLogLines"] = 5000.into();
    let cloud = &mut butler["qlikSenseCloud"]["event"]["mqtt"]["tenant"]["alert"]["teamsNotification"];
    cloud["reloadAppFailure"]["basicContentOnly"] = true.into();
    let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
    let settings = json!({
        "webhookUrl": "${file:secrets/teamsNotification.reloadTaskFailure.webhookURL}", "messageType": "basic",
        "basicTemplate": "{{taskName}}", "headScriptLogLines": 1000, "tailScriptLogLines": 12,
    });
    let expected = json!({ "name": "teams-reload-task-failed", "on": [{ "events": ["reload-task.failed"] }], "settings": settings });
    assert_eq!(answer.instances[0], expected);
    let cloud = &answer.instances.last().unwrap()["settings"];
    assert_eq!((&cloud["headScriptLogLines"], &cloud["tailScriptLogLines"]), (&json!(0), &json!(0)));
    for key in ["messageType", "rateLimit", "headScriptLogLines", "templateFile"] {
        let key = format!("teamsNotification.reloadTaskFailure.{key}");
        assert!(answer.remarks.iter().any(|remark| remark.key == key), "{key}");
    }
}

#[test]
fn a_block_without_a_sound_address_is_left_out() {
    for url in
        [json!(null), json!(""), json!("flow.test/x"), json!("mailto:a@b.test"), json!("https://a.test/x y"), json!(5)]
    {
        let mut butler = complete(true);
        butler["teamsNotification"]["reloadTaskFailure"]["webhookURL"] = url.clone();
        let (answer, _) = imported::<Teams>(&butler, &[]).unwrap();
        assert_eq!(answer.instances.len(), 4, "{url}");
        let told = answer.remarks.iter().filter(|remark| remark.key == "teamsNotification.reloadTaskFailure").count();
        assert_eq!((told, unread(&butler, &answer)), (1, Vec::new()), "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn faulty_configs_become_sound_ones(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
        let mut butler = complete(true);
        for (place, how) in faults {
            damage(&mut butler, place, how);
        }
        import_of::<Teams>(&butler);
    }
}
