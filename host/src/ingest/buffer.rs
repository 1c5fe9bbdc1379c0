//! The buffer between the receiving thread and the pipeline.
//!
//! Bounded by bytes, overhead included. When it is full the newest datagram is dropped and counted by the caller: what
//! was accepted first is kept. One lock and one wake-up serve a whole batch on both sides.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// How much the buffer of the daemon holds, in bytes.
pub const CAPACITY: usize = 16 << 20;

/// What a datagram costs beside its bytes: its place in the queue (which may have doubled) and its allocation.
const OVERHEAD: usize = 2 * size_of::<Datagram>();

/// A batch ends with the datagram that reaches so many bytes: a flood of long ones must not hold up everything else while
/// they are read.
const BATCH_BYTES: usize = 2 << 20;
/// Room that an empty queue keeps after a burst, in datagrams.
const KEPT_ROOM: usize = 4096;

/// A datagram as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub from: SocketAddr,
    /// When it was received, in milliseconds since 1970 UTC.
    pub received_ms: i64,
    /// The same by a clock that nobody sets, to measure with.
    pub received: Instant,
}

impl Datagram {
    fn cost(&self) -> usize {
        self.bytes.capacity() + OVERHEAD
    }
}

/// What waits in a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Datagrams.
    pub datagrams: usize,
    /// Bytes, overhead included.
    pub bytes: usize,
}

/// A queue of datagrams, bounded by bytes.
#[derive(Debug)]
pub struct Buffer {
    capacity: usize,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Datagram>,
    bytes: usize,
    closed: bool,
}

impl Buffer {
    /// An empty buffer that holds `capacity` bytes, overhead included.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), arrived: Notify::new() }
    }

    /// Bytes that it holds, overhead included.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends the datagrams that fit and takes all out of `batch`.
    ///
    /// Answers the number and the bytes (without overhead) of those that were kept.
    pub fn push(&self, batch: &mut Vec<Datagram>) -> (usize, usize) {
        let (mut kept, mut kept_bytes) = (0, 0);
        let mut state = self.lock();
        for datagram in batch.drain(..) {
            let cost = datagram.cost();
            if state.closed || state.bytes + cost > self.capacity {
                continue;
            }
            kept += 1;
            kept_bytes += datagram.bytes.len();
            state.bytes += cost;
            state.queue.push_back(datagram);
        }
        drop(state);
        if kept > 0 {
            self.arrived.notify_one();
        }
        (kept, kept_bytes)
    }

    /// Ends the buffer: nothing more is taken in, what waits is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_waiters();
        self.arrived.notify_one();
    }

    /// Whether it takes in nothing more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for datagrams and takes out at most `max` (at least one), oldest first; `None` once closed and empty.
    ///
    /// Cancelling the wait loses nothing.
    pub async fn next_batch(&self, max: usize) -> Option<Vec<Datagram>> {
        loop {
            // Registered before looking, so that what arrives in between wakes this wait.
            let mut arrived = pin!(self.arrived.notified());
            arrived.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.queue.is_empty() {
                    return Some(self.take(&mut state, max.max(1)));
                }
                if state.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// What waits now.
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        Usage { datagrams: state.queue.len(), bytes: state.bytes }
    }

    fn take(&self, state: &mut State, max: usize) -> Vec<Datagram> {
        let (mut count, mut bytes) = (0, 0);
        for datagram in state.queue.iter().take(max) {
            count += 1;
            bytes += datagram.cost();
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        let batch: Vec<_> = state.queue.drain(..count).collect();
        state.bytes -= bytes;
        if !state.queue.is_empty() {
            // Another consumer may wait for the rest.
            self.arrived.notify_one();
        } else if state.queue.capacity() > KEPT_ROOM {
            state.queue.shrink_to(KEPT_ROOM);
        }
        batch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn datagrams(range: std::ops::Range<u8>) -> Vec<Datagram> {
        let (from, received) = (([127, 0, 0, 1], 1).into(), Instant::now());
        let one = |n| Datagram { bytes: vec![n; 10], from, received_ms: 0, received };
        range.map(one).collect()
    }

    fn numbers(batch: &[Datagram]) -> Vec<u8> {
        batch.iter().map(|datagram| datagram.bytes[0]).collect()
    }

    #[tokio::test]
    async fn a_full_buffer_drops_the_newest_and_has_room_again_when_drained() {
        let buffer = Buffer::new(3 * (OVERHEAD + 10));
        assert_eq!(buffer.push(&mut datagrams(0..5)), (3, 30));
        assert_eq!(buffer.usage(), Usage { datagrams: 3, bytes: 3 * (OVERHEAD + 10) });
        assert_eq!(numbers(&buffer.next_batch(2).await.unwrap()), [0, 1]);
        assert_eq!(buffer.push(&mut datagrams(5..9)), (2, 20));
        assert_eq!(numbers(&buffer.next_batch(100).await.unwrap()), [2, 5, 6]);
        assert_eq!(buffer.usage(), Usage::default());
    }

    #[tokio::test]
    async fn a_closed_buffer_hands_out_the_rest_and_then_ends() {
        let buffer = Buffer::new(CAPACITY);
        buffer.push(&mut datagrams(0..2));
        buffer.close();
        assert_eq!(buffer.push(&mut datagrams(2..3)), (0, 0));
        assert_eq!(numbers(&buffer.next_batch(9).await.unwrap()), [0, 1]);
        assert_eq!(buffer.next_batch(9).await, None);
        assert_eq!(buffer.next_batch(9).await, None);
    }

    #[tokio::test]
    async fn several_waiting_consumers_get_each_datagram_once_and_all_end() {
        let buffer = Arc::new(Buffer::new(CAPACITY));
        let consumer = |buffer: Arc<Buffer>| async move {
            let mut got = Vec::new();
            while let Some(batch) = buffer.next_batch(3).await {
                got.extend(numbers(&batch));
                tokio::task::yield_now().await;
            }
            got
        };
        let consumers: Vec<_> = (0..4).map(|_| tokio::spawn(consumer(buffer.clone()))).collect();
        for start in 0..20 {
            buffer.push(&mut datagrams(start * 10..start * 10 + 10));
            tokio::task::yield_now().await;
        }
        buffer.close();
        let mut all = Vec::new();
        for consumer in consumers {
            all.extend(consumer.await.unwrap());
        }
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<u8>>());
    }
}
