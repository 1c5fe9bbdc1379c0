//! A node that executes and sends nothing is told, once; a node that is heard is not.
//!
//! The clock of the daemon goes faster than that of the simulated Qlik Sense: executions are given the times of the former.

use std::time::{Duration, SystemTime};

use e2e::qlik::{Endpoint, Fault, Run, Scheduler, SchedulerKind, Site, Status};
use e2e::{Butler, Fields, Sense, Sink, WallClock, failure, fields, run, wait_for};
use jiff::civil::Weekday;
use jiff::{Timestamp, tz::TimeZone};

const HOUR: i64 = 3600;
/// They send by short names.
const A: &str = "sense1.lab.local";
const B: &str = "sense2.lab.local";
const ALL_DAYS: &str = "[mon, tue, wed, thu, fri, sat, sun]";

fn config(sink: &Sink, days: &str, more: &str) -> String {
    format!(
        "plugins:\n  - use: node-silence\n    name: watch\n    settings: {{ when: {{ every: 1s }}, workingTime: {{ days: {days} }}{more} }}\n  \
         - use: webhook\n    name: hook\n    on: [{{ events: [node.silent] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// Two nodes of these kinds.
fn nodes(sense: &Sense, a: SchedulerKind, b: SchedulerKind) {
    sense.site().set_schedulers([Scheduler::new(A, a), Scheduler::new(B, b)]);
}

/// A task has been executed on a node; by the clock of the daemon so many seconds from now.
fn executed(sense: &Sense, node: &str, status: Status, ahead: i64) {
    let end = SystemTime::now() + Duration::from_secs(ahead.unsigned_abs());
    let run = Run::new(status).on_node(node).ending_at(end);
    sense.site().run_task(Site::SAMPLE_RELOAD_TASK, &fields().execution_id, run).expect("the site has the task");
}

fn send(butler: &Butler, node: &str) {
    butler.send(&[failure(&Fields { node: node.to_owned(), ..fields() })]);
}

/// Seconds since a node was heard, by the last look.
async fn unheard(butler: &Butler, node: &str) -> Option<f64> {
    let series = format!("butler_plugin_node_silence_seconds_since_heard{{instance=\"watch\",node=\"{node}\"}}");
    butler.metric(&series).await
}

async fn wait_unheard(butler: &Butler, node: &str, fits: impl Fn(f64) -> bool) {
    wait_for(&format!("a look at {node}; log:\n{}", butler.log()), || async {
        unheard(butler, node).await.filter(|seconds| fits(*seconds))
    })
    .await;
}

/// Waits until A is heard and both are under watch.
async fn begin(butler: &Butler) {
    send(butler, "sense1");
    wait_unheard(butler, A, |_| true).await;
}

/// Two whole looks.
async fn looks(butler: &Butler) {
    for _ in 0..2 {
        let before = unheard(butler, A).await;
        wait_for("a look", || async { (unheard(butler, A).await != before).then_some(()) }).await;
    }
}

fn told(sink: &Sink) -> Vec<String> {
    sink.successes()
        .iter()
        .map(|request| request.json()["data"]["node"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn who_executes_and_sends_nothing_is_told_once_also_over_kills_and_again_after_it_was_heard() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let config = config(&sink, ALL_DAYS, "");
    let butler = sense.butler_under(&clock.environment(), &config).await;
    begin(&butler).await;
    for node in [A, B] {
        executed(&sense, node, Status::FinishedSuccess, 2 * HOUR);
    }
    executed(&sense, B, Status::Started, 2 * HOUR);
    clock.set(3 * HOUR);
    wait_unheard(&butler, A, |seconds| seconds > 2.9 * 3600.0).await;
    send(&butler, "sense1");
    wait_unheard(&butler, A, |seconds| seconds < 600.0).await;
    assert_eq!(told(&sink), [""; 0], "three hours are not four");
    clock.set(4 * HOUR + 60);
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["kind"], &event["data"]["node"]), (&"node.silent".into(), &B.into()), "{event}");
    let silence = &event["data"]["silence"];
    assert!(silence["lastHeardAt"].is_null() && silence["seconds"].as_i64().unwrap() >= 4 * HOUR, "{event}");
    assert!(
        event["data"]["message"].as_str().unwrap().contains("though 1 task has ended"),
        "what runs does not count: {event}"
    );

    // A restart, and kills at once.
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");
    let mut butler = sense.butler_under(&clock.environment(), &config).await;
    for _ in 0..3 {
        butler = butler.kill_and_start().await;
    }
    wait_unheard(&butler, A, |_| true).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [B]);

    send(&butler, "SENSE2");
    wait_for(&format!("B to be heard:\n{}", butler.log()), || async {
        butler.log().contains("is heard by UDP again").then_some(())
    })
    .await;
    executed(&sense, B, Status::FinishedFail, 5 * HOUR);
    send(&butler, "sense1");
    clock.set(8 * HOUR);
    wait_unheard(&butler, B, |seconds| seconds > 3.8 * 3600.0).await;
    send(&butler, "sense1");
    clock.set(8 * HOUR + 300);
    let event = sink.wait(2).await[1].json();
    assert_eq!(event["data"]["node"], B, "{event}");
    assert!(event["data"]["silence"]["lastHeardAt"].is_string(), "{event}");
    looks(&butler).await;
    assert_eq!(told(&sink), [B, B]);
}

/// Killed at any moment around the one in which it is told.
#[tokio::test]
async fn kills_while_it_is_told_neither_lose_nor_repeat_it() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let mut butler = sense.butler_under(&clock.environment(), &config(&sink, ALL_DAYS, "")).await;
    begin(&butler).await;
    executed(&sense, B, Status::FinishedFail, HOUR);
    for round in 1..=5_i64 {
        // What passes before the look after a start does not count.
        wait_unheard(&butler, A, |_| true).await;
        send(&butler, "sense1");
        looks(&butler).await;
        clock.set(round * 3 * HOUR / 2);
        tokio::time::sleep(Duration::from_millis(400 * round.unsigned_abs())).await;
        butler = butler.kill_and_start().await;
    }
    clock.set(12 * HOUR);
    sink.wait_where("the event about B", |request| request.json()["data"]["node"] == B).await;
    looks(&butler).await;
    let about_b = told(&sink).iter().filter(|node| *node == B).count();
    assert_eq!(about_b, 1, "{:?}", told(&sink));
}

