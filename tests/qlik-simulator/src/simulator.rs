//! The simulator as tests see it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::{
    CertificateError, Certificates, Counts, Faults, Options, SeenRequest, Site, engine::Engine, listener::Listener,
    qrs::Qrs, system_info::SystemInfo,
};

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates could not be made or used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The port could not be opened.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address in question.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A running simulator. It ends when it is dropped, or, with certainty about the moment, by [`QlikSimulator::stop`].
pub struct QlikSimulator {
    qrs: Arc<Qrs>,
    certificates: RwLock<Certificates>,
    tls: Arc<RwLock<TlsAcceptor>>,
    addr: SocketAddr,
    /// `None` while stopped.
    listener: Mutex<Option<Listener>>,
    /// Tells version and product.
    system_info: Listener,
    system_info_told: Arc<SystemInfo>,
    engine: Engine,
    engine_addr: SocketAddr,
    /// `None` while stopped.
    engine_listener: Mutex<Option<Listener>>,
    /// Calls those who want to be told of changes.
    telling: JoinHandle<()>,
}

impl Drop for QlikSimulator {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

impl std::fmt::Debug for QlikSimulator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QlikSimulator").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl QlikSimulator {
    /// Starts a simulator on 127.0.0.1. It is reachable when this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let certificates = match options.certificates {
            Some(certificates) => certificates,
            None if options.without_subject_alt_name => Certificates::without_subject_alt_name()?,
            None => Certificates::generate()?,
        };
        let tls = Arc::new(RwLock::new(acceptor(&certificates)?));
        let qrs = Arc::new(Qrs::new(options.site.unwrap_or_else(Site::sample), options.cheap));
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = listen(addr, &tls, &qrs).await?;
        let addr = listener.addr();
        let system_info_told = Arc::new(SystemInfo::new());
        let system_info = Listener::http((Ipv4Addr::LOCALHOST, 0).into(), tls.clone(), system_info_told.clone());
        let system_info = system_info.await.map_err(|source| StartError::Listen { addr, source })?;
        let engine = Engine::new(qrs.site.clone());
        let engine_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, options.engine_port));
        let engine_listener = listen_engine(engine_addr, &tls, &engine).await?;
        let engine_addr = engine_listener.addr();
        let engine_listener = Mutex::new(Some(engine_listener));
        let certificates = RwLock::new(certificates);
        let telling = tokio::spawn(qrs.clone().tell_changes());
        let listener = Mutex::new(Some(listener));
        Ok(Self {
            qrs,
            certificates,
            tls,
            addr,
            listener,
            system_info,
            system_info_told,
            engine,
            engine_addr,
            engine_listener,
            telling,
        })
    }

    /// Where it listens. Stays the same over stop and restart.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where version and product are told (`/v1/systeminfo`), also while the rest is stopped.
    pub fn system_info_addr(&self) -> SocketAddr {
        self.system_info.addr()
    }

    /// From now on this is what is told of version and product; `None`: 503.
    pub fn set_system_info(&self, told: Option<serde_json::Value>) {
        self.system_info_told.tell(told);
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where the engine listens. Stays the same over stop and restart.
    pub fn engine_addr(&self) -> SocketAddr {
        self.engine_addr
    }

    /// The base address of all calls to the repository service, `https://127.0.0.1:<port>/qrs/`.
    pub fn base_url(&self) -> String {
        format!("https://{}/qrs/", self.addr)
    }

    /// The certificates of server and client.
    pub fn certificates(&self) -> Certificates {
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the next handshake on, the server shows and accepts these. Connections stay.
    pub fn set_certificates(&self, certificates: Certificates) -> Result<(), CertificateError> {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = acceptor(&certificates)?;
        *self.certificates.write().unwrap_or_else(PoisonError::into_inner) = certificates;
        Ok(())
    }

    /// What the simulated Qlik Sense contains.
    pub fn site(&self) -> &Site {
        &self.qrs.site
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.qrs.faults
    }

    /// What has arrived so far.
    pub fn counts(&self) -> Counts {
        self.qrs.counters.snapshot()
    }

    /// Sets all counts to zero and forgets [`QlikSimulator::seen_requests`].
    pub fn reset_counts(&self) {
        self.qrs.counters.reset();
        self.qrs.log.clear();
    }

    /// The last 1 000 requests, oldest first. Always empty with [`Options::cheap`].
    pub fn seen_requests(&self) -> Vec<SeenRequest> {
        self.qrs.log.all()
    }

    /// How many clients want to be told of changes.
    pub fn subscriptions(&self) -> usize {
        self.qrs.subscriptions()
    }

    /// Forgets who wants to be told of changes, as a restart of the service does.
    pub fn forget_subscriptions(&self) {
        self.qrs.forget_subscriptions();
    }

    /// Closes the engine's port and all of its sessions; the repository service goes on. When this returns, clients see
    /// "connection refused".
    pub async fn stop_engine(&self) {
        if let Some(listener) = self.engine_listener.lock().await.take() {
            listener.stop().await;
        }
    }

    /// Stops the engine if need be and has it listen again on the same port.
    pub async fn restart_engine(&self) -> Result<(), StartError> {
        let mut running = self.engine_listener.lock().await;
        if let Some(listener) = running.take() {
            listener.stop().await;
        }
        *running = Some(listen_engine(self.engine_addr, &self.tls, &self.engine).await?);
        Ok(())
    }

    /// Closes the port of the repository service and all connections to it. When this returns, clients see "connection refused".
    pub async fn stop(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.stop().await;
        }
    }

    /// Stops if need be and listens again on the same port, with the same site, certificates, faults and counts.
    pub async fn restart(&self) -> Result<(), StartError> {
        let mut running = self.listener.lock().await;
        if let Some(listener) = running.take() {
            listener.stop().await;
        }
        self.qrs.forget_subscriptions();
        *running = Some(listen(self.addr, &self.tls, &self.qrs).await?);
        Ok(())
    }

    pub(crate) fn qrs(&self) -> Arc<Qrs> {
        self.qrs.clone()
    }
}

fn acceptor(certificates: &Certificates) -> Result<TlsAcceptor, CertificateError> {
    Ok(TlsAcceptor::from(Arc::new(certificates.server_config()?)))
}

async fn listen(addr: SocketAddr, tls: &Arc<RwLock<TlsAcceptor>>, qrs: &Arc<Qrs>) -> Result<Listener, StartError> {
    Listener::http(addr, tls.clone(), qrs.clone()).await.map_err(|source| StartError::Listen { addr, source })
}

async fn listen_engine(
    addr: SocketAddr,
    tls: &Arc<RwLock<TlsAcceptor>>,
    engine: &Engine,
) -> Result<Listener, StartError> {
    let engine = engine.clone();
    let serve = move |stream, tls| engine.clone().serve(stream, tls);
    Listener::start(addr, tls.clone(), serve).await.map_err(|source| StartError::Listen { addr, source })
}
