//! A node that executes and sends nothing is told, once; a node that is heard is not.
//!
//! The clock of the daemon goes faster than that of the simulated Qlik Sense: executions are given the times of the former. It goes
//! on in steps that are short enough to be no suspension of the machine. Four spans of them make a silence.

use std::time::{Duration, SystemTime};

use e2e::qlik::{Endpoint, Fault, Run, Scheduler, SchedulerKind, Site, Status, Task};
use e2e::{Butler, Fields, Sense, Sink, WallClock, failure, fields, run, wait_for};
use jiff::civil::Weekday;
use jiff::{Timestamp, tz::TimeZone};

const SPAN: i64 = 240;
const HOUR: i64 = 3600;
/// They send by short names.
const A: &str = "sense1.lab.local";
const B: &str = "sense2.lab.local";
const ALL_DAYS: &str = "[mon, tue, wed, thu, fri, sat, sun]";

fn config(sink: &Sink, days: &str, more: &str) -> String {
    format!(
        "plugins:\n  - use: node-silence\n    name: watch\n    settings: {{ when: {{ every: 1s }}, silentAfter: 16m, workingTime: {{ days: {days} }}{more} }}\n  \
         - use: webhook\n    name: hook\n    on: [{{ events: [node.silent] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// Two nodes of these kinds.
fn nodes(sense: &Sense, a: SchedulerKind, b: SchedulerKind) {
    sense.site().set_schedulers([Scheduler::new(A, a), Scheduler::new(B, b)]);
}

/// A task of its own has been executed on a node; by the clock of the daemon so many seconds from now.
fn executed(sense: &Sense, node: &str, status: Status, ahead: i64) {
    let end = SystemTime::now() + Duration::from_secs(ahead.unsigned_abs());
    let run = Run::new(status).on_node(node).ending_at(end);
    let task = sense.site().add_task(Task::reload("Load", Site::SAMPLE_APP));
    sense.site().run_task(&task, &fields().execution_id, run).expect("the site has the task");
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

/// The clock goes on, with a look after each step; A must not be heard meanwhile.
async fn go_on(butler: &Butler, clock: &WallClock, from: i64, to: i64) {
    let mut at = from;
    while at < to {
        let step = SPAN.min(to - at);
        let before = unheard(butler, A).await.expect("A was heard");
        at += step;
        clock.set(at);
        wait_unheard(butler, A, |seconds| {
            seconds > before + 0.8 * f64::from(i32::try_from(step).expect("a step is short"))
        })
        .await;
    }
}

/// A is heard.
async fn hear_a(butler: &Butler) {
    send(butler, "sense1");
    wait_unheard(butler, A, |seconds| seconds < 100.0).await;
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
        executed(&sense, node, Status::FinishedSuccess, 2 * SPAN);
    }
    executed(&sense, B, Status::Started, 2 * SPAN);
    go_on(&butler, &clock, 0, 3 * SPAN).await;
    hear_a(&butler).await;
    assert_eq!(told(&sink), [""; 0], "three spans are not four");
    go_on(&butler, &clock, 3 * SPAN, 4 * SPAN + 60).await;
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["kind"], &event["data"]["node"]), (&"node.silent".into(), &B.into()), "{event}");
    let silence = &event["data"]["silence"];
    assert!(silence["lastHeardAt"].is_null() && silence["seconds"].as_i64().unwrap() >= 4 * SPAN, "{event}");
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
    executed(&sense, B, Status::FinishedFail, 6 * SPAN);
    hear_a(&butler).await;
    go_on(&butler, &clock, 4 * SPAN + 60, 8 * SPAN - 60).await;
    hear_a(&butler).await;
    assert_eq!(told(&sink), [B]);
    go_on(&butler, &clock, 8 * SPAN - 60, 8 * SPAN + 150).await;
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
    let mut at = 0;
    for round in 1..=5_u64 {
        // What ended before a start may not have been heard.
        wait_unheard(&butler, A, |_| true).await;
        hear_a(&butler).await;
        executed(&sense, B, Status::FinishedFail, at + 330);
        go_on(&butler, &clock, at, at + SPAN).await;
        at += 420;
        clock.set(at);
        tokio::time::sleep(Duration::from_millis(400 * round)).await;
        butler = butler.kill_and_start().await;
    }
    wait_unheard(&butler, A, |_| true).await;
    executed(&sense, B, Status::FinishedFail, at + 330);
    go_on(&butler, &clock, at, at + 2 * SPAN).await;
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
    executed(&sense, B, Status::FinishedSuccess, 2 * SPAN);
    go_on(&butler, &clock, 0, 5 * SPAN).await;
    assert_eq!(told(&sink), [""; 0], "no working day");
    // At this time on that day; twenty minutes before and after it, one of which are within the day.
    let begin = 3 * 24 * HOUR - 1200;
    clock.set(begin);
    wait_unheard(&butler, A, |seconds| seconds > 2.0 * 24.0 * 3600.0).await;
    executed(&sense, B, Status::FinishedSuccess, begin + 2 * SPAN);
    go_on(&butler, &clock, begin, begin + 10 * SPAN).await;
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
    executed(&sense, B, Status::FinishedSuccess, 2 * SPAN);
    go_on(&butler, &clock, 0, 3 * SPAN).await;
    hear_a(&butler).await;
    go_on(&butler, &clock, 3 * SPAN, 8 * SPAN).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [""; 0], "the worker sends nothing, and need not");
    executed(&sense, B, Status::FinishedSuccess, 7 * SPAN);
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
    executed(&sense, B, Status::Aborted, 2 * SPAN);
    executed(&sense, A, Status::FinishedSuccess, 2 * SPAN);
    sense.faults().add(Fault::reset());
    go_on(&butler, &clock, 0, 5 * SPAN).await;
    let said = || butler.log().matches(" WARN Qlik Sense cannot be asked which nodes").count();
    wait_for("that to be said", || async { (said() > 0).then_some(()) }).await;
    looks(&butler).await;
    assert_eq!((told(&sink), said()), (vec![], 1), "{}", butler.log());
    sense.faults().clear();
    sense.faults().add(Fault::status(403).on(Endpoint::ReloadTaskCount).first(2));
    sink.wait(1).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [B], "A has only successes, which do not count here");
}

