//! What a plugin says of itself before it is started.

mod rules;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::kind;

/// What a plugin is and can do. Returned by [`Plugin::manifest`](crate::Plugin::manifest); must not depend on settings.
///
/// Crosses the boundary as JSON; later versions add fields.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Manifest {
    /// Name as in `use:` of the config; lower case with `-`. The library file is named after it.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Version of the plugin. Filled in by [`export!`](crate::export) from the crate's version.
    #[serde(default)]
    pub version: String,
    /// Version of this API that the plugin was built against. Filled in by [`export!`](crate::export).
    #[serde(default)]
    pub api_version: String,
    /// Kinds of events, or globs over them, that an instance gets without an `on:` of its own.
    #[serde(default)]
    pub default_events: Vec<String>,
    /// Whether deliveries of one task, service or app must reach the destination in the order of their events.
    #[serde(default)]
    pub ordered: bool,
    /// How many deliveries are handed over in one call.
    #[serde(default)]
    pub batch: Batch,
    /// How many calls of `deliver` may be under way at once; 1 to 1000.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// How long one call of `deliver` may take, in seconds, before the host counts it as failed.
    #[serde(default = "default_deadline")]
    pub deadline_seconds: u32,
    /// Whether the plugin uses the script log of reload tasks; without such an instance it is not fetched.
    #[serde(default)]
    pub script_log: bool,
    /// For which kinds, or globs over them; empty: for all that have one.
    #[serde(default)]
    pub script_log_kinds: Vec<String>,
    /// HTTP routes that an instance serves on the host's REST server.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Operations beyond delivering: `check`, `render`, `import`.
    #[serde(default)]
    pub operations: Vec<String>,
    /// Kinds of events that the plugin emits, or globs over them: kinds of Butler's own, or such that begin with the name
    /// of the plugin and `.` or `-`. The host refuses events of other kinds.
    #[serde(default)]
    pub emits: Vec<String>,
    /// QRS paths that the plugin writes to (`license/*`); the config must allow each as well.
    #[serde(default)]
    pub qlik_writes: Vec<String>,
    /// Types of items that a request to start tasks (`/v4/reloadtask/{taskId}/start`) may have and that the plugin takes.
    #[serde(default)]
    pub start_task_items: Vec<StartTaskItem>,
    /// JSON Schema of the settings. Filled in by [`export!`](crate::export) from [`Plugin::Settings`](crate::Plugin).
    #[serde(default)]
    pub settings_schema: Value,
}

fn default_concurrency() -> u32 {
    4
}

fn default_deadline() -> u32 {
    60
}

