//! The settings, and their checked form.

mod broker;
mod publish;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use butler_plugin_api::message::Presentation;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::inbound::Subscriptions;
use crate::tls::Tls;
use crate::{client, topic};

pub(crate) use publish::{ACTIVE_NODE, Content, Part, Routes, TopicOf};

use broker::{MqttVersion, TlsSettings, target};
use publish::{Entry, QosLevel, checked_qos};

/// Settings of an MQTT broker.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["user", "password"], []]))]
pub(crate) struct Settings {
    /// The broker: `mqtt://HOST:PORT`, `mqtts://` (TLS), `ws://HOST:PORT/PATH` (WebSocket) or `wss://`. Ports if absent:
    /// 1883, 8883, 80, 443.
    #[schemars(length(min = 1))]
    url: String,
    /// Version of MQTT: `3.1.1` or `5`, which is better where the broker has it. With 3.1.1 a broker cannot say no to a
    /// message: what its rights or limits do not allow it acknowledges and drops, and the alert is `delivered` all the
    /// same.
    #[serde(default)]
    version: MqttVersion,
    /// User name.
    #[serde(default)]
    user: Option<String>,
    /// Password. Needs `user`. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
    /// Client id. Two clients with one id end each other's connections, so two Butlers need two. Absent: one of
    /// Butler's own, made once and kept in its store (a copy of the store has the same).
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    client_id: Option<String>,
    /// TLS of `mqtts://` and `wss://`.
    #[serde(default)]
    tls: TlsSettings,
    /// How often the connection shows that it lives when nothing else is sent: a whole number and `s` or `m`; 5 s to 1 h.
    #[serde(default = "default_keep_alive")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    keep_alive: String,
    /// How long the broker may take to accept a connection; at most 50 s.
    #[serde(default = "default_connect_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    connect_timeout: String,
    /// How long the broker may acknowledge nothing while messages wait for it; at most 40 s. As long as it
    /// acknowledges, a delivery has 50 s.
    #[serde(default = "default_ack_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    ack_timeout: String,
    /// What all built-in topics begin with.
    #[serde(default = "default_root")]
    #[schemars(length(min = 1))]
    root_topic: String,
    /// Where subscribers see whether Butler is connected.
    #[serde(default)]
    status: StatusSettings,
    /// Quality of service where an entry under `topics` does not say it, and of the built-in topics: 0, 1 or 2. With 0
    /// nobody knows whether a message arrived: `delivered` then means that it was written to the connection. With 2 and
    /// MQTT 3.1.1 at most 20 messages are under way: a broker with a smaller window (Mosquitto's
    /// `max_inflight_messages`) acknowledges and drops what is beyond.
    #[serde(default)]
    qos: QosLevel,
    /// Whether the broker keeps the last message of each topic for later subscribers, where an entry under `topics` does not
    /// say it.
    #[serde(default)]
    retain: bool,
    /// What is published where, in place of the built-in topics: the first entry that has the event's kind decides. Kinds
    /// without an entry go to the built-in topics.
    #[serde(default)]
    topics: Vec<Entry>,
    /// Whether the messages of Butler 16 about tasks carry the whole task and app as the repository has them; `null`
    /// where it could not be asked.
    #[serde(default = "yes")]
    metadata: bool,
    /// Starts tasks for messages whose payload is the id of a task, as far as `qlik.startTaskFilter` allows it.
    #[serde(default)]
    start_task: Option<TopicSettings>,
    /// Takes events of Qlik Cloud from the broker.
    #[serde(default)]
    cloud: Option<CloudSettings>,
    /// Time zone of the times in templates, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
}

/// Where subscribers see whether Butler is connected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct StatusSettings {
    /// Topic. Absent: `butler/mqtt/status` below `rootTopic`; empty: no status and no last will. A second instance, or
    /// Butler, on one broker needs a topic of its own.
    topic: Option<String>,
    /// Payload while Butler is not connected: the last will, and what is published before a regular end.
    offline: String,
    /// Whether the broker keeps the status for later subscribers.
    retain: bool,
}

impl Default for StatusSettings {
    fn default() -> Self {
        Self { topic: None, offline: "offline".to_owned(), retain: true }
    }
}

/// A topic to listen to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopicSettings {
    /// The topic, without wildcards.
    #[schemars(length(min = 1))]
    topic: String,
}

