//! What is forgotten, when, and what is not.

use super::*;

const DAY_MS: i64 = 24 * 3_600_000;

/// Everything is kept for a day, and there is room; so many days from now.
fn in_days(days: i64) -> Limits {
    Limits { now: now_ms() + days * DAY_MS, keep_ms: DAY_MS, keep_logs_ms: DAY_MS, max_bytes: u64::MAX }
}

/// Kept for long, but there is no room at all.
fn crowded_in_days(days: i64) -> Limits {
    Limits { keep_ms: 400 * DAY_MS, keep_logs_ms: 400 * DAY_MS, max_bytes: 1, ..in_days(days) }
}

/// A round of forgetting: events, logs and keys that went.
async fn round(store: &Store, limits: Limits) -> (u64, u64, u64) {
    let (mut sum, mut place) = ((0, 0, 0), Some(Place::default()));
    while let Some(at) = place {
        let removed = store.remove_old(at, limits).await.unwrap();
        sum = (sum.0 + removed.events, sum.1 + removed.logs, sum.2 + removed.keys);
        place = removed.next;
    }
    sum
}

impl Fixture {
    /// Routes an event to one instance and settles the delivery; its number.
    async fn ended(&self, instance: &str, settlement: Settlement) -> i64 {
        self.routed(vec![to(instance)]).await;
        let claimed = self.store.claim(instance, 1, false, 60_000).await.unwrap().remove(0);
        self.settle(&claimed, settlement).await;
        claimed.id
    }
}

#[tokio::test]
async fn what_is_open_waits_or_is_the_last_stays() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("parked")]).await;
    fixture.store.park(Vec::new()).await.unwrap();
    fixture.routed(vec![to("pending")]).await;
    fixture.routed(vec![to("leased")]).await;
    fixture.store.claim("leased", 1, false, 60_000).await.unwrap();
    fixture.store.accept(vec![event(&[])]).await.unwrap();
    fixture.ended("x", Settlement::Delivered).await;
    fixture.ended("x", dead("refused")).await;
    fixture.routed(Vec::new()).await;
    for limits in [in_days(3), crowded_in_days(3)] {
        let before = fixture.store.events(&EventFilter { limit: 100, ..EventFilter::default() }).await.unwrap().len();
        let (events, ..) = round(&fixture.store, limits).await;
        let filter = EventFilter { limit: 100, ..EventFilter::default() };
        assert_eq!(fixture.store.events(&filter).await.unwrap().len() as u64, before as u64 - events);
    }
    for (instance, state) in [("parked", State::Parked), ("pending", State::Pending), ("leased", State::Leased)] {
        assert_eq!(fixture.states(instance).await, [state]);
    }
    assert_eq!(fixture.store.accepted_count().await.unwrap(), 2, "one, and the notice of the death");
    assert!(fixture.states("x").await.is_empty());
}

#[tokio::test]
async fn a_delivery_that_ended_late_is_kept_as_long_as_one_that_ended_early() {
    let fixture = Fixture::new().await;
    // All events of these tests were received in 1970.
    fixture.ended("x", dead("refused")).await;
    fixture.routed(Vec::new()).await;
    assert_eq!(round(&fixture.store, in_days(0)).await.0, 0, "it has just died");
    assert_eq!(fixture.states("x").await, [State::Dead]);
    assert_eq!(round(&fixture.store, in_days(2)).await.0, 1);
}

#[tokio::test]
async fn want_of_room_takes_logs_first_and_never_the_last_day_or_the_dead() {
    let fixture = Fixture::new().await;
    for n in 0..45 {
        let seq = fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
        let script_log = Some(NewScriptLog::new(&format!("e{n}"), "line").unwrap());
        fixture.store.route(vec![Routed { script_log, ..route(seq, &[], Vec::new()) }]).await.unwrap();
    }
    fixture.ended("x", Settlement::Delivered).await;
    fixture.ended("y", dead("refused")).await;
    fixture.sql("UPDATE events SET received = CAST(unixepoch() AS INTEGER) * 1000").await;
    assert_eq!(round(&fixture.store, crowded_in_days(0)).await, (0, 0, 0), "nothing of the last day");
    let overfull = fixture.store.overfull().unwrap();
    assert!(overfull.contains("store.maxSize"), "{overfull}");
    let first = fixture.store.remove_old(Place::default(), crowded_in_days(2)).await.unwrap();
    assert_eq!((first.logs, first.events), (20, 0));
    assert_eq!(round(&fixture.store, crowded_in_days(2)).await, (46, 25, 0));
    assert_eq!(fixture.states("y").await, [State::Dead], "somebody has to look at it");
    assert!(fixture.store.overfull().is_some());
    round(&fixture.store, in_days(0)).await;
    assert_eq!(fixture.store.overfull(), None);
}

