//! The handle to the host that an instance gets.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::abi::HostHandle;
use crate::abi::plugin::{Scope, Scoped};
use crate::services::{Emitted, Http, Metrics, Qlik, Schedule, ServiceError, Status, Storage};

/// What the host says about itself and the instance when it creates it. Minor versions add fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// Name of the instance: the identity of its queue, storage and metrics.
    pub name: String,
    /// Version of the host.
    pub host_version: String,
    /// Links of the config, for messages.
    pub links: Links,
    /// Folder of the config file: relative paths in settings start there.
    pub config_dir: String,
    /// Most detailed level of log records that the host wants: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub log_level: u8,
}

/// Addresses that messages link to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
// The schema is that of the config, where an unknown key is a mistake. A plugin reads what a newer host may have added to.
#[schemars(deny_unknown_fields)]
pub struct Links {
    /// Qlik Management Console: `https://sense.example.com/qmc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qmc: Option<String>,
    /// Hub: `https://sense.example.com/hub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// What an app id is appended to: `https://sense.example.com/sense/app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_base_url: Option<String>,
    /// Further links, shown as buttons or list items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom: Vec<CustomLink>,
}

/// A link of the administrator's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct CustomLink {
    /// Name for templates.
    #[serde(default)]
    pub id: String,
    /// What people read.
    pub link_text: String,
    /// Explanation, shown as a tooltip where there are such.
    #[serde(default)]
    pub comment: String,
    /// Address. May hold variables of the event, which whoever shows it puts in: `https://wiki.example.com/{{taskName}}`.
    pub url: String,
}

impl CustomLink {
    /// A link without id and explanation.
    pub fn new(link_text: impl Into<String>, url: impl Into<String>) -> Self {
        Self { link_text: link_text.into(), url: url.into(), ..Self::default() }
    }
}

impl Links {
    /// The address of an app, if the config has an `appBaseUrl`.
    pub fn app(&self, app_id: &str) -> Option<String> {
        self.app_base_url.as_ref().map(|base| format!("{}/{app_id}", base.trim_end_matches('/')))
    }
}

/// The host as an instance sees it. Cheap to clone; usable from any thread, also one of the plugin's own.
///
/// After the instance was stopped or abandoned every call fails with [`ServiceError::Stopped`].
#[derive(Clone)]
pub struct Host {
    pub(crate) handle: HostHandle,
    pub(crate) instance: Arc<Instance>,
    /// The runtime that the plugin's futures are polled inside, if it has one.
    #[cfg(feature = "runtime")]
    pub(crate) runtime: Option<Arc<dyn crate::runtime::Inside>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("instance", &self.instance.name).finish_non_exhaustive()
    }
}

impl Host {
    /// Facts about the host and this instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Addresses for messages.
    pub fn links(&self) -> &Links {
        &self.instance.links
    }

    /// The host's HTTP client: pooled, with the TLS roots, proxy and limits of the config; redirects are not followed.
    pub fn http(&self) -> Http {
        Http::new(self.clone())
    }

    /// Durable key-value storage of this instance.
    pub fn storage(&self) -> Storage {
        Storage::new(self.clone())
    }

    /// Qlik Sense, as the user of the config.
    pub fn qlik(&self) -> Qlik {
        Qlik::new(self.clone())
    }

    /// Planned times of this instance.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.clone())
    }

    /// How Butler is doing. Older hosts answer [`ServiceError::Unsupported`].
    pub async fn status(&self) -> Result<Status, ServiceError> {
        let answer = self.invoke("status", &Value::Object(serde_json::Map::new())).await?;
        serde_json::from_value(answer).map_err(|error| ServiceError::Failed(error.to_string()))
    }

    /// Counters and gauges on the host's `/metrics`.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.clone())
    }

    /// Emits an event. Answers when it is stored durably.
    ///
    /// The event is emitted once even when the delivery that it comes from is repeated: its key is made of the delivery,
    /// the kind and the data. Data that differ from attempt to attempt (a time) are another event: use [`Host::emit_once`]
    /// with a key of your own. Outside a delivery every call emits.
    pub async fn emit(&self, kind: &str, data: Value) -> Result<Emitted, ServiceError> {
        crate::services::emit(self, kind, data, None).await
    }

    /// Emits an event under a key; a second one with the same key is not emitted, and the answer says so.
    pub async fn emit_once(&self, key: &str, kind: &str, data: Value) -> Result<Emitted, ServiceError> {
        crate::services::emit(self, kind, data, Some(key)).await
    }

    /// Waits.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.handle.sleep(duration)
    }

    /// Runs a future in the background, on the thread of this instance, until it ends or the instance stops. A panic in
    /// it ends only itself and is logged.
    pub fn spawn<F>(&self, future: F) -> Abort
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (future, handle) = abortable(future);
        let scoped = Scoped::new(self.clone(), future);
        let host = self.clone();
        self.handle.spawn(async move {
            if let Err(panic) = scoped.await {
                host.in_scope(|| tracing::error!("a background task panicked: {panic}"));
            }
        });
        Abort(handle)
    }

    /// Calls a service of the host by name; for services that this version has no typed wrapper for.
    pub async fn invoke(&self, service: &str, input: &Value) -> Result<Value, ServiceError> {
        let answer = self.handle.invoke(service, input.to_string()).await;
        match answer {
            Ok(text) => serde_json::from_str(&text).map_err(|error| ServiceError::Failed(error.to_string())),
            Err(text) => Err(ServiceError::from_wire(&text)),
        }
    }

    /// Runs code as the instance's: its log records carry the instance's name. For threads of the plugin's own; all else,
    /// tasks of its runtime included, is known to be the instance's.
    pub fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::enter(self);
        f()
    }

    /// The tokio runtime of this instance. It ends when the plugin has been dropped, and its tasks with it.
    ///
    /// Every future of the plugin that the host polls is polled inside it, so `tokio::net::TcpStream::connect(..).await`
    /// simply works. Tasks spawned on the handle run on its own thread.
    ///
    /// # Panics
    ///
    /// Without [`Plugin::RUNTIME`](crate::Plugin::RUNTIME).
    #[cfg(feature = "runtime")]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        let Some(runtime) = &self.runtime else {
            panic!("this plugin has no runtime: set `const RUNTIME: bool = true;` in its `impl Plugin`");
        };
        runtime.handle()
    }
}

/// Ends a background task of [`Host::spawn`]. Dropping it does not.
#[derive(Debug, Clone)]
pub struct Abort(AbortHandle);

impl Abort {
    /// Ends the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }
}

/// Labels of a metric.
pub(crate) type Labels = BTreeMap<String, String>;
