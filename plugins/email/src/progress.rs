//! Which recipients of a delivery are settled.
//!
//! It is handed to the host with each `retry`. A delivery that takes long notes it in the storage as well: a stop, a crash
//! or the end of its time then costs a second mail to a few, not to hundreds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use butler_plugin_api::{Delivery, Host};
use lettre::Address;
use serde_json::{Value, json};

use crate::throttle::hash;

/// How often a delivery that takes long is noted.
const EVERY: Duration = Duration::from_secs(2);
/// How long a note is kept: longer than deliveries are tried by default.
const KEPT: Duration = Duration::from_hours(72);
/// Bytes of a recipient's name in the record.
const NAME: usize = 12;
/// Most recipients in the record, so that it stays below the 16 KB that the host keeps. What is beyond may be sent twice.
const MOST: usize = 1300;

/// The settled recipients of a delivery.
pub(crate) struct Progress {
    host: Host,
    key: String,
    sent: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Held back by the throttle.
    held: BTreeSet<String>,
    noted: Instant,
    /// There is a note in the storage.
    kept: bool,
}

impl Progress {
    /// What earlier attempts have achieved. Who retries a dead delivery by hand, which begins with attempt 1 again, has put
    /// right what was refused.
    pub(crate) async fn of(delivery: &Delivery, host: &Host) -> Self {
        let key = format!("progress/{}", delivery.delivery_id);
        let note = if delivery.attempt > 1 { host.storage().get(&key).await.unwrap_or_default() } else { None };
        let (mut sent, mut refused, mut held) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for value in delivery.progress.iter().chain(&note) {
            sent.extend(names(&value["sent"]));
            if delivery.attempt > 1 {
                refused.extend(names(&value["refused"]));
            }
            held.extend(names(&value["held"]));
        }
        Self { host: host.clone(), key, sent, refused, held, noted: Instant::now(), kept: note.is_some() }
    }

    /// Whether a recipient has the mail, was refused for good, or is held back by the throttle.
    pub(crate) fn is_settled(&self, address: &Address) -> bool {
        let name = hash(address);
        [&self.sent, &self.refused, &self.held].into_iter().any(|names| names.contains(&name))
    }

    /// Everybody was refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.sent.is_empty() && self.held.is_empty() && !self.refused.is_empty()
    }

    /// Somebody has it.
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    pub(crate) fn sent(&mut self, address: &Address) {
        self.sent.insert(hash(address));
    }

    pub(crate) fn held(&mut self, address: &Address) {
        self.held.insert(hash(address));
    }

    pub(crate) fn refused(&mut self, address: &Address) {
        self.refused.insert(hash(address));
    }

    /// Notes it in the storage, from time to time. Best effort: without it some may get a second mail after a crash.
    pub(crate) async fn note(&mut self) {
        if self.noted.elapsed() < EVERY {
            return;
        }
        match self.host.storage().set(&self.key, &self.value(), Some(KEPT)).await {
            Ok(()) => self.kept = true,
            Err(error) => tracing::debug!("how far the delivery is cannot be noted: {error}"),
        }
        self.noted = Instant::now();
    }

    /// For the host, or none where nothing was achieved.
    pub(crate) fn for_host(&self) -> Option<Value> {
        [&self.sent, &self.refused, &self.held].into_iter().any(|names| !names.is_empty()).then(|| self.value())
    }

    /// The delivery has its outcome: the host has what is in the note, or nobody needs it any more.
    pub(crate) async fn done(&self) {
        if self.kept {
            let _ = self.host.storage().delete(&self.key).await;
        }
    }

    fn value(&self) -> Value {
        let mut left = MOST;
        let [sent, refused, held] = [&self.sent, &self.refused, &self.held].map(|names| {
            let shown: Vec<&str> = names.iter().take(left).map(String::as_str).collect();
            left -= shown.len();
            shown.concat()
        });
        json!({ "sent": sent, "refused": refused, "held": held })
    }
}

fn names(value: &Value) -> impl Iterator<Item = String> {
    let text = value.as_str().unwrap_or_default().as_bytes();
    text.chunks_exact(NAME).map(|name| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery};

    use super::*;

    fn address(number: usize) -> Address {
        format!("somebody.with.a.long.name.{number}@department.of.a.large.company.example.com").parse().unwrap()
    }

    #[test]
    fn three_hundred_recipients_and_more_fit_and_come_back() {
        let fake = FakeHost::new("email");
        let mut delivery = sample_delivery("reload-task.failed");
        let mut progress = block_on(Progress::of(&delivery, &fake.host()));
        assert_eq!(progress.for_host(), None);
        (0..1000).for_each(|number| progress.sent(&address(number)));
        (1000..2000).for_each(|number| progress.refused(&address(number)));
        let value = progress.for_host().unwrap();
        assert!(value.to_string().len() <= 16 << 10, "{}", value.to_string().len());
        (delivery.progress, delivery.attempt) = (Some(value), 2);
        let back = block_on(Progress::of(&delivery, &fake.host()));
        assert!((0..1000).all(|number| back.is_settled(&address(number))));
        assert_eq!((1000..2000).filter(|number| back.is_settled(&address(*number))).count(), MOST - 1000);
        assert!(!back.is_settled(&address(2000)));
        let upper: Address = address(7).to_string().to_uppercase().parse().unwrap();
        assert!(back.is_settled(&upper));
    }

    #[test]
    fn a_retry_by_hand_asks_who_was_refused_again() {
        let fake = FakeHost::new("email");
        let mut delivery = sample_delivery("reload-task.failed");
        let mut progress = block_on(Progress::of(&delivery, &fake.host()));
        progress.sent(&address(1));
        progress.refused(&address(2));
        delivery.progress = progress.for_host();
        for (attempt, refused) in [(2, true), (1, false)] {
            delivery.attempt = attempt;
            let progress = block_on(Progress::of(&delivery, &fake.host()));
            assert_eq!([1, 2].map(|number| progress.is_settled(&address(number))), [true, refused]);
        }
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        let fake = FakeHost::new("email");
        let mut delivery = sample_delivery("reload-task.failed");
        for value in [json!(1), json!({ "sent": 1 }), json!({ "sent": "äöüäöüäöü" }), json!({ "sent": ["a"] })]
        {
            delivery.progress = Some(value);
            assert!(!block_on(Progress::of(&delivery, &fake.host())).is_settled(&address(1)));
        }
    }

    #[test]
    fn a_note_survives_what_the_host_never_heard_of() {
        let fake = FakeHost::new("email");
        let mut delivery = sample_delivery("reload-task.failed");
        let mut progress = block_on(Progress::of(&delivery, &fake.host()));
        progress.sent(&address(1));
        block_on(progress.note());
        assert_eq!(fake.stored("progress/sample-d1"), None, "short deliveries are not noted");
        progress.noted = Instant::now().checked_sub(EVERY).unwrap();
        block_on(progress.note());
        delivery.attempt = 2;
        let back = block_on(Progress::of(&delivery, &fake.host()));
        assert!(back.is_settled(&address(1)) && back.has_sent());
        block_on(back.done());
        assert_eq!(fake.stored("progress/sample-d1"), None);
    }
}
