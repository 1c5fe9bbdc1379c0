//! What the host does for one generation of one instance.

mod qlik;
mod schedule;
mod status;
mod storage;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use butler_plugin_api::abi::host::{BoxFuture, HostServices, Library};
use butler_plugin_api::abi::{WireLogRecord, WireRequest, WireResponse};
use butler_plugin_api::{Data, HttpError, Manifest, ServiceError, kind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

pub(super) use self::schedule::Waits;
use super::answers::cut;
use super::chain::{self, Chains};
use super::flood::FloodGate;
use super::metrics::{Owner, PluginMetrics};
use super::worker::Spawner;
use crate::cloud::CloudEvents;
use crate::config::{Config, Secrets};
use crate::current::Current;
use crate::http::HttpClients;
use crate::ingest;
use crate::observe::Roads;
use crate::qlik::Lookups;
use crate::start_tasks::TaskStarter;
use crate::store::{Accepted, NewEvent, Store, StoreError, now_ms};

/// Calls of services that an instance may have under way; more wait. Each has a task on the main runtime, and those that
/// write share the one writer of the store with everybody else.
const CALLS: usize = 32;
/// The same for HTTP requests, which take long and cost little.
const REQUESTS: usize = 256;
/// Longest message of a log record, and longest text of its fields.
const MAX_RECORD: usize = 32 << 10;
/// Most bytes of the data of an emitted event, as JSON.
const MAX_DATA: usize = 1 << 20;
const MAX_EMIT_KEY: usize = 512;
const MAX_LABELS: usize = 20;
/// Longest value of a metric's label, and longest name.
const MAX_LABEL: usize = 512;

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
    /// When Butler was started, ms since 1970.
    pub started_ms: i64,
    /// The UDP sockets, where there are such.
    pub udp: Option<Arc<ingest::Running>>,
    /// Which Sense nodes were heard of.
    pub roads: Arc<Roads>,
    /// Qlik Sense; absent when the config has none.
    pub qlik: Option<Arc<Lookups>>,
    /// Starts tasks; absent when the config has no Qlik Sense.
    pub task_starter: Option<Arc<TaskStarter>>,
    /// Butler only looks (`check`, `render`, …): nothing is written to Qlik Sense, though the config may allow it.
    pub only_looks: bool,
    /// Takes events of Qlik Cloud.
    pub cloud_events: Arc<CloudEvents>,
    /// What plugins may write to, as it is at the time.
    pub config: Arc<Current<Config>>,
    /// Counters and gauges of plugins.
    pub metrics: Arc<PluginMetrics>,
    /// What must not leave the process.
    pub secrets: Arc<Secrets>,
}

/// The host as one generation of one instance sees it.
pub(super) struct Services {
    pub(super) instance: Arc<str>,
    pub(super) library: Arc<Library>,
    pub(super) shared: Arc<Shared>,
    pub(super) spawner: Spawner,
    pub(super) alive: Arc<AtomicBool>,
    pub(super) max_level: u8,
    pub(super) flood: FloodGate,
    pub(super) calls: Calls,
    pub(super) chains: Arc<Chains>,
    pub(super) waits: Waits,
}

