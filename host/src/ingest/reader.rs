//! The thread that reads one socket: source, size and rate are checked, what passes is copied into the buffer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::buffer::{Buffer, Datagram};
use super::counters::{Counters, DropReason, LogLimiter};
use super::faults::Fault;
use super::guard::{Guard, RateLimit, Resolving};
use super::receive::{Packet, Receiver};

/// How long a read waits before it looks whether to stop.
pub(super) const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a stop may go on taking what the system holds, should senders never pause.
const LAST_READS: Duration = Duration::from_millis(500);
/// How long names of the allow list may take to resolve before receiving begins without them.
const FIRST_NAMES: Duration = Duration::from_secs(5);

/// Ends the buffer when the last thread ends, even by a panic: nobody then waits for ever.
#[derive(Debug)]
pub(super) struct CloseOnDrop(pub(super) Arc<Buffer>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the threads of all sockets share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) guard: Arc<Guard>,
    pub(super) resolving: Option<Arc<Resolving>>,
    pub(super) buffer: Arc<CloseOnDrop>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) logs: Arc<LogLimiter>,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Shared,
    rate_limit: Option<RateLimit>,
    fault: Fault,
    batch: Vec<Datagram>,
}

impl Reader {
    pub(super) fn new(shared: Shared, rate_limit: Option<RateLimit>, fault: Fault) -> Self {
        Self { shared, rate_limit, fault, batch: Vec::new() }
    }

    /// Reads until it is told to stop. `longest`: of a datagram, in bytes.
    pub(super) fn run(mut self, socket: UdpSocket, longest: usize) {
        let mut receiver = Receiver::new(socket, longest);
        let begun = Instant::now();
        if let Some(names) = &self.shared.resolving {
            // The system keeps what arrives meanwhile.
            while !names.wait_first(READ_TIMEOUT) && begun.elapsed() < FIRST_NAMES && !self.stopping() {}
        }
        while !self.stopping() {
            let read = self.read(&mut receiver);
            if read.is_ok() {
                self.fault.is_well();
            }
            if let Err(error) = read {
                self.fault.failed(&error);
                self.shared.counters.receive_errors.add(1);
                if let Some(suppressed) = self.shared.logs.admit("receive") {
                    tracing::error!(%error, suppressed, "receiving UDP messages fails, it is tried again");
                }
                // An error that stays must not spin.
                std::thread::sleep(READ_TIMEOUT);
            }
        }
        // What the system holds was sent before the stop.
        let last = Instant::now() + LAST_READS;
        if receiver.socket().set_nonblocking(true).is_ok() {
            while Instant::now() < last && self.read(&mut receiver).is_ok_and(|count| count > 0) {}
        }
        // Freed before the buffer is closed: whoever sees the end may bind the address again.
        drop(receiver);
    }

    fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Reads once, and hands on what came.
    fn read(&mut self, receiver: &mut Receiver) -> io::Result<usize> {
        // One look at the clocks serves a batch; taken with its first datagram, since the wait for it may be long.
        let mut clocks = None;
        let count = receiver.receive(|packet| {
            let (now, received_ms) = *clocks.get_or_insert_with(|| (Instant::now(), unix_ms()));
            match packet {
                Packet::Whole { bytes, from } if self.admits(from, now) => {
                    self.batch.push(Datagram { bytes: bytes.to_vec(), from, received_ms, received: now });
                }
                Packet::TooLong { from } if from.is_none_or(|from| self.knows(from)) => {
                    self.shared.counters.received.add(1);
                    self.dropped(DropReason::Size, 1, from);
                }
                Packet::Whole { .. } | Packet::TooLong { .. } => {}
            }
        })?;
        if let Some(limit) = &self.rate_limit {
            limit.publish();
        }
        let taken = self.batch.len();
        if taken > 0 {
            let (kept, bytes) = self.shared.buffer.0.push(&mut self.batch);
            let counters = &self.shared.counters;
            counters.received.add(taken as u64);
            counters.queued.add(kept as u64);
            counters.queued_bytes.add(bytes as u64);
            if kept < taken {
                self.dropped(DropReason::BufferFull, (taken - kept) as u64, None);
            }
        }
        Ok(count)
    }

    fn admits(&mut self, from: SocketAddr, now: Instant) -> bool {
        if !self.knows(from) {
            return false;
        }
        if self.rate_limit.as_mut().is_some_and(|limit| !limit.admits(now)) {
            self.shared.counters.received.add(1);
            self.dropped(DropReason::RateLimit, 1, Some(from));
            return false;
        }
        true
    }

    fn knows(&self, from: SocketAddr) -> bool {
        let known = self.shared.guard.allows(from.ip());
        if !known {
            self.dropped(DropReason::Source, 1, Some(from));
        }
        known
    }

    /// Counts drops, and says so at most once a minute per reason.
    fn dropped(&self, reason: DropReason, count: u64, from: Option<SocketAddr>) {
        self.shared.counters.add_drop(reason, count);
        let Some(suppressed) = self.shared.logs.admit(reason.label()) else { return };
        let from = from.map_or_else(|| "unknown".to_owned(), |from| from.ip().to_canonical().to_string());
        let remedy = match reason {
            DropReason::Source => "its sender is not in `udp.allowFrom`",
            DropReason::Size => "it is longer than `udp.maxSize`",
            DropReason::RateLimit => "there are more than `udp.maxPerMinute`",
            DropReason::BufferFull => "the buffer is full: the store does not keep up",
        };
        tracing::warn!(udp.drop = reason.label(), udp.from = from, suppressed, "a UDP message is dropped: {remedy}");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A panic: nobody asked it to end.
        if !self.stopping() {
            tracing::error!(
                "a thread that receives UDP messages has ended, they are lost: restart Butler and report this"
            );
            self.fault.abandoned();
        }
    }
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
