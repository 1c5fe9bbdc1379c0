//! The plugin as the host sees it.

use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_events};
use butler_plugin_api::{
    Data, Delivery, DeliveryError, Event, HttpError, Links, OperationError, Plugin, ServiceError, StartError,
    sample_delivery,
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Alertmanager;
use crate::settings::is_label;

mod resend;

const KEY: &str = "incident/task/11111111-2222-4333-8444-555555555555";
const SERVICE: &str = "incident/service/sense1/QlikSenseEngineService";
/// Of the samples.
const START: &str = "2026-03-04T05:06:07.89Z";

fn fake() -> FakeHost {
    let links = Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        app_base_url: Some("https://sense.test/sense/app".to_owned()),
        ..Links::default()
    };
    FakeHost::new("alertmanager").links(links)
}

async fn start(fake: &FakeHost, more: Value) -> Alertmanager {
    let mut settings = json!({ "urls": ["http://am1.test:9093"] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fake.start(settings).await.unwrap()
}

/// The alerts of each request, with the host that it went to.
fn posted(fake: &FakeHost) -> Vec<(String, Vec<Value>)> {
    let requests = fake.requests().into_iter().filter(|request| request.method == "POST");
    let one = |request: butler_plugin_api::abi::WireRequest| {
        assert!(request.url.ends_with("/api/v2/alerts"), "{}", request.url);
        let alerts: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
        for alert in &alerts {
            refuse(alert);
        }
        (request.url.split('/').nth(2).unwrap().to_owned(), alerts)
    };
    requests.map(one).collect()
}

/// What Alertmanager would refuse.
fn refuse(alert: &Value) {
    let labels = alert["labels"].as_object().unwrap();
    assert!(!labels.is_empty());
    for (name, value) in labels.iter().chain(alert["annotations"].as_object().unwrap()) {
        assert!(is_label(name) && !value.as_str().unwrap().is_empty(), "{name}: {value}");
    }
    assert!(time(&alert["startsAt"]) <= time(&alert["endsAt"]), "{alert:#}");
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn is_firing(alert: &Value) -> bool {
    time(&alert["endsAt"]) > Timestamp::now()
}

/// Hours until an alert ends.
fn hours(alert: &Value) -> i64 {
    (time(&alert["endsAt"]).as_second() - Timestamp::now().as_second() + 1800) / 3600
}

fn names(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap()).collect()
}

fn at(kind: &str, time: &str) -> Delivery {
    let mut delivery = sample_delivery(kind);
    time.clone_into(&mut delivery.event.time);
    delivery
}

#[test]
fn alerts_of_all_kinds() {
    let fake = fake();
    let settings = json!({
        "labels": { "team": "bi", "empty": " " }, "customPropertyLabels": { "mail": "Butler_Mail", "none": "Nobody" }
    });
    block_on(async {
        let site = start(&fake, settings).await;
        for mut event in sample_events() {
            if !super::is_success(&event) {
                event.id.clone_from(&event.kind);
                site.deliver(&Delivery { event, ..sample_delivery("x.y") }).await.unwrap();
            }
        }
        site.deliver(&sample_delivery("moon.risen")).await.unwrap();
    });
    let mut lines = Vec::new();
    for (_, mut alerts) in posted(&fake) {
        let [alert] = &mut alerts[..] else { panic!() };
        assert_eq!(alert["startsAt"], START);
        let ends = format!("in {} h", hours(alert));
        alert["endsAt"] = ends.into();
        lines.push(format!("{alert:#}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_success_resolves_all_alerts_of_its_task_by_their_labels_of_then() {
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({})).await;
        site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        assert!(fake.requests().is_empty(), "nothing is open");
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("reload-task.aborted")).await.unwrap();
        let mut other = sample_delivery("reload-task.succeeded");
        other.event.data.task.as_mut().unwrap().id = "other".to_owned();
        site.deliver(&other).await.unwrap();
        assert_eq!(fake.requests().len(), 3);
        // Somebody has renamed the task, and it ran on another node.
        let mut success = at("reload-task.succeeded", "2026-03-04T06:00:00.500Z");
        success.event.data.task.as_mut().unwrap().name = "Renamed".to_owned();
        success.event.data.node = Some("sense2".to_owned());
        site.deliver(&success).await.unwrap();
        assert!(fake.stored(KEY).is_none());
        site.deliver(&success).await.unwrap();
    });
    let posted = posted(&fake);
    assert_eq!(posted.len(), 4);
    let (_, resolved) = &posted[3];
    assert_eq!(names(resolved), ["QlikReloadTaskFailed", "QlikReloadTaskAborted"]);
    for alert in resolved {
        let raised = posted.iter().find(|(_, alerts)| names(alerts) == names(std::slice::from_ref(alert))).unwrap();
        assert_eq!(alert["labels"], raised.1[0]["labels"]);
        assert_eq!((&alert["startsAt"], &alert["endsAt"]), (&json!(START), &json!("2026-03-04T06:00:00Z")));
    }
}

#[test]
fn what_lasts_for_how_long() {
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({ "openFor": "10d", "expireAfter": "2h" })).await;
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("server-license.expired")).await.unwrap();
        let site = start(&fake, json!({ "openFor": "10d", "expireAfter": "2h", "resolve": false })).await;
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
    });
    let hours: Vec<i64> = posted(&fake).iter().map(|(_, alerts)| hours(&alerts[0])).collect();
    assert_eq!(hours, [240, 2, 2]);
}

