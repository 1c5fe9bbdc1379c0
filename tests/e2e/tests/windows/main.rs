//! The executable for Windows under Wine, with its plugins; Qlik Sense, destinations and the tests themselves are on this
//! system. Prepared and run by `tests/windows/run.sh`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod alert;
mod commands;
mod console;
mod in_use;
mod log_files;
mod paths;
mod plugins;
mod service;
mod texts;
mod times;
mod updates;

use std::path::Path;
use std::sync::Arc;

use e2e::{Butler, Sink, Wine, wait_for};
use tempfile::TempDir;

/// A webhook that gets whole events.
fn hook(sink: &Sink) -> String {
    format!(
        "  - use: webhook\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: \"{}\", format: event }}\n",
        sink.url("/")
    )
}

fn folder() -> Arc<TempDir> {
    Arc::new(TempDir::new().unwrap())
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Waits until an instance runs.
async fn runs(butler: &Butler, instance: &str) {
    wait_for(&format!("{instance} to run; log:\n{}", butler.log()), || async {
        let (_, page) = butler.get("/v5/plugins").await;
        let rows = page["plugins"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["name"] == instance && row["condition"]["state"] == "running").then_some(())
    })
    .await;
}

/// A daemon that stops cleanly by Ctrl-C.
async fn stops(butler: Butler) -> String {
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopping") && log.contains("stopped"), "{log}");
    log
}

fn wine() -> Wine {
    Wine::new()
}
