//! What a look at the clock leads to, and what becomes of runs.

use std::time::Duration;

use butler_plugin_api::kind;
use qlik_simulator::{Endpoint, Fault, Options, QlikSimulator, Run as Execution, Site, Status};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::plan::look;
use super::*;
use crate::config::Config;
use crate::current::Current;
use crate::qlik::{Lookups, Repository};
use crate::store::{Claim, RunState};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn schedule(more: &Value) -> Schedule {
    let mut value = json!({ "id": "s", "name": "nightly", "cron": "0 6 * * *", "timeZone": "UTC", "taskId": Site::SAMPLE_RELOAD_TASK });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Schedule::read(value.as_object().unwrap(), Form::Own).unwrap()
}

/// Planned times, missed ones with a mark, and what was rewound.
fn looked(schedule: &Schedule, since: &str, now: &str) -> (Vec<String>, usize) {
    let entry = Entry::new(schedule.clone(), at(since));
    let look = look(&[entry], at(now));
    let due = look.due.iter().map(|due| format!("{}{}", rfc(due.planned), if due.missed { " missed" } else { "" }));
    (due.collect(), look.rewound.len())
}

fn rfc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().to_string()
}

#[test]
fn what_is_due_is_due_once() {
    let nightly = schedule(&json!({}));
    let none = || (Vec::new(), 0);
    let due = |time: &str| (vec![time.to_owned()], 0);
    let since = "2026-06-01T06:00:00Z";
    assert_eq!(looked(&nightly, since, "2026-06-02T05:59:59.999Z"), none());
    assert_eq!(looked(&nightly, since, "2026-06-02T06:00:00Z"), due("2026-06-02T06:00:00Z"));
    assert_eq!(looked(&nightly, since, "2026-06-02T06:01:00Z"), due("2026-06-02T06:00:00Z"));
    assert_eq!(looked(&nightly, since, "2026-06-02T06:01:01Z"), due("2026-06-02T06:00:00Z missed"));
    assert_eq!(looked(&nightly, since, "2026-06-20T07:00:00Z"), due("2026-06-20T06:00:00Z missed"));
    assert_eq!(looked(&nightly, since, "2026-06-20T06:00:10Z"), due("2026-06-20T06:00:00Z"));
    let once = schedule(&json!({ "missed": "once" }));
    assert_eq!(looked(&once, since, "2026-06-20T07:00:00Z"), due("2026-06-20T06:00:00Z"));
    let stopped = schedule(&json!({ "enabled": false }));
    assert_eq!(looked(&stopped, since, "2026-06-20T06:00:10Z"), none());
}

#[test]
fn a_clock_that_was_set_back_neither_repeats_nor_stops_runs() {
    let (nightly, hourly) = (schedule(&json!({})), schedule(&json!({ "cron": "*/5 * * * *" })));
    let since = "2026-06-02T06:00:00Z";
    // Adjusted.
    assert_eq!(looked(&hourly, since, "2026-06-02T05:59:30Z"), (Vec::new(), 0));
    // Set back by an hour: the nightly one has run.
    assert_eq!(looked(&nightly, since, "2026-06-02T05:00:00Z"), (Vec::new(), 0));
    assert_eq!(looked(&hourly, since, "2026-06-02T05:00:00Z"), (Vec::new(), 1));
    // It was wrong.
    assert_eq!(looked(&nightly, since, "2026-05-02T05:00:00Z"), (Vec::new(), 1));
}

struct Lab {
    simulator: QlikSimulator,
    scheduler: Arc<Scheduler>,
    store: Store,
    stop: watch::Sender<bool>,
    _folder: TempDir,
}

async fn lab(of: Vec<Schedule>) -> Lab {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = simulator.certificates().write_to(folder.path()).unwrap();
    let qlik = json!({
        "host": "127.0.0.1", "user": r"LAB\butler", "ports": { "repository": simulator.addr().port() },
        "certificates": { "client": files.client, "key": files.client_key, "ca": files.root },
    });
    let config: Config = serde_json::from_value(json!({ "version": 1, "qlik": qlik })).unwrap();
    let repository = Arc::new(Repository::new(config.qlik.as_ref().unwrap()).unwrap());
    let lookups = Arc::new(Lookups::new(repository, &config.script_log, 4));
    let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
    let starter = TaskStarter::new(lookups, store.clone(), Arc::default(), Arc::new(Current::new(config)));
    let scheduler = Scheduler::open(store.clone(), Some(starter), Arc::default()).await.unwrap();
    scheduler.add(of, false).await.unwrap();
    Lab { simulator, scheduler, store, stop: watch::Sender::new(false), _folder: folder }
}

