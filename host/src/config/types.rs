//! The config file, typed. One struct per section; what is absent has the default given here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use butler_plugin_api::Links;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::acting::StartTaskFilter;
use super::certificates::Certificates;
use super::cloud::QlikCloud;
use super::heard::{AppReload, Udp};
use super::log::{Level, Log};
use super::rest::Rest;
use super::scheduler::SchedulerConfig;
use super::units::{Size, Span};

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Version of the file's format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Qlik Sense. Absent: Butler runs without it, and events keep the facts of their log line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qlik: Option<Qlik>,
    /// Qlik Cloud. Absent: nothing is heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qlik_cloud: Option<QlikCloud>,
    /// Events of Qlik Sense's log appenders by UDP. Absent: none are received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
    /// REST server.
    #[serde(default)]
    pub rest: Rest,
    /// Starts tasks of Qlik Sense at planned times.
    #[serde(default)]
    pub scheduler: SchedulerConfig,
    /// Where events and deliveries are kept.
    #[serde(default)]
    pub store: Store,
    /// Folders with plugin files, searched in this order before the executable's folder and `plugins` beside it.
    #[serde(default)]
    pub plugin_dirs: Vec<PathBuf>,
    /// Instances of plugins: the destinations and sources.
    #[serde(default)]
    pub plugins: Vec<PluginEntry>,
    /// How facts are fetched from Qlik Sense.
    #[serde(default)]
    pub enrich: Enrich,
    /// Which failed reloads outside the scheduler (`app-reload.failed`) are told.
    #[serde(default)]
    pub app_reload: AppReload,
    /// Script logs of reload tasks.
    #[serde(default)]
    pub script_log: ScriptLog,
    /// Butler's own log.
    #[serde(default)]
    pub log: Log,
    /// Links for messages.
    #[serde(default)]
    pub links: Links,
    /// Named TLS profiles for connections of plugins and to tenants of Qlik Cloud.
    #[serde(default)]
    pub tls: BTreeMap<String, TlsProfile>,
    /// How long a stop may take before what is in flight is left for the next start.
    #[serde(default = "default_shutdown_timeout")]
    pub shutdown_timeout: Span,
}

fn default_shutdown_timeout() -> Span {
    Span::seconds(20)
}

/// Connection to Qlik Sense Enterprise.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Qlik {
    /// Name or address of the central node.
    #[schemars(length(min = 1))]
    pub host: String,
    /// The user that Butler acts as, `DIRECTORY\id`.
    #[schemars(
        regex(pattern = r"^[^\\]+\\.+$"),
        extend("patternErrorMessage" = r"must be directory and user id, such as `INTERNAL\sa_repository`")
    )]
    pub user: String,
    /// Certificates exported from the QMC.
    pub certificates: Certificates,
    /// How Qlik Sense's certificates are checked.
    #[serde(default)]
    pub verify: Verify,
    /// Ports.
    #[serde(default)]
    pub ports: QlikPorts,
    /// Asking for what UDP did not tell.
    #[serde(default)]
    pub reconcile: Reconcile,
    /// Which failures of a task with retries are told, where Qlik Sense is asked for them.
    #[serde(default)]
    pub alert_on: AlertOn,
    /// Lets Qlik Sense say at once that something has ended: a road that needs nothing on any node. Absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Notifications>,
    /// Which tasks may be started through Butler. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_task_filter: Option<StartTaskFilter>,
    /// QRS paths that plugins may write to, below `/qrs/`; `*` stands for any text (`license/*`). A plugin's manifest must
    /// name the path as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = {
        "type": "string",
        "pattern": "^[^/*]",
        "patternErrorMessage": "must be a path below `/qrs/` without a leading slash, such as `license/*`",
    }))]
    pub writes: Vec<String>,
}

/// Change notifications of Qlik Sense (QRS `notification`).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notifications {
    /// How Qlik Sense reaches Butler's REST server: `http://butler.example.com:8080`; with `rest.tls` by `https`.
    pub callback: String,
}

/// Qlik Sense is asked which tasks have ended, so that none goes unnoticed: not when a datagram is lost, not when Butler was
/// down.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reconcile {
    /// Whether it is asked.
    pub enabled: bool,
    /// How often; what ended is looked at two minutes later at the earliest, since UDP and Qlik Sense's own records come first.
    pub every: Span,
    /// How far it is looked back after Butler was down.
    pub look_back: Span,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { enabled: true, every: Span::minutes(1), look_back: Span::hours(24) }
    }
}

/// Which failures of a task with retries are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlertOn {
    /// Of tasks that are enabled, when all retries are used.
    #[default]
    Final,
    /// Every failed attempt, and those of disabled tasks.
    Attempt,
}

/// How a server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verify {
    /// Chain and host name.
    #[default]
    Full,
    /// The chain only: for certificates that do not carry the name that is used here.
    Chain,
    /// Nothing at all; anyone on the way can read and change the traffic.
    None,
}