/// What ended while Butler was down was logged to nobody, and what is not logged proves nothing.
#[tokio::test]
async fn only_reload_tasks_whose_end_butler_could_have_heard_are_evidence() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let config = config(&sink, ALL_DAYS, "");
    let butler = sense.butler_under(&clock.environment(), &config).await;
    begin(&butler).await;
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");
    executed(&sense, B, Status::FinishedSuccess, 2 * SPAN);
    clock.set(3 * SPAN);
    let butler = sense.butler_under(&clock.environment(), &config).await;
    wait_unheard(&butler, A, |_| true).await;
    let run = || Run::new(Status::FinishedFail).on_node(B).ending_at(SystemTime::now() + Duration::from_mins(28));
    for task in [Task::distribute("Copy", Site::SAMPLE_APP), Task::user_sync("Users"), retried()] {
        let id = sense.site().add_task(task);
        sense.site().run_task(&id, &fields().execution_id, run()).expect("the site has the task");
    }
    go_on(&butler, &clock, 3 * SPAN, 8 * SPAN).await;
    looks(&butler).await;
    assert_eq!(told(&sink), [""; 0]);
    executed(&sense, B, Status::FinishedFail, 7 * SPAN);
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["data"]["node"], B, "{event}");
    assert!(event["data"]["message"].as_str().unwrap().contains("though 1 task has ended"), "{event}");
}

/// A task that is tried again.
fn retried() -> Task {
    let mut task = Task::reload("Again", Site::SAMPLE_APP);
    task.max_retries = 3;
    task
}

#[tokio::test]
async fn what_was_heard_by_a_clock_that_was_ahead_is_no_longer_the_latest_once_it_is_right() {
    let (sense, sink, clock) = (Sense::start().await, Sink::start().await, WallClock::right());
    nodes(&sense, SchedulerKind::Both, SchedulerKind::Both);
    let butler = sense.butler_under(&clock.environment(), &config(&sink, ALL_DAYS, "")).await;
    begin(&butler).await;
    clock.set(9 * HOUR);
    wait_unheard(&butler, A, |seconds| seconds > 8.0 * 3600.0).await;
    hear_a(&butler).await;
    clock.set(0);
    // It would count as heard now at each look until that time has come.
    wait_unheard(&butler, A, |seconds| (2.5..600.0).contains(&seconds)).await;
}
