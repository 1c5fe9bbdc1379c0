#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use std::time::{Duration, Instant};

use butler_plugin_api::Health;
use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::backend::{Failure, State};
use crate::watch::survey;
use State::{Running, Stopped};

#[test]
fn a_failure_is_logged_when_it_changes_and_shown_in_the_health_and_metrics() {
    let settings =
        json!({ "hosts": [{ "host": "srv1", "services": ["A", "B"] }, { "host": "srv2", "services": ["C"] }] });
    let fixture = Fixture::new(settings);
    fixture.script.state("srv1", "A", Running);
    fixture.script.state("srv1", "B", Stopped);
    fixture.script.state("srv2", "C", Running);
    let mut hosts = fixture.load();
    fixture.look(&mut hosts);
    assert_eq!((fixture.troubles.health(2), fixture.warnings()), (Health::Good, vec![]));
    assert_eq!(fixture.fake.metric(r#"state{host="srv1",service="A"}"#), Some(4.0));
    assert_eq!(fixture.fake.metric(r#"state{host="srv1",service="B"}"#), Some(1.0));
    assert_eq!(fixture.fake.metric(r#"failures_total{host="srv1"}"#), None);
    fixture.script.fail("srv1", Some("it is away"));
    for _ in 0..3 {
        fixture.look(&mut hosts);
    }
    assert_eq!(fixture.warnings(), ["its services cannot be checked: it is away"]);
    assert_eq!(fixture.fake.metric(r#"state{host="srv1",service="A"}"#), Some(0.0));
    assert_eq!(fixture.fake.metric(r#"failures_total{host="srv1"}"#), Some(3.0));
    let degraded = "cannot check all of 1 of 2 hosts: srv1: it is away".to_owned();
    assert_eq!(fixture.troubles.health(2), Health::Degraded(degraded));
    fixture.script.fail("srv1", Some("it refuses"));
    fixture.script.fail("srv2", Some("it is away"));
    fixture.look(&mut hosts);
    assert_eq!(fixture.warnings().len(), 3);
    assert!(matches!(fixture.troubles.health(2), Health::Bad(text) if text.contains("srv2: it is away")));
    fixture.script.fail("srv1", None);
    fixture.script.fail("srv2", None);
    fixture.script.set("srv1", "A", Err(Failure::Missing));
    fixture.look(&mut hosts);
    fixture.look(&mut hosts);
    assert_eq!(fixture.warnings().len(), 4);
    assert!(
        matches!(fixture.troubles.health(2), Health::Degraded(text) if text.contains("srv1: `A`: there is no service"))
    );
    fixture.script.state("srv1", "A", Running);
    fixture.look(&mut hosts);
    assert_eq!((fixture.troubles.health(2), fixture.warnings().len()), (Health::Good, 4));
    assert!(fixture.fake.records().iter().any(|record| record.message.contains("can be checked again")));
}

fn many(count: usize, more: Value) -> Fixture {
    let hosts: Vec<Value> = (1..=count).map(|n| json!({ "host": format!("srv{n}"), "services": ["A"] })).collect();
    let mut settings = json!({ "hosts": hosts, "states": false });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let fixture = Fixture::new(settings);
    for number in 1..=count {
        fixture.script.state(&format!("srv{number}"), "A", Running);
    }
    fixture
}

#[test]
fn hosts_that_hang_hold_up_nobody_else() {
    let fixture = many(12, json!({ "limits": { "hosts": 3 }, "timeouts": { "round": "2s" } }));
    let mut hosts = fixture.load();
    for number in 1..=2 {
        fixture.script.late.lock().unwrap().insert(format!("srv{number}"), Duration::from_mins(10));
    }
    let begun = Instant::now();
    let told = fixture.look(&mut hosts);
    assert_eq!(told, ["service.unknown A", "service.unknown A"], "the others were asked by the third");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let why = fixture.fake.emitted()[0].1["message"].as_str().unwrap().to_owned();
    assert!(why.contains("the 2s of `timeouts.round`"), "{why}");
    // All three places are taken by those that hang, once they are the last: the others come first.
    fixture.script.late.lock().unwrap().insert("srv3".to_owned(), Duration::from_mins(10));
    fixture.look(&mut hosts);
    fixture.script.state("srv9", "A", Stopped);
    fixture.script.asked.lock().unwrap().clear();
    assert_eq!(fixture.look(&mut hosts), ["service.stopped A"]);
    let asked = fixture.script.asked.lock().unwrap().clone();
    let mut last = asked[asked.len() - 3..].to_vec();
    last.sort();
    assert_eq!((asked.len(), last), (12, ["srv1", "srv2", "srv3"].map(str::to_owned).to_vec()));
}

#[test]
fn a_check_asks_all_hosts_and_keeps_nothing() {
    let fixture = many(3, json!({}));
    fixture.script.state("srv2", "A", Stopped);
    let check = || fixture.with(async |watch| survey(watch.plan, watch.backend, Duration::from_secs(1)).await);
    assert_eq!(check(), (true, "srv1: A RUNNING; srv2: A STOPPED; srv3: A RUNNING".to_owned()));
    fixture.script.fail("srv1", Some("it is away"));
    fixture.script.set("srv2", "A", Err(Failure::Service("access is denied".to_owned())));
    fixture.script.late.lock().unwrap().insert("srv3".to_owned(), Duration::from_mins(10));
    assert_eq!(check(), (false, "srv1: it is away; srv2: A: access is denied; srv3: no answer in time".to_owned()));
    assert_eq!((fixture.fake.emitted().len(), fixture.fake.stored("host/srv1")), (0, None));
}

/// Live hosts behind those that hang are neither told as ones that cannot be checked nor left out again.
#[test]
fn hosts_whose_turn_did_not_come_are_first_the_next_time() {
    let fixture = many(4, json!({ "limits": { "hosts": 2 }, "timeouts": { "round": "1s" } }));
    for number in 1..=2 {
        fixture.script.late.lock().unwrap().insert(format!("srv{number}"), Duration::from_mins(10));
    }
    for number in 3..=4 {
        fixture.script.state(&format!("srv{number}"), "A", Stopped);
    }
    let mut hosts = fixture.load();
    assert_eq!(fixture.fake.metric("round_seconds"), Some(0.0), "there is room for it");
    let told = fixture.look(&mut hosts);
    let of: Vec<Value> = fixture.fake.emitted().iter().map(|(_, data)| data["node"].clone()).collect();
    assert_eq!((told.len(), sorted(of)), (2, vec!["srv1".to_owned(), "srv2".to_owned()]));
    assert_eq!(fixture.script.asked.lock().unwrap().len(), 2);
    let said = || fixture.warnings().into_iter().filter(|text| text.contains("2 of 4 hosts")).count();
    assert_eq!(said(), 1);
    let health = fixture.troubles.health(4);
    assert!(matches!(&health, Health::Bad(text) if text.contains("srv3: it was not its turn")), "{health:?}");
    assert_eq!(fixture.fake.metric(r#"failures_total{host="srv3"}"#), None);
    assert_eq!(fixture.look(&mut hosts), ["service.stopped A", "service.stopped A"]);
    assert!(matches!(fixture.troubles.health(4), Health::Degraded(text) if !text.contains("srv3")));
}

/// None of them hangs, but a look has the time for one of them only.
#[test]
fn every_host_has_its_turn() {
    let fixture = many(3, json!({ "limits": { "hosts": 1 }, "timeouts": { "round": "1s" } }));
    for number in 1..=3 {
        fixture.script.late.lock().unwrap().insert(format!("srv{number}"), Duration::from_millis(700));
        fixture.script.state(&format!("srv{number}"), "A", Stopped);
    }
    let mut hosts = fixture.load();
    for _ in 0..3 {
        assert_eq!(fixture.look(&mut hosts), ["service.stopped A"]);
    }
    assert_eq!(fixture.warnings().len(), 1, "{:?}", fixture.warnings());
}

fn sorted(values: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}