#[test]
fn clocks_that_jump_leave_an_alert_neither_unseen_nor_for_ever() {
    // The wall clock went back between failure and success, and forward.
    let fake = fake();
    let future = Timestamp::now().checked_add(Duration::from_hours(48)).unwrap().to_string();
    block_on(async {
        let site = start(&fake, json!({})).await;
        for success in ["2026-03-04T05:00:00Z", &future, "no time"] {
            site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
            site.deliver(&at("reload-task.succeeded", success)).await.unwrap();
        }
        // A failure of tomorrow.
        site.deliver(&at("reload-task.failed", &future)).await.unwrap();
        site.deliver(&at("reload-task.succeeded", START)).await.unwrap();
        site.deliver(&at("reload-task.failed", "no time")).await.unwrap();
    });
    let posted = posted(&fake);
    let firing: Vec<bool> = posted.iter().map(|(_, alerts)| is_firing(&alerts[0])).collect();
    assert_eq!(firing, [true, false, true, false, true, false, true, false, true]);
    assert_eq!(posted[1].1[0]["endsAt"], "2026-03-04T05:06:07Z", "not before it started, in whole seconds");
}

#[test]
fn an_alertmanager_whose_clock_is_off_gets_it_by_its_own_clock() {
    let behind = Timestamp::now().checked_sub(Duration::from_mins(10)).unwrap();
    let ahead = Timestamp::now().checked_add(Duration::from_hours(24 * 400)).unwrap();
    let date = |time: Timestamp| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap();
    let now = Timestamp::now().to_string();
    let fake = fake().answer_with(200, &[("Date", &date(behind))], "").answer_with(200, &[("Date", &date(behind))], "");
    let fake = fake.answer_with(200, &[("Date", &date(behind))], "");
    let fake = fake.answer_with(200, &[("Date", &date(ahead))], "").answer_with(200, &[("Date", &date(ahead))], "");
    block_on(async {
        let site = start(&fake, json!({})).await;
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&at("reload-task.succeeded", &now)).await.unwrap();
        site.deliver(&sample_delivery("server-license.expired")).await.unwrap();
    });
    let posted = posted(&fake);
    assert_eq!(posted.len(), 5);
    let timeouts: Vec<bool> =
        fake.requests().iter().map(|request| request.options == r#"{"timeoutMs":10000}"#).collect();
    assert_eq!(timeouts, [true, true, false, true, false], "the second request has what the first has left");
    assert!(time(&posted[1].1[0]["endsAt"]) > behind, "it would not be resolved over there");
    assert_eq!(time(&posted[2].1[0]["endsAt"]).as_second(), behind.as_second());
    assert!(time(&posted[3].1[0]["endsAt"]) < ahead, "it would be over already");
    assert_eq!(time(&posted[4].1[0]["endsAt"]).as_second(), ahead.as_second() + 86_400);
}

