//! The wall clock jumps.

use super::*;

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

#[tokio::test]
async fn what_is_parked_keeps_its_wait_and_is_due_in_time_when_its_instance_is_back() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("old")]).await;
    fixture.store.park(vec![]).await.unwrap();
    // As if a week had passed at once, and the clock showed it.
    fixture.store.pass(WEEK_MS + 1).await;
    fixture.store.tend().await.unwrap();
    assert_eq!(fixture.states("old").await, [State::Dead], "its week is over");

    fixture.routed(vec![to("x")]).await;
    let claimed = fixture.store.claim("x", 1, false, 60_000).await.unwrap().remove(0);
    let due = waiting_ms() + 3_600_000;
    fixture.settle(&claimed, Settlement::Retry { due, error: "busy".to_owned(), progress: None }).await;
    fixture.store.park(vec![]).await.unwrap();
    fixture.store.pass(3_600_000).await;
    fixture.store.park(vec!["x".to_owned()]).await.unwrap();
    assert_eq!(fixture.store.claim("x", 1, false, 60_000).await.unwrap().len(), 1, "due with the clock set back");
}

#[tokio::test]
async fn values_of_plugins_live_as_long_as_ever() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.storage_set("x", "k", json!(1), Some(60_000)).await.unwrap();
    store.pass(59_000).await;
    assert_eq!(store.storage_get("x", "k").await.unwrap(), Some(json!(1)));
    store.pass(1_001).await;
    assert_eq!(store.storage_get("x", "k").await.unwrap(), None);
}

const HOUR_MS: i64 = 3_600_000;

/// By how much a start moves what waits, if so much was known of the wall clock (with the number of the last event then),
/// and the last event was heard at that time.
async fn moved(known: Option<(i64, i64)>, heard_in: i64) -> i64 {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    let mut connection = SqliteConnection::connect(fixture.path().to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE events SET received = ?").bind(now_ms() + heard_in).execute(&mut connection).await.unwrap();
    if let Some((ahead, later)) = known {
        let sql = "INSERT INTO meta SELECT 'clock', json_object('ahead', ?, 'event', max(seq) - ?) FROM events";
        sqlx::query(sql).bind(ahead).bind(later).execute(&mut connection).await.unwrap();
    }
    let before = fixture.store.next_due("x", false).await.unwrap().unwrap();
    let fixture = fixture.reopen().await;
    let after = fixture.store.next_due("x", false).await.unwrap().unwrap();
    if heard_in < 0 {
        let fixture = fixture.reopen().await;
        assert_eq!(fixture.store.next_due("x", false).await.unwrap(), Some(after), "once is enough");
    }
    after - before
}

#[tokio::test]
async fn a_start_takes_the_wall_clock_as_it_is_then() {
    assert_eq!(moved(None, 0).await, 0);
    assert_eq!(moved(Some((500, 1)), -1000).await, -500, "a small difference");
    assert_eq!(moved(Some((-HOUR_MS, 1)), -1000).await, HOUR_MS, "set ahead while it ran");
    assert_eq!(moved(Some((HOUR_MS, 1)), -1000).await, -HOUR_MS, "set back while it ran");
    let near = |moved: i64, hours: i64| (moved - hours * HOUR_MS).abs() < 5_000;
    assert!(near(moved(None, HOUR_MS).await, -1), "set back during the stop");
    assert!(near(moved(Some((HOUR_MS, 0)), HOUR_MS - 60_000).await, -1), "set back while it ran, nothing heard since");
    assert!(near(moved(Some((HOUR_MS, 0)), 3 * HOUR_MS).await, -3), "and again during the stop");
    assert!(near(moved(Some((HOUR_MS, 1)), HOUR_MS).await, -2), "set back while it ran and during the stop");
}
