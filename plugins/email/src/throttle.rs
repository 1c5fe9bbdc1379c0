//! At most one mail in a time about one thing to one recipient.
//!
//! A window begins with the mail that is let through. It is claimed in the storage before the mail is sent, so that it
//! holds after a restart and for deliveries side by side, and it is given back when the mail did not go out. A delivery
//! that is repeated finds its own claim and is let through.
//!
//! One record for each thing (task, service, app) and kind of event; it counts for each recipient what was held back. The
//! count, if there is one, is kept for a week after the window: the next mail tells it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use butler_plugin_api::{Event, Host, ServiceError};
use lettre::Address;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

/// How long what was held back is remembered after the window.
const MEMORY: Duration = Duration::from_hours(168);

/// The throttle of an instance.
pub(crate) struct Throttle {
    every: Duration,
    host: Host,
    /// Records are read, changed and written by one at a time.
    turn: Mutex<()>,
    /// The storage does not work, and that was said.
    fails: AtomicBool,
}

/// What is let through.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Claim {
    /// Recipients that get a mail, with the number of mails that were held back from them.
    pub(crate) granted: Vec<(Address, u64)>,
    /// Recipients that get none now.
    pub(crate) held: Vec<Address>,
    /// How long that lasts for the last of them.
    pub(crate) lasts: Duration,
    /// The key of the record; none if nothing was claimed.
    key: Option<String>,
}

/// Recipient to window.
type Record = BTreeMap<String, Window>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Window {
    /// Milliseconds since 1970.
    until: u64,
    /// The delivery that claimed it; none once it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<String>,
    /// Mails held back since the last one that was sent.
    #[serde(default)]
    held: u64,
    /// What the claiming delivery tells: it comes back with the claim.
    #[serde(default)]
    told: u64,
}

impl Throttle {
    pub(crate) fn new(every: Duration, host: Host) -> Self {
        Self { every, host, turn: Mutex::new(()), fails: AtomicBool::new(false) }
    }

    /// Claims a window for each recipient that is not in one. A storage that does not work lets all through.
    pub(crate) async fn claim(&self, event: &Event, delivery: &str, to: Vec<Address>) -> Claim {
        let Some(key) = key(event) else { return Claim::all(to) };
        let _turn = self.turn.lock().await;
        let claimed = async {
            let mut record = self.read(&key).await?;
            let claim = claim(&mut record, &to, delivery, now(), self.every);
            self.write(&key, &record).await?;
            Ok::<_, ServiceError>(claim)
        };
        match claimed.await {
            Ok(claim) => {
                self.fails.store(false, Ordering::Relaxed);
                Claim { key: Some(key), ..claim }
            }
            Err(error) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    tracing::warn!("mails are not throttled until the storage works again: {error}");
                }
                Claim::all(to)
            }
        }
    }

    /// Gives back the windows of those who did not get the mail.
    pub(crate) async fn give_back(&self, claim: &Claim, delivery: &str, without: &[Address]) {
        let Some(key) = claim.key.as_ref().filter(|_| !without.is_empty()) else { return };
        let _turn = self.turn.lock().await;
        let given = async {
            let mut record = self.read(key).await?;
            give_back(&mut record, without, delivery);
            self.write(key, &record).await
        };
        if let Err(error) = given.await {
            tracing::warn!(
                "the throttle holds for mails that did not go out, since the storage does not work: {error}"
            );
        }
    }

    async fn read(&self, key: &str) -> Result<Record, ServiceError> {
        let value = self.host.storage().get(key).await?.unwrap_or_default();
        // What another version wrote, perhaps: then nobody is in a window.
        Ok(serde_json::from_value(value).unwrap_or_default())
    }

    async fn write(&self, key: &str, record: &Record) -> Result<(), ServiceError> {
        let value = serde_json::to_value(record).map_err(|error| ServiceError::Failed(error.to_string()))?;
        let untold = record.values().any(|window| window.held > 0);
        let memory = if untold { self.every.saturating_add(MEMORY) } else { self.every };
        self.host.storage().set(key, &value, Some(memory)).await
    }
}

impl Claim {
    /// Without a throttle.
    pub(crate) fn all(to: Vec<Address>) -> Self {
        Self { granted: to.into_iter().map(|to| (to, 0)).collect(), ..Self::default() }
    }
}

/// What a throttle is about: the task, the service on its host, or the app; each kind of event has its own. Events about
/// nothing of the kind are not throttled.
fn key(event: &Event) -> Option<String> {
    let data = &event.data;
    let subject = if let Some(task) = &data.task {
        task.id.clone()
    } else if let Some(service) = &data.service {
        format!("{}|{}", service.host.as_deref().unwrap_or_default(), service.name.as_deref().unwrap_or_default())
    } else {
        data.app.as_ref()?.id.clone()
    };
    // A hash: names can be longer than keys may be.
    Some(format!("throttle/{}", hex(&Sha256::digest(format!("{}|{subject}", event.kind)))))
}

/// A recipient's short name in records: the same however the address is written.
pub(crate) fn hash(address: &Address) -> String {
    hex(&Sha256::digest(address.to_string().to_lowercase())[..6])
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn claim(record: &mut Record, to: &[Address], delivery: &str, now: u64, every: Duration) -> Claim {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    // By the wall clock: a window that ends later than one can that begins now is from before the clock was set back.
    let open =
        |window: &Window| window.delivery.is_some() && now < window.until && window.until <= now.saturating_add(every);
    record.retain(|_, window| window.held > 0 || open(window));
    let mut claim = Claim::default();
    for address in to {
        let window = record.entry(hash(address)).or_insert(Window { until: 0, delivery: None, held: 0, told: 0 });
        let own = window.delivery.as_deref() == Some(delivery);
        if open(window) && !own {
            window.held += 1;
            claim.held.push(address.clone());
            claim.lasts = claim.lasts.max(Duration::from_millis(window.until - now));
            continue;
        }
        if !own {
            window.told = std::mem::take(&mut window.held);
            window.delivery = Some(delivery.to_owned());
        }
        if !open(window) {
            window.until = now.saturating_add(every);
        }
        claim.granted.push((address.clone(), window.told));
    }
    claim
}

fn give_back(record: &mut Record, without: &[Address], delivery: &str) {
    for address in without {
        let name = hash(address);
        let Some(window) = record.get_mut(&name) else { continue };
        if window.delivery.as_deref() != Some(delivery) {
            continue;
        }
        window.held += std::mem::take(&mut window.told);
        window.delivery = None;
        window.until = 0;
        if window.held == 0 {
            record.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
