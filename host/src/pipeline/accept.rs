//! Datagrams become stored events.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::ingest::{self, Datagram, Heard, LogLimiter, Running};
use crate::store::{Accepted, NewEvent, Store, StoreError};

/// Datagrams in one commit.
const BATCH: usize = 2000;

/// Parses what the socket received and stores it, until the socket is stopped and its buffer is empty.
pub async fn accept_datagrams(udp: Arc<Running>, store: Store, accepted: Arc<Notify>) {
    let limiter = LogLimiter::default();
    while let Some(datagrams) = udp.next_batch(BATCH).await {
        let events: Arc<[NewEvent]> = datagrams.iter().filter_map(|datagram| parse(&udp, &limiter, datagram)).collect();
        if !events.is_empty() && !store_all(&udp, &store, &events).await {
            return tell_rest(&udp).await;
        }
        accepted.notify_one();
    }
}

/// The store is closed: says how much is left in the buffer until the socket is stopped.
async fn tell_rest(udp: &Running) {
    let mut events = 0;
    while let Some(datagrams) = udp.next_batch(BATCH).await {
        events += datagrams.iter().filter(|datagram| ingest::parse(&datagram.bytes).is_ok()).count();
    }
    if events > 0 {
        tracing::error!(events, "the store was closed before received events could be stored");
    }
}

/// Stores events; false when the store is closed. While the disk is full the store lets this wait.
async fn store_all(udp: &Running, store: &Store, events: &Arc<[NewEvent]>) -> bool {
    let answers = match store.accept(events.clone()).await {
        Ok(answers) => answers,
        Err(StoreError::Closed) => {
            tracing::error!(events = events.len(), "the store was closed before received events could be stored");
            return false;
        }
        Err(error) if events.len() == 1 => {
            tracing::error!(%error, event = ?events[0], "an event cannot be stored and is lost; please report this");
            return true;
        }
        Err(_) => {
            // One of them is at fault: the others must not suffer.
            for event in events.iter() {
                if !Box::pin(store_all(udp, store, &Arc::from([event.clone()]))).await {
                    return false;
                }
            }
            return true;
        }
    };
    let duplicates = answers.iter().filter(|answer| matches!(answer, Accepted::Duplicate(_))).count();
    udp.counters().processed.add((answers.len() - duplicates) as u64);
    udp.counters().duplicates.add(duplicates as u64);
    true
}

fn parse(udp: &Running, limiter: &LogLimiter, datagram: &Datagram) -> Option<NewEvent> {
    match ingest::parse(&datagram.bytes) {
        Ok(heard) => Some(event(heard, datagram.received_ms)),
        Err(reject) => {
            udp.counters().add_reject(&reject);
            if let Some(suppressed) = limiter.admit(reject.reason()) {
                tracing::warn!(from = %datagram.from, reason = reject.reason(), suppressed, "a datagram is no event: {reject}");
            }
            None
        }
    }
}

/// Until Qlik Sense tells the end of the execution, an event happened when it was received: the log line's own time is
/// local time of a server whose time zone is not known.
fn event(heard: Heard, received_ms: i64) -> NewEvent {
    NewEvent {
        keys: ingest::keys(&heard, received_ms),
        kind: heard.kind,
        time: received_ms,
        received: received_ms,
        source: "udp".to_owned(),
        data: heard.data,
    }
}
