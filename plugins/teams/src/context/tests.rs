//! The variables as templates see them.

use butler_plugin_api::testing::sample_delivery;
use butler_plugin_api::{CustomLink, Links};

use super::*;

fn instance() -> Instance {
    let mut wiki = CustomLink::new("Wiki", "https://wiki.test/?a=b&c=d");
    wiki.id = "wiki".to_owned();
    wiki.comment = "What to do".to_owned();
    Instance {
        name: "teams".to_owned(),
        host_version: "1.2.3".to_owned(),
        links: Links {
            qmc: Some("https://sense.test/qmc".to_owned()),
            hub: None,
            app_base_url: Some("https://sense.test/sense/app/".to_owned()),
            custom: vec![wiki],
        },
        ..Instance::default()
    }
}

fn facts(delivery: &Delivery, head: &[&str], tail: &[&str]) -> Facts {
    let zone = TimeZone::get("Europe/Stockholm").unwrap();
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    let log = LogLines { head: lines(head), tail: lines(tail) };
    Facts::new(delivery, &instance(), &zone, LineCounts { head: 10, tail: 20 }, log)
}

#[test]
fn every_variable_of_a_reload() {
    let delivery = sample_delivery("reload-task.failed");
    let context = facts(&delivery, &["first"], &["last"]).context(Cut::NONE);
    for name in [
        "hostName user taskName taskId taskCustomProperties taskTags taskIsManuallyTriggered taskIsPartialReload",
        "taskMaxRetries taskModifiedByUsername taskModifiedDate taskSessionTimeout taskNextExecution appName appId appUrl",
        "appDescription appFileSize appLastSuccessfulReload appLastModifiedDate appLastModifiedByUserName appPublishTime",
        "appPublished appStreamName appCustomProperties appTags appOwnerName appOwnerUserId appOwnerUserDirectory",
        "appOwnerEmail logTimeStamp logLevel logMessage executingNodeName executionDuration executionStartTime",
        "executionStopTime executionStatusNum executionStatusText executionDetails executionDetailsConcatenated",
        "scriptLogSize scriptLogSizeRows scriptLogSizeCharacters scriptLogHead scriptLogTail scriptLogHeadCount",
        "scriptLogTailCount qlikSenseQMC qliksSenseQMC genericUrls executionId taskType butlerVersion",
        "event task app execution log scriptLog links note summary heading facts",
    ]
    .iter()
    .flat_map(|names| names.split(' '))
    {
        assert!(context.get(name).is_some(), "{name} is missing");
    }
    insta::assert_json_snapshot!("reload", context);
}

#[test]
fn what_is_not_known_is_not_there() {
    let mut delivery = sample_delivery("reload-task.failed");
    let data = &mut delivery.event.data;
    (data.execution, data.script_log, data.app.as_mut().unwrap().owner) = (None, None, None);
    let task = data.task.as_ref().unwrap();
    data.task = Some(butler_plugin_api::Task { id: task.id.clone(), name: task.name.clone(), ..Default::default() });
    data.missing = ["task", "owner", "execution", "scriptLog"].map(str::to_owned).to_vec();
    let context = facts(&delivery, &[], &[]).context(Cut::NONE);
    for name in
        ["taskNextExecution", "taskTags", "appOwnerName", "executionDuration", "scriptLogSizeRows", "qlikSenseHub"]
    {
        assert_eq!(context.get(name), None, "{name}");
    }
    assert_eq!((&context["scriptLogSize"], &context["scriptLogHead"]), (&0.into(), &"".into()));
    assert_eq!(context["note"], "not available from Qlik Sense: task, owner, execution, scriptLog");
}

#[test]
fn a_task_that_never_runs_again_says_so() {
    let mut delivery = sample_delivery("reload-task.failed");
    for next in [None, Some("1753-01-01T00:00:00.000Z".to_owned())] {
        delivery.event.data.task.as_mut().unwrap().next_execution = next;
        assert_eq!(facts(&delivery, &[], &[]).context(Cut::NONE)["taskNextExecution"], "Never");
    }
}

