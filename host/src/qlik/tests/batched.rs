//! Questions that wait for a place, put together.

use std::sync::Arc;
use std::time::Duration;

use qlik_simulator::{Endpoint, ExecutionIds, Fault, Options, Site};
use tokio::task::JoinSet;

use super::{EXECUTION, Lab, heard, lab, now};
use crate::config;
use crate::qlik::{Lookups, QlikError, TaskFacts};

const TASKS: usize = 60;
const LATENCY: Duration = Duration::from_millis(100);

/// Number of a task, and what came of asking for it.
type Answer = (usize, Result<Option<Arc<TaskFacts>>, QlikError>);

async fn slow_lab() -> Lab {
    let lab = lab(Options::default().site(Site::with_tasks(TASKS))).await;
    lab.simulator.faults().add(Fault::latency(LATENCY));
    lab
}

/// Look-ups with one call at a time.
fn one_at_a_time(lab: &Lab) -> Arc<Lookups> {
    Arc::new(Lookups::new(Arc::new(lab.repository()), &config::ScriptLog::default(), 1))
}

/// Asks for so many tasks at once, each for so long.
fn ask(lookups: &Arc<Lookups>, tasks: std::ops::Range<usize>, patience: Duration) -> JoinSet<Answer> {
    tasks
        .map(|number| {
            let lookups = lookups.clone();
            async move {
                let until = tokio::time::Instant::now() + patience;
                (number, lookups.by(until, lookups.task(&Site::numbered_task(number))).await)
            }
        })
        .collect()
}

async fn requests(lab: &Lab, count: u64) {
    while lab.requests() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn assert_right(answers: Vec<Answer>) {
    for (number, answer) in answers {
        assert_eq!(answer.unwrap().unwrap().task.name, format!("Reload app {number}"));
    }
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_waits_for_a_place_is_asked_for_in_one_call() {
    let lab = slow_lab().await;
    assert_right(ask(&one_at_a_time(&lab), 0..TASKS, LONG).join_all().await);
    // The first goes alone, the others by 25.
    assert_eq!(lab.requests(), 1 + 3);
    let asked = lab.simulator.counts().asked_of(Endpoint::TaskFull);
    assert_eq!((asked.different, asked.most), (TASKS as u64, 1));
    let longest = lab.simulator.seen_requests().iter().map(|request| request.target.len()).max();
    assert!(longest.is_some_and(|length| length < 1_800), "{longest:?}");
    // What QRS does not know is told from what it knows.
    let lookups = one_at_a_time(&lab);
    let first = Site::numbered_task(0);
    let (_, unknown, known) =
        tokio::join!(lookups.task(&first), lookups.task(EXECUTION), lookups.task(Site::SAMPLE_RELOAD_TASK));
    assert_eq!((unknown.unwrap(), known.unwrap().unwrap().task.tags.len()), (None, 1));
}

#[tokio::test]
async fn a_server_that_refuses_several_ids_gets_one_at_a_time() {
    let lab = slow_lab().await;
    let answers = ask(&one_at_a_time(&lab), 0..10, LONG);
    requests(&lab, 1).await;
    lab.simulator.faults().add(Fault::status(400).first(1));
    assert_right(answers.join_all().await);
    assert_eq!(lab.requests(), 1 + 1 + 9);
}

#[tokio::test]
async fn an_error_is_that_of_all_who_asked_together() {
    let lab = slow_lab().await;
    let answers = ask(&one_at_a_time(&lab), 0..10, LONG);
    requests(&lab, 1).await;
    lab.simulator.faults().add(Fault::status(500).first(1));
    let errors: Vec<_> = answers.join_all().await.into_iter().filter_map(|(_, answer)| answer.err()).collect();
    assert_eq!((errors.len(), errors[0].status(), lab.requests()), (9, Some(500), 2));
}

#[tokio::test]
async fn who_loses_patience_leaves_the_others_their_answers() {
    let lab = slow_lab().await;
    lab.simulator.faults().add(Fault::hang().first(2));
    let lookups = one_at_a_time(&lab);
    // One asks alone, the next for all that wait; both are left without an answer and give up.
    let (first, second) = (Duration::from_millis(300), Duration::from_millis(600));
    let mut impatient = ask(&lookups, 0..1, first);
    requests(&lab, 1).await;
    let more = ask(&lookups, 1..2, second);
    tokio::task::yield_now().await;
    let others = ask(&lookups, 2..10, LONG);
    let (_, error) = impatient.join_next().await.unwrap().unwrap();
    assert!(error.unwrap_err().is_transient());
    assert!(more.join_all().await[0].1.is_err());
    assert_right(others.join_all().await);
    assert_eq!(lab.requests(), 3);
}

#[tokio::test]
async fn without_equal_ids_a_burst_asks_for_the_task_once_more() {
    let lab = slow_lab().await;
    lab.site().set_execution_ids(ExecutionIds::Different);
    let lookups = Arc::new(lab.lookups());
    lookups.task(Site::SAMPLE_RELOAD_TASK).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let received = now();
    let burst: JoinSet<_> = (0..20)
        .map(|number| {
            let lookups = lookups.clone();
            let heard =
                heard(Site::SAMPLE_RELOAD_TASK, Some(&format!("6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0b{number:02}")));
            async move { lookups.enrich(&heard, "reload-task.failed", received, false, LONG).await }
        })
        .collect();
    assert!(burst.join_all().await.iter().all(|out| out.missing.is_empty()));
    assert_eq!(lab.simulator.counts().asked_of(Endpoint::TaskFull).most, 2);
}
