//! What becomes of runs: that their tasks are started once, and what is not is told once.

use super::*;

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
    lab.run(now_ms() + 1000).await;
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
async fn a_run_that_comes_again_after_the_clock_was_set_back_is_told_again_and_none_is_told_twice() {
    let unknown = "11111111-2222-4333-8444-555555555555";
    let lab = lab(vec![schedule(&json!({ "taskId": unknown }))]).await;
    let planned = now_ms();
    // The clock was ahead, and is set back.
    lab.claim(planned, planned + 7).await;
    lab.start(planned, planned + 7).await;
    lab.store.rewind_schedules(vec!["s".to_owned()], planned - HOUR).await.unwrap();
    lab.claim(planned, planned + 9).await;
    lab.start(planned, planned + 9).await;
    assert_eq!(lab.events().await.len(), 2);
    // A crash before it is settled.
    lab.store.settle_run("s", planned, RunState::Claimed, None).await.unwrap();
    lab.recover().await;
    assert_eq!(lab.events().await.len(), 2);
    assert_eq!(lab.last().await.0, RunState::Failed);

    // The same for one that is claimed in earnest.
    lab.scheduler.add(vec![schedule(&json!({ "taskId": unknown, "cron": "* * * * * *" }))], true).await.unwrap();
    let work = tokio::spawn(lab.scheduler.clone().run(lab.stop.subscribe()));
    let failed = || async {
        let run = lab.scheduler.last_runs(Some("s")).await.unwrap().pop();
        run.filter(|run| run.planned > planned && run.state == RunState::Failed)
    };
    let run = loop {
        match failed().await {
            Some(run) => break run,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    lab.stop.send_replace(true);
    work.await.unwrap();
    let told = lab.events().await.len();
    lab.store.settle_run("s", run.planned, RunState::Claimed, None).await.unwrap();
    lab.recover().await;
    assert_eq!(lab.events().await.len(), told);
}

#[tokio::test]
async fn what_is_stopped_or_changed_before_it_is_started_is_not_started() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    let other = json!({ "taskId": Site::SAMPLE_PRELOAD_TASK });
    // Each waits for a place.
    for (n, change) in
        [json!({ "enabled": false }), json!({ "cron": "0 7 * * *" }), other, json!({ "timeZone": "Asia/Kolkata" })]
            .iter()
            .enumerate()
    {
        let places = lab.scheduler.places.acquire_many(16).await.unwrap();
        let waits = async {
            lab.scheduler.add(vec![schedule(change)], true).await.unwrap();
            drop(places);
        };
        tokio::join!(lab.run(now_ms() + i64::try_from(n).unwrap()), waits);
        let (state, reason) = lab.last().await;
        assert!(
            state == RunState::Skipped && reason.contains("stopped, changed or deleted"),
            "{change}: {state:?} {reason}"
        );
        lab.scheduler.add(vec![schedule(&json!({}))], true).await.unwrap();
    }
    assert!(lab.simulator.site().starts().is_empty() && lab.events().await.is_empty());
    // What does not matter to the run is no reason.
    let places = lab.scheduler.places.acquire_many(16).await.unwrap();
    let waits = async {
        lab.scheduler.add(vec![schedule(&json!({ "name": "other" }))], true).await.unwrap();
        drop(places);
    };
    tokio::join!(lab.run(now_ms() + 10), waits);
    assert_eq!(lab.events().await, [(kind::TASK_START_SUCCEEDED.to_owned(), "schedule:s (other)".to_owned())]);
    // Between two attempts: the first one is told.
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::TaskFull).first(1));
    let stops = async {
        while lab.simulator.counts().requests_to(Endpoint::TaskFull) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        lab.scheduler.switch(Some("s"), false, true).await.unwrap();
    };
    tokio::join!(lab.run(now_ms() + 20), stops);
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Failed && reason.contains("500"), "{state:?} {reason}");
    assert_eq!((lab.simulator.site().starts().len(), lab.events().await.len()), (1, 2));
}

#[tokio::test]
async fn what_waits_until_the_next_run_has_come_is_left_to_it() {
    let lab = lab(vec![schedule(&json!({ "cron": "* * * * * *" }))]).await;
    lab.run(now_ms() - 1500).await;
    let (state, reason) = lab.last().await;
    assert!(state == RunState::Missed && reason.contains("the next run came"), "{state:?} {reason}");
    assert!(lab.simulator.site().starts().is_empty());
}

#[tokio::test]
async fn of_runs_that_were_claimed_when_butler_ended_one_is_made_up_for() {
    let lab = lab(vec![schedule(&json!({ "missed": "once" }))]).await;
    let now = now_ms();
    for n in 0..3 {
        lab.claim(now + n, now + n).await;
    }
    lab.recover().await;
    assert_eq!((lab.last().await.0, lab.simulator.site().starts().len()), (RunState::Started, 1));
    // None, where another is due.
    let before = now - 25 * HOUR;
    lab.claim(before, before).await;
    lab.scheduler.entries_mut(|entries| entries[0] = Entry::new(Schedule::clone(&entries[0].schedule), before));
    lab.recover().await;
    assert_eq!(lab.simulator.site().starts().len(), 1);
    assert!(lab.store.claimed_runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_execution_that_has_not_begun_is_the_one_that_was_asked_for() {
    let lab = lab(vec![schedule(&json!({ "missed": "once" }))]).await;
    // It waits for an engine, and has no time of its beginning.
    let never = Timestamp::now().duration_since("1753-01-01T00:00:00Z".parse().unwrap());
    let run = Execution::new(Status::Queued).lasting(Duration::try_from(never).unwrap());
    lab.simulator.site().run_task(Site::SAMPLE_RELOAD_TASK, "e", run).unwrap();
    let now = now_ms();
    lab.claim(now, now).await;
    lab.recover().await;
    assert_eq!((lab.last().await.0, lab.simulator.site().starts().len()), (RunState::Started, 0));
}

#[tokio::test]
async fn a_claim_that_took_too_long_is_missed_where_missed_runs_are_left_out() {
    for (missed, started) in [("skip", 0), ("once", 1)] {
        let lab = lab(vec![schedule(&json!({ "cron": "0 * * * * *", "missed": missed }))]).await;
        // As if it had waited for the store since then.
        let begun = now_ms() - 10 * MINUTE;
        lab.scheduler
            .entries_mut(|entries| entries[0] = Entry::new(Schedule::clone(&entries[0].schedule), begun - MINUTE));
        let Claimed { runs, late } = lab.scheduler.claim(begun).await.unwrap();
        assert_eq!((runs.len(), late.len()), (started, 1 - started), "{missed}");
        lab.scheduler.clone().leave_out(late).await;
        let state = if started == 0 { RunState::Missed } else { RunState::Claimed };
        assert_eq!(lab.last().await.0, state, "{missed}");
    }
}