#[test]
fn further_facts_are_variables_but_take_no_name() {
    let mut delivery = sample_delivery("moon.risen");
    let other = serde_json::json!({ "serviceName": "Engine", "daysLeft": 3, "list": ["a", 1], "event": "mine",
                                    "disk": { "freeBytes": 7, "deep": { "x": 1 } } });
    delivery.event.data.other = serde_json::from_value(other).unwrap();
    let context = facts(&delivery, &[], &[]).context(Cut::NONE);
    assert_eq!((&context["serviceName"], &context["event"]["kind"]), (&"Engine".into(), &"moon.risen".into()));
    let expected = [
        "Node=sense1",
        "Days left=3",
        "Disk free bytes=7",
        "Event=mine",
        "List=a, 1",
        "Message=a sample",
        "Service name=Engine",
    ];
    assert_eq!(rows(&context), expected);
}

#[test]
fn sections_are_rows_and_services_have_the_variables_of_the_original() {
    let context = facts(&sample_delivery("service.stopped"), &[], &[]).context(Cut::NONE);
    for (name, value) in [
        ("host", "sense1"),
        ("serviceStatus", "STOPPED"),
        ("servicePrevStatus", "RUNNING"),
        ("serviceName", "QlikSenseEngineService"),
        ("serviceDisplayName", "Qlik Sense Engine Service"),
        ("serviceFriendlyName", "Engine"),
        ("serviceStartType", "Automatic"),
    ] {
        assert_eq!(context[name], value, "{name}");
    }
    assert!(context["serviceExePath"].as_str().unwrap().ends_with(" --service"));
    assert!(rows(&context).contains(&"Service previous state=RUNNING".to_owned()), "{:?}", rows(&context));
}

/// The list of facts, as `title=value`.
fn rows(context: &Value) -> Vec<String> {
    let rows = context["facts"].as_array().unwrap().iter();
    rows.map(|row| format!("{}={}", row["title"], row["value"]).replace('"', "")).collect()
}

#[test]
fn cuts_head_then_tail_then_details() {
    let delivery = sample_delivery("reload-task.failed");
    let facts = facts(&delivery, &["h1", "h2"], &["t1", "t2"]);
    assert_eq!(facts.lines(), 7);
    let parts = |dropped| {
        let context = facts.context(Cut { dropped, line: 400, text: usize::MAX });
        let lines = |name: &str| context[name].as_str().unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        (lines("scriptLogHead"), lines("scriptLogTail"), lines("executionDetailsText").len(), context)
    };
    let (head, tail, details, context) = parts(1);
    assert_eq!(
        (head, tail, details),
        (vec!["h1".into(), "… 1 line left out to fit the message".into()], vec!["t1".into(), "t2".into()], 3)
    );
    assert!(context["shortened"].is_string());
    let (head, tail, details, context) = parts(4);
    assert_eq!((head, tail.clone(), details), (vec!["… 2 lines left out to fit the message".into()], tail, 3));
    assert_eq!(context["scriptLogTail"], "… 2 lines left out to fit the message");
    assert_eq!(context["scriptLog"]["tail"], serde_json::json!(["… 2 lines left out to fit the message"]));
    let (.., details, context) = parts(6);
    assert_eq!((details, context["executionDetails"].as_array().unwrap().len()), (2, 1));
    let (.., details, _) = parts(7);
    assert_eq!(details, 1);
}

#[test]
fn the_last_step_cuts_texts_but_no_addresses() {
    let mut delivery = sample_delivery("reload-task.failed");
    let address = format!("https://a.test/{}", "x".repeat(500));
    delivery.event.data.log.as_mut().unwrap().message = "ä".repeat(500);
    delivery.event.data.other.insert("more".to_owned(), serde_json::json!({ "at": [address] }));
    let facts = facts(&delivery, &[], &[]);
    let context = facts.context(Cut::at(Cut::last(facts.lines()), facts.lines()));
    assert_eq!(context["logMessage"], format!("{}…", "ä".repeat(300)));
    assert_eq!(context["more"]["at"][0], address);
}
