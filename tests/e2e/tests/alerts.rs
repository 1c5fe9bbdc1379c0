//! From a log line of Qlik Sense to the alert: the happy path, and the facts that are found out on the way.

use e2e::qlik::{Endpoint, ExecutionIds, ScriptLogs, Site};
use e2e::{Butler, Fields, Received, Sense, Sink, datagram, failure, fields, sqlite, wait_for};
use serde_json::{Value, json};

/// Butler 16's fields of a failed or aborted reload in their order, and the one that is new.
const FIELDS: [&str; 16] = [
    "event",
    "hostName",
    "user",
    "taskName",
    "taskId",
    "appName",
    "appId",
    "appOwnerName",
    "appOwnerUserDirectory",
    "appOwnerUserId",
    "appOwnerEmail",
    "logTimeStamp",
    "logLevel",
    "executionId",
    "logMessage",
    "eventId",
];

/// The names of a flat object, in the order in which they stand in its text.
fn names_in_order(body: &str) -> Vec<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(body).expect("the body is an object");
    let place = |name: &str| body.find(&format!("{}:", json!(name))).expect("a name stands in the text");
    let mut names: Vec<String> = object.keys().cloned().collect();
    names.sort_by_key(|name| place(name));
    names
}

/// Instances and states of the deliveries of an event, sorted.
fn deliveries(event: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = event["deliveries"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = rows.map(|row| (text(&row["instance"]), text(&row["state"]))).collect();
    rows.sort();
    rows
}

/// Waits until all deliveries of an event have arrived, and returns it.
async fn wait_delivered(butler: &Butler, id: &str, count: usize) -> Value {
    wait_for(&format!("{count} deliveries of {id}; log:\n{}", butler.log()), || async {
        let event = butler.event(id).await;
        let arrived = deliveries(&event).iter().filter(|(_, state)| state == "delivered").count();
        (arrived == count).then_some(event)
    })
    .await
}

/// All texts below a value.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(values) => values.iter().map(texts).collect(),
        Value::Object(object) => object.values().map(texts).collect(),
        _ => String::new(),
    }
}