#[tokio::test]
async fn days_that_are_no_working_days_do_not_count() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).weekday();
    // The only working day is the third from now: two days are between.
    let working = name(today.wrapping_add(3));
    let butler = sense.butler_under(&clock.environment(), &config(&sink, &format!("[{working}]"), "")).await;
    begin(&butler).await;
    executed(&sense, B, Status::FinishedSuccess, HOUR);
    clock.set(36 * HOUR);
    wait_unheard(&butler, A, |seconds| seconds > 35.0 * 3600.0).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [""; 0], "the whole of a day, and no working day");
    // At this time on that day, or at its end: it has been longer than four hours by then, or ends within four days.
    clock.set(4 * 24 * HOUR);
    sink.wait(1).await;
    assert_eq!(told(&sink)[0], B, "A has executed nothing");
}

fn name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    }
}

#[tokio::test]
async fn what_a_worker_executes_is_the_managers_to_tell() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Manager, SchedulerKind::Worker);
    let butler = sense.butler_under(&clock.environment(), &config(&sink, ALL_DAYS, "")).await;
    begin(&butler).await;
    executed(&sense, B, Status::FinishedSuccess, HOUR);
    clock.set(3 * HOUR);
    wait_unheard(&butler, A, |seconds| seconds > 2.9 * 3600.0).await;
    send(&butler, "sense1");
    wait_unheard(&butler, A, |seconds| seconds < 600.0).await;
    clock.set(6 * HOUR);
    wait_unheard(&butler, A, |seconds| seconds > 2.9 * 3600.0).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [""; 0], "the worker sends nothing, and need not");
    executed(&sense, B, Status::FinishedSuccess, 6 * HOUR);
    clock.set(8 * HOUR);
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["data"]["node"], A, "{event}");
    assert!(event["data"]["silence"]["lastHeardAt"].is_string(), "{event}");
    let config = butler.config().to_str().unwrap().to_owned();
    let check = tokio::task::spawn_blocking(move || run(&["check", "-c", &config])).await.unwrap();
    let line = check.stdout.lines().find(|line| line.contains("instance watch")).unwrap_or_default();
    assert!(line.starts_with("ok") && line.contains(&format!("watches {A}")), "{}", check.stdout);
    assert!(line.ends_with(&format!("only execute, so another node tells of it: {B}")), "{}", check.stdout);
}

#[tokio::test]
async fn while_qlik_sense_is_away_nobody_is_told_and_then_it_is() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let butler = sense.butler_under(&clock.environment(), &config(&sink, ALL_DAYS, ", successes: false")).await;
    begin(&butler).await;
    executed(&sense, B, Status::Aborted, HOUR);
    executed(&sense, A, Status::FinishedSuccess, HOUR);
    sense.faults().add(Fault::reset());
    clock.set(5 * HOUR);
    let said = || butler.log().matches(" WARN Qlik Sense cannot be asked which nodes").count();
    wait_for("that to be said", || async { (said() > 0).then_some(()) }).await;
    looks(&butler).await;
    assert_eq!((told(&sink), said()), (vec![], 1), "{}", butler.log());
    sense.faults().clear();
    sense.faults().add(Fault::status(403).on(Endpoint::ExecutionResultCount).first(2));
    sink.wait(1).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [B], "A has only successes, which do not count here");
}
