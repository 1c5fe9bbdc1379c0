//! What is in the storage: a value for each user on a node, which ends by itself, and what was told last.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::{ServiceError, Storage, StorageChange};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::presence::Presence;
use crate::settings::Rules;
use crate::users::{Changes, Place, Users};

/// What keys of presences begin with.
const PRESENCES: &str = "p/";
const TOLD: &str = "told";
/// Values of a page.
const PAGE: u32 = 5_000;

/// A user on a node, as it is stored.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    user: String,
    node: String,
    #[serde(flatten)]
    presence: T,
}

/// What was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    /// Grows with each event: its number.
    pub(crate) number: u64,
    /// Known nodes, with the times of their last events in milliseconds since 1970.
    pub(crate) nodes: BTreeMap<String, i64>,
}

/// Reads all.
pub(crate) async fn load(storage: &Storage) -> Result<(Users, Told), ServiceError> {
    let mut users = Users::default();
    let told =
        storage.get(TOLD).await?.and_then(|value| serde_json::from_value::<Told>(value).ok()).unwrap_or_default();
    for (node, last) in &told.nodes {
        users.hear(node, *last);
    }
    let mut after: Option<String> = None;
    loop {
        let page = storage.entries(PRESENCES, after.as_deref(), PAGE).await?;
        after = page.entries.last().map(|entry| entry.key.clone());
        let read = |value: Value| serde_json::from_value::<Record<Presence>>(value).ok();
        let records = page.entries.into_iter().filter_map(|entry| read(entry.value));
        users.apply(records.map(|it| (Place::new(&it.user, &it.node), Some((it.user, it.presence)))).collect());
        if !page.more || after.is_none() {
            return Ok((users, told));
        }
    }
}

/// Writes changes. Each value ends when it is over: nobody has to delete it.
pub(crate) async fn save(storage: &Storage, changes: &Changes, now_ms: i64, rules: &Rules) -> Result<(), ServiceError> {
    let mut all = Vec::with_capacity(changes.len());
    for (place, change) in changes {
        let key = place.key();
        let Some((user, presence)) = change else {
            all.push(StorageChange::Delete { key });
            continue;
        };
        let record = Record { user: user.clone(), node: place.node.clone(), presence };
        let value = serde_json::to_value(record).map_err(|error| ServiceError::Failed(error.to_string()))?;
        // Also of one that lies ahead, after the clock was set back.
        let left = presence.last_ms().saturating_add(rules.expire_ms).saturating_sub(now_ms).max(1);
        let ttl = Some(Duration::from_millis(left.unsigned_abs()));
        all.push(StorageChange::Set { key, value, ttl });
    }
    if all.is_empty() { Ok(()) } else { storage.apply(&all).await }
}

/// Remembers what was told.
pub(crate) async fn save_told(storage: &Storage, told: &Told) -> Result<(), ServiceError> {
    let value = serde_json::to_value(told).map_err(|error| ServiceError::Failed(error.to_string()))?;
    storage.set(TOLD, &value, None).await
}
