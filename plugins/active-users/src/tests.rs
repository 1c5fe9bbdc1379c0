//! The plugin against a fake host. `model`: random events against the simplest count that could be right.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::testing::{FakeHost, block_on, conformance};
use butler_plugin_api::{Delivery, Health, Plugin, Request, ServiceError, StartError, kind, sample_delivery};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::ActiveUsers;
use crate::records::Told;
use crate::tell::{Budget, Teller, facts};
use crate::users::Counted;

/// An instance that runs; time stands still. Events have the age, in seconds, that the test says.
struct Fixture {
    fake: FakeHost,
    plugin: Arc<ActiveUsers>,
    number: usize,
}

impl Fixture {
    fn new(settings: Value) -> Self {
        Self::on(FakeHost::new("active-users").manual_time(), settings)
    }

    fn on(fake: FakeHost, settings: Value) -> Self {
        let before = fake.emitted().len();
        let plugin = block_on(fake.run::<ActiveUsers>(settings)).unwrap();
        fake.wait_until("the first event", |fake| fake.emitted().len() > before && fake.sleeping() > 0);
        Self { fake, plugin, number: 0 }
    }

    fn delivery(&mut self, kind: &str, user: &str, node: &str, age: i64) -> Delivery {
        self.number += 1;
        let mut delivery = sample_delivery(kind);
        delivery.event.id = format!("x-{}", self.number);
        delivery.event.time = (Timestamp::now() - SignedDuration::from_secs(age)).to_string();
        delivery.event.data.user = Some(user.to_owned());
        delivery.event.data.node = Some(node.to_owned());
        delivery
    }

    fn give(&self, deliveries: &[Delivery]) {
        for result in block_on(self.plugin.deliver_batch(deliveries)) {
            assert_eq!(result, Ok(()));
        }
    }

    fn happens(&mut self, what: &str, user: &str, node: &str) {
        let delivery = self.delivery(&format!("user-{what}"), user, node, 0);
        self.give(&[delivery]);
    }

    /// The next time to tell comes; what is told then, if anything is.
    fn told(&self) -> Option<Value> {
        let (before, slept) = (self.fake.emitted().len(), self.fake.slept().len());
        self.fake.advance(Duration::from_mins(10));
        self.fake.wait_until("the next sleep", |fake| fake.slept().len() > slept && fake.sleeping() > 0);
        let emitted = self.fake.emitted();
        assert!(emitted.len() <= before + 1 && emitted.iter().all(|(kind, _)| kind == kind::ACTIVE_USERS_COUNTED));
        emitted.get(before).map(|(_, data)| data.clone())
    }

