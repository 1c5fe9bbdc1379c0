//! All users and nodes, in memory: what the storage has, and nothing that it has not.

use std::collections::BTreeMap;

use crate::presence::Presence;
use crate::settings::Rules;
use crate::sighting::Sighting;

/// Longest key in the storage, in bytes.
const LONGEST_KEY: usize = 512;
/// So long a node is told of after the last of its users has expired.
const NODE_KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Most nodes. Qlik Sense has a dozen at most; this is for senders that are none.
const MOST_NODES: usize = 1_000;

/// A user with the nodes of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// `DIRECTORY\id`, as their first event has it.
    pub(crate) name: String,
    pub(crate) nodes: BTreeMap<String, Presence>,
}

/// All users by their names in lower case: directories of Windows do not tell upper from lower case.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_name: BTreeMap<String, User>,
    /// Users on nodes.
    presences: usize,
    /// The nodes that are told of, with the times of their last events.
    nodes: BTreeMap<String, i64>,
}

/// Where a presence is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The user's name in lower case.
    pub(crate) user: String,
    pub(crate) node: String,
}

impl Place {
    pub(crate) fn new(user: &str, node: &str) -> Self {
        Self { user: user.to_lowercase(), node: node.to_owned() }
    }

    /// Its key in the storage; the length tells where the name ends.
    pub(crate) fn key(&self) -> String {
        format!("p/{}/{}/{}", self.user.len(), self.user, self.node)
    }
}

/// A presence that is to be put in place of what there was; `None`: nothing.
pub(crate) type Changes = BTreeMap<Place, Option<(String, Presence)>>;

/// What events come to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Changes,
    /// Users that are not counted, since there are too many.
    pub(crate) refused: u64,
    /// Users with names that are too long to be kept.
    pub(crate) too_long: u64,
}

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `DIRECTORY\id`, sorted.
    pub(crate) users: Vec<String>,
    /// Users of each node.
    pub(crate) nodes: BTreeMap<String, u64>,
}

impl Users {
    /// What changes by events; nothing is changed yet.
    pub(crate) fn plan(&self, sightings: &[Sighting], now_ms: i64, rules: &Rules) -> Plan {
        let mut plan = Plan::default();
        let mut count = self.presences;
        let mut full = false;
        for sighting in sightings {
            let place = Place::new(&sighting.user, &sighting.node);
            let planned = plan.changes.get(&place);
            let known = match planned {
                Some(planned) => planned.as_ref().map(|(_, presence)| presence.clone()),
                None => self.presence(&place).cloned(),
            };
            let is_new = known.is_none();
            let mut presence = known.unwrap_or_default();
            if !presence.add(sighting.mark.clone(), rules.expire_ms) {
                continue;
            }
            if is_new {
                if place.key().len() > LONGEST_KEY {
                    plan.too_long += 1;
                    continue;
                }
                if count >= rules.max_users && !full {
                    let before = plan.changes.len();
                    self.make_room(&mut plan.changes, now_ms, rules);
                    count -= plan.changes.len() - before;
                }
                if count >= rules.max_users {
                    full = true;
                    plan.refused += 1;
                    continue;
                }
                count += 1;
            }
            let name = self.name(&place.user, &plan.changes).unwrap_or(&sighting.user).to_owned();
            plan.changes.insert(place, Some((name, presence)));
        }
        // What is so late that it is over by now. Not before: later events may have followed.
        let is_over = |(_, presence): &(String, Presence)| presence.is_over(now_ms, rules.expire_ms);
        plan.changes.retain(|_, change| !change.as_ref().is_some_and(is_over));
        plan
    }

    /// Forgets a tenth of those who are there no more, those first of whom nothing was heard for longest. At least one, if
    /// there are such; many at a time, since looking for them takes a look at all.
    fn make_room(&self, changes: &mut Changes, now_ms: i64, rules: &Rules) {
        let all =
            self.by_name.iter().flat_map(|(user, it)| it.nodes.iter().map(move |(node, there)| (user, node, there)));
        let gone = all.filter(|(_, _, there)| there.sessions(now_ms, rules.expire_ms) == 0);
        let mut gone: Vec<_> = gone
            .map(|(user, node, there)| (there.last_ms(), Place { user: user.clone(), node: node.clone() }))
            .filter(|(_, place)| !changes.contains_key(place))
            .collect();
        gone.sort_unstable();
        gone.truncate(rules.max_users / 10 + 1);
        changes.extend(gone.into_iter().map(|(_, place)| (place, None)));
    }