/// A daemon with one webhook that gets whole events of all tasks.
async fn with_webhook(sense: &Sense, sink: &Sink) -> Butler {
    let config = format!(
        "plugins:\n  - use: webhook\n    on: [{{ events: [\"*-task.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    sense.butler(&config).await
}

fn event_of(request: &Received) -> Value {
    request.json()
}

#[tokio::test]
async fn a_failed_reload_is_told_on_console_webhook_and_teams_with_all_facts() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let (hook, teams) = (sink.url("/hook"), sink.url("/teams"));
    let butler = sense
        .butler(&format!(
            "plugins:\n  - use: console\n  - use: webhook\n    settings: {{ url: {hook} }}\n  - use: teams\n    \
             settings: {{ webhookUrl: {teams} }}\n"
        ))
        .await;
    let fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&fields)]);

    let hook = sink.wait_where("the webhook's request", |request| request.target == "/hook").await;
    assert_eq!((hook.method.as_str(), hook.header("content-type")), ("POST", Some("application/json")));
    assert_eq!(names_in_order(&hook.body), FIELDS);
    let body = hook.json();
    let id = body["eventId"].as_str().expect("the event has an id").to_owned();
    assert_eq!(
        body,
        json!({
            "event": "Qlik Sense reload failed",
            "hostName": "sense1",
            "user": r"INTERNAL\sa_scheduler",
            "taskName": "Reload order analysis",
            "taskId": Site::SAMPLE_RELOAD_TASK,
            "appName": "Order analysis",
            "appId": Site::SAMPLE_APP,
            "appOwnerName": "Ann Berg",
            "appOwnerUserDirectory": "LAB",
            "appOwnerUserId": "ann",
            "appOwnerEmail": "ann.berg@example.com",
            "logTimeStamp": fields.timestamp,
            "logLevel": "WARN",
            "executionId": fields.execution_id,
            "logMessage": "Max retries reached",
            "eventId": id,
        })
    );
    assert_eq!(hook.header("x-butler-event-id"), Some(id.as_str()));
    assert!(hook.header("idempotency-key").is_some_and(|key| !key.is_empty()));

    let teams = sink.wait_where("the card for Teams", |request| request.target == "/teams").await.json();
    assert_eq!(teams["type"], "message");
    let attachment = &teams["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    let card = texts(&attachment["content"]);
    for part in [
        "Reload order analysis",
        "Order analysis",
        "Ann Berg (LAB/ann)",
        "ann.berg@example.com",
        "Everyone",
        "FinishedFail",
        "relation \"sales.order_lines\" does not exist",
        "General Script Error",
        "Execution Failed",
    ] {
        assert!(card.contains(part), "{part:?} is not on the card:\n{card}");
    }

    let event = wait_delivered(&butler, &id, 3).await;
    assert_eq!(
        (&event["kind"], &event["source"], &event["state"]),
        (&json!("reload-task.failed"), &json!("udp"), &json!("routed"))
    );
    let data = &event["data"];
    assert_eq!((&data["missing"], &data["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    assert_eq!(data["task"]["tags"], json!(["nightly"]));
    assert_eq!(data["task"]["customProperties"], json!({ "taskGroup": ["sales"] }));
    let result = sense.site().last_result(Site::SAMPLE_RELOAD_TASK).expect("the task has run");
    assert_eq!(
        (&data["execution"]["id"], &data["execution"]["resultId"]),
        (&json!(fields.execution_id), &json!(result.id))
    );
    assert_eq!(event["time"], result.stop_time, "the event happened when the run ended");
    let delivered = |name: &str| (name.to_owned(), "delivered".to_owned());
    assert_eq!(deliveries(&event), ["console", "teams", "webhook"].map(delivered));

    let stdout = butler.stdout();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 1, "{stdout}");
    let summary = "Reload task failed: Reload order analysis (app Order analysis) on sense1: Max retries reached";
    assert!(lines[0].contains("reload-task.failed") && lines[0].ends_with(summary), "{stdout}");
    assert_eq!(sink.received().len(), 2, "nobody is told twice");
}

#[tokio::test]
async fn aborted_and_succeeded_reloads_reach_those_who_asked_for_them() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let (default, all) = (sink.url("/default"), sink.url("/all"));
    let butler = sense
        .butler(&format!(
            "plugins:\n  - use: webhook\n    name: default\n    settings: {{ url: {default} }}\n  - use: webhook\n    name: all\n    \
             on: [{{ events: [\"reload-task.*\"] }}]\n    settings: {{ url: {all} }}\n"
        ))
        .await;
    let task = Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER;
    let aborted = Fields { user: r"LAB\\eva".to_owned(), ..sense.about(task) };
    sense.site().abort_task(task, &aborted.execution_id).expect("the site has the task");
    butler.send(&[datagram("reload-task.aborted", &aborted)]);
    let event = butler.wait_routed(task, "reload-task.aborted").await;
    wait_delivered(&butler, event["id"].as_str().expect("an event has an id"), 2).await;

    let succeeded = sense.about(task);
    sense.site().succeed_task(task, &succeeded.execution_id).expect("the site has the task");
    butler.send(&[datagram("reload-task.succeeded", &succeeded)]);
    let event = butler.wait_routed(task, "reload-task.succeeded").await;
    let event = wait_delivered(&butler, event["id"].as_str().expect("an event has an id"), 1).await;
    assert_eq!(deliveries(&event), [("all".to_owned(), "delivered".to_owned())]);
    assert_eq!(event["data"]["execution"]["statusText"], "FinishedSuccess");

    let requests = sink.received();
    let to = |target: &str| -> Vec<&Received> { requests.iter().filter(|request| request.target == target).collect() };
    let default = to("/default");
    assert_eq!(default.len(), 1, "success is no alert");
    assert_eq!(names_in_order(&default[0].body), FIELDS);
    let body = default[0].json();
    assert_eq!((&body["event"], &body["user"]), (&json!("Qlik Sense reload aborted"), &json!(r"LAB\\eva")));
    assert_eq!((&body["appOwnerName"], &body["appOwnerEmail"]), (&json!("Bo Lind"), &json!("")), "Bo has no address");
    let bodies: Vec<Value> = to("/all").iter().map(|request| request.json()["event"].clone()).collect();
    assert_eq!(bodies, ["Qlik Sense reload aborted", "Qlik Sense reload task succeeded"]);
}

/// Two runs of one task, each told three times.
async fn alerts_once_per_run(ids: ExecutionIds) {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.site().set_execution_ids(ids);
    let butler = with_webhook(&sense, &sink).await;
    for run in 1..=2_usize {
        let fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
        let message = failure(&fields);
        let alias = message.replace("/scheduler-task-failed/", "/scheduler-reload-failed/");
        butler.send(&[&message, &alias, &message]);
        let event = event_of(&sink.wait(run).await[run - 1]);
        let result = sense.site().last_result(Site::SAMPLE_RELOAD_TASK).expect("the task has run");
        let execution = &event["data"]["execution"];
        assert_eq!(execution["id"], fields.execution_id, "{event}");
        assert_eq!(execution["resultId"], result.id, "{event}");
        assert_eq!(event["data"]["missing"], Value::Null, "{event}");
        #[allow(clippy::cast_precision_loss, reason = "the number is small")]
        butler.wait_metric("butler_udp_duplicates_total", 2.0 * run as f64).await;
    }
    wait_for("all deliveries to end", || async { butler.deliveries("state=pending").await.is_empty().then_some(()) })
        .await;
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test]
async fn a_run_is_told_once_where_execution_ids_of_log_and_repository_are_equal() {
    alerts_once_per_run(ExecutionIds::Equal).await;
}

#[tokio::test]
async fn a_run_is_told_once_where_execution_ids_of_log_and_repository_differ() {
    alerts_once_per_run(ExecutionIds::Different).await;
}

/// A card with the end of the script log, by the calls that this release of Qlik Sense knows.
async fn script_log(known: ScriptLogs) {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.site().set_script_logs(known);
    // The log of a run is not there at once.
    sense.site().set_download_delay(std::time::Duration::from_millis(300));
    let butler =
        sense.butler(&format!("plugins:\n  - use: teams\n    settings: {{ webhookUrl: {} }}\n", sink.url("/"))).await;
    let fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&fields)]);
    let card = texts(&sink.wait(1).await[0].json());
    assert!(card.contains("General Script Error") && card.contains("Execution started."), "{card}");
    let event = butler.wait_routed(Site::SAMPLE_RELOAD_TASK, "reload-task.failed").await;
    let log = &event["data"]["scriptLog"];
    let size = sense.site().last_result(Site::SAMPLE_RELOAD_TASK).expect("the task has run").script_log_size;
    assert_eq!((&log["characters"], &log["truncated"]), (&json!(size), &Value::Null), "{event}");
    assert_eq!(event["data"]["missing"], Value::Null, "{event}");
    assert!(sense.counts().requests_to(Endpoint::ScriptLogDownload) >= 1);
}

