//! A fake host: unit-test a plugin without a daemon.
//!
//! ```
//! # use butler_plugin_api::{Delivery, DeliveryError, Host, Manifest, Plugin, StartError};
//! # #[derive(serde::Deserialize, schemars::JsonSchema)] struct Settings { url: String }
//! # struct Chat { settings: Settings, host: Host }
//! # impl Plugin for Chat {
//! #     type Settings = Settings;
//! #     fn manifest() -> Manifest { Manifest::new("chat", "") }
//! #     async fn start(settings: Settings, host: Host) -> Result<Self, StartError> { Ok(Self { settings, host }) }
//! #     async fn deliver(&self, d: &Delivery) -> Result<(), DeliveryError> {
//! #         let http = self.host.http().post(self.settings.url.as_str());
//! #         http.json(&d.event.summary()).send().await?.error_for_status()?; Ok(())
//! #     }
//! # }
//! use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery};
//! use serde_json::json;
//!
//! let fake = FakeHost::new("chat").answer(503, "later");
//! block_on(async {
//!     let chat = fake.start::<Chat>(json!({ "url": "https://chat.test/hook" })).await.unwrap();
//!     let error = chat.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
//!     assert!(matches!(error, DeliveryError::Retry { .. }));
//! });
//! assert_eq!(fake.requests()[0].url, "https://chat.test/hook");
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::abi::host::{BoxFuture, HostServices, into_box};
use crate::abi::plugin::settings_schema;
use crate::abi::{HostHandle, WireLogRecord, WireRequest, WireResponse};
use crate::delivery::Delivery;
use crate::host::{Host, Instance, Links};
use crate::plugin::{Plugin, StartError};
use crate::services::{HttpError, ServiceError};
use crate::{Event, Manifest};

/// A host that answers from a script and remembers what it was asked. Clones share one state.
#[derive(Clone)]
pub struct FakeHost {
    instance: Instance,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: VecDeque<Result<WireResponse, HttpError>>,
    requests: Vec<WireRequest>,
    records: Vec<WireLogRecord>,
    emitted: Vec<(String, Value)>,
    keys: BTreeMap<String, String>,
    storage: BTreeMap<String, Value>,
    metrics: BTreeMap<String, f64>,
    qlik: BTreeMap<String, Value>,
    slept: Vec<Duration>,
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeHost").field("instance", &self.instance.name).finish_non_exhaustive()
    }
}

impl FakeHost {
    /// A host for one instance. Unscripted HTTP requests are answered `200` without a body, sleeps end at once.
    pub fn new(instance: &str) -> Self {
        let instance = Instance {
            name: instance.to_owned(),
            host_version: crate::API_VERSION.to_owned(),
            links: Links::default(),
            config_dir: ".".to_owned(),
            log_level: 5,
        };
        Self { instance, state: Arc::default() }
    }

