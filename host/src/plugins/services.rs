//! What the host does for one generation of one instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use butler_plugin_api::abi::host::{BoxFuture, HostServices};
use butler_plugin_api::abi::{WireLogRecord, WireRequest, WireResponse};
use butler_plugin_api::{Data, HttpError, ServiceError, kind};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::flood::FloodGate;
use super::http::HttpClients;
use super::metrics::PluginMetrics;
use super::worker::Spawner;
use crate::config::Secrets;
use crate::qlik::Lookups;
use crate::store::{Accepted, NewEvent, StorageError, Store, StoreError, now_ms};

/// What all instances share.
pub struct Shared {
    /// Runs what must not depend on a plugin's thread.
    pub runtime: Handle,
    /// Storage and emitted events.
    pub store: Store,
    /// Told when an event was accepted.
    pub accepted: Arc<Notify>,
    /// HTTP clients.
    pub http: Arc<HttpClients>,
    /// Qlik Sense; absent when the config has none.
    pub qlik: Option<Arc<Lookups>>,
    /// Counters and gauges of plugins.
    pub metrics: Arc<PluginMetrics>,
    /// What must not leave the process.
    pub secrets: Arc<Secrets>,
}

/// The host as one generation of one instance sees it.
pub(super) struct Services {
    pub(super) instance: Arc<str>,
    pub(super) shared: Arc<Shared>,
    pub(super) spawner: Spawner,
    pub(super) alive: Arc<AtomicBool>,
    pub(super) max_level: u8,
    pub(super) flood: FloodGate,
}

/// Ends a task of the main runtime when the plugin drops its future.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Services {
    fn stopped(&self) -> bool {
        !self.alive.load(Ordering::Relaxed)
    }
}

impl HostServices for Services {
    fn http(&self, request: WireRequest) -> BoxFuture<Result<WireResponse, HttpError>> {
        if self.stopped() {
            return Box::pin(std::future::ready(Err(HttpError::Stopped)));
        }
        let http = self.shared.http.clone();
        let task = AbortOnDrop(self.shared.runtime.spawn(async move { http.send(request).await }));
        Box::pin(async move {
            let mut task = task;
            (&mut task.0).await.unwrap_or(Err(HttpError::Stopped))
        })
    }

    fn log(&self, record: WireLogRecord) {
        if record.level > self.max_level {
            return;
        }
        if let Some(suppressed) = self.flood.pass() {
            if suppressed > 0 {
                tracing::warn!(
                    instance = &*self.instance,
                    suppressed,
                    "the instance floods the log: records were left out"
                );
            }
            let secrets = &self.shared.secrets;
            let message = secrets.redact(&record.message);
            let fields = secrets.redact(&record.fields);
            super::log::forward(&self.instance, record.level, &record.target, &message, &fields);
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // The timer belongs to the main runtime: the plugin's thread has none.
        let _runtime = self.shared.runtime.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.spawner.spawn(future);
    }

    fn invoke(&self, service: String, input: String) -> BoxFuture<Result<String, ServiceError>> {
        if self.stopped() {
            return Box::pin(std::future::ready(Err(ServiceError::Stopped)));
        }
        let shared = self.shared.clone();
        let instance = self.instance.clone();
        // Not ended when the plugin drops the future: what was asked for may have been committed already.
        let task = self.shared.runtime.spawn(async move {
            let input: Value = serde_json::from_str(&input).map_err(|error| unsupported(&error))?;
            let answer = match service.as_str() {
                "storage" => storage(&shared, &instance, input).await,
                "emit" => emit(&shared, &instance, input).await,
                "metrics" => metrics(&shared, &instance, input),
                "qlik" => qlik(&shared, input).await,
                other => Err(ServiceError::Unsupported(format!("this Butler has no service `{other}`"))),
            }?;
            Ok(answer.to_string())
        });
        Box::pin(async move { task.await.unwrap_or(Err(ServiceError::Stopped)) })
    }
}

fn unsupported(error: &serde_json::Error) -> ServiceError {
    ServiceError::Unsupported(format!("the input of the service cannot be read: {error}"))
}

fn store_error(error: &StoreError) -> ServiceError {
    match error {
        StoreError::Closed => ServiceError::Stopped,
        other => ServiceError::Failed(other.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum StorageCall {
    Get { key: String },
    Set { key: String, value: Value, ttl_ms: Option<i64> },
    Delete { key: String },
    List { prefix: String },
}

async fn storage(shared: &Shared, instance: &str, input: Value) -> Result<Value, ServiceError> {
    let store = &shared.store;
    match serde_json::from_value(input).map_err(|error| unsupported(&error))? {
        StorageCall::Get { key } => {
            let value = store.storage_get(instance, &key).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "found": value.is_some(), "value": value }))
        }
        StorageCall::Set { key, value, ttl_ms } => {
            store.storage_set(instance, &key, &value, ttl_ms).await.map_err(|error| match error {
                StorageError::Store(error) => store_error(&error),
                quota => ServiceError::Quota(quota.to_string()),
            })?;
            Ok(json!({}))
        }
        StorageCall::Delete { key } => {
            let found = store.storage_delete(instance, &key).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "found": found }))
        }
        StorageCall::List { prefix } => {
            let keys = store.storage_list(instance, &prefix).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "keys": keys }))
        }
    }
}

