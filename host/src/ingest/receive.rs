//! Reading datagrams from a socket: many at once where the system can, else one by one.
//!
//! A receiver waits until something comes or the socket's read time-out passes. Room for a datagram is one byte more
//! than the longest that is wanted, so a longer one shows by its size, whether the system cuts it or refuses it.

#[cfg(target_os = "linux")]
pub(super) use batched::Batched as Receiver;
#[cfg(not(target_os = "linux"))]
pub(super) use single::Single as Receiver;

use std::io;
use std::net::SocketAddr;

/// What came.
pub(super) enum Packet<'a> {
    /// A datagram.
    Whole { bytes: &'a [u8], from: SocketAddr },
    /// One that is too long. Not every system tells who sent it.
    TooLong { from: Option<SocketAddr> },
}

/// Whether this error only means that nothing came in time.
fn nothing_came(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(target_os = "linux")]
mod batched {
    use std::array;
    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

    use super::{Packet, nothing_came};

    /// Datagrams of one system call.
    const BATCH: usize = 64;

    /// Reads by `recvmmsg`. Stays on its thread.
    pub(in super::super) struct Batched {
        socket: UdpSocket,
        headers: MultiHeaders<SockaddrStorage>,
        space: Vec<u8>,
        room: usize,
    }

    impl Batched {
        /// A receiver of datagrams of at most `longest` bytes.
        pub(in super::super) fn new(socket: UdpSocket, longest: usize) -> Self {
            let room = longest + 1;
            // The pages of room that is never used are never touched: they cost nothing.
            let space = vec![0; room * BATCH];
            Self { socket, headers: MultiHeaders::preallocate(BATCH, None), space, room }
        }

        /// The socket, to change how it waits.
        pub(in super::super) fn socket(&self) -> &UdpSocket {
            &self.socket
        }

        /// Waits for datagrams and hands out each. Answers how many there were; 0 when none came in time.
        pub(in super::super) fn receive(&mut self, mut each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
            let mut rooms = self.space.chunks_exact_mut(self.room);
            let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
            // Waits for the first datagram only, then takes what is there.
            let flags = MsgFlags::MSG_WAITFORONE;
            let received = recvmmsg(self.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None);
            let received = match received.map_err(io::Error::from) {
                Err(error) if nothing_came(&error) => return Ok(0),
                other => other?,
            };
            let mut count = 0;
            for message in received {
                count += 1;
                let from = message.address.as_ref().and_then(sender);
                let bytes = message.iovs().next().unwrap_or_default();
                match from {
                    Some(from) if bytes.len() < self.room && !message.flags.contains(MsgFlags::MSG_TRUNC) => {
                        each(Packet::Whole { bytes, from });
                    }
                    from => each(Packet::TooLong { from }),
                }
            }
            Ok(count)
        }
    }

    fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = address.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into());
        v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()))
    }
}

#[cfg(any(not(target_os = "linux"), test))]
mod single {
    use std::io;
    use std::net::UdpSocket;

    use super::{Packet, nothing_came};

    /// Windows' error for a datagram longer than the room for it.
    const WSAEMSGSIZE: i32 = 10040;

    /// Reads one datagram a call.
    pub(in super::super) struct Single {
        socket: UdpSocket,
        space: Vec<u8>,
    }

    impl Single {
        /// A receiver of datagrams of at most `longest` bytes.
        pub(in super::super) fn new(socket: UdpSocket, longest: usize) -> Self {
            Self { socket, space: vec![0; longest + 1] }
        }

        /// The socket, to change how it waits.
        #[cfg_attr(target_os = "linux", allow(dead_code, reason = "on Linux this receiver serves tests only"))]
        pub(in super::super) fn socket(&self) -> &UdpSocket {
            &self.socket
        }

        /// Waits for a datagram and hands it out. Answers how many there were; 0 when none came in time.
        pub(in super::super) fn receive(&mut self, mut each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
            match self.socket.recv_from(&mut self.space) {
                Ok((length, from)) if length < self.space.len() => {
                    each(Packet::Whole { bytes: &self.space[..length], from });
                }
                Ok((_, from)) => each(Packet::TooLong { from: Some(from) }),
                Err(error) if cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE) => {
                    each(Packet::TooLong { from: None });
                }
                Err(error) if nothing_came(&error) => return Ok(0),
                Err(error) => return Err(error),
            }
            Ok(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// What came, with 99 for what was too long.
    fn collect(mut receive: impl FnMut(&mut dyn FnMut(Packet<'_>)) -> io::Result<usize>) -> Vec<(usize, SocketAddr)> {
        let mut got = Vec::new();
        let mut note = |packet: Packet<'_>| match packet {
            Packet::Whole { bytes, from } => got.push((bytes.len(), from)),
            Packet::TooLong { from } => got.push((99, from.unwrap())),
        };
        while receive(&mut note).unwrap() > 0 {}
        got
    }

    fn sent(listen: &str) -> (UdpSocket, Vec<(usize, SocketAddr)>) {
        let socket = UdpSocket::bind(listen).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let sender = UdpSocket::bind(listen).unwrap();
        let from = sender.local_addr().unwrap();
        for length in [5, 0, 10, 11, 12, 3] {
            sender.send_to(&[7; 12][..length], socket.local_addr().unwrap()).unwrap();
        }
        (socket, [5, 0, 10, 99, 99, 3].map(|length| (length, from)).to_vec())
    }

    #[test]
    fn datagrams_come_whole_with_their_sender_and_too_long_ones_show() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            if listen.starts_with('[') && UdpSocket::bind(listen).is_err() {
                continue; // No IPv6 on this machine.
            }
            let (socket, expected) = sent(listen);
            let mut receiver = Receiver::new(socket, 10);
            assert_eq!(collect(|each| receiver.receive(each)), expected);
            let (socket, expected) = sent(listen);
            let mut receiver = single::Single::new(socket, 10);
            assert_eq!(collect(|each| receiver.receive(each)), expected);
        }
    }
}