/// Places for calls of the host.
pub(super) struct Calls {
    services: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { services: Arc::new(Semaphore::new(CALLS)), requests: Arc::new(Semaphore::new(REQUESTS)) }
    }
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
        let (shared, places) = (self.shared.clone(), self.calls.requests.clone());
        Box::pin(async move {
            // Never closed.
            let place = places.acquire_owned().await.map_err(|_| HttpError::Stopped)?;
            let http = shared.http.clone();
            let mut task = AbortOnDrop(shared.runtime.spawn(async move {
                let _place = place;
                http.send(request).await
            }));
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
            let fit = |text: &str| cut(self.shared.secrets.redact(text).into_owned(), MAX_RECORD);
            let (target, message, fields) = (fit(&record.target), fit(&record.message), fit(&record.fields));
            super::log::forward(&self.instance, record.level, &target, &message, &fields);
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
        if service == "metrics" {
            // At once and here, for the plugin does not wait: so that gauges stay in order.
            let owner = Owner { plugin: &self.library.manifest().name, instance: &self.instance };
            let answer = metrics(&self.shared, owner, &input).map(|()| json!({}).to_string());
            return Box::pin(std::future::ready(answer));
        }
        if service == "schedule" {
            // Takes no place: it waits for hours. Ends when the plugin drops the future, which a stop does.
            let (runtime, shared, instance) = (self.shared.runtime.clone(), self.shared.clone(), self.instance.clone());
            let (waits, alive) = (self.waits.clone(), self.alive.clone());
            return Box::pin(async move {
                let mut task =
                    AbortOnDrop(runtime.spawn(async move {
                        schedule::answer(&shared.store, &instance, &waits, &alive, &input).await
                    }));
                (&mut task.0).await.unwrap_or(Err(ServiceError::Stopped))
            });
        }
        let (shared, instance, chains) = (self.shared.clone(), self.instance.clone(), self.chains.clone());
        let (library, places) = (self.library.clone(), self.calls.services.clone());
        Box::pin(async move {
            // Never closed.
            let place = places.acquire_owned().await.map_err(|_| ServiceError::Stopped)?;
            let runtime = shared.runtime.clone();
            // Not ended when the plugin drops the future: what was asked for may have been committed already.
            let task = runtime.spawn(async move {
                let _place = place;
                let input: Value = serde_json::from_str(&input).map_err(|error| invalid(&error))?;
                let answer = match service.as_str() {
                    "storage" => storage::answer(&shared.store, &instance, input).await,
                    "emit" => emit(&shared, library.manifest(), &instance, &chains, input).await,
                    "status" => status::answer(&shared).await,
                    "qlik" => qlik::answer(&shared, library.manifest(), &instance, input).await,
                    other => Err(ServiceError::Unsupported(format!("this Butler has no service `{other}`"))),
                }?;
                Ok(answer.to_string())
            });
            task.await.unwrap_or(Err(ServiceError::Stopped))
        })
    }
}

fn invalid(error: &serde_json::Error) -> ServiceError {
    ServiceError::Invalid(format!("the input of the service cannot be read: {error}"))
}

/// The input of a service with operations. One that this version does not have is told apart: a newer one may have it.
fn operation<T: DeserializeOwned>(service: &str, operations: &[&str], input: Value) -> Result<T, ServiceError> {
    match input["op"].as_str() {
        Some(op) if !operations.contains(&op) => {
            Err(ServiceError::Unsupported(format!("this Butler's service `{service}` has no operation `{op}`")))
        }
        _ => serde_json::from_value(input).map_err(|error| invalid(&error)),
    }
}

fn store_error(error: &StoreError) -> ServiceError {
    match error {
        StoreError::Closed => ServiceError::Stopped,
        other => ServiceError::Failed(other.to_string()),
    }
}

#[derive(Deserialize)]
struct EmitCall {
    kind: String,
    data: Value,
    key: Option<String>,
    /// The delivery that it is emitted in.
    delivery: Option<String>,
    /// How often that has emitted the same before.
    repetition: Option<u32>,
}

async fn emit(
    shared: &Shared,
    manifest: &Manifest,
    instance: &str,
    chains: &Chains,
    input: Value,
) -> Result<Value, ServiceError> {
    let call: EmitCall = serde_json::from_value(input).map_err(|error| invalid(&error))?;
    if let Some(fault) = kind::fault(&call.kind) {
        return Err(ServiceError::Invalid(fault));
    }
    if !matches!(shared.secrets.redact(&call.kind), Cow::Borrowed(_)) {
        return Err(ServiceError::Invalid("the kind of an event must not hold a secret".to_owned()));
    }
    if let Some(fault) = manifest.emit_fault(&call.kind) {
        return Err(ServiceError::Denied(fault));
    }
    if !call.data.is_object() {
        return Err(ServiceError::Invalid("the data of an event must be a JSON object".to_owned()));
    }
    let size = call.data.to_string().len();
    if size > MAX_DATA {
        return Err(ServiceError::Quota(format!(
            "the data of the event has {size} bytes, at most {MAX_DATA} are taken"
        )));
    }
    let key = match (&call.key, &call.delivery) {
        (Some(key), _) => Some(emit_key(&shared.secrets, key)?),
        (None, Some(delivery)) => {
            let repetition = call.repetition.unwrap_or_default();
            let data = hex(&Sha256::digest(call.data.to_string()));
            Some(format!("{delivery}/{}/{data}/{repetition}", call.kind))
        }
        (None, None) => None,
    };
    // Others get it, and it is kept and shown.
    let mut data = call.data;
    shared.secrets.redact_json(&mut data);
    // A known fact of another form than ours is kept as it is: whoever emits it may know better.
    let mut data = Data::from_json(&data);
    let depth = chains.next(call.delivery.as_deref());
    chain::set_depth(&mut data, depth);
    let now = now_ms();
    let kind = call.kind.clone();
    let event = NewEvent {
        kind: call.kind,
        time: now,
        received: now,
        source: format!("instance:{instance}"),
        keys: key.map(|key| format!("emit:{instance}:{key}")).into_iter().collect(),
        data,
    };
    let accepted = shared.store.accept(vec![event]).await.map_err(|error| store_error(&error))?;
    shared.accepted.notify_one();
    let accepted = accepted.first().copied().ok_or(ServiceError::Stopped)?;
    let duplicate = matches!(accepted, Accepted::Duplicate(_));
    let id = shared.store.event_id(accepted.seq());
    if depth > chain::MAX_DEPTH && !duplicate && chains.count_cut() {
        tracing::error!(
            instance,
            kind,
            event = id,
            "events of plugins lead to one another without end: this one is the {depth}th of its chain and goes to nobody, \
             as will others like it. Give the instances in the chain routes (`on:`) that leave out each other's events; \
             `butler_chains_cut_total` counts on"
        );
    }
    Ok(json!({ "id": id, "duplicate": duplicate }))
}

