//! Schedules: the API of Butler 16 and the better one, and that tasks start when they are to, whatever happens to the clock,
//! the store, Qlik Sense and the daemon.

#![allow(clippy::unwrap_used, reason = "for tests, which may panic")]

mod api;
mod files;
mod plugins;
mod runs;
mod trouble;

use std::path::Path;
use std::time::Duration;

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Butler, Disk, Sense, StoreLock, WallClock, command, http, take_all_room, wait_for};
use jiff::Timestamp;
use serde_json::{Value, json};

const TASK: &str = Site::SAMPLE_RELOAD_TASK;

/// Sends a request as a load script on the same machine would; status and body.
async fn send_text(butler: &Butler, method: &str, path: &str, body: Option<(&str, String)>) -> (u16, String) {
    let mut request = http().request(method.parse().expect("a method"), format!("{}{path}", butler.rest()));
    if let Some((content_type, body)) = body {
        request = request.header("content-type", content_type).body(body);
    }
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("the daemon answers whole"))
}

async fn send(butler: &Butler, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(|body| ("application/json", body.to_string()));
    let (status, text) = send_text(butler, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A body for `/v4`.
fn theirs(more: &Value) -> Value {
    merged(
        json!({ "name": "x", "cronSchedule": "0 6 * * *", "timezone": "Europe/Oslo", "qlikSenseTaskId": TASK, "startupState": "started" }),
        more,
    )
}

/// A body for `/v5`.
fn ours(more: &Value) -> Value {
    merged(
        json!({ "id": "s", "name": "nightly", "cron": "0 6 * * *", "timeZone": "Europe/Oslo", "taskId": TASK }),
        more,
    )
}

fn merged(mut value: Value, more: &Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

async fn make(butler: &Butler, more: &Value) -> Value {
    let (status, schedule) = send(butler, "POST", "/v5/schedules", Some(&ours(more))).await;
    assert_eq!(status, 201, "{schedule}");
    schedule
}

/// Waits until the last run of a schedule is so.
async fn wait_last(butler: &Butler, id: &str, result: &str) -> Value {
    wait_for(&format!("a run of {id} that is {result}; log:\n{}", butler.log()), || async {
        let (_, schedule) = send(butler, "GET", &format!("/v5/schedules/{id}"), None).await;
        Some(schedule["lastRun"].clone()).filter(|run| run["result"] == result)
    })
    .await
}

async fn events(butler: &Butler, kind: &str) -> Vec<Value> {
    let (_, answer) = butler.get(&format!("/v5/events?kind={kind}&limit=500")).await;
    answer["events"].as_array().cloned().unwrap_or_default()
}

async fn wait_event(butler: &Butler, kind: &str) -> Value {
    let what = format!("an event {kind}; log:\n{}", butler.log());
    let found = wait_for(&what, || async { Some(events(butler, kind).await).filter(|events| !events.is_empty()) });
    let id = found.await[0]["id"].as_str().unwrap().to_owned();
    butler.event(&id).await
}

/// Sets a clock.
fn set(clock: &WallClock, time: &str) {
    clock.set(time.parse::<Timestamp>().unwrap().as_second() - Timestamp::now().as_second());
}
