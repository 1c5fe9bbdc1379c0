//! The plugin with the fake host, whose time stands still until a test lets it pass.

use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on, conformance};
use butler_plugin_api::{HttpError, ServiceError, Status};
use serde_json::{Value, json};

use super::*;

const EVERY: Duration = Duration::from_secs(30);
const URL: &str = "https://hc.test/ping/abc";

fn status(value: Value) -> Status {
    serde_json::from_value(value).unwrap()
}

/// All parts are there, and well.
fn well() -> Status {
    status(json!({ "store": { "healthy": true }, "udp": { "healthy": true }, "qlik": { "healthy": true } }))
}

fn fake() -> FakeHost {
    FakeHost::new("heartbeat").manual_time().status(well()).qlik("about", json!({ "buildVersion": "1" }))
}

fn run(fake: &FakeHost, more: &Value) -> Arc<Heartbeat> {
    let mut settings = json!({ "url": URL });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plugin = block_on(fake.run::<Heartbeat>(settings)).unwrap();
    rest(fake);
    plugin
}

/// Waits until the plugin sleeps until its next beat, or before another try.
fn rest(fake: &FakeHost) {
    fake.wait_until("the plugin to sleep", |fake| fake.sleeping() == 1);
}

/// Lets time pass.
fn pass(fake: &FakeHost, by: Duration) {
    fake.advance(by);
    rest(fake);
}

/// Methods, paths and bodies so far.
fn calls(fake: &FakeHost) -> Vec<(String, String, String)> {
    let requests = fake.requests().into_iter();
    requests
        .map(|call| {
            let path = call.url.trim_start_matches("https://hc.test").to_owned();
            (call.method, path, String::from_utf8(call.body).unwrap())
        })
        .collect()
}

fn paths(fake: &FakeHost) -> Vec<String> {
    calls(fake).into_iter().map(|(_, path, _)| path).collect()
}

fn said(fake: &FakeHost, level: u8) -> Vec<String> {
    let records = fake.records().into_iter().filter(|record| record.level == level);
    records.map(|record| record.message).collect()
}

#[test]
fn the_first_beat_comes_at_once_and_the_next_after_the_interval() {
    let fake = fake();
    let plugin = run(&fake, &json!({ "tls": "own-ca" }));
    assert_eq!(calls(&fake), [("GET".to_owned(), "/ping/abc".to_owned(), String::new())]);
    let options = serde_json::from_str::<Value>(&fake.requests()[0].options).unwrap();
    assert_eq!(options, json!({ "timeoutMs": 10_000, "tls": "own-ca" }));
    fake.advance(Duration::from_secs(25));
    rest(&fake);
    assert_eq!(fake.requests().len(), 1, "not before its time");
    pass(&fake, Duration::from_secs(5));
    assert_eq!(fake.requests().len(), 2);
    assert_eq!(fake.stored("beat"), Some(json!(1)), "another value each time, or nothing would be written");
    assert_eq!(block_on(plugin.health()), Health::Good);
    assert_eq!(fake.metric("signals{result=\"taken\",signal=\"success\"}"), Some(2.0));
    assert!(said(&fake, 2).is_empty() && said(&fake, 3).is_empty());
    fake.stop();
}

#[test]
fn a_part_that_is_not_well_stops_it_until_it_is() {
    let faults = [
        ("store", json!({ "message": "the disk is full" }), "the store cannot be written: the disk is full"),
        ("udp", json!({ "message": "0.0.0.0:9998 cannot be read: gone" }), "UDP: 0.0.0.0:9998 cannot be read: gone"),
    ];
    for (part, state, reason) in faults {
        let fake = fake();
        let plugin = run(&fake, &json!({}));
        let mut unwell = json!(well());
        unwell[part] = state;
        let _ = fake.clone().status(status(unwell));
        pass(&fake, EVERY);
        pass(&fake, EVERY);
        assert_eq!(fake.requests().len(), 1, "{part}");
        assert_eq!(said(&fake, 2), [format!("the heartbeat stops, since not all is well: {reason}")]);
        assert_eq!(block_on(plugin.health()), Health::Degraded(format!("not all is well: {reason}")));
        assert_eq!(fake.metric("healthy"), Some(0.0));
        let _ = fake.clone().status(well());
        pass(&fake, EVERY);
        assert_eq!((fake.requests().len(), fake.metric("healthy")), (2, Some(1.0)));
        assert!(said(&fake, 3)[0].starts_with("all is well again, after "), "{:?}", said(&fake, 3));
        assert_eq!(block_on(plugin.health()), Health::Good);
        fake.stop();
    }
}