    fn get(&self, route: &str, query: Value) -> Value {
        let mut request = Request::new("GET", route);
        request.query = query.as_object().cloned().unwrap_or_default();
        let answer = block_on(self.plugin.call(request));
        assert_eq!(answer.status, 200);
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn count(&self) -> u64 {
        self.get("/v4/activeusercount", json!({}))["response"].as_u64().unwrap()
    }
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<ActiveUsers>(json!({}));
    conformance::<ActiveUsers>(json!({ "expireAfter": "1m", "publishEvery": "1h", "maxUsers": 1 }));
}

#[test]
fn settings_that_cannot_work_are_refused_with_what_would_be_right() {
    for (settings, part) in [
        (json!({ "expireAfter": "10s" }), "`expireAfter` is `10s`, but must be between 1m and 30d"),
        (json!({ "publishEvery": "0s" }), "`publishEvery` is `0s`, but must be between 1s and 1h"),
        (json!({ "publishEvery": "soon" }), "such as `10s`"),
        (json!({ "maxUsers": 0 }), "`maxUsers` is 0, but must be between 1 and 50000"),
        (json!({ "maxUsers": 50_001 }), "between 1 and 50000"),
    ] {
        match block_on(FakeHost::new("active-users").start::<ActiveUsers>(settings.clone())) {
            Err(StartError::Config(why)) => assert!(why.contains(part), "{settings}: {why}"),
            other => panic!("{settings}: {:?}", other.err()),
        }
    }
}

#[test]
fn changes_are_told_once_with_all_nodes() {
    let mut site = Fixture::new(json!({}));
    let first = &site.fake.emitted()[0].1;
    assert_eq!(
        first,
        &json!({ "message": "no users are active", "activeUsers": { "count": 0, "users": [], "nodes": {} } })
    );
    assert_eq!(site.told(), None, "nothing has changed");
    site.happens("session.started", r"LAB\cy", "n1");
    site.happens("session.started", r"LAB\ann", "n1");
    site.happens("connection.opened", r"LAB\ann", "n2");
    site.happens("session.started", r"lab\ANN", "n1");
    let expected = json!({
        "message": "2 users are active: 2 on n1, 1 on n2",
        "activeUsers": { "count": 2, "users": [r"LAB\ann", r"LAB\cy"], "nodes": { "n1": 2, "n2": 1 } },
    });
    assert_eq!(site.told(), Some(expected));
    assert_eq!(site.fake.metric("users"), Some(2.0));
    assert_eq!(site.fake.metric("node_users{node=\"n1\"}"), Some(2.0));
    // One of two sessions, and the other node.
    site.happens("session.stopped", r"LAB\ann", "n1");
    site.happens("connection.closed", r"LAB\ann", "n2");
    assert_eq!(site.told(), None, "the end of a connection is not that of its user");
    site.happens("session.stopped", r"LAB\Ann", "n1");
    let told = site.told().unwrap();
    assert_eq!(told["activeUsers"]["nodes"], json!({ "n1": 1, "n2": 1 }));
    assert_eq!(told["activeUsers"]["count"], 2, "the user is on the other node");
    site.happens("session.stopped", r"LAB\ann", "n2");
    let told = site.told().unwrap();
    assert_eq!(told["message"], "1 user is active: 1 on n1");
    assert_eq!(told["activeUsers"]["nodes"], json!({ "n1": 1, "n2": 0 }), "a node without users is told");
    assert_eq!(site.fake.metric("node_users{node=\"n2\"}"), Some(0.0));
    site.fake.stop();
}

#[test]
fn late_and_repeated_events_are_judged_by_their_time() {
    let mut site = Fixture::new(json!({ "expireAfter": "1h" }));
    // A logout that is delivered before its login, each of them twice.
    let login = site.delivery("user-session.started", r"LAB\ann", "n1", 100);
    let logout = site.delivery("user-session.stopped", r"LAB\ann", "n1", 50);
    site.give(&[logout.clone(), login.clone()]);
    site.give(&[login, logout]);
    assert_eq!(site.count(), 0);
    // One of last night, by an event that comes now.
    let late = site.delivery("user-session.started", r"LAB\bo", "n1", 8 * 3600);
    site.give(&[late]);
    assert_eq!(site.count(), 0);
    let earlier = site.delivery("user-session.started", r"LAB\bo", "n1", 3500);
    site.give(&[earlier]);
    let page = site.get("/v5/active-users", json!({}));
    let on_node = &page["users"][0]["nodes"][0];
    let time = |name: &str| on_node[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!((time("expires") - time("lastEvent")).get_seconds(), 3600, "{page}");
    let left = (time("expires") - Timestamp::now()).get_seconds();
    assert!((90..=100).contains(&left), "{left}");
    site.fake.stop();
}

#[test]
fn what_is_counted_is_still_there_after_a_restart() {
    let mut site = Fixture::new(json!({}));
    // More than are read at once.
    for some in 0..6 {
        let users = (0..1_000).map(|number| format!(r"LAB\u{:04}", some * 1_000 + number));
        let all: Vec<_> = users.map(|user| site.delivery("user-session.started", &user, "n1", 0)).collect();
        site.give(&all);
    }
    site.happens("session.stopped", r"LAB\u0007", "n1");
    site.happens("connection.opened", "nobody", "n3");
    let told = site.told().unwrap();
    assert_eq!(told["activeUsers"]["count"], 6_000);
    site.happens("session.stopped", "nobody", "n3");
    assert_eq!(site.told().unwrap()["activeUsers"]["nodes"], json!({ "n1": 5_999, "n3": 0 }));
    // Without an end: as after a kill. It tells how it is, as it was told before.
    let again = Fixture::on(site.fake.clone(), json!({}));
    assert_eq!(again.fake.emitted().last().unwrap().1["activeUsers"]["nodes"], json!({ "n1": 5_999, "n3": 0 }));
    assert_eq!(again.count(), 5_999);
    assert_eq!(site.fake.stored("p/9/lab\\u0008/n1").unwrap()["user"], "LAB\\u0008");
    again.fake.stop();
}

#[test]
fn an_event_that_was_told_before_the_end_is_not_told_twice() {
    let mut site = Fixture::new(json!({}));
    site.happens("session.started", r"LAB\ann", "n1");
    let before = site.fake.stored("told").unwrap();
    assert!(site.told().is_some());
    // The process ended before it could note that.
    let fake = site.fake.clone().store("told", before);
    let count = fake.emitted().len();
    let plugin = block_on(fake.run::<ActiveUsers>(json!({}))).unwrap();
    fake.wait_until("the first sleep", |fake| fake.sleeping() == 2);
    assert_eq!(fake.emitted().len(), count, "the same facts under the same number");
    drop(plugin);
    fake.stop();
}

#[test]
fn nothing_is_counted_that_is_not_stored_and_the_delivery_comes_again() {
    let mut site = Fixture::new(json!({}));
    let delivery = site.delivery("user-session.started", r"LAB\ann", "n1", 0);
    let full = site.fake.clone().fail_service("storage", ServiceError::Unavailable("the disk is full".to_owned()));
    let error = block_on(site.plugin.deliver_batch(&[delivery])).remove(0).unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(site.count(), 0);
    let Health::Bad(why) = block_on(site.plugin.health()) else { panic!("it is not well") };
    assert!(why.contains("cannot be stored") && why.contains("the disk is full"), "{why}");
    assert_eq!(site.told(), None);
    assert!(matches!(block_on(site.plugin.health()), Health::Bad(_)), "telling works, storing does not");
    drop(full);
    site.fake.stop();
}

#[test]
fn trouble_with_telling_is_logged_once_and_ends() {
    let mut site = Fixture::new(json!({}));
    site.happens("session.started", r"LAB\ann", "n1");
    let _ = site.fake.clone().fail_service("emit", ServiceError::Unavailable("the disk is full".to_owned()));
    assert_eq!((site.told(), site.told()), (None, None));
    let Health::Bad(why) = block_on(site.plugin.health()) else { panic!("it is not well") };
    assert!(why.contains("the disk is full"), "{why}");
    let warnings = site.fake.records().into_iter().filter(|record| record.message.contains("cannot be told")).count();
    assert_eq!(warnings, 1);
    site.fake.stop();
}

#[test]
fn what_was_told_is_stored_as_soon_as_that_works() {
    let (broken, sound) = (FakeHost::new("active-users"), FakeHost::new("active-users"));
    let broken = broken.fail_service("storage", ServiceError::Unavailable("the disk is full".to_owned()));
    let mut teller = Teller::new(Told::default());
    let counted = Counted::default();
    block_on(teller.tell(&broken.host(), &counted, BTreeMap::new())).unwrap();
    assert!(block_on(teller.save(&broken.host())).is_err());
    // The same once more.
    block_on(teller.tell(&sound.host(), &counted, BTreeMap::new())).unwrap();
    block_on(teller.save(&sound.host())).unwrap();
    assert_eq!((broken.emitted().len(), sound.emitted().len()), (1, 0));
    assert_eq!(sound.stored("told").unwrap()["number"], 1);
}

#[test]
fn many_and_long_names_fit_in_an_event() {
    let user = |number: usize| format!(r"LAB\{number:05}{}", "x".repeat(200));
    let node = |number: u64| (format!("n{number}{}", "\u{1}".repeat(490)), number);
    let counted = Counted { users: (0..9_000).map(user).collect(), nodes: (0..1_000).map(node).collect() };
    let facts = facts(&counted);
    let users = facts["activeUsers"]["users"].as_array().unwrap();
    assert_eq!((&facts["activeUsers"]["count"], &users[0]), (&json!(9_000), &json!(user(0))));
    assert!(users.len() > 2_000 && facts["activeUsers"]["nodes"].as_object().unwrap().len() > 100);
    let bytes = facts.to_string().len();
    assert!(bytes <= 1 << 20, "{bytes}");
}

#[test]
fn long_events_come_at_once_for_a_while_and_are_a_quarter_of_the_store_in_a_month() {
    for bytes in [5_000, 60_000, 1_000_000] {
        let (start, every, month) = (Instant::now(), Duration::from_secs(10), Duration::from_hours(30 * 24));
        let (mut budget, mut passed, mut all) = (Budget::new(start), Duration::ZERO, 0);
        while passed < month {
            let wait = budget.spend(bytes, start + passed);
            all += bytes;
            assert!(all > 9_000_000 || wait.is_zero(), "{bytes}: {wait:?} after {all}");
            passed += wait.max(every);
        }
        assert!(all > 1_000_000_000 && all <= 1 << 30, "{bytes}: {all}");
        // The weekend.
        assert!(budget.spend(bytes, start + passed + Duration::from_hours(48)).is_zero());
    }
}

#[test]
fn more_users_than_allowed_are_passed_over_and_those_who_left_give_way() {
    let mut site = Fixture::new(json!({ "maxUsers": 20 }));
    for number in 0..20 {
        site.happens("session.started", &format!(r"LAB\u{number}"), "n1");
    }
    site.happens("session.started", r"LAB\more", "n1");
    assert_eq!(site.count(), 20);
    assert_eq!(site.fake.metric("passed_over_total{reason=\"full\"}"), Some(1.0));
    let Health::Degraded(why) = block_on(site.plugin.health()) else { panic!("it is full") };
    assert!(why.contains("maxUsers"), "{why}");
    for number in 0..5 {
        site.happens("session.stopped", &format!(r"LAB\u{number}"), "n1");
    }
    // Of the five who left, the three first give way, and no others.
    for number in 0..3 {
        site.happens("session.started", &format!(r"LAB\new{number}"), "n1");
    }
    assert_eq!(site.count(), 18);
    let left: Vec<bool> = (0..5).map(|n| site.fake.stored(&format!("p/6/lab\\u{n}/n1")).is_some()).collect();
    assert_eq!(left, [false, false, false, true, true]);
    site.happens("session.started", &"x".repeat(600), "n1");
    assert_eq!(site.fake.metric("passed_over_total{reason=\"name\"}"), Some(1.0));
    site.fake.stop();
}

#[test]
fn answers_are_those_of_butler_4_to_6_and_pages_have_an_end() {
    let mut site = Fixture::new(json!({}));
    assert_eq!(site.get("/v4/activeusers", json!({})), json!({ "response": "[]" }));
    for user in [r"LAB\cy", r"LAB\ann", r"OTHER\ann", "dan"] {
        site.happens("session.started", user, "n1");
    }
    assert_eq!(site.get("/v4/activeusercount", json!({})), json!({ "response": 4 }));
    assert_eq!(site.get("/v4/activeusers", json!({})), json!({ "response": r#"["dan","ann","cy","ann"]"# }));
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut query = json!({ "limit": 3 });
        if after.is_string() {
            query["after"] = after;
        }
        let page = site.get("/v5/active-users", query);
        assert_eq!((&page["count"], &page["nodes"][0]["users"]), (&json!(4), &json!(4)));
        all.extend(page["users"].as_array().unwrap().iter().map(|user| user["user"].as_str().unwrap().to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(all, ["dan", r"LAB\ann", r"LAB\cy", r"OTHER\ann"]);
    site.fake.stop();
}

#[test]
fn other_kinds_are_refused_and_tests_and_events_without_users_count_nothing() {
    let mut site = Fixture::new(json!({}));
    let error = block_on(site.plugin.deliver_batch(&[sample_delivery(kind::NODE_SILENT)])).remove(0).unwrap_err();
    assert!(error.to_string().contains("`on:`"), "{error}");
    let mut test = site.delivery("user-session.started", r"LAB\ann", "n1", 0);
    test.event.source = butler_plugin_api::Event::TEST.to_owned();
    let mut nobody = site.delivery("user-session.started", " ", "n1", 0);
    site.give(&[test, nobody.clone()]);
    nobody.event.data.user = None;
    site.give(&[nobody]);
    assert_eq!(site.count(), 0);
    // Without a node the user counts all the same.
    let mut anywhere = site.delivery("user-session.started", r"LAB\ann", "", 0);
    anywhere.event.data.node = None;
    site.give(&[anywhere]);
    assert_eq!(site.told().unwrap()["activeUsers"], json!({ "count": 1, "users": [r"LAB\ann"], "nodes": {} }));
    site.fake.stop();
}
