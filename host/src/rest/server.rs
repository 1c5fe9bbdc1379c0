//! The sockets: binding, connections and their limits, and a stop that lets requests under way end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::api::{Api, Ends};
use super::context::Context;
use super::endpoints::Mount;
use super::routes::RouteError;
use super::run_file::RunFile;
use crate::config::Rest;
use crate::plugins::Instance;

/// Why the REST server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the REST server cannot listen on {address} (`rest.listen`): {cause}; {remedy}")]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
    remedy: &'static str,
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
        Self { address, cause, remedy }
    }
}

/// How much and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once. Further ones wait until the system's own queue is full.
    pub(super) connections: usize,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub(super) head: Duration,
    /// How long a body may take.
    pub(super) body: Duration,
    /// How long requests under way may take at a stop.
    pub(super) stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            stop: Duration::from_secs(5),
        }
    }
}

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// After an error of the system while accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not answer yet; the system already keeps who calls.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Rest,
}

impl Server {
    /// Binds the address of the config.
    pub fn bind(config: &Rest) -> Result<Self, BindError> {
        let error = |cause| BindError::new(config.listen, cause);
        let listener = TcpListener::bind(config.listen).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address, config: config.clone() })
    }

    /// The address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Puts the routes of the host and of all instances behind the socket. The run file's token may do everything.
    pub fn with_routes(self, context: Arc<Context>, run_file: &RunFile) -> Result<Serving, RouteError> {
        let mounts = context.instances().iter().flat_map(Mount::of).collect();
        self.with_mounts(context, &run_file.info().token, mounts, Limits::default())
    }

    pub(super) fn with_mounts(
        self,
        context: Arc<Context>,
        admin_token: &str,
        mounts: Vec<Mount>,
        limits: Limits,
    ) -> Result<Serving, RouteError> {
        let api = Api::new(context, &self.config, admin_token, mounts, limits.body)?;
        Ok(Serving { listener: self.listener, api: Arc::new(api), limits })
    }
}

/// Replaces the endpoints of plugins at a reload.
#[derive(Clone)]
pub struct Remount(Arc<Api>);

impl Remount {
    /// Serves the endpoints of these instances instead of the former ones; none that is disabled.
    pub fn to(&self, instances: &[Arc<Instance>], disabled: &[String]) -> Result<(), RouteError> {
        self.0.remount(instances.iter().flat_map(Mount::of).collect(), disabled)
    }
}

/// A server with its routes.
pub struct Serving {
    listener: TcpListener,
    api: Arc<Api>,
    limits: Limits,
}

impl Serving {
    /// For reloads.
    pub fn remount(&self) -> Remount {
        Remount(self.api.clone())
    }

    /// Answers until `stop` is true (or its sender is gone). Then it accepts nobody, lets requests under way end within
    /// 5 s, and returns.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the REST server cannot be started");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                (place, accepted) = accepted => match accepted {
                    Ok((stream, peer)) => {
                        let connection = serve(self.api.clone(), self.limits, stream, peer, stop.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a REST connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let rest = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.stop, rest).await.is_err() {
            tracing::warn!("REST requests that did not end in time are cut off");
            connections.shutdown().await;
        }
    }
}

/// One connection until its end.
async fn serve(api: Arc<Api>, limits: Limits, stream: TcpStream, peer: SocketAddr, mut stop: watch::Receiver<bool>) {
    let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%error, "a REST connection is gone");
            return;
        }
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, std::convert::Infallible>(api.handle(request.map(Body::new), Ends { peer, local }).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a REST connection broke");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that its sender is gone: nobody could stop the server any more.
    let _ = stop.wait_for(|stop| *stop).await;
}
