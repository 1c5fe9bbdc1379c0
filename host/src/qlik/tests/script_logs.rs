//! The ways to script logs.

use std::sync::Arc;
use std::time::Duration;

use qlik_simulator::{Endpoint, Fault, Options, Run, ScriptLogs as Ways, Site, Status};

use super::{EXECUTION, Lab, heard, lab, now};
use crate::config;
use crate::qlik::{Found, Lookups, Outcome, ResultFacts, ScriptLogs};

async fn failed(lab: &Lab, run: Run) -> ResultFacts {
    lab.site().run_task(Site::SAMPLE_RELOAD_TASK, EXECUTION, run).unwrap();
    let lookups = lab.lookups();
    match lookups.execution(Some(EXECUTION), None, Outcome::Failed, now()).await.unwrap() {
        Found::Result(result) => *result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_ways_to_a_script_log_work_and_are_remembered() {
    for (ways, first_calls) in [(Ways::Both, (1, 0)), (Ways::Old, (1, 0)), (Ways::May2025, (1, 1))] {
        let lab = lab(Options::default()).await;
        lab.site().set_script_logs(ways);
        let result = failed(&lab, Run::new(Status::FinishedFail).script_log("a\r\nb\r\nc")).await;
        let (repository, logs) = (lab.repository(), ScriptLogs::default());
        let id = result.execution.result_id.as_deref().unwrap();
        let fetch = || logs.fetch(&repository, Site::SAMPLE_RELOAD_TASK, id, result.file_reference.as_deref(), 1_000);
        assert_eq!(fetch().await.unwrap().unwrap().text, "a\nb\nc");
        let calls = || {
            let counts = lab.simulator.counts();
            (counts.requests_to(Endpoint::ScriptLog), counts.requests_to(Endpoint::ScriptLogFile))
        };
        assert_eq!(calls(), first_calls, "{ways:?}");
        fetch().await.unwrap().unwrap();
        let second = if ways == Ways::May2025 { (1, 2) } else { (2, 0) };
        assert_eq!(calls(), second, "{ways:?}");
        if ways == Ways::May2025 {
            let seen: Vec<_> = lab.simulator.seen_requests().into_iter().map(|request| request.target).collect();
            let order =
                ["executionresult/full?", "/scriptlog?", "/scriptlogfile?", "/scriptlog.txt?", "/scriptlogfile?"];
            assert!(seen.len() == 6 && seen.iter().zip(order).all(|(seen, call)| seen.contains(call)), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_log_that_comes_late_is_waited_for() {
    let lab = lab(Options::default()).await;
    lab.site().set_download_delay(Duration::from_millis(400));
    let result = failed(&lab, Run::new(Status::FinishedFail)).await;
    let log = lab.lookups().script_log(Site::SAMPLE_RELOAD_TASK, &result).await.unwrap().unwrap();
    assert!(log.text.contains("Execution Failed") && !log.truncated);
    assert!(lab.simulator.counts().requests_to(Endpoint::ScriptLogDownload) > 1);
}

#[tokio::test]
async fn without_a_log_the_event_goes_on() {
    let lab = lab(Options::default()).await;
    let result = failed(&lab, Run::new(Status::FinishedFail).without_script_log()).await;
    assert_eq!(result.file_reference, None);
    lab.simulator.reset_counts();
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    let out = lab.lookups().enrich(&heard, "reload-task.failed", now(), true, Duration::from_mins(1)).await;
    assert_eq!((out.missing.as_slice(), out.transient, out.not_yet), (&["scriptLog"][..], None, true));
    let counts = lab.simulator.counts();
    assert_eq!((counts.requests_to(Endpoint::ScriptLog), counts.requests_to(Endpoint::ScriptLogFile)), (0, 1));
}

#[tokio::test]
async fn a_server_that_fails_on_the_log_is_worth_another_try() {
    let lab = lab(Options::default()).await;
    let result = failed(&lab, Run::new(Status::FinishedFail)).await;
    let lookups = lab.lookups();
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::ScriptLog));
    lookups.script_log(Site::SAMPLE_RELOAD_TASK, &result).await.unwrap().unwrap();
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::ScriptLogFile));
    let error = lab.lookups().script_log(Site::SAMPLE_RELOAD_TASK, &result).await.unwrap_err();
    assert!(error.is_transient() && error.status() == Some(500), "{error:?}");
}

#[tokio::test]
async fn a_long_log_is_cut_while_it_comes() {
    let lab = lab(Options::default()).await;
    let text: String = (0..20_000).flat_map(|n| ["line ".to_owned(), format!("{n:05}\r\n")]).collect();
    let result = failed(&lab, Run::new(Status::FinishedFail).script_log(&*text)).await;
    let settings = config::ScriptLog { max_size: config::Size::bytes(2_000), ..config::ScriptLog::default() };
    let lookups = Lookups::new(Arc::new(lab.repository()), &settings, 1);
    let log = lookups.script_log(Site::SAMPLE_RELOAD_TASK, &result).await.unwrap().unwrap();
    assert!(log.truncated && log.text.len() < 2_100);
    assert_eq!((log.rows, log.characters), (20_001, text.len() as u64));
    assert_eq!((log.head_tail(1).0, log.head_tail(2).1[0].as_str()), (vec!["line 00000".to_owned()], "line 19999"));
}
