//! Events that are put off, and ones that cannot be read.

use super::*;

const SPOILED: &str = "{ \"task\": ";

fn seqs(events: &[Waiting]) -> Vec<i64> {
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn an_event_that_is_put_off_is_read_again_when_it_is_due() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let accepted: Vec<i64> =
        store.accept(vec![event(&[]), event(&[]), event(&[])]).await.unwrap().into_iter().map(Accepted::seq).collect();
    assert_eq!(seqs(&store.accepted_events(0, 10).await.unwrap()), accepted);
    let now = waiting_ms();
    let put_off = |seq, due| PutOff { seq, due, since: now - 1000, tries: 2 };
    store.put_off(vec![put_off(accepted[0], now + 60_000), put_off(accepted[1], now - 1)]).await.unwrap();
    assert_eq!(seqs(&store.accepted_events(0, 10).await.unwrap()), accepted[2..]);
    let due = store.due_events(&[], 10).await.unwrap();
    assert_eq!(seqs(&due), accepted[1..2]);
    assert_eq!((due[0].since, due[0].tries), (Some(now - 1000), 2));
    assert!(store.due_events(&accepted[1..2], 10).await.unwrap().is_empty(), "it is in memory");
    // Over a restart, and over a jump of the clock.
    let fixture = fixture.reopen().await;
    fixture.store.pass(60_001).await;
    let due = fixture.store.due_events(&[], 10).await.unwrap();
    assert_eq!(seqs(&due), [accepted[1], accepted[0]], "the longest due first");
    assert_eq!(due[1].since, Some(now - 61_001), "what it has waited stays the same");
    fixture.store.route(vec![route(accepted[0], &[], Vec::new())]).await.unwrap();
    fixture.store.put_off(vec![put_off(accepted[0], 0)]).await.unwrap();
    assert_eq!(seqs(&fixture.store.due_events(&[], 10).await.unwrap()), accepted[1..2], "that one is routed");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_ends_alone() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let accepted = store.accept(vec![event(&[]), event(&["exec:e:failed"]), event(&[])]).await.unwrap();
    let sql = format!("UPDATE events SET data = '{SPOILED}' WHERE seq = {}", accepted[1].seq());
    fixture.sql(sql.leak()).await;
    assert_eq!(seqs(&store.accepted_events(0, 10).await.unwrap()), [accepted[0].seq(), accepted[2].seq()]);
    assert_eq!(store.accepted_count().await.unwrap(), 2);
    let page = store.events(&EventFilter { limit: 10, ..EventFilter::default() }).await.unwrap();
    let states: Vec<&str> = page.iter().map(|row| row.state).collect();
    assert_eq!(states, ["accepted", "unreadable", "accepted"], "it hides no others");
    // Another road may still tell of the run.
    let answers = store.route(vec![route(accepted[2].seq(), &["exec:e:failed"], vec![to("x")])]).await.unwrap();
    assert_eq!(answers[0].as_ref().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_delivery_whose_event_cannot_be_read_dies_alone_and_is_told() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.routed(vec![to("x")]).await;
    }
    let sql = format!(
        "UPDATE events SET data = '{SPOILED}' WHERE seq = (SELECT min(event) FROM deliveries);
         DELETE FROM events WHERE seq = (SELECT max(event) FROM deliveries)"
    );
    fixture.sql(sql.leak()).await;
    assert_eq!(fixture.store.claim("x", 10, false, 60_000).await.unwrap().len(), 1);
    let counts: Vec<QueueDepth> = fixture.store.queue_depths().await.unwrap();
    assert_eq!(counts, [QueueDepth { instance: "x".to_owned(), open: 1, dead: 2 }]);
    let notices = fixture.store.accepted_events(0, 10).await.unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].event.summary().contains("cannot be read"), "{}", notices[0].event.summary());
}
