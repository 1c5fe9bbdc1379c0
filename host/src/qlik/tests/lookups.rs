//! From heard to enriched events.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use butler_plugin_api::{Data, Task};
use qlik_simulator::{Endpoint, ExecutionIds, Fault, Options, Run, Site, Status};

use super::{EXECUTION, heard, lab, now};

const PATIENCE: Duration = Duration::from_mins(1);
const UNKNOWN: &str = "99999999-7c3b-4e6a-9d41-6b1c2e3f4a01";

#[tokio::test]
async fn a_failed_reload_gets_all_its_facts_with_four_calls() {
    let lab = lab(Options::default()).await;
    let result = lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let out = lab
        .lookups()
        .enrich(&heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION)), "reload-task.failed", now(), false, PATIENCE)
        .await;
    assert_eq!(
        (out.kind.as_str(), out.missing.as_slice(), out.pending, out.not_yet),
        ("reload-task.failed", &[][..], false, false)
    );
    assert_eq!(
        (out.transient, out.keys, out.time),
        (None, vec![format!("result:{}", result.id)], Some(result.stop_time))
    );
    let data = out.data;
    let (task, app, execution) = (data.task.unwrap(), data.app.unwrap(), data.execution.unwrap());
    assert_eq!((task.name.as_str(), task.task_type.as_deref()), ("Reload order analysis", Some("reload")));
    assert_eq!(task.custom_properties["taskGroup"], ["sales"]);
    assert_eq!((app.name.as_str(), app.stream.unwrap().name.as_str()), ("Order analysis", "Everyone"));
    assert_eq!(app.owner.unwrap().emails, ["ann.berg@example.com"]);
    assert_eq!((execution.id.as_deref(), execution.status), (Some(EXECUTION), Some(8)));
    assert!(execution.details.is_sorted_by_key(|detail| detail.time.clone()) && execution.details.len() > 1);
    assert_eq!((data.node.as_deref(), data.user.as_deref()), (Some("node-of-the-line"), Some(r"LAB\ann")));
    assert_eq!(data.log.unwrap().message, "Max retries reached");
    assert!(!data.kind_assumed && data.missing.is_empty());
    assert_eq!(lab.requests(), 4);
}

#[tokio::test]
async fn a_burst_shares_its_calls() {
    let lab = lab(Options::default()).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    lab.simulator.faults().add(Fault::latency(Duration::from_millis(50)));
    let lookups = Arc::new(lab.lookups());
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    let received = now();
    let workers: Vec<_> = (0..50)
        .map(|_| {
            let (lookups, heard) = (lookups.clone(), heard.clone());
            tokio::spawn(async move { lookups.enrich(&heard, "reload-task.failed", received, true, PATIENCE).await })
        })
        .collect();
    let mut first = None;
    for worker in workers {
        let out = worker.await.unwrap();
        assert!(out.missing.is_empty() && out.script_log.is_some(), "{out:?}");
        assert_eq!(&out.data, first.get_or_insert_with(|| out.data.clone()));
    }
    // Task, app, owner, execution; reference and download of the log.
    assert_eq!(lab.requests(), 6);
}

#[tokio::test]
async fn further_failures_of_a_task_need_one_call_each() {
    let lab = lab(Options::default()).await;
    let lookups = lab.lookups();
    for number in 0..10 {
        let execution = format!("6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a{number:02}");
        let result = lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, &execution).unwrap();
        let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(&execution.to_ascii_uppercase()));
        let out = lookups.enrich(&heard, "reload-task.failed", now(), false, PATIENCE).await;
        assert_eq!((out.missing.len(), out.keys), (0, vec![format!("result:{}", result.id)]));
    }
    assert_eq!(lab.requests(), 3 + 10);
}

#[tokio::test]
async fn the_type_of_the_task_decides_the_kind() {
    let lab = lab(Options::default()).await;
    let lookups = lab.lookups();
    for (task, kind, with_app) in [
        (Site::SAMPLE_EXTERNAL_PROGRAM_TASK, "external-program-task.aborted", false),
        (Site::SAMPLE_USER_SYNC_TASK, "user-sync-task.aborted", false),
        (Site::SAMPLE_DISTRIBUTE_TASK, "distribute-task.aborted", true),
        (Site::SAMPLE_PRELOAD_TASK, "preload-task.aborted", true),
    ] {
        lab.site().abort_task(task, EXECUTION).unwrap();
        lookups.forget_execution(Some(EXECUTION));
        let out = lookups.enrich(&heard(task, Some(EXECUTION)), "reload-task.aborted", now(), true, PATIENCE).await;
        assert_eq!((out.kind.as_str(), out.missing.as_slice()), (kind, &[][..]));
        assert_eq!(out.data.app.unwrap().owner.is_some(), with_app);
        assert!(out.script_log.is_none());
    }
}

#[tokio::test]
async fn what_qrs_does_not_know_is_missing_for_good() {
    let lab = lab(Options::default()).await;
    let mut heard = heard(UNKNOWN, Some(EXECUTION));
    heard.app.as_mut().unwrap().id = UNKNOWN.to_owned();
    let out = lab.lookups().enrich(&heard, "reload-task.failed", now(), true, PATIENCE).await;
    assert_eq!(out.missing, ["task", "execution", "app", "scriptLog"]);
    assert_eq!((out.transient, out.kind.as_str(), out.data.kind_assumed), (None, "reload-task.failed", true));
    assert_eq!((out.data.task, out.data.app), (heard.task, heard.app));

    // Nothing is asked for ids that are none.
    let asked = lab.requests();
    let odd = Data { task: Some(Task { id: "' or 1 eq 1".to_owned(), ..Task::default() }), ..Data::default() };
    let out = lab.lookups().enrich(&odd, "reload-task.failed", now(), true, PATIENCE).await;
    assert_eq!((out.missing.len(), out.transient, lab.requests()), (4, None, asked));
}

