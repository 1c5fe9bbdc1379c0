#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use std::time::Duration;

use butler_plugin_api::ServiceError;
use butler_plugin_api::testing::FakeHost;
use serde_json::{Value, json};

use super::fixture::{Fixture, name};
use crate::backend::{Failure, Found, State};
use State::{Paused, Running, StartPending, StopPending, Stopped};

#[test]
fn changes_are_told_once_over_restarts() {
    let fixture = Fixture::small(json!({}));
    fixture.script.state("srv1", "B", Stopped);
    let mut hosts = fixture.load();
    assert_eq!(fixture.look(&mut hosts), ["service.stopped B"], "what runs is no news");
    assert_eq!(fixture.fake.emitted()[0].1["service"].get("previousState"), None);
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    // Butler starts again.
    let mut hosts = fixture.load();
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    fixture.script.state("srv1", "A", Stopped);
    let mut hosts = fixture.load();
    assert_eq!(fixture.look(&mut hosts), ["service.stopped A"], "it stopped while Butler was away");
    assert_eq!(fixture.fake.emitted()[1].1["service"]["previousState"], "RUNNING");
    for state in [Running, StartPending] {
        fixture.script.state("srv1", "A", state);
        fixture.script.state("srv1", "B", state);
        let expected = if state == Running { vec!["service.started A", "service.started B"] } else { vec![] };
        assert_eq!(fixture.look(&mut fixture.load()), expected);
    }
}

#[test]
fn what_cannot_be_checked_is_told_once_and_then_the_truth() {
    let fixture = Fixture::small(json!({}));
    let mut hosts = fixture.load();
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    fixture.script.set("srv1", "B", Err(Failure::Missing));
    assert_eq!(fixture.look(&mut hosts), ["service.unknown B"], "A is not concerned");
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    fixture.script.fail("srv1", Some("the host is away"));
    assert_eq!(fixture.look(&mut hosts), ["service.unknown A"]);
    let (_, data) = fixture.fake.emitted().pop().unwrap();
    assert_eq!(data["message"], "`A` on srv1 cannot be checked: the host is away");
    assert_eq!(fixture.look(&mut fixture.load()), [""; 0], "nor after a restart");
    fixture.script.fail("srv1", None);
    fixture.script.state("srv1", "A", Stopped);
    fixture.script.state("srv1", "B", Running);
    assert_eq!(fixture.look(&mut hosts), ["service.stopped A", "service.started B"]);
    assert_eq!(fixture.fake.emitted().pop().unwrap().1["message"], "`B` on srv1 can be checked again, and runs");
    assert_eq!(fixture.fake.emitted()[2].1["service"]["previousState"], "RUNNING");
    fixture.script.fail("srv1", Some("the host is away"));
    assert_eq!(fixture.look(&mut hosts), ["service.unknown A", "service.unknown B"]);
    fixture.script.fail("srv1", None);
    fixture.script.state("srv1", "A", Running);
    assert_eq!(fixture.look(&mut hosts), ["service.started A", "service.started B"]);
    let texts = fixture.fake.emitted().into_iter().rev().take(2).map(|(_, data)| data["message"].clone());
    assert_eq!(texts.collect::<Vec<_>>(), ["`B` on srv1 can be checked again, and runs", "`A` on srv1 runs again"]);
}

#[test]
fn a_state_counts_after_as_many_looks_as_the_settings_say() {
    let fixture = Fixture::small(json!({ "failAfter": 3 }));
    let mut hosts = fixture.load();
    let states = [
        Stopped,
        StartPending,
        Stopped,
        Running,
        Stopped,
        Stopped,
        Paused,
        Stopped,
        Stopped,
        Stopped,
        Running,
        Running,
    ];
    for state in states {
        fixture.script.state("srv1", "A", state);
        let expected = if fixture.script.asked.lock().unwrap().len() == 9 { vec!["service.stopped A"] } else { vec![] };
        assert_eq!(fixture.look(&mut hosts), expected);
    }
    assert_eq!(fixture.look(&mut hosts), ["service.started A"]);
}

