//! The TLS listener and its connections.
//!
//! Dropping or stopping a [`Listener`] ends everything it has begun: the accept loop hears of it, closes the port, and
//! takes its connections along.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::Answer,
    qrs::ConnectionReset,
    socket::{ResetSwitch, Socket},
};

/// A client that connects must finish the handshake within this time.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Pause after an error of `accept`, for instance when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers behind a listener.
pub(crate) trait Service: Send + Sync + 'static {
    /// Somebody has connected.
    fn connected(&self) {}

    /// A handshake has ended.
    fn shaken(&self, _succeeded: bool) {}

    /// Answers a request.
    fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, ConnectionReset>> + Send;
}

pub(crate) struct Listener {
    addr: SocketAddr,
    /// The accept loop ends as soon as this is sent or dropped.
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Answers requests by HTTP.
    pub(crate) async fn http(
        addr: SocketAddr,
        tls: Arc<RwLock<TlsAcceptor>>,
        service: Arc<impl Service>,
    ) -> io::Result<Self> {
        Self::start(addr, tls, move |stream, tls| serve(stream, tls, service.clone())).await
    }

    /// `serve` has each connection, with the TLS settings of the moment.
    pub(crate) async fn start<F>(
        addr: SocketAddr,
        tls: Arc<RwLock<TlsAcceptor>>,
        serve: impl Fn(TcpStream, TlsAcceptor) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(listener, tls, serve, stopped));
        Ok(Self { addr, stop, accepting })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the port and all connections, and returns when that is done.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // The loop ends only when all connections are gone. It does not panic; if it did, all would be gone, too.
        let _ = self.accepting.await;
    }
}

async fn accept<F>(
    listener: TcpListener,
    tls: Arc<RwLock<TlsAcceptor>>,
    serve: impl Fn(TcpStream, TlsAcceptor) -> F,
    mut stopped: oneshot::Receiver<()>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let tls = tls.read().unwrap_or_else(PoisonError::into_inner).clone();
                    connections.spawn(serve(stream, tls));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// A connection to a service.
async fn serve(stream: TcpStream, tls: TlsAcceptor, service: Arc<impl Service>) {
    service.connected();
    // Without it, answers may wait for acknowledgements. Failure costs time only.
    let _ = stream.set_nodelay(true);
    let reset = ResetSwitch::default();
    let socket = Socket::new(stream, reset.clone());
    let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, tls.accept(socket)).await else {
        service.shaken(false);
        return;
    };
    service.shaken(true);
    let answering = service_fn(|request| {
        let service = service.clone();
        let reset = reset.clone();
        async move { service.serve(request).await.inspect_err(|_| reset.set()) }
    });
    // Errors are the client's, or wanted.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answering).await;
}
