use butler_plugin_api::import::Fate;
use butler_plugin_api::sample_event;
use butler_plugin_api::testing::{FakeHost, block_on, damage, import_of, imported, unread};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Email;
use crate::settings::Settings;

const CLOUD: &str = "/qlikSenseCloud/event/mqtt/tenant/alert/emailNotification/reloadAppFailure";

fn with(mut block: Value, more: &Value) -> Value {
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    block
}

/// Every key that Butler 16 knows; all that can be on is, or nothing.
fn complete(on: bool) -> Value {
    let block = |file: &str, more: &Value| {
        let block = json!({
            "rateLimit": 600, "priority": "high", "subject": "Butler: {{taskName}}",
            "bodyFileDirectory": "email_templates/", "htmlTemplateFile": file,
            "fromAddress": "Qlik Sense (no-reply) <q@acme.test>", "recipients": ["a@acme.test", "b@acme.test"],
        });
        with(block, more)
    };
    let task = |name: &str| {
        json!({
            "enable": on,
            "alertEnableByCustomProperty": {
                "enable": on, "customPropertyName": format!("Butler_{name}AlertEnableEmail"), "enabledValue": "Yes",
            },
            "alertEnabledByEmailAddress": { "customPropertyName": format!("Butler_{name}AlertSendToEmail") },
        })
    };
    let lines = json!({ "headScriptLogLines": 15, "tailScriptLogLines": 25 });
    let users = |one: Value| json!([one, { "directory": "LAB", "userId": "bob" }]);
    let owner = json!({ "appOwnerAlert": {
        "enable": on,
        "includeOwner": { "includeAll": false, "user": users(json!({ "directory": "LAB", "userId": "ann" })) },
        "excludeOwner": { "user": users(json!({ "directory": "LAB", "userId": "eve" })) },
    } });
    let cloud = json!({
        "enable": on, "alertEnableByTag": { "enable": on, "tag": "Butler mail" },
        "appOwnerAlert": {
            "enable": on,
            "includeOwner": { "includeAll": false, "user": ["ann@acme.test", { "email": "bob@acme.test" }] },
            "excludeOwner": { "user": ["eve@acme.test"] },
        },
    });
    json!({
        "emailNotification": {
            "enable": on,
            "reloadTaskSuccess": block("success-reload-qseow", &with(task("Success"), &lines)),
            "reloadTaskAborted": block("aborted-reload", &with(with(task("Aborted"), &lines), &owner)),
            "reloadTaskFailure": block("failed-reload", &with(with(task("Failed"), &lines), &owner)),
            "distributeTaskSuccess": block("success-distribute", &task("DistributeSuccess")),
            "distributeTaskFailure": block("failed-distribute", &task("DistributeFailed")),
            "preloadTaskSuccess": block("success-preload", &task("PreloadSuccess")),
            "preloadTaskFailure": block("failed-preload", &task("PreloadFailed")),
            "serviceStopped": block("service-stopped", &json!({ "rateLimit": 30 })),
            "serviceStarted": block("service-started", &json!({ "rateLimit": 30 })),
            "smtp": {
                "host": "mail.acme.test", "port": 25, "secure": true,
                "tls": { "serverName": null, "ignoreTLS": false, "requireTLS": true, "rejectUnauthorized": false },
                "auth": { "enable": on, "user": "qlik", "password": "p${w" },
            },
        },
        "serviceMonitor": { "enable": on, "alertDestination": { "email": { "enable": on } } },
        "qlikSenseCloud": { "enable": on, "event": { "mqtt": { "tenant": { "alert": { "emailNotification": {
            "reloadAppFailure": block("failed-reload-qscloud", &with(cloud, &lines)),
        } } } } } },
    })
}

/// Failures of reloads alone.
fn failures() -> Value {
    let mut butler = complete(true);
    for block in butler["emailNotification"].as_object_mut().unwrap().values_mut() {
        if let Some(switch) = block.get_mut("enable") {
            *switch = false.into();
        }
    }
    butler["emailNotification"]["enable"] = true.into();
    butler["emailNotification"]["reloadTaskFailure"]["enable"] = true.into();
    butler["serviceMonitor"]["enable"] = false.into();
    butler["qlikSenseCloud"]["enable"] = false.into();
    butler
}

/// The settings of the first instance.
fn first(butler: &Value) -> Value {
    let (answer, _) = imported::<Email>(butler, &[]).unwrap();
    assert_eq!(unread(butler, &answer), Vec::<String>::new());
    answer.instances[0]["settings"].clone()
}

fn remarks(butler: &Value) -> Vec<String> {
    imported::<Email>(butler, &[]).unwrap().0.remarks.into_iter().map(|remark| remark.key).collect()
}

