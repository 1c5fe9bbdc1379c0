#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use butler_plugin_api::testing::FakeHost;
use butler_plugin_api::{Health, ServiceError};
use serde_json::{Value, json};

use super::block_on;
use crate::backend::{Backend, Failure, Found, State};
use crate::settings::{Plan, Settings};
use crate::watch::{Answer, HostWatch, Troubles, Watch, survey};
use State::{Paused, Running, StartPending, Stopped};

/// Answers as it was told.
#[derive(Default)]
struct Scripted {
    /// By host and service; those of a host that is not there are missing.
    services: Mutex<HashMap<(String, String), Answer>>,
    /// Why hosts cannot be asked.
    hosts: Mutex<HashMap<String, String>>,
    /// Hosts that answer late.
    late: Mutex<HashMap<String, Duration>>,
    /// Hosts in the order in which they were asked.
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    fn set(&self, host: &str, service: &str, answer: Answer) {
        self.services.lock().unwrap().insert((host.to_owned(), service.to_owned()), answer);
    }

    fn state(&self, host: &str, service: &str, state: State) {
        self.set(host, service, Ok(Found::in_state(state)));
    }

    fn fail(&self, host: &str, why: Option<&str>) {
        let mut hosts = self.hosts.lock().unwrap();
        match why {
            Some(why) => hosts.insert(host.to_owned(), why.to_owned()),
            None => hosts.remove(host),
        };
    }
}

impl Backend for Scripted {
    async fn look(&self, host: &str, services: &[String]) -> Result<Vec<Answer>, Failure> {
        self.asked.lock().unwrap().push(host.to_owned());
        let late = self.late.lock().unwrap().get(host).copied();
        if let Some(late) = late {
            tokio::time::sleep(late).await;
        }
        if let Some(why) = self.hosts.lock().unwrap().get(host) {
            return Err(Failure::Host(why.clone()));
        }
        let known = self.services.lock().unwrap();
        let answer = |name: &String| known.get(&(host.to_owned(), name.clone())).cloned();
        Ok(services.iter().map(|name| answer(name).unwrap_or(Err(Failure::Missing))).collect())
    }
}

struct Fixture {
    fake: FakeHost,
    plan: Plan,
    script: Scripted,
    troubles: Troubles,
}

fn plan(settings: Value) -> Plan {
    serde_json::from_value::<Settings>(settings).unwrap().check("butler1").unwrap().0
}

impl Fixture {
    fn new(settings: Value) -> Self {
        Self::on(FakeHost::new("windows-services"), settings)
    }

    fn on(fake: FakeHost, settings: Value) -> Self {
        Self { fake, plan: plan(settings), script: Scripted::default(), troubles: Troubles::default() }
    }

    /// One host `srv1` with the services `A` and `B`.
    fn small(more: Value) -> Self {
        let mut settings = json!({ "hosts": [{ "host": "srv1", "services": ["A", "B"] }], "states": false });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let fixture = Self::new(settings);
        fixture.script.state("srv1", "A", Running);
        fixture.script.state("srv1", "B", Running);
        fixture
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&Watch<'_, Scripted>) -> T) -> T {
        let host = self.fake.host();
        let watch = Watch { host: &host, plan: &self.plan, backend: &self.script, troubles: &self.troubles };
        block_on(work(&watch))
    }

    /// As after a start.
    fn load(&self) -> Vec<HostWatch> {
        self.with(async |watch| watch.load().await).unwrap()
    }

    /// A look; the kinds of the events that it leads to, with their services.
    fn look(&self, hosts: &mut [HostWatch]) -> Vec<String> {
        let before = self.fake.emitted().len();
        self.with(async |watch| watch.round(hosts).await);
        let emitted = self.fake.emitted();
        emitted[before..].iter().map(|(kind, data)| format!("{kind} {}", name(data))).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let records = self.fake.records();
        records.into_iter().filter(|record| record.level <= 2).map(|record| record.message).collect()
    }
}

fn name(data: &Value) -> &str {
    data["service"]["name"].as_str().unwrap()
}

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
    assert_eq!(fixture.look(&mut hosts), ["service.stopped A"]);
    assert_eq!(fixture.fake.emitted().pop().unwrap().1["service"]["previousState"], "RUNNING");
    fixture.script.fail("srv1", Some("the host is away"));
    assert_eq!(fixture.look(&mut hosts), ["service.unknown A", "service.unknown B"]);
    fixture.script.fail("srv1", None);
    fixture.script.state("srv1", "A", Running);
    assert_eq!(fixture.look(&mut hosts), ["service.started A"], "it was told as stopped before, B was not");
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
fn states_are_told_at_every_look_or_as_often_as_the_settings_say() {
    let settings = |more: Value| {
        let mut settings =
            json!({ "hosts": [{ "host": "srv1", "services": ["A", { "name": "B", "friendlyName": "Bee" }] }] });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    let fixture = Fixture::new(settings(json!({})));
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

    let fixture = Fixture::new(settings(json!({ "statesEvery": "1h" })));
    fixture.script.state("srv1", "A", Running);
    fixture.script.state("srv1", "B", Running);
    let mut hosts = fixture.load();
    assert_eq!(sorted(fixture.look(&mut hosts)), ["service.state A", "service.state B"]);
    assert_eq!(fixture.look(&mut hosts), [""; 0]);
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
    let stored = next.fake.stored("host/srv1").unwrap();
    assert_eq!(stored["services"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b"]);
}

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