/// The key of an emitted event, as it is kept. One that holds a secret is kept as its hash, so that keys stay apart.
fn emit_key(secrets: &Secrets, key: &str) -> Result<String, ServiceError> {
    if key.len() > MAX_EMIT_KEY {
        let text = format!("the key of the event has {} bytes, at most {MAX_EMIT_KEY} are taken", key.len());
        return Err(ServiceError::Quota(text));
    }
    // The store keeps the keys of an event one a line.
    if key.chars().any(char::is_control) {
        return Err(ServiceError::Unsupported("the key of an event must not hold line breaks and the like".to_owned()));
    }
    Ok(match secrets.redact(key) {
        Cow::Borrowed(_) => key.to_owned(),
        Cow::Owned(_) => format!("sha256:{}", hex(&Sha256::digest(key))),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum MetricOp {
    Count,
    Gauge,
}

#[derive(Deserialize)]
struct MetricsCall {
    op: MetricOp,
    labels: Option<BTreeMap<String, String>>,
    /// JSON has no other numbers than finite ones.
    value: Option<f64>,
}

fn metrics(shared: &Shared, owner: Owner<'_>, input: &str) -> Result<(), ServiceError> {
    let mut input: Value = serde_json::from_str(input).unwrap_or_default();
    let name = input.get_mut("name").map(Value::take);
    let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
    let result = metric(shared, owner, name, input);
    if let Err(error) = &result {
        // The plugin does not hear of it.
        let name = cut(shared.secrets.redact(name).into_owned(), MAX_LABEL);
        if shared.metrics.refuse(owner.instance, &name) {
            tracing::warn!(instance = owner.instance, metric = name, "a metric of the plugin is not kept: {error}");
        }
    }
    result
}

fn metric(shared: &Shared, owner: Owner<'_>, name: &str, input: Value) -> Result<(), ServiceError> {
    let call: MetricsCall = operation("metrics", &["count", "gauge"], input)?;
    let mut labels = call.labels.unwrap_or_default();
    let tells = |text: &str| matches!(shared.secrets.redact(text), Cow::Owned(_));
    if name.len() > MAX_LABEL || labels.len() > MAX_LABELS || labels.keys().any(|label| label.len() > MAX_LABEL) {
        let text = format!("a metric's names have at most {MAX_LABEL} bytes, and it has at most {MAX_LABELS} labels");
        return Err(ServiceError::Quota(text));
    }
    if tells(name) || labels.keys().any(|label| tells(label)) {
        return Err(ServiceError::Invalid("the name of a metric must not hold a secret".to_owned()));
    }
    let Some(value) = call.value else {
        return Err(ServiceError::Invalid("the value of a metric must be a finite number".to_owned()));
    };
    for text in labels.values_mut() {
        *text = cut(shared.secrets.redact(text).into_owned(), MAX_LABEL);
    }
    let result = match call.op {
        MetricOp::Count => shared.metrics.count(owner, name, labels, value),
        MetricOp::Gauge => shared.metrics.gauge(owner, name, labels, value),
    };
    result.map_err(ServiceError::Quota)
}
