//! Telling who is there: an event when something has changed.
//!
//! **Once.** Events have numbers, and the last one is stored after its event, as soon as that works. The key of an event is its number and a digest of
//! its facts: if Butler is killed between the two, the same facts are not told again after the start, and others are.
//!
//! **Not too much.** Every event holds the names of all users, and Butler keeps it for weeks. So the longer events are, the longer
//! the next ones wait when there are many.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use butler_plugin_api::{Host, ServiceError, kind};
use serde_json::{Value, json};

use crate::records::{self, Told};
use crate::users::Counted;

/// Most names in an event.
const MOST_NAMES: usize = 10_000;
/// Most bytes of them, and of its nodes: hosts take 1 MB of data.
const MOST_BYTES: usize = 500_000;
/// Most nodes in the sentence for people, and with a metric of their own.
const MOST_SHOWN_NODES: usize = 10;
const MOST_METRICS: usize = 200;
/// Bytes of events in a second, on average: when somebody comes or goes all the time, 1 GB in the 30 days for which events are
/// kept by default. That is a quarter of what the store may have.
const BYTES_PER_SECOND: u64 = 400;
/// Bytes that may come at once after a quiet time: when all come to work, changes are told without a wait.
const BYTES_AT_ONCE: u64 = 10_000_000;

/// What has been told.
#[derive(Debug)]
pub(crate) struct Teller {
    told: Told,
    /// `told` is not stored yet.
    is_unsaved: bool,
    /// Digest of the facts that were told last; none before the first since the start.
    last: Option<u64>,
    budget: Budget,
}

impl Teller {
    pub(crate) fn new(told: Told) -> Self {
        Self { told, is_unsaved: false, last: None, budget: Budget::new(Instant::now()) }
    }

    /// Tells how many there are, if that is not what was told last; how long the next one has to wait beyond the usual.
    /// `nodes`: the known nodes with the times of their last events.
    pub(crate) async fn tell(
        &mut self,
        host: &Host,
        counted: &Counted,
        nodes: BTreeMap<String, i64>,
    ) -> Result<Duration, ServiceError> {
        let data = facts(counted);
        let text = data.to_string();
        let digest = digest(&text);
        if self.last == Some(digest) {
            return Ok(Duration::ZERO);
        }
        let number = self.told.number + 1;
        host.emit_once(&format!("{number}/{digest:016x}"), kind::ACTIVE_USERS_COUNTED, data).await?;
        self.told = Told { number, nodes };
        self.is_unsaved = true;
        self.last = Some(digest);
        Ok(self.budget.spend(text.len() as u64, Instant::now()))
    }

    /// Stores what was told, if it is not stored yet.
    pub(crate) async fn save(&mut self, host: &Host) -> Result<(), ServiceError> {
        if self.is_unsaved {
            records::save_told(&host.storage(), &self.told).await?;
            self.is_unsaved = false;
        }
        Ok(())
    }
}

/// Bytes of events that were told, less those that may come again by now.
#[derive(Debug)]
pub(crate) struct Budget {
    spent: u64,
    since: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { spent: 0, since: now }
    }

    /// Notes an event; how long the next one has to wait.
    pub(crate) fn spend(&mut self, bytes: u64, now: Instant) -> Duration {
        let seconds = now.duration_since(self.since).as_secs();
        self.since += Duration::from_secs(seconds);
        self.spent = self.spent.saturating_sub(seconds.saturating_mul(BYTES_PER_SECOND)).saturating_add(bytes);
        Duration::from_millis(self.spent.saturating_sub(BYTES_AT_ONCE).saturating_mul(1000) / BYTES_PER_SECOND)
    }
}

/// Of two programs the same for the same text, as long as they are of one version: enough for what a killed one has told.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The facts of the event.
pub(crate) fn facts(counted: &Counted) -> Value {
    let mut room = Room(MOST_BYTES);
    let names: Vec<&String> = counted.users.iter().take(MOST_NAMES).take_while(|name| room.has(name)).collect();
    let mut room = Room(MOST_BYTES);
    let nodes: BTreeMap<&String, &u64> = counted.nodes.iter().take_while(|(node, _)| room.has(node)).collect();
    json!({
        "message": sentence(counted),
        "activeUsers": { "count": counted.users.len(), "users": names, "nodes": nodes },
    })
}

/// Bytes that are left.
struct Room(usize);

impl Room {
    /// Takes room for a name, as JSON with a count behind it, if there is any.
    fn has(&mut self, name: &str) -> bool {
        let bytes = Value::from(name).to_string().len() + ":50000,".len();
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

/// `3 users are active: 2 on n1, 1 on n2`
fn sentence(counted: &Counted) -> String {
    let users = match counted.users.len() {
        0 => "no users are active".to_owned(),
        1 => "1 user is active".to_owned(),
        count => format!("{count} users are active"),
    };
    let used = counted.nodes.iter().filter(|(_, count)| **count > 0);
    let mut nodes: Vec<String> =
        used.clone().take(MOST_SHOWN_NODES).map(|(node, count)| format!("{count} on {node}")).collect();
    let more = used.count() - nodes.len();
    if more > 0 {
        nodes.push(format!("and {more} more nodes"));
    }
    if nodes.is_empty() { users } else { format!("{users}: {}", nodes.join(", ")) }
}

/// Shows how many there are on `/metrics`.
pub(crate) fn show(host: &Host, counted: &Counted) {
    let metrics = host.metrics();
    metrics.gauge("users", &[], number(counted.users.len() as u64));
    for (node, count) in counted.nodes.iter().take(MOST_METRICS) {
        metrics.gauge("node_users", &[("node", node)], number(*count));
    }
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
fn number(count: u64) -> f64 {
    count as f64
}
