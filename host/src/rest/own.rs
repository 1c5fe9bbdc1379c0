//! The host's own endpoints: what each is called by, and what it declares. Their handlers are in `v4`, `v5`, `metrics` and
//! `documentation`, each with its declaration beside it.

use butler_plugin_api::Endpoint;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{v4, v5};

/// An endpoint of the host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Ping,
    EnabledEndpoints,
    Base62ToBase16,
    Base16ToBase62,
    StartTasks,
    Health,
    Live,
    Ready,
    Plugins,
    Nodes,
    QlikNotification,
    QlikCloudEvents,
    Events,
    Event,
    Deliveries,
    Delivery,
    Retry,
    Move,
    PostMessage,
    Reload,
    Metrics,
    ListApps,
    DumpApp,
    ReloadApp,
    AppReloads,
    DocumentationPage,
    DocumentationFile,
    DocumentationJson,
    DocumentationYaml,
    Audit,
    V4Schedules(v4::Schedules),
    Schedules(v5::Schedules),
}

/// What is declared of an endpoint, as a plugin does in its manifest.
pub(super) struct Declared {
    pub(super) endpoint: Endpoint,
    /// For everybody, whatever the scope says.
    pub(super) open: bool,
    /// The media type of its body, if that is not JSON: the handler gets it as it came.
    pub(super) raw: Option<&'static str>,
    pub(super) own: Own,
}

impl Declared {
    pub(super) fn new(endpoint: Endpoint, own: Own) -> Self {
        Self { endpoint, open: false, raw: None, own }
    }

    /// For everybody: it needs no scope.
    pub(super) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// It takes a body of this media type.
    pub(super) fn raw(mut self, media_type: &'static str) -> Self {
        self.raw = Some(media_type);
        self
    }
}

/// All of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let mut all = v4::endpoints();
    all.extend(v5::endpoints());
    all.extend([v5::health_endpoint(), super::metrics::endpoint()]);
    all.extend(super::documentation::endpoints());
    all
}

/// JSON Schema of what a caller sends as `T`.
pub(super) fn sent<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// JSON Schema of what is answered as `T`.
pub(super) fn answered<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

/// Schema of an object that has all of these.
pub(super) fn object(properties: Value) -> Value {
    let mut schema = json!({ "type": "object" });
    schema["required"] = properties.as_object().into_iter().flat_map(serde_json::Map::keys).cloned().collect();
    schema["properties"] = properties;
    schema
}

/// Schema of an answer that is no JSON, but text of a media type.
pub(super) fn text(media_type: &str) -> Value {
    json!({ "type": "string", "contentMediaType": media_type })
}