impl Lab {
    /// Claims and starts a run of the schedule `s`.
    async fn run(&self, planned: i64) {
        let claim = Claim { schedule: "s".to_owned(), planned, at: planned, missed: false };
        assert_eq!(self.store.claim_runs(vec![claim]).await.unwrap(), [true]);
        let schedule = self.scheduler.get("s").unwrap();
        self.scheduler.clone().start(schedule, planned, self.stop.subscribe()).await;
    }

    async fn last(&self) -> (RunState, String) {
        let run = self.scheduler.last_runs(Some("s")).await.unwrap().remove(0);
        (run.state, run.message.unwrap_or_default())
    }

    async fn events(&self) -> Vec<(String, String)> {
        let rows = self.store.accepted_events(0, 100).await.unwrap();
        rows.into_iter()
            .map(|row| (row.event.kind, row.event.data.task_start.unwrap().caller.unwrap_or_default()))
            .collect()
    }

    /// What a start of Butler makes of what was claimed.
    async fn recover(&self) {
        let mut starts = JoinSet::new();
        self.scheduler.recover(&mut starts, &self.stop.subscribe()).await;
        while starts.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn a_task_is_started_and_told_of() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    lab.run(now_ms()).await;
    assert_eq!(lab.simulator.site().starts(), [Site::SAMPLE_RELOAD_TASK]);
    assert_eq!(lab.last().await.0, RunState::Started);
    assert_eq!(lab.events().await, [(kind::TASK_START_SUCCEEDED.to_owned(), "schedule:s (nightly)".to_owned())]);
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_told_only_when_it_is_given_up() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::TaskFull).first(1));
    lab.run(now_ms()).await;
    assert_eq!(lab.last().await.0, RunState::Started, "the second attempt");
    assert_eq!(lab.events().await.len(), 1);
    // The next run is too near for another attempt.
    lab.scheduler.add(vec![schedule(&json!({ "cron": "* * * * * *" }))], true).await.unwrap();
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::TaskFull));
    lab.run(now_ms()).await;
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Failed && reason.contains("500"), "{reason}");
    let events = lab.events().await;
    assert_eq!(
        events.iter().map(|event| event.0.as_str()).collect::<Vec<_>>(),
        [kind::TASK_START_SUCCEEDED, kind::TASK_START_FAILED]
    );
    assert_eq!(lab.simulator.site().starts().len(), 1);
}

#[tokio::test]
async fn an_attempt_whose_answer_was_lost_is_not_doubled() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    lab.simulator.faults().add(Fault::reset().on(Endpoint::TaskStartSynchronous).first(1));
    let running = lab.run(now_ms());
    let begins = async {
        while lab.simulator.counts().requests_to(Endpoint::TaskStartSynchronous) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.simulator.site().begin_task(Site::SAMPLE_RELOAD_TASK, "e").unwrap();
    };
    tokio::join!(running, begins);
    assert_eq!(lab.last().await.0, RunState::Started);
    assert_eq!(lab.simulator.counts().requests_to(Endpoint::TaskStartSynchronous), 1);
}

#[tokio::test]
async fn what_no_attempt_would_help_is_told_at_once() {
    let unknown = "11111111-2222-4333-8444-555555555555";
    let lab = lab(vec![schedule(&json!({ "taskId": unknown }))]).await;
    lab.run(now_ms()).await;
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Failed && reason.contains("no task with this id"), "{reason}");
    assert_eq!(lab.events().await.len(), 1);
}

#[tokio::test]
async fn a_task_that_runs_still_is_left_alone_where_that_is_wanted() {
    let lab = lab(vec![schedule(&json!({ "overlap": "skip" }))]).await;
    lab.simulator.site().begin_task(Site::SAMPLE_RELOAD_TASK, "e").unwrap();
    lab.run(now_ms()).await;
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Skipped && reason.contains("running still"), "{reason}");
    assert!(lab.simulator.site().starts().is_empty() && lab.events().await.is_empty());
    lab.simulator.site().succeed_task(Site::SAMPLE_RELOAD_TASK, "e").unwrap();
    lab.run(now_ms() + 1).await;
    assert_eq!(lab.last().await.0, RunState::Started);
    lab.scheduler.add(vec![schedule(&json!({}))], true).await.unwrap();
    lab.simulator.site().begin_task(Site::SAMPLE_RELOAD_TASK, "f").unwrap();
    lab.run(now_ms() + 2).await;
    assert_eq!((lab.last().await.0, lab.simulator.site().starts().len()), (RunState::Started, 2));
}

