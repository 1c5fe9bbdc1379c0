//! The wall clock jumps by an hour while the daemon runs, in both directions: waits keep their length, no alert is lost,
//! held up or sent twice.
//!
//! What the daemon writes right after a jump is looked at as well as what it wrote before: each test has an event of either
//! kind. Both directions are tested side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::{Answer, Butler, Fields, Received, Sink, WallClock, failure, fields, sqlite, wait_for};
use serde_json::Value;

const HOUR: i64 = 3600;
/// A machine under load is late by this at most, and never early.
const LATE: Duration = Duration::from_secs(20);
/// Waits are random by a fifth; and the test sees requests, not the moment in which a wait begins.
const EARLY: f32 = 0.78;

/// An instance that gets the events of the task that has its name.
fn hook(sink: &Sink, name: &str, more: &str) -> String {
    format!(
        "  - use: webhook\n    name: {name}\n    on: [{{ events: [\"reload-task.*\"], where: {{ task.name: {name} }} }}]\n    \
         settings: {{ url: {}, format: event, timeout: 45s }}\n    {more}\n",
        sink.url("/")
    )
}

fn of_task(name: &str) -> Fields {
    Fields { task_name: name.to_owned(), ..fields() }
}

/// The same task in another run.
fn again(task: &Fields) -> Fields {
    Fields { execution_id: fields().execution_id, ..task.clone() }
}

fn tell(butler: &Butler, run: &Fields) {
    butler.send(&[failure(run)]);
}

/// Requests about a run.
fn about(sink: &Sink, run: &Fields) -> Vec<Received> {
    let of_run =
        |request: &Received| request.json()["data"]["execution"]["id"].as_str() == Some(run.execution_id.as_str());
    sink.received().into_iter().filter(of_run).collect()
}

/// The delivery of a run, once its event is routed.
async fn delivery(butler: &Butler, run: &Fields) -> Value {
    wait_for("the event to be routed", || async {
        let (_, answer) = butler.get(&format!("/v5/events?task={}", run.task_id)).await;
        let of_run = |event: &&Value| event["data"]["execution"]["id"] == run.execution_id.as_str();
        let event = answer["events"].as_array()?.iter().find(of_run)?;
        let id = event["id"].as_str().filter(|_| event["state"] == "routed")?;
        Some(butler.event(id).await["deliveries"][0].clone())
    })
    .await
}

/// Waits until the first attempt of a run has failed and that is settled.
async fn wait_failed_once(butler: &Butler, run: &Fields) {
    wait_for(&format!("a failed attempt; log:\n{}", butler.log()), || async {
        delivery(butler, run).await["error"].is_string().then_some(())
    })
    .await;
}

async fn wait_noticed(butler: &Butler) {
    wait_for("the jump to be noticed", || async { butler.log().contains("the wall clock has jumped").then_some(()) })
        .await;
}

async fn retries(by: i64) {
    const WAIT: Duration = Duration::from_secs(20);
    let clock = WallClock::right();
    let (before, after, slow) = (Sink::start().await, Sink::start().await, Sink::start().await);
    let retry = "retry: { initial: 20s, max: 20s }";
    let hooks = hook(&before, "before", retry) + &hook(&after, "after", retry) + &hook(&slow, "slow", retry);
    let butler = Butler::start_with(&format!("plugins:\n{hooks}"), &clock.environment()).await;
    before.next([Answer::Status(503)]);
    after.next([Answer::Status(503)]);
    slow.always(Some(Answer::After(WAIT, 200)));
    let (first, second, in_flight) = (of_task("before"), of_task("after"), of_task("slow"));
    tell(&butler, &first);
    tell(&butler, &in_flight);
    wait_failed_once(&butler, &first).await;
    slow.wait(1).await;
    clock.set(by);
    tell(&butler, &second);
    wait_failed_once(&butler, &second).await;
    wait_noticed(&butler).await;
    // Others that are due at once wake the queues.
    let woken = (again(&first), again(&second));
    tell(&butler, &woken.0);
    tell(&butler, &woken.1);
    for (sink, run) in [(&before, &first), (&after, &second), (&before, &woken.0), (&after, &woken.1)] {
        let requests = wait_for(&format!("{} to succeed, {by} s; log:\n{}", run.task_name, butler.log()), || async {
            let requests = about(sink, run);
            requests.iter().any(|request| request.status == Some(200)).then_some(requests)
        })
        .await;
        if let [first, second] = &requests[..] {
            let wait = second.at - first.at;
            let name = &run.task_name;
            assert!(wait > WAIT.mul_f32(EARLY) && wait < WAIT.mul_f32(1.2) + LATE, "{name} waited {wait:?}, {by} s");
        }
    }
    assert_eq!((about(&before, &first).len(), about(&after, &second).len()), (2, 2));
    wait_for("the one in flight to end", || async {
        (delivery(&butler, &in_flight).await["state"] == "delivered").then_some(())
    })
    .await;
    assert_eq!(delivery(&butler, &in_flight).await["attempt"], 1);
    assert_eq!((before.received().len(), after.received().len(), slow.received().len()), (3, 3, 1), "none twice");
}

