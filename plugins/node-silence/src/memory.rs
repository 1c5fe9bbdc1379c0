//! What is remembered from look to look, also over restarts: one value in the storage.

use std::collections::BTreeMap;

use butler_plugin_api::{Host, Status};
use jiff::{SignedDuration, Timestamp};
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
    /// For when it was planned.
    planned_at: Option<Timestamp>,
    /// Whether the UDP sockets could be read then.
    listened: bool,
    /// Since when, up to the last look, Butler has listened without a break; absent: it was deaf then. What ended before, it may
    /// have missed.
    pub(crate) listening_since: Option<Timestamp>,
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

    /// A look begins. Since when, up to now, Butler has listened since the last look: not before it was started, only where its
    /// sockets could be read both now and at the look before, and for no longer than from one planned look to the next and `late`:
    /// longer ones there are where the machine was suspended.
    pub(crate) fn look(
        &mut self,
        status: &Status,
        now: Timestamp,
        planned: Timestamp,
        late: SignedDuration,
    ) -> Option<Timestamp> {
        let listens = status.udp.as_ref().is_some_and(|udp| udp.healthy);
        let before = self.looked_at.replace(now).filter(|_| self.listened);
        let planned_before = self.planned_at.replace(planned).unwrap_or(planned);
        self.listened = listens;
        let longest = planned.duration_since(planned_before).max(SignedDuration::ZERO).saturating_add(late);
        let awake = now.checked_sub(longest).unwrap_or(Timestamp::MIN);
        let started: Option<Timestamp> = status.started_at.parse().ok();
        let spans = before.zip(started).map(|(before, started)| (before, before.max(started).max(awake)));
        let span = spans.filter(|(_, since)| listens && *since < now);
        self.listening_since = match span {
            Some((before, since)) if since == before => self.listening_since.or(Some(since)),
            Some((_, since)) => Some(since),
            None => listens.then_some(now),
        };
        span.map(|(_, since)| since)
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
            let span = memory.look(&status, at(now), at(now), SignedDuration::ZERO);
            (span, memory.listening_since)
        };
        let times = |span: &str, unbroken: &str| (Some(at(span)), Some(at(unbroken)));
        assert_eq!(look("09:00", "08:00", None), (None, Some(at("09:00"))), "the first look");
        assert_eq!(look("09:15", "08:00", None), times("09:00", "09:00"));
        assert_eq!(look("09:20", "08:00", None), times("09:15", "09:00"));
        assert_eq!(look("09:30", "09:25", None), times("09:25", "09:25"), "it was started anew");
        assert_eq!(look("09:40", "09:25", None), times("09:30", "09:25"));
        assert_eq!(look("09:45", "09:25", Some("cannot be read")), (None, None));
        assert_eq!(look("10:00", "09:25", None), (None, Some(at("10:00"))), "it may have been deaf until now");
        assert_eq!(look("10:15", "09:25", None), times("10:00", "10:00"));
        assert_eq!(look("09:00", "08:59", None), (None, Some(at("09:00"))), "the clock was set back");
        assert_eq!(look("09:15", "08:59", None), times("09:00", "09:00"));
        assert_eq!(look("09:30", "10:59", None), (None, Some(at("09:30"))), "started by a clock that was set back");
    }

    #[test]
    fn a_machine_that_was_suspended_did_not_listen() {
        let mut memory = Memory::default();
        let mut look = |now: &str, planned: &str| {
            let mut status = Status::default();
            status.started_at = at("00:00").to_string();
            status.udp = Some(PartStatus::new(None));
            let span = memory.look(&status, at(now), at(planned), SignedDuration::from_mins(5));
            (span, memory.listening_since)
        };
        let times = |span: &str, unbroken: &str| (Some(at(span)), Some(at(unbroken)));
        assert_eq!(look("09:00", "09:00").1, Some(at("09:00")));
        assert_eq!(look("09:15", "09:15"), times("09:00", "09:00"));
        assert_eq!(look("09:34", "09:30"), times("09:15", "09:00"), "a little late");
        // It is suspended at 09:40 and goes on at 18:00.
        assert_eq!(look("18:00", "09:45"), times("17:40", "17:40"));
        assert_eq!(look("18:01", "18:00"), times("18:00", "17:40"));
        // A clock that was set back.
        assert_eq!(look("18:03", "17:00"), times("18:01", "17:40"));
    }
}
