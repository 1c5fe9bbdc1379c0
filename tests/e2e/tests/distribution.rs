//! Distributions: the message does not tell how they ended, nor even that they have; the repository does, in time.

use e2e::qlik::{Endpoint, Run, Site, Status};
use e2e::{Butler, Fields, Sense, Sink, datagram, failure, sqlite, wait_for};
use serde_json::{Value, json};

const TASK: &str = Site::SAMPLE_DISTRIBUTE_TASK;

/// A webhook with whole events of all tasks.
async fn start(sense: &Sense, sink: &Sink, more: &str) -> Butler {
    let config = format!(
        "{more}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"*-task.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    sense.butler(&config).await
}

fn run(sense: &Sense, fields: &Fields, status: Status) {
    let run = sense.site().run_task(&fields.task_id, &fields.execution_id, Run::new(status));
    run.expect("the site has the task");
}

fn left(fields: &Fields) -> String {
    datagram("distribute-task.failed", fields)
}

/// Waits until so many events have been asked for and are put off until later.
async fn put_off(butler: &Butler, count: usize) {
    let store = butler.folder().join("butler.db");
    let sought = format!("{count}");
    wait_for("distributions to be put off", || async {
        let put_off = "SELECT count(*) FROM events WHERE state = 0 AND due > unixepoch() * 1000;";
        (sqlite(&store, put_off) == sought).then_some(())
    })
    .await;
}

/// The same, and lets them be asked for now instead of after half a minute.
async fn ask_again(butler: &Butler, count: usize) {
    put_off(butler, count).await;
    sqlite(&butler.folder().join("butler.db"), "UPDATE events SET due = 0 WHERE state = 0;");
}

/// Waits until no event waits for its facts.
async fn none_waits(butler: &Butler) {
    butler.wait_metric("butler_events_waiting", 0.0).await;
    wait_for("all deliveries to end", || async { butler.deliveries("state=pending").await.is_empty().then_some(()) })
        .await;
}

#[tokio::test]
async fn one_that_is_queued_and_then_runs_is_told_once_when_it_has_ended() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink, "").await;
    let fields = Fields { user: r"LAB\eva".to_owned(), node: "sense2".to_owned(), ..sense.about(TASK) };
    run(&sense, &fields, Status::DistributionQueue);
    butler.send(&[left(&fields)]);
    ask_again(&butler, 1).await;
    run(&sense, &fields, Status::DistributionRunning);
    ask_again(&butler, 1).await;
    put_off(&butler, 1).await;
    assert!(sink.received().is_empty());
    run(&sense, &fields, Status::FinishedSuccess);
    ask_again(&butler, 1).await;
    let event = sink.wait(1).await[0].json();
    let data = &event["data"];
    assert_eq!((&event["kind"], &data["kindAssumed"]), (&json!("distribute-task.succeeded"), &Value::Null), "{event}");
    assert_eq!((&data["user"], &data["node"]), (&json!(r"LAB\eva"), &json!("sense2")), "{event}");
    assert_eq!(data["log"]["timestamp"], fields.timestamp, "{event}");
    assert_eq!((&data["execution"]["statusText"], &data["missing"]), (&json!("FinishedSuccess"), &Value::Null));
    none_waits(&butler).await;
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn two_executions_of_one_task_are_two_also_over_a_kill() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink, "").await;
    let (first, second) = (sense.about(TASK), sense.about(TASK));
    for fields in [&first, &second] {
        run(&sense, fields, Status::DistributionRunning);
        butler.send(&[left(fields), left(fields)]);
    }
    put_off(&butler, 2).await;
    let butler = butler.kill_and_start().await;
    run(&sense, &second, Status::FinishedSuccess);
    ask_again(&butler, 2).await;
    let event = sink.wait(1).await[0].json();
    assert_eq!(
        (&event["kind"], &event["data"]["execution"]["id"]),
        (&json!("distribute-task.succeeded"), &json!(second.execution_id)),
        "{event}"
    );
    // The older one ends after the newer one, whose result is by now the last of the task.
    run(&sense, &first, Status::Aborted);
    ask_again(&butler, 1).await;
    let event = sink.wait(2).await[1].json();
    assert_eq!(
        (&event["kind"], &event["data"]["execution"]["id"]),
        (&json!("distribute-task.aborted"), &json!(first.execution_id)),
        "{event}"
    );
    none_waits(&butler).await;
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test]
async fn one_that_never_ends_is_told_as_failed_when_its_time_is_over() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink, "enrich: { distributionLimit: 3s }").await;
    let fields = sense.about(TASK);
    run(&sense, &fields, Status::DistributionRunning);
    butler.send(&[left(&fields)]);
    wait_for("a look-up", || async { (sense.counts().requests_to(Endpoint::ExecutionResultFull) > 0).then_some(()) })
        .await;
    // Others do not wait for it.
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_eq!(sink.wait(1).await[0].json()["kind"], "reload-task.failed");
    let event = sink.wait(2).await[1].json();
    let data = &event["data"];
    assert_eq!((&event["kind"], &data["kindAssumed"]), (&json!("distribute-task.failed"), &json!(true)), "{event}");
    assert_eq!(data["execution"]["statusText"], "DistributionRunning", "{event}");
    assert_eq!((&data["app"]["owner"]["name"], &data["missing"]), (&json!("Ann Berg"), &Value::Null), "{event}");
    // The scheduler's own word, late, is nothing new.
    butler.send(&[failure(&fields)]);
    none_waits(&butler).await;
    butler.wait_metric("butler_udp_duplicates_total", 1.0).await;
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test]
async fn the_scheduler_and_the_repository_tell_of_one_end_once() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink, "").await;
    // The message of the scheduler comes second, then first.
    let (mut told, orders) = (0, [false, true]);
    for scheduler_first in orders {
        for (status, message) in
            [(Status::FinishedSuccess, "reload-task.succeeded"), (Status::FinishedFail, "reload-task.failed")]
        {
            let fields = sense.about(TASK);
            run(&sense, &fields, Status::DistributionRunning);
            let mut messages = [left(&fields), datagram(message, &fields)];
            if scheduler_first {
                messages.reverse();
            }
            butler.send(&messages[..1]);
            butler.wait_metric("butler_events_waiting", 1.0).await;
            run(&sense, &fields, status);
            butler.send(&messages[1..]);
            told += 1;
            let event = sink.wait(told).await[told - 1].json();
            assert_eq!(event["data"]["execution"]["id"], fields.execution_id, "{event}");
            // The distribution may have been put off before it ended.
            wait_for("both to be done with", || async {
                sqlite(&butler.folder().join("butler.db"), "UPDATE events SET due = 0 WHERE state = 0 AND due > 0;");
                (butler.metric("butler_events_waiting").await == Some(0.0)).then_some(())
            })
            .await;
        }
    }
    none_waits(&butler).await;
    assert_eq!(sink.received().len(), told);
}

#[tokio::test]
async fn the_message_about_another_type_of_task_is_told_as_what_it_is() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink, "enrich: { distributionLimit: 3s }").await;
    let failed = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[left(&failed)]);
    let event = sink.wait(1).await[0].json();
    assert_eq!(
        (&event["kind"], &event["data"]["kindAssumed"]),
        (&json!("reload-task.failed"), &Value::Null),
        "{event}"
    );
    // The scheduler's own word is nothing new.
    butler.send(&[failure(&failed)]);
    none_waits(&butler).await;
    // One that does not end is no distribution either.
    let running = sense.about(Site::SAMPLE_PRELOAD_TASK);
    run(&sense, &running, Status::Started);
    butler.send(&[left(&running)]);
    let event = sink.wait(2).await[1].json();
    assert_eq!(
        (&event["kind"], &event["data"]["kindAssumed"]),
        (&json!("preload-task.failed"), &json!(true)),
        "{event}"
    );
    assert_eq!(sink.received().len(), 2);
}