#[test]
fn each_alertmanager_of_a_cluster_gets_it_and_none_twice() {
    let fake = fake().answer(200, "").fail(HttpError::Connection("refused".to_owned())).answer(200, "").answer(200, "");
    let urls = json!({ "urls": ["http://am1.test:9093", "http://me:geheim@am2.test:9093/x"] });
    block_on(async {
        let error = start(&fake, urls.clone()).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        let DeliveryError::Retry { message, progress: Some(progress), .. } = error else { panic!("{error:?}") };
        assert_eq!(message, "1 of 2 Alertmanagers have it; am2.test:9093/x: refused");
        assert_eq!(progress, json!({ "have": ["am1.test:9093"] }));
        let again = Delivery { progress: Some(progress), ..sample_delivery("reload-task.failed") };
        start(&fake, urls.clone()).await.deliver(&again).await.unwrap();
        // Progress of other settings counts for nothing.
        let foreign = Delivery { progress: Some(json!({ "have": ["am3.test"] })), ..sample_delivery("node.silent") };
        start(&fake, json!({})).await.deliver(&foreign).await.unwrap();
    });
    let hosts: Vec<String> = posted(&fake).into_iter().map(|(host, _)| host).collect();
    assert_eq!(hosts, ["am1.test:9093", "me:geheim@am2.test:9093", "me:geheim@am2.test:9093", "am1.test:9093"]);
}

/// The process may end anywhere: before and after each call of the host. What was done is done again, and comes to the same.
#[test]
fn whatever_moment_the_process_ends_at_an_alert_that_is_out_is_resolved() {
    let fake = fake().fail(HttpError::Connection("reset".to_owned()));
    block_on(async {
        // 1. After it was remembered, before it was posted.
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(fake.stored(KEY).is_some(), "remembered before it is posted");
        // 2. After it was posted.
        for _ in 0..2 {
            start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        }
        let open = fake.stored(KEY).unwrap();
        assert_eq!(open["alerts"].as_array().unwrap().len(), 1);
        // 3. After it was resolved, before it was forgotten, and 4. after that.
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        let fake = fake.clone().store(KEY, open);
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        start(&fake, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
    });
    let firing: Vec<bool> = posted(&fake).iter().map(|(_, alerts)| is_firing(&alerts[0])).collect();
    assert_eq!(firing, [true, true, true, false, false]);
}

#[test]
fn a_resolution_that_fails_stays_open_and_comes_later() {
    let fake = fake().answer(200, "").answer(503, "").answer(200, "");
    block_on(async {
        let site = start(&fake, json!({})).await;
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        let error = site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error}");
        assert!(fake.stored(KEY).is_some());
        site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
        assert!(fake.stored(KEY).is_none());
    });
}

#[test]
fn an_alert_goes_out_even_if_it_cannot_be_remembered() {
    let full = fake().fail_service("storage", ServiceError::Quota("64 MB are full".to_owned()));
    block_on(async { start(&full, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap() });
    assert_eq!(posted(&full).len(), 1);
    assert!(full.records().iter().any(|record| record.message.contains("no success will resolve it: 64 MB")));

    let away = fake().fail_service("storage", ServiceError::Unavailable("no disk".to_owned()));
    block_on(async {
        let error = start(&away, json!({})).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        let DeliveryError::Retry { progress: Some(progress), .. } = error else { panic!("{error:?}") };
        let fake = fake();
        let again = Delivery { progress: Some(progress), ..sample_delivery("reload-task.failed") };
        start(&fake, json!({})).await.deliver(&again).await.unwrap();
        assert!(fake.requests().is_empty() && fake.stored(KEY).is_some(), "remembered, and not posted again");
        let error = start(&away, json!({})).await.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error}");
    });
    assert_eq!(posted(&away).len(), 1);
}

