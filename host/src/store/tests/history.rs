//! Questions about the past.

use std::time::Instant;

use sqlx::Row as _;

use super::super::history::{LIMIT, events_query, failed};
use super::*;

#[tokio::test]
async fn filters_and_pages() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        fixture.routed(vec![to("x"), to("y")]).await;
    }
    let page =
        |before, limit| EventFilter { kind: Some("reload-*".to_owned()), before, limit, ..EventFilter::default() };
    let first = fixture.store.events(&page(None, 2)).await.unwrap();
    let second = fixture.store.events(&page(Some(first[1].seq), 10)).await.unwrap();
    assert_eq!((first.len(), second.len()), (2, 3));
    let none = EventFilter { task: Some("t2".to_owned()), limit: 10, ..EventFilter::default() };
    assert!(fixture.store.events(&none).await.unwrap().is_empty());
    let filter = DeliveryFilter {
        task: Some("t1".to_owned()),
        state: Some(State::Pending),
        limit: 100,
        ..DeliveryFilter::default()
    };
    assert_eq!(fixture.store.deliveries(&filter).await.unwrap().len(), 10);
    let depths = fixture.store.queue_depths().await.unwrap();
    assert_eq!(depths[0], QueueDepth { instance: "x".to_owned(), open: 5, dead: 0 });
}

#[tokio::test]
async fn endless_questions_end_and_hold_up_no_queue() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    let begun = Instant::now();
    let endless = || async {
        let sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&fixture.store.inner.history).await.map_err(failed)
    };
    let pipeline = async {
        // Not before all three have their connections.
        let pool = &fixture.store.inner.history;
        while begun.elapsed() < LIMIT && (pool.num_idle() > 0 || pool.size() < 3) {
            tokio::task::yield_now().await;
        }
        fixture.store.next_due("x", false).await.unwrap();
        fixture.store.accepted_events(0, 10).await.unwrap();
        fixture.store.storage_get("x", "k").await.unwrap();
        begun.elapsed()
    };
    let (first, second, third, took) = tokio::join!(endless(), endless(), endless(), pipeline);
    for ended in [first, second, third] {
        assert!(matches!(ended, Err(StoreError::TooSlow)), "{ended:?}");
    }
    assert!(took < LIMIT, "the queue has waited for {took:?}");
    // A connection that was cut off once has its full time again.
    assert_eq!(fixture.store.events(&EventFilter { limit: 10, ..EventFilter::default() }).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_history_of_a_task_is_found_by_an_index() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("x")]).await;
    fixture.store.accept(vec![event(&[])]).await.unwrap();
    fixture.routed(vec![to("x")]).await;
    let filter = EventFilter { task: Some("t1".to_owned()), limit: 10, ..EventFilter::default() };
    let rows = fixture.store.events(&filter).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), ["routed", "accepted", "routed"]);
    assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.seq)), "the newest first");
    let mut query = events_query("EXPLAIN QUERY PLAN ", &filter);
    let plan = query.build().fetch_all(&fixture.store.inner.history).await.unwrap();
    let plan: String = plan.iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
    assert!(plan.contains("events_task (task=?)") && plan.contains("events_accepted"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}