    /// Sets the links of the config.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.instance.links = links;
        self
    }

    /// Sets the folder that relative paths start in.
    #[must_use]
    pub fn config_dir(mut self, dir: &str) -> Self {
        dir.clone_into(&mut self.instance.config_dir);
        self
    }

    /// Scripts the answer to the next unanswered HTTP request.
    #[must_use]
    pub fn answer(self, status: u16, body: &str) -> Self {
        self.answer_with(status, &[], body)
    }

    /// The same with headers.
    #[must_use]
    pub fn answer_with(self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let response = WireResponse { status, headers, body: body.into(), options: String::new() };
        self.state().answers.push_back(Ok(response));
        self
    }

    /// Scripts a failure of the next unanswered HTTP request.
    #[must_use]
    pub fn fail(self, error: HttpError) -> Self {
        self.state().answers.push_back(Err(error));
        self
    }

    /// Scripts the answer of QRS to a path (`task/full`), or the text of a script log under `scriptLog/<reference>`.
    #[must_use]
    pub fn qlik(self, path: &str, body: Value) -> Self {
        self.state().qlik.insert(path.to_owned(), body);
        self
    }

    /// The handle that a plugin gets.
    pub fn host(&self) -> Host {
        let handle = HostHandle::new(into_box(Arc::new(self.clone())));
        Host {
            handle,
            instance: Arc::new(self.instance.clone()),
            #[cfg(feature = "runtime")]
            runtime: false,
        }
    }

    /// Starts a plugin as the host does: the settings are read from JSON.
    pub async fn start<P: Plugin>(&self, settings: Value) -> Result<P, StartError> {
        let settings = serde_json::from_value(settings).map_err(|error| StartError::Config(error.to_string()))?;
        P::start(settings, self.host()).await
    }

    /// The HTTP requests so far.
    pub fn requests(&self) -> Vec<WireRequest> {
        self.state().requests.clone()
    }

    /// Log records so far.
    pub fn records(&self) -> Vec<WireLogRecord> {
        self.state().records.clone()
    }

    /// Kinds and data of the events emitted so far, repeated ones left out.
    pub fn emitted(&self) -> Vec<(String, Value)> {
        self.state().emitted.clone()
    }

    /// A value in the storage.
    pub fn stored(&self, key: &str) -> Option<Value> {
        self.state().storage.get(key).cloned()
    }

    /// A metric by name and labels: `sent{kind="x"}`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        self.state().metrics.get(series).copied()
    }

    /// The times that the plugin wanted to sleep.
    pub fn slept(&self) -> Vec<Duration> {
        self.state().slept.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn service(&self, service: &str, input: &Value) -> Result<Value, ServiceError> {
        let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        let mut state = self.state();
        match (service, text("op").as_str()) {
            ("storage", "get") => {
                let value = state.storage.get(&text("key"));
                Ok(json!({ "found": value.is_some(), "value": value }))
            }
            ("storage", "set") => {
                state.storage.insert(text("key"), input["value"].clone());
                Ok(json!({}))
            }
            ("storage", "delete") => Ok(json!({ "found": state.storage.remove(&text("key")).is_some() })),
            ("storage", "list") => {
                let prefix = text("prefix");
                let keys: Vec<_> = state.storage.keys().filter(|key| key.starts_with(&prefix)).collect();
                Ok(json!({ "keys": keys }))
            }
            ("emit", _) => {
                if let Some(id) = input["key"].as_str().and_then(|key| state.keys.get(key)) {
                    return Ok(json!({ "id": id, "duplicate": true }));
                }
                let id = format!("fake-{}", state.emitted.len() + 1);
                state.emitted.push((text("kind"), input["data"].clone()));
                if let Some(key) = input["key"].as_str() {
                    state.keys.insert(key.to_owned(), id.clone());
                }
                Ok(json!({ "id": id }))
            }
            ("metrics", op) => {
                let labels = input["labels"].as_object().into_iter().flatten();
                let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
                let name = text("name");
                let series = if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) };
                let value = input["value"].as_f64().unwrap_or_default();
                let entry = state.metrics.entry(series).or_default();
                *entry = if op == "count" { *entry + value } else { value };
                Ok(json!({}))
            }
            ("qlik", "get") => match state.qlik.get(&text("path")) {
                Some(body) => Ok(json!({ "status": 200, "body": body })),
                None => Ok(json!({ "status": 404, "body": "" })),
            },
            ("qlik", "scriptLog") => {
                let log = state.qlik.get(&format!("scriptLog/{}", text("reference")));
                let log = log.and_then(Value::as_str).map(str::to_owned);
                log.map(|text| json!({ "text": text })).ok_or(ServiceError::Failed("no such script log".to_owned()))
            }
            _ => Err(ServiceError::Unsupported(format!("the fake host has no service `{service}`"))),
        }
    }
}

impl HostServices for FakeHost {
    fn http(&self, request: WireRequest) -> BoxFuture<Result<WireResponse, HttpError>> {
        let mut state = self.state();
        state.requests.push(request);
        let answer = state.answers.pop_front();
        Box::pin(async move { answer.unwrap_or_else(|| Ok(WireResponse { status: 200, ..WireResponse::default() })) })
    }

    fn log(&self, record: WireLogRecord) {
        self.state().records.push(record);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.state().slept.push(duration);
        Box::pin(async {})
    }

    fn spawn(&self, future: BoxFuture<()>) {
        std::thread::spawn(move || block_on(future));
    }

