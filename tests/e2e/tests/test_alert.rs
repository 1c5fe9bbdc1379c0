//! `butler test-alert`: one alert, marked as a test, through the real destination.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use e2e::qlik::{Endpoint, Fault, Site, Status};
use e2e::{Answer, Butler, Output, Sense, Sink, command};
use serde_json::json;
use tempfile::TempDir;

const NOTE: &str = "this is a test, nothing has happened";

/// Sends a test alert to an instance of a config.
async fn alert(config: &Path, instance: &str, more: &[&str]) -> Output {
    let arguments = ["test-alert", "-c", config.to_str().unwrap(), "--instance", instance];
    command(&[&arguments, more].concat()).await
}

/// A folder with this config, nothing running.
fn place(config: &str) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = Butler::prepare(&folder, config);
    (folder, path)
}

/// The detail that the output has about something.
fn line<'o>(output: &'o Output, what: &str) -> &'o str {
    let lines = output.stdout.lines();
    let found = lines.filter_map(|line| line.split_at_checked(12)).find(|(name, _)| name.trim_end() == what);
    found.unwrap_or_else(|| panic!("no line `{what}` in {output:?}")).1
}

fn no_such_line(output: &Output, what: &str) {
    assert!(!output.stdout.lines().any(|line| line.starts_with(what)), "{output:?}");
}

