//! Datagrams become stored events.

use std::sync::Arc;
use std::time::Instant;

use butler_plugin_api::Event;
use tokio::sync::{Notify, mpsc};

use crate::config::Patterns;
use crate::ingest::{self, Datagram, Heard, LogLimiter, Running, Seal, Together};
use crate::observe::{Road, Roads};
use crate::store::{Accepted, NewEvent, Store, StoreError};

/// Datagrams in one commit: the more, the fewer pages are written for each.
const BATCH: usize = 2000;

/// Events of one commit, and when their datagrams were received.
struct Parsed {
    events: Arc<[NewEvent]>,
    received: Vec<Together>,
}

/// Parses what the sockets received and stores it, until they are stopped and the buffer is empty. The next batch is
/// parsed while one is stored. `excluded`: users whose sessions and connections are only counted. `seal`: by which samples
/// are known that tell of nothing real.
pub async fn accept_datagrams(
    udp: Arc<Running>,
    excluded: Patterns,
    seal: Seal,
    store: Store,
    accepted: Arc<Notify>,
    roads: Arc<Roads>,
) {
    let _taking = udp.taking();
    let (parsed, storing) = mpsc::channel(1);
    let (unread, unstored) =
        tokio::join!(parse_all(&udp, &excluded, &seal, &roads, parsed), store_all(&udp, &store, &accepted, storing));
    let events = unread + unstored;
    if events > 0 {
        // Once, however many batches there were.
        tracing::error!(events, "the store was closed before received events could be stored");
    }
}

/// Answers how many events came after the store was closed.
async fn parse_all(
    udp: &Running,
    excluded: &Patterns,
    seal: &Seal,
    roads: &Roads,
    parsed: mpsc::Sender<Parsed>,
) -> usize {
    let (limiter, timing) = (LogLimiter::default(), &udp.counters().timing);
    while let Some(datagrams) = udp.next_batch(BATCH).await {
        timing.begin(datagrams.len());
        let mut received = Vec::new();
        let parse = |datagram| {
            let event = parse(udp, excluded, seal, &limiter, datagram)?;
            ingest::note(&mut received, datagram.received);
            Some(event)
        };
        let events: Arc<[NewEvent]> = datagrams.iter().filter_map(parse).collect();
        timing.end(datagrams.len() - events.len());
        if events.is_empty() {
            // In a flood of rubbish nothing else would ever wait here.
            tokio::task::yield_now().await;
            continue;
        }
        for event in events.iter().filter(|event| event.source != Event::TEST) {
            if let Some(node) = &event.data.node {
                roads.heard(node, Road::Udp, event.received);
            }
        }
        if let Err(refused) = parsed.send(Parsed { events, received }).await {
            return refused.0.events.len() + count_rest(udp).await;
        }
    }
    0
}

/// Stores what was parsed, until nothing more comes or the store is closed. Answers how many events it was closed before.
async fn store_all(udp: &Running, store: &Store, accepted: &Notify, mut parsed: mpsc::Receiver<Parsed>) -> usize {
    let timing = &udp.counters().timing;
    while let Some(Parsed { events, received }) = parsed.recv().await {
        if let Err(Lost(mut lost)) = store_some(udp, store, &events, &received).await {
            parsed.close();
            while let Some(parsed) = parsed.recv().await {
                lost += parsed.events.len();
            }
            return lost;
        }
        timing.end(events.len());
        accepted.notify_one();
    }
    0
}

/// The store is closed: counts what is left in the buffer until the socket is stopped.
async fn count_rest(udp: &Running) -> usize {
    let mut events = 0;
    while let Some(datagrams) = udp.next_batch(BATCH).await {
        events += datagrams.iter().filter(|datagram| ingest::parse(&datagram.bytes).is_ok()).count();
    }
    events
}

/// The store was closed before so many events were stored.
struct Lost(usize);

/// Stores events, which were received at these times. While the disk is full the store lets this wait.
async fn store_some(udp: &Running, store: &Store, events: &Arc<[NewEvent]>, received: &[Together]) -> Result<(), Lost> {
    let counters = udp.counters();
    let answers = match store.accept(events.clone()).await {
        Ok(answers) => answers,
        Err(StoreError::Closed) => return Err(Lost(events.len())),
        Err(error) if events.len() == 1 => {
            tracing::error!(%error, event = ?events[0], "an event cannot be stored and is lost; please report this");
            return Ok(());
        }
        Err(_) => {
            // One of them is at fault: the others must not suffer.
            for (done, event) in events.iter().enumerate() {
                let stored = Box::pin(store_some(udp, store, &Arc::from([event.clone()]), &[])).await;
                stored.map_err(|_| Lost(events.len() - done))?;
            }
            counters.timing.stored(received, Instant::now());
            return Ok(());
        }
    };
    let duplicates = answers.iter().filter(|answer| matches!(answer, Accepted::Duplicate(_))).count();
    // First, so that whoever sees that something was processed sees how long it took.
    counters.timing.stored(received, Instant::now());
    counters.processed.add((answers.len() - duplicates) as u64);
    counters.duplicates.add(duplicates as u64);
    Ok(())
}

fn parse(
    udp: &Running,
    excluded: &Patterns,
    seal: &Seal,
    limiter: &LogLimiter,
    datagram: &Datagram,
) -> Option<NewEvent> {
    match ingest::parse(&datagram.bytes) {
        Ok(heard) if heard.is_session() && heard.data.user.as_ref().is_some_and(|user| excluded.fit(user)) => {
            udp.counters().excluded.add(1);
            None
        }
        Ok(mut heard) => {
            let source = if seal.take_off(&datagram.bytes, &mut heard) { Event::TEST } else { "udp" };
            Some(event(heard, source, datagram.received_ms))
        }
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
fn event(heard: Heard, source: &str, received_ms: i64) -> NewEvent {
    NewEvent {
        keys: ingest::keys(&heard, received_ms),
        kind: heard.kind,
        time: received_ms,
        received: received_ms,
        source: source.to_owned(),
        data: heard.data,
    }
}
