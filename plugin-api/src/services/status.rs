//! The service `status`: how Butler is doing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Ingest, Memory};

/// How Butler is doing. Minor versions add fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Status {
    /// Its version.
    pub version: String,
    /// When it was started, RFC 3339 in UTC.
    pub started_at: String,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Memory of the process; absent where the system does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Time on processors since the start, of all threads, in milliseconds; absent where the system does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The store of events and deliveries.
    pub store: PartStatus,
    /// The UDP sockets; absent: the config has none, or this is not the daemon (`butler check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<PartStatus>,
    /// Qlik Sense, as the last call to its repository service found it, or there was none yet; absent: the config has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qlik: Option<PartStatus>,
    /// Counters of the UDP ingestion since the start; absent: the config has no `udp:`, or this is not the daemon (`butler
    /// check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest: Option<Ingest>,
    /// Events that wait for their facts; absent while the store cannot be read, or is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_waiting: Option<u64>,
    /// Deliveries that wait or are under way; absent while the store cannot be read, or is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_open: Option<u64>,
    /// Dead deliveries that are still kept; absent while the store cannot be read, or is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_dead: Option<u64>,
    /// The Sense nodes that were heard of, at most 1,000, by name as it was written: `SENSE1` and `sense1` are two. Kept over
    /// restarts.
    pub nodes: Vec<HeardNode>,
}

/// Whether a part of Butler, or what it needs, works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct PartStatus {
    /// It works.
    pub healthy: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl PartStatus {
    /// It works, or it does not for this reason.
    pub fn new(trouble: Option<String>) -> Self {
        Self { healthy: trouble.is_none(), message: trouble }
    }
}

/// When a Sense node was heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct HeardNode {
    /// Its host name, as its log lines and QRS have it.
    pub name: String,
    /// When its log appenders sent something last, RFC 3339 in UTC; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
    /// When QRS told something of it last, by lists or change notifications, RFC 3339 in UTC; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qrs: Option<String>,
}

impl HeardNode {
    /// A node of which nothing was heard yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}
