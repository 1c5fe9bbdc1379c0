//! What a look at the clock leads to, and what becomes of runs.

mod changes;
mod starts;

use std::time::Duration;

use butler_plugin_api::kind;
use qlik_simulator::{Endpoint, Fault, Options, QlikSimulator, Run as Execution, Site, Status};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::MAX_SCHEDULES;
use super::plan::{Claimed, look};
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
    folder: TempDir,
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
    Lab { simulator, scheduler, store, stop: watch::Sender::new(false), folder }
}

impl Lab {
    /// Claims and starts a run of the schedule `s`.
    async fn run(&self, planned: i64) {
        self.claim(planned, planned).await;
        self.start(planned, planned).await;
    }

    async fn claim(&self, planned: i64, at: i64) {
        let claim = Claim { schedule: "s".to_owned(), planned, at, missed: false };
        assert_eq!(self.store.claim_runs(vec![claim]).await.unwrap(), [true]);
    }

    async fn start(&self, planned: i64, at: i64) {
        let schedule = self.scheduler.get("s").unwrap();
        self.scheduler.clone().start(schedule, planned, at, self.stop.subscribe()).await;
    }

    /// Another connection to its store, for what ails one.
    async fn sql(&self) -> sqlx::SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("butler.db"));
        <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap()
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

#[tokio::test]
async fn a_store_that_refuses_claims_holds_no_stop_up() {
    let lab = lab(vec![schedule(&json!({ "cron": "* * * * * *" }))]).await;
    sqlx::raw_sql("ALTER TABLE schedule_runs RENAME TO gone").execute(&mut lab.sql().await).await.unwrap();
    let work = tokio::spawn(lab.scheduler.clone().run(lab.stop.subscribe()));
    // By then it has failed, and makes a pause.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    lab.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(2), work).await.unwrap().unwrap();
}
