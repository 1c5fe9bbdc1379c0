//! The wall clock is wrong for a while: alerts that wait for facts, the history, and a daemon that was not there when the
//! clock was set.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::qlik::{Fault, Site};
use e2e::{Answer, Butler, Fields, Received, Sense, Sink, WallClock, failure, sqlite, wait_for};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// A machine under load is late by this at most.
const LATE: Duration = Duration::from_secs(20);

fn config(sink: &Sink, more: &str) -> String {
    format!(
        "{more}\nplugins:\n  - use: webhook\n    name: hook\n    retry: {{ initial: 10s, max: 10s }}\n    \
         settings: {{ url: {}, format: event, timeout: 45s }}\n",
        sink.url("/")
    )
}

/// Waits for the request about a run.
async fn wait_told(butler: &Butler, sink: &Sink, run: &Fields) -> Received {
    let id = run.execution_id.as_str();
    wait_for(&format!("the alert about {id}; log:\n{}", butler.log()), || async {
        sink.successes().into_iter().find(|request| request.json()["data"]["execution"]["id"] == id)
    })
    .await
}

/// Qlik Sense is not there, and the clock jumps while alerts wait for it.
async fn facts_in_vain(by: i64) {
    const GIVE_UP: Duration = Duration::from_secs(8);
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    let butler = sense.butler_under(&clock.environment(), &config(&sink, "enrich: { giveUpAfter: 8s }")).await;
    sense.stop().await;
    let sent = Instant::now();
    let before = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&before)]);
    butler.wait_metric("butler_qlik_reachable", 0.0).await;
    clock.set(by);
    let after = sense.failed(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    butler.send(&[failure(&after)]);
    for (what, run) in [("before", &before), ("after", &after)] {
        let told = wait_told(&butler, &sink, run).await;
        let took = told.at - sent;
        assert!(told.json()["data"]["missing"].is_array(), "{}", told.body);
        assert!(took + Duration::from_millis(500) > GIVE_UP, "heard {what} a jump of {by} s, given up after {took:?}");
        assert!(took < GIVE_UP + LATE, "heard {what} a jump of {by} s, held up for {took:?}");
    }
    assert_eq!(sink.received().len(), 2);
}

/// Qlik Sense is well, but has not written the result yet, and the clock jumps meanwhile.
async fn facts_not_written(by: i64) {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    let butler = sense.butler_under(&clock.environment(), &config(&sink, "")).await;
    let sent = Instant::now();
    let never_written = sense.about(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&never_written)]);
    wait_for("a look-up", || async { (sense.counts().requests > 0).then_some(()) }).await;
    clock.set(by);
    let told = wait_told(&butler, &sink, &never_written).await;
    assert!(told.at - sent < Duration::from_secs(8) + LATE, "held up for {:?}, {by} s", told.at - sent);
    assert_eq!(told.json()["data"]["app"]["owner"]["name"], "Ann Berg", "the other facts are there: {}", told.body);
}

#[tokio::test]
async fn an_alert_waits_for_facts_as_long_as_ever() {
    tokio::join!(facts_in_vain(HOUR), facts_in_vain(-HOUR), facts_not_written(HOUR), facts_not_written(-HOUR));
}

#[tokio::test]
async fn a_clock_that_was_set_back_during_a_stop_holds_nothing_up() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    let config = config(&sink, "enrich: { giveUpAfter: 5s }");
    let butler = sense.butler_under(&clock.environment(), &config).await;
    sink.next([Answer::Status(503)]);
    let waiting = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&waiting)]);
    wait_for("a failed attempt", || async {
        butler.deliveries("state=pending").await.into_iter().find(|delivery| delivery["error"].is_string())
    })
    .await;
    sense.stop().await;
    let unknown = sense.failed(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    butler.send(&[failure(&unknown)]);
    butler.wait_metric("butler_events_waiting", 1.0).await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");

    clock.set(-HOUR);
    let begun = Instant::now();
    let butler = sense.butler_under(&clock.environment(), &config).await;
    for run in [&waiting, &unknown] {
        let told = wait_told(&butler, &sink, run).await;
        assert!(told.at - begun < Duration::from_secs(12) + LATE, "held up for {:?}", told.at - begun);
    }
    assert_eq!((sink.received().len(), sink.successes().len()), (3, 2));
}

#[tokio::test]
async fn with_the_clock_far_ahead_the_history_and_what_is_open_stay() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());

    let config = config(&sink, "enrich: { giveUpAfter: 2m }\nstore: { path: butler.db, keep: 30d }");
    let butler = sense.butler_under(&clock.environment(), &config).await;
    let store = butler.folder().join("butler.db");
    let finished: Vec<_> = (0..5).map(|_| sense.failed(Site::SAMPLE_RELOAD_TASK)).collect();
    butler.send(&finished.iter().map(failure).collect::<Vec<_>>());
    butler.wait_metric("butler_deliveries_delivered_total{instance=\"hook\"}", 5.0).await;
    // One is refused until the clock is right, one is in flight, one waits for facts.
    let pending = sense.failed(Site::SAMPLE_RELOAD_TASK);
    let (refused, right) = (pending.execution_id.clone(), Arc::new(AtomicBool::new(false)));
    let is_right = right.clone();
    sink.choose(move |request| {
        let refuse = request.body.contains(&refused) && !is_right.load(Ordering::Acquire);
        Answer::Status(if refuse { 503 } else { 200 })
    });
    butler.send(&[failure(&pending)]);
    sink.wait(6).await;
    sink.next([Answer::After(Duration::from_secs(25), 200)]);
    let leased = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&leased)]);
    sink.wait(7).await;
    sense.faults().add(Fault::hang());
    let accepted = sense.failed(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    butler.send(&[failure(&accepted)]);
    butler.wait_metric("butler_events_waiting", 1.0).await;
    clock.set(40 * DAY);
    let round = "what is old is told by the time before the jump";
    wait_for("a round that looks for old events", || async { butler.log().contains(round).then_some(()) }).await;
    let left = || -> BTreeSet<String> {
        let sql = "SELECT data ->> '$.execution.id' FROM events WHERE source = 'udp';";
        sqlite(&store, sql).lines().map(str::to_owned).collect()
    };
    let open = [&pending, &leased, &accepted];
    let all: BTreeSet<String> = finished.iter().chain(open).map(|run| run.execution_id.clone()).collect();
    assert_eq!(left(), all, "a clock that jumped ahead makes nothing old");

    // Somebody sets the clock right again.
    clock.set(0);
    right.store(true, Ordering::Release);
    sense.faults().clear();
    for run in [&pending, &leased, &accepted] {
        wait_told(&butler, &sink, run).await;
    }
    let later = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&later)]);
    wait_told(&butler, &sink, &later).await;
    assert_eq!(sink.successes().len(), 9, "none twice");
    wait_for("all to be settled", || async {
        (butler.metric("butler_deliveries_open{instance=\"hook\"}").await == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"hook\"}").await, Some(0.0));
}
