//! The bytes that come from the server, as lettre can read them.
//!
//! Servers say why in the letters of their country, often as Latin-1. lettre takes UTF-8 only and would treat such an answer
//! as a broken connection, its code unread. So bytes beyond ASCII become `?`, over an encrypted connection as over an open one.
#![allow(
    deprecated,
    reason = "lettre's stream is the only way to its encryption for a connection with an own transport"
)]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead as _, AsyncWrite as _};
use lettre::transport::smtp;
use lettre::transport::smtp::client::{AsyncNetworkStream, AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::Starttls;
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection below SMTP.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// None while it is being encrypted, and after that failed.
    stream: Option<AsyncNetworkStream>,
    /// Is read before what the server sends.
    first: &'static [u8],
}

impl Wire {
    /// Connects; with `tls` encrypted from the first byte. `each`: time for each address of the server.
    pub(super) async fn connect(
        (host, port): (&str, u16),
        each: Duration,
        tls: Option<TlsParameters>,
    ) -> Result<Self, smtp::Error> {
        let stream = AsyncNetworkStream::connect_tokio1((host, port), Some(each), tls, None).await?;
        Ok(Self(Arc::new(Mutex::new(State { stream: Some(stream), first: b"" }))))
    }

    /// Waits for the greeting, and says EHLO.
    pub(super) async fn greet(&self, name: &ClientId) -> Result<AsyncSmtpConnection, smtp::Error> {
        AsyncSmtpConnection::connect_with_transport(Box::new(self.clone()), name).await
    }

    /// Encrypts a connection. What came before, EHLO included, is forgotten.
    pub(super) async fn starttls(
        &self,
        mut connection: AsyncSmtpConnection,
        tls: TlsParameters,
        name: &ClientId,
    ) -> Result<AsyncSmtpConnection, smtp::Error> {
        connection.command(Starttls).await?;
        // With what it has read already: whoever put that in there on the way is not heard.
        drop(connection);
        let stream = self.lock().stream.take();
        if let Some(mut stream) = stream {
            stream.upgrade_tls(tls).await?;
            // Behind STARTTLS servers do not greet, but a new connection waits for that.
            *self.lock() = State { stream: Some(stream), first: b"220 encrypted\r\n" };
        }
        self.greet(name).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(Pin<&mut AsyncNetworkStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.lock().stream {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let first = {
            let mut state = self.lock();
            let (now, later) = state.first.split_at(state.first.len().min(buffer.remaining()));
            state.first = later;
            now
        };
        if !first.is_empty() {
            buffer.put_slice(first);
            return Poll::Ready(Ok(()));
        }
        let room = buffer.initialize_unfilled();
        let read = std::task::ready!(self.with(|stream| stream.poll_read(cx, room)))?;
        room[..read].iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_close(cx))
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.lock().stream.as_ref().ok_or(io::ErrorKind::NotConnected)?.peer_addr()
    }
}
