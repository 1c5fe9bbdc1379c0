//! What writes come to: for each its answer, and for all of them together what is to be changed in the storage and then
//! in memory.
//!
//! Writes that are planned together see each other in their order. Nothing is changed here: while the storage has the
//! changes, readers see what was before, and if it refuses them there is nothing to undo.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::StorageChange;

use crate::data::{Data, Effect};
use crate::records;
use crate::settings::{Limits, MAX_NAME};

/// A write, with names and a value that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Set { namespace: Arc<str>, key: Arc<str>, value: Arc<str>, ttl: Option<Duration> },
    Delete { namespace: Arc<str>, key: Arc<str> },
    DeleteNamespace { namespace: Arc<str> },
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Created,
    Replaced,
    Deleted,
}

/// Why a write did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Namespace or key is empty.
    Missing,
    /// The name of a namespace or key is too long.
    Name(String),
    NoNamespace,
    NoKey,
    /// The value is too long.
    TooLarge(String),
    /// A limit is reached.
    Full(String),
    /// It cannot be stored now.
    Unavailable(String),
    /// It was tried and failed.
    Failed(String),
}

impl Write {
    /// Stores a value, for ever or for a time.
    pub(crate) fn set(
        (namespace, key, value): (&str, &str, &str),
        ttl: Option<Duration>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let (namespace, key) = (name("namespace", namespace)?, name("key", key)?);
        if value.len() > limits.value {
            return Err(Refusal::TooLarge(format!(
                "The value has {} bytes, at most {} are taken (`maxValueSize`)",
                value.len(),
                limits.value
            )));
        }
        if !records::fits(&key, value) {
            let most = records::MAX_RECORD;
            return Err(Refusal::TooLarge(format!("Key and value as JSON have more than {most} bytes")));
        }
        Ok(Self::Set { namespace, key, value: value.into(), ttl })
    }

    /// Deletes a key.
    pub(crate) fn delete(namespace: &str, key: &str) -> Result<Self, Refusal> {
        Ok(Self::Delete { namespace: name("namespace", namespace)?, key: name("key", key)? })
    }

    /// Deletes a namespace with all its keys.
    pub(crate) fn delete_namespace(namespace: &str) -> Result<Self, Refusal> {
        Ok(Self::DeleteNamespace { namespace: name("namespace", namespace)? })
    }

    /// About as many bytes as it writes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Set { key, value, .. } => key.len() + value.len(),
            Self::Delete { .. } | Self::DeleteNamespace { .. } => 0,
        }
    }
}

fn name(what: &str, name: &str) -> Result<Arc<str>, Refusal> {
    match name.len() {
        0 => Err(Refusal::Missing),
        length if length > MAX_NAME => {
            Err(Refusal::Name(format!("The name of the {what} has {length} bytes, at most {MAX_NAME} are taken")))
        }
        _ => Ok(name.into()),
    }
}

/// Writes that are made together.
pub(crate) struct Plan<'d> {
    data: &'d Data,
    limits: Limits,
    now: Duration,
    /// Namespaces that were looked at, as they are after the writes so far; `None`: there is none of that name.
    namespaces: HashMap<Arc<str>, Option<Planned>>,
    /// How many namespaces there are after the writes so far.
    count: usize,
    next_namespace: u64,
    next_key: u64,
    pub(crate) changes: Vec<StorageChange>,
    pub(crate) effects: Vec<Effect>,
}

struct Planned {
    number: u64,
    /// It is the one that the data have.
    known: bool,
    /// Keys that were written, with their numbers; `None`: deleted.
    keys: HashMap<Arc<str>, Option<u64>>,
    added: usize,
    removed: usize,
}

