//! Tests of the store's operations on a real file.

use std::path::PathBuf;

use butler_plugin_api::{Data, Event, kind};
use serde_json::json;

use super::*;

mod expired;
mod history;
mod joins;
mod jumps;
mod migrations;
mod numbers;
mod parked;
mod retention;
mod trouble;
mod waiting;

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s.db")
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        let Self { folder, store } = self;
        drop(store);
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        Self { folder, store }
    }

    /// Accepts and routes one event with these deliveries; their numbers.
    async fn routed(&self, deliveries: Vec<NewDelivery>) -> Vec<RoutedDelivery> {
        let seq = self.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
        self.store.route(vec![route(seq, &[], deliveries)]).await.unwrap().remove(0).unwrap()
    }

    async fn settle(&self, claimed: &Claimed, settlement: Settlement) -> Released {
        let settled = Settled { id: claimed.id, token: claimed.token, settlement };
        self.store.settle(vec![settled]).await.unwrap()
    }

    async fn sql(&self, sql: &'static str) {
        let run = self.store.inner.writer.run(sql, |sql, connection| {
            Box::pin(async move { sqlx::raw_sql(*sql).execute(connection).await.map(drop) })
        });
        run.await.unwrap();
    }

    async fn states(&self, instance: &str) -> Vec<State> {
        let filter = DeliveryFilter { instance: Some(instance.to_owned()), limit: 100, ..DeliveryFilter::default() };
        self.store.deliveries(&filter).await.unwrap().into_iter().rev().map(|row| row.state).collect()
    }
}

fn event(keys: &[&str]) -> NewEvent {
    let data: Data = serde_json::from_value(json!({ "task": { "id": "t1", "name": "Nightly" } })).unwrap();
    NewEvent {
        kind: kind::RELOAD_TASK_FAILED.to_owned(),
        time: 1000,
        received: 1000,
        source: "udp".to_owned(),
        keys: keys.iter().map(ToString::to_string).collect(),
        data,
    }
}

fn route(seq: i64, keys: &[&str], deliveries: Vec<NewDelivery>) -> Routed {
    Routed {
        seq,
        kind: kind::RELOAD_TASK_FAILED.to_owned(),
        time: 2000,
        task: Some("t1".to_owned()),
        data: json!({ "task": { "id": "t1", "name": "Nightly" } }).to_string(),
        keys: keys.iter().map(ToString::to_string).collect(),
        deliveries,
        script_log: None,
    }
}

fn to(instance: &str) -> NewDelivery {
    NewDelivery { instance: instance.to_owned(), order_key: None, throttle: None, unknown: None, lease_ms: None }
}

fn ordered(instance: &str, key: &str) -> NewDelivery {
    NewDelivery { order_key: Some(key.to_owned()), ..to(instance) }
}

fn throttled(instance: &str, key: &str) -> NewDelivery {
    NewDelivery { throttle: Some(ThrottleKey { key: key.to_owned(), every_ms: 60_000 }), ..to(instance) }
}

fn dead(error: &str) -> Settlement {
    Settlement::Dead { error: error.to_owned() }
}

#[tokio::test]
async fn a_known_key_makes_a_duplicate_within_a_batch_and_over_restarts() {
    let fixture = Fixture::new().await;
    let first = fixture.store.accept(vec![event(&["a"]), event(&["a"]), event(&["b", "c"]), event(&[])]).await.unwrap();
    assert_eq!(first[0], Accepted::New(first[0].seq()));
    assert_eq!(first[1], Accepted::Duplicate(first[0].seq()));
    assert!(matches!((first[2], first[3]), (Accepted::New(_), Accepted::New(_))));
    let fixture = fixture.reopen().await;
    let again = fixture.store.accept(vec![event(&["x", "c"])]).await.unwrap();
    assert_eq!(again[0], Accepted::Duplicate(first[2].seq()));
    let third = fixture.store.accept(vec![event(&["x"])]).await.unwrap();
    assert!(matches!(third[0], Accepted::New(_)), "the duplicate did not keep the other key");
}