#[test]
fn a_complete_section_becomes_instances_that_start() {
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("email_templates");
    std::fs::create_dir(&templates).unwrap();
    for name in
        ["success-reload-qseow", "failed-reload-qseow", "aborted-reload", "aborted-reload-qseow", "service-stopped"]
    {
        std::fs::write(templates.join(format!("{name}.handlebars")), "{{taskName}}").unwrap();
    }
    let butler = complete(true);
    let (answer, instances) = imported::<Email>(&butler, &[folder.path().to_owned()]).unwrap();
    assert_eq!(unread(&butler, &answer), Vec::<String>::new());
    for instance in instances {
        block_on(FakeHost::new("email").start::<Email>(instance["settings"].clone())).unwrap();
    }
    let text = serde_json::to_string_pretty(&answer).unwrap();
    insta::assert_snapshot!(text.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn what_is_off_is_told_and_not_taken_over() {
    let mut butler = complete(false);
    let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    butler["emailNotification"]["enable"] = true.into();
    let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    // Mails about Qlik Cloud need the switch of the section.
    let mut butler = complete(true);
    butler["emailNotification"]["enable"] = false.into();
    let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    assert!(answer.remarks.iter().any(|remark| remark.text.contains("Qlik Cloud")));
}

/// What the plugin decides for a failed reload by the imported settings.
fn recipients(butler: &Value, change: impl Fn(&mut Value)) -> Vec<String> {
    let (_, instances) = imported::<Email>(butler, &[]).unwrap();
    let settings: Settings = serde_json::from_value(instances[0]["settings"].clone()).unwrap();
    let (checked, _) = settings.check(".").unwrap();
    let mut data = json!({
        "task": { "id": "t", "name": "Load", "type": "reload", "tags": [], "customProperties": {
            "Butler_FailedAlertSendToEmail": ["b@x.io", "c@x.io"], "Butler_FailedAlertEnableEmail": ["Yes"],
        } },
        "app": { "id": "a", "name": "Sales", "tags": [], "customProperties": {}, "owner": {
            "id": "u", "name": "Ann", "userId": "ann", "userDirectory": "LAB", "emails": ["c@x.io", "d@x.io"],
        } },
    });
    change(&mut data);
    let mut event = sample_event("reload-task.failed");
    event.data = serde_json::from_value(data).unwrap();
    checked.who.of(&event).to.iter().map(ToString::to_string).collect()
}

/// The rules of Butler 16: the task's own addresses always, the fixed ones by the gate, the owner by the lists.
#[test]
fn the_same_people_get_a_mail() {
    let mut butler = failures();
    let block = &mut butler["emailNotification"]["reloadTaskFailure"];
    block["recipients"] = json!(["a@x.io", "b@x.io"]);
    assert_eq!(recipients(&butler, |_| ()), ["b@x.io", "c@x.io", "a@x.io", "d@x.io"]);
    let closed = |data: &mut Value| data["task"]["customProperties"]["Butler_FailedAlertEnableEmail"] = json!(["No"]);
    assert_eq!(recipients(&butler, closed), ["b@x.io", "c@x.io", "d@x.io"], "the owner is not subject to the gate");
    let eve = |data: &mut Value| data["app"]["owner"]["userId"] = "eve".into();
    assert_eq!(recipients(&butler, eve), ["b@x.io", "c@x.io", "a@x.io"], "excluded");
    let other = |data: &mut Value| data["app"]["owner"]["userId"] = "joe".into();
    assert_eq!(recipients(&butler, other), ["b@x.io", "c@x.io", "a@x.io"], "not included");
    let without = |data: &mut Value| data["task"]["customProperties"] = json!({});
    assert_eq!(recipients(&butler, without), ["c@x.io", "d@x.io"]);

    let block = &mut butler["emailNotification"]["reloadTaskFailure"];
    block["alertEnableByCustomProperty"]["enable"] = false.into();
    block["appOwnerAlert"]["includeOwner"]["includeAll"] = true.into();
    assert_eq!(recipients(&butler, closed), ["b@x.io", "c@x.io", "a@x.io", "d@x.io"]);
    assert_eq!(recipients(&butler, other), ["b@x.io", "c@x.io", "a@x.io", "d@x.io"]);
    assert_eq!(recipients(&butler, eve), ["b@x.io", "c@x.io", "a@x.io"], "excluded from all");
    butler["emailNotification"]["reloadTaskFailure"]["appOwnerAlert"]["enable"] = false.into();
    assert_eq!(recipients(&butler, without), ["a@x.io", "b@x.io"]);
}

#[test]
fn gates_and_lists_that_fit_nobody() {
    let path = |name: &str| format!("emailNotification.reloadTaskFailure.{name}");
    // A gate that can never open.
    let mut butler = failures();
    butler["emailNotification"]["reloadTaskFailure"]["alertEnableByCustomProperty"]["customPropertyName"] = "".into();
    let settings = first(&butler);
    assert_eq!((&settings["recipients"], &settings["recipientsIf"]), (&Value::Null, &Value::Null));
    assert!(remarks(&butler).contains(&path("alertEnableByCustomProperty")));
    // A gate for nobody.
    let mut butler = failures();
    butler["emailNotification"]["reloadTaskFailure"]["recipients"] = Value::Null;
    assert_eq!(first(&butler)["recipientsIf"], Value::Null);
    // No owner is included.
    let mut butler = failures();
    butler["emailNotification"]["reloadTaskFailure"]["appOwnerAlert"]["includeOwner"]["user"] = json!([]);
    assert_eq!(first(&butler)["owner"], Value::Null);
    assert!(remarks(&butler).contains(&path("appOwnerAlert")));
    // Addresses that are none.
    let mut butler = failures();
    butler["emailNotification"]["reloadTaskFailure"]["recipients"] = json!(["Joe <joe@x.io>", "ann@x.io", "", 5]);
    assert_eq!(first(&butler)["recipients"], json!(["ann@x.io"]));
    assert!(remarks(&butler).contains(&path("recipients[0]")) && remarks(&butler).contains(&path("recipients[3]")));
    // Nobody at all.
    let mut butler = failures();
    let block = &mut butler["emailNotification"]["reloadTaskFailure"];
    block["recipients"] = Value::Null;
    block["alertEnabledByEmailAddress"]["customPropertyName"] = "".into();
    block["appOwnerAlert"]["enable"] = false.into();
    let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
    assert!(answer.remarks.iter().any(|remark| remark.text.contains("nobody gets mails")));
}

#[test]
fn mail_servers() {
    let smtp = |secure: bool, change: &dyn Fn(&mut Value)| {
        let mut butler = failures();
        butler["emailNotification"]["smtp"]["secure"] = secure.into();
        change(&mut butler["emailNotification"]["smtp"]);
        first(&butler)["smtp"].clone()
    };
    let auth = json!({ "user": "qlik", "password": "${file:secrets/emailNotification.smtp.auth.password}" });
    let expected = json!({ "host": "mail.acme.test", "port": 25, "tls": "implicit", "verify": false, "auth": auth });
    assert_eq!(smtp(true, &|_| ()), expected);
    assert_eq!(smtp(false, &|_| ()), with(expected.clone(), &json!({ "tls": "starttlsIfOffered" })));
    // Without STARTTLS or a login at the server no mail goes out: that is no small difference.
    let fates = |secure: bool| -> Vec<Fate> {
        let mut butler = failures();
        butler["emailNotification"]["smtp"]["secure"] = secure.into();
        let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
        let remarks = answer.remarks.into_iter().filter(|remark| remark.key == "emailNotification.smtp.auth");
        remarks.map(|remark| remark.fate).collect()
    };
    assert_eq!((fates(true), fates(false)), (vec![Fate::Differs], vec![Fate::ToDo]));
    let plain = |smtp: &mut Value| {
        smtp["auth"]["enable"] = false.into();
        smtp["port"] = 70_000.into();
        smtp["tls"] = json!({ "serverName": "x", "ignoreTLS": true, "requireTLS": false, "rejectUnauthorized": true });
    };
    assert_eq!(smtp(false, &plain), json!({ "host": "mail.acme.test", "tls": "starttlsIfOffered" }));
    // What is no switch turns no check off.
    assert_eq!(smtp(true, &|smtp| smtp["tls"]["rejectUnauthorized"] = "no".into())["verify"], Value::Null);
    assert_eq!(smtp(true, &|smtp| smtp["auth"]["password"] = "".into())["auth"], Value::Null);
    let mut butler = failures();
    butler["emailNotification"]["smtp"]["host"] = Value::Null;
    let (answer, _) = imported::<Email>(&butler, &[]).unwrap();
    assert_eq!((answer.instances.len(), unread(&butler, &answer)), (0, Vec::new()));
}

#[test]
fn limits_priorities_and_subjects() {
    let mut butler = failures();
    let block = &mut butler["emailNotification"]["reloadTaskFailure"];
    (block["rateLimit"], block["priority"]) = (0.into(), "Normal ".into());
    let settings = first(&butler);
    assert_eq!((&settings["throttle"], &settings["priority"]), (&Value::Null, &Value::Null));
    butler["emailNotification"]["reloadTaskFailure"]["rateLimit"] = 1_000_000.into();
    assert_eq!(first(&butler)["throttle"], json!({ "every": "604800s" }));
    assert!(remarks(&butler).contains(&"emailNotification.reloadTaskFailure.rateLimit".to_owned()));
    let mut butler = complete(true);
    assert!(remarks(&butler).iter().any(|key| key.ends_with("reloadAppFailure.subject")));
    butler.pointer_mut(CLOUD).unwrap()["subject"] = "{{appName}}".into();
    assert!(!remarks(&butler).iter().any(|key| key.ends_with("reloadAppFailure.subject")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn faulty_configs_become_sound_ones(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
        let mut butler = complete(true);
        for (place, how) in faults {
            damage(&mut butler, place, how);
        }
        import_of::<Email>(&butler);
    }
}
