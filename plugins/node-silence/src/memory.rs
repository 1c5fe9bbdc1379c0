//! What is remembered from look to look, also over restarts: one value in the storage.

use std::collections::BTreeMap;

use butler_plugin_api::{Host, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::silence::Silence;
use crate::trouble::Trouble;

/// Its key in the storage.
pub(crate) const KEY: &str = "watch";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Memory {
    /// When the last look was.
    looked_at: Option<Timestamp>,
    /// Whether the UDP sockets could be read then.
    listened: bool,
    /// By the host name of the node, as QRS has it.
    pub(crate) nodes: BTreeMap<String, Silence>,
}

impl Memory {
    /// As it was written last. What cannot be read counts as nothing: all nodes then come under watch anew.
    pub(crate) async fn read(host: &Host) -> Result<Self, Trouble> {
        let value = host.storage().get(KEY).await?;
        Ok(value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
    }

    pub(crate) async fn write(&self, host: &Host) -> Result<(), Trouble> {
        Ok(host.storage().set(KEY, &json!(self), None).await?)
    }

    /// A look begins. Since when, up to now, Butler has listened without a break, as far as the looks can tell: not before it was
    /// started, and only where its sockets could be read both now and at the look before.
    pub(crate) fn look(&mut self, status: &Status, now: Timestamp) -> Option<Timestamp> {
        let listens = status.udp.as_ref().is_some_and(|udp| udp.healthy);
        let before = self.looked_at.replace(now).filter(|_| self.listened);
        self.listened = listens;
        let started: Option<Timestamp> = status.started_at.parse().ok();
        Some(before?.max(started?)).filter(|since| listens && *since < now)
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::PartStatus;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-09T{text}:00Z").parse().unwrap()
    }

    #[test]
    fn butler_listened_between_two_looks_that_found_it_running_and_well() {
        let mut memory = Memory::default();
        let mut look = |now: &str, started: &str, trouble: Option<&str>| {
            let mut status = Status::default();
            status.started_at = at(started).to_string();
            status.udp = Some(PartStatus::new(trouble.map(str::to_owned)));
            memory.look(&status, at(now))
        };
        assert_eq!(look("09:00", "08:00", None), None, "the first look");
        assert_eq!(look("09:15", "08:00", None), Some(at("09:00")));
        assert_eq!(look("09:30", "09:20", None), Some(at("09:20")), "it was started anew");
        assert_eq!(look("09:45", "09:20", Some("cannot be read")), None);
        assert_eq!(look("10:00", "09:20", None), None, "it may have been deaf until now");
        assert_eq!(look("10:15", "09:20", None), Some(at("10:00")));
        assert_eq!(look("09:00", "08:59", None), None, "the clock was set back");
        assert_eq!(look("09:15", "08:59", None), Some(at("09:00")));
        assert_eq!(look("09:30", "10:59", None), None, "started in the future: the clock was set back");
    }
}
