use butler_plugin_api::testing::{FakeHost, block_on, damage, import_of, imported, unread};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Webhook;

fn hook(url: &str, method: &str) -> Value {
    json!({
        "description": "The desk", "webhookURL": url, "httpMethod": method,
        "cert": { "enable": false, "rejectUnauthorized": true, "certCA": "ca.pem" },
    })
}

/// Every key that Butler 16 knows; all that can be on is, or nothing.
fn complete(on: bool) -> Value {
    let block = |webhooks: Vec<Value>| json!({ "rateLimit": 300, "webhooks": webhooks });
    let mut secured = hook("https://desk.test/secured", "put");
    secured["cert"]["enable"] = true.into();
    json!({
        "webhookNotification": {
            "enable": on,
            "reloadTaskFailure": block(vec![hook("https://desk.test/hook", "POST"), secured]),
            "reloadTaskAborted": block(vec![hook("https://desk.test/hook", "POST")]),
            "serviceMonitor": block(vec![hook("https://desk.test/service?token=x", "GET")]),
            "qlikSenseServerLicenseMonitor": block(vec![hook("https://desk.test/status", "POST")]),
            "qlikSenseServerLicenseExpiryAlert": block(vec![hook("https://desk.test/expiry", "POST")]),
        },
        "serviceMonitor": { "enable": on, "alertDestination": { "webhook": { "enable": on } } },
        "qlikSenseLicense": { "serverLicenseMonitor": {
            "enable": on,
            "destination": { "webhook": {
                "enable": on, "sendRecurring": { "enable": on }, "sendAlert": { "enable": on },
            } },
        } },
    })
}

fn names(instances: &[Value]) -> Vec<&str> {
    instances.iter().map(|instance| instance["name"].as_str().unwrap()).collect()
}

#[test]
fn a_complete_section_becomes_instances_that_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), "").unwrap();
    let butler = complete(true);
    let (answer, instances) = imported::<Webhook>(&butler, &[folder.path().to_owned()]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    for instance in instances {
        block_on(FakeHost::new("webhook").start::<Webhook>(instance["settings"].clone())).unwrap();
    }
    let text = serde_json::to_string_pretty(&answer).unwrap();
    insta::assert_snapshot!(text.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn what_is_off_is_told_and_not_taken_over() {
    let mut butler = complete(false);
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    butler["webhookNotification"]["enable"] = true.into();
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    let expected = vec!["webhook-reload-task", "webhook-reload-task-failed-2"];
    assert_eq!((names(&answer.instances), unread(&butler, &answer)), (expected, Vec::new()));
    butler["webhookNotification"]["reloadTaskFailure"]["webhooks"] = Value::Null;
    butler["webhookNotification"]["reloadTaskAborted"]["webhooks"] = json!([]);
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    assert_eq!((names(&answer.instances), unread(&butler, &answer)), (Vec::new(), Vec::new()));
}

#[test]
fn services_are_told_whatever_the_switch_of_the_section_says() {
    let mut butler = complete(true);
    butler["webhookNotification"]["enable"] = false.into();
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    assert_eq!((names(&answer.instances), unread(&butler, &answer)), (vec!["webhook-service-stopped"], Vec::new()));
    assert!(answer.remarks.iter().any(|remark| remark.key == "webhookNotification.enable"));
}

#[test]
fn each_switch_of_the_licence_counts() {
    for (switch, left) in [
        ("/qlikSenseLicense/serverLicenseMonitor/enable", [false, false]),
        ("/qlikSenseLicense/serverLicenseMonitor/destination/webhook/enable", [false, false]),
        ("/qlikSenseLicense/serverLicenseMonitor/destination/webhook/sendRecurring/enable", [false, true]),
        ("/qlikSenseLicense/serverLicenseMonitor/destination/webhook/sendAlert/enable", [true, false]),
    ] {
        let mut butler = complete(true);
        *butler.pointer_mut(switch).unwrap() = false.into();
        let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
        let has = |name| names(&answer.instances).contains(&name);
        let found = [has("webhook-server-license-status"), has("webhook-server-license-expiring")];
        assert_eq!((found, unread(&butler, &answer)), (left, Vec::new()), "{switch}");
    }
}

#[test]
fn the_same_call_twice_stays_two_calls() {
    let mut butler = complete(true);
    let twice = hook("https://desk.test/hook", "POST");
    butler["webhookNotification"]["reloadTaskFailure"]["webhooks"] = json!([twice, twice]);
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    assert_eq!(names(&answer.instances)[..2], ["webhook-reload-task", "webhook-reload-task-failed-2"]);
    assert_eq!(answer.instances[1]["on"][0]["events"], json!(["reload-task.failed"]));
}

#[test]
fn certificates_become_profiles_that_equal_webhooks_share() {
    let cert = |verify: Value, ca: &str| {
        let mut hook = hook("https://desk.test/hook", "POST");
        hook["cert"] = json!({ "enable": true, "rejectUnauthorized": verify, "certCA": ca });
        hook
    };
    let mut butler = complete(false);
    butler["webhookNotification"]["enable"] = true.into();
    let block = &mut butler["webhookNotification"]["reloadTaskFailure"];
    block["webhooks"] = json!([
        cert(true.into(), "/ca.pem"),
        cert(true.into(), "/ca.pem"),
        cert(false.into(), "/ca.pem"),
        cert(false.into(), ""),
        cert(true.into(), ""),
        // No switch, so nothing is switched off.
        cert("no".into(), "/ca.pem"),
    ]);
    let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
    let profiles: Vec<&Value> = answer.instances.iter().take(6).map(|instance| &instance["settings"]["tls"]).collect();
    assert_eq!(profiles[..4], ["webhook", "webhook", "webhook-2", "webhook-3"]);
    // The last but one needs none and has its instance with the webhook of the aborted reloads.
    assert_eq!(profiles[4..], [&Value::Null, &json!("webhook")]);
    let expected = json!({ "webhook": { "ca": "/ca.pem" }, "webhook-2": { "ca": "/ca.pem", "verify": "none" },
                           "webhook-3": { "verify": "none" } });
    assert_eq!(json!(answer.tls), expected);
}

#[test]
fn a_webhook_that_cannot_be_called_is_left_out_and_no_other() {
    for (url, method) in [("desk.test", "POST"), ("", "POST"), ("https://desk.test", "PATCH")] {
        let mut butler = complete(true);
        butler["webhookNotification"]["reloadTaskFailure"]["webhooks"][0] = hook(url, method);
        let (answer, _) = imported::<Webhook>(&butler, &[]).unwrap();
        assert_eq!((names(&answer.instances).len(), unread(&butler, &answer)), (5, Vec::new()), "{url} {method}");
        let key = "webhookNotification.reloadTaskFailure.webhooks[0]";
        assert!(answer.remarks.iter().any(|remark| remark.key == key), "{url} {method}");
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
        import_of::<Webhook>(&butler);
    }
}
