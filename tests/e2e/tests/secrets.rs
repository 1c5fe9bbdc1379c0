//! Secrets never come out; the log in JSON.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::sync::Arc;

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::place::{PRIVATE, Place};
use e2e::{Butler, http, run_with, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn failed_task() -> String {
    message(SampleKind::TaskFailed, &Fields::random().unwrap())
}

/// The entry of an instance in `/v5/plugins`.
async fn instance(butler: &Butler, name: &str) -> Value {
    let (status, answer) = butler.get("/v5/plugins").await;
    assert_eq!(status, 200);
    let found = answer["plugins"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no instance {name} in {answer}"))
}

/// A secret, what becomes of it in a URL and in JSON, and what it makes of base64 at each of the three alignments.
const SECRET: &str = r#"k9#Vq/7w"Zp\2=Lm x"#;
const FORMS: [&str; 6] = [
    SECRET,
    "k9%23Vq%2F7w%22Zp%5C2%3DLm%20x",
    r#"k9#Vq/7w\"Zp\\2=Lm x"#,
    "VnEvN3ciWnBcMj1M",
    "I1ZxLzd3IlpwXDI9TG0g",
    "OSNWcS83dyJacFwyPUxt",
];
const FILE_SECRET: &str = "of-a-file-82h3f";

/// Nothing of the secrets is in a text.
fn is_clean(what: &str, text: &str) {
    for form in FORMS.into_iter().chain([FILE_SECRET]) {
        assert!(!text.contains(form), "{what} tells the secret (`{form}`):\n{text}");
    }
}

#[tokio::test]
async fn secrets_never_come_out_in_any_form() {
    let folder = Arc::new(TempDir::new().unwrap());
    std::fs::write(folder.path().join("secret.txt"), format!("{FILE_SECRET}\n")).unwrap();
    // The last four are written out: forms of the secret that a plugin could make and tell.
    let told = [
        "${env:BUTLER_E2E_SECRET}",
        "${file:secret.txt}",
        "https://example.com/?key=k9%23Vq%2F7w%22Zp%5C2%3DLm%20x",
        "Basic bWU6azkjVnEvN3ciWnBcMj1MbSB4",
        "Basic eW91Oms5I1ZxLzd3IlpwXDI9TG0geA==",
        "Basic dXNlcjprOSNWcS83dyJacFwyPUxtIHg=",
    ];
    let mut config = format!(
        "udp: {{ listen: \"127.0.0.1:0\" }}\nplugins:\n  - use: console\n    on: [{{ events: [\"*\"] }}]\n    \
         settings: {{ format: json }}\n  - use: probe\n    on: [{{ events: [reload-task.failed] }}]\n    \
         settings: {{ fault: tellSecret, secret: '{}' }}\n",
        told.join(" | ")
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let webhook = format!(
        "  - use: webhook\n    on: [{{ events: [reload-task.failed] }}]\n    settings:\n      \
         url: 'http://{closed}/hook?key=${{file:secret.txt}}'\n      headers: {{ X-Key: '${{env:BUTLER_E2E_SECRET}}' }}\n"
    );
    config += &webhook;
    let environment = [("BUTLER_E2E_SECRET", SECRET)];
    let butler = Butler::start_in(folder, &config, &environment).await;
    butler.send(&[failed_task()]);
    let delivery = butler.wait_delivery("dead", "probe").await;
    let error = delivery["error"].as_str().unwrap();
    is_clean("the delivery", error);
    // Each form is replaced, and what is beside it is not.
    assert_eq!(error.matches("[redacted]").count(), told.len(), "{error}");
    let beside = ["the secret is ", "https://example.com/?key=", "Basic "];
    assert!(beside.iter().all(|text| error.contains(text)), "{error}");
    wait_for("the probe's last error", || async { instance(&butler, "probe").await["lastError"].as_str().map(drop) })
        .await;
    wait_for("the webhook fails", || async {
        let row = instance(&butler, "webhook").await;
        row["lastError"].as_str().map(|error| is_clean("webhook", error))
    })
    .await;
    wait_for("the probe's log", || async { butler.log().contains("the secret is ").then_some(()) }).await;
    wait_for("the event about a dead delivery", || async { butler.stdout().contains("delivery.dead").then_some(()) })
        .await;
    is_clean("the log", &butler.log());
    is_clean("standard output", &butler.stdout());
    for path in ["/v5/plugins", "/v5/deliveries?limit=100", "/v5/events", "/v5/health/ready", "/metrics"] {
        let (status, answer) = butler.get(path).await;
        assert_eq!(status, 200, "{path}");
        is_clean(path, &answer.to_string());
        is_clean(path, answer.as_str().unwrap_or_default());
    }
    let (status, answer) = butler.get("/v5/plugins").await;
    assert!(status == 200 && answer.to_string().contains("[redacted]"), "{answer}");

    // What an endpoint of a plugin answers, here with what it was asked.
    let echo = http().post(format!("{}/v5/probe/x", butler.rest())).bearer_auth(butler.token());
    let body = serde_json::json!({ "first": SECRET, "second": FILE_SECRET, "third": "harmless" }).to_string();
    let answer = echo.header("content-type", "application/json").body(body).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("harmless") && answer.contains("[redacted]"), "{answer}");
    is_clean("an endpoint", &answer);

    let file = butler.config().to_str().unwrap().to_owned();
    for arguments in [
        &["check", "-c", &file, "--log-level", "trace"][..],
        &["plugins", "list", "-c", &file],
        &["deliveries", "list", "-c", &file],
    ] {
        let output = run_with(arguments, &environment);
        assert!(output.code <= 1, "{output:?}");
        is_clean(arguments[0], &output.stdout);
        is_clean(arguments[0], &output.stderr);
    }
}

#[test]
fn faults_never_quote_a_secret() {
    let place = Place::new();
    std::fs::write(place.path("secret.txt"), FILE_SECRET).unwrap();
    let config = "version: 1
udp: { listen: '${env:BUTLER_E2E_SECRET}' }
log: { level: '${env:BUTLER_E2E_SECRET}' }
rest: { listen: '${file:secret.txt}' }
links: { qmc: '${env:BUTLER_E2E_SECRET}' }
store: { path: butler.db, keep: '${file:secret.txt}' }
plugins:
  - use: console
    settings: { format: '${env:BUTLER_E2E_SECRET}' }
  - use: webhook
    settings: { url: '${env:BUTLER_E2E_SECRET}' }
";
    let output = place.start_with(config, &[("BUTLER_E2E_SECRET", SECRET)]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.starts_with("7 errors in "), "{output:?}");
    is_clean("the report", &output.stderr);

    // What a plugin says of its settings when it starts is no exception.
    let config = format!(
        "{PRIVATE}plugins:\n  - use: webhook\n    settings: {{ url: 'ftp://host/', headers: {{ '${{env:BUTLER_E2E_SECRET}}': x }} }}\n"
    );
    let output = place.start_with(&config, &[("BUTLER_E2E_SECRET", SECRET)]);
    assert_eq!(output.code, 2, "{output:?}");
    is_clean("the refusal", &output.stderr);

    let output = place.start("version: 1\nlinks: { qmc: '${env:BUTLER_E2E_UNSET}' }\n");
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(":2:") && output.stderr.contains("`BUTLER_E2E_UNSET` is not set"), "{output:?}");
}

#[tokio::test]
async fn a_log_in_json_is_one_object_a_line() {
    let config = "log: { level: trace, format: json }\nplugins:\n  - use: probe\n    settings: { fault: panic }\n    \
                  retry: { initial: 50ms, max: 100ms }\n";
    let butler = Butler::start(config).await;
    butler.send(&[failed_task()]);
    wait_for("what the plugin logs", || async { butler.log().contains("the probe starts").then_some(()) }).await;
    butler.send(&["nothing\nthat \"anybody\" knows"]);
    butler.wait_metric("butler_udp_received_total", 2.0).await;
    wait_for("failed attempts", || async {
        let row = instance(&butler, "probe").await;
        (row["statistics"]["retried"].as_u64() >= Some(2)).then_some(())
    })
    .await;
    let (_, log) = butler.stop().await;
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |name: &str| record[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("timestamp") && text("level"), "{line}");
    }
    let starts = log.lines().find(|line| line.contains("the probe starts")).unwrap();
    let record: Value = serde_json::from_str(starts).unwrap();
    assert_eq!((&record["instance"], &record["level"]), (&"probe".into(), &"INFO".into()), "{starts}");
}
