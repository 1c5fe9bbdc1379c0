//! The UDP socket and the thread that reads it.
//!
//! [`UdpServer::bind`] checks everything that can be wrong, [`UdpServer::start`] begins to receive. The thread `udp`
//! checks source, size and rate, copies, and hands batches to the [`Buffer`]; it never waits for anything but the
//! socket. A stop takes what the system still holds for the socket and closes the buffer, which is then drained.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, Socket, Type};

use super::buffer::{Buffer, CAPACITY, Datagram};
use super::counters::{Counters, DropReason, LogLimiter, Snapshot};
use super::guard::{AllowFromError, Guard, RateLimit, Resolving};
use super::receive::{Packet, Receiver};
use crate::config::Udp;

/// Receive buffer asked of the system, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Less than this is worth a word in the log.
const SMALL_RECEIVE_BUFFER: usize = 1 << 20;
/// Longest UDP datagram over IPv4, in bytes.
const LONGEST: usize = 65_507;
/// How long a read waits before it looks whether to stop.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a stop may go on taking what the system holds, should senders never pause.
const LAST_READS: Duration = Duration::from_millis(500);
/// How long names of the allow list may take to resolve before receiving begins without them.
const FIRST_NAMES: Duration = Duration::from_secs(5);

/// Why the UDP socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses the address.
    #[error("cannot listen for UDP on {address} (`udp.listen`): {cause}; {remedy}")]
    Address {
        /// The address of the config.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
        /// What may help.
        remedy: &'static str,
    },
    /// The allow list is wrong.
    #[error(transparent)]
    AllowFrom(#[from] AllowFromError),
}

impl BindError {
    fn new(address: SocketAddr, cause: io::Error) -> Self {
        let remedy = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, perhaps another Butler, has it: stop that or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address: use 0.0.0.0 or one of its own",
            io::ErrorKind::PermissionDenied => "choose a port above 1023, or give Butler the right to use this one",
            _ => "check the address and the network of this machine",
        };
        Self::Address { address, cause, remedy }
    }
}

/// A bound socket that does not receive yet; the system already keeps what arrives.
#[derive(Debug)]
pub struct UdpServer {
    socket: UdpSocket,
    local_addr: SocketAddr,
    receive_buffer: usize,
    guard: Guard,
    longest: usize,
    rate_limit: Option<RateLimit>,
    capacity: usize,
}

impl UdpServer {
    /// Binds the address of the config.
    pub fn bind(config: &Udp) -> Result<Self, BindError> {
        let guard = Guard::new(config.allow_from.as_deref())?;
        let failed = |cause| BindError::new(config.listen, cause);
        let socket = bind(config.listen).map_err(failed)?;
        let receive_buffer = enlarge(&socket).map_err(failed)?;
        let socket = UdpSocket::from(socket);
        Ok(Self {
            local_addr: socket.local_addr().map_err(failed)?,
            socket,
            receive_buffer,
            guard,
            longest: config.max_size.as_usize().min(LONGEST),
            rate_limit: config.max_per_minute.and_then(NonZeroU32::new).map(RateLimit::new),
            capacity: CAPACITY,
        })
    }

    /// The bound address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Size of the system's receive buffer, in bytes; it may grant less than was asked.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Begins to receive. Fails only when the system grants no thread.
    pub fn start(self) -> io::Result<Running> {
        self.log_start();
        self.socket.set_read_timeout(Some(READ_TIMEOUT))?;
        let running = Running {
            local_addr: self.local_addr,
            inode: inode(&self.socket),
            buffer: Arc::new(Buffer::new(self.capacity)),
            counters: Arc::default(),
            stop: Arc::default(),
        };
        let guard = Arc::new(self.guard);
        let resolving = guard.keep_resolved()?;
        let reader = Reader {
            guard,
            rate_limit: self.rate_limit,
            buffer: CloseOnDrop(Arc::clone(&running.buffer)),
            counters: Arc::clone(&running.counters),
            stop: Arc::clone(&running.stop),
            logs: LogLimiter::default(),
            batch: Vec::new(),
        };
        let (socket, longest) = (self.socket, self.longest);
        std::thread::Builder::new()
            .name("udp".into())
            .spawn(move || reader.run(socket, longest, resolving.as_ref()))?;
        Ok(running)
    }

    fn log_start(&self) {
        let receive_buffer = self.receive_buffer;
        tracing::info!(udp.listen = %self.local_addr, udp.receive_buffer_bytes = receive_buffer, "UDP socket listens");
        if receive_buffer < SMALL_RECEIVE_BUFFER {
            let remedy = if cfg!(target_os = "linux") { "; remedy: sysctl -w net.core.rmem_max=4194304" } else { "" };
            tracing::warn!(
                udp.receive_buffer_bytes = receive_buffer,
                "the system grants a small receive buffer, bursts of UDP messages may be lost{remedy}"
            );
        }
        if self.guard.allows_everybody() && !self.local_addr.ip().to_canonical().is_loopback() {
            tracing::warn!("UDP messages are accepted from everybody: list the Sense nodes in `udp.allowFrom`");
        }
    }
}

