//! A bound UDP socket, and what the system tells about it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::guard::AllowFromError;

/// Receive buffer asked of the system, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Less than this is worth a word in the log.
const SMALL_RECEIVE_BUFFER: usize = 1 << 20;

/// Why UDP cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses the address.
    #[error("cannot listen for UDP on {address} (`{key}`): {cause}; {remedy}")]
    Address {
        /// The address of the config.
        address: SocketAddr,
        /// Where it stands in the config.
        key: &'static str,
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
    fn new(address: SocketAddr, key: &'static str, cause: io::Error) -> Self {
        let remedy = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, perhaps another Butler, has it: stop that or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address: use 0.0.0.0 or one of its own",
            io::ErrorKind::PermissionDenied => "choose a port above 1023, or give Butler the right to use this one",
            _ => "check the address and the network of this machine",
        };
        Self::Address { address, key, cause, remedy }
    }
}

/// A socket that the system already receives for.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: UdpSocket,
    /// The address, with the port that the system chose for port 0.
    pub(super) local_addr: SocketAddr,
    /// Size of the system's receive buffer, in bytes; it may grant less than was asked.
    pub(super) receive_buffer: usize,
}

impl Bound {
    /// Binds the address that stands under `key` in the config.
    pub(super) fn new(address: SocketAddr, key: &'static str) -> Result<Self, BindError> {
        let failed = |cause| BindError::new(address, key, cause);
        let socket = bind(address).map_err(failed)?;
        let receive_buffer = enlarge(&socket).map_err(failed)?;
        let socket = UdpSocket::from(socket);
        Ok(Self { local_addr: socket.local_addr().map_err(failed)?, socket, receive_buffer })
    }

    /// Says in the log that it listens, and what about it may lose messages or let strangers in.
    pub(super) fn log_start(&self, everybody: bool) {
        let receive_buffer = self.receive_buffer;
        tracing::info!(udp.listen = %self.local_addr, udp.receive_buffer_bytes = receive_buffer, "UDP socket listens");
        if receive_buffer < SMALL_RECEIVE_BUFFER {
            let remedy = if cfg!(target_os = "linux") { "; remedy: sysctl -w net.core.rmem_max=4194304" } else { "" };
            tracing::warn!(
                udp.receive_buffer_bytes = receive_buffer,
                "the system grants a small receive buffer, bursts of UDP messages may be lost{remedy}"
            );
        }
        if everybody && !self.local_addr.ip().to_canonical().is_loopback() {
            tracing::warn!("UDP messages are accepted from everybody: list the Sense nodes in `udp.allowFrom`");
        }
    }

    /// The number by which the kernel's tables know the socket; `None` where there are no such tables.
    #[cfg(target_os = "linux")]
    pub(super) fn inode(&self) -> Option<u64> {
        use std::os::fd::AsRawFd;

        let link = std::fs::read_link(format!("/proc/self/fd/{}", self.socket.as_raw_fd())).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    /// The number by which the kernel's tables know the socket; `None` where there are no such tables.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn inode(&self) -> Option<u64> {
        None
    }
}

/// Datagrams that the kernel dropped since the socket of this inode was bound; `None` once it is closed.
pub(super) fn kernel_drops(inode: u64) -> Option<u64> {
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    tables.iter().find_map(|table| drops_of(inode, &std::fs::read_to_string(table).ok()?))
}

/// The last column of the socket's line in the kernel's table of UDP sockets.
fn drops_of(inode: u64, table: &str) -> Option<u64> {
    const INODE: usize = 9;
    let inode = inode.to_string();
    let line = table.lines().find(|line| line.split_ascii_whitespace().nth(INODE) == Some(&inode))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn bound() -> Bound {
        Bound::new((Ipv4Addr::LOCALHOST, 0).into(), "udp.listen").unwrap()
    }

    #[test]
    fn an_address_that_cannot_be_had_is_refused_with_its_place_and_remedy() {
        let first = bound();
        let error = Bound::new(first.local_addr, "udp.sessions.listen").unwrap_err().to_string();
        assert!(error.contains(&first.local_addr.to_string()) && error.contains("another Butler"), "{error}");
        assert!(error.contains("(`udp.sessions.listen`)"), "{error}");
        let error = Bound::new("192.0.2.1:9998".parse().unwrap(), "udp.listen").unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:9998") && error.contains("0.0.0.0"), "{error}");
    }

    #[test]
    fn the_receive_buffer_is_enlarged() {
        let granted = bound().receive_buffer;
        let plain = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap().recv_buffer_size().unwrap();
        assert!(granted * 2 >= plain, "{granted} against {plain}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn drops_of_the_kernel_are_read_back() {
        let bound = bound();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Nobody reads: more than the receive buffer holds.
        let big = vec![0; 60_000];
        for _ in 0..=bound.receive_buffer * 3 / big.len() {
            sender.send_to(&big, bound.local_addr).unwrap();
        }
        assert!(kernel_drops(bound.inode().unwrap()).unwrap() > 0);
        assert_eq!(kernel_drops(u64::MAX), None);
    }
}
