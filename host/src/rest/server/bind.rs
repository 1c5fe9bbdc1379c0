//! The listening socket.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::qlik::TlsError;

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Why the REST server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("the REST server cannot listen on {address} (`rest.listen`): {cause}; {remedy}")]
    Address {
        /// The address of the config.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Its certificate cannot be used.
    #[error("the REST server has no certificate (`rest.tls`): {0}")]
    Certificate(#[from] TlsError),
}

impl BindError {
    fn new(address: SocketAddr, cause: io::Error) -> Self {
        let remedy = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, perhaps another Butler, has it: stop that or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address: use 127.0.0.1, 0.0.0.0 or one of its own"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023, or give Butler the right to use this one",
            _ => "check the address and the network of this machine",
        };
        Self::Address { address, cause, remedy }
    }
}

/// Listens on an address.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that connections of the last run that the system has not forgotten are no hindrance. On Windows this would let
        // another program have the port as well.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|cause| BindError::new(address, cause))
}