#[tokio::test]
async fn the_script_log_comes_by_the_older_call() {
    script_log(ScriptLogs::Old).await;
}

#[tokio::test]
async fn the_script_log_comes_by_the_call_of_may_2025() {
    script_log(ScriptLogs::May2025).await;
}

#[tokio::test]
async fn nobody_who_needs_script_logs_means_none_is_fetched() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = with_webhook(&sense, &sink).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_eq!(event_of(&sink.wait(1).await[0])["data"]["scriptLog"], Value::Null);
    let counts = sense.counts();
    let calls = [Endpoint::ScriptLog, Endpoint::ScriptLogFile, Endpoint::ScriptLogDownload];
    assert_eq!(calls.map(|call| counts.requests_to(call)), [0, 0, 0]);
}

#[tokio::test]
async fn the_kind_is_by_the_real_type_of_the_task() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = with_webhook(&sense, &sink).await;
    let cases = [
        (Site::SAMPLE_EXTERNAL_PROGRAM_TASK, "external-program-task.failed"),
        (Site::SAMPLE_USER_SYNC_TASK, "user-sync-task.failed"),
        (Site::SAMPLE_PRELOAD_TASK, "preload-task.failed"),
        (Site::SAMPLE_RELOAD_TASK, "reload-task.failed"),
    ];
    for (n, (task, kind)) in cases.into_iter().enumerate() {
        let message = failure(&sense.failed(task));
        butler.send(&[message.replace("/scheduler-task-failed/", "/scheduler-reload-failed/")]);
        let event = event_of(&sink.wait(n + 1).await[n]);
        assert_eq!(event["kind"], kind, "{event}");
        let data = &event["data"];
        assert_eq!((&data["missing"], &data["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    }
    // The wire does not even tell how a distribution ended.
    for (n, kind) in (4..).zip(["distribute-task.succeeded", "distribute-task.failed"]) {
        let fields = sense.about(Site::SAMPLE_DISTRIBUTE_TASK);
        let site = sense.site();
        let run = if kind.ends_with("failed") { Site::fail_task } else { Site::succeed_task };
        run(site, &fields.task_id, &fields.execution_id).expect("the site has the task");
        butler.send(&[datagram(kind, &fields)]);
        let event = event_of(&sink.wait(n + 1).await[n]);
        assert_eq!((&event["kind"], &event["data"]["kindAssumed"]), (&json!(kind), &Value::Null), "{event}");
    }
}

#[tokio::test]
async fn distributions_that_are_not_over_hold_up_nothing_else() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = with_webhook(&sense, &sink).await;
    // More than are in memory at once; nobody knows how they ended.
    let running: Vec<String> = (0..1_500).map(|_| datagram("distribute-task.failed", &fields())).collect();
    butler.send(&running);
    butler.wait_metric("butler_udp_processed_total", 1_500.0).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = event_of(&sink.wait(1).await[0]);
    assert_eq!(event["kind"], "reload-task.failed", "{event}");
    assert_eq!(butler.metric("butler_events_waiting").await, Some(1_500.0));
}

#[tokio::test]
async fn a_distribution_that_is_not_over_is_asked_for_again_also_after_a_restart() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = with_webhook(&sense, &sink).await;
    let store = butler.folder().join("butler.db");
    let wait_put_off = async || {
        wait_for("it to be put off", || async {
            (sqlite(&store, "SELECT due > unixepoch() * 1000 FROM events WHERE state = 0;") == "1").then_some(())
        })
        .await;
    };
    let distribution = sense.about(Site::SAMPLE_DISTRIBUTE_TASK);
    butler.send(&[datagram("distribute-task.failed", &distribution)]);
    wait_put_off().await;
    // Instead of waiting for half a minute.
    sqlite(&store, "UPDATE events SET due = 0 WHERE state = 0;");
    wait_put_off().await;
    let butler = butler.kill_and_start().await;
    sense.site().fail_task(&distribution.task_id, &distribution.execution_id).expect("the site has the task");
    sqlite(&store, "UPDATE events SET due = 0 WHERE state = 0;");
    let event = event_of(&sink.wait(1).await[0]);
    assert_eq!(event["kind"], "distribute-task.failed", "{event}");
    drop(butler);
}

#[tokio::test]
async fn a_reload_in_the_engine_is_told_with_app_and_owner() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense
        .butler(&format!("plugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n", sink.url("/")))
        .await;
    let of_service = Fields { user: r"INTERNAL\sa_api".to_owned(), ..sense.about(Site::SAMPLE_RELOAD_TASK) };
    butler.send(&[datagram("app-reload.failed", &of_service)]);
    let event = event_of(&sink.wait(1).await[0]);
    let data = &event["data"];
    assert_eq!(event["kind"], "app-reload.failed");
    assert_eq!((&data["app"]["name"], &data["app"]["owner"]["name"]), (&json!("Order analysis"), &json!("Ann Berg")));
    assert_eq!((&data["task"], &data["missing"]), (&Value::Null, &Value::Null), "{event}");
}