#[tokio::test]
async fn facts_of_another_form_make_no_delivery_unreadable() {
    let fixture = Fixture::new().await;
    let seq = fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
    // `app` twice, as by a version that wrote it beside what it could not read.
    let data = r#"{ "task": "Nightly", "app": { "id": "a", "name": "Sales" }, "app": 1, "node": "sense1" }"#;
    let routed = Routed { data: data.to_owned(), ..route(seq, &[], vec![to("x")]) };
    fixture.store.route(vec![routed]).await.unwrap();
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap().remove(0);
    let facts = &claimed.event.data;
    assert_eq!((facts.node.as_deref(), &facts.other["task"]), (Some("sense1"), &json!("Nightly")));
    // Its notice of death is written from the same facts.
    fixture.settle(&claimed, dead("gone")).await;
    assert_eq!(fixture.states("x").await, [State::Dead]);
    assert_eq!(fixture.store.event(seq).await.unwrap().unwrap().event.data, claimed.event.data);
}

#[tokio::test]
async fn an_event_is_no_duplicate_of_itself() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let known = store.accept(vec![event(&["b"])]).await.unwrap()[0].seq();
    let batch = store.accept(vec![event(&["a", "b"]), event(&["a"]), event(&["a", "c"])]).await.unwrap();
    assert_eq!(batch[0], Accepted::Duplicate(known));
    assert_eq!(batch[1], Accepted::New(batch[1].seq()), "the first did not keep the key");
    assert_eq!(batch[2], Accepted::Duplicate(batch[1].seq()));
    assert!(store.event(batch[1].seq()).await.unwrap().is_some(), "it is stored");
    let again = store.accept(vec![event(&["a"]), event(&["c"])]).await.unwrap();
    assert_eq!(again[0], Accepted::Duplicate(batch[1].seq()));
    assert!(matches!(again[1], Accepted::New(_)));
}

#[tokio::test]
async fn routing_fixes_the_event_and_an_event_with_a_known_result_joins() {
    let fixture = Fixture::new().await;
    let seqs = fixture.store.accept(vec![event(&["udp"]), event(&["qrs"])]).await.unwrap();
    assert_eq!(fixture.store.accepted_count().await.unwrap(), 2);
    let routes =
        vec![route(seqs[0].seq(), &["result:1"], vec![to("x")]), route(seqs[1].seq(), &["result:1"], vec![to("x")])];
    let answers = fixture.store.route(routes).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap().len(), 1);
    assert!(answers[1].is_none(), "one execution by two roads is one event");
    let again = fixture.store.route(vec![route(seqs[0].seq(), &["result:1"], vec![to("x")])]).await.unwrap();
    assert_eq!(again, [Some(vec![])], "an event is fixed once");
    assert_eq!(fixture.states("x").await, [State::Pending]);
    assert_eq!(fixture.store.accepted_count().await.unwrap(), 0);
    let row = fixture.store.event(seqs[1].seq()).await.unwrap().unwrap();
    assert_eq!(row.state, "joined");
    assert_eq!(fixture.store.event(seqs[0].seq()).await.unwrap().unwrap().event.time, "1970-01-01T00:00:02.000Z");
}

#[tokio::test]
async fn a_lease_is_settled_once_and_only_with_its_token() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap().remove(0);
    assert!(fixture.store.claim("x", 10, false, 60_000).await.unwrap().is_empty(), "leased");
    assert_eq!((claimed.attempt, claimed.event.data.task.as_ref().unwrap().name.as_str()), (1, "Nightly"));
    let stale = Claimed { token: claimed.token + 99, ..claimed.clone() };
    fixture.settle(&stale, Settlement::Delivered).await;
    assert_eq!(fixture.states("x").await, [State::Leased]);
    let retry = Settlement::Retry { due: 0, error: "busy".to_owned(), progress: Some(json!({ "step": 1 })) };
    fixture.settle(&claimed, retry).await;
    let again = fixture.store.claim("x", 10, false, 60_000).await.unwrap().remove(0);
    assert_eq!((again.attempt, again.progress.clone()), (2, Some(json!({ "step": 1 }))));
    fixture.settle(&again, Settlement::Delivered).await;
    fixture.settle(&claimed, dead("late")).await;
    assert_eq!(fixture.states("x").await, [State::Delivered]);
}

