//! Who is at fault when something cannot be stored, and what follows.

use std::sync::atomic::AtomicU32;

use super::*;

#[tokio::test]
async fn a_faulty_operation_fails_alone() {
    let fixture = Fixture::new().await;
    let bad = fixture.store.inner.writer.run((), |(), connection| {
        Box::pin(async move { sqlx::query("INSERT INTO nowhere VALUES (1)").execute(connection).await.map(drop) })
    });
    let (bad, good) = tokio::join!(bad, fixture.store.accept(vec![event(&["a"])]));
    assert!(matches!(bad, Err(StoreError::Database(_))));
    assert!(matches!(good.unwrap()[0], Accepted::New(_)));
}

/// What an operation finds when it is run again: how often it was, and the connection's own setting.
async fn run_twice(fixture: &Fixture, error: fn() -> sqlx::Error) -> Result<(u32, i64), StoreError> {
    let input = (Arc::new(AtomicU32::new(0)), error);
    let run = fixture.store.inner.writer.run(input, |(runs, error), connection| {
        Box::pin(async move {
            let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
            if run == 1 {
                sqlx::raw_sql("PRAGMA cache_size = -1234").execute(&mut *connection).await?;
                return Err(error());
            }
            let cache: i64 = sqlx::query_scalar("PRAGMA cache_size").fetch_one(connection).await?;
            Ok((run, cache))
        })
    });
    run.await
}

#[tokio::test]
async fn what_proves_no_operation_wrong_is_waited_for_with_a_new_connection() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let (ran, accepted) =
        tokio::join!(run_twice(&fixture, || sqlx::Error::WorkerCrashed), store.accept(vec![event(&["a"])]));
    assert_eq!(ran.unwrap(), (2, -8192), "the second run has another connection");
    assert!(matches!(accepted.unwrap()[0], Accepted::New(_)));
    assert_eq!(store.trouble(), None, "it is over");
    assert_eq!(store.accepted_count().await.unwrap(), 1);
}

#[tokio::test]
async fn an_error_of_the_disk_is_waited_for_with_the_same_connection() {
    let fixture = Fixture::new().await;
    let full = run_twice(&fixture, || std::io::Error::other("no room").into());
    assert_eq!(full.await.unwrap(), (2, -1234));
}

#[tokio::test]
async fn an_operation_that_is_wrong_does_not_wait() {
    let fixture = Fixture::new().await;
    let wrong = run_twice(&fixture, || sqlx::Error::RowNotFound);
    assert!(matches!(wrong.await, Err(StoreError::Database(_))));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_stored_spoils_no_other() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.routed(vec![to("x")]).await;
    }
    let claimed = fixture.store.claim("x", 10, false, 60_000).await.unwrap();
    let trap = "CREATE TRIGGER trap BEFORE UPDATE ON deliveries WHEN new.error = 'poison'
                BEGIN SELECT RAISE(ABORT, 'refused'); END";
    fixture.sql(trap).await;
    let outcomes = [Settlement::Delivered, dead("poison"), dead("refused")];
    let settled: Vec<Settled> = claimed
        .iter()
        .zip(outcomes)
        .map(|(claimed, settlement)| Settled { id: claimed.id, token: claimed.token, settlement })
        .collect();
    let released = fixture.store.settle(settled).await.unwrap();
    assert!(released.noticed, "the death that could be stored is told");
    assert_eq!(fixture.states("x").await, [State::Delivered, State::Leased, State::Dead]);
}

#[tokio::test]
async fn what_plugins_keep_is_counted_on_after_a_new_connection() {
    let fixture = Fixture::new().await;
    fixture.store.storage_set("one", "a", json!(1), None).await.unwrap();
    run_twice(&fixture, || sqlx::Error::WorkerCrashed).await.unwrap();
    fixture.store.storage_set("one", "b", json!(2), None).await.unwrap();
    assert_eq!(fixture.store.storage_list("one", "").await.unwrap(), ["a", "b"]);
}
