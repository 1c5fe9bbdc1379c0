use butler_plugin_api::testing::{FakeHost, block_on, damage, import_of, imported, unread};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Signl4;

/// Every key that Butler 16 knows; all that can be on is, or nothing.
fn complete(on: bool) -> Value {
    let block = |severity: i32| {
        json!({
            "enable": on, "rateLimit": 15, "serviceName": "Qlik Sense", "severity": severity,
            "includeApp": { "includeAll": false, "appId": ["5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01"] },
        })
    };
    json!({ "incidentTool": { "signl4": {
        "enable": on, "url": "https://connect.signl4.test/webhook/abcde12345",
        "reloadTaskFailure": block(1), "reloadTaskAborted": block(10),
    } } })
}

#[test]
fn a_complete_section_becomes_instances_that_start() {
    let butler = complete(true);
    let (answer, instances) = imported::<Signl4>(&butler, &[]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    for instance in instances {
        block_on(FakeHost::new("signl4").start::<Signl4>(instance["settings"].clone())).unwrap();
    }
    insta::assert_json_snapshot!(answer);
}

#[test]
fn what_is_off_is_told_and_not_taken_over() {
    let mut butler = complete(false);
    let (answer, _) = imported::<Signl4>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    butler["incidentTool"]["signl4"]["enable"] = true.into();
    let (answer, _) = imported::<Signl4>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer), answer.secrets.len()), (0, Vec::new(), 0));
    assert_eq!(imported::<Signl4>(&json!({}), &[]).unwrap().0.instances, Vec::<Value>::new());
}

#[test]
fn another_service_is_another_instance() {
    let mut butler = complete(true);
    butler["incidentTool"]["signl4"]["reloadTaskAborted"]["serviceName"] = "Aborts".into();
    butler["incidentTool"]["signl4"]["reloadTaskAborted"]["rateLimit"] = 0.into();
    let (answer, _) = imported::<Signl4>(&butler, &[]).unwrap();
    let names: Vec<&Value> = answer.instances.iter().map(|instance| &instance["name"]).collect();
    assert_eq!(names, ["signl4-reload-task-failed", "signl4-reload-task-aborted"]);
    assert_eq!(answer.instances[1]["on"], json!([{ "events": ["reload-task.aborted"] }]));
    assert_eq!(answer.instances[1]["settings"]["serviceName"], "Aborts");
}

#[test]
fn an_address_without_the_secret_of_a_team_is_told() {
    for (url, key) in [
        (json!("https://connect.signl4.test/"), "incidentTool.signl4.reloadTaskFailure"),
        (json!("connect.signl4.test"), "incidentTool.signl4.url"),
        (json!(null), "incidentTool.signl4"),
    ] {
        let mut butler = complete(true);
        butler["incidentTool"]["signl4"]["url"] = url;
        let (answer, _) = imported::<Signl4>(&butler, &[]).unwrap();
        assert_eq!(answer.instances.len(), 0);
        assert!(answer.remarks.iter().any(|remark| remark.key == key), "{key}: {:?}", answer.remarks);
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
        import_of::<Signl4>(&butler);
    }
}
