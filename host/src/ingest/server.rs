//! Reception by UDP: the sockets of the config, and the threads that read them.
//!
//! [`UdpServer::bind`] checks everything that can be wrong, [`UdpServer::start`] begins to receive. Every socket has a
//! thread (`reader`) that never waits for anything but its socket, and all of them fill one [`Buffer`] and count
//! together. A stop takes what the system still holds for the sockets and closes the buffer, which is then drained.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::buffer::{Buffer, CAPACITY, Datagram};
use super::counters::{Counters, Snapshot};
use super::faults::{Fault, Faults};
use super::guard::{Guard, RateLimit, Window};
use super::reader::{CloseOnDrop, READ_TIMEOUT, Reader, Shared};
use super::socket::{BindError, Bound, kernel_drops};
use crate::config::Udp;

/// Longest UDP datagram over IPv4, in bytes.
const LONGEST: usize = 65_507;

/// Bound sockets that are not read yet; the system already keeps what arrives.
#[derive(Debug)]
pub struct UdpServer {
    main: Bound,
    sessions: Option<Bound>,
    guard: Guard,
    longest: usize,
    max_per_minute: Option<NonZeroU32>,
    capacity: usize,
}

impl UdpServer {
    /// Binds the addresses of the config.
    pub fn bind(config: &Udp) -> Result<Self, BindError> {
        let guard = Guard::new(config.allow_from.as_deref())?;
        let main = Bound::new(config.listen, "udp.listen")?;
        let sessions = config.sessions.listen.map(|address| Bound::new(address, "udp.sessions.listen"));
        Ok(Self {
            main,
            sessions: sessions.transpose()?,
            guard,
            longest: config.max_size.as_usize().min(LONGEST),
            max_per_minute: config.max_per_minute.and_then(NonZeroU32::new),
            capacity: CAPACITY,
        })
    }

    /// The bound address of `udp.listen`, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.main.local_addr
    }

    /// Begins to receive. Fails only when the system grants no thread.
    pub fn start(self) -> io::Result<Running> {
        let sessions_addr = self.sessions.as_ref().map(|bound| bound.local_addr);
        let local_addr = self.main.local_addr;
        let sockets: Vec<Bound> = [Some(self.main), self.sessions].into_iter().flatten().collect();
        let mut running = Running {
            local_addr,
            sessions_addr,
            inodes: sockets.iter().map(Bound::inode).collect(),
            guard: Arc::new(self.guard),
            buffer: Arc::new(Buffer::new(self.capacity)),
            counters: Arc::default(),
            faults: Arc::default(),
            windows: Vec::new(),
            stop: Arc::default(),
            untaken: AtomicBool::new(false),
        };
        let shared = Shared {
            resolving: running.guard.keep_resolved()?.map(Arc::new),
            guard: Arc::clone(&running.guard),
            buffer: Arc::new(CloseOnDrop(Arc::clone(&running.buffer))),
            counters: Arc::clone(&running.counters),
            stop: Arc::clone(&running.stop),
            logs: Arc::default(),
        };
        for bound in sockets {
            bound.log_start(shared.guard.allows_everybody());
            bound.socket.set_read_timeout(Some(READ_TIMEOUT))?;
            // Each socket has a limit of its own: a flood of sessions must not use up what failed tasks need.
            let fault = Fault::new(bound.local_addr, Arc::clone(&running.faults));
            let limit = self.max_per_minute.map(RateLimit::new);
            running.windows.extend(limit.as_ref().map(RateLimit::published));
            let reader = Reader::new(shared.clone(), limit, fault);
            let longest = self.longest;
            std::thread::Builder::new().name("udp".into()).spawn(move || reader.run(bound.socket, longest))?;
        }
        Ok(running)
    }
}

/// Sockets that are being read. Dropping it stops.
#[derive(Debug)]
pub struct Running {
    local_addr: SocketAddr,
    sessions_addr: Option<SocketAddr>,
    /// By which the kernel's tables know the sockets.
    inodes: Vec<Option<u64>>,
    guard: Arc<Guard>,
    buffer: Arc<Buffer>,
    counters: Arc<Counters>,
    faults: Arc<watch::Sender<Faults>>,
    /// What `udp.maxPerMinute` counts, for each socket; empty without it.
    windows: Vec<Arc<Mutex<Window>>>,
    stop: Arc<AtomicBool>,
    /// Who took from the buffer has ended before the stop.
    untaken: AtomicBool,
}

/// Somebody takes from the buffer while this lives. Dropped before the stop, it is told by [`Running::trouble`].
#[derive(Debug)]
pub struct Taking<'a>(&'a Running);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if !self.0.stop.load(Ordering::Acquire) {
            tracing::error!("received UDP messages are no longer stored: restart Butler and report this");
            self.0.untaken.store(true, Ordering::Release);
        }
    }
}

impl Running {
    /// The bound address of `udp.listen`.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The bound address of `udp.sessions.listen`, if the config has one.
    pub fn sessions_addr(&self) -> Option<SocketAddr> {
        self.sessions_addr
    }

    /// The buffer to take datagrams from.
    pub fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sockets that cannot be read, as it changes.
    pub fn faults(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    /// What keeps messages from getting through, for people; `None` when nothing does, and after the stop.
    pub fn trouble(&self) -> Option<String> {
        if self.stop.load(Ordering::Acquire) {
            return None;
        }
        let mut troubles: Vec<String> =
            self.faults.borrow().iter().map(|(address, error)| format!("{address} cannot be read: {error}")).collect();
        troubles.extend(self.guard.trouble().map(str::to_owned));
        if self.buffer.is_closed() || self.untaken.load(Ordering::Acquire) {
            troubles.push("received messages are no longer stored: restart Butler and report this".to_owned());
        }
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// To be held by who takes from the buffer.
    pub fn taking(&self) -> Taking<'_> {
        Taking(self)
    }

    /// Waits for datagrams; see [`Buffer::next_batch`]. `None` after [`stop`](Self::stop), when all are handed out.
    pub async fn next_batch(&self, max: usize) -> Option<Vec<Datagram>> {
        self.buffer.next_batch(max).await
    }

    /// Asks the threads to end, and returns at once.
    ///
    /// They take what the system still holds for the sockets, free the addresses and close the buffer, usually within
    /// 0.1 s. That [`next_batch`](Self::next_batch) answers `None` proves it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Datagrams that the kernel dropped since the sockets were bound; `None` where it does not tell, and after the stop.
    pub fn kernel_drops(&self) -> Option<u64> {
        self.inodes.iter().map(|inode| kernel_drops((*inode)?)).sum()
    }

    /// Counters, use of the buffer and drops of the kernel.
    pub fn snapshot(&self) -> Snapshot {
        let (usage, now) = (self.buffer.usage(), Instant::now());
        let windows = self.windows.iter().map(|window| window.lock().unwrap_or_else(PoisonError::into_inner).used(now));
        Snapshot {
            per_minute: windows.max(),
            buffered: usage.datagrams,
            buffered_bytes: usage.bytes,
            capacity_bytes: self.buffer.capacity(),
            kernel_drops: self.kernel_drops(),
            ..self.counters.snapshot()
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
