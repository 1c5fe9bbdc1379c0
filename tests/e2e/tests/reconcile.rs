//! Nothing is missed: what UDP did not tell is asked for, and what two roads tell is told once.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use e2e::qlik::{Endpoint, ExecutionIds, Fault, Options, Site, Status};
use e2e::{Butler, Fields, Sense, Sink, failure, fields, wait_for};
use serde_json::Value;

/// Every second; at the earliest two minutes after the end, by the clock of Qlik Sense.
const ON: &str = "reconcile: { every: 1s }";
/// So long ago that it is looked at, and not so long that it is before the first look.
const AGO: Duration = Duration::from_secs(150);

fn config(sink: &Sink) -> String {
    format!(
        "enrich: {{ giveUpAfter: 5s }}\nplugins:\n  - use: webhook\n    name: hook\n    on: [{{ events: [\"*-task.*\"] }}]\n    \
         retry: {{ initial: 100ms, max: 500ms }}\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// How often each execution was told, by the id of its result in Qlik Sense, with the ids of the events.
fn told(sink: &Sink) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in sink.successes() {
        let event = request.json();
        let result = event["data"]["execution"]["resultId"].as_str().unwrap_or("without a result").to_owned();
        told.entry(result).or_default().push(event["id"].as_str().unwrap_or_default().to_owned());
    }
    told
}

async fn wait_rounds(butler: &Butler, rounds: u32) {
    let last = || butler.metric("butler_reconcile_last_success_timestamp_seconds");
    for _ in 0..rounds {
        let before = last().await;
        wait_for("a round of the reconciler", || async { (last().await > before).then_some(()) }).await;
    }
}

#[tokio::test]
async fn what_udp_does_not_tell_is_found_and_what_both_tell_is_told_once() {
    for ids in [ExecutionIds::Equal, ExecutionIds::Different] {
        let (sense, sink) = (Sense::start().await, Sink::start().await);
        sense.site().set_execution_ids(ids);
        let butler = sense.butler_with(ON, &config(&sink)).await;
        wait_rounds(&butler, 1).await;
        let heard = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, AGO);
        butler.send(&[failure(&heard)]);
        for (task, status) in [
            (Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER, Status::FinishedFail),
            (Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Status::Error),
            (Site::SAMPLE_USER_SYNC_TASK, Status::FinishedSuccess),
            (Site::SAMPLE_PRELOAD_TASK, Status::Aborted),
        ] {
            sense.ended(task, status, AGO);
        }
        sink.wait(5).await;
        wait_rounds(&butler, 3).await;
        let kinds: BTreeMap<String, String> = sink
            .successes()
            .iter()
            .map(|request| (request.json()["kind"].as_str().unwrap().to_owned(), request.json()["source"].to_string()))
            .collect();
        let expected =
            ["external-program-task.failed", "preload-task.aborted", "reload-task.failed", "user-sync-task.succeeded"];
        assert_eq!(kinds.keys().collect::<Vec<_>>(), expected, "{ids:?}");
        assert_eq!(kinds["user-sync-task.succeeded"], "\"qrs\"");
        assert_eq!(told(&sink).len(), 5, "{ids:?}");
        assert!(told(&sink).values().all(|events| events.len() == 1), "{ids:?}: {:?}", told(&sink));
        assert_eq!(butler.metric("butler_reconcile_found_total").await, Some(4.0), "{ids:?}");
        let (_, nodes) = butler.get("/v5/nodes").await;
        let roads = |name: &str| {
            nodes["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .find(|node| node["name"] == name)
                .map(|node| node["roads"].clone())
        };
        let by_udp = roads(&heard.node).unwrap_or_else(|| panic!("{nodes}"));
        assert!(by_udp["udp"].is_string() && by_udp["notifications"].is_null(), "{nodes}");
        assert!(nodes["nodes"].as_array().unwrap().iter().any(|node| node["roads"]["qrs"].is_string()), "{nodes}");
        let path = butler.config().to_str().unwrap().to_owned();
        let check = tokio::task::spawn_blocking(move || e2e::run(&["check", "-c", &path])).await.unwrap();
        let said = &check.stdout;
        let road = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
        assert!(road("road UDP").contains(&format!("last heard: {} at", heard.node)), "{said}");
        assert!(road("road Qlik Sense").starts_with("ok"), "{said}");
        assert!(road("road notifications").contains("off"), "{said}");
    }
}

#[tokio::test]
async fn what_ended_while_butler_was_down_is_told_after_its_start() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler_with(ON, &config(&sink)).await;
    wait_rounds(&butler, 1).await;
    let killed = butler.kill();
    let missed = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, AGO);
    sense.ended(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER, Status::Started, AGO);
    let butler = killed.start().await;
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["data"]["task"]["id"], &event["source"]), (&missed.task_id.into(), &"qrs".into()));
    assert_eq!(event["data"]["task"]["name"], "Reload order analysis", "with all facts: {event}");
    assert!(event["data"]["app"]["owner"]["emails"][0].is_string() && event["data"]["missing"].is_null(), "{event}");
    wait_rounds(&butler, 2).await;
    assert_eq!(sink.received().len(), 1, "neither twice nor what still runs");
}

