//! Deliveries whose instance is not in the config any more.

use super::*;

#[tokio::test]
async fn deliveries_of_an_instance_that_is_gone_are_parked_until_it_is_back() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("old"), to("kept")]).await;
    assert_eq!(fixture.store.park(vec!["kept".to_owned()]).await.unwrap(), 1);
    assert_eq!(
        (fixture.states("old").await, fixture.states("kept").await),
        (vec![State::Parked], vec![State::Pending])
    );
    assert_eq!(fixture.store.park(vec!["old".to_owned(), "kept".to_owned()]).await.unwrap(), 0);
    assert_eq!(fixture.states("old").await, [State::Pending]);
}

#[tokio::test]
async fn parked_deliveries_can_be_given_to_another_instance() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("old")]).await;
    fixture.routed(vec![to("new")]).await;
    fixture.store.park(vec!["new".to_owned()]).await.unwrap();
    assert_eq!(fixture.store.move_deliveries("old", "new").await.unwrap(), 1);
    assert_eq!(fixture.states("new").await, [State::Pending, State::Pending]);
    assert_eq!(fixture.store.claim("new", 10, false, 60_000).await.unwrap().len(), 2);
    assert_eq!(fixture.store.move_deliveries("old", "new").await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_parked_for_a_week_is_dead() {
    let fixture = Fixture::new().await;
    fixture.routed(vec![to("old")]).await;
    fixture.store.park(vec![]).await.unwrap();
    fixture.store.tend().await.unwrap();
    assert_eq!(fixture.states("old").await, [State::Parked]);
    fixture.sql("UPDATE deliveries SET updated = 0").await;
    assert!(fixture.store.tend().await.unwrap().noticed);
    assert_eq!(fixture.states("old").await, [State::Dead]);
    let notice = fixture.store.accepted_events(0, 10).await.unwrap().remove(0).event;
    assert_eq!(notice.kind, kind::DELIVERY_DEAD);
    assert!(notice.summary().contains("gone from the config for 7 days"), "{}", notice.summary());
}

#[tokio::test]
async fn what_is_moved_begins_anew_whatever_became_of_it_before() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.routed(vec![to("old")]).await;
    }
    let claimed = fixture.store.claim("old", 10, false, 60_000).await.unwrap();
    let retry = Settlement::Retry { due: i64::MAX, error: "busy".to_owned(), progress: Some(json!({ "step": 1 })) };
    fixture.settle(&claimed[0], retry).await;
    fixture.settle(&claimed[1], Settlement::Return).await;
    fixture.store.park(vec!["new".to_owned()]).await.unwrap();
    assert_eq!(fixture.states("old").await, [State::Parked, State::Parked, State::Leased]);
    assert_eq!(fixture.store.move_deliveries("old", "new").await.unwrap(), 3);
    let first = fixture.store.claim("new", 10, true, 60_000).await.unwrap();
    assert_eq!(first.len(), 1, "they are of one task, and `new` keeps the order");
    assert_eq!((first[0].id, first[0].attempt, first[0].progress.clone()), (claimed[0].id, 1, None));
    assert!(first[0].first_attempt >= claimed[0].first_attempt);
    fixture.settle(&claimed[2], Settlement::Delivered).await;
    assert_eq!(fixture.states("new").await, [State::Leased, State::Pending, State::Pending], "a late outcome is stale");
}

#[tokio::test]
async fn what_is_moved_keeps_the_order_of_its_service_or_app() {
    for (data, key) in [
        (
            json!({ "service": { "host": "sense1", "name": "Engine" }, "app": { "id": "a" } }),
            Some("service/sense1/Engine"),
        ),
        (json!({ "service": { "name": "Engine" } }), Some("service//Engine")),
        (json!({ "service": { "host": "sense1" }, "app": { "id": "a" } }), Some("app/a")),
        (json!({ "app": { "id": "" } }), None),
        (json!("no object"), None),
    ] {
        let fixture = Fixture::new().await;
        for _ in 0..2 {
            let seq = fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
            let routed = Routed { task: None, data: data.to_string(), ..route(seq, &[], vec![to("old")]) };
            fixture.store.route(vec![routed]).await.unwrap();
        }
        fixture.store.park(vec!["new".to_owned()]).await.unwrap();
        assert_eq!(fixture.store.move_deliveries("old", "new").await.unwrap(), 2);
        let keys: Vec<Option<String>> = sqlx::query_scalar("SELECT order_key FROM deliveries")
            .fetch_all(&fixture.store.inner.readers)
            .await
            .unwrap();
        assert_eq!(keys, [key.map(str::to_owned), key.map(str::to_owned)], "{data}");
    }
}