#[test]
fn states_are_told_at_every_look_or_when_they_change_and_as_often_as_the_settings_say() {
    let settings = |more: Value| {
        let mut settings =
            json!({ "hosts": [{ "host": "srv1", "services": ["A", { "name": "B", "friendlyName": "Bee" }] }] });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    let fixture = Fixture::new(settings(json!({ "statesEvery": "0s" })));
    fixture.script.state("srv1", "A", Running);
    let mut hosts = fixture.load();
    // Check 20: two changes, and a state at each look. What cannot be checked has none.
    let expected = ["service.state A", "service.unknown B"];
    assert_eq!(sorted(fixture.look(&mut hosts)), expected);
    for state in [Stopped, Stopped, Running] {
        fixture.script.state("srv1", "A", state);
        fixture.look(&mut hosts);
    }
    let emitted = fixture.fake.emitted();
    let count = |kind: &str| emitted.iter().filter(|(emitted, _)| emitted == kind).count();
    let counts = ["service.state", "service.stopped", "service.started", "service.unknown"].map(count);
    assert_eq!(counts, [4, 1, 1, 1]);
    fixture.script.state("srv1", "B", StartPending);
    fixture.look(&mut hosts);
    let (_, data) = fixture.fake.emitted().into_iter().rfind(|(_, data)| name(data) == "B").unwrap();
    assert_eq!((&data["service"]["state"], &data["service"]["friendlyName"]), (&json!("START_PENDING"), &json!("Bee")));

    let fixture = Fixture::new(settings(json!({})));
    fixture.script.state("srv1", "A", Running);
    fixture.script.state("srv1", "B", Running);
    let mut hosts = fixture.load();
    assert_eq!(sorted(fixture.look(&mut hosts)), ["service.state A", "service.state B"]);
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    fixture.script.state("srv1", "A", StartPending);
    assert_eq!(fixture.look(&mut hosts), ["service.state A"]);
    fixture.script.set("srv1", "B", Ok(Found { start_type: Some("Disabled"), ..Found::in_state(Running) }));
    assert_eq!(fixture.look(&mut hosts), ["service.state B"]);
    assert_eq!(fixture.fake.emitted().pop().unwrap().1["service"]["startType"], "Disabled");
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    // One that could not be checked.
    fixture.script.set("srv1", "A", Err(Failure::Missing));
    assert_eq!(fixture.look(&mut hosts), ["service.unknown A"]);
    fixture.script.state("srv1", "A", StartPending);
    assert_eq!(fixture.look(&mut hosts), ["service.state A"]);
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Killed after the change was stored: before it was emitted, and after.
#[test]
fn a_change_that_was_stored_is_told_once_however_butler_ends() {
    let events = |fixture: &Fixture| fixture.fake.emitted().into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let fixture = Fixture::small(json!({}));
    let mut hosts = fixture.load();
    fixture.look(&mut hosts);
    // The store takes what is kept, and no event: as if the process had ended between the two.
    fixture.script.state("srv1", "A", Stopped);
    let refusing = fixture.fake.clone().fail_service("emit", ServiceError::Unavailable("the store is full".to_owned()));
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    let stored = refusing.stored("host/srv1").unwrap();
    assert_eq!(stored["pending"].as_array().map(Vec::len), Some(1), "{stored}");

    // It runs again before Butler does.
    let fixture = Fixture::on(FakeHost::new("windows-services").store("host/srv1", stored.clone()), fixture_settings());
    fixture.script.state("SRV1", "a", Running);
    fixture.script.state("SRV1", "b", Running);
    let mut hosts = fixture.load();
    assert_eq!(events(&fixture), ["service.stopped"]);
    assert_eq!(fixture.fake.stored("host/srv1").unwrap()["pending"], json!([]));
    assert_eq!(fixture.look(&mut hosts), ["service.started a"]);
    // The next stop is another one.
    fixture.script.state("SRV1", "a", Stopped);
    assert_eq!(fixture.look(&mut hosts), ["service.stopped a"]);

    // It was emitted, and that was not noted.
    let fixture = Fixture::on(fixture.fake.clone().store("host/srv1", stored), fixture_settings());
    fixture.load();
    assert_eq!(events(&fixture), ["service.stopped", "service.started", "service.stopped"], "it was emitted before");
}

/// The same, in another case.
fn fixture_settings() -> Value {
    json!({ "hosts": [{ "host": "SRV1", "services": ["a", "b"] }], "states": false })
}

#[test]
fn what_cannot_be_stored_is_told_later_and_said_once() {
    let fixture = Fixture::small(json!({}));
    let mut hosts = fixture.load();
    fixture.look(&mut hosts);
    fixture.script.state("srv1", "A", Stopped);
    let _ = fixture.fake.clone().fail_service("storage", ServiceError::Unavailable("the disk is full".to_owned()));
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    let warnings = fixture.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("the disk is full"), "{warnings:?}");
}

#[test]
fn what_was_kept_and_cannot_be_read_begins_anew() {
    let fake = FakeHost::new("windows-services").store("host/srv1", json!({ "services": 7 }));
    let fixture = Fixture::on(fake, json!({ "hosts": [{ "host": "srv1", "services": ["A"] }], "states": false }));
    fixture.script.state("srv1", "A", Stopped);
    assert_eq!(fixture.look(&mut fixture.load()), ["service.stopped A"]);
    assert!(fixture.warnings()[0].contains("begins anew"));
}

#[test]
fn hosts_that_are_watched_no_more_are_forgotten_when_all_was_told() {
    let pending = json!([{ "key": "k", "kind": "service.stopped", "data": { "service": { "name": "X" } } }]);
    let fake =
        FakeHost::new("windows-services").store("host/old", json!({ "pending": pending })).store("other", json!(1));
    let fixture = Fixture::on(fake, json!({ "hosts": [{ "host": "srv1", "services": ["A"] }], "states": false }));
    fixture.load();
    assert_eq!(fixture.fake.emitted().len(), 1);
    assert_eq!((fixture.fake.stored("host/old"), fixture.fake.stored("other")), (None, Some(json!(1))));
}

#[test]
fn services_that_are_watched_no_more_are_forgotten() {
    let fixture = Fixture::small(json!({}));
    fixture.script.state("srv1", "A", Stopped);
    fixture.script.state("srv1", "B", Stopped);
    fixture.look(&mut fixture.load());
    let only_b = json!({ "hosts": [{ "host": "srv1", "services": ["B"] }], "states": false });
    let next = Fixture::on(fixture.fake.clone(), only_b);
    next.script.state("srv1", "B", Running);
    assert_eq!(next.look(&mut next.load()), ["service.started B"]);
    // So too when there is nothing to tell.
    let only_a = json!({ "hosts": [{ "host": "srv1", "services": ["A"] }], "states": false, "failAfter": 2 });
    let next = Fixture::on(fixture.fake.clone(), only_a);
    let mut hosts = next.load();
    next.look(&mut hosts);
    assert_eq!(next.fake.stored("host/srv1").unwrap()["services"], json!({}));
}

#[test]
fn a_service_that_hangs_on_its_way_is_told_once() {
    let mut fixture = Fixture::small(json!({}));
    fixture.script.state("srv1", "A", StopPending);
    let mut hosts = fixture.load();
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
    fixture.plan.passing = Duration::ZERO;
    assert_eq!(fixture.look(&mut hosts), ["service.unknown A"]);
    let data = fixture.fake.emitted().pop().unwrap().1;
    assert_eq!(data["service"]["state"], "STOP_PENDING");
    assert_eq!(fixture.look(&mut fixture.load()), [""; 0], "nor after a restart");
    fixture.script.state("srv1", "A", Running);
    assert_eq!(fixture.look(&mut hosts), ["service.started A"]);
}

/// What is stored never has more events than a value of the storage can take.
#[test]
fn very_many_changes_of_a_host_are_told_in_parts() {
    let names: Vec<String> = (0..500).map(|number| format!("S{number}")).collect();
    let fixture = Fixture::new(json!({ "hosts": [{ "host": "srv1", "services": names }], "states": false }));
    let long = Found { exe_path: Some("ü".repeat(8000)), ..Found::in_state(Stopped) };
    for name in &names {
        fixture.script.set("srv1", name, Ok(long.clone()));
    }
    // None can be emitted: the first part waits, and the others are as if they had not been seen.
    let refusing = Fixture::on(
        FakeHost::new("x").fail_service("emit", ServiceError::Unavailable("it is full".to_owned())),
        json!(
            { "hosts": [{ "host": "srv1", "services": names }], "states": false }
        ),
    );
    for name in &names {
        refusing.script.set("srv1", name, Ok(long.clone()));
    }
    let mut hosts = refusing.load();
    for _ in 0..3 {
        refusing.look(&mut hosts);
        let stored = refusing.fake.stored("host/srv1").unwrap();
        let count = |part: &Value| part.as_array().map(Vec::len).or(part.as_object().map(serde_json::Map::len));
        assert_eq!((count(&stored["pending"]), count(&stored["services"])), (Some(50), Some(50)));
        assert!(stored.to_string().len() < 1 << 19, "{}", stored.to_string().len());
    }
    // What waits is told first, and all the rest in the same look.
    let stored = refusing.fake.stored("host/srv1").unwrap();
    let next = Fixture { fake: FakeHost::new("x").store("host/srv1", stored), ..fixture };
    let mut hosts = next.load();
    assert_eq!(next.fake.emitted().len(), 50);
    next.look(&mut hosts);
    let told: Vec<String> = next.fake.emitted().iter().map(|(_, data)| name(data).to_owned()).collect();
    assert_eq!(told, names);
    assert_eq!(next.look(&mut hosts), [""; 0]);
}

#[test]
fn trouble_is_said_again_after_a_look_without() {
    let settings = json!({ "hosts": [{ "host": "srv1", "services": ["A"] }], "failAfter": 1000 });
    let full = ServiceError::Unavailable("the store is full".to_owned());
    let fixture = Fixture::on(FakeHost::new("windows-services").fail_service("emit", full), settings);
    fixture.script.state("srv1", "A", Running);
    let mut hosts = fixture.load();
    let said = || fixture.warnings().into_iter().filter(|text| text.contains("the store is full")).collect::<Vec<_>>();
    fixture.look(&mut hosts);
    fixture.look(&mut hosts);
    assert_eq!(said().len(), 1, "{:?}", said());
    assert!(said()[0].starts_with("the states of its services cannot be told"), "{:?}", said());
    // There is nothing to tell.
    fixture.script.fail("srv1", Some("it is away"));
    fixture.look(&mut hosts);
    fixture.script.fail("srv1", None);
    fixture.look(&mut hosts);
    assert_eq!(said().len(), 2);
}
