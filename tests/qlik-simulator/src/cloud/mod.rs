//! A tenant of Qlik Cloud: HTTPS with a certificate of its own authority, a bearer token, and the calls about apps, reloads,
//! items, users and script logs. It also writes and signs what its webhooks would send.
//!
//! ```
//! use qlik_simulator::{CloudCall, CloudFault, CloudSimulator, Envelope, Teller};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tenant = CloudSimulator::start("acme-id").await?;
//! let reload = tenant.fail_reload("Orders");
//! let body = reload.message(Envelope::Hybrid, Teller::Engine).to_string();
//! println!("POST with Qlik-Signature: {}", tenant.sign(body.as_bytes()));
//! tenant.add_fault(CloudFault::status(429).retry_after("3").on(CloudCall::Items).first(1));
//! assert_eq!(tenant.requests_to(CloudCall::Items), 0);
//! # Ok(())
//! # }
//! ```

mod answer;
mod contents;
mod fault;
mod message;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ring::hmac;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

pub use fault::CloudFault;
pub use message::{Envelope, FailedReload, Teller};

use crate::{Certificates, SeenRequest, StartError, listener::Listener};
use contents::Contents;

/// A call of the tenant's REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloudCall {
    /// `GET /api/v1/users/me`
    Me,
    /// `GET /api/v1/users/<id>`
    User,
    /// `GET /api/v1/reloads/<id>`
    Reload,
    /// `GET /api/v1/apps/<id>`
    App,
    /// `GET /api/v1/items`
    Items,
    /// `GET /api/v1/apps/<id>/reloads/logs/<reload id>`
    ScriptLog,
    /// Anything else.
    Unknown,
}

/// What is behind the listener.
pub(crate) struct Tenant {
    id: String,
    state: Mutex<State>,
}

struct State {
    token: String,
    contents: Contents,
    faults: Vec<CloudFault>,
    counts: BTreeMap<CloudCall, u64>,
    seen: Vec<(Instant, SeenRequest)>,
}

impl Tenant {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running tenant. It ends when it is dropped.
pub struct CloudSimulator {
    tenant: Arc<Tenant>,
    certificates: Certificates,
    tls: Arc<RwLock<TlsAcceptor>>,
    addr: SocketAddr,
    /// `None` while stopped.
    listener: tokio::sync::Mutex<Option<Listener>>,
}

impl CloudSimulator {
    /// The token that is taken at first.
    pub const TOKEN: &str = "token-of-the-simulated-tenant";
    /// The secret of its webhooks.
    pub const SECRET: &str = "secret-of-the-simulated-webhook";

    /// Starts a tenant with this id on 127.0.0.1. It is reachable when this returns.
    pub async fn start(id: &str) -> Result<Self, StartError> {
        let certificates = Certificates::generate()?;
        let tls = TlsAcceptor::from(Arc::new(certificates.open_server_config()?));
        let tls = Arc::new(RwLock::new(tls));
        let state = State {
            token: Self::TOKEN.to_owned(),
            contents: Contents::default(),
            faults: Vec::new(),
            counts: BTreeMap::new(),
            seen: Vec::new(),
        };
        let tenant = Arc::new(Tenant { id: id.to_owned(), state: Mutex::new(state) });
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), &tls, &tenant).await?;
        let addr = listener.addr();
        Ok(Self { tenant, certificates, tls, addr, listener: tokio::sync::Mutex::new(Some(listener)) })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.tenant.id
    }

    /// Its address, `https://127.0.0.1:<port>`. Stays the same over stop and restart.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Its authority's certificate as PEM text.
    pub fn root_pem(&self) -> String {
        self.certificates.root_pem()
    }

    /// From now on it takes this token alone.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.tenant.lock().token);
    }

    /// A reload of a new app with this name has failed; app, owner, item, user and script log are there as well.
    pub fn fail_reload(&self, app_name: &str) -> FailedReload {
        let reload = FailedReload::new(&self.tenant.id, app_name);
        self.tenant.lock().contents.add(&reload, &self.url());
        reload
    }

    /// Changes what the tenant has: `reloads`, `apps`, `items`, `users` by id, each the JSON that it answers.
    pub fn change(&self, sort: &str, id: &str, change: impl FnOnce(&mut Value)) {
        self.tenant.lock().contents.change(sort, id, change);
    }

    /// Takes something away: of `reloads`, `apps`, `items`, `users`, `logs` (by the id of the reload).
    pub fn remove(&self, sort: &str, id: &str) {
        self.tenant.lock().contents.remove(sort, id);
    }

    /// The script log of a reload from now on.
    pub fn set_log(&self, reload_id: &str, text: &str) {
        self.tenant.lock().contents.set_log(reload_id, text);
    }

    /// Puts a fault in force. Of several that decide how a request ends, the one added first wins.
    pub fn add_fault(&self, fault: CloudFault) {
        self.tenant.lock().faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.tenant.lock().faults.clear();
    }

    /// How many requests there were to a call, refused and faulty ones included.
    pub fn requests_to(&self, call: CloudCall) -> u64 {
        self.tenant.lock().counts.get(&call).copied().unwrap_or_default()
    }

    /// All requests with the time when they came, oldest first.
    pub fn seen(&self) -> Vec<(Instant, SeenRequest)> {
        self.tenant.lock().seen.clone()
    }

    /// The signature of a body, as its webhooks write it into `Qlik-Signature`.
    pub fn sign(&self, body: &[u8]) -> String {
        sign(Self::SECRET, body)
    }

    /// Closes the port and all connections.
    pub async fn stop(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.stop().await;
        }
    }

    /// Stops if need be and listens again on the same port.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.stop().await;
        *self.listener.lock().await = Some(listen(self.addr, &self.tls, &self.tenant).await?);
        Ok(())
    }
}

/// The signature of a webhook's body: HMAC-SHA256 in hexadecimal.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, body).as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

async fn listen(
    addr: SocketAddr,
    tls: &Arc<RwLock<TlsAcceptor>>,
    tenant: &Arc<Tenant>,
) -> Result<Listener, StartError> {
    Listener::http(addr, tls.clone(), tenant.clone()).await.map_err(|source| StartError::Listen { addr, source })
}