#[test]
fn the_store_and_qlik_sense_are_asked_and_not_believed() {
    // Both were well when they were used last.
    let dead = fake().fail_service("qlik", ServiceError::Unavailable("sense1 refuses connections".to_owned()));
    run(&dead, &json!({}));
    assert_eq!(said(&dead, 2), ["the heartbeat stops, since not all is well: sense1 refuses connections"]);
    let refusing = FakeHost::new("heartbeat").manual_time().status(well());
    run(&refusing, &json!({}));
    assert!(said(&refusing, 2)[0].ends_with("Qlik Sense answered 404 to GET about"), "{:?}", said(&refusing, 2));
    let full = fake().fail_service("storage", ServiceError::Failed("no room".to_owned()));
    run(&full, &json!({}));
    assert!(said(&full, 2)[0].ends_with("the store cannot be written: no room"), "{:?}", said(&full, 2));
    let mute = fake().fail_service("status", ServiceError::Unsupported("no service `status`".to_owned()));
    run(&mute, &json!({}));
    assert!(said(&mute, 2)[0].ends_with("does not tell how it is: no service `status`"), "{:?}", said(&mute, 2));
    assert_eq!(full.stored("beat"), None);
    for fake in [dead, refusing, full, mute] {
        assert!(fake.requests().is_empty());
        fake.stop();
    }
}

#[test]
fn only_what_is_required_counts_and_what_the_config_lacks_does_not_unless_it_is_required() {
    let unwell = || {
        let all = json!({ "store": { "healthy": true }, "udp": { "healthy": true }, "qlik": { "healthy": true } });
        let host = FakeHost::new("h").manual_time().status(status(all));
        host.fail_service("qlik", ServiceError::Unavailable("away".to_owned()))
    };
    let lacking = || FakeHost::new("h").manual_time().status(status(json!({ "store": { "healthy": true } })));
    let silent = || FakeHost::new("h").manual_time().fail_service("status", ServiceError::Failed("broken".to_owned()));
    for (fake, settings, beats) in [
        (unwell(), json!({}), 0),
        (unwell(), json!({ "require": ["store", "udp"] }), 1),
        (unwell(), json!({ "require": ["qlik"] }), 0),
        (silent(), json!({ "require": [] }), 1),
        (silent(), json!({ "require": ["store"] }), 0),
        (lacking(), json!({}), 1),
        (lacking(), json!({ "require": ["udp"] }), 0),
        (lacking(), json!({ "require": ["qlik", "store"] }), 0),
    ] {
        run(&fake, &settings);
        assert_eq!(fake.requests().len(), beats, "{settings}: {:?}", said(&fake, 2));
        fake.stop();
    }
    let fake = lacking();
    run(&fake, &json!({ "require": ["udp", "qlik"] }));
    assert!(
        said(&fake, 2)[0].contains("the config has no `udp:`, which `require` asks for; the config has no `qlik:`")
    );
    fake.stop();
}

#[test]
fn healthchecks_hears_of_start_success_and_failure_with_the_reason() {
    let fake = fake();
    run(&fake, &json!({ "style": "healthchecks" }));
    let _ = fake.clone().fail_service("qlik", ServiceError::Unavailable("away".to_owned()));
    pass(&fake, EVERY);
    let call = |path: &str, body: &str| ("POST".to_owned(), path.to_owned(), body.to_owned());
    let expected =
        [call("/ping/abc/start", "Butler starts"), call("/ping/abc", "all is well"), call("/ping/abc/fail", "away")];
    assert_eq!(calls(&fake), expected);
    assert_eq!(said(&fake, 2), ["a failure is told, since not all is well: away"]);
    // Again at each beat: the far end may have missed it. How long Qlik Sense is left alone is no other reason.
    let mut away = json!(well());
    away["qlik"] = json!({ "message": "away" });
    let asked = ServiceError::Unavailable("away (it is asked again in 999 ms at the earliest)".to_owned());
    let _ = fake.clone().status(status(away)).fail_service("qlik", asked);
    pass(&fake, EVERY);
    assert_eq!(paths(&fake).last().unwrap(), "/ping/abc/fail");
    assert_eq!((calls(&fake).len(), said(&fake, 2).len()), (4, 1));
    fake.stop();
}

#[test]
fn another_address_may_hear_of_failures() {
    let fake = fake().fail_service("qlik", ServiceError::Unavailable("é".repeat(5000)));
    run(&fake, &json!({ "failUrl": "https://hc.test/down?x=1", "method": "HEAD" }));
    assert_eq!(calls(&fake), [("HEAD".to_owned(), "/down?x=1".to_owned(), String::new())]);
    fake.stop();
    let fake = self::fake().fail_service("qlik", ServiceError::Unavailable("é".repeat(5000)));
    run(&fake, &json!({ "failUrl": "https://hc.test/down", "method": "POST" }));
    let body = calls(&fake).remove(0).2;
    assert!(body.starts_with("é") && (1999..=2000).contains(&body.len()), "{}", body.len());
    fake.stop();
}