#[tokio::test]
async fn leases_of_a_dead_process_are_free_at_the_next_start() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    fixture.store.claim("x", 10, false, 3_600_000).await.unwrap();
    let fixture = fixture.reopen().await;
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap();
    assert_eq!(claimed[0].attempt, 2, "the attempt that may have arrived counts");
}

#[tokio::test]
async fn a_returned_lease_is_no_attempt() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap().remove(0);
    fixture.settle(&claimed, Settlement::Return).await;
    assert_eq!(fixture.store.claim("x", 10, false, 60_000).await.unwrap()[0].attempt, 1);
}

#[tokio::test]
async fn an_ordered_queue_waits_for_the_older_one_of_the_same_key() {
    let fixture = Fixture::new().await;
    for key in ["t1", "t1", "t2"] {
        fixture.routed(vec![ordered("x", key)]).await;
    }
    let first = fixture.store.claim("x", 10, true, 60_000).await.unwrap();
    assert_eq!(first.len(), 2, "one of each key");
    assert_eq!(fixture.store.next_due("x", true).await.unwrap(), None, "the second of t1 is held back");
    let later = now_ms() + 600_000;
    fixture.settle(&first[0], Settlement::Retry { due: later, error: "busy".to_owned(), progress: None }).await;
    assert!(fixture.store.claim("x", 10, true, 60_000).await.unwrap().is_empty(), "a retry does not let it pass");
    assert_eq!(fixture.store.next_due("x", true).await.unwrap(), Some(later));
    fixture.store.pass(600_001).await;
    let again = fixture.store.claim("x", 10, true, 60_000).await.unwrap().remove(0);
    assert_eq!(again.id, first[0].id);
    fixture.settle(&again, dead("no")).await;
    assert_eq!(fixture.store.claim("x", 10, true, 60_000).await.unwrap().len(), 1, "death releases");
}

#[tokio::test]
async fn a_throttle_suppresses_and_the_next_message_says_how_many() {
    let fixture = Fixture::new().await;
    let first = fixture.routed(vec![throttled("x", "k")]).await;
    assert!(!first[0].suppressed);
    for _ in 0..3 {
        assert!(fixture.routed(vec![throttled("x", "k")]).await[0].suppressed);
    }
    assert!(!fixture.routed(vec![throttled("x", "other")]).await[0].suppressed);
    let fixture = fixture.reopen().await;
    assert!(fixture.routed(vec![throttled("x", "k")]).await[0].suppressed, "the state is in the store");
    fixture.store.pass(60_001).await;
    assert!(!fixture.routed(vec![throttled("x", "k")]).await[0].suppressed);
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.suppressed).collect::<Vec<_>>(), [0, 0, 4]);
}

#[tokio::test]
async fn a_dead_holder_releases_the_newest_suppressed_one() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![throttled("x", "k")]).await;
    for _ in 0..2 {
        fixture.routed(vec![throttled("x", "k")]).await;
    }
    let holder = fixture.store.claim("x", 10, false, 60_000).await.unwrap().remove(0);
    let released = fixture.settle(&holder, dead("refused")).await;
    assert_eq!(released.instances, ["x"]);
    assert_eq!(fixture.states("x").await, [State::Dead, State::Suppressed, State::Pending]);
    assert_eq!(fixture.store.claim("x", 10, false, 60_000).await.unwrap()[0].suppressed, 1);
    assert!(fixture.routed(vec![throttled("x", "k")]).await[0].suppressed, "the released one holds the key");
}

