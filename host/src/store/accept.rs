//! Accepting events: from here on they survive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use butler_plugin_api::Data;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::rows::{chunks, values};
use super::{Store, StoreError, joins, keys};

/// An event to be accepted.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Kind, possibly provisional.
    pub kind: String,
    /// When it happened, ms since 1970.
    pub time: i64,
    /// When Butler heard of it, ms since 1970.
    pub received: i64,
    /// By which road.
    pub source: String,
    /// What identifies it over all roads. Empty: it is always new. If any of them is known, it is a duplicate.
    pub keys: Vec<String>,
    /// The facts so far.
    pub data: Data,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored under this number.
    New(i64),
    /// It was known, under this number.
    Duplicate(i64),
}

impl Accepted {
    /// The number of the event, either way.
    pub fn seq(self) -> i64 {
        match self {
            Self::New(seq) | Self::Duplicate(seq) => seq,
        }
    }
}

/// Events to accept, with the counter that numbers them. They get their numbers inside the transaction: so numbers become
/// visible in their order, and a reader that has seen one has seen all before it.
pub(super) struct Batch {
    pub(super) events: Arc<[NewEvent]>,
    pub(super) numbers: Arc<AtomicI64>,
}

struct Numbered<'a> {
    seq: i64,
    event: &'a NewEvent,
    data: String,
}

impl Store {
    /// Accepts events, in one transaction; one answer each.
    pub async fn accept(&self, events: impl Into<Arc<[NewEvent]>>) -> Result<Vec<Accepted>, StoreError> {
        let batch = Batch { events: events.into(), numbers: self.inner.next_event.clone() };
        self.inner
            .writer
            .run(batch, |batch, connection| Box::pin(accept(&batch.events, &batch.numbers, connection)))
            .await
    }
}

pub(super) async fn accept(
    events: &[NewEvent],
    numbers: &AtomicI64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<Accepted>> {
    let events: Vec<Numbered<'_>> = events
        .iter()
        .map(|event| Numbered {
            seq: numbers.fetch_add(1, Ordering::Relaxed),
            event,
            // Data has text keys only and cannot fail to be written.
            data: serde_json::to_string(&event.data).unwrap_or_else(|_| "{}".to_owned()),
        })
        .collect();
    let pairs: Vec<(&str, i64)> =
        events.iter().flat_map(|new| new.event.keys.iter().map(|key| (key.as_str(), new.seq))).collect();
    let claimed = keys::claim(&pairs, connection).await?;
    let is_new = |new: &Numbered<'_>| new.event.keys.iter().all(|key| claimed.contains(&(key.as_str(), new.seq)));
    let (fresh, doubtful): (Vec<&Numbered<'_>>, Vec<&Numbered<'_>>) = events.iter().partition(|new| is_new(new));
    insert(&fresh, connection).await?;
    let mut originals = HashMap::new();
    // One after the other: what one gives back may be what the next lacks.
    for new in doubtful {
        match original(new, connection).await? {
            Some(original) => drop(originals.insert(new.seq, original)),
            None => insert(&[new], connection).await?,
        }
    }
    Ok(events
        .iter()
        .map(|new| originals.get(&new.seq).map_or(Accepted::New(new.seq), |seq| Accepted::Duplicate(*seq)))
        .collect())
}

async fn insert(events: &[&Numbered<'_>], connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for chunk in chunks(events) {
        // The conflict clause as in `keys::claim`.
        let sql = format!(
            "INSERT OR FAIL INTO events (seq, kind, time, received, source, state, task, keys, data){}",
            values(chunk.len(), "(?, ?, ?, ?, ?, 0, ?, ?, ?)")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for new in chunk {
            let task = new.event.data.task.as_ref().map(|task| task.id.as_str());
            query = query
                .bind(new.seq)
                .bind(&new.event.kind)
                .bind(new.event.time)
                .bind(new.event.received)
                .bind(&new.event.source)
                .bind(task)
                .bind(new.event.keys.join("\n"))
                .bind(&new.data);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The event that one is a duplicate of, which learns the keys that identify it; `None` when it has all its keys now.
async fn original(new: &Numbered<'_>, connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    let keys: Vec<&str> = new.event.keys.iter().map(String::as_str).collect();
    let mut owners = Vec::with_capacity(keys.len());
    for key in &keys {
        let owner = keys::owner(key, connection).await?.filter(|owner| *owner != new.seq);
        owners.extend(owner.map(|owner| (!keys::is_identity(key), owner)));
    }
    // The word of a key that identifies a run counts more.
    let Some((_, owner)) = owners.into_iter().min() else {
        // Those that it lacked were given back by others of the batch.
        let pairs: Vec<(&str, i64)> = keys.iter().map(|key| (*key, new.seq)).collect();
        keys::claim(&pairs, connection).await?;
        return Ok(None);
    };
    keys::release(&keys, new.seq, connection).await?;
    keys::hear(&keys, connection).await?;
    let identities: Vec<&str> = keys.into_iter().filter(|key| keys::is_identity(key)).collect();
    joins::unite(owner, &identities, connection).await.map(Some)
}
