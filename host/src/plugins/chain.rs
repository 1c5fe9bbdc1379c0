//! How many events led to one another: two instances that answer each other's events would never end.
//!
//! An event that an instance emits carries its depth as a fact, `chainDepth`: 1 if nothing led to it, one more than the
//! event of the delivery that it was emitted in. As part of the event it survives a restart. Whoever emits without a
//! delivery (a background task, a thread) is taken to answer the deepest event that the instance has, or had just now:
//! a plugin that forgets where its events come from must not be able to go round for ever.
//!
//! The router gives events that are too deep to nobody; they stay in the store, for people to see.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::{Data, Delivery};

/// Deepest event that is delivered.
pub const MAX_DEPTH: u64 = 8;

/// The fact that holds the depth.
pub const CHAIN_DEPTH: &str = "chainDepth";

/// A delivery that has ended so recently may still be the reason of an event.
const AFTERMATH: Duration = Duration::from_mins(1);

/// The depth of an event; 0 for one that no instance emitted.
pub fn depth(data: &Data) -> u64 {
    data.other.get(CHAIN_DEPTH).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

/// Notes the depth of an event, whatever the plugin wrote there.
pub(super) fn set_depth(data: &mut Data, depth: u64) {
    data.other.insert(CHAIN_DEPTH.to_owned(), depth.into());
}

/// The depths of what an instance has at hand.
#[derive(Debug, Default)]
pub(super) struct Chains(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<String, u64>,
    /// The deepest one that has ended lately, and when the last of that depth did.
    ended: Option<(u64, Instant)>,
    /// Events that were too deep.
    cut: u64,
}

/// Deliveries under way; they have ended when this is dropped.
pub(super) struct UnderWay<'a> {
    chains: &'a Chains,
    ids: Vec<String>,
}

impl Chains {
    pub(super) fn begin(&self, deliveries: &[Delivery]) -> UnderWay<'_> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            state.under_way.insert(delivery.delivery_id.clone(), depth(&delivery.event.data));
            ids.push(delivery.delivery_id.clone());
        }
        UnderWay { chains: self, ids }
    }

    /// The depth of an event that the instance emits, in this delivery if it says so.
    pub(super) fn next(&self, delivery: Option<&str>) -> u64 {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = delivery.and_then(|id| state.under_way.get(id).copied());
        let reason = named.unwrap_or_else(|| {
            let ended = state.ended.filter(|(_, at)| at.elapsed() < AFTERMATH).map_or(0, |(depth, _)| depth);
            state.under_way.values().copied().max().unwrap_or(0).max(ended)
        });
        reason + 1
    }

    /// Counts an event that is too deep; true for the first one.
    pub(super) fn count_cut(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut += 1;
        state.cut == 1
    }

    /// Events that were too deep.
    pub(super) fn cut(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cut
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.chains.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for id in &self.ids {
            let Some(depth) = state.under_way.remove(id) else { continue };
            if state.ended.is_none_or(|(deepest, at)| depth >= deepest || now.duration_since(at) >= AFTERMATH) {
                state.ended = Some((depth, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Event;

    use super::*;

    fn delivery(id: &str, of: u64) -> Delivery {
        let mut data = Data::default();
        if of > 0 {
            set_depth(&mut data, of);
        }
        let event = Event {
            id: "e".to_owned(),
            kind: "a.b".to_owned(),
            time: String::new(),
            received_at: String::new(),
            source: "udp".to_owned(),
            data,
        };
        let (delivery_id, first_attempt_at) = (id.to_owned(), String::new());
        Delivery { delivery_id, attempt: 1, first_attempt_at, late_seconds: None, suppressed: 0, progress: None, event }
    }

    #[test]
    fn an_event_is_one_deeper_than_what_led_to_it() {
        let chains = Chains::default();
        assert_eq!(chains.next(None), 1, "nothing led to it");
        let (shallow, deep) = (chains.begin(&[delivery("a", 0)]), chains.begin(&[delivery("b", 5)]));
        assert_eq!([chains.next(Some("a")), chains.next(Some("b"))], [1, 6]);
        assert_eq!([chains.next(None), chains.next(Some("unknown"))], [6, 6], "in doubt the deepest");
        drop(deep);
        assert_eq!([chains.next(Some("a")), chains.next(None), chains.next(Some("b"))], [1, 6, 6]);
        drop(shallow);
        assert_eq!(chains.next(None), 6, "an aftermath");
    }

    #[test]
    fn a_plugin_cannot_write_its_own_depth() {
        let mut data: Data = serde_json::from_value(serde_json::json!({ "chainDepth": -7, "node": "n" })).unwrap();
        assert_eq!(depth(&data), 0);
        set_depth(&mut data, 3);
        assert_eq!(depth(&data), 3);
    }
}