#[tokio::test]
async fn a_death_is_told_once_in_fifteen_minutes_and_a_dead_notice_raises_nothing() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.routed(vec![to("x")]).await;
    }
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap();
    assert!(fixture.settle(&claimed[0], dead("refused")).await.noticed);
    assert!(!fixture.settle(&claimed[1], dead("refused")).await.noticed);
    assert!(!fixture.settle(&claimed[2], dead("refused")).await.noticed);
    let notices = fixture.store.accepted_events(0, 10).await.unwrap();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].event.kind, kind::DELIVERY_DEAD);
    assert_eq!(notices[0].event.summary(), "Delivery dead: 1 delivery to `x` given up; the last: refused");
    assert!(!fixture.store.tend().await.unwrap().noticed, "not before its time");
    fixture.store.pass(15 * 60_000).await;
    assert!(fixture.store.tend().await.unwrap().noticed, "what was not said is said later");
    let notices = fixture.store.accepted_events(notices[0].seq, 10).await.unwrap();
    assert_eq!(notices[0].event.data.dead.as_ref().unwrap().count, Some(2));

    let mut dead_letter = route(notices[0].seq, &[], vec![to("y")]);
    kind::DELIVERY_DEAD.clone_into(&mut dead_letter.kind);
    fixture.store.route(vec![dead_letter]).await.unwrap();
    let claimed = fixture.store.claim("y", 1, false, 60_000).await.unwrap().remove(0);
    assert!(!fixture.settle(&claimed, dead("refused")).await.noticed);
}

#[tokio::test]
async fn the_death_of_a_test_is_not_told_and_takes_no_real_ones_place() {
    let fixture = Fixture::new().await;
    let test = NewEvent { source: Event::TEST.to_owned(), ..event(&[]) };
    let seq = fixture.store.accept(vec![test]).await.unwrap()[0].seq();
    fixture.store.route(vec![route(seq, &[], vec![to("x")])]).await.unwrap();
    let claimed = fixture.store.claim("x", 1, false, 60_000).await.unwrap().remove(0);
    assert!(!fixture.settle(&claimed, dead("refused")).await.noticed);
    fixture.routed(vec![to("x")]).await;
    let claimed = fixture.store.claim("x", 1, false, 60_000).await.unwrap().remove(0);
    assert!(fixture.settle(&claimed, dead("refused")).await.noticed, "a real one is told at once");
}

#[tokio::test]
async fn a_dead_delivery_can_be_sent_again() {
    let fixture = Fixture::new().await;
    let id = fixture.routed(vec![to("x")]).await[0].id;
    assert_eq!(fixture.store.retry(id).await.unwrap(), None, "it is open");
    let claimed = fixture.store.claim("x", 1, false, 60_000).await.unwrap().remove(0);
    fixture.settle(&claimed, dead("refused")).await;
    assert_eq!(fixture.store.retry(id).await.unwrap().as_deref(), Some("x"));
    assert_eq!(fixture.store.claim("x", 1, false, 60_000).await.unwrap()[0].attempt, 1);
    assert_eq!(fixture.store.retry(999).await.unwrap(), None);
}

#[tokio::test]
async fn a_delivery_that_is_leased_when_it_is_made_needs_no_claim() {
    let fixture = Fixture::new().await;
    let lease = |delivery| NewDelivery { lease_ms: Some(60_000), ..delivery };
    let made = fixture.routed(vec![lease(to("x")), lease(throttled("y", "k"))]).await;
    let suppressed = fixture.routed(vec![lease(throttled("y", "k"))]).await;
    assert_eq!((suppressed[0].suppressed, suppressed[0].token), (true, None));
    assert!(fixture.store.claim("x", 10, false, 60_000).await.unwrap().is_empty());
    for made in made {
        let settled = Settled { id: made.id, token: made.token.unwrap(), settlement: Settlement::Delivered };
        fixture.store.settle(vec![settled]).await.unwrap();
    }
    assert_eq!(fixture.states("x").await, [State::Delivered]);
    assert_eq!(fixture.states("y").await, [State::Delivered, State::Suppressed]);
}

