//! Plugins that do everything wrong, each beside a healthy instance that must not feel it.
//!
//! The plugins are `tests/plugins/rogue` (behind the SDK) and `tests/plugins/garbage` (writes its answers by hand); others
//! of their kind are in the tests `plugin_api`, `neighbours` and `secrets`. Faults of one subject share a daemon.

mod blocks;
mod chains;
mod floods;
mod garbage;
mod panics;
mod secrets;
mod threads;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::{Butler, Received, Sink, failure, fields, wait_for};
use serde_json::Value;

const SHUTDOWN: Duration = Duration::from_secs(4);
/// Events that the healthy instance gets at a time.
const EACH: usize = 20;

/// An entry of the config with short waits.
fn entry(plugin: &str, name: &str, settings: &str) -> String {
    format!(
        "  - use: {plugin}\n    name: {name}\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ {settings} }}\n"
    )
}

fn rogue(name: &str, settings: &str) -> String {
    entry("rogue", name, settings)
}

/// A config with these entries and the healthy instance beside them.
fn config(entries: &[String], healthy: &Sink) -> String {
    format!(
        "shutdownTimeout: 4s\nplugins:\n{}  - use: webhook\n    name: healthy\n    on: [{{ events: [\"reload-task.*\"] }}]\n    \
         settings: {{ url: {} }}\n",
        entries.concat(),
        healthy.url("/")
    )
}

/// Starts a daemon and waits until the healthy instance runs.
async fn start(entries: &[String], healthy: &Sink, environment: &[(&str, &str)]) -> Butler {
    let butler = Butler::start_with(&config(entries, healthy), environment).await;
    wait_state(&butler, "healthy", "running").await;
    butler
}

/// An instance as `/v5/plugins` has it.
async fn instance(butler: &Butler, name: &str) -> Value {
    let (status, answer) = butler.get("/v5/plugins").await;
    assert_eq!(status, 200, "{answer}");
    let found = answer["plugins"].as_array().into_iter().flatten().find(|instance| instance["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("{name} is not in {answer}"))
}

/// Waits until an instance is in a state, and returns it.
async fn wait_state(butler: &Butler, name: &str, state: &str) -> Value {
    wait_for(&format!("{name} to be {state}; log:\n{}", end_of(&butler.log())), || async {
        Some(instance(butler, name).await).filter(|instance| instance["condition"]["state"] == state)
    })
    .await
}

async fn wait_log(butler: &Butler, text: &str) {
    wait_for(&format!("`{text}` in the log"), || async { butler.log().contains(text).then_some(()) }).await;
}

/// Waits until the newest delivery to an instance has failed with an error that holds this text.
async fn wait_error(butler: &Butler, name: &str, text: &str) -> String {
    wait_for(&format!("a delivery to {name} that fails with `{text}`"), || async {
        let deliveries = butler.deliveries(&format!("instance={name}&limit=200")).await;
        let mut errors = deliveries.iter().filter_map(|delivery| delivery["error"].as_str());
        errors.find(|error| error.contains(text)).map(str::to_owned)
    })
    .await
}

/// The end of a log that may be long.
fn end_of(log: &str) -> &str {
    &log[log.floor_char_boundary(log.len().saturating_sub(20_000))..]
}

/// The healthy instance gets new events soon, each once.
async fn assert_served(butler: &Butler, healthy: &Sink) {
    let before = healthy.received().len();
    let sent = Instant::now();
    butler.send(&(0..EACH).map(|_| failure(&fields())).collect::<Vec<_>>());
    let requests = healthy.wait(before + EACH).await;
    assert!(sent.elapsed() < Duration::from_secs(5), "it took {:?}", sent.elapsed());
    let key = |request: &Received| request.header("idempotency-key").unwrap_or_default().to_owned();
    let told: BTreeSet<String> = requests.iter().map(key).collect();
    assert_eq!(told.len(), before + EACH, "each once");
    let healthy = instance(butler, "healthy").await;
    assert_eq!((&healthy["condition"]["state"], &healthy["lastError"]), (&"running".into(), &Value::Null), "{healthy}");
}

/// Stops within `shutdownTimeout`, with success.
async fn assert_stops(butler: Butler) -> String {
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", end_of(&log));
    // The rest is for a busy machine.
    assert!(took < SHUTDOWN + Duration::from_secs(2), "the stop took {took:?}:\n{}", end_of(&log));
    log
}

/// A line of the log that holds all of these texts.
fn has_line(log: &str, texts: &[&str]) -> bool {
    log.lines().any(|line| texts.iter().all(|text| line.contains(text)))
}