#[test]
fn a_success_that_does_not_say_of_what_raises_nothing() {
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({})).await;
        let mut started = sample_delivery("service.started");
        started.event.data.service.as_mut().unwrap().name = None;
        site.deliver(&started).await.unwrap();
        let mut succeeded = sample_delivery("reload-task.succeeded");
        succeeded.event.data.task = None;
        site.deliver(&succeeded).await.unwrap();
        assert!(fake.requests().is_empty());
        // A host that is unknown is the same both times.
        for kind in ["service.unknown", "service.stopped", "service.started"] {
            let mut delivery = sample_delivery(kind);
            delivery.event.data.service.as_mut().unwrap().host = None;
            site.deliver(&delivery).await.unwrap();
        }
    });
    let posted = posted(&fake);
    let firing: Vec<bool> = posted.iter().map(|(_, alerts)| is_firing(&alerts[0])).collect();
    assert_eq!(firing, [true, true, false]);
    assert_eq!(names(&posted[2].1), ["QlikServiceUnknown", "QlikServiceStopped"], "it runs: both are over");
}

#[test]
fn a_task_has_only_so_many_alerts() {
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({})).await;
        for node in 0..30 {
            let mut delivery = sample_delivery("reload-task.failed");
            delivery.event.data.node = Some(format!("sense{node}"));
            site.deliver(&delivery).await.unwrap();
        }
        site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap();
    });
    let posted = posted(&fake);
    let (_, resolved) = posted.last().unwrap();
    assert_eq!((resolved.len(), &resolved[19]["labels"]["node"]), (20, &json!("sense29")));
}

#[test]
fn answers_follow_the_shared_rule() {
    let fake = fake().answer(400, r#""bad label""#).answer(200, "<html>Sign in").answer(401, "");
    let fake = fake.answer_with(503, &[("Retry-After", "7")], "").answer(200, "{}").answer(200, " \n");
    block_on(async {
        let settings = json!({ "headers": { "Authorization": "Basic eDp5" }, "tls": "internal" });
        let site = start(&fake, settings).await;
        let delivery = sample_delivery("node.silent");
        let error = site.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("bad label")), "{error}");
        let error = site.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains("not by an Alertmanager")));
        assert!(matches!(site.deliver(&delivery).await.unwrap_err(), DeliveryError::Retry { .. }));
        let error = site.deliver(&delivery).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { after: Some(after), .. } if after.as_secs() == 7));
        site.deliver(&delivery).await.unwrap();
        site.deliver(&delivery).await.unwrap();
    });
    for request in fake.requests() {
        assert!(request.headers.contains(&("Authorization".to_owned(), "Basic eDp5".to_owned())));
        assert_eq!(request.options, r#"{"timeoutMs":10000,"tls":"internal"}"#);
    }
}

#[test]
fn a_test_is_no_real_alert_and_does_not_last() {
    let test = |kind: &str| {
        let mut delivery = sample_delivery(kind);
        delivery.event.source = Event::TEST.to_owned();
        delivery
    };
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({})).await;
        site.deliver(&test("reload-task.failed")).await.unwrap();
        assert!(fake.stored(KEY).is_none());
        let error = site.deliver(&test("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("try it with a failure")));
    });
    let posted = posted(&fake);
    let alert = &posted[0].1[0];
    assert_eq!((&alert["labels"]["test"], posted.len()), (&json!("true"), 1));
    assert!(alert["annotations"]["note"].as_str().unwrap().contains("nothing has happened"));
    assert!(time(&alert["endsAt"]).as_second() - Timestamp::now().as_second() <= 900);
}

