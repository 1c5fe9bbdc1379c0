//! A session with the engine: calls under way at once, matched with their answers by id.
//!
//! A task of its own owns the WebSocket. So it is closed properly (code 1000) however a session ends: by
//! [`Session::close`], by an error, or because whoever wanted something is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::connect::{self, Address, Socket};
use super::error::EngineError;
use super::limits::EngineLimits;
use super::message::{self, Fault, GLOBAL, Incoming};

type Answer = Result<Bytes, Fault>;

/// A session. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    calls: mpsc::Sender<Call>,
    next: AtomicU64,
    limits: EngineLimits,
    /// Why it is over.
    ended: Arc<OnceLock<EngineError>>,
    driver: JoinHandle<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Call {
    id: u64,
    text: String,
    answer: oneshot::Sender<Answer>,
}

/// A call that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    /// By which the engine knows it.
    pub(super) id: u64,
    method: &'static str,
    answer: oneshot::Receiver<Answer>,
    ended: Arc<OnceLock<EngineError>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    method: &'static str,
    /// The JSON of its `result`.
    json: Bytes,
}

#[derive(Deserialize)]
struct Returned {
    #[serde(rename = "qReturn")]
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    /// `null`: not found.
    #[serde(rename = "qHandle")]
    handle: Option<i64>,
}

