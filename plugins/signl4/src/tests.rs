//! The plugin as the host sees it.

use butler_plugin_api::incidents::{Incident, Role};
use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_events};
use butler_plugin_api::{
    Delivery, DeliveryError, Event, HttpError, Links, OperationError, Plugin, ServiceError, StartError, sample_delivery,
};
use serde_json::{Value, json};

use super::Signl4;

const URL: &str = "https://connect.signl4.test/webhook/abcde12345";
const CREATED: &str = r#"{"eventId":"2518583650940558238_7647c33f"}"#;
const TASK: &str = "11111111-2222-4333-8444-555555555555";
const KEY: &str = "incident/task/11111111-2222-4333-8444-555555555555";

async fn start(fake: &FakeHost, more: Value) -> Signl4 {
    let mut settings = json!({ "url": URL });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fake.start(settings).await.unwrap()
}

fn signl4() -> FakeHost {
    let links = Links { app_base_url: Some("https://sense.test/sense/app".to_owned()), ..Links::default() };
    FakeHost::new("signl4").links(links).answer_to("POST", URL, 201, CREATED)
}

fn bodies(fake: &FakeHost) -> Vec<String> {
    fake.requests().into_iter().map(|request| String::from_utf8(request.body).unwrap()).collect()
}

/// Status and id of what was posted.
fn posted(fake: &FakeHost) -> Vec<(String, String)> {
    let of = |body: &String| {
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("X-S4-Status"), text("X-S4-ExternalID"))
    };
    bodies(fake).iter().map(of).collect()
}

fn new(id: &str) -> (String, String) {
    ("new".to_owned(), id.to_owned())
}

fn resolved(id: &str) -> (String, String) {
    ("resolved".to_owned(), id.to_owned())
}

fn of_task(kind: &str, name: &str, id: &str) -> Delivery {
    let mut delivery = sample_delivery(kind);
    let task = delivery.event.data.task.as_mut().unwrap();
    name.clone_into(&mut task.name);
    id.clone_into(&mut task.id);
    delivery
}

