//! The engine of Qlik Sense (QIX): lists, dumps and reloads of apps, by JSON-RPC over WebSocket with the certificates of
//! the repository's connection.
//!
//! From below to above: `connect` opens a WebSocket, `session` has calls under way on it, `message` is the protocol;
//! `dump` takes an app apart (`document` puts the pieces together), `reload` runs reloads beside their callers
//! (`progress`: how far they are). [`Engine`] gives them places, so that memory is bounded by their number.

mod connect;
mod document;
mod dump;
mod error;
mod limits;
mod message;
mod places;
mod progress;
mod reload;
mod session;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

use self::connect::Address;
use self::message::GLOBAL;
use self::places::Places;
use self::reload::Reloads;
use self::session::Session;
use super::repository::Repository;
use crate::config::{self, Secrets};
use crate::current::Current;
use crate::stop::stopping;

pub use self::error::EngineError;
pub use self::limits::EngineLimits;
pub use self::reload::{FollowUp, ReloadOrder, ReloadRow, ReloadState};

/// At a stop, sessions have this time to be closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// The engine. Shared by all that ask it.
pub struct Engine {
    address: Arc<Address>,
    limits: EngineLimits,
    secrets: Arc<Current<Secrets>>,
    sessions: Places,
    reload_places: Places,
    reloads: Reloads,
    follow_up: FollowUp,
    /// Reloads under way.
    tasks: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("server", &self.address.server).finish_non_exhaustive()
    }
}

/// An app, as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedApp {
    /// Its id.
    #[serde(rename(deserialize = "qDocId"))]
    pub id: String,
    /// What people see.
    #[serde(rename(deserialize = "qDocName"), default)]
    pub name: String,
}

/// What an app consists of.
#[derive(Debug)]
pub struct Dump {
    /// A JSON object, without secrets of the config.
    pub json: Vec<u8>,
    /// Whoever holds the dump holds its place as well: the number of places bounds the memory for dumps.
    pub place: Place,
}

/// One of the places for lists and dumps; free again when it is dropped.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "it counts while it is there")] Option<OwnedSemaphorePermit>);

impl Engine {
    /// The engine of the config, with the certificates of the repository. Does not connect. `follow_up` starts the tasks
    /// after reloads.
    pub fn new(
        config: &config::Qlik,
        repository: Arc<Repository>,
        secrets: Arc<Current<Secrets>>,
        follow_up: FollowUp,
    ) -> Self {
        Self::with_limits(config, repository, secrets, follow_up, EngineLimits::default())
    }

    /// As [`Engine::new`], with other limits.
    pub fn with_limits(
        config: &config::Qlik,
        repository: Arc<Repository>,
        secrets: Arc<Current<Secrets>>,
        follow_up: FollowUp,
        limits: EngineLimits,
    ) -> Self {
        Self {
            address: Arc::new(Address::new(&config.host, config.ports.engine, repository)),
            limits,
            secrets,
            sessions: Places::new(limits.sessions, "lists and dumps of apps"),
            reload_places: Places::new(limits.reloads, "reloads of apps"),
            reloads: Reloads::default(),
            follow_up,
            tasks: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Asks for its version, to see whether everything is in order.
    pub async fn probe(&self) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "qVersion")]
            version: Component,
        }
        #[derive(Deserialize)]
        struct Component {
            #[serde(rename = "qComponentVersion")]
            number: String,
        }
        self.in_session("/", async |session| {
            let none: [(); 0] = [];
            let reply = session.call(GLOBAL, "EngineVersion", &none).await?;
            Ok(reply.read::<Version>()?.version.number)
        })
        .await
    }

    /// All apps that the user of the config may see, in the engine's order.
    pub async fn apps(&self) -> Result<Vec<ListedApp>, EngineError> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(rename = "qDocList")]
            apps: Vec<ListedApp>,
        }
        self.in_session("/", async |session| {
            let none: [(); 0] = [];
            let reply = session.call(GLOBAL, "GetDocList", &none).await?;
            Ok(reply.read::<Listed>()?.apps)
        })
        .await
    }

    /// Works in a session that takes one of the places for lists and dumps.
    async fn in_session<T>(
        &self,
        path: &str,
        work: impl AsyncFnOnce(&Session) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.unless_stopped(async {
            let place = self.sessions.take(self.limits.place).await?;
            let session = Session::open(&self.address, path, self.limits, None, place).await?;
            let done = work(&session).await;
            session.close().await;
            done
        })
        .await
    }

    /// What an app consists of.
    pub async fn dump(&self, app: &str) -> Result<Dump, EngineError> {
        self.unless_stopped(async {
            let place = self.sessions.take(self.limits.place).await?;
            let session =
                Session::open(&self.address, "/app/engineData", self.limits, Some(self.limits.dump), place).await?;
            let secrets = self.secrets.get();
            let json = dump::dump(&session, app, self.limits.calls, &secrets).await;
            let place = Place(session.close().await);
            Ok(Dump { json: json?, place })
        })
        .await
    }

    /// Reloads under way and the last 100 that have ended, the newest first.
    pub fn reloads(&self) -> Vec<ReloadRow> {
        self.reloads.all()
    }

    /// Waits for the stop; then gives up what is under way and closes all sessions.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        stopping(&mut stop).await;
        self.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ending = async {
            while tasks.join_next().await.is_some() {}
            self.reload_places.all_free().await;
            self.sessions.all_free().await;
        };
        if tokio::time::timeout(FAREWELL, ending).await.is_err() {
            tracing::warn!("what is under way with the engine of Qlik Sense does not end in time and is cut off");
            // Not only begun: what is cut off says what it leaves undone.
            tasks.shutdown().await;
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    async fn stopped(&self) {
        stopping(&mut self.stop.subscribe()).await;
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(EngineError::Stopping),
            done = work => done,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.get().redact(text).into_owned()
    }
}
