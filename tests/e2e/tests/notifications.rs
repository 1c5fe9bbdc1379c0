//! Qlik Sense itself says what has ended: no log appender on any node is needed.

use std::time::Duration;

use e2e::qlik::{Site, Status};
use e2e::{Butler, Sense, Sink, failure, http, wait_for};

const OFF: &str = "reconcile: { enabled: false }";
const ON: &str = "reconcile: { every: 1s }";

fn config(sink: &Sink) -> String {
    format!(
        "plugins:\n  - use: webhook\n    name: hook\n    on: [{{ events: [\"*-task.*\"] }}]\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// A daemon that Qlik Sense calls, with `more` under `qlik:`.
async fn called(sense: &Sense, sink: &Sink, more: &str) -> Butler {
    // Its address must be known before it starts: it takes that of one that has just ended.
    let first = sense.butler(&config(sink)).await;
    let address = first.rest().trim_start_matches("http://").to_owned();
    first.stop().await;
    let more = format!("{more}\n  notifications: {{ callback: \"http://{address}\" }}");
    let butler = sense.butler_with(&more, &format!("rest: {{ listen: \"{address}\" }}\n{}", config(sink))).await;
    wait_for("the subscription", || async { (sense.subscriptions() == 1).then_some(()) }).await;
    butler
}

#[tokio::test]
async fn what_qlik_sense_tells_is_told_once_whoever_tells_it_first() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = called(&sense, &sink, OFF).await;
    let alone = sense.ended(Site::SAMPLE_PRELOAD_TASK, Status::FinishedFail, Duration::ZERO);
    let both = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, Duration::ZERO);
    butler.send(&[failure(&both)]);
    // Not over yet.
    sense
        .site()
        .begin_task(Site::SAMPLE_USER_SYNC_TASK, &sense.about(Site::SAMPLE_USER_SYNC_TASK).execution_id)
        .unwrap();
    sink.wait(2).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut told: Vec<(String, String, String)> = sink
        .received()
        .iter()
        .map(|request| {
            let event = request.json();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["kind"]), text(&event["source"]), text(&event["data"]["task"]["id"]))
        })
        .collect();
    told.sort();
    let row = |kind: &str, source: &str, task: String| (kind.to_owned(), source.to_owned(), task);
    assert_eq!(
        told,
        [row("preload-task.failed", "qrs", alone.task_id), row("reload-task.failed", "udp", both.task_id)],
        "UDP has the log line, so it goes first"
    );
    let (_, nodes) = butler.get("/v5/nodes").await;
    let roads: Vec<_> = nodes["nodes"].as_array().unwrap().iter().map(|node| &node["roads"]["notifications"]).collect();
    assert!(roads.iter().any(|time| time.is_string()), "{nodes}");
    let rest = butler.rest().to_owned();
    for path in ["/v5/qlik/notifications/guess", "/v5/qlik/notifications/"] {
        let answer = http().post(format!("{rest}{path}")).body("[]").send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert!(!butler.log().contains("notifications/"), "the secret is in no log");
    let (status, _) = butler.stop().await;
    assert_eq!((status.code(), sense.subscriptions()), (Some(0), 0), "the subscription ends with the daemon");
}

#[tokio::test]
async fn after_a_restart_of_qlik_sense_the_subscription_is_made_anew() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = called(&sense, &sink, OFF).await;
    sense.stop().await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    butler.wait_metric("butler_qlik_reachable", 0.0).await;
    sense.restart().await.unwrap();
    assert_eq!(sense.subscriptions(), 0, "as the repository service does");
    wait_for("the subscription", || async { (sense.subscriptions() == 1).then_some(()) }).await;
    sense.ended(Site::SAMPLE_PRELOAD_TASK, Status::Aborted, Duration::ZERO);
    sink.wait_where("what ended after that", |request| request.json()["kind"] == "preload-task.aborted").await;
}

#[tokio::test]
async fn a_subscription_that_qlik_sense_has_forgotten_is_noticed_by_what_it_does_not_tell() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = called(&sense, &sink, ON).await;
    wait_for("a first look", || async {
        butler.metric("butler_reconcile_last_success_timestamp_seconds").await.filter(|at| *at > 0.0)
    })
    .await;
    sense.forget_subscriptions();
    sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, Duration::from_secs(150));
    sink.wait(1).await;
    wait_for("the subscription", || async { (sense.subscriptions() == 1).then_some(()) }).await;
}