impl Manifest {
    /// The kinds that ask for somebody's attention: what most destinations send by default.
    pub const ALERTS: &'static [&'static str] = &[
        "*-task.failed",
        "*-task.aborted",
        kind::APP_RELOAD_FAILED,
        kind::CLOUD_APP_RELOAD_FAILED,
        kind::SERVICE_STOPPED,
        kind::SERVICE_UNKNOWN,
        kind::SERVER_LICENSE_EXPIRING,
        kind::SERVER_LICENSE_EXPIRED,
        kind::ACCESS_LICENSE_LOW,
        kind::CERTIFICATE_EXPIRING,
        kind::NODE_SILENT,
        kind::DELIVERY_DEAD,
    ];

    /// A plugin without default events, endpoints or operations, one delivery a call, four calls at once.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            version: String::new(),
            api_version: String::new(),
            default_events: Vec::new(),
            ordered: false,
            batch: Batch::default(),
            concurrency: default_concurrency(),
            deadline_seconds: default_deadline(),
            script_log: false,
            script_log_kinds: Vec::new(),
            endpoints: Vec::new(),
            operations: Vec::new(),
            emits: Vec::new(),
            qlik_writes: Vec::new(),
            start_task_items: Vec::new(),
            settings_schema: Value::Null,
        }
    }

    /// Sets the kinds that an instance gets without an `on:` of its own. Globs (`*`) are allowed.
    #[must_use]
    pub fn default_events(mut self, kinds: &[&str]) -> Self {
        self.default_events = kinds.iter().map(ToString::to_string).collect();
        self
    }

    /// Asks for the deliveries of one task (of events without a task: of one service, or one app) in the order of their
    /// events.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Takes up to `max` deliveries in one call of [`deliver_batch`](crate::Plugin::deliver_batch).
    #[must_use]
    pub fn batch(mut self, max: u32) -> Self {
        self.batch = Batch { max };
        self
    }

    /// Allows `n` calls of `deliver` at once.
    #[must_use]
    pub fn concurrency(mut self, n: u32) -> Self {
        self.concurrency = n;
        self
    }

    /// Says that the plugin uses the script log.
    #[must_use]
    pub fn script_log(mut self) -> Self {
        self.script_log = true;
        self
    }

    /// Says that the plugin uses the script log of these kinds only: what ends an incident needs none, and successes are
    /// many. Globs (`*`) are allowed.
    #[must_use]
    pub fn script_log_of(mut self, kinds: &[&str]) -> Self {
        self.script_log_kinds = kinds.iter().map(ToString::to_string).collect();
        self.script_log()
    }

    /// Adds an HTTP route.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Names the kinds of events that the plugin emits; the host takes no others. Kinds of its own begin with its name:
    /// `emits(&["chat.*"])`.
    #[must_use]
    pub fn emits(mut self, kinds: &[&str]) -> Self {
        self.emits = kinds.iter().map(ToString::to_string).collect();
        self
    }

    /// Names the QRS paths below `/qrs/` that the plugin writes to; `*` stands for any text: `qlik_writes(&["license/*"])`.
    #[must_use]
    pub fn qlik_writes(mut self, paths: &[&str]) -> Self {
        self.qlik_writes = paths.iter().map(ToString::to_string).collect();
        self
    }

    /// Takes items of a type out of requests to start tasks. Before any task of the request is started, the host calls
    /// [`Plugin::invoke`](crate::Plugin::invoke) with the operation `startTaskItem` and
    /// `{"type": …, "payload": …, "caller": …}` for each. `payload` is the JSON Schema of its payload, which the host
    /// checks and coerces before.
    #[must_use]
    pub fn start_task_item(self, item_type: &str, payload: Value) -> Self {
        self.push_start_task_item(item_type, payload, None)
    }

    /// The same for items that do more than tell a task something: their sender needs this scope beside `tasks`. An older
    /// host does not ask for it.
    #[must_use]
    pub fn scoped_start_task_item(self, item_type: &str, scope: Scope, payload: Value) -> Self {
        self.push_start_task_item(item_type, payload, Some(scope))
    }

    fn push_start_task_item(mut self, item_type: &str, payload: Value, scope: Option<Scope>) -> Self {
        let item = StartTaskItem { item_type: item_type.to_owned(), payload, scope, name: String::new() };
        self.start_task_items.push(item);
        self
    }

    /// Switches the items of this type, already added, off together with the endpoints of this name: the host then passes
    /// them over, and starts the tasks. An older host does not.
    #[must_use]
    pub fn name_start_task_item(mut self, item_type: &str, name: &str) -> Self {
        for item in self.start_task_items.iter_mut().filter(|item| item.item_type == item_type) {
            name.clone_into(&mut item.name);
        }
        self
    }

    /// Adds an operation that [`Plugin::invoke`](crate::Plugin::invoke) answers.
    #[must_use]
    pub fn operation(mut self, name: &str) -> Self {
        self.operations.push(name.to_owned());
        self
    }
}

/// How many deliveries a plugin takes in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Batch {
    /// At most so many, 1 to 1000; the host does not wait for a batch to fill up.
    pub max: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max: 1 }
    }
}