    fn invoke(&self, service: String, input: String) -> BoxFuture<Result<String, ServiceError>> {
        let input = serde_json::from_str(&input).unwrap_or_default();
        let answer = self.service(&service, &input).map(|value| value.to_string());
        Box::pin(async move { answer })
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A plausible event of a kind, with every fact that the kind has.
pub fn sample_event(kind: &str) -> Event {
    let outcome = kind.rsplit('.').next().unwrap_or_default();
    let (status, status_text, message) = match outcome {
        "succeeded" => (7, "FinishedSuccess", "Execution State Change to FinishedSuccess"),
        "aborted" => (6, "Aborted", "Execution State Change to Aborting"),
        _ => (8, "FinishedFail", "Max retries reached"),
    };
    let task_type = kind.split("-task").next().unwrap_or("reload");
    let data = if kind.contains("-task.") {
        json!({
            "task": {
                "id": "11111111-2222-4333-8444-555555555555", "name": "Sales nightly", "type": task_type, "enabled": true,
                "tags": ["nightly", "finance"], "customProperties": { "Butler_Mail": ["Yes"] },
                "isManuallyTriggered": false, "isPartialReload": false, "maxRetries": 1, "sessionTimeoutMinutes": 1440,
                "modifiedBy": "LAB\\ann", "modifiedDate": "2026-03-01T08:00:00.000Z",
                "nextExecution": "2026-03-05T05:00:00.000Z"
            },
            "app": {
                "id": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "name": "Sales \"EU\"", "description": "Orders & invoices",
                "fileSizeBytes": 123_456, "lastReloadTime": "2026-03-03T05:02:00.000Z",
                "modifiedDate": "2026-03-03T05:02:00.000Z", "modifiedBy": "LAB\\ann",
                "publishTime": "2026-01-02T08:00:00.000Z", "published": true,
                "stream": { "id": "99999999-0000-4000-8000-000000000001", "name": "Finance EU" },
                "tags": ["eu"], "customProperties": { "Department": ["Finance", "Sales"] },
                "owner": { "id": "u1", "name": "Ann Berg", "userId": "ann", "userDirectory": "LAB",
                           "emails": ["ann@lab.test"] }
            },
            "execution": {
                "id": "99999999-8888-4777-8666-555555555555", "resultId": "e1", "status": status,
                "statusText": status_text, "startTime": "2026-03-04T05:05:01.120Z", "stopTime": "2026-03-04T05:06:07.310Z",
                "durationMs": 66_190, "node": "sense1.lab.test", "scriptLogSize": 1873,
                "details": [
                    { "time": "2026-03-04T05:05:00.900Z", "message": "Changing task state to Triggered", "type": 2 },
                    { "time": "2026-03-04T05:05:01.130Z", "message": "Changing task state from Triggered to Started",
                      "type": 2 },
                    { "time": "2026-03-04T05:06:07.320Z",
                      "message": format!("Changing task state from Started to {status_text}"), "type": 2 }
                ]
            },
            "scriptLog": {
                "head": ["2026-03-04 05:05:02 Execution started", "2026-03-04 05:05:02 SET path='C:\\new\\files'"],
                "tail": ["2026-03-04 05:06:07 Error: table \"Orders\" not found", "2026-03-04 05:06:07 Execution Failed"],
                "rows": 412, "characters": 1873, "reference": "e1"
            },
            "log": { "timestamp": "2026-03-04 06:06:07,890", "level": "WARN", "message": message },
            "node": "sense1", "user": "LAB\\sa_scheduler"
        })
    } else {
        json!({ "node": "sense1", "message": "a sample" })
    };
    Event {
        id: "sample-1".to_owned(),
        kind: kind.to_owned(),
        time: "2026-03-04T05:06:07.890Z".to_owned(),
        received_at: "2026-03-04T05:06:07.912Z".to_owned(),
        source: "udp".to_owned(),
        data: serde_json::from_value(data).unwrap_or_default(),
    }
}

/// A first attempt to deliver [`sample_event`].
pub fn sample_delivery(kind: &str) -> Delivery {
    Delivery {
        delivery_id: "sample-d1".to_owned(),
        attempt: 1,
        first_attempt_at: "2026-03-04T05:06:08.000Z".to_owned(),
        late_seconds: None,
        suppressed: 0,
        progress: None,
        event: sample_event(kind),
    }
}

/// The manifest of a plugin with its settings schema, as the host would get it.
pub fn manifest_of<P: Plugin>() -> Manifest {
    let mut manifest = P::manifest();
    manifest.settings_schema = settings_schema::<P>();
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_and_emit_behave_like_the_host() {
        let fake = FakeHost::new("t");
        let host = fake.host();
        block_on(async {
            host.storage().set("a/1", &json!({ "n": 1 }), None).await.unwrap();
            assert_eq!(host.storage().get("a/1").await.unwrap(), Some(json!({ "n": 1 })));
            assert_eq!(host.storage().list("a/").await.unwrap(), ["a/1"]);
            assert!(host.storage().delete("a/1").await.unwrap());
            assert_eq!(host.storage().get("a/1").await.unwrap(), None);
            assert!(!host.emit_once("k", "node.silent", json!({})).await.unwrap().duplicate);
            assert!(host.emit_once("k", "node.silent", json!({})).await.unwrap().duplicate);
        });
        assert_eq!(fake.emitted().len(), 1);
    }
}
