//! Too much of everything: log records, events, stored values.

use e2e::{Sink, failure, fields, wait_for};

use super::{assert_served, assert_stops, end_of, rogue, start, wait_log, wait_state};

#[tokio::test]
async fn a_flooded_log_stays_readable() {
    let healthy = Sink::start().await;
    let butler = start(&[rogue("floods", "fault: floodLog")], &healthy, &[]).await;
    wait_state(&butler, "floods", "running").await;
    for _ in 0..2 {
        assert_served(&butler, &healthy).await;
    }
    wait_log(&butler, "the instance floods the log: records were left out").await;
    butler.wait_delivery("delivered", "floods").await;
    let log = assert_stops(butler).await;
    assert!(log.contains("bytes, cut)"), "records are cut:\n{}", end_of(&log));
    // A thousand at once and a hundred a second pass, of the four hundred thousand that were written.
    let records = log.matches("the rogue floods the log").count();
    assert!((500..10_000).contains(&records), "{records} records");
    assert!(log.len() < 20 << 20, "the log has {} bytes", log.len());
}

#[tokio::test]
async fn whoever_emits_without_a_pause_hears_nothing_of_it_and_delays_nobody() {
    let (healthy, heard) = (Sink::start().await, Sink::start().await);
    let url = heard.url("/");
    let noisy = format!(
        "  - use: rogue\n    name: noisy\n    on: [{{ events: [\"*\"] }}]\n    settings: {{ fault: emitLoop, url: {url} }}\n"
    );
    let butler = start(&[noisy], &healthy, &[]).await;
    wait_state(&butler, "noisy", "running").await;
    let emitted = async || {
        let (_, answer) = butler.get("/v5/events?kind=rogue.noise&limit=1").await;
        answer["events"][0]["data"]["n"].as_u64().unwrap_or_default()
    };
    wait_for("many events", || async { (emitted().await > 1_000).then_some(()) }).await;
    for _ in 0..5 {
        assert_served(&butler, &healthy).await;
    }
    butler.send(&[failure(&fields())]);
    heard.wait_where("an event of others", |request| request.body.contains("reload-task.failed")).await;
    let own = heard.received().iter().filter(|request| request.body.contains("rogue.noise")).count();
    assert_eq!(own, 0, "its own events are not routed back to it");
    assert_stops(butler).await;
}

#[tokio::test]
async fn quotas_of_the_storage_hold() {
    let (healthy, reports) = (Sink::start().await, Sink::start().await);
    let butler = start(&[rogue("stores", &format!("fault: quotas, url: {}", reports.url("/")))], &healthy, &[]).await;
    wait_state(&butler, "stores", "running").await;
    assert_served(&butler, &healthy).await;
    let report = wait_for("the report", || async { reports.received().into_iter().next() }).await.json();
    for (what, text) in [
        ("key", "the key has 600 bytes, at most 512 are allowed"),
        ("value", "the value has 2097154 bytes, at most 1048576 are allowed"),
        ("total", "the storage of this instance is full (64 MB)"),
        ("number", "the storage of this instance has 100000 values, which is the most"),
        ("data", "at most 1048576 are taken"),
    ] {
        assert!(report[what].as_str().is_some_and(|said| said.contains(text)), "{what}: {report}");
    }
    assert_eq!((&report["stored"], &report["freed"]), (&100_000.into(), &true.into()), "{report}");
    assert_served(&butler, &healthy).await;
    assert_stops(butler).await;
}