impl<'d> Plan<'d> {
    pub(crate) fn new(data: &'d Data, limits: Limits, now: Duration) -> Self {
        Self {
            data,
            limits,
            now,
            namespaces: HashMap::new(),
            count: data.len(),
            next_namespace: data.next_namespace,
            next_key: data.next_key,
            changes: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Adds a write; its answer, should the storage take the changes.
    pub(crate) fn add(&mut self, write: &Write) -> Result<Done, Refusal> {
        match write {
            Write::Set { namespace, key, value, ttl } => self.set(namespace, key, value, *ttl),
            Write::Delete { namespace, key } => self.delete(namespace, key),
            Write::DeleteNamespace { namespace } => self.delete_namespace(namespace),
        }
    }

    fn look(&mut self, namespace: &Arc<str>) -> &mut Option<Planned> {
        let data = self.data;
        self.namespaces.entry(namespace.clone()).or_insert_with(|| {
            data.namespace(namespace).map(|known| Planned {
                number: known.number,
                known: true,
                keys: HashMap::new(),
                added: 0,
                removed: 0,
            })
        })
    }

    /// The number of a namespace and, if it is there, of a key in it.
    fn find(&mut self, namespace: &Arc<str>, key: &str) -> Option<(u64, Option<u64>)> {
        let (data, now) = (self.data, self.now);
        let planned = self.look(namespace).as_ref()?;
        let number = planned.keys.get(key).copied().unwrap_or_else(|| {
            let known = data.namespace(namespace).filter(|_| planned.known)?;
            known.get(key, now).map(|entry| entry.number)
        });
        Some((planned.number, number))
    }

    fn set(
        &mut self,
        namespace: &Arc<str>,
        key: &Arc<str>,
        value: &Arc<str>,
        ttl: Option<Duration>,
    ) -> Result<Done, Refusal> {
        let found = self.find(namespace, key);
        let (space, existing) = match found {
            Some(found) => found,
            None => (self.create(namespace)?, None),
        };
        let number = if let Some(number) = existing {
            number
        } else {
            self.room_for_key(namespace)?;
            self.next_key += 1;
            self.next_key - 1
        };
        if let Some(planned) = self.look(namespace) {
            planned.keys.insert(key.clone(), Some(number));
            planned.added += usize::from(existing.is_none());
        }
        self.changes.push(StorageChange::Set {
            key: records::place_of_key(space, number),
            value: records::record(key, value),
            ttl,
        });
        let (namespace, key, value) = (namespace.clone(), key.clone(), value.clone());
        self.effects.push(Effect::Put { namespace, key, number, value, ttl });
        Ok(if existing.is_some() { Done::Replaced } else { Done::Created })
    }

    fn create(&mut self, namespace: &Arc<str>) -> Result<u64, Refusal> {
        if self.count >= self.limits.namespaces {
            return Err(Refusal::Full(format!(
                "There are {} namespaces, which is the most (`maxNamespaces`): delete some",
                self.count
            )));
        }
        let number = self.next_namespace;
        self.next_namespace += 1;
        self.count += 1;
        let new = Planned { number, known: false, keys: HashMap::new(), added: 0, removed: 0 };
        self.namespaces.insert(namespace.clone(), Some(new));
        self.changes.push(StorageChange::Set {
            key: records::place_of_namespace(number),
            value: namespace.as_ref().into(),
            ttl: None,
        });
        self.effects.push(Effect::Create { namespace: namespace.clone(), number });
        Ok(number)
    }

    fn room_for_key(&mut self, namespace: &Arc<str>) -> Result<(), Refusal> {
        let (data, now, most) = (self.data, self.now, self.limits.keys);
        let Some(planned) = self.look(namespace) else { return Ok(()) };
        let known = data.namespace(namespace).filter(|_| planned.known);
        let with = |before: usize| (before + planned.added).saturating_sub(planned.removed);
        // Those whose time is over are told apart only where it matters: that takes a look at each.
        let full = with(known.map_or(0, crate::data::Namespace::most)) >= most
            && with(known.map_or(0, |known| known.count(now))) >= most;
        if full {
            return Err(Refusal::Full(format!(
                "The namespace has {most} keys, which is the most (`maxKeysPerNamespace`): delete keys, or give them a \
                 `ttl`"
            )));
        }
        Ok(())
    }

    fn delete(&mut self, namespace: &Arc<str>, key: &Arc<str>) -> Result<Done, Refusal> {
        let (space, number) = self.find(namespace, key).ok_or(Refusal::NoNamespace)?;
        let number = number.ok_or(Refusal::NoKey)?;
        if let Some(planned) = self.look(namespace) {
            planned.keys.insert(key.clone(), None);
            planned.removed += 1;
        }
        self.changes.push(StorageChange::Delete { key: records::place_of_key(space, number) });
        self.effects.push(Effect::Remove { namespace: namespace.clone(), key: key.clone() });
        Ok(Done::Deleted)
    }

    fn delete_namespace(&mut self, namespace: &Arc<str>) -> Result<Done, Refusal> {
        let gone = self.look(namespace).take().ok_or(Refusal::NoNamespace)?;
        self.count -= 1;
        self.changes.push(StorageChange::Delete { key: records::place_of_namespace(gone.number) });
        self.changes.push(StorageChange::DeletePrefix { prefix: records::place_of_keys(gone.number) });
        self.effects.push(Effect::Drop { namespace: namespace.clone() });
        Ok(Done::Deleted)
    }
}