#[tokio::test]
async fn script_logs_are_kept_once_and_all_that_are_old_are_forgotten_in_one_round() {
    let fixture = Fixture::new().await;
    let text = "line\n".repeat(1000);
    for n in 0..50 {
        let seq = fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
        let script_log = Some(NewScriptLog::new(&format!("e{}", n / 2 * 2), &text).unwrap());
        fixture.store.route(vec![Routed { script_log, ..route(seq, &[], vec![]) }]).await.unwrap();
    }
    assert_eq!(fixture.store.script_log("e2").await.unwrap(), Some(text));
    assert_eq!(fixture.store.script_log("e1").await.unwrap(), None);
    assert_eq!(round(&fixture.store, Limits { keep_ms: i64::MAX / 2, ..in_days(0) }).await.1, 0);
    assert_eq!(round(&fixture.store, Limits { keep_ms: i64::MAX / 2, ..in_days(2) }).await.1, 25);
    assert_eq!(fixture.store.script_log("e2").await.unwrap(), None);
}

#[tokio::test]
async fn a_key_outlives_its_event_until_it_was_not_heard_of_for_long() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let first = store.accept(vec![event(&["exec:1:failed"])]).await.unwrap()[0].seq();
    store.route(vec![route(first, &["result:1"], Vec::new())]).await.unwrap();
    fixture.routed(Vec::new()).await;
    assert_eq!(round(store, in_days(2)).await, (1, 0, 0));
    assert!(store.event(first).await.unwrap().is_none());
    let again = store.accept(vec![event(&["result:1"])]).await.unwrap();
    assert_eq!(again[0], Accepted::Duplicate(first), "it was told, however little is left of it");
    let seq = store.accept(vec![event(&["exec:2:failed"])]).await.unwrap()[0].seq();
    let answers = store.route(vec![route(seq, &["exec:1:failed"], vec![to("x")])]).await.unwrap();
    assert_eq!(answers, [None]);

    // Of one of the three keys is heard after 60 days.
    fixture.sql("UPDATE keys SET day = day - 60").await;
    store.accept(vec![event(&["result:1"])]).await.unwrap();
    let keep = Limits { keep_ms: 50 * DAY_MS, ..in_days(40) };
    assert_eq!(round(store, keep).await.2, 2);
    let answers = store.accept(vec![event(&["result:1"]), event(&["exec:1:failed"])]).await.unwrap();
    assert!(matches!(answers[..], [Accepted::Duplicate(_), Accepted::New(_)]), "{answers:?}");
}

#[tokio::test]
async fn a_key_of_an_event_that_is_kept_is_kept() {
    let fixture = Fixture::new().await;
    let seq = fixture.store.accept(vec![event(&["a"])]).await.unwrap()[0].seq();
    fixture.routed(Vec::new()).await;
    assert_eq!(round(&fixture.store, in_days(1000)).await, (0, 0, 0), "one waits, one is the last");
    assert_eq!(fixture.store.accept(vec![event(&["a"])]).await.unwrap()[0], Accepted::Duplicate(seq));
}

#[tokio::test]
async fn a_key_that_looks_like_two_takes_none_of_another_event_along() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs = store.accept(vec![event(&["emit:x\nexec:1:failed"]), event(&["exec:1:failed"])]).await.unwrap();
    store.route(vec![route(seqs[0].seq(), &[], Vec::new()), route(seqs[1].seq(), &[], vec![to("x")])]).await.unwrap();
    assert_eq!(round(store, in_days(1000)).await, (1, 0, 1));
    assert_eq!(store.accept(vec![event(&["exec:1:failed"])]).await.unwrap()[0], Accepted::Duplicate(seqs[1].seq()));
}

#[tokio::test]
async fn many_keys_are_looked_at_in_more_rounds_than_one() {
    let fixture = Fixture::new().await;
    fixture
        .sql(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 150000)
             INSERT INTO keys (hash, event, day) SELECT randomblob(16), n, 0 FROM n",
        )
        .await;
    assert_eq!(round(&fixture.store, in_days(0)).await.2, 100_000);
    assert_eq!(round(&fixture.store, in_days(0)).await.2, 50_000);
    assert_eq!(round(&fixture.store, in_days(0)).await.2, 0);
}
