//! What is kept of a host in the storage: one value, so that a look that finds many changes writes once.
//!
//! A change is written before it is told: the new state, and the event that is to be emitted, under a key of its own. If Butler
//! is killed in between, the event is emitted when it runs again, and under that key only once. The other way round a service
//! that runs again before that would never be told as running, and its next stop be taken for the one that was told.

use std::collections::BTreeMap;

use butler_plugin_api::{Host, ServiceError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kept::Kept;

const PREFIX: &str = "host/";
/// Most events in a record: a value of the storage has at most 1 MiB, and an event may have 10 KB.
const MOST_PENDING: usize = 50;

/// What is kept of a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    /// By the names of the services in lower case.
    pub(crate) services: BTreeMap<String, Kept>,
    /// Events that are to be emitted, in their order.
    pub(crate) pending: Vec<Pending>,
    /// How many there were.
    count: u64,
}

/// An event that is to be emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    /// No other event ever has it.
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Record {
    /// Adds an event. `now`: milliseconds since 1970, so that a storage that begins anew does not begin with keys that were
    /// used.
    pub(crate) fn push(&mut self, host: &str, now: u128, kind: &str, data: Value) {
        self.count += 1;
        let key = format!("{}/{now}/{}", host.to_lowercase(), self.count);
        self.pending.push(Pending { key, kind: kind.to_owned(), data });
    }

    /// Whether it takes no further event before those that it has are emitted.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= MOST_PENDING
    }

    /// Emits what is to be emitted, in order, until one cannot be; whether any could.
    pub(crate) async fn emit(&mut self, host: &Host) -> (bool, Result<(), ServiceError>) {
        let mut emitted = 0;
        let mut outcome = Ok(());
        for event in &self.pending {
            if let Err(error) = host.emit_once(&event.key, &event.kind, event.data.clone()).await {
                outcome = Err(error);
                break;
            }
            emitted += 1;
        }
        self.pending.drain(..emitted);
        (emitted > 0, outcome)
    }

    pub(crate) async fn save(&self, host: &Host, name: &str) -> Result<(), ServiceError> {
        let value = serde_json::to_value(self).map_err(|error| ServiceError::Failed(error.to_string()))?;
        host.storage().set(&key(name), &value, None).await
    }

    /// What was kept of a host; nothing if it cannot be read.
    pub(crate) async fn load(host: &Host, name: &str) -> Result<Self, ServiceError> {
        let Some(value) = host.storage().get(&key(name)).await? else { return Ok(Self::default()) };
        Ok(serde_json::from_value(value).unwrap_or_else(|error| {
            tracing::warn!(host = name, "what was kept of its services cannot be read, and begins anew: {error}");
            Self::default()
        }))
    }

    /// Forgets hosts that are not watched any more, when what is to be told of them was told.
    pub(crate) async fn forget_others(host: &Host, watched: impl Iterator<Item = &str>) -> Result<(), ServiceError> {
        let watched: Vec<String> = watched.map(key).collect();
        for stored in host.storage().list(PREFIX).await? {
            if watched.contains(&stored) {
                continue;
            }
            let name = stored.strip_prefix(PREFIX).unwrap_or_default();
            Self::load(host, name).await?.emit(host).await.1?;
            host.storage().delete(&stored).await?;
        }
        Ok(())
    }
}

fn key(name: &str) -> String {
    format!("{PREFIX}{}", name.to_lowercase())
}