#[test]
fn a_call_that_is_not_taken_is_tried_again_soon_and_said_once() {
    let timeout = || HttpError::Timeout("https://hc.test did not answer within 10 s".to_owned());
    let fake = fake().fail(timeout()).answer(503, "busy").answer(200, "");
    let plugin = run(&fake, &json!({}));
    pass(&fake, Duration::from_secs(1));
    assert_eq!(fake.requests().len(), 2);
    pass(&fake, Duration::from_secs(3));
    assert_eq!((fake.requests().len(), said(&fake, 2)), (3, vec![]), "the third was taken: nothing to say");

    // Three in vain, and the same at the next beat.
    let _ = (0..6).fold(fake.clone(), |fake, _| fake.answer(500, "broken"));
    for _ in 0..2 {
        pass(&fake, EVERY);
        pass(&fake, Duration::from_secs(1));
        pass(&fake, Duration::from_secs(3));
    }
    assert_eq!(fake.requests().len(), 9, "no fourth try of one beat");
    let why = "the heartbeat is not taken: the destination answered 500: broken (https://hc.test; it is in trouble itself: see \
               its log or its status page)";
    assert_eq!(said(&fake, 2), [why]);
    assert_eq!(block_on(plugin.health()), Health::Degraded(why.to_owned()));
    assert_eq!(fake.metric("signals{result=\"failed\",signal=\"success\"}"), Some(2.0));

    // Another reason is said, and one that stays is not tried again before the next beat.
    let _ = fake.clone().answer(404, "not found").answer_with(301, &[("location", "https://new.test/abc")], "");
    pass(&fake, EVERY);
    assert_eq!((fake.requests().len(), said(&fake, 2).len()), (10, 2));
    pass(&fake, EVERY);
    assert!(
        said(&fake, 2)[2].contains("301 to https://new.test/abc: redirects are not followed"),
        "{:?}",
        said(&fake, 2)
    );
    pass(&fake, EVERY);
    assert!(said(&fake, 3)[0].starts_with("the heartbeat is taken again, after "), "{:?}", said(&fake, 3));
    assert_eq!(block_on(plugin.health()), Health::Good);
    fake.stop();
}

#[test]
fn a_server_that_hangs_is_said_once_however_long_the_tries_wait() {
    let fake = fake();
    let hang = |seconds: u32| {
        let _ = fake.clone().fail(HttpError::Timeout(format!("https://hc.test did not answer within {seconds} s")));
    };
    [10, 9, 8].into_iter().for_each(hang);
    let plugin = run(&fake, &json!({}));
    for tries in [[10, 7, 6], [10, 5, 4]] {
        pass(&fake, Duration::from_secs(1));
        pass(&fake, Duration::from_secs(3));
        tries.into_iter().for_each(hang);
        pass(&fake, EVERY);
    }
    let why = "the heartbeat is not taken: https://hc.test did not answer in time (`timeout`)";
    assert_eq!((fake.requests().len(), said(&fake, 2)), (7, vec![why.to_owned()]));
    assert_eq!(block_on(plugin.health()), Health::Degraded(why.to_owned()));
    fake.stop();
}

#[test]
fn messages_that_were_dropped_since_the_last_beat_stop_it() {
    let dropped = |count: u64| {
        let mut now = json!(well());
        now["ingest"] = json!({ "dropped": { "buffer-full": count, "source": 7 * count } });
        status(now)
    };
    let fake = fake().status(dropped(5));
    run(&fake, &json!({}));
    let mut beats = Vec::new();
    for count in [5, 6, 9, 9] {
        let _ = fake.clone().status(dropped(count));
        pass(&fake, EVERY);
        beats.push(fake.requests().len());
    }
    assert_eq!(beats, [2, 2, 2, 3], "what was lost before the first beat is past");
    let [said] = &said(&fake, 2)[..] else { panic!("once: {:?}", said(&fake, 2)) };
    assert!(said.contains("UDP: messages were dropped, since the buffer is full"), "{said}");
    fake.stop();
}

#[test]
fn there_is_no_time_for_other_tries_in_a_short_interval() {
    let fake = fake().answer(500, "");
    run(&fake, &json!({ "every": "1s" }));
    assert_eq!(fake.requests().len(), 1);
    let until_next = *fake.slept().last().unwrap();
    assert!(
        until_next <= Duration::from_secs(1) && !fake.slept().contains(&Duration::from_secs(3)),
        "{:?}",
        fake.slept()
    );
    pass(&fake, until_next);
    assert_eq!(fake.requests().len(), 2, "the next beat");
    fake.stop();
}

#[test]
fn the_check_calls_the_server_but_is_no_heartbeat() {
    let fake = fake().answer(405, "");
    let settings = json!({ "url": "https://user:pw@hc.test:8443/ping/abc?token=x" });
    let plugin = block_on(fake.start::<Heartbeat>(settings)).unwrap();
    let told = block_on(plugin.invoke("check", Value::Null)).unwrap();
    let request = fake.requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("OPTIONS", "https://user:pw@hc.test:8443/"));
    assert!(told.as_str().unwrap().starts_with("hc.test is reachable: OPTIONS was answered with 405;"), "{told}");
    let fake = fake.fail(HttpError::Connection("no route".to_owned()));
    assert_eq!(block_on(plugin.invoke("check", Value::Null)), Err(OperationError::Failed("no route".to_owned())));
    fake.stop();
}

#[test]
fn the_rules_of_the_house_are_kept() {
    conformance::<Heartbeat>(json!({ "url": URL, "style": "healthchecks", "every": "1m", "require": ["store"] }));
}