#[tokio::test]
async fn trouble_with_the_owner_does_not_lose_the_app() {
    let lab = lab(Options::default()).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let lookups = lab.lookups();
    lab.simulator.faults().add(Fault::status(403).on(Endpoint::UserById).first(1));
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    let out = lookups.enrich(&heard, "reload-task.failed", now(), false, PATIENCE).await;
    assert_eq!(out.missing, ["owner"]);
    assert_eq!(out.transient.and_then(|error| error.status()), Some(403));
    let app = out.data.app.unwrap();
    assert_eq!((app.name.as_str(), app.owner.unwrap().user_id.as_str()), ("Order analysis", "ann"));
    assert_eq!(out.data.missing, ["owner"]);

    // The second try asks for the owner only.
    lab.simulator.reset_counts();
    let out = lookups.enrich(&heard, "reload-task.failed", now(), false, PATIENCE).await;
    assert_eq!((out.missing.len(), out.transient, lab.requests()), (0, None, 1));
}

#[tokio::test]
async fn with_qrs_down_the_event_keeps_what_was_heard() {
    let lab = lab(Options::default()).await;
    let lookups = lab.lookups();
    lab.simulator.stop().await;
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    let out = lookups.enrich(&heard, "reload-task.failed", now(), true, PATIENCE).await;
    assert!(out.transient.unwrap().is_transient());
    assert_eq!(out.missing, ["task", "execution", "app", "scriptLog"]);
    assert_eq!((&out.data.task, &out.data.app, out.data.kind_assumed), (&heard.task, &heard.app, true));
    let out = lookups.enrich(&heard, "distribute-task.pending", now(), false, PATIENCE).await;
    assert!(out.pending && out.transient.is_some());
}

#[tokio::test]
async fn without_equal_ids_the_last_result_of_the_task_is_taken() {
    let lab = lab(Options::default()).await;
    lab.site().set_execution_ids(ExecutionIds::Different);
    let lookups = lab.lookups();
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    lab.site()
        .run_task(
            Site::SAMPLE_RELOAD_TASK,
            EXECUTION,
            Run::new(Status::FinishedFail).ending_at(SystemTime::now() - Duration::from_hours(1)),
        )
        .unwrap();
    let out = lookups.enrich(&heard, "reload-task.failed", now(), false, PATIENCE).await;
    assert_eq!((out.missing.as_slice(), out.not_yet, out.keys.len()), (&["execution"][..], false, 0));

    // The kept answer is older than the next failure, so it does not count.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let result = lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let out = lookups.enrich(&heard, "reload-task.failed", now(), false, PATIENCE).await;
    assert_eq!((out.missing.len(), out.keys), (0, vec![format!("result:{}", result.id)]));
}

#[tokio::test]
async fn a_result_that_comes_late_is_found_by_a_later_try() {
    for ids in [ExecutionIds::Equal, ExecutionIds::Different] {
        let lab = lab(Options::default()).await;
        lab.site().set_execution_ids(ids);
        let lookups = lab.lookups();
        let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
        lab.site().begin_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
        let received = now();
        let out = lookups.enrich(&heard, "reload-task.failed", received, false, PATIENCE).await;
        assert_eq!((out.missing.as_slice(), out.not_yet, out.transient), (&["execution"][..], true, None));
        lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
        let out = lookups.enrich(&heard, "reload-task.failed", received, false, PATIENCE).await;
        assert_eq!((out.missing.len(), out.not_yet), (0, false), "{ids:?}");
    }
}

#[tokio::test]
async fn distributions_wait_for_their_status() {
    for ids in [ExecutionIds::Equal, ExecutionIds::Different] {
        for (status, kind) in [
            (Status::FinishedSuccess, "distribute-task.succeeded"),
            (Status::FinishedFail, "distribute-task.failed"),
            (Status::Error, "distribute-task.failed"),
            (Status::Aborted, "distribute-task.aborted"),
        ] {
            let lab = lab(Options::default()).await;
            lab.site().set_execution_ids(ids);
            let lookups = lab.lookups();
            let heard = heard(Site::SAMPLE_DISTRIBUTE_TASK, Some(EXECUTION));
            let received = now();
            let running = Run::new(Status::DistributionRunning);
            lab.site().run_task(Site::SAMPLE_DISTRIBUTE_TASK, EXECUTION, running).unwrap();
            let out = lookups.enrich(&heard, "distribute-task.pending", received, false, PATIENCE).await;
            assert_eq!((out.pending, out.kind.as_str(), out.transient), (true, "distribute-task.pending", None));
            lab.site().run_task(Site::SAMPLE_DISTRIBUTE_TASK, EXECUTION, Run::new(status)).unwrap();
            let out = lookups.enrich(&heard, "distribute-task.pending", received, false, PATIENCE).await;
            assert_eq!((out.pending, out.kind.as_str(), out.missing.len()), (false, kind, 0), "{ids:?}");
        }
    }
}

#[tokio::test]
async fn an_app_reload_needs_its_app_only() {
    let lab = lab(Options::default()).await;
    let heard = Data { app: heard("", None).app, ..Data::default() };
    let out = lab.lookups().enrich(&heard, "app-reload.failed", now(), true, PATIENCE).await;
    assert_eq!((out.kind.as_str(), out.missing.len(), out.data.kind_assumed), ("app-reload.failed", 0, false));
    assert!(out.data.app.unwrap().owner.is_some() && out.script_log.is_none());
    assert_eq!(lab.requests(), 2);
}
