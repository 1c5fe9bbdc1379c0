//! That no run is lost or doubled when Butler is killed or its store cannot be written.

use super::*;

#[tokio::test]
async fn a_kill_while_a_task_is_being_started_neither_doubles_nor_hides_the_run() {
    for (missed, result, starts) in [("skip", "failed", 0), ("once", "started", 1)] {
        let sense = Sense::start().await;
        let butler = sense.butler("").await;
        sense.faults().add(Fault::hang().on(Endpoint::TaskStartSynchronous));
        make(&butler, &json!({ "cron": "*/2 * * * * *", "missed": missed })).await;
        wait_for("a call to start the task", || async {
            (sense.counts().requests_to(Endpoint::TaskStartSynchronous) > 0).then_some(())
        })
        .await;
        let killed = butler.kill();
        // Whatever comes now is of the runs before.
        let store = killed.folder().join("butler.db");
        e2e::sqlite(
            &store,
            "UPDATE schedules SET record = json_set(record, '$.cron', '0 0 1 1 *'), since = since + 3600000;",
        );
        sense.faults().clear();
        let butler = killed.start().await;
        let run = wait_last(&butler, "s", result).await;
        assert_eq!(sense.site().starts().len(), starts, "{run}");
        if missed == "skip" {
            let event = wait_event(&butler, "task-start.failed").await;
            assert!(event.to_string().contains("look in the QMC"), "{event}");
        }
        assert_eq!(e2e::sqlite(&store, "SELECT count(*) FROM schedule_runs WHERE state = 0;").trim(), "0");
    }
}

#[tokio::test]
async fn a_later_run_stands_for_one_that_a_crash_left_in_doubt() {
    let (sense, clock) = (Sense::start().await, WallClock::right());
    set(&clock, "2027-07-01T03:59:56Z");
    let butler = sense.butler_under(&clock.environment(), "").await;
    sense.faults().add(Fault::hang().on(Endpoint::TaskStartSynchronous));
    make(&butler, &json!({ "missed": "once" })).await;
    wait_for("a call to start the task", || async {
        (sense.counts().requests_to(Endpoint::TaskStartSynchronous) > 0).then_some(())
    })
    .await;
    let killed = butler.kill();
    sense.faults().clear();
    set(&clock, "2027-07-03T10:00:00Z");
    let butler = killed.start().await;
    let run = wait_last(&butler, "s", "started").await;
    assert_eq!(run["planned"], "2027-07-03T04:00:00.000Z");
    let store = butler.folder().join("butler.db");
    let states = "SELECT group_concat(state) FROM (SELECT state FROM schedule_runs ORDER BY planned);";
    wait_for("both runs to be settled", || async { (e2e::sqlite(&store, states).trim() == "4,1").then_some(()) }).await;
    assert_eq!(sense.site().starts(), [TASK]);
}

/// What is claimed while the store cannot be written starts when it can: not before, and not never.
async fn waits_for_the_store(butler: &Butler, sense: &Sense, store: &Path, well: impl FnOnce()) {
    let begun = sense.site().starts().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = sense.site().starts().len();
    assert!(held <= begun + 1, "tasks are started that nobody would know of after a crash: {begun} and {held}");
    assert_eq!(butler.get("/v5/health/live").await.0, 200);
    well();
    wait_for("the next start", || async { (sense.site().starts().len() > held).then_some(()) }).await;
    send(butler, "POST", "/v5/schedules/s/stop", None).await;
    let open = "SELECT count(*) FROM schedule_runs WHERE state = 0;";
    wait_for("all runs to be settled", || async { (e2e::sqlite(store, open).trim() == "0").then_some(()) }).await;
    let started: usize =
        e2e::sqlite(store, "SELECT count(*) FROM schedule_runs WHERE state = 1;").trim().parse().unwrap();
    assert_eq!(started, sense.site().starts().len().min(20));
}

#[tokio::test]
async fn no_run_is_lost_or_doubled_while_the_store_cannot_be_written() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    wait_last(&butler, "s", "started").await;
    let store = butler.folder().join("butler.db");
    let lock = StoreLock::take(&store);
    waits_for_the_store(&butler, &sense, &store, || drop(lock)).await;
}

#[tokio::test]
async fn no_run_is_lost_or_doubled_while_the_disk_is_full() {
    let (sense, disk) = (Sense::start().await, Disk::in_memory(16));
    std::fs::create_dir(disk.path().join("certificates")).unwrap();
    for file in std::fs::read_dir(sense.folder().join("certificates")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), disk.path().join("certificates").join(file.file_name())).unwrap();
    }
    let butler = Butler::start_in(disk.folder(), &sense.section(""), &[]).await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    wait_last(&butler, "s", "started").await;
    let filler = disk.path().join("filler");
    wait_for("trouble with the store", || async {
        // Again whatever becomes free: the reserve of the store above all.
        take_all_room(&filler);
        (butler.get("/v5/health/ready").await.0 == 503).then_some(())
    })
    .await;
    let store = disk.path().join("butler.db");
    let well = || std::fs::remove_file(&filler).unwrap();
    waits_for_the_store(&butler, &sense, &store, well).await;
}