#[test]
fn failed_and_aborted_reloads_are_what_butler_16_sent_to_the_byte() {
    let fake = signl4();
    block_on(async {
        let team = start(&fake, json!({})).await;
        team.deliver(&of_task("reload-task.failed", "Load sales", "T1")).await.unwrap();
        team.deliver(&of_task("reload-task.aborted", "Load sales", "T1")).await.unwrap();
    });
    assert_eq!(
        bodies(&fake),
        [
            r#"{"Title":"Qlik Sense reload task failed","Message":"Task: Load sales","Severity":1,"X-S4-Service":"Qlik Sense","X-S4-ExternalID":"T1","X-S4-Status":"new"}"#,
            r#"{"Title":"Qlik Sense task aborted","Message":"Task: Load sales","Severity":10,"X-S4-Service":"Qlik Sense","X-S4-ExternalID":"T1","X-S4-Status":"new"}"#,
        ]
    );
    let request = &fake.requests()[0];
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
    assert!(request.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    assert_eq!(request.options, r#"{"timeoutMs":10000}"#);
}

#[test]
fn alerts_of_all_kinds() {
    let fake = signl4();
    let settings = json!({ "details": true, "scriptLogLines": 2, "alertingScenario": "multi_ack", "tls": "internal" });
    block_on(async {
        let team = start(&fake, settings).await;
        for mut event in sample_events() {
            if Incident::of(&event).is_none_or(|incident| incident.role == Role::Opens) {
                event.id.clone_from(&event.kind);
                team.deliver(&Delivery { event, ..sample_delivery("x.y") }).await.unwrap();
            }
        }
        team.deliver(&sample_delivery("moon.risen")).await.unwrap();
    });
    let lines: Vec<String> = bodies(&fake);
    insta::assert_snapshot!(lines.join("\n"));
    assert!(fake.requests().iter().all(|request| request.options.contains("internal")));
}

#[test]
fn a_success_resolves_what_is_open_and_nothing_else() {
    let fake = signl4();
    block_on(async {
        let team = start(&fake, json!({})).await;
        team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        assert!(fake.requests().is_empty());
        assert!(fake.records().iter().any(|record| record.message.contains("nothing is sent: no alert is open")));

        team.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        team.deliver(&sample_delivery("reload-task.aborted")).await.unwrap();
        team.deliver(&of_task("reload-task.succeeded", "Other", "T2")).await.unwrap();
        assert!(fake.stored(KEY).is_some());
        team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        assert!(fake.stored(KEY).is_none());

        // A host that comes back with a service that runs, and with one that is stopped.
        for state in ["unknown", "started", "unknown", "stopped", "started", "started"] {
            team.deliver(&sample_delivery(&format!("service.{state}"))).await.unwrap();
        }
    });
    let service = "service/sense1/QlikSenseEngineService";
    let (raised, over) = (new(service), resolved(service));
    assert_eq!(posted(&fake)[..3], [new(TASK), new(TASK), resolved(TASK)]);
    assert_eq!(posted(&fake)[3..], [raised.clone(), over.clone(), raised.clone(), raised, over]);
    insta::assert_snapshot!("resolved", bodies(&fake)[2]);
}

#[test]
fn without_resolve_a_success_sends_nothing_and_nothing_is_remembered() {
    let fake = signl4();
    block_on(async {
        let team = start(&fake, json!({ "resolve": false })).await;
        team.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        assert!(fake.stored(KEY).is_none());
        team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
    });
    assert_eq!(posted(&fake), [new(TASK)]);
}

/// The process may end anywhere: before and after each call of the host. What was done is done again, and comes to the same.
#[test]
fn whatever_moment_the_process_ends_at_an_alert_that_is_out_is_resolved() {
    // 1. After it was remembered, before it was sent: Signl4 is away, and a new process delivers again.
    let fake = FakeHost::new("signl4").fail(HttpError::Connection("reset".to_owned())).answer(201, CREATED);
    let fake = fake.answer(201, CREATED).answer(201, CREATED).answer(201, CREATED);
    block_on(async {
        let team = start(&fake, json!({})).await;
        team.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(fake.stored(KEY).is_some(), "remembered before it is sent");
        let again = Delivery { attempt: 2, ..sample_delivery("reload-task.failed") };
        start(&fake, json!({})).await.deliver(&again).await.unwrap();
        // 2. After it was sent, before that was noted: it comes again.
        start(&fake, json!({})).await.deliver(&again).await.unwrap();
        // 3. After the resolution was sent, before it was forgotten, and 4. after that: it comes again.
        let open = fake.stored(KEY).unwrap();
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        let fake = fake.clone().store(KEY, open);
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
    });
    let [_, rest @ ..] = &posted(&fake)[..] else { panic!() };
    assert_eq!(rest, [new(TASK), new(TASK), resolved(TASK), resolved(TASK)]);
}

#[test]
fn a_resolution_that_fails_stays_open_and_comes_later() {
    let fake = FakeHost::new("signl4").answer(201, CREATED).answer(503, "").answer(201, CREATED);
    block_on(async {
        let team = start(&fake, json!({})).await;
        team.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        let error = team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error}");
        assert!(fake.stored(KEY).is_some());
        team.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        assert!(fake.stored(KEY).is_none());
    });
}

#[test]
fn an_alert_goes_out_even_if_it_cannot_be_remembered() {
    let full = signl4().fail_service("storage", ServiceError::Quota("64 MB are full".to_owned()));
    block_on(async { start(&full, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap() });
    assert_eq!(posted(&full), [new(TASK)]);
    assert!(full.records().iter().any(|record| record.message.contains("no success will resolve it: 64 MB")));

    // Once the storage works again it is remembered, and not sent again.
    let away = signl4().fail_service("storage", ServiceError::Unavailable("no disk".to_owned()));
    block_on(async {
        let error = start(&away, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        let DeliveryError::Retry { message, progress: Some(progress), .. } = error else { panic!("{error:?}") };
        assert!(message.contains("the alert is raised"), "{message}");
        let fake = signl4();
        let again = Delivery { progress: Some(progress), ..sample_delivery("reload-task.failed") };
        start(&fake, json!({})).await.deliver(&again).await.unwrap();
        assert!(fake.requests().is_empty() && fake.stored(KEY).is_some());
        // Whether something is open is not known: the success waits.
        let error = start(&away, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error}");
    });
    assert_eq!(posted(&away), [new(TASK)]);
}

#[test]
fn answers_follow_the_shared_rule_and_never_show_the_secret() {
    let unknown = r#"{"requestId":"e933","code":3004,"details":"An event source with ID abcde12345 was not found.","message":"Error raising event."}"#;
    let fake = FakeHost::new("signl4").answer(404, unknown).answer(400, "abcde12345?").answer(200, "<html>abcde12345");
    let fake = fake.fail(HttpError::Connection(format!("{URL}: refused")));
    let fake = fake.answer_with(429, &[("Retry-After", "7")], "").answer(200, "");
    block_on(async {
        let team = start(&fake, json!({})).await;
        let delivery = sample_delivery("reload-task.failed");
        let errors = [
            team.deliver(&delivery).await.unwrap_err(),
            team.deliver(&delivery).await.unwrap_err(),
            team.deliver(&delivery).await.unwrap_err(),
            team.deliver(&delivery).await.unwrap_err(),
        ];
        assert!(errors[0].to_string().contains("An event source with ID [redacted] was not found"), "{}", errors[0]);
        let rejects: Vec<bool> = errors.iter().map(|error| matches!(error, DeliveryError::Reject { .. })).collect();
        assert_eq!(rejects, [false, true, false, false]);
        for error in &errors {
            assert!(!error.to_string().contains("abcde"), "{error}");
        }
        let error = team.deliver(&delivery).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { after: Some(after), .. } if after.as_secs() == 7));
        team.deliver(&delivery).await.unwrap();
    });
    assert!(fake.records().iter().all(|record| !record.message.contains("abcde") && !record.fields.contains("abcde")));
}

#[test]
fn what_is_refused_is_not_open_and_a_success_of_nothing_raises_nothing() {
    let fake = FakeHost::new("signl4").answer(400, "bad").answer(201, CREATED).answer(400, "bad");
    block_on(async {
        let team = start(&fake, json!({})).await;
        let failed = sample_delivery("reload-task.failed");
        assert!(matches!(team.deliver(&failed).await.unwrap_err(), DeliveryError::Reject { .. }));
        assert!(fake.stored(KEY).is_none());
        team.deliver(&failed).await.unwrap();
        team.deliver(&failed).await.unwrap_err();
        assert!(fake.stored(KEY).is_some(), "the one before is open");

        let mut started = sample_delivery("service.started");
        started.event.data.service.as_mut().unwrap().name = None;
        team.deliver(&started).await.unwrap();
        for kind in ["service.stopped", "service.started"] {
            let mut delivery = sample_delivery(kind);
            delivery.event.data.service.as_mut().unwrap().host = None;
            let _ = fake.clone().answer(201, CREATED);
            team.deliver(&delivery).await.unwrap();
        }
    });
    let service = "service//QlikSenseEngineService";
    assert_eq!(posted(&fake)[3..], [new(service), resolved(service)]);
    assert!(!manifest_of::<Signl4>().script_log, "no log is fetched for its sake");
}

#[test]
fn a_test_touches_no_real_alert() {
    let test = |kind: &str| {
        let mut delivery = sample_delivery(kind);
        delivery.event.source = Event::TEST.to_owned();
        delivery
    };
    let fake = signl4();
    block_on(async {
        let team = start(&fake, json!({})).await;
        team.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        team.deliver(&test("reload-task.failed")).await.unwrap();
        let error = team.deliver(&test("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("try it with a failure")));
        team.deliver(&test("task-start.succeeded")).await.unwrap();
    });
    assert_eq!(posted(&fake), [new(TASK), new("test/sample-1"), new("test/sample-1")]);
    assert!(bodies(&fake)[1].contains(r"Task: Sales nightly\nthis is a test, nothing has happened"));
    assert!(fake.stored(KEY).is_some());
}

#[test]
fn huge_and_nasty_texts_and_missing_facts_do_no_harm() {
    let fake = signl4();
    block_on(async {
        let team = start(&fake, json!({ "details": true, "scriptLogLines": 100 })).await;
        let mut delivery = of_task("reload-task.failed", &"\u{0}ä\u{7}\"\\".repeat(200_000), &"x".repeat(1 << 20));
        let data = &mut delivery.event.data;
        data.log.as_mut().unwrap().message = "é".repeat(1 << 20);
        data.script_log.as_mut().unwrap().tail = vec!["z".repeat(1 << 20); 3];
        data.missing = vec!["app".to_owned()];
        delivery.late_seconds = Some(600);
        team.deliver(&delivery).await.unwrap();
        let mut bare = sample_delivery("reload-task.failed");
        bare.event.data = butler_plugin_api::Data::default();
        team.deliver(&bare).await.unwrap();
    });
    let bodies = bodies(&fake);
    let body: Value = serde_json::from_str(&bodies[0]).unwrap();
    assert!(bodies[0].len() < 20_000, "{}", bodies[0].len());
    assert!(!body["Message"].as_str().unwrap().contains(['\u{0}', '\u{7}']));
    assert!(!bodies[1].contains("undefined") && bodies[1].contains("Reload task failed"), "{}", bodies[1]);
    insta::assert_snapshot!("bare", bodies[1]);
}

#[test]
fn check_and_render_raise_nothing() {
    let fake = FakeHost::new("signl4").answer(405, "").fail(HttpError::Connection(format!("{URL} refused")));
    block_on(async {
        let team = start(&fake, json!({})).await;
        let text = team.invoke("check", Value::Null).await.unwrap();
        assert!(text.as_str().unwrap().contains("connect.signl4.test is reachable"), "{text}");
        let error = team.invoke("check", Value::Null).await.unwrap_err();
        assert_eq!(error, OperationError::Failed("https://connect.signl4.test/webhook/[redacted] refused".to_owned()));
        assert!(fake.requests().iter().all(|request| request.method == "OPTIONS"));
        for (kind, status) in [("reload-task.failed", "new"), ("reload-task.succeeded", "resolved")] {
            let delivery = serde_json::to_value(sample_delivery(kind)).unwrap();
            let shown = team.invoke("render", delivery).await.unwrap();
            let body: Value = serde_json::from_str(shown.as_str().unwrap()).unwrap();
            assert_eq!((&body["X-S4-Status"], &body["X-S4-ExternalID"]), (&json!(status), &json!(TASK)));
        }
        assert!(matches!(team.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
    });
    assert_eq!(fake.requests().len(), 2);
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let error = block_on(FakeHost::new("x").start::<Signl4>(json!({ "url": "ftp://a.test/x" }))).err().unwrap();
    assert!(matches!(error, StartError::Config(_)));
    let manifest = manifest_of::<Signl4>();
    assert!(manifest.ordered);
    for kind in ["reload-task.succeeded", "service.started", "reload-task.failed", "server-license.expired"] {
        assert!(
            manifest.default_events.iter().any(|pattern| butler_plugin_api::kind::matches(pattern, kind)),
            "{kind}"
        );
    }
    conformance::<Signl4>(json!({ "url": URL }));
}