#[test]
fn huge_texts_and_missing_facts_do_no_harm() {
    let fake = fake();
    block_on(async {
        let site = start(&fake, json!({ "scriptLogLines": 100 })).await;
        let mut delivery = sample_delivery("reload-task.failed");
        let data = &mut delivery.event.data;
        data.task.as_mut().unwrap().name = "\u{0}ä\n\"".repeat(300_000);
        data.log.as_mut().unwrap().message = "é".repeat(1 << 20);
        data.script_log.as_mut().unwrap().tail = (0..100).map(|n| format!("{n} {}", "z".repeat(100_000))).collect();
        site.deliver(&delivery).await.unwrap();
        delivery.event.data = Data::default();
        delivery.event.time = String::new();
        site.deliver(&delivery).await.unwrap();
    });
    assert!(fake.requests().iter().all(|request| request.body.len() < 40_000));
    let posted = posted(&fake);
    let alert = &posted[0].1[0];
    assert!(!alert["labels"]["task"].as_str().unwrap().contains(['\u{0}', '\n']));
    let description = alert["annotations"]["description"].as_str().unwrap();
    assert!(description.contains("\n99 zzz") && !description.contains("\n1 z"), "the last lines");
    assert_eq!(
        posted[1].1[0]["labels"],
        json!({ "alertname": "QlikReloadTaskFailed", "severity": "critical", "kind": "reload-task.failed" })
    );
}

#[test]
fn check_and_render_post_nothing() {
    let status = r#"{"cluster":{"status":"ready"},"versionInfo":{"version":"0.25.0"}}"#;
    let fake = fake().answer(200, status).answer(200, "<html>").fail(HttpError::Connection("refused".to_owned()));
    block_on(async {
        let site = start(&fake, json!({})).await;
        let text = site.invoke("check", Value::Null).await.unwrap();
        assert_eq!(text, "am1.test:9093: Alertmanager 0.25.0, cluster ready; no alert was posted");
        for part in ["not as an Alertmanager", "refused"] {
            let error = site.invoke("check", Value::Null).await.unwrap_err();
            assert!(matches!(&error, OperationError::Failed(text) if text.contains(part)), "{error}");
        }
        for (kind, firing) in
            [("reload-task.failed", true), ("reload-task.succeeded", false), ("service.started", false)]
        {
            let shown = site.invoke("render", serde_json::to_value(sample_delivery(kind)).unwrap()).await.unwrap();
            refuse(&shown[0]);
            assert_eq!(is_firing(&shown[0]), firing, "{kind}");
            assert!(!shown[0]["labels"]["alertname"].as_str().unwrap().contains("Succ"), "{shown:#}");
        }
    });
    assert!(fake.requests().iter().all(|request| request.method == "GET"));
    assert_eq!(fake.requests()[0].url, "http://am1.test:9093/api/v2/status");
}

proptest! {
    #[test]
    fn whatever_the_times_are_it_starts_before_it_ends(failed in any::<i32>(), ended in any::<i32>(), now in any::<i32>()) {
        let time = |second: i32| Timestamp::from_second(second.into()).unwrap();
        let alert = crate::alert::Alert {
            labels: [("a".to_owned(), "b".to_owned())].into(), annotations: [].into(),
            starts_at: time(failed), ends_at: time(failed), generator_url: None,
        };
        let resolved = alert.resolved(time(ended), time(now));
        prop_assert!(resolved.starts_at <= resolved.ends_at && resolved.ends_at <= time(now));
        let lasting = Duration::from_mins(1);
        let firing = alert.at(time(now), lasting);
        prop_assert!(firing.starts_at <= time(now) && firing.ends_at > time(now));
    }
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let error = block_on(FakeHost::new("x").start::<Alertmanager>(json!({ "urls": ["ftp://a.test"] }))).err().unwrap();
    assert!(matches!(error, StartError::Config(_)));
    let manifest = manifest_of::<Alertmanager>();
    assert!(manifest.ordered && manifest.default_events.contains(&"*-task.succeeded".to_owned()));
    conformance::<Alertmanager>(json!({ "urls": ["https://am1.test", "https://am2.test/prefix"] }));
}