#[tokio::test]
async fn storage_is_kept_apart_with_time_to_live_and_quota() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.storage_set("x", "k%1", json!(1), None).await.unwrap();
    store.storage_set("x", "gone", json!(1), Some(-1)).await.unwrap();
    assert_eq!(store.storage_get("x", "k%1").await.unwrap(), Some(json!(1)));
    assert_eq!(store.storage_get("y", "k%1").await.unwrap(), None);
    assert_eq!(store.storage_get("x", "gone").await.unwrap(), None);
    assert_eq!(store.storage_list("x", "k%").await.unwrap(), ["k%1"]);
    assert!(store.storage_delete("x", "k%1").await.unwrap() && !store.storage_delete("x", "k%1").await.unwrap());
    let large = json!("x".repeat(1 << 20));
    assert!(matches!(store.storage_set("x", "k", large.clone(), None).await, Err(StorageError::TooLong(_))));
    let value = json!("x".repeat((1 << 20) - 100));
    for n in 0..64 {
        store.storage_set("x", &format!("{n}"), value.clone(), None).await.unwrap();
    }
    assert!(matches!(store.storage_set("x", "more", value.clone(), None).await, Err(StorageError::Full)));
    store.storage_set("x", "1", value.clone(), None).await.unwrap();
    store.storage_set("y", "more", value.clone(), None).await.unwrap();
    assert!(store.storage_delete("x", "1").await.unwrap());
    store.storage_set("x", "more", value.clone(), None).await.unwrap();
}

#[tokio::test]
async fn storage_has_a_limited_number_of_values_and_knows_it_after_a_restart() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let fill = async |store: &Store, from: usize, to: usize| {
        let set = |n: usize| async move { store.storage_set("x", &n.to_string(), json!(n), None).await };
        futures_util::future::join_all((from..to).map(set)).await.into_iter().flatten().count()
    };
    let set = |n: usize| StorageChange::Set { key: format!("many{n}"), value: json!(n), ttl_ms: None };
    for thousand in 0..90 {
        store.storage_apply("x", (thousand * 1000..(thousand + 1) * 1000).map(set).collect()).await.unwrap();
    }
    assert_eq!(fill(store, 0, 9_990).await, 9_990);
    let fixture = fixture.reopen().await;
    let store = &fixture.store;
    assert_eq!(fill(store, 9_990, 10_020).await, 10, "100,000 in all");
    let all_or_none =
        [0, 1].map(|n| StorageChange::Set { key: ["7", "more"][n].to_owned(), value: json!("x"), ttl_ms: None });
    assert!(matches!(store.storage_apply("x", all_or_none.into()).await, Err(StorageError::TooMany)));
    assert_eq!(store.storage_get("x", "7").await.unwrap(), Some(json!(7)));
    assert!(matches!(store.storage_set("x", "more", json!(1), None).await, Err(StorageError::TooMany)));
    store.storage_set("x", "7", json!("changed"), None).await.unwrap();
    store.storage_set("y", "other", json!(1), None).await.unwrap();
    store.storage_delete("x", "7").await.unwrap();
    store.storage_set("x", "short", json!(1), Some(-1)).await.unwrap();
    store.storage_set("x", "more", json!(1), None).await.unwrap();
    assert!(matches!(store.storage_set("x", "7", json!(1), None).await, Err(StorageError::TooMany)));
}

#[tokio::test]
async fn a_second_host_on_the_same_file_is_refused_and_told_who_has_it() {
    let fixture = Fixture::new().await;
    let error = Store::open(&fixture.path()).await.err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}