/// A type of items that a request to start tasks may have beside those that choose tasks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct StartTaskItem {
    /// What stands as `type`: `keyvaluestore`.
    #[serde(rename = "type")]
    pub item_type: String,
    /// JSON Schema of the payload. Null: not checked.
    #[serde(default)]
    pub payload: Value,
    /// What a caller must be allowed to do beside starting tasks. Absent: nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Name of its switch in `rest.disabledEndpoints`, as that of an [`Endpoint`]. Empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// An HTTP route that a plugin contributes to the host's REST server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Endpoint {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// Path with parameters in braces, below the name of the plugin: `/v5/rooms/{room}`. Or one of the API of Butler 16:
    /// `/v4/keyvalues/{namespace}`.
    pub path: String,
    /// What a caller must be allowed to do.
    pub scope: Scope,
    /// One line for the API documentation.
    #[serde(default)]
    pub summary: String,
    /// JSON Schema of the request body; the host checks and coerces it before the call. Null: not checked.
    #[serde(default)]
    pub body: Value,
    /// JSON Schema of the query parameters, an object; checked and coerced likewise.
    #[serde(default)]
    pub query: Value,
    /// Of several instances of the plugin the first one in the config serves it. Otherwise there can be one instance only.
    /// An older host refuses the second instance.
    #[serde(default)]
    pub shared: bool,
    /// By this name administrators switch it off (`rest.disabledEndpoints`), and scripts see that it is there
    /// (`/v4/configfile/endpointsenabled`). That of Butler 16 where it had the endpoint; several may share one. Empty: it has
    /// none, and is switched off by method and path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it answers, for the API documentation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<EndpointAnswer>,
    /// How long one call may take, in seconds, before the host answers 504 and drops its future. Absent: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u32>,
}

/// An answer of an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointAnswer {
    /// HTTP status.
    pub status: u16,
    /// What it means, in a few words.
    pub description: String,
    /// JSON Schema of the body. Null: there is none, or it is not described.
    #[serde(default)]
    pub body: Value,
}

impl Endpoint {
    /// A route without schemas.
    pub fn new(method: &str, path: &str, scope: Scope, summary: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            scope,
            summary: summary.to_owned(),
            body: Value::Null,
            query: Value::Null,
            shared: false,
            name: String::new(),
            answers: Vec::new(),
            deadline_seconds: None,
        }
    }

    /// Gives it a name: [`Endpoint::name`].
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets the JSON Schema of the body, which the host checks and coerces.
    #[must_use]
    pub fn body(mut self, schema: Value) -> Self {
        self.body = schema;
        self
    }

    /// Sets the JSON Schema of the query parameters, an object, which the host checks and coerces.
    #[must_use]
    pub fn query(mut self, schema: Value) -> Self {
        self.query = schema;
        self
    }

    /// Gives a call more or less time than a minute: 1 to 86,400 seconds. For what a caller is willing to wait for; work that
    /// must end even if nobody waits any more belongs into [`Host::spawn`](crate::Host::spawn).
    #[must_use]
    pub fn deadline(mut self, seconds: u32) -> Self {
        self.deadline_seconds = Some(seconds);
        self
    }

    /// Documents an answer. `body` is its JSON Schema, or null.
    #[must_use]
    pub fn answer(mut self, status: u16, description: &str, body: Value) -> Self {
        self.answers.push(EndpointAnswer { status, description: description.to_owned(), body });
        self
    }

    /// Lets several instances of the plugin declare it; the first one in the config serves it. For what any instance can do
    /// as well as another.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }
}

/// What a REST caller may do. Tokens and network grants of the host's config carry scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scope {
    /// Read events, plugins, metrics.
    Read,
    /// Read and retry deliveries.
    Deliveries,
    /// Start tasks.
    Tasks,
    /// Use the key-value store.
    Kv,
    /// Copy, move, delete files.
    Files,
    /// Send messages to destinations.
    Messages,
    /// Change schedules.
    Scheduler,
    /// Everything else, reload and stop included.
    Admin,
}

impl Scope {
    /// Every scope, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Read,
        Self::Deliveries,
        Self::Tasks,
        Self::Kv,
        Self::Files,
        Self::Messages,
        Self::Scheduler,
        Self::Admin,
    ];
}