#[tokio::test]
async fn an_alert_without_its_facts_is_not_told_again_when_they_are_there() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.site().set_execution_ids(ExecutionIds::Different);
    let butler = sense.butler_with(ON, &config(&sink)).await;
    wait_rounds(&butler, 1).await;
    sense.faults().add(Fault::reset());
    let heard = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, AGO);
    butler.send(&[failure(&heard)]);
    sink.wait(1).await;
    // Another run of the same task of which nobody told.
    sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, Duration::from_secs(140));
    sense.faults().clear();
    sink.wait(2).await;
    wait_rounds(&butler, 2).await;
    let sources: Vec<Value> = sink.successes().iter().map(|request| request.json()["source"].clone()).collect();
    assert_eq!(sources, ["udp", "qrs"], "one event for each run");
}

/// A number of attempts of one execution, some minutes ago.
fn attempts(sense: &Sense, task: &str, count: u64) -> Fields {
    let fields = sense.about(task);
    for n in 0..count {
        let end = std::time::SystemTime::now() - AGO - Duration::from_secs(20 * (count - n));
        let run = e2e::qlik::Run::new(Status::FinishedFail).ending_at(end);
        sense.site().run_task(task, &fields.execution_id, run).expect("the site has the task");
    }
    fields
}

#[tokio::test]
async fn disabled_tasks_and_attempts_before_the_last_are_told_only_where_that_is_asked_for() {
    for (alert_on, expected) in [("final", 1), ("attempt", 4)] {
        let (sense, sink) = (Sense::start().await, Sink::start().await);
        let mut task = sense.site().task(Site::SAMPLE_RELOAD_TASK).unwrap();
        task.max_retries = 2;
        sense.site().add_task(task);
        let butler = sense.butler_with(&format!("{ON}\n  alertOn: {alert_on}"), &config(&sink)).await;
        wait_rounds(&butler, 1).await;
        attempts(&sense, Site::SAMPLE_RELOAD_TASK, 3);
        sense.ended(Site::SAMPLE_DISABLED_TASK, Status::FinishedFail, AGO);
        sink.wait(expected).await;
        wait_rounds(&butler, 3).await;
        let told = told(&sink);
        assert_eq!((told.len(), sink.received().len()), (expected, expected), "{alert_on}: {told:?}");
    }
}

#[tokio::test]
async fn while_qlik_sense_gives_no_proper_answer_nothing_is_skipped() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler_with(ON, &config(&sink)).await;
    wait_rounds(&butler, 1).await;
    for fault in [Fault::nonsense(), Fault::reset(), Fault::status(500), Fault::status(403)] {
        sense.faults().add(fault.on(Endpoint::ExecutionResultFull).first(2));
    }
    let missed = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, AGO);
    let told = sink.wait(1).await[0].json();
    assert_eq!(told["data"]["task"]["id"], missed.task_id);
    assert_eq!(butler.log().matches("cannot be asked for at present").count(), 1, "said once: {}", butler.log());
}

/// UDP loses three of ten datagrams and Butler is killed twice: every failed run is told, each as one event.
#[tokio::test]
async fn with_lost_datagrams_and_kills_every_failed_run_has_one_event() {
    const RUNS: usize = 60;
    let seed = std::env::var("BUTLER_SEED").unwrap_or_else(|_| fields().execution_id);
    println!("BUTLER_SEED={seed}");
    for ids in [ExecutionIds::Equal, ExecutionIds::Different] {
        let options = Options::default().site(Site::with_tasks(RUNS));
        let (sense, sink) = (Sense::with(options).await, Sink::start().await);
        sense.site().set_execution_ids(ids);
        let mut butler = sense.butler_with(ON, &config(&sink)).await;
        wait_rounds(&butler, 1).await;
        let (mut lost, mut failed) = (0, Vec::new());
        for n in 0..RUNS {
            let run = sense.ended(&Site::numbered_task(n), Status::FinishedFail, AGO);
            if is_lost(&seed, n) {
                lost += 1;
            } else {
                butler.send(&[failure(&run)]);
            }
            failed.push(run.task_id);
            if n == RUNS / 3 || n == 2 * RUNS / 3 {
                butler = butler.kill_and_start().await;
            }
        }
        assert!(lost > 0, "seed {seed}");
        wait_for(&format!("all runs to be told, seed {seed}; log:\n{}", butler.log()), || async {
            (told(&sink).len() >= RUNS).then_some(())
        })
        .await;
        wait_rounds(&butler, 3).await;
        let mut by_task: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for request in sink.successes() {
            let event = request.json();
            let (task, id) =
                (event["data"]["task"]["id"].as_str().unwrap().to_owned(), event["id"].as_str().unwrap().to_owned());
            *by_task.entry(task).or_default().entry(id).or_default() += 1;
        }
        for task in &failed {
            assert_eq!(by_task.get(task).map(BTreeMap::len), Some(1), "seed {seed}, {ids:?}, {task}: {by_task:?}");
        }
    }
}

/// Three of ten, at random by the seed.
fn is_lost(seed: &str, n: usize) -> bool {
    let mut hash = DefaultHasher::new();
    (seed, n).hash(&mut hash);
    hash.finish() % 10 < 3
}
