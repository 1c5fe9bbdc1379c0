//! Every type of task with every outcome: sent as Qlik Sense sends it, enriched, and routed alike to all plugins.

use e2e::qlik::{Run, Site, Status};
use e2e::{Butler, Fields, Sense, Sink, datagram, wait_for};
use serde_json::{Value, json};

const RELOAD: &str = Site::SAMPLE_RELOAD_TASK;
const PROGRAM: &str = Site::SAMPLE_EXTERNAL_PROGRAM_TASK;
const SYNC: &str = Site::SAMPLE_USER_SYNC_TASK;
const DISTRIBUTE: &str = Site::SAMPLE_DISTRIBUTE_TASK;
const PRELOAD: &str = Site::SAMPLE_PRELOAD_TASK;

/// The message that is sent, by the kind that makes it.
const FAILED: &str = "reload-task.failed";
const ABORTED: &str = "reload-task.aborted";
const SUCCEEDED: &str = "reload-task.succeeded";
/// Tells that a distribution has left the scheduler, and not how it ended.
const LEFT: &str = "distribute-task.failed";

/// Task, message, how the run ended, and the kind of the event.
const ROWS: [(&str, &str, Status, &str); 19] = [
    (RELOAD, FAILED, Status::FinishedFail, "reload-task.failed"),
    (RELOAD, ABORTED, Status::Aborted, "reload-task.aborted"),
    (RELOAD, SUCCEEDED, Status::FinishedSuccess, "reload-task.succeeded"),
    (PROGRAM, FAILED, Status::FinishedFail, "external-program-task.failed"),
    (PROGRAM, ABORTED, Status::Aborted, "external-program-task.aborted"),
    (PROGRAM, SUCCEEDED, Status::FinishedSuccess, "external-program-task.succeeded"),
    (SYNC, FAILED, Status::FinishedFail, "user-sync-task.failed"),
    (SYNC, ABORTED, Status::Aborted, "user-sync-task.aborted"),
    (SYNC, SUCCEEDED, Status::FinishedSuccess, "user-sync-task.succeeded"),
    (PRELOAD, FAILED, Status::FinishedFail, "preload-task.failed"),
    (PRELOAD, ABORTED, Status::Aborted, "preload-task.aborted"),
    (PRELOAD, SUCCEEDED, Status::FinishedSuccess, "preload-task.succeeded"),
    (DISTRIBUTE, FAILED, Status::FinishedFail, "distribute-task.failed"),
    (DISTRIBUTE, ABORTED, Status::Aborted, "distribute-task.aborted"),
    (DISTRIBUTE, SUCCEEDED, Status::FinishedSuccess, "distribute-task.succeeded"),
    (DISTRIBUTE, LEFT, Status::FinishedFail, "distribute-task.failed"),
    (DISTRIBUTE, LEFT, Status::Error, "distribute-task.failed"),
    (DISTRIBUTE, LEFT, Status::Aborted, "distribute-task.aborted"),
    (DISTRIBUTE, LEFT, Status::FinishedSuccess, "distribute-task.succeeded"),
];

/// Console, webhook and Teams with everything about tasks, and a webhook with what it gets without a route.
fn config(sink: &Sink) -> String {
    let all = "on: [{ events: [\"*-task.*\"] }]";
    format!(
        "plugins:\n  - {{ use: console, {all} }}\n  - use: webhook\n    {all}\n    settings: {{ url: {}, format: event }}\n  \
         - use: teams\n    {all}\n    settings: {{ webhookUrl: {} }}\n  - use: webhook\n    name: alerts\n    \
         settings: {{ url: {} }}\n",
        sink.url("/webhook"),
        sink.url("/teams"),
        sink.url("/alerts"),
    )
}

/// The message about a run as log4net writes it: what a task does not have is `(null)`.
fn about(sense: &Sense, task: &str) -> Fields {
    let fields = sense.about(task);
    if fields.app_id.is_empty() {
        return Fields { app_name: "(null)".to_owned(), app_id: "(null)".to_owned(), ..fields };
    }
    fields
}

/// The instances that an event was delivered to, once all of its deliveries have arrived.
async fn delivered(butler: &Butler, id: &str) -> Vec<String> {
    wait_for(&format!("all deliveries of {id}; log:\n{}", butler.log()), || async {
        let event = butler.event(id).await;
        let rows = event["deliveries"].as_array()?;
        if rows.is_empty() || rows.iter().any(|row| row["state"] != "delivered") {
            return None;
        }
        let mut names: Vec<String> =
            rows.iter().filter_map(|row| row["instance"].as_str().map(str::to_owned)).collect();
        names.sort();
        Some(names)
    })
    .await
}

