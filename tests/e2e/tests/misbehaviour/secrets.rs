//! Every text that a plugin can tell, each with the secret in all of its forms.

use std::sync::Arc;

use e2e::{Butler, Sink, failure, fields, http, run_with, sqlite, wait_for};
use tempfile::TempDir;

use super::{assert_stops, config, entry, instance, rogue, wait_error, wait_log, wait_state};

/// A secret; it as a part of a URL and of JSON; and what it makes of base64 at each of the three alignments.
const SECRET: &str = r#"k9#Vq/7w"Zp\2=Lm x"#;
const FORMS: [&str; 6] = [
    SECRET,
    "k9%23Vq%2F7w%22Zp%5C2%3DLm%20x",
    r#"k9#Vq/7w\"Zp\\2=Lm x"#,
    "VnEvN3ciWnBcMj1M",
    "I1ZxLzd3IlpwXDI9TG0g",
    "OSNWcS83dyJacFwyPUxt",
];
/// How the config makes the plugins know it: by its name, and written out in the forms that a plugin could make of it.
const TOLD: &str = "${env:BUTLER_E2E_SECRET} | k9%23Vq%2F7w%22Zp%5C2%3DLm%20x | k9#Vq/7w\\\"Zp\\\\2=Lm x | \
                    bWU6azkjVnEvN3ciWnBcMj1MbSB4 | eW91Oms5I1ZxLzd3IlpwXDI9TG0geA== | dXNlcjprOSNWcS83dyJacFwyPUxtIHg=";
const PLACES: usize = 6;

fn is_clean(what: &str, text: &str) {
    for form in FORMS {
        assert!(!text.contains(form), "{what} tells the secret (`{form}`):\n{text:.3000}");
    }
}

/// It was told there, and each form was taken out.
fn is_redacted(what: &str, text: &str) {
    is_clean(what, text);
    assert!(text.matches("[redacted]").count() >= PLACES, "{what} was not told at all: {text:.3000}");
}

#[tokio::test]
async fn a_secret_comes_out_of_no_text_in_any_form() {
    let (healthy, told) = (Sink::start().await, Sink::start().await);
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let secret = format!("secret: '{TOLD}'");
    let listener = "  - use: webhook\n    name: listener\n    on: [{ events: [\"rogue.*\"] }]\n    settings: { format: event, url: ";
    let entries = [
        rogue("tells", &format!("fault: tellSecret, {secret}")),
        rogue("start", &format!("fault: tellSecret, at: start, {secret}")),
        entry("garbage", "garbage", &format!("header: '{TOLD}', body: '{TOLD}', deliverError: '{TOLD}'")),
        format!("{listener}{} }}\n", told.url("/")),
    ];
    let environment = [("BUTLER_E2E_SECRET", SECRET), ("BUTLER_E2E_ENDPOINT", "1")];
    let butler = Butler::start_in(folder.clone(), &config(&entries, &healthy), &environment).await;
    for name in ["tells", "garbage", "listener"] {
        wait_state(&butler, name, "running").await;
    }
    let start = wait_state(&butler, "start", "unavailable").await;
    is_redacted("the error of a start", &start["condition"]["message"].to_string());
    butler.send(&[failure(&fields())]);
    is_redacted("the error of a delivery", &wait_error(&butler, "tells", "the rogue knows").await);
    is_redacted("a panic", &wait_error(&butler, "tells", "panicked: ").await);
    let dead = butler.wait_delivery("dead", "tells").await;
    is_redacted("the error of a dead delivery", &dead["error"].to_string());
    is_redacted("an error in no form", &wait_error(&butler, "garbage", "redacted").await);
    wait_for("the last error", || async { instance(&butler, "tells").await["lastError"].as_str().map(drop) }).await;
    is_redacted("the last error", &instance(&butler, "tells").await["lastError"].to_string());

    let request = http().get(format!("{}/v5/garbage", butler.rest())).bearer_auth(butler.token());
    let answer = request.send().await.expect("the daemon answers");
    let header = answer.headers()["x-told"].to_str().expect("the header is text").to_owned();
    is_redacted("a header", &header);
    is_clean("all headers", &format!("{:?}", answer.headers()));
    let body = answer.bytes().await.expect("the daemon answers whole");
    assert_eq!(body[..2], [0xff, 0xfe], "the body is no text");
    is_redacted("a body", &String::from_utf8_lossy(&body));

    let event = told.wait_where("the event", |request| request.json()["kind"] == "rogue.told").await;
    is_redacted("the data of an event", &event.body);
    told.wait_where("the event with a key", |request| request.json()["kind"] == "rogue.keyed").await;
    let (_, metrics) = butler.get("/metrics").await;
    let metrics = metrics.as_str().unwrap_or_default();
    let label = metrics.lines().find(|line| line.starts_with("butler_plugin_rogue_told_total{")).unwrap_or_default();
    is_redacted("a label", label);
    is_clean("/metrics", metrics);
    wait_log(&butler, "the rogue knows ").await;
    for path in ["/v5/plugins", "/v5/deliveries?limit=100", "/v5/events", "/v5/health/ready"] {
        let (status, answer) = butler.get(path).await;
        assert_eq!(status, 200, "{path}");
        is_clean(path, &answer.to_string());
    }
    let file = butler.config().to_str().expect("paths of tests are UTF-8").to_owned();
    let check = tokio::task::spawn_blocking(move || run_with(&["check", "-c", &file], &environment));
    let check = check.await.expect("the command can be run");
    is_redacted("an operation", check.stdout.lines().find(|line| line.contains("the rogue knows")).unwrap_or_default());
    is_clean("`butler check`", &(check.stdout + &check.stderr));

    let log = assert_stops(butler).await;
    let line = |what: &str, texts: &[&str]| {
        let found = log.lines().find(|line| texts.iter().all(|text| line.contains(text)));
        is_redacted(what, found.unwrap_or_default());
    };
    line("a log record with a field", &["ERROR", "secret", "the rogue knows"]);
    line("a dead delivery in the log", &["delivery is dead"]);
    is_clean("the log", &log);
    // What a plugin reports of its progress comes back to it as it was, even when a dead delivery is sent again by hand. Nothing else
    // is in the store, which is one file after a stop.
    let store = folder.path().join("butler.db");
    assert_eq!(
        sqlite(&store, "UPDATE deliveries SET progress = NULL WHERE progress IS NOT NULL RETURNING state;"),
        "3"
    );
    sqlite(&store, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
    let store = std::fs::read(store).expect("the store is a file");
    is_redacted("the store", &String::from_utf8_lossy(&store));
}