/// Ports of Qlik Sense's services.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QlikPorts {
    /// Repository service (QRS).
    pub repository: u16,
    /// Engine.
    pub engine: u16,
    /// System information.
    pub system_info: u16,
}

impl Default for QlikPorts {
    fn default() -> Self {
        Self { repository: 4242, engine: 4747, system_info: 9032 }
    }
}

/// Where events and deliveries are kept.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// SQLite file; not on a network share.
    pub path: PathBuf,
    /// How long events and deliveries are kept.
    pub keep: Span,
    /// Most room on disk; the oldest finished events go first.
    pub max_size: Size,
}

impl Default for Store {
    fn default() -> Self {
        Self { path: PathBuf::from("data/butler.db"), keep: Span::days(30), max_size: Size::gigabytes(4) }
    }
}

/// An instance of a plugin.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginEntry {
    /// Name of the plugin.
    #[serde(rename = "use")]
    #[schemars(
        regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"),
        extend("patternErrorMessage" = "must be lower-case letters and digits, with single `-` between")
    )]
    pub plugin: String,
    /// Name of the instance, unique; by default the plugin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        length(max = 64),
        extend("patternErrorMessage" = "must be letters, digits, `.`, `_` and `-`, with a letter or digit first")
    )]
    pub name: Option<String>,
    /// Which events it gets, by the first rule that matches; absent: the plugin's default kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<Rule>>,
    /// The plugin's own settings.
    #[serde(default = "empty_settings")]
    pub settings: Value,
    /// How long failed deliveries are tried again.
    #[serde(default)]
    pub retry: Retry,
    /// What happens to an instance that blocks its thread.
    #[serde(default)]
    pub on_stuck: OnStuck,
    /// SHA-256 of the plugin file, 64 hexadecimal digits: another file is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = "^[0-9a-f]{64}$"),
        extend("patternErrorMessage" = "must be 64 hexadecimal digits in lower case")
    )]
    pub sha256: Option<String>,
    /// Most detailed level of the instance's log records; absent: as `log.level`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<Level>,
}

fn empty_settings() -> Value {
    Value::Object(Map::new())
}

impl PluginEntry {
    /// Name of the instance.
    pub fn instance(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.plugin)
    }
}

/// A rule of a route.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    pub events: Vec<String>,
    /// Conditions on fields of the event by their path; all must hold. A value, a list (any of), a glob (`Finance*`), a
    /// comparison (`"> 300s"`), or `{ not: … }`.
    #[serde(default, rename = "where", skip_serializing_if = "Map::is_empty")]
    pub conditions: Map<String, Value>,
    /// Fewer messages about the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// What happens when a condition is on a fact that could not be fetched.
    #[serde(default)]
    pub on_unknown: OnUnknown,
}

/// At most one message in a time for the same value.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// What "the same" is: the path of a field (`task`, `app`, `service`, `node`, `task.tags`).
    #[schemars(length(min = 1))]
    pub per: String,
    /// The time.
    pub every: Span,
}

/// What happens when a condition is on a fact that could not be fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnUnknown {
    /// It counts as matched, and the delivery says so.
    #[default]
    Deliver,
    /// It counts as not matched.
    Drop,
}

/// Retries of failed deliveries, with exponential waits.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Longest time between the first attempt and giving up; at least five attempts are made in any case.
    pub max_age: Span,
    /// Wait after the first failure; doubles each time.
    pub initial: Span,
    /// Longest wait.
    pub max: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_age: Span::hours(24), initial: Span::seconds(2), max: Span::minutes(10) }
    }
}

/// What happens to an instance that blocks its thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnStuck {
    /// It stays as it is, its deliveries wait.
    #[default]
    Wait,
    /// It gets a new thread, at most twice; each leaks the old one.
    Restart,
}

/// How facts are fetched from Qlik Sense.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Enrich {
    /// After this time without Qlik Sense an event goes on with the facts it has.
    pub give_up_after: Span,
    /// How long a distribution may take before it counts as failed.
    pub distribution_limit: Span,
    /// How many calls of Qlik Sense for facts may be under way at once.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u32,
}

impl Default for Enrich {
    fn default() -> Self {
        Self { give_up_after: Span::minutes(2), distribution_limit: Span::hours(6), concurrency: 16 }
    }
}

/// Script logs of reload tasks. They are fetched when an instance uses them.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScriptLog {
    /// Whether they are fetched at all.
    pub enabled: bool,
    /// Longest log that is kept whole; of longer ones the middle is left out.
    pub max_size: Size,
    /// How long they are kept.
    pub keep: Span,
    /// How many lines of head and of tail go into an event.
    #[schemars(range(min = 0, max = 1000))]
    pub lines: u32,
}

impl Default for ScriptLog {
    fn default() -> Self {
        Self { enabled: true, max_size: Size::megabytes(4), keep: Span::days(7), lines: 60 }
    }
}

/// TLS of connections that plugins make through the host.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsProfile {
    /// PEM file of certificate authorities, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// How the server's certificate is checked.
    pub verify: Verify,
}