/// Topics to listen to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CloudSettings {
    /// The topic with all below it; or, with the wildcards `+` and `#`, exactly what they say.
    #[schemars(length(min = 1))]
    topic: String,
}

fn default_keep_alive() -> String {
    "60s".to_owned()
}

fn default_connect_timeout() -> String {
    "10s".to_owned()
}

fn default_ack_timeout() -> String {
    "20s".to_owned()
}

fn default_root() -> String {
    "qliksense".to_owned()
}

fn yes() -> bool {
    true
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) broker: Broker,
    pub(crate) routes: Routes,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) metadata: bool,
    pub(crate) presentation: Presentation,
}

/// How to reach the broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) target: client::Target,
    /// `url` as it stands in the settings, for messages; it has no password.
    pub(crate) url: String,
    pub(crate) version: client::Version,
    pub(crate) client_id: Option<String>,
    pub(crate) login: Option<(String, Option<String>)>,
    pub(crate) tls: Option<Tls>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) status: Option<Status>,
    /// Whether messages may go out with QoS 2.
    pub(crate) exactly_once: bool,
}

/// What subscribers see of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) topic: String,
    pub(crate) offline: String,
    pub(crate) retain: bool,
}

impl Settings {
    /// The error is for people: which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<Checked, String> {
        let (target, url) = target(&self.url)?;
        let login = match (self.user, self.password) {
            (None, Some(_)) => return Err("`password` needs `user`: MQTT has no password without a user".to_owned()),
            (user, password) => user.map(|user| (user, password)),
        };
        let tls = self.tls.check(target.encrypted, Path::new(config_dir))?;
        let root = self.root_topic.trim_end_matches('/').to_owned();
        if let Some(fault) = topic::fault(&root) {
            return Err(format!("`rootTopic`: {fault}"));
        }
        let status_topic = self.status.topic.unwrap_or_else(|| format!("{root}/butler/mqtt/status"));
        if let Some(fault) = topic::fault(&status_topic).filter(|_| !status_topic.is_empty()) {
            return Err(format!("`status.topic`: {fault}"));
        }
        let status = Status { topic: status_topic, offline: self.status.offline, retain: self.status.retain };
        let start = self.start_task.map(|start| start.topic);
        if let Some(fault) = start.as_deref().and_then(topic::fault) {
            return Err(format!("`startTask.topic`: {fault}"));
        }
        let cloud = self.cloud.map(|cloud| cloud.topic);
        if let Some(fault) = cloud.as_deref().and_then(topic::filter_fault) {
            return Err(format!("`cloud.topic`: {fault}"));
        }
        let qos = checked_qos(self.qos, "qos")?;
        let routes = Routes::new(self.topics, &root, qos, self.retain)?;
        let broker = Broker {
            target,
            url,
            version: self.version.into(),
            client_id: self.client_id,
            login,
            tls,
            keep_alive: time("keepAlive", &self.keep_alive, Duration::from_secs(5), Duration::from_hours(1))?,
            connect_timeout: time(
                "connectTimeout",
                &self.connect_timeout,
                Duration::from_millis(1),
                Duration::from_secs(50),
            )?,
            ack_timeout: time("ackTimeout", &self.ack_timeout, Duration::from_millis(1), Duration::from_secs(40))?,
            status: (!status.topic.is_empty()).then_some(status),
            exactly_once: routes.has_exactly_once(),
        };
        Ok(Checked {
            broker,
            routes,
            subscriptions: Subscriptions::new(start, cloud),
            metadata: self.metadata,
            // Templates here are for short texts: what the event itself has of the script log is enough.
            presentation: Presentation::new(self.time_zone.as_deref(), 0, 0)?,
        })
    }
}

fn time(name: &str, text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let millis = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let time = number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(millis));
    let Some(time) = time.map(Duration::from_millis) else {
        return Err(format!("`{name}` is `{text}`: write a whole number and a unit, such as `30s`"));
    };
    if time < least || time > most {
        let unit = |time: Duration| if time.as_secs() == 0 { "1ms".to_owned() } else { format!("{}s", time.as_secs()) };
        return Err(format!("`{name}` is `{text}`, but must be {} to {}", unit(least), unit(most)));
    }
    Ok(time)
}