/// A socket that is being read. Dropping it stops.
#[derive(Debug)]
pub struct Running {
    local_addr: SocketAddr,
    inode: Option<u64>,
    buffer: Arc<Buffer>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The buffer to take datagrams from.
    pub fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Waits for datagrams; see [`Buffer::next_batch`]. `None` after [`stop`](Self::stop), when all are handed out.
    pub async fn next_batch(&self, max: usize) -> Option<Vec<Datagram>> {
        self.buffer.next_batch(max).await
    }

    /// Asks the thread to end, and returns at once.
    ///
    /// The thread takes what the system still holds for the socket, frees the address and closes the buffer, usually
    /// within 0.1 s. That [`next_batch`](Self::next_batch) answers `None` proves it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Datagrams that the kernel dropped since the socket was bound; `None` where it does not tell, and after the stop.
    pub fn kernel_drops(&self) -> Option<u64> {
        let inode = self.inode?;
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        tables.iter().find_map(|table| drops_of(inode, &std::fs::read_to_string(table).ok()?))
    }

    /// Counters, use of the buffer and drops of the kernel.
    pub fn snapshot(&self) -> Snapshot {
        let usage = self.buffer.usage();
        Snapshot {
            buffered: usage.datagrams,
            buffered_bytes: usage.bytes,
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

/// Ends the buffer when the thread ends, even by a panic: nobody then waits for ever.
struct CloseOnDrop(Arc<Buffer>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread's state.
struct Reader {
    guard: Arc<Guard>,
    rate_limit: Option<RateLimit>,
    buffer: CloseOnDrop,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    logs: LogLimiter,
    batch: Vec<Datagram>,
}

impl Reader {
    fn run(mut self, socket: UdpSocket, longest: usize, resolving: Option<&Resolving>) {
        let mut receiver = Receiver::new(socket, longest);
        let begun = Instant::now();
        if let Some(names) = resolving {
            // The system keeps what arrives meanwhile.
            while !names.wait_first(READ_TIMEOUT) && begun.elapsed() < FIRST_NAMES && !self.stopping() {}
        }
        while !self.stopping() {
            if let Err(error) = self.read(&mut receiver) {
                self.counters.receive_errors.add(1);
                if let Some(suppressed) = self.logs.admit("receive") {
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
        self.stop.load(Ordering::Acquire)
    }

    /// Reads once, and hands on what came.
    fn read(&mut self, receiver: &mut Receiver) -> io::Result<usize> {
        // One look at the clocks serves a batch; taken with its first datagram, since the wait for it may be long.
        let mut clocks = None;
        let count = receiver.receive(|packet| {
            let (now, received_ms) = *clocks.get_or_insert_with(|| (Instant::now(), unix_ms()));
            match packet {
                Packet::Whole { bytes, from } if self.admits(from, now) => {
                    self.batch.push(Datagram { bytes: bytes.to_vec(), from, received_ms });
                }
                Packet::TooLong { from } if from.is_none_or(|from| self.knows(from)) => {
                    self.counters.received.add(1);
                    self.dropped(DropReason::Size, 1, from);
                }
                Packet::Whole { .. } | Packet::TooLong { .. } => {}
            }
        })?;
        let taken = self.batch.len();
        if taken > 0 {
            let (kept, bytes) = self.buffer.0.push(&mut self.batch);
            self.counters.received.add(taken as u64);
            self.counters.queued.add(kept as u64);
            self.counters.queued_bytes.add(bytes as u64);
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
            self.counters.received.add(1);
            self.dropped(DropReason::RateLimit, 1, Some(from));
            return false;
        }
        true
    }

    fn knows(&self, from: SocketAddr) -> bool {
        let known = self.guard.allows(from.ip());
        if !known {
            self.dropped(DropReason::Source, 1, Some(from));
        }
        known
    }

    /// Counts drops, and says so at most once a minute per reason.
    fn dropped(&self, reason: DropReason, count: u64, from: Option<SocketAddr>) {
        self.counters.add_drop(reason, count);
        let Some(suppressed) = self.logs.admit(reason.label()) else { return };
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

/// A bound socket. An unspecified IPv6 address hears IPv4 as well, on every system.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Enlarges the receive buffer as far as the system allows, and answers its size in bytes.
fn enlarge(socket: &Socket) -> io::Result<usize> {
    let mut size = RECEIVE_BUFFER;
    // With the right to do so (root, CAP_NET_ADMIN) the system's limit does not count.
    #[cfg(target_os = "linux")]
    if nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &size).is_ok() {
        return Ok(socket.recv_buffer_size()? / 2);
    }
    // Some systems cut the number silently, others refuse it.
    while socket.set_recv_buffer_size(size).is_err() && size > 64 << 10 {
        size /= 2;
    }
    let granted = socket.recv_buffer_size()?;
    // Linux answers twice the number, for its own bookkeeping.
    Ok(if cfg!(target_os = "linux") { granted / 2 } else { granted })
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The number by which the kernel's tables know the socket.
#[cfg(target_os = "linux")]
fn inode(socket: &UdpSocket) -> Option<u64> {
    use std::os::fd::AsRawFd;

    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Other systems have no such tables.
#[cfg(not(target_os = "linux"))]
fn inode(_: &UdpSocket) -> Option<u64> {
    None
}

/// The last column of the socket's line in the kernel's table of UDP sockets.
fn drops_of(inode: u64, table: &str) -> Option<u64> {
    const INODE: usize = 9;
    let inode = inode.to_string();
    let line = table.lines().find(|line| line.split_ascii_whitespace().nth(INODE) == Some(&inode))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests;
