//! When tasks start, and what becomes of those that do not.

use super::*;

/// A daemon with a clock that shows a time, and a schedule; when it has run, the planned time.
async fn runs_at(time: &str, schedule: &Value) -> String {
    let (sense, clock) = (Sense::start().await, WallClock::right());
    set(&clock, time);
    let butler = sense.butler_under(&clock.environment(), "").await;
    make(&butler, schedule).await;
    let run = wait_last(&butler, "s", "started").await;
    assert_eq!(sense.site().starts(), [TASK]);
    let late = run["claimed"].as_str().unwrap().parse::<Timestamp>().unwrap()
        - run["planned"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(late.get_milliseconds() + late.get_seconds() * 1000 < 3000, "{run}");
    run["planned"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tasks_start_at_the_times_of_their_zone_also_when_clocks_are_set() {
    let six = json!({});
    let in_the_gap = json!({ "cron": "30 2 * * *" });
    let midnight = json!({ "cron": "0 0 * * *", "timeZone": "America/Sao_Paulo" });
    let (plain, gap, fold, no_midnight) = tokio::join!(
        runs_at("2027-07-01T03:59:56Z", &six),
        runs_at("2027-03-28T00:59:56Z", &in_the_gap),
        runs_at("2027-10-31T00:29:56Z", &in_the_gap),
        runs_at("2018-11-04T02:59:56Z", &midnight),
    );
    assert_eq!(
        [plain, gap, fold, no_midnight],
        [
            "2027-07-01T04:00:00.000Z",
            "2027-03-28T01:00:00.000Z",
            "2027-10-31T00:30:00.000Z",
            "2018-11-04T03:00:00.000Z"
        ]
    );
}

#[tokio::test]
async fn runs_that_were_missed_are_made_up_for_once_or_left_out_and_a_jump_makes_no_burst() {
    let (sense, clock) = (Sense::start().await, WallClock::right());
    set(&clock, "2027-07-01T10:00:00Z");
    let butler = sense.butler_under(&clock.environment(), "").await;
    make(&butler, &json!({ "id": "skip", "cron": "0 * * * *" })).await;
    make(&butler, &json!({ "id": "once", "cron": "0 * * * *", "missed": "once", "taskId": Site::SAMPLE_PRELOAD_TASK }))
        .await;
    let killed = butler.kill();
    set(&clock, "2027-07-04T12:30:00Z");
    let butler = killed.start().await;
    let (skip, once) = tokio::join!(wait_last(&butler, "skip", "missed"), wait_last(&butler, "once", "started"));
    assert_eq!(
        (&skip["planned"], &once["planned"]),
        (&json!("2027-07-04T12:00:00.000Z"), &json!("2027-07-04T12:00:00.000Z"))
    );
    assert_eq!(sense.site().starts(), [Site::SAMPLE_PRELOAD_TASK]);
    assert!(butler.log().contains("runs were missed and are left out"), "{}", butler.log());

    // The same while it runs, as when a machine wakes up.
    set(&clock, "2027-07-05T15:30:00Z");
    wait_for("the jump to be seen", || async {
        let (_, schedule) = send(&butler, "GET", "/v5/schedules/once", None).await;
        (schedule["lastRun"]["planned"] == "2027-07-05T15:00:00.000Z").then_some(())
    })
    .await;
    wait_last(&butler, "once", "started").await;
    // And back: they go on from there.
    set(&clock, "2027-07-05T13:59:55Z");
    wait_for("the next run after the clock was set back", || async {
        (sense.site().starts().len() >= 4).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let starts = sense.site().starts();
    assert_eq!(starts.iter().filter(|id| *id == Site::SAMPLE_PRELOAD_TASK).count(), 3, "{starts:?}");
    assert_eq!(starts.iter().filter(|id| *id == TASK).count(), 1, "{starts:?}");
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_each_failed_run_is_told_once() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    sense.faults().add(Fault::status(503).on(Endpoint::TaskFull));
    make(&butler, &json!({ "cron": "*/5 * * * * *" })).await;
    let run = wait_last(&butler, "s", "failed").await;
    assert!(run["message"].as_str().unwrap().contains("503"), "{run}");
    assert!(butler.log().contains("the start of the task is tried again"), "{}", butler.log());
    let event = wait_event(&butler, "task-start.failed").await;
    assert!(event.to_string().contains("schedule:s (nightly)"), "{event}");
    sense.faults().clear();
    wait_last(&butler, "s", "started").await;
    send(&butler, "POST", "/v5/schedules/s/stop", None).await;
    let failed = butler.log().matches("tasks were not started").count();
    assert!(failed > events(&butler, "task-start.failed").await.len(), "an event for each attempt: {}", butler.log());
}

#[tokio::test]
async fn the_filter_holds_for_schedules_as_well() {
    let sense = Sense::start().await;
    let butler = sense.butler_with("startTaskFilter: { tags: [daily] }", "").await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    let run = wait_last(&butler, "s", "failed").await;
    assert_eq!(run["message"], "`qlik.startTaskFilter` does not allow it");
    wait_event(&butler, "task-start.failed").await;
    assert!(sense.site().starts().is_empty());
}