impl Session {
    /// Begins one at a path. `most`: so many bytes it takes in all. The place is given back when it has ended.
    pub(super) async fn open(
        address: &Arc<Address>,
        path: &str,
        limits: EngineLimits,
        most: Option<usize>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, EngineError> {
        let socket = address.connect(path, &limits).await?;
        // As many as are under way at once; who has more waits.
        let (calls, asked) = mpsc::channel(limits.calls.max(1));
        let ended = Arc::new(OnceLock::new());
        let driver = Driver { socket, waiting: BTreeMap::new(), limits, most, taken: 0, address: address.clone() };
        let driver = tokio::spawn(driver.run(asked, ended.clone(), place));
        Ok(Self { calls, next: AtomicU64::new(1), limits, ended, driver })
    }

    /// Sends a call.
    pub(super) async fn begin(
        &self,
        handle: i64,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<Pending, EngineError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let call = Call { id, text: message::request(id, handle, method, params), answer };
        self.calls.send(call).await.map_err(|_| why(&self.ended))?;
        Ok(Pending { id, method, answer: receiver, ended: self.ended.clone() })
    }

    /// A call and its answer, within the usual time.
    pub(super) async fn call(
        &self,
        handle: i64,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<Reply, EngineError> {
        self.call_within(self.limits.call, handle, method, params).await
    }

    /// The same within another time.
    pub(super) async fn call_within(
        &self,
        limit: Duration,
        handle: i64,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<Reply, EngineError> {
        let calling = async { self.begin(handle, method, params).await?.answered().await };
        timeout(limit, calling).await.unwrap_or(Err(EngineError::Late { method, limit }))
    }

    /// A call that gives an object: its handle.
    pub(super) async fn object(&self, handle: i64, method: &'static str, id: &str) -> Result<i64, EngineError> {
        self.call(handle, method, &(id,)).await?.handle(id)
    }

    /// Opens an app: the handle of its document.
    pub(super) async fn open_doc(&self, app: &str, without_data: bool) -> Result<i64, EngineError> {
        let limit = if without_data { self.limits.call } else { self.limits.open };
        self.call_within(limit, GLOBAL, "OpenDoc", &(app, "", "", "", without_data)).await?.handle(app)
    }

    /// Ends it, and gives its place back when that is done.
    pub(super) async fn close(self) -> Option<OwnedSemaphorePermit> {
        drop(self.calls);
        // A panic, which was logged.
        self.driver.await.ok()
    }
}

/// Why a session is over.
fn why(ended: &OnceLock<EngineError>) -> EngineError {
    // Without a reason only when the task is gone with the runtime.
    ended.get().cloned().unwrap_or(EngineError::Stopping)
}

impl Pending {
    /// Waits for the answer, however long.
    pub(super) async fn answered(self) -> Result<Reply, EngineError> {
        match self.answer.await {
            Ok(Ok(json)) => Ok(Reply { method: self.method, json }),
            Ok(Err(fault)) => Err(fault.of(self.method)),
            Err(_) => Err(why(&self.ended)),
        }
    }
}

impl Reply {
    /// The result, of a form.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EngineError> {
        serde_json::from_slice(&self.json).map_err(|error| self.odd(error.to_string()))
    }

    pub(super) fn odd(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Odd { method: self.method, reason: reason.into() }
    }

    /// The handle of the object that it returns; `id` is what was asked for.
    pub(super) fn handle(&self, id: &str) -> Result<i64, EngineError> {
        let returned: Returned = self.read()?;
        let gone = || EngineError::Gone { method: self.method, id: id.chars().take(100).collect() };
        returned.object.handle.ok_or_else(gone)
    }
}

/// What owns the WebSocket.
struct Driver {
    socket: Socket,
    /// Who waits for which answer.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    limits: EngineLimits,
    most: Option<usize>,
    /// Bytes that came so far.
    taken: usize,
    address: Arc<Address>,
}

impl Driver {
    /// Until nobody wants anything any more, or the session breaks. Gives the place back.
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        ended: Arc<OnceLock<EngineError>>,
        place: OwnedSemaphorePermit,
    ) -> OwnedSemaphorePermit {
        if let Err(error) = self.serve(&mut calls).await {
            // Set here only. Before those who wait hear that there is no answer.
            let _ = ended.set(error);
        }
        drop(calls);
        self.waiting.clear();
        let farewell = async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // It may be gone already.
        let _ = timeout(self.limits.close, farewell).await;
        place
    }

    async fn serve(&mut self, calls: &mut mpsc::Receiver<Call>) -> Result<(), EngineError> {
        let mut heard = Instant::now();
        let mut pings = interval_at(heard + self.limits.ping, self.limits.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => {
                        self.waiting.insert(call.id, call.answer);
                        self.send(Message::text(call.text)).await?;
                    }
                    None => return Ok(()),
                },
                message = self.socket.next() => {
                    heard = Instant::now();
                    self.received(message)?;
                }
                _ = pings.tick() => {
                    if heard.elapsed() >= self.limits.silence {
                        let silence = format!("nothing came from it for {:.1} s", self.limits.silence.as_secs_f32());
                        let what = "is the server overloaded, or the network broken?";
                        return Err(self.address.unreachable(format!("{silence} ({what})")));
                    }
                    self.send(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), EngineError> {
        match timeout(self.limits.connect, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.address.unreachable("it takes no more calls (is the server overloaded?)")),
        }
    }

    fn received(&mut self, message: Option<Result<Message, Error>>) -> Result<(), EngineError> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            // Pings are answered below.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => {
                return Err(self
                    .address
                    .unreachable("what it sends is no text (is `ports.engine` that of the engine?)"));
            }
            Some(Ok(Message::Close(frame))) => return Err(self.closed(frame.as_ref())),
            Some(Err(error)) => return Err(self.broken(&error)),
            None => return Err(self.closed(None)),
        };
        self.taken += text.len();
        if let Some(limit) = self.most.filter(|most| self.taken > *most) {
            return Err(EngineError::TooLarge { what: "what the engine sends about the app", limit });
        }
        let no_json = |_| self.address.unreachable("what it sends is no JSON (is `ports.engine` that of the engine?)");
        // An unknown id: whoever asked has lost patience.
        match message::read(text).map_err(no_json)? {
            Incoming::Answer(id, json) => drop(self.waiting.remove(&id).map(|answer| answer.send(Ok(json)))),
            Incoming::Failure(id, fault) => drop(self.waiting.remove(&id).map(|answer| answer.send(Err(fault)))),
            Incoming::End(reason) => {
                return Err(EngineError::Ended { server: self.address.server.clone(), reason });
            }
            Incoming::Other => {}
        }
        Ok(())
    }

    fn broken(&self, error: &Error) -> EngineError {
        match error {
            Error::Capacity(_) => EngineError::TooLarge { what: "a message of the engine", limit: self.limits.message },
            Error::ConnectionClosed | Error::AlreadyClosed => self.closed(None),
            other => self.address.unreachable(connect::broken(other)),
        }
    }

    fn closed(&self, frame: Option<&CloseFrame>) -> EngineError {
        let said = match frame {
            Some(frame) if frame.reason.is_empty() => format!("it closed the session with code {}", frame.code),
            Some(frame) => format!("it closed the session with code {}: {}", frame.code, frame.reason.as_str()),
            None => "it closed the session".to_owned(),
        };
        self.address.unreachable(format!("{said} (did the engine service restart?)"))
    }
}