    /// Makes changes.
    pub(crate) fn apply(&mut self, changes: Changes) {
        for (Place { user, node }, change) in changes {
            let Some((name, presence)) = change else {
                self.remove(&user, &node);
                continue;
            };
            self.hear(&node, presence.last_ms());
            let known = self.by_name.entry(user).or_insert_with(|| User { name, nodes: BTreeMap::new() });
            if known.nodes.insert(node, presence).is_none() {
                self.presences += 1;
            }
        }
    }

    fn remove(&mut self, user: &str, node: &str) {
        let Some(known) = self.by_name.get_mut(user) else { return };
        if known.nodes.remove(node).is_some() {
            self.presences -= 1;
        }
        if known.nodes.is_empty() {
            self.by_name.remove(user);
        }
    }

    /// Notes that a node was heard of.
    pub(crate) fn hear(&mut self, node: &str, ms: i64) {
        if let Some(last) = self.nodes.get_mut(node) {
            *last = ms.max(*last);
        } else if !node.is_empty() {
            if self.nodes.len() >= MOST_NODES
                && let Some(oldest) = self.nodes.iter().min_by_key(|(_, last)| **last).map(|(node, _)| node.clone())
            {
                self.nodes.remove(&oldest);
            }
            self.nodes.insert(node.to_owned(), ms);
        }
    }

    /// Forgets what is over, and counts. What the storage has of it ends there by itself.
    pub(crate) fn count(&mut self, now_ms: i64, rules: &Rules) -> Counted {
        let mut left = 0;
        self.by_name.retain(|_, user| {
            user.nodes.retain(|_, presence| !presence.is_over(now_ms, rules.expire_ms));
            left += user.nodes.len();
            !user.nodes.is_empty()
        });
        self.presences = left;
        let kept = NODE_KEPT_MS.saturating_add(rules.expire_ms).unsigned_abs();
        self.nodes.retain(|_, last| now_ms.abs_diff(*last) <= kept);
        let mut counted =
            Counted { users: Vec::new(), nodes: self.nodes.keys().map(|node| (node.clone(), 0)).collect() };
        for (user, sessions) in self.active(None, now_ms, rules) {
            counted.users.push(user.name.clone());
            for node in sessions.into_keys() {
                if let Some(count) = counted.nodes.get_mut(node) {
                    *count += 1;
                }
            }
        }
        counted
    }

    /// Users who are there, behind a name in lower case, with the sessions on their nodes.
    pub(crate) fn active<'a>(
        &'a self,
        after: Option<&str>,
        now_ms: i64,
        rules: &Rules,
    ) -> impl Iterator<Item = (&'a User, BTreeMap<&'a str, u32>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let expire_ms = rules.expire_ms;
        self.by_name.range::<str, _>((from, Unbounded)).filter_map(move |(_, user)| {
            let nodes = user.nodes.iter().map(|(node, presence)| (node.as_str(), presence.sessions(now_ms, expire_ms)));
            let sessions: BTreeMap<&str, u32> = nodes.filter(|(_, sessions)| *sessions > 0).collect();
            (!sessions.is_empty()).then_some((user, sessions))
        })
    }

    /// The nodes with the times of their last events.
    pub(crate) fn nodes(&self) -> &BTreeMap<String, i64> {
        &self.nodes
    }

    /// How many users on nodes are remembered.
    pub(crate) fn len(&self) -> usize {
        self.presences
    }

    /// How a user is called, by the name in lower case: as their first event has it. All their records say the same.
    fn name<'a>(&'a self, user: &str, changes: &'a Changes) -> Option<&'a str> {
        if let Some(known) = self.by_name.get(user) {
            return Some(&known.name);
        }
        let first = Place { user: user.to_owned(), node: String::new() };
        let planned = changes.range(first..).take_while(|(place, _)| place.user == user);
        planned.filter_map(|(_, change)| change.as_ref()).map(|(name, _)| name.as_str()).next()
    }

    fn presence(&self, place: &Place) -> Option<&Presence> {
        self.by_name.get(&place.user)?.nodes.get(&place.node)
    }
}
