//! `butler render`: what an instance would send, and nothing is sent.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use e2e::{Butler, Output, Sink, command, failure, fields};
use serde_json::{Value, json};

async fn render(config: &Path, instance: &str, more: &[&str]) -> Output {
    let arguments = ["render", "-c", config.to_str().unwrap(), "--instance", instance];
    command(&[&arguments, more].concat()).await
}

fn config(sink: &Sink) -> String {
    format!(
        "plugins:\n  - use: console\n  - use: probe\n  - use: teams\n    settings: {{ webhookUrl: \"{}\" }}\n    \
         on: [{{ events: [node.silent] }}]\n  - use: webhook\n    settings: {{ url: \"{0}\", format: event }}\n",
        sink.url("/x")
    )
}

#[tokio::test]
async fn what_would_be_sent_is_printed_and_nothing_is_sent() {
    let sink = Sink::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let config = Butler::prepare(&folder, &config(&sink));
    let output = render(&config, "teams", &[]).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let card: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(card["attachments"].is_array() && output.stdout.contains("Sales nightly"), "{card}");
    assert!(!output.stdout.contains("this is a test"), "{card}");
    let output = render(&config, "teams", &["--event", "service.stopped"]).await;
    assert!(output.code == 0 && output.stdout.contains("stopped") && !output.stdout.contains("Sales nightly"));

    // A text is printed as it is, and so is a part.
    let output = render(&config, "probe", &["--event", "node.silent"]).await;
    assert_eq!((output.code, output.stdout.as_str()), (0, "node.silent\n"), "{output:?}");
    let output = render(&config, "webhook", &["--part", "method"]).await;
    assert_eq!((output.code, output.stdout.as_str()), (0, "POST\n"), "{output:?}");
    let output = render(&config, "webhook", &["--part", "html"]).await;
    assert!(
        output.code == 1 && output.stderr.contains("no part `html`; it has body, headers, method, url"),
        "{output:?}"
    );
    assert_eq!(output.stdout, "");

    let output = render(&config, "console", &[]).await;
    assert!(output.code == 1 && output.stderr.contains("`console` cannot show what it would send"), "{output:?}");
    let output = render(&config, "mail", &[]).await;
    assert!(output.code == 1 && output.stderr.contains("it has console, probe, teams, webhook"), "{output:?}");
    let output = render(&config, "teams", &["--event", "service.stoped"]).await;
    assert!(output.code == 2 && output.stderr.contains("'service.stopped'"), "{output:?}");
    assert!(sink.received().is_empty());
    // No store is made beside the config.
    assert!(!folder.path().join("butler.db").exists());
}

#[tokio::test]
async fn a_template_is_tried_before_it_is_configured() {
    let sink = Sink::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let config = Butler::prepare(&folder, &config(&sink));
    let file = folder.path().join("mine.handlebars");
    let path = file.to_str().unwrap();
    let output = render(&config, "teams", &["--template", path]).await;
    assert!(output.code == 1 && output.stderr.contains("mine.handlebars` cannot be read"), "{output:?}");
    std::fs::write(&file, "{ \"type\": \"AdaptiveCard\", \"body\": [\"{{taskName}} is mine\"] }").unwrap();
    let output = render(&config, "teams", &["--template", path]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("Sales nightly is mine"), "{output:?}");
    std::fs::write(&file, "{ \"type\": \"AdaptiveCard\",\n\n \"body\": [\"{{#if taskName}}\"] }").unwrap();
    let output = render(&config, "teams", &["--template", path]).await;
    assert!(output.code == 1 && output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.contains("mine.handlebars") && output.stderr.contains("line "), "{output:?}");
}

#[tokio::test]
async fn an_event_of_the_running_daemon_is_rendered() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink)).await;
    let fields = fields();
    butler.send(&[failure(&fields)]);
    let event = butler.wait_routed(&fields.task_id, "reload-task.failed").await;
    let id = event["id"].as_str().unwrap();
    sink.wait(1).await;
    sink.forget();
    let output = render(butler.config(), "webhook", &["--event-id", id, "--part", "body"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let body: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&body["id"], &body["data"]["task"]["id"]), (&json!(id), &json!(fields.task_id)));
    let output = render(butler.config(), "teams", &["--event-id", id]).await;
    assert!(output.code == 0 && output.stdout.contains(&fields.task_name), "{output:?}");
    let output = render(butler.config(), "teams", &["--event-id", "no-1"]).await;
    assert!(output.code == 1 && output.stderr.contains("there is no event `no-1`"), "{output:?}");
    assert!(sink.received().is_empty());
}
