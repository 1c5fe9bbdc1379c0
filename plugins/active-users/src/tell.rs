//! Telling who is there: an event when something has changed.
//!
//! **Once.** Events have numbers, and the last one is stored after its event. The key of an event is its number and a digest of
//! its facts: if Butler is killed between the two, the same facts are not told again after the start, and others are.
//!
//! **Not too much.** Every event holds the names of all users, and Butler keeps it for weeks. So the longer it is, the longer
//! the next one waits.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use butler_plugin_api::{Host, ServiceError, kind};
use serde_json::{Value, json};

use crate::records::{self, Told};
use crate::users::Counted;

/// Most names in an event.
const MOST_NAMES: usize = 10_000;
/// Most nodes in the sentence for people, and with a metric of their own.
const MOST_SHOWN_NODES: usize = 10;
const MOST_METRICS: usize = 200;
/// Bytes of events in a second, on average: 170 MB a day when somebody comes or goes all the time.
const BYTES_PER_SECOND: u64 = 2_000;

/// What has been told.
#[derive(Debug)]
pub(crate) struct Teller {
    told: Told,
    /// Digest of the facts that were told last; none before the first since the start.
    last: Option<u64>,
}

impl Teller {
    pub(crate) fn new(told: Told) -> Self {
        Self { told, last: None }
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
        self.last = Some(digest);
        records::save_told(&host.storage(), &self.told).await?;
        Ok(Duration::from_millis((text.len() as u64).saturating_mul(1000) / BYTES_PER_SECOND))
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
    let names = &counted.users[..counted.users.len().min(MOST_NAMES)];
    json!({
        "message": sentence(counted),
        "activeUsers": { "count": counted.users.len(), "users": names, "nodes": counted.nodes },
    })
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