#[derive(Deserialize)]
struct EmitCall {
    kind: String,
    data: Value,
    key: Option<String>,
}

async fn emit(shared: &Shared, instance: &str, input: Value) -> Result<Value, ServiceError> {
    let call: EmitCall = serde_json::from_value(input).map_err(|error| unsupported(&error))?;
    if let Some(fault) = kind::fault(&call.kind) {
        return Err(ServiceError::Unsupported(fault));
    }
    let data: Data = serde_json::from_value(call.data).map_err(|error| unsupported(&error))?;
    let now = now_ms();
    let event = NewEvent {
        kind: call.kind,
        time: now,
        received: now,
        source: format!("instance:{instance}"),
        keys: call.key.map(|key| format!("emit:{instance}:{key}")).into_iter().collect(),
        data,
    };
    let accepted = shared.store.accept(vec![event]).await.map_err(|error| store_error(&error))?;
    shared.accepted.notify_one();
    let accepted = accepted.first().copied().ok_or(ServiceError::Stopped)?;
    let duplicate = matches!(accepted, Accepted::Duplicate(_));
    Ok(json!({ "id": shared.store.event_id(accepted.seq()), "duplicate": duplicate }))
}

#[derive(Deserialize)]
struct MetricsCall {
    op: String,
    name: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    value: f64,
}

fn metrics(shared: &Shared, instance: &str, input: Value) -> Result<Value, ServiceError> {
    let call: MetricsCall = serde_json::from_value(input).map_err(|error| unsupported(&error))?;
    let result = match call.op.as_str() {
        "count" => shared.metrics.count(instance, &call.name, call.labels, call.value),
        "gauge" => shared.metrics.gauge(instance, &call.name, call.labels, call.value),
        other => return Err(ServiceError::Unsupported(format!("`metrics` has no operation `{other}`"))),
    };
    result.map_err(ServiceError::Quota)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum QlikCall {
    Get {
        path: String,
        #[serde(default)]
        query: Map<String, Value>,
    },
    ScriptLog {
        reference: String,
    },
}

async fn qlik(shared: &Shared, input: Value) -> Result<Value, ServiceError> {
    match serde_json::from_value(input).map_err(|error| unsupported(&error))? {
        QlikCall::Get { path, query } => {
            let qlik = shared.qlik.as_ref().ok_or_else(|| {
                ServiceError::Unavailable(
                    "the config has no `qlik:` section: Butler runs without Qlik Sense".to_owned(),
                )
            })?;
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
            let reply = qlik
                .repository()
                .get(&path, &query)
                .await
                .map_err(|error| ServiceError::Unavailable(error.to_string()))?;
            let body = reply.json().unwrap_or_else(|_| Value::from(reply.text()));
            Ok(json!({ "status": reply.status, "body": body }))
        }
        QlikCall::ScriptLog { reference } => {
            let text = shared.store.script_log(&reference).await.map_err(|error| store_error(&error))?;
            let text = text.ok_or_else(|| {
                ServiceError::Failed(format!("the script log {reference} is not kept, or no longer (`scriptLog.keep`)"))
            })?;
            Ok(json!({ "text": text }))
        }
    }
}