#[tokio::test]
async fn a_sample_reaches_the_destination_beside_a_running_daemon_which_does_not_notice() {
    let sink = Sink::start().await;
    let butler = Butler::start(&format!(
        "plugins:\n  - use: console\n  - use: webhook\n    name: desk\n    settings: {{ url: \"{}\", format: event }}\n",
        sink.url("/desk")
    ))
    .await;
    for kind in [None, Some("certificate.expiring")] {
        sink.forget();
        let more: Vec<&str> = kind.iter().flat_map(|kind| ["--event", kind]).collect();
        let output = alert(butler.config(), "desk", &more).await;
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        let kind = kind.unwrap_or("reload-task.failed");
        assert_eq!(line(&output, "event"), format!("{kind}, a sample"));
        assert!(line(&output, "delivered").starts_with("by desk in "), "{output:?}");
        let received = sink.received();
        assert_eq!(received.len(), 1, "{received:?}");
        let event = received[0].json();
        assert_eq!((&event["kind"], &event["source"]), (&json!(kind), &json!("test")));
    }
    let (_, events) = butler.get("/v5/events?kind=reload-task.*").await;
    assert_eq!(events["events"], json!([]));
    assert_eq!(butler.deliveries("").await, Vec::<serde_json::Value>::new());
    let (status, log) = butler.stop().await;
    assert!(status.success() && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn people_see_that_it_is_a_test() {
    let sink = Sink::start().await;
    let (_folder, config) = place(&format!(
        "plugins:\n  - use: console\n  - use: teams\n    settings: {{ webhookUrl: \"{}\" }}\n",
        sink.url("/teams")
    ));
    let output = alert(&config, "console", &[]).await;
    assert!(output.code == 0 && output.stdout.contains(NOTE), "{output:?}");
    let output = alert(&config, "teams", &["--event", "service.stopped"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(sink.received()[0].body.contains(NOTE), "{:?}", sink.received());
}

#[tokio::test]
async fn what_the_destination_says_is_told_and_nothing_is_tried_twice() {
    let sink = Sink::start().await;
    let (_folder, config) =
        place(&format!("plugins:\n  - use: webhook\n    settings: {{ url: \"{}\" }}\n", sink.url("/")));
    for (status, answer, words) in [
        ("503", Answer::Status(503), "not delivered, Butler would try again: "),
        ("429", Answer::RetryAfter(429, 30), "not delivered, Butler would try again, as it asks not before 30 s: "),
        ("404", Answer::Status(404), "not delivered, Butler would try again: "),
        ("400", Answer::Status(400), "rejected, Butler would not try this again: "),
    ] {
        sink.forget();
        sink.next([answer]);
        let output = alert(&config, "webhook", &[]).await;
        assert_eq!((output.code, sink.received().len()), (1, 1), "{output:?}");
        assert!(output.stderr.starts_with(words) && output.stderr.contains(status), "{output:?}");
        no_such_line(&output, "delivered");
    }
    drop(sink);
    let output = alert(&config, "webhook", &[]).await;
    assert!(output.code == 1 && output.stderr.contains("cannot be reached"), "{output:?}");
}

#[tokio::test]
async fn a_plugin_that_hangs_panics_or_tells_a_secret_is_held_by_the_host() {
    for (fault, words) in [
        ("hang", "not delivered, Butler would try again: no outcome within 2 s"),
        ("block", "not delivered, Butler would try again: no outcome within 2 s"),
        ("panic", "the plugin failed, Butler would try again: panicked: the probe was told to panic"),
        ("reject", "rejected, Butler would not try this again: the probe was told to reject"),
        ("tellSecret", "rejected, Butler would not try this again: the secret is [redacted]"),
        ("config", "the instance `odd` does not start: the probe was told to refuse its settings"),
        ("unavailable", "the instance `odd` does not start: not yet"),
    ] {
        let (folder, config) = place(&format!(
            "plugins:\n  - use: probe\n    name: odd\n    settings: {{ fault: {fault}, secret: \"${{file:secret}}\" }}\n"
        ));
        std::fs::write(folder.path().join("secret"), "hunter2-password").unwrap();
        let output = alert(&config, "odd", &[]).await;
        assert!(output.code == 1 && output.stderr.contains(words), "{fault}: {output:?}");
        assert!(!output.stderr.contains("hunter2") && !output.stdout.contains("hunter2"), "{output:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let (_folder, config) = place("plugins:\n  - use: console\n  - use: console\n    name: other\n");
    let output = alert(&config, "consol", &[]).await;
    assert!(output.code == 1 && output.stderr.contains("no instance `consol`"), "{output:?}");
    assert!(output.stderr.contains("it has console, other"), "{output:?}");
    let output = alert(&config, "console", &["--event", "reload-task.faild"]).await;
    assert!(output.code == 2 && output.stderr.contains("'reload-task.failed'"), "{output:?}");
    assert!(output.stderr.contains("certificate.expiring"), "{output:?}");
    let output = alert(&config, "console", &["--event", "node.silent", "--task", "x"]).await;
    assert!(output.code == 2 && output.stderr.contains("cannot be used with"), "{output:?}");
    let output = alert(&config, "console", &["--task", Site::SAMPLE_RELOAD_TASK]).await;
    assert!(output.code == 1 && output.stderr.contains("has no `qlik:`"), "{output:?}");
    assert_eq!(output.stdout, "");
}

/// A config with the simulator and an instance `desk`, written into the folder of the simulator.
fn desk(sense: &Sense, sink: &Sink, on: &str) -> std::path::PathBuf {
    let path = sense.folder().join("butler.yaml");
    let config = format!(
        "version: 1\n{}plugins:\n  - use: teams\n    name: chat\n    settings: {{ webhookUrl: \"{}\" }}\n  - use: webhook\n    \
         name: desk\n    {on}\n    settings: {{ url: \"{}\", format: event }}\n",
        sense.section(""),
        sink.url("/chat"),
        sink.url("/desk")
    );
    std::fs::write(&path, config).unwrap();
    path
}

#[tokio::test]
async fn a_task_is_told_with_the_facts_of_its_last_execution() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    // Not late, though long ago: nothing has happened.
    sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, Duration::from_hours(72));
    let config = desk(&sense, &sink, "on: [{ events: [reload-task.failed], where: { task.tags: nightly } }]");
    let task = ["--task", Site::SAMPLE_RELOAD_TASK];
    let output = alert(&config, "desk", &task).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert_eq!(line(&output, "event"), "reload-task.failed");
    assert_eq!(line(&output, "task"), format!("Reload order analysis ({})", Site::SAMPLE_RELOAD_TASK));
    assert!(line(&output, "app").starts_with("Order analysis, stream "), "{output:?}");
    assert!(line(&output, "owner").contains('@'), "{output:?}");
    assert!(line(&output, "execution").starts_with("the last one: FinishedFail, 20"), "{output:?}");
    assert_eq!(line(&output, "route"), "rule 1 of its `on:`");
    no_such_line(&output, "missing");
    line(&output, "delivered");
    let event = sink.received()[0].json();
    assert_eq!((&event["source"], &event["data"]["app"]["name"]), (&json!("test"), &json!("Order analysis")));
    assert_eq!(event["data"]["execution"]["statusText"], "FinishedFail");

    // With the script log, where the plugin wants it; and by the usual events without an `on:`.
    sink.forget();
    let output = alert(&config, "chat", &task).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "script log").ends_with(" lines"), "{output:?}");
    assert_eq!(line(&output, "route"), "the plugin's usual events");
    let card = &sink.received()[0].body;
    assert!(card.contains(NOTE) && !card.contains("late by"), "{card}");
    // Whatever is told of it, Qlik Sense is only read.
    assert!(sense.site().starts().is_empty());
}

#[tokio::test]
async fn a_task_that_succeeded_last_or_never_ran_is_told_all_the_same() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let config = desk(&sense, &sink, "on: [{ events: [\"*\"] }]");
    let task = ["--task", Site::SAMPLE_RELOAD_TASK];
    let output = alert(&config, "desk", &task).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "missing").contains("execution"), "{output:?}");
    sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedSuccess, Duration::from_hours(1));
    let output = alert(&config, "desk", &task).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "execution").starts_with("the last one: FinishedSuccess"), "{output:?}");
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test]
async fn a_route_that_does_not_take_the_task_says_which_condition_and_nothing_is_sent() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let on = "on:\n      - events: [distribute-task.failed]\n      - { events: [\"*\"], where: { app.stream: \"Finance*\" } }\n";
    let config = desk(&sense, &sink, on);
    let output = alert(&config, "desk", &["--task", Site::SAMPLE_RELOAD_TASK]).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("nothing was sent: the routes of the instance do not take the event"), "{output:?}");
    let routes: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("route")).collect();
    assert_eq!(routes.len(), 2, "{output:?}");
    assert!(routes[0].ends_with("rule 1 of its `on:`: has no reload-task.failed, only distribute-task.failed"));
    assert!(
        routes[1].contains("rule 2 of its `on:`: `app.stream` must be \"Finance*\", and is \"Everyone\""),
        "{routes:?}"
    );

    // The type of the task decides the kind.
    let output = alert(&config, "desk", &["--task", Site::SAMPLE_EXTERNAL_PROGRAM_TASK]).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(line(&output, "event"), "external-program-task.failed");
    assert!(line(&output, "route").contains("has no external-program-task.failed"), "{output:?}");
    assert!(output.stdout.contains("events external-program-task.failed have no such field"), "{output:?}");
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn facts_that_cannot_be_had_are_missing_and_a_dead_qlik_sense_is_said() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let where_stream = "where: { app.stream: \"Finance*\" }";
    let task = ["--task", Site::SAMPLE_RELOAD_TASK];
    sense.faults().add(Fault::status(500).on(Endpoint::AppFull));
    let output =
        alert(&desk(&sense, &sink, &format!("on: [{{ events: [\"*\"], {where_stream} }}]")), "desk", &task).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "missing").contains("app"), "{output:?}");
    assert!(line(&output, "route").contains("`app.stream` could not be found out"), "{output:?}");
    assert_eq!(sink.received().len(), 1);
    let drop = format!("on: [{{ events: [\"*\"], {where_stream}, onUnknown: drop }}]");
    let output = alert(&desk(&sense, &sink, &drop), "desk", &task).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output, "route").contains("`onUnknown` says drop"), "{output:?}");
    assert_eq!(sink.received().len(), 1);
    sense.faults().clear();

    let config = desk(&sense, &sink, "");
    for (id, words) in [
        (
            "00000000-0000-4000-8000-000000000000",
            "has no task 00000000-0000-4000-8000-000000000000, or LAB\\sa_repository",
        ),
        ("Reload order analysis", "is no id of a task"),
    ] {
        let output = alert(&config, "desk", &["--task", id]).await;
        assert!(output.code == 1 && output.stderr.contains(words), "{output:?}");
    }
    sense.stop().await;
    let output = alert(&config, "desk", &task).await;
    assert!(output.code == 1 && output.stderr.contains(&sense.addr().to_string()), "{output:?}");
    // A sample needs no Qlik Sense.
    let output = alert(&config, "desk", &[]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(sink.received().len(), 2);
}