#[tokio::test]
async fn a_retry_keeps_its_wait_and_what_is_in_flight_is_not_sent_again() {
    tokio::join!(retries(HOUR), retries(-HOUR));
}

async fn giving_up(by: i64) {
    const MAX_AGE: Duration = Duration::from_secs(20);
    let clock = WallClock::right();
    let (before, after) = (Sink::start().await, Sink::start().await);
    let retry = "retry: { initial: 500ms, max: 1s, maxAge: 20s }";
    let hooks = hook(&before, "before", retry) + &hook(&after, "after", retry);
    let butler = Butler::start_with(&format!("plugins:\n{hooks}"), &clock.environment()).await;
    before.always(Some(Answer::Status(503)));
    after.always(Some(Answer::Status(503)));
    let (first, second) = (of_task("before"), of_task("after"));
    tell(&butler, &first);
    // So many attempts are made in any case.
    before.wait(6).await;
    clock.set(by);
    tell(&butler, &second);
    let death = async |sink: &Sink, run: &Fields| {
        wait_for(&format!("`maxAge` to pass, {by} s; log:\n{}", butler.log()), || async {
            (delivery(&butler, run).await["state"] == "dead").then_some(())
        })
        .await;
        let age = about(sink, run)[0].at.elapsed();
        let name = &run.task_name;
        assert!(age + Duration::from_millis(500) > MAX_AGE, "{name} was given up after {age:?}, {by} s");
        assert!(age < MAX_AGE + LATE, "{name} was given up after {age:?}, {by} s");
    };
    tokio::join!(death(&before, &first), death(&after, &second));
}

#[tokio::test]
async fn a_delivery_is_given_up_when_its_time_is_over_neither_before_nor_after() {
    tokio::join!(giving_up(HOUR), giving_up(-HOUR));
}

