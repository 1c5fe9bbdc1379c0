//! What was heard is confirmed by the result of the execution, which the repository may write later than the log line.

use e2e::qlik::{Endpoint, Site, Status};
use e2e::{Butler, Received, Sense, Sink, datagram, failure, wait_for};
use serde_json::{Value, json};

const TASK: &str = Site::SAMPLE_RELOAD_TASK;
const OTHER: &str = Site::SAMPLE_EXTERNAL_PROGRAM_TASK;

async fn start(sense: &Sense, sink: &Sink) -> Butler {
    let config = format!(
        "enrich: {{ concurrency: 1 }}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"*-task.*\"] }}]\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    sense.butler(&config).await
}

async fn wait_asked(sense: &Sense) {
    let asked = || sense.counts().asked_of(Endpoint::ExecutionResultFull).most > 1;
    wait_for("a result to be asked for again", || async { asked().then_some(()) }).await;
}

#[tokio::test]
async fn successes_wait_for_their_results_and_hold_up_nothing_else() {
    const RUNS: usize = 20;
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink).await;
    let runs: Vec<_> = (0..RUNS).map(|_| sense.about(TASK)).collect();
    let site = sense.site();
    for run in &runs {
        site.begin_task(TASK, &run.execution_id).expect("the site has the task");
    }
    butler.send(&runs.iter().map(|run| datagram("reload-task.succeeded", run)).collect::<Vec<_>>());
    wait_asked(&sense).await;
    butler.send(&[failure(&sense.failed(OTHER))]);
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["kind"], &event["data"]["missing"]), (&json!("external-program-task.failed"), &Value::Null));
    assert_eq!(sink.received().len(), 1, "nobody is told of a success that is not confirmed");
    for run in &runs {
        site.succeed_task(TASK, &run.execution_id).expect("the site has the task");
    }
    for request in &sink.wait(1 + RUNS).await[1..] {
        let event = request.json();
        assert_eq!(
            (&event["kind"], &event["data"]["missing"]),
            (&json!("reload-task.succeeded"), &Value::Null),
            "{event}"
        );
        let details = event["data"]["execution"]["details"].as_array().cloned().unwrap_or_default();
        let last = details.last().map(|detail| detail["message"].clone()).unwrap_or_default();
        assert_eq!(last, "Changing task state from Started to FinishedSuccess", "{event}");
    }
}

#[tokio::test]
async fn a_success_after_a_failed_attempt_waits_for_the_result_of_the_last_attempt() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink).await;
    let run = sense.failed(TASK);
    butler.send(&[datagram("reload-task.succeeded", &run)]);
    wait_asked(&sense).await;
    assert!(sink.received().is_empty(), "the result of the first attempt is not that of the success");
    let result = sense.site().succeed_task(TASK, &run.execution_id).expect("the site has the task");
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["data"]["execution"]["resultId"], result.id, "{event}");
    assert_eq!(event["data"]["execution"]["status"], Status::FinishedSuccess as u8, "{event}");
}

#[tokio::test]
async fn what_the_repository_never_confirms_is_told_all_the_same() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = start(&sense, &sink).await;
    // One never ends as far as the repository knows, one has ended otherwise, of one there is nothing.
    let (running, otherwise, nothing) =
        (sense.about(TASK), sense.about(OTHER), sense.about(Site::SAMPLE_USER_SYNC_TASK));
    sense.site().begin_task(TASK, &running.execution_id).expect("the site has the task");
    sense.site().abort_task(OTHER, &otherwise.execution_id).expect("the site has the task");
    butler.send(&[&running, &otherwise, &nothing].map(|run| datagram("reload-task.succeeded", run)));
    let events: Vec<Value> = sink.wait(3).await.iter().map(Received::json).collect();
    let of = |task: &str| {
        let event = events.iter().find(|event| event["data"]["task"]["id"] == task).expect("each is told");
        (event["kind"].clone(), event["data"]["missing"].clone(), event["data"]["execution"]["statusText"].clone())
    };
    let missing = json!(["execution"]);
    assert_eq!(of(TASK), (json!("reload-task.succeeded"), missing.clone(), Value::Null));
    assert_eq!(of(OTHER), (json!("external-program-task.succeeded"), Value::Null, json!("Aborted")));
    assert_eq!(of(Site::SAMPLE_USER_SYNC_TASK), (json!("user-sync-task.succeeded"), missing, Value::Null));
}
