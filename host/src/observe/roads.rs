//! By which roads Butler hears of which Sense nodes, and when it did last.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// More nodes than any site has: what forged names may take.
const MAX_NODES: usize = 1_000;
/// The clocks of Butler and Qlik Sense may differ by so much.
const AHEAD_MS: i64 = 60_000;

/// A road.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Road {
    /// Log appenders, by UDP.
    Udp,
    /// Lists of what has ended, asked for in QRS.
    Qrs,
    /// Change notifications of QRS.
    Notifications,
}

/// When a node was last heard of by each road, ms since 1970.
pub type Heard = BTreeMap<Road, i64>;

/// What is known of all roads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct State {
    nodes: BTreeMap<String, Heard>,
    #[serde(skip)]
    reconciled_ms: Option<i64>,
    #[serde(skip)]
    found: u64,
    #[serde(skip)]
    changed: bool,
}

/// What is known of all roads; shared by them.
#[derive(Debug, Default)]
pub struct Roads(Mutex<State>);

impl Roads {
    /// As it was written by [`Roads::changed`]; what cannot be read counts as nothing.
    pub fn read(json: &str) -> Self {
        Self(Mutex::new(serde_json::from_str(json).unwrap_or_default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node was heard of at a time, ms since 1970. Where there is no room for one more, it takes the place of that which has
    /// not been heard of for longest: a real node, which is heard of again and again, finds its place in spite of forged names.
    pub fn heard(&self, node: &str, road: Road, at_ms: i64) {
        let state = &mut *self.state();
        if let Some(heard) = state.nodes.get_mut(node) {
            let last = heard.entry(road).or_insert(at_ms);
            *last = at_ms.max(*last);
        } else {
            if state.nodes.len() >= MAX_NODES {
                let oldest = state.nodes.iter().min_by_key(|(_, heard)| heard.values().max());
                if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                    state.nodes.remove(&name);
                }
            }
            state.nodes.insert(node.to_owned(), BTreeMap::from([(road, at_ms)]));
        }
        state.changed = true;
    }

    /// What was heard by a clock that has been set back since counts as heard now, ms since 1970: nothing that is heard after it
    /// would count otherwise, until that time has come.
    pub fn follow_clock(&self, now_ms: i64) {
        let state = &mut *self.state();
        for last in state.nodes.values_mut().flat_map(BTreeMap::values_mut).filter(|last| **last - AHEAD_MS > now_ms) {
            *last = now_ms;
            state.changed = true;
        }
    }

    /// QRS was asked for everything that had ended, and so much was found that no other road had told.
    pub fn reconciled(&self, found: u64, at_ms: i64) {
        let mut state = self.state();
        state.reconciled_ms = Some(at_ms);
        state.found += found;
    }

    /// When QRS was last asked for everything that had ended, ms since 1970, and how much was found since the start.
    pub fn last_reconciled(&self) -> (Option<i64>, u64) {
        let state = self.state();
        (state.reconciled_ms, state.found)
    }

    /// All nodes by name.
    pub fn nodes(&self) -> BTreeMap<String, Heard> {
        self.state().nodes.clone()
    }

    /// What is to be kept for the next start, if it has changed since the last call.
    pub fn changed(&self) -> Option<String> {
        let mut state = self.state();
        // Names and numbers can always be written.
        std::mem::take(&mut state.changed).then(|| serde_json::to_string(&*state).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts_and_survives() {
        let roads = Roads::default();
        for (road, at) in [(Road::Udp, 5), (Road::Udp, 3), (Road::Qrs, 4)] {
            roads.heard("sense1", road, at);
        }
        let kept = roads.changed().unwrap();
        assert_eq!(roads.changed(), None);
        assert_eq!(Roads::read(&kept).nodes()["sense1"], BTreeMap::from([(Road::Udp, 5), (Road::Qrs, 4)]));
        assert!(Roads::read("?").nodes().is_empty());
    }

    #[test]
    fn a_clock_that_was_ahead_hides_nothing_once_it_is_right() {
        let roads = Roads::default();
        roads.heard("sense1", Road::Udp, 9_000_000);
        roads.heard("sense2", Road::Qrs, 160_000);
        let _ = roads.changed();
        roads.follow_clock(100_000);
        let nodes = roads.nodes();
        assert_eq!(
            (nodes["sense1"][&Road::Udp], nodes["sense2"][&Road::Qrs]),
            (100_000, 160_000),
            "a minute is no fault"
        );
        assert!(roads.changed().is_some());
        roads.heard("sense1", Road::Udp, 100_001);
        assert_eq!(roads.nodes()["sense1"][&Road::Udp], 100_001);
        let _ = roads.changed();
        roads.follow_clock(100_002);
        assert_eq!(roads.changed(), None);
    }

    #[test]
    fn forged_names_take_no_more_than_some_room_and_shut_nobody_out() {
        let roads = Roads::default();
        roads.heard("old", Road::Udp, 0);
        (1..=MAX_NODES).for_each(|n| roads.heard(&n.to_string(), Road::Udp, 1));
        roads.heard("old too", Road::Udp, 1);
        roads.heard("sense1", Road::Qrs, 0);
        roads.heard("sense1", Road::Udp, 2);
        (0..MAX_NODES - 1).for_each(|n| roads.heard(&format!("forged{n}"), Road::Udp, 2));
        let nodes = roads.nodes();
        assert_eq!(nodes.len(), MAX_NODES);
        assert!(nodes.contains_key("sense1") && !nodes.keys().any(|name| name.starts_with("old") || name == "7"));
    }
}