#[tokio::test]
async fn every_type_of_task_with_every_outcome_reaches_every_plugin_with_its_facts() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink)).await;
    let to = |target: &str| sink.received().into_iter().filter(|request| request.target == target).collect::<Vec<_>>();
    let mut alerts = 0;
    for (n, (task, message, status, kind)) in ROWS.into_iter().enumerate() {
        let row = format!("{kind} by {message} with {status:?}");
        let fields = about(&sense, task);
        let result =
            sense.site().run_task(task, &fields.execution_id, Run::new(status)).expect("the site has the task");
        butler.send(&[datagram(message, &fields)]);
        let of_run = |body: &Value| body["data"]["execution"]["id"] == fields.execution_id.as_str();
        let event =
            sink.wait_where(&row, |request| request.target == "/webhook" && of_run(&request.json())).await.json();

        assert_eq!(event["kind"], kind, "{row}: {event}");
        let data = &event["data"];
        assert_eq!((&data["missing"], &data["kindAssumed"]), (&Value::Null, &Value::Null), "{row}: {event}");
        let known = sense.site().task(task).expect("the site has the task");
        assert_eq!((&data["task"]["id"], &data["task"]["name"]), (&json!(task), &json!(known.name)), "{row}");
        assert_eq!(data["task"]["tags"], json!(known.tags), "{row}");
        let execution = &data["execution"];
        assert_eq!(
            (&execution["resultId"], &execution["status"], &execution["statusText"]),
            (&json!(result.id), &json!(status as u8), &json!(format!("{status:?}"))),
            "{row}"
        );
        assert_eq!((&execution["durationMs"], &event["time"]), (&json!(9190), &json!(result.stop_time)), "{row}");
        assert_eq!(execution["details"].as_array().map(Vec::len), Some(result.details.len()), "{row}");
        let app = known.kind.has_app().then(|| sense.site().app(&known.app_id).expect("the site has the app"));
        match &app {
            Some(app) => assert_eq!(
                (&data["app"]["name"], &data["app"]["owner"]["emails"][0]),
                (&json!(app.name), &json!("ann.berg@example.com")),
                "{row}"
            ),
            None => assert_eq!(data["app"], Value::Null, "{row}"),
        }
        // Of all tasks only reloads write one.
        let rows = data["scriptLog"]["rows"].as_u64();
        assert_eq!(rows.is_some_and(|rows| rows > 10), task == RELOAD, "{row}: {event}");

        let is_alert = !kind.ends_with(".succeeded");
        alerts += usize::from(is_alert);
        let told = delivered(&butler, event["id"].as_str().expect("an event has an id")).await;
        let expected: &[&str] =
            if is_alert { &["alerts", "console", "teams", "webhook"] } else { &["console", "teams", "webhook"] };
        assert_eq!(told, expected, "{row}");
        let card = to("/teams").pop().expect("the card was delivered").body;
        for part in [&known.name, &format!("{status:?}")].into_iter().chain(app.as_ref().map(|app| &app.name)) {
            assert!(card.contains(part.as_str()), "{row}: {part} is not on the card: {card}");
        }
        // What was written to the pipe is read by and by.
        let lines = wait_for("the line on the console", || async {
            let lines: Vec<String> = butler.stdout().lines().map(str::to_owned).collect();
            (lines.len() > n).then_some(lines)
        })
        .await;
        assert!(lines.len() == n + 1 && lines[n].contains(kind) && lines[n].contains(&known.name), "{row}: {lines:?}");
    }
    assert_eq!(["/webhook", "/teams", "/alerts"].map(|target| to(target).len()), [ROWS.len(), ROWS.len(), alerts]);
}

#[tokio::test]
async fn a_message_without_an_app_id_is_told_with_the_app_of_the_task() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink)).await;
    for (n, (task, kind, app)) in [
        (RELOAD, "reload-task.failed", json!("Order analysis")),
        (PROGRAM, "external-program-task.failed", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let fields = Fields { app_id: String::new(), app_name: String::new(), ..sense.failed(task) };
        butler.send(&[datagram(FAILED, &fields)]);
        let event = sink
            .wait_where(kind, |request| request.target == "/webhook" && request.json()["kind"] == kind)
            .await
            .json();
        assert_eq!((&event["data"]["app"]["name"], &event["data"]["missing"]), (&app, &Value::Null), "{n}: {event}");
    }
}
