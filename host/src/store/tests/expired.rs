//! Deliveries that nobody takes.

use super::*;

const DAY_MS: i64 = 24 * 3_600_000;

#[tokio::test]
async fn what_nobody_takes_dies_when_it_is_older_than_events_are_kept_and_that_is_told() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    fixture.routed(vec![to("x"), to("running")]).await;
    let claimed = store.claim("running", 1, false, DAY_MS).await.unwrap().remove(0);
    store.pass(DAY_MS).await;
    fixture.routed(vec![to("x")]).await;
    assert_eq!(store.expire(DAY_MS + 60_000).await.unwrap().0, 0, "not yet");
    let (count, released) = store.expire(DAY_MS).await.unwrap();
    assert_eq!((count, released.noticed), (1, true));
    assert_eq!(fixture.states("x").await, [State::Dead, State::Pending]);
    assert_eq!(fixture.states("running").await, [State::Leased], "what is in flight has an outcome soon");
    assert_eq!(store.expire(DAY_MS).await.unwrap().0, 0);
    let notice = store.accepted_events(0, 10).await.unwrap().remove(0).event;
    assert!(notice.summary().contains("`store.keep`"), "{}", notice.summary());
    let retry = Settlement::Retry { due: 0, error: "busy".to_owned(), progress: None };
    fixture.settle(&claimed, retry).await;
    assert_eq!(store.expire(DAY_MS).await.unwrap().0, 1);
    let filter = DeliveryFilter { instance: Some("running".to_owned()), limit: 1, ..DeliveryFilter::default() };
    let error = store.deliveries(&filter).await.unwrap().remove(0).error.unwrap();
    assert!(error.ends_with("the last error: busy"), "{error}");
}

#[tokio::test]
async fn many_die_in_small_steps() {
    let fixture = Fixture::new().await;
    fixture.routed((0..300).map(|_| to("x")).collect()).await;
    fixture.store.pass(DAY_MS).await;
    let mut steps = Vec::new();
    while let (count @ 1.., _) = fixture.store.expire(DAY_MS).await.unwrap() {
        steps.push(count);
    }
    assert_eq!(steps, [250, 50]);
}
