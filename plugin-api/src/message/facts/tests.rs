//! The variables as templates see them.

use crate::{CustomLink, Links, sample_delivery};

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

/// With other lines of the script log than the sample has.
fn facts(delivery: &Delivery, head: &[&str], tail: &[&str]) -> Facts {
    let presentation = Presentation::new(Some("Europe/Stockholm"), 10, 20).unwrap().slashed_users();
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    let log = LogLines { head: lines(head), tail: lines(tail), ..LogLines::default() };
    Facts::new(delivery, &instance(), &presentation, log)
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
        "event task app execution log scriptLog links note summary heading facts timeZone",
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
    data.task = Some(crate::Task { id: task.id.clone(), name: task.name.clone(), ..Default::default() });
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
    let expected = ["Node=sense1", "Days left=3", "Disk free=7 B", "Event=mine", "List=a, 1", "Service name=Engine"];
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
    assert!(rows(&context).contains(&"State before=RUNNING".to_owned()), "{:?}", rows(&context));
}

#[test]
fn cloud_reloads_have_the_variables_of_the_original_and_links_to_their_tenant() {
    let delivery = sample_delivery("cloud-app-reload.failed");
    let presentation = Presentation::new(Some("UTC"), 2, 2).unwrap();
    let context = Facts::of(&delivery, &instance(), &presentation).context(Cut::NONE);
    for name in [
        "tenantId tenantComment tenantUrl userId userName appId appName appUrl appDescription appHasSectionAccess",
        "appIsPublished appPublishTime appThumbnail reloadTrigger source eventType eventTypeVersion",
        "endedWithMemoryConstraint isDirectQueryMode isPartialReload isSessionApp isSkipStore reloadId statements status",
        "usageDuration errorCode errorMessage logMessage executionStatusText executionDuration executionStartTime",
        "executionStopTime scriptLogSize scriptLogSizeRows scriptLogSizeCharacters scriptLogHead scriptLogTail",
        "scriptLogHeadCount scriptLogTailCount qlikSenseQMC qlikSenseHub genericUrls appOwnerName appOwnerUserId",
        "appOwnerPicture appOwnerEmail",
    ]
    .iter()
    .flat_map(|names| names.split(' '))
    {
        assert!(context.get(name).is_some_and(|value| *value != ""), "{name} is missing");
    }
    for (name, value) in [
        ("peakMemoryBytes", "7,340,032"),
        ("rowLimit", "-1"),
        ("sizeMemoryBytes", "1,048,576"),
        ("appFileSize", "123,456"),
        ("scriptLogSizeRows", "412"),
        ("scriptLogSizeCharacters", "1,461"),
        ("qlikSenseQMC", "https://lab.eu.qlikcloud.test/console"),
        ("appUrl", "https://lab.eu.qlikcloud.test/sense/app/3f6d2c1a-1111-4222-8333-944445555666"),
        ("source", "com.qlik/engine"),
    ] {
        assert_eq!(context[name], value, "{name}");
    }
    assert_eq!(context["links"]["buttons"][2]["url"], context["appUrl"]);
    let rows = rows(&context);
    assert!(rows.contains(&"Peak memory=7.0 MB".to_owned()), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("https://")), "{rows:?}");
}

#[test]
fn addresses_of_custom_links_hold_variables() {
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.task.as_mut().unwrap().name = "R&D/1 ä".to_owned();
    let mut instance = instance();
    instance.links.custom[0].url = "https://wiki.test/{{taskId}}?name={{taskName}}&no={{nothing}}".to_owned();
    instance.links.custom.push(CustomLink::new("Up", "{{{appUrl}}}/overview"));
    instance.links.custom.push(CustomLink::new("Broken", "https://wiki.test/{{nosuch taskId}}"));
    instance.links.custom.push(CustomLink::new("Nowhere", "https://{{nothing}}:4242/"));
    let presentation = Presentation::new(None, 2, 2).unwrap();
    let context = Facts::of(&delivery, &instance, &presentation).context(Cut::NONE);
    let url = |index: usize| context["genericUrls"][index]["url"].as_str().unwrap();
    assert_eq!(url(0), "https://wiki.test/11111111-2222-4333-8444-555555555555?name=R%26D%2F1%20%C3%A4&no=");
    assert_eq!(url(1), "https://sense.test/sense/app/aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee/overview");
    assert_eq!(context["genericUrls"].as_array().unwrap().len(), 2, "what leads nowhere is left out");
    assert_eq!(context["links"]["custom"][0]["url"], url(0));
}

#[test]
fn lines_are_those_that_the_settings_ask_for() {
    let mut delivery = sample_delivery("reload-task.failed");
    let log = delivery.event.data.script_log.as_mut().unwrap();
    (log.head, log.tail, log.rows) = (vec!["1".into(), "2".into()], vec!["3".into(), "4".into()], 4);
    let lines = |head: usize, tail: usize| {
        let presentation = Presentation::new(None, head, tail).unwrap();
        let context = Facts::of(&delivery, &instance(), &presentation).context(Cut::NONE);
        (context["scriptLogHead"].clone(), context["scriptLogTail"].clone())
    };
    assert_eq!(lines(1, 1), ("1".into(), "4".into()));
    assert_eq!(lines(0, 0), ("".into(), "".into()));
    let whole = LogLines::of_text("a\r\nbb\nccc\n", &Presentation::new(None, 10, 2).unwrap());
    assert_eq!(
        (whole.head.join(","), whole.tail.join(","), whole.characters),
        ("a,bb,ccc".into(), "bb,ccc".into(), Some(6))
    );
}