#[tokio::test]
async fn a_run_that_was_claimed_when_butler_ended_is_not_forgotten() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    let claim = |planned| Claim { schedule: "s".to_owned(), planned, at: planned, missed: false };
    let now = now_ms();
    lab.store.claim_runs(vec![claim(now)]).await.unwrap();
    lab.recover().await;
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Failed && reason.contains("look in the QMC"), "{reason}");
    assert_eq!(lab.events().await[0].0, kind::TASK_START_FAILED);
    assert!(lab.simulator.site().starts().is_empty());

    lab.scheduler.add(vec![schedule(&json!({ "missed": "once" }))], true).await.unwrap();
    lab.store.claim_runs(vec![claim(now + 1)]).await.unwrap();
    lab.recover().await;
    assert_eq!((lab.last().await.0, lab.simulator.site().starts().len()), (RunState::Started, 1));
    // Its task has begun to run since.
    lab.store.claim_runs(vec![claim(now + 2)]).await.unwrap();
    let run = Execution::new(Status::Started).lasting(Duration::ZERO);
    lab.simulator.site().run_task(Site::SAMPLE_RELOAD_TASK, "e", run).unwrap();
    lab.recover().await;
    assert_eq!((lab.last().await.0, lab.simulator.site().starts().len()), (RunState::Started, 1));
    assert!(lab.store.claimed_runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn schedules_are_changed_all_or_none() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    let two = || vec![schedule(&json!({ "id": "t" })), schedule(&json!({}))];
    let error = lab.scheduler.add(two(), false).await.unwrap_err();
    assert_eq!(error.to_string(), "there is a schedule with this id already: s");
    assert_eq!(lab.scheduler.all().len(), 1);
    lab.scheduler.add(two(), true).await.unwrap();
    let many = (0..MAX_SCHEDULES).map(|n| schedule(&json!({ "id": n })));
    assert!(matches!(lab.scheduler.add(many.collect(), false).await, Err(ChangeError::TooMany)));
    let switched = lab.scheduler.switch(None, false, true).await.unwrap();
    assert!(switched.len() == 2 && switched.iter().all(|one| !one.enabled && one.next_runs(5).is_empty()));
    assert!(matches!(lab.scheduler.switch(Some("x"), true, true).await, Err(ChangeError::Unknown(_))));
    lab.scheduler.remove("s").await.unwrap();
    assert!(matches!(lab.scheduler.remove("s").await, Err(ChangeError::Unknown(_))));
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    assert_eq!(again.all(), lab.scheduler.all());
    assert_eq!(again.all().iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["t"]);
}

#[tokio::test]
async fn what_a_change_leaves_as_planned_goes_on_and_all_else_begins_now() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    lab.scheduler.entries_mut(|entries| entries[0].since = 5);
    lab.scheduler.add(vec![schedule(&json!({ "name": "other" }))], true).await.unwrap();
    assert_eq!(lab.scheduler.entries()[0].since, 5);
    lab.scheduler.add(vec![schedule(&json!({ "cron": "0 7 * * *" }))], true).await.unwrap();
    assert!(lab.scheduler.entries()[0].since > now_ms() - HOUR);
}

#[tokio::test]
async fn it_works_until_it_is_to_stop() {
    let lab = lab(vec![schedule(&json!({ "cron": "* * * * * *" }))]).await;
    let work = tokio::spawn(lab.scheduler.clone().run(lab.stop.subscribe()));
    while lab.simulator.site().starts().len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Another one, while it waits.
    let other = json!({ "id": "t", "cron": "* * * * * *", "taskId": Site::SAMPLE_PRELOAD_TASK });
    lab.scheduler.add(vec![schedule(&other)], false).await.unwrap();
    while !lab.simulator.site().starts().contains(&Site::SAMPLE_PRELOAD_TASK.to_owned()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let now = lab.scheduler.run_now("t", "me").await.unwrap();
    assert!(now.state == RunState::Started && !now.message.is_empty(), "{now:?}");
    lab.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), work).await.unwrap().unwrap();
    let started = lab.simulator.site().starts().len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lab.simulator.site().starts().len(), started);
    assert!(lab.store.claimed_runs().await.unwrap().is_empty());
}
