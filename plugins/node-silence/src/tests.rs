//! The plugin against a fake host; the time of each look is given.

use butler_plugin_api::testing::{FakeHost, block_on, conformance};
use butler_plugin_api::{Health, HeardNode, OperationError, PartStatus, Plugin, ServiceError, StartError, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::NodeSilence;
use crate::memory::KEY;

/// A Monday. All working days here have all their hours, in UTC.
fn at(text: &str) -> Timestamp {
    format!("2026-03-09T{text}:00Z").parse().unwrap()
}

/// How Butler is doing: running since Sunday, with these nodes and when they were heard by UDP.
fn status(nodes: &[(&str, &str)]) -> Status {
    let mut status = Status::default();
    status.started_at = "2026-03-08T08:00:00Z".to_owned();
    (status.udp, status.qlik) = (Some(PartStatus::new(None)), Some(PartStatus::new(None)));
    for (name, udp) in nodes {
        let mut node = HeardNode::new(*name);
        node.udp = Some(at(udp).to_string());
        status.nodes.push(node);
    }
    status
}

fn scheduler(host: &str, kind: u8) -> Value {
    json!({ "settings": { "schedulerServiceType": kind }, "serverNodeConfiguration": { "hostName": host } })
}

/// A site with two nodes that manage tasks, and so many executions of each.
fn fake(executions: u64) -> FakeHost {
    let site = json!([scheduler("a.lab.local", 2), scheduler("b.lab.local", 0), scheduler("w.lab.local", 1)]);
    FakeHost::new("node-silence")
        .qlik("schedulerservice/full", site)
        .qlik("reloadtask/count", json!({ "value": executions }))
}

fn start(fake: &FakeHost, settings: Value) -> NodeSilence {
    block_on(fake.start::<NodeSilence>(settings)).unwrap()
}

/// A look at the time for which it was planned.
async fn look_at(plugin: &NodeSilence, now: Timestamp) {
    plugin.look(now, now).await;
}

/// Looks at these times, with what was heard until then.
fn look(fake: &FakeHost, plugin: &NodeSilence, looks: &[(&str, &[(&str, &str)])]) {
    for (now, nodes) in looks {
        let _ = fake.clone().status(status(nodes));
        block_on(look_at(plugin, at(now)));
    }
}

fn told(fake: &FakeHost) -> Vec<String> {
    fake.emitted().iter().map(|(_, data)| data["node"].as_str().unwrap().to_owned()).collect()
}

fn warnings(fake: &FakeHost) -> Vec<String> {
    fake.records().iter().filter(|record| record.level <= 2).map(|record| record.message.clone()).collect()
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<NodeSilence>(json!({ "silentAfter": "2h" }));
}

#[test]
fn a_node_that_should_have_been_heard_is_told_once() {
    let fake = fake(3);
    let plugin = start(&fake, json!({}));
    // The log line has a short name, in capitals.
    look(
        &fake,
        &plugin,
        &[
            ("08:00", &[("A", "07:50"), ("b", "07:00")]),
            ("10:00", &[("A", "09:50"), ("b", "07:00")]),
            ("11:59", &[("A", "11:50"), ("b", "07:00")]),
        ],
    );
    assert_eq!(told(&fake), [""; 0]);
    assert_eq!(fake.metric("seconds_since_heard{node=\"b.lab.local\"}"), Some(17_940.0));
    look(&fake, &plugin, &[("12:00", &[("A", "11:50"), ("b", "07:00")]), ("16:45", &[("A", "16:40"), ("b", "07:00")])]);
    let emitted = fake.emitted();
    let (kind, data) = &emitted[0];
    assert_eq!((emitted.len(), kind.as_str(), &data["node"]), (1, "node.silent", &json!("b.lab.local")));
    assert_eq!(data["silence"], json!({ "lastHeardAt": "2026-03-09T07:00:00.000Z", "seconds": 18_000 }));
    let message = data["message"].as_str().unwrap();
    let begin = "No log line by UDP from b.lab.local in 4 h of working time (the last was at 2026-03-09T07:00:00Z), though 3 tasks \
                 have ended that its scheduler logs. Check";
    assert!(
        message.contains("Other names that were heard: A; if")
            && message.contains("write b.lab.local into `ignoreNodes`")
    );
    assert!(message.starts_with(begin) && message.contains("butler log-appender --service scheduler"), "{message}");
    assert!(warnings(&fake).is_empty(), "{:?}", warnings(&fake));
    assert_eq!(block_on(plugin.health()), Health::Good);

    // It is heard, and falls silent again.
    look(&fake, &plugin, &[("17:00", &[("A", "16:59"), ("b", "16:50")]), ("20:00", &[("A", "19:59"), ("b", "16:50")])]);
    assert!(fake.records().iter().any(|record| record.message.contains("is heard by UDP again")));
    look(&fake, &plugin, &[("20:51", &[("A", "20:50"), ("b", "16:50")])]);
    assert_eq!(told(&fake), ["b.lab.local", "b.lab.local"]);
}

#[test]
fn a_node_that_was_never_heard_is_told_after_its_time_under_watch_also_over_restarts() {
    let first = fake(1);
    let nodes: &[(&str, &str)] = &[("a", "23:59")];
    let plugin = start(&first, json!({}));
    look(&first, &plugin, &[("08:00", nodes), ("10:30", nodes)]);
    assert_eq!(first.stored(KEY).unwrap()["nodes"]["b.lab.local"]["countedMs"], 9_000_000);
    // Butler is down from 10:30 to 12:00.
    let second = fake(1).store(KEY, first.stored(KEY).unwrap());
    let plugin = start(&second, json!({}));
    let mut new = status(nodes);
    new.started_at = at("12:00").to_string();
    for now in ["12:15", "13:29"] {
        let _ = second.clone().status(new.clone());
        block_on(look_at(&plugin, at(now)));
        assert_eq!(told(&second), [""; 0], "{now}: an hour and a half do not count");
    }
    let _ = second.clone().status(new.clone());
    block_on(look_at(&plugin, at("13:30")));
    let (_, data) = &second.emitted()[0];
    assert_eq!(data["silence"], json!({ "seconds": 19_800 }));
    assert!(data["message"].as_str().unwrap().contains("(there never was one), though 1 task has ended"), "{data}");
}

#[test]
fn the_event_is_emitted_before_it_is_remembered_and_its_key_makes_a_repetition_harmless() {
    let fake = fake(1);
    let plugin = start(&fake, json!({ "silentAfter": "1h" }));
    let nodes: &[(&str, &str)] = &[("a", "23:59"), ("b", "07:00")];
    look(&fake, &plugin, &[("08:00", nodes)]);
    let before = fake.stored(KEY).unwrap();
    look(&fake, &plugin, &[("09:30", nodes)]);
    assert_eq!(told(&fake), ["b.lab.local"]);
    // It was killed before it wrote that.
    let fake = fake.store(KEY, before);
    look(&fake, &plugin, &[("09:45", nodes)]);
    assert_eq!(told(&fake), ["b.lab.local"]);
    assert_eq!(fake.stored(KEY).unwrap()["nodes"]["b.lab.local"]["told"], 0);
}

#[test]
fn who_executes_nothing_who_only_executes_and_who_is_ignored_may_be_silent() {
    let nodes: &[(&str, &str)] = &[("a", "07:00"), ("b", "07:00"), ("w", "07:00")];
    let idle = fake(0);
    look(&idle, &start(&idle, json!({})), &[("08:00", nodes), ("20:00", nodes)]);
    assert_eq!(told(&idle), [""; 0]);
    let ignoring = fake(5);
    let plugin = start(&ignoring, json!({ "ignoreNodes": ["A"] }));
    look(&ignoring, &plugin, &[("08:00", nodes), ("20:00", nodes)]);
    assert_eq!(told(&ignoring), ["b.lab.local"]);
}

#[test]
fn a_weekend_does_not_count_and_reminders_come_by_working_time() {
    let fake = fake(1);
    let plugin = start(
        &fake,
        json!({ "silentAfter": "8h", "remindEvery": "24h", "workingTime": { "timeZone": "Europe/Oslo" } }),
    );
    let status = || {
        let mut status = status(&[("a", "23:59")]);
        let mut node = HeardNode::new("b");
        node.udp = Some("2026-03-06T17:00:00Z".to_owned());
        status.nodes.push(node);
        status.started_at = "2026-03-01T00:00:00Z".to_owned();
        status
    };
    let look = |text: &str| {
        let _ = fake.clone().status(status());
        block_on(look_at(&plugin, text.parse().unwrap()));
        told(&fake).iter().filter(|node| *node == "b.lab.local").count()
    };
    assert_eq!(look("2026-03-06T17:00:00Z"), 0);
    // Six hours of Friday by the clocks of Oslo, and two of Monday.
    assert_eq!(look("2026-03-08T22:00:00Z"), 0);
    assert_eq!(look("2026-03-09T00:59:00Z"), 0);
    assert_eq!(look("2026-03-09T01:00:00Z"), 1);
    assert_eq!(look("2026-03-10T00:59:00Z"), 1);
    assert_eq!(look("2026-03-10T01:00:00Z"), 2);
    assert_eq!(look("2026-03-16T01:00:00Z"), 3, "several at once are one");
}

#[test]
fn time_in_which_butler_could_not_hear_does_not_count() {
    let fake = fake(1);
    let plugin = start(&fake, json!({}));
    let look = |now: &str, trouble: Option<&str>| {
        let mut status = status(&[("a", "23:59"), ("b", "07:00")]);
        status.udp = Some(PartStatus::new(trouble.map(str::to_owned)));
        let _ = fake.clone().status(status);
        block_on(look_at(&plugin, at(now)));
    };
    for (now, trouble) in
        [("08:00", None), ("10:00", None), ("10:15", Some("cannot be read")), ("14:00", None), ("15:59", None)]
    {
        look(now, trouble);
    }
    assert_eq!(told(&fake), [""; 0]);
    look("16:00", None);
    assert_eq!(told(&fake), ["b.lab.local"]);
}

#[test]
fn a_time_in_the_future_alarms_nobody() {
    let fake = fake(1);
    let plugin = start(&fake, json!({}));
    look(&fake, &plugin, &[("08:00", &[("a", "23:00"), ("b", "23:00")]), ("18:00", &[("a", "23:00"), ("b", "23:00")])]);
    assert_eq!(told(&fake), [""; 0]);
}

#[test]
fn after_a_clock_that_was_ahead_has_been_set_back_a_silence_is_told_in_its_time() {
    let fake = fake(1);
    let plugin = start(&fake, json!({}));
    look(&fake, &plugin, &[("08:00", &[("a", "23:59"), ("b", "23:00")])]);
    look(&fake, &plugin, &[("08:15", &[("a", "23:59"), ("b", "08:10")]), ("12:09", &[("a", "23:59"), ("b", "08:10")])]);
    assert_eq!(told(&fake), [""; 0]);
    look(&fake, &plugin, &[("12:10", &[("a", "23:59"), ("b", "08:10")])]);
    assert_eq!(told(&fake), ["b.lab.local"]);
}

#[test]
fn a_suspended_machine_alarms_nobody() {
    let fake = fake(1);
    let plugin = start(&fake, json!({ "when": { "every": "15m", "jitter": "10m" } }));
    let look = |now: &str, planned: &str| {
        let _ = fake.clone().status(status(&[("a", "23:59"), ("b", "07:00")]));
        block_on(plugin.look(at(now), at(planned)));
        fake.stored(KEY).unwrap()["nodes"]["b.lab.local"]["countedMs"].as_u64().unwrap() / 60_000
    };
    let counted = [("08:00", "08:00"), ("08:25", "08:15"), ("20:00", "08:30")].map(|(now, planned)| look(now, planned));
    assert_eq!(counted, [0, 25, 25 + 30], "15 minutes, 10 of jitter and 5");
    assert_eq!(told(&fake), [""; 0]);
}

/// What ended while Butler was down, or could not hear, it may have missed.
#[test]
fn only_what_ended_while_butler_listened_without_a_break_is_asked_for() {
    let fake = fake(1);
    let plugin = start(&fake, json!({ "silentAfter": "1h" }));
    let look = |now: &str, started: &str, trouble: Option<&str>| {
        let mut status = status(&[("a", "23:59"), ("b", "07:00")]);
        status.started_at = at(started).to_string();
        status.udp = Some(PartStatus::new(trouble.map(str::to_owned)));
        let _ = fake.clone().status(status);
        block_on(look_at(&plugin, at(now)));
    };
    look("08:00", "06:00", None);
    look("08:50", "06:00", None);
    // Down until 10:00; ten minutes more make an hour, but nothing can be asked for yet.
    look("10:04", "10:00", None);
    look("10:06", "10:00", None);
    look("10:10", "10:00", Some("cannot be read"));
    look("10:15", "10:00", None);
    look("10:20", "10:00", None);
    assert_eq!(told(&fake), [""; 0]);
    look("10:23", "10:00", None);
    assert_eq!(told(&fake), ["b.lab.local"]);
}

#[test]
fn while_qlik_sense_is_away_time_counts_nobody_is_told_and_it_is_said_once() {
    let fake = fake(1);
    let plugin = start(&fake, json!({}));
    let nodes: &[(&str, &str)] = &[("a", "23:59"), ("b", "07:00")];
    look(&fake, &plugin, &[("08:00", nodes)]);
    let away = || ServiceError::Unavailable("connection refused".to_owned());
    let without = FakeHost::new("node-silence").store(KEY, fake.stored(KEY).unwrap()).fail_service("qlik", away());
    let plugin = start(&without, json!({}));
    look(&without, &plugin, &[("10:00", nodes), ("11:00", nodes)]);
    // The host says how long it waits before it asks again.
    let without = without.fail_service("qlik", ServiceError::Unavailable("asked again in 7 ms".to_owned()));
    look(&without, &plugin, &[("12:30", nodes)]);
    assert_eq!((told(&without), warnings(&without).len()), (vec![], 1), "{:?}", warnings(&without));
    let health = block_on(plugin.health());
    assert!(
        matches!(&health, Health::Degraded(text) if text.ends_with("at the next look: connection refused")),
        "{health:?}"
    );
    let again = crate::tests::fake(1).store(KEY, without.stored(KEY).unwrap());
    look(&again, &start(&again, json!({})), &[("12:45", nodes)]);
    assert_eq!(told(&again), ["b.lab.local"]);
}

#[test]
fn trouble_is_said_when_it_changes_and_when_it_is_over() {
    let fake = fake(1);
    let plugin = start(&fake, json!({}));
    let look = |change: fn(&mut Status)| {
        let mut status = status(&[]);
        change(&mut status);
        let _ = fake.clone().status(status);
        block_on(look_at(&plugin, at("08:00")));
    };
    for _ in 0..2 {
        look(|status| status.qlik = None);
    }
    assert!(matches!(block_on(plugin.health()), Health::Bad(text) if text.contains("no `qlik:` section")));
    look(|status| status.udp = None);
    assert!(matches!(block_on(plugin.health()), Health::Bad(text) if text.contains("no `udp:` section")));
    look(|_| ());
    assert_eq!(block_on(plugin.health()), Health::Good);
    assert_eq!(warnings(&fake).len(), 2, "{:?}", warnings(&fake));
    assert!(fake.records().iter().any(|record| record.message == "silent nodes are looked for again"));
}

#[test]
fn what_is_not_kept_or_not_emitted_is_tried_again() {
    let nodes: &[(&str, &str)] = &[("a", "23:59"), ("b", "07:00")];
    let failing = fake(1).fail_service("storage", ServiceError::Unavailable("the disk is full".to_owned()));
    let plugin = start(&failing, json!({}));
    look(&failing, &plugin, &[("08:00", nodes)]);
    assert!(matches!(block_on(plugin.health()), Health::Degraded(text) if text.ends_with("the disk is full")));

    let first = fake(1);
    look(&first, &start(&first, json!({})), &[("08:00", nodes)]);
    let failing = fake(1).store(KEY, first.stored(KEY).unwrap());
    let failing = failing.fail_service("emit", ServiceError::Unavailable("the disk is full".to_owned()));
    look(&failing, &start(&failing, json!({})), &[("13:00", nodes)]);
    assert_eq!(failing.stored(KEY).unwrap()["nodes"]["b.lab.local"]["told"], Value::Null);
    let well = fake(1).store(KEY, failing.stored(KEY).unwrap());
    look(&well, &start(&well, json!({})), &[("13:15", nodes)]);
    assert_eq!(told(&well), ["b.lab.local"]);
}

#[test]
fn nodes_that_are_gone_are_forgotten_and_what_cannot_be_read_counts_as_nothing() {
    let nodes: &[(&str, &str)] = &[("a", "07:00")];
    let fake = fake(1).store(KEY, json!({ "nodes": { "gone.lab.local": { "since": "soon" } } }));
    look(&fake, &start(&fake, json!({})), &[("08:00", nodes)]);
    let kept = fake.stored(KEY).unwrap();
    assert_eq!(kept["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a.lab.local", "b.lab.local"]);
    let fake = fake.qlik("schedulerservice/full", json!([scheduler("b.lab.local", 0)]));
    look(&fake, &start(&fake, json!({})), &[("08:15", nodes)]);
    let kept = fake.stored(KEY).unwrap();
    assert_eq!(kept["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b.lab.local"]);
}

#[test]
fn it_looks_when_the_time_has_come() {
    let fake = fake(1).status(status(&[]));
    let _plugin = block_on(fake.run::<NodeSilence>(json!({}))).unwrap();
    fake.tick("look");
    fake.wait_until("a look", |fake| fake.stored(KEY).is_some());
    fake.stop();
}

#[test]
fn the_check_lists_who_is_watched() {
    let fake = fake(7).status(status(&[("a", "07:00")]));
    let plugin = start(&fake, json!({ "ignoreNodes": ["b"] }));
    let line = block_on(plugin.invoke("check", Value::Null)).unwrap();
    let expected = "watches a.lab.local (7 tasks to tell of in the last 24 h, last heard 2026-03-09T07:00:00Z); only execute, so \
                    another node tells of it: w.lab.local";
    assert_eq!(line, expected);
    let error = block_on(start(&FakeHost::new("x"), json!({})).invoke("check", Value::Null)).unwrap_err();
    assert!(matches!(error, OperationError::Failed(text) if text.contains("no `qlik:` section")));
}

#[test]
fn settings_that_cannot_work_are_refused_at_start() {
    let error = block_on(FakeHost::new("x").start::<NodeSilence>(json!({ "silentAfter": "1s" }))).err();
    assert!(matches!(error, Some(StartError::Config(text)) if text.starts_with("`silentAfter` is `1s`")));
}
