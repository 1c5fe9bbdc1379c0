//! What is stored, in memory: namespaces in the order of their creation, keys in that of their insertion.
//!
//! Times are spans since an arbitrary beginning. A key whose time is over is not there, whether it was taken out already or
//! not.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// All namespaces.
#[derive(Debug, Default)]
pub(crate) struct Data {
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Names by number.
    order: BTreeMap<u64, Arc<str>>,
    /// The number of the next namespace.
    pub(crate) next_namespace: u64,
    /// The number of the next key, whatever its namespace.
    pub(crate) next_key: u64,
}

/// A namespace. It stays when it has become empty.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) number: u64,
    keys: HashMap<Arc<str>, Entry>,
    /// Keys by number.
    order: BTreeMap<u64, Arc<str>>,
}

/// The value of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its place; a key that is written again keeps it.
    pub(crate) number: u64,
    pub(crate) value: Arc<str>,
    expires: Option<Duration>,
}

/// A change that is decided.
#[derive(Debug)]
pub(crate) enum Effect {
    Create { namespace: Arc<str>, number: u64 },
    Drop { namespace: Arc<str> },
    Put { namespace: Arc<str>, key: Arc<str>, number: u64, value: Arc<str>, ttl: Option<Duration> },
    Remove { namespace: Arc<str>, key: Arc<str> },
}

impl Entry {
    fn lives(&self, now: Duration) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// How long it is still there, in milliseconds, rounded up; `None`: for ever.
    pub(crate) fn ttl_ms(&self, now: Duration) -> Option<u64> {
        let left = self.expires?.saturating_sub(now);
        Some(u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl Namespace {
    /// A key that is there.
    pub(crate) fn get(&self, key: &str, now: Duration) -> Option<&Entry> {
        self.keys.get(key).filter(|entry| entry.lives(now))
    }

    /// The keys behind the one with the number `after`, in order.
    pub(crate) fn keys(&self, after: Option<u64>, now: Duration) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.order.range((start, Bound::Unbounded)).filter_map(|(_, key)| self.keys.get_key_value(key));
        entries.filter(move |(_, entry)| entry.lives(now))
    }

    /// How many keys are there.
    pub(crate) fn count(&self, now: Duration) -> usize {
        self.keys.values().filter(|entry| entry.lives(now)).count()
    }

    /// At least as many as are there: those whose time is over may be among them.
    pub(crate) fn most(&self) -> usize {
        self.keys.len()
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.keys.remove(key) {
            self.order.remove(&entry.number);
        }
    }
}

impl Data {
    /// All of them, in order.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.order.values().filter_map(|name| self.namespaces.get_key_value(name))
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// How many namespaces there are.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.len()
    }

    /// Makes a change. The time to live of a value begins now.
    pub(crate) fn apply(&mut self, effect: Effect, now: Duration) {
        match effect {
            Effect::Create { namespace, number } => {
                self.next_namespace = self.next_namespace.max(number + 1);
                self.order.insert(number, namespace.clone());
                self.namespaces.insert(namespace, Namespace { number, keys: HashMap::new(), order: BTreeMap::new() });
            }
            Effect::Drop { namespace } => {
                if let Some(gone) = self.namespaces.remove(&namespace) {
                    self.order.remove(&gone.number);
                }
            }
            Effect::Put { namespace, key, number, value, ttl } => {
                self.next_key = self.next_key.max(number + 1);
                if let Some(namespace) = self.namespaces.get_mut(&namespace) {
                    namespace.remove(&key);
                    namespace.order.insert(number, key.clone());
                    let expires = ttl.map(|ttl| now.saturating_add(ttl));
                    namespace.keys.insert(key, Entry { number, value, expires });
                }
            }
            Effect::Remove { namespace, key } => {
                if let Some(namespace) = self.namespaces.get_mut(&namespace) {
                    namespace.remove(&key);
                }
            }
        }
    }

    /// Does not give these numbers of a namespace and of a key: something lies there.
    pub(crate) fn pass_over(&mut self, numbers: Option<(u64, u64)>) {
        let Some((namespace, key)) = numbers else { return };
        self.next_namespace = self.next_namespace.max(namespace.saturating_add(1));
        self.next_key = self.next_key.max(key.saturating_add(1));
    }

    /// Takes out the keys whose time is over.
    pub(crate) fn forget_expired(&mut self, now: Duration) {
        for namespace in self.namespaces.values_mut() {
            let Namespace { keys, order, .. } = namespace;
            keys.retain(|_, entry| {
                let lives = entry.lives(now);
                if !lives {
                    order.remove(&entry.number);
                }
                lives
            });
        }
    }

    /// How many keys are in memory.
    pub(crate) fn keys(&self) -> usize {
        self.namespaces.values().map(Namespace::most).sum()
    }
}
