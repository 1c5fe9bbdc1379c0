//! The wall clock jumps.

use super::*;

const WEEK_MS: i64 = 7 * 24 * 3_600_000;
/// Small: the clock is one for all tests of the process.
const JUMP_MS: i64 = 5_000;

#[tokio::test]
async fn what_is_parked_keeps_its_wait_and_is_due_in_time_when_its_instance_is_back() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("old")]).await;
    fixture.store.park(vec![]).await.unwrap();
    // As if a week had passed at once, and the clock showed it.
    fixture.store.rebase(-WEEK_MS - 1).await.unwrap();
    fixture.store.tend().await.unwrap();
    assert_eq!(fixture.states("old").await, [State::Dead], "its week is over");

    fixture.routed(vec![to("x")]).await;
    let claimed = fixture.store.claim("x", 1, false, 60_000).await.unwrap().remove(0);
    let due = waiting_ms() + 3_600_000;
    fixture.settle(&claimed, Settlement::Retry { due, error: "busy".to_owned(), progress: None }).await;
    fixture.store.park(vec![]).await.unwrap();
    fixture.store.rebase(-3_600_000).await.unwrap();
    fixture.store.park(vec!["x".to_owned()]).await.unwrap();
    assert_eq!(fixture.store.claim("x", 1, false, 60_000).await.unwrap().len(), 1, "due with the clock set back");
}

#[tokio::test]
async fn values_of_plugins_live_as_long_as_ever() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.storage_set("x", "k", &json!(1), Some(60_000)).await.unwrap();
    store.rebase(-59_000).await.unwrap();
    assert_eq!(store.storage_get("x", "k").await.unwrap(), Some(json!(1)));
    store.rebase(-1_001).await.unwrap();
    assert_eq!(store.storage_get("x", "k").await.unwrap(), None);
}

/// Lets the next commit pass, and the one after it fail.
async fn second_commit_fails(fixture: &Fixture) {
    let hook = fixture.store.inner.writer.run((), |(), connection| {
        Box::pin(async move {
            let mut commits = 0;
            connection.lock_handle().await?.set_commit_hook(move || {
                commits += 1;
                commits < 2
            });
            Ok(())
        })
    });
    hook.await.unwrap();
}

#[tokio::test]
async fn what_is_written_beside_a_jump_is_moved_once_though_the_first_commit_fails() {
    for jump_first in [false, true] {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let seq = store.accept(vec![event(&[])]).await.unwrap()[0].seq();
        second_commit_fails(&fixture).await;
        let before = waiting_ms();
        let routing = store.route(vec![route(seq, &[], vec![to("x")])]);
        let jumping = store.move_waits(JUMP_MS, Some(clock::Anchor::ahead(JUMP_MS)));
        if jump_first {
            let (jumped, routed) = tokio::join!(jumping, routing);
            assert!(jumped.is_ok() && routed.is_ok());
        } else {
            let (routed, jumped) = tokio::join!(routing, jumping);
            assert!(jumped.is_ok() && routed.is_ok());
        }
        let moved = store.next_due("x", false).await.unwrap().unwrap() - before;
        assert!((JUMP_MS..2 * JUMP_MS).contains(&moved), "moved by {moved} ms, jump first: {jump_first}");
        assert!(waiting_ms() - before >= JUMP_MS, "the new time counts");
    }
}
