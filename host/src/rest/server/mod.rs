//! The sockets: binding, connections and their limits, TLS, and a stop that lets requests under way end.
//!
//! Each connection is a task (`connection`): TLS if there is a certificate (`tls`), then HTTP/1.1 or HTTP/2, whichever the
//! client speaks. `connections` is the table of all that are open. It ends those whose clients are slow by what their
//! `activity` says, which the bodies of requests and answers (`body`) keep up to date.

mod activity;
mod bind;
mod body;
mod connection;
mod connections;
mod limits;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::api::Api;
use super::context::Context;
use super::endpoints::Mount;
use super::routes::RouteError;
use super::run_file::RunFile;
use crate::config::Rest;
use crate::plugins::Instance;
use crate::stop::stopping;
pub use bind::BindError;
use connection::Shared;
pub(super) use connections::Connections;
pub(super) use limits::Limits;
pub use tls::Tls;

/// After an error of the system while accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not answer yet; the system already keeps who calls.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Rest,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Binds the address of the config, and reads the certificate if there is one.
    pub fn bind(config: &Rest) -> Result<Self, BindError> {
        let tls = config.tls.as_ref().map(Tls::open).transpose()?;
        let listener = bind::listen(config.listen)?;
        let address = listener.local_addr().map_err(|cause| BindError::Address {
            address: config.listen,
            cause,
            remedy: "try again",
        })?;
        Ok(Self { listener, address, config: config.clone(), tls })
    }

    /// The address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The certificate, if it has one.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Writes the run file for this server. `udp`, and one for sessions, are further addresses that were bound.
    pub fn write_run_file(
        &self,
        store: &std::path::Path,
        udp: [Option<SocketAddr>; 2],
    ) -> Result<Arc<RunFile>, super::RunFileError> {
        let certificate = self.tls.as_ref().map(|tls| tls.fingerprint());
        RunFile::write(store, self.address, certificate, udp).map(Arc::new)
    }

    /// Puts the routes of the host and of all instances behind the socket. The run file's token may do everything; it is told
    /// when the certificate is renewed.
    pub fn with_routes(self, context: Arc<Context>, run_file: &Arc<RunFile>) -> Result<Serving, RouteError> {
        let mounts = context.instances().iter().flat_map(Mount::of).collect();
        let serving = self.with_mounts(context, &run_file.info().token, mounts, Limits::of_this_process())?;
        Ok(Serving { run_file: Some(run_file.clone()), ..serving })
    }

    pub(super) fn with_mounts(
        self,
        context: Arc<Context>,
        admin_token: &str,
        mounts: Vec<Mount>,
        limits: Limits,
    ) -> Result<Serving, RouteError> {
        let connections = context.connections.clone();
        let api = Api::new(context, &self.config, admin_token, mounts, limits.body)?;
        let (listener, tls) = (self.listener, self.tls);
        Ok(Serving { listener, api: Arc::new(api), tls, connections, limits, run_file: None })
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
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    limits: Limits,
    run_file: Option<Arc<RunFile>>,
}

impl Serving {
    /// For reloads.
    pub fn remount(&self) -> Remount {
        Remount(self.api.clone())
    }

    /// Answers until `stop` is true (or its sender is gone). Then it accepts nobody, lets requests under way end within
    /// 5 s, and returns.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { listener, api, tls, connections, limits, run_file } = self;
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the REST server cannot be started");
                return;
            }
        };
        let shared = Arc::new(Shared::new(api, tls.clone(), &limits));
        let mut tasks = JoinSet::new();
        if let Some(tls) = tls {
            let renewed = move |certificate: &str| run_file.as_ref().is_none_or(|run_file| run_file.renew(certificate));
            tasks.spawn(tls.watch(renewed, stop.clone()));
        }
        let mut look = tokio::time::interval(limits.look());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopping(&mut stop) => break,
                Some(_) = tasks.join_next() => {}
                _ = look.tick() => connections.look(&limits),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = connections.admit(peer.ip(), &limits) else { continue };
                        let (shared, stop) = (shared.clone(), stop.clone());
                        tasks.spawn(async move { shared.serve(stream, peer, place, stop).await });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a REST connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.stop, rest).await.is_err() {
            tracing::warn!("REST requests that did not end in time are cut off");
            tasks.shutdown().await;
        }
    }
}