async fn throttle(by: i64) {
    const EVERY: Duration = Duration::from_secs(30);
    let clock = WallClock::right();
    let sink = Sink::start().await;
    let config = format!(
        "plugins:\n  - use: webhook\n    on: [{{ events: [\"*.failed\"], throttle: {{ per: task, every: 30s }} }}]\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    let butler = Butler::start_with(&config, &clock.environment()).await;
    let (before, after) = (of_task("before"), of_task("after"));
    let repeat = async |task: &Fields, what: &str, since: Instant| {
        let run = again(task);
        tell(&butler, &run);
        let state = delivery(&butler, &run).await["state"].clone();
        assert!(since.elapsed() < EVERY, "this machine is too slow for the test");
        assert_eq!(state, "suppressed", "the window of {} is cut {what}, {by} s", task.task_name);
    };
    tell(&butler, &before);
    sink.wait(1).await;
    let begun = Instant::now();
    clock.set(by);
    repeat(&before, "when the clock jumps", begun).await;
    tell(&butler, &after);
    sink.wait(2).await;
    let begun_after = Instant::now();
    repeat(&after, "when the clock has jumped", begun_after).await;
    wait_noticed(&butler).await;
    repeat(&before, "when the jump is noticed", begun).await;
    repeat(&after, "when the jump is noticed", begun_after).await;
    tokio::time::sleep_until((begun_after + EVERY + Duration::from_millis(100)).into()).await;
    for (task, suppressed) in [(&before, 2), (&after, 2)] {
        let run = again(task);
        tell(&butler, &run);
        let delivery = delivery(&butler, &run).await;
        assert_ne!(delivery["state"], "suppressed", "the window of {} is too long, {by} s", task.task_name);
        assert_eq!(delivery["suppressed"], suppressed, "{delivery}");
    }
    assert_eq!(sink.wait(4).await.len(), 4);
}

#[tokio::test]
async fn a_throttle_window_is_neither_cut_nor_prolonged() {
    tokio::join!(throttle(HOUR), throttle(-HOUR));
}

async fn notices(by: i64) {
    let clock = WallClock::right();
    let (bad, watch) = (Sink::start().await, Sink::start().await);
    let config = format!(
        "plugins:\n{}  - use: webhook\n    name: watch\n    on: [{{ events: [delivery.dead] }}]\n    settings: {{ url: {}, format: event }}\n",
        hook(&bad, "bad", ""),
        watch.url("/")
    );
    let butler = Butler::start_with(&config, &clock.environment()).await;
    let store = butler.folder().join("butler.db");
    bad.always(Some(Answer::Status(400)));
    let die = async || {
        let run = of_task("bad");
        tell(&butler, &run);
        wait_for("a death", || async { (delivery(&butler, &run).await["state"] == "dead").then_some(()) }).await;
    };
    let told = async || butler.get("/v5/events?kind=delivery.dead").await.1["events"].as_array().map(Vec::len);
    die().await;
    watch.wait(1).await;
    clock.set(by);
    die().await;
    assert_eq!(told().await, Some(1), "told again when the clock jumps, {by} s");
    wait_noticed(&butler).await;
    die().await;
    assert_eq!(told().await, Some(1), "told again when the jump is noticed, {by} s");
    // As if the quarter of an hour were over now: what was not said is said by the next round.
    sqlite(&store, "UPDATE dead_notices SET at = at - 15 * 60 * 1000;");
    let notice = watch.wait(2).await[1].json();
    assert_eq!(notice["data"]["dead"]["count"], 2, "{notice}");
    assert_eq!((told().await, watch.received().len()), (Some(2), 2));
}

#[tokio::test]
async fn deaths_are_told_once_in_a_quarter_of_an_hour() {
    tokio::join!(notices(HOUR), notices(-HOUR));
}

#[tokio::test]
async fn alerts_around_many_jumps_are_told_once_and_soon() {
    const OFFSETS: [i64; 7] = [HOUR, 0, -HOUR, 0, HOUR, -HOUR, 0];
    let clock = WallClock::right();
    let sink = Sink::start().await;
    // Each third alert fails at first.
    let mut heard = BTreeSet::new();
    sink.choose(move |request| {
        let is_new = heard.insert(request.headers["x-butler-event-id"].clone());
        Answer::Status(if is_new && heard.len() % 3 == 0 { 503 } else { 200 })
    });
    let config = format!(
        "plugins:\n  - use: webhook\n    retry: {{ initial: 3s, max: 3s }}\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    let butler = Butler::start_with(&config, &clock.environment()).await;
    let mut sent = BTreeMap::new();
    for offset in OFFSETS {
        clock.set(offset);
        let until = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < until {
            let run = fields();
            tell(&butler, &run);
            sent.insert(run.execution_id, Instant::now());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(butler.log().contains("the wall clock has jumped"), "{}", butler.log());
    let said = format!("{} alerts to be told; log:\n{}", sent.len(), butler.log());
    wait_for(&said, || async { (sink.successes().len() >= sent.len()).then_some(()) }).await;
    for request in sink.successes() {
        let id = request.json()["data"]["execution"]["id"].as_str().unwrap_or_default().to_owned();
        let sent = sent.remove(&id).unwrap_or_else(|| panic!("told twice: {request:?}"));
        assert!(request.at - sent < LATE, "told after {:?}: {request:?}", request.at - sent);
    }
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"webhook\"}").await, Some(0.0));
}

#[tokio::test]
async fn a_clock_that_is_slightly_wrong_is_no_jump() {
    let clock = WallClock::right();
    let butler = Butler::start_with("plugins: []\n", &clock.environment()).await;
    clock.set(50);
    // The next look at the clocks is over.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(!butler.log().contains("the wall clock has jumped"), "{}", butler.log());
    clock.set(50 - HOUR);
    wait_noticed(&butler).await;
    let log = butler.log();
    assert!(log.contains("seconds=-3600") || log.contains("seconds=-3599"), "only the jump counts: {log}");
}
