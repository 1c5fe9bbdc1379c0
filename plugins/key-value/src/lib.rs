//! A key-value store for load scripts and other callers of the REST API: namespaces, keys, texts, each for ever or for a
//! time. It is on disk, and read from memory.
//!
//! * `store`: reads and writes; made of `data` (memory), `plan` (what writes come to) and `records` (the host's storage).
//! * `endpoints` declares what `v4`, `v5` and `item` answer.

mod data;
mod endpoints;
mod import;
mod item;
mod plan;
mod records;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod v4;
mod v5;

use butler_plugin_api::{
    Health, Host, Manifest, OperationError, Plugin, Request, Response, Scope, ServiceError, StartError,
};
use serde_json::{Value, json};

use settings::Settings;
use store::Store;

struct KeyValue {
    host: Host,
    store: Store,
}

impl Plugin for KeyValue {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let manifest =
            Manifest::new("key-value", "A key-value store for load scripts and other callers of the REST API")
                .operation("check")
                .operation("import")
                .scoped_start_task_item(item::TYPE, Scope::Kv, item::schema())
                .name_start_task_item(item::TYPE, endpoints::NAME);
        endpoints::declare(manifest)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let limits = settings.check().map_err(StartError::Config)?;
        let store = Store::open(host.clone(), limits).await.map_err(|error| match error {
            ServiceError::Unsupported(_) => {
                StartError::Config(format!("this plugin needs a newer Butler: {error}; install one version of both"))
            }
            error => StartError::Unavailable(format!("what is stored cannot be read: {error}")),
        })?;
        Ok(Self { host, store })
    }

    async fn run(&self) {
        self.store.run().await;
    }

    async fn call(&self, request: Request) -> Response {
        let param = |name: &str| request.params.get(name).map_or("", String::as_str);
        let (store, namespace, key) = (&self.store, param("namespace"), param("key"));
        match (request.method.as_str(), request.route.as_str()) {
            ("GET", "/v4/keyvaluesnamespaces") => v4::namespaces(store),
            ("GET", "/v4/keyvalues/{namespace}") => v4::value(store, namespace, v4::query(&request, "key")),
            ("GET", "/v4/keyvalues/{namespace}/keyexists") => v4::exists(store, namespace, v4::query(&request, "key")),
            ("GET", "/v4/keylist/{namespace}") => v4::keys(store, namespace),
            ("POST", "/v4/keyvalues/{namespace}") => v4::set(store, namespace, &request).await,
            ("DELETE", "/v4/keyvalues/{namespace}/{key}") => v4::delete(store, namespace, key).await,
            ("DELETE", "/v4/keyvalues/{namespace}") => v4::delete_namespace(store, namespace).await,
            ("GET", "/v5/key-value") => v5::namespaces(store),
            ("GET", "/v5/key-value/{namespace}") => v5::keys(store, namespace, &request),
            ("DELETE", "/v5/key-value/{namespace}") => v5::delete_namespace(store, namespace).await,
            ("GET", "/v5/key-value/{namespace}/{key}") => v5::value(store, namespace, key),
            ("PUT", "/v5/key-value/{namespace}/{key}") => v5::put(store, namespace, key, &request).await,
            ("DELETE", "/v5/key-value/{namespace}/{key}") => v5::delete(store, namespace, key).await,
            _ => Response::error(404, &format!("{} {} is not served", request.method, request.route)),
        }
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "startTaskItem" => item::store(&self.store, &input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        self.store.health()
    }

    async fn stop(&self) {
        self.store.stop().await;
    }
}

impl KeyValue {
    /// Whether the storage takes writes, and what there is.
    async fn check(&self) -> Result<Value, OperationError> {
        // In two calls: what is set and deleted together is not written at all.
        let storage = self.host.storage();
        let failed = |error| OperationError::Failed(format!("the storage does not take writes: {error}"));
        storage.set(records::PROBE, &json!(true), None).await.map_err(failed)?;
        storage.delete(records::PROBE).await.map_err(failed)?;
        let (namespaces, keys) = self.store.read(|data, now| {
            (data.len(), data.namespaces().map(|(_, namespace)| namespace.count(now)).sum::<usize>())
        });
        Ok(json!(format!("the storage takes writes; namespaces: {namespaces}, keys: {keys}")))
    }
}

butler_plugin_api::export!(KeyValue);