#[test]
fn every_kind_says_how_bad_the_news_is_and_to_what_it_happened() {
    let context = |kind: &str| facts(&sample_delivery(kind), &[], &[]).context(Cut::NONE);
    for (kind, severity, heading) in [
        ("distribute-task.failed", "failure", "Distribute task failed: Sales nightly"),
        ("reload-task.aborted", "warning", "Reload task aborted: Sales nightly"),
        ("preload-task.succeeded", "success", "Preload task succeeded: Sales nightly"),
        ("app-reload.failed", "failure", "App reload failed: Sales \"EU\""),
        ("cloud-app-reload.failed", "failure", "Cloud app reload failed: Orders"),
        ("user-session.started", "information", "User session started: LAB/ann"),
        ("service.stopped", "failure", "Service stopped: Engine on sense1"),
        ("service.started", "success", "Service started: Engine on sense1"),
        ("server-license.status", "information", "Server licence expires in 203 days"),
        ("server-license.expiring", "warning", "Server licence expires in 28 days"),
        ("server-license.expired", "failure", "Server licence expired 3 days ago"),
        ("access-license.usage", "information", "Access licences in use"),
        ("access-license.low", "warning", "Only 2 analyzer licences are left"),
        ("access-license.released", "information", "1 access licence released"),
        ("active-users.counted", "information", "3 users are active"),
        ("qlik-version.checked", "information", "Version of Qlik Sense: May 2024"),
        ("certificate.expiring", "warning", "Certificate expires in 12 days: client.pem"),
        ("node.silent", "warning", "Node silent: sense1"),
        ("task-start.failed", "failure", "Task start failed: Sales nightly"),
        ("butler.started", "information", "Butler started"),
        ("udp.failed", "failure", "UDP socket failed: no events are heard"),
        ("delivery.dead", "failure", "2 messages could not be delivered to chat"),
        ("audit.write", "information", "Change by REST: PUT /v4/schedules/7/start"),
        ("message.posted", "information", "Stock loaded"),
        ("moon.fell-failed", "information", "Moon fell failed: sense1"),
    ] {
        let context = context(kind);
        assert_eq!((&context["event"]["severity"], &context["heading"]), (&severity.into(), &heading.into()));
    }
}

#[test]
fn bad_news_has_a_reason() {
    let presentation = Presentation::new(Some("UTC"), 2, 2).unwrap();
    let reason =
        |delivery: &Delivery| Facts::of(delivery, &instance(), &presentation).context(Cut::NONE)["reason"].clone();
    for (kind, expected) in [
        ("reload-task.failed", "Error: table \"Orders\" not found".into()),
        ("reload-task.aborted", r"Aborted by LAB\sa_scheduler".into()),
        ("reload-task.succeeded", Value::Null),
        ("preload-task.failed", "Max retries reached".into()),
        ("cloud-app-reload.failed", "Table not found".into()),
        ("node.silent", "Nothing heard from `sense1` for 30 min".into()),
        ("butler.uptime", Value::Null),
    ] {
        assert_eq!(reason(&sample_delivery(kind)), expected, "{kind}");
    }
    let mut long = sample_delivery("reload-task.failed");
    long.event.data.script_log.as_mut().unwrap().tail = vec![format!("Error: {}", "x".repeat(1000))];
    assert_eq!(reason(&long).as_str().unwrap().chars().count(), 301);
}

#[test]
fn errors_of_the_script_log_are_given_up_last() {
    let delivery = sample_delivery("reload-task.failed");
    let facts = Facts::of(&delivery, &instance(), &Presentation::new(None, 1, 1).unwrap());
    assert_eq!(facts.lines(), 6, "a line each of head and tail, three steps, one error");
    let errors = |dropped| facts.context(Cut { dropped, line: 400, text: usize::MAX })["scriptLog"]["errors"].clone();
    assert_eq!(errors(5), serde_json::json!(["2026-03-04 05:06:07 Error: table \"Orders\" not found"]));
    assert_eq!(errors(6), Value::Null);
    // Above the last lines as well, where the whole log is known.
    let text = "1\n2026-03-04 05:06:07 Error: early\n3\n4\n";
    let whole = LogLines::of_text(text, &Presentation::new(None, 1, 1).unwrap());
    assert_eq!(whole.errors, ["2026-03-04 05:06:07 Error: early"]);
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
    let context = facts.context(Cut::last(facts.lines()));
    assert_eq!(context["logMessage"], format!("{}…", "ä".repeat(300)));
    assert_eq!(context["more"]["at"][0], address);
}
