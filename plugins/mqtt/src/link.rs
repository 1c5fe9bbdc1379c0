//! The connection to the broker, kept for as long as the instance lives.
//!
//! [`Link::keep`] connects, waits after a failure, and connects again; each time with a new client, so that nothing of an
//! old connection is repeated by the library: what was not acknowledged is a failed delivery, and the host repeats it.
//! [`session`] is one connection from its begin to its end.

mod backoff;
mod client_id;
mod session;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use butler_plugin_api::{Health, Host};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, Connect, Driver, Failure, Limits, Step, Will};
use crate::inbound::{self, Inbound, Subscriptions};
use crate::settings::{Broker, Status};

use backoff::Backoff;
pub(crate) use session::Session;

/// A delivery waits so long for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// In the daemon the connection is begun right after the start of the instance. If it is not by then, there is no daemon.
const NO_DAEMON: Duration = Duration::from_secs(1);
/// Time for each part of a regular end: the last status, and what is under way. The host gives it 5 s in all.
const GOODBYE: Duration = Duration::from_millis(1_500);

/// How the connection is.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Nobody wants one yet.
    Idle,
    /// There is none; the text says why, once that is known.
    Down(Option<String>),
    /// There is one.
    Up(Arc<Session>),
    /// There will be none any more.
    Ended,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The instance of the daemon: it listens, and tells its status.
    Daemon,
    /// One delivery of `butler test-alert`: beside the daemon, which it must not disturb.
    Alone,
}

/// The connection of an instance.
pub(crate) struct Link {
    host: Host,
    broker: Broker,
    subscriptions: Subscriptions,
    state: watch::Sender<State>,
    stopping: watch::Sender<bool>,
    /// Without a daemon.
    alone: Mutex<Option<Task>>,
}

/// A task that ends with its handle.
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Whether this instance obeys what is published there: who may only send messages must not start tasks by it.
    pub(crate) fn obeys(&self, topic: &str) -> bool {
        self.subscriptions.hears(topic)
    }

    pub(crate) fn new(host: Host, broker: Broker, subscriptions: Subscriptions) -> Arc<Self> {
        Arc::new(Self {
            host,
            broker,
            subscriptions,
            state: watch::Sender::new(State::Idle),
            stopping: watch::Sender::new(false),
            alone: Mutex::default(),
        })
    }

    /// The connection of the daemon, until it is ended. A panic goes on.
    pub(crate) async fn run(self: &Arc<Self>) {
        // One that came too late to be known as the daemon's.
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut task = self.spawn(Purpose::Daemon);
        if let Err(error) = (&mut task.0).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    fn spawn(self: &Arc<Self>, purpose: Purpose) -> Task {
        self.state.send_replace(State::Down(None));
        let link = self.clone();
        Task(self.host.runtime().spawn(async move { link.keep(purpose).await }))
    }

    /// The connection as it is now, without waiting.
    pub(crate) fn now(&self) -> Result<Arc<Session>, String> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(session.clone()),
            State::Down(why) => Err(self.not_connected(why.as_deref())),
            State::Idle | State::Ended => Err(self.not_connected(None)),
        }
    }

    /// The connection, once it is there; waits some seconds. The error says what is wrong.
    pub(crate) async fn session(self: &Arc<Self>) -> Result<Arc<Session>, String> {
        let mut state = self.state.subscribe();
        let begun = state.wait_for(|state| !matches!(state, State::Idle));
        if tokio::time::timeout(NO_DAEMON, begun).await.is_err() {
            let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
            if alone.is_none() {
                *alone = Some(self.spawn(Purpose::Alone));
            }
        }
        let patience = PATIENCE.min(self.broker.connect_timeout);
        let up = state.wait_for(|state| matches!(state, State::Up(_) | State::Ended));
        let _ = tokio::time::timeout(patience, up).await;
        self.now()
    }

    /// The broker and what is wrong with it.
    fn not_connected(&self, why: Option<&str>) -> String {
        match why {
            Some(why) => format!("the broker {} {why}", self.broker.url),
            None => format!("there is no connection to the broker {} yet", self.broker.url),
        }
    }

    pub(crate) fn health(&self) -> Health {
        match &*self.state.borrow() {
            State::Down(Some(why)) => Health::Bad(self.not_connected(Some(why))),
            State::Up(session) => match session.trouble() {
                Some(trouble) => Health::Degraded(trouble),
                None => Health::Good,
            },
            State::Idle | State::Down(None) | State::Ended => Health::Good,
        }
    }

    /// Ends the connection: subscribers see that Butler is gone, and the broker publishes no last will.
    pub(crate) async fn stop(&self) {
        let session = self.now().ok();
        self.stopping.send_replace(true);
        if let Some(session) = session {
            session.say_goodbye(GOODBYE).await;
        }
        let mut state = self.state.subscribe();
        let begun = !matches!(&*state.borrow(), State::Idle);
        if begun {
            let ended = state.wait_for(|state| matches!(state, State::Ended));
            let _ = tokio::time::timeout(GOODBYE, ended).await;
        }
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Connects again and again, until it is to stop.
    async fn keep(&self, purpose: Purpose) {
        let mut stopping = self.stopping.subscribe();
        let client_id = client_id::of(&self.host, &self.broker, purpose).await;
        let (inbound, handler) = inbound::inbound(self.host.clone(), self.subscriptions.clone());
        let _handler = Task(tokio::spawn(handler.run()));
        let mut backoff = Backoff::default();
        loop {
            let lost = tokio::select! {
                lost = self.connection(purpose, &client_id, &inbound, &mut backoff) => lost,
                // A connection that is there ends by itself; one that is not made yet is given up.
                () = self.until_stopped_without_connection(&mut stopping) => break,
            };
            if *stopping.borrow() {
                break;
            }
            self.down(&lost, &client_id);
            let wait = if lost.refused { backoff.longest() } else { backoff.next() };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        self.state.send_replace(State::Ended);
    }

    async fn until_stopped_without_connection(&self, stopping: &mut watch::Receiver<bool>) {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        if matches!(&*self.state.borrow(), State::Up(_)) {
            tokio::time::sleep(2 * GOODBYE).await;
        }
    }

    /// One connection; why there is none, or none any more.
    async fn connection(&self, purpose: Purpose, client_id: &str, inbound: &Inbound, backoff: &mut Backoff) -> Failure {
        let will = self.broker.status.as_ref().filter(|_| purpose == Purpose::Daemon);
        let (client, mut driver, limits) = match self.connect(client_id, will).await {
            Ok(made) => made,
            Err(failure) => return failure,
        };
        let session = Session::new(client.clone(), limits, self.broker.ack_timeout, will.cloned());
        tracing::info!("connected to the broker {} with the client id {client_id}", self.broker.url);
        self.host.metrics().count("connections_total", &[], 1);
        session.tell_limits(&self.broker.url);
        self.state.send_replace(State::Up(session.clone()));
        // Beside it: what is awaited needs the driver to go on.
        let _greeting = (purpose == Purpose::Daemon).then(|| {
            let (host, port) = (&self.broker.target.host, self.broker.target.port);
            let online = format!("Connected to MQTT broker {host}:{port} with client ID {client_id}");
            let (session, filters) = (session.clone(), inbound.filters());
            Task(tokio::spawn(async move { session.greet(online, filters).await }))
        });
        let drive = async {
            // Packet identifiers of messages that are not acknowledged yet. Some brokers send those again; a second
            // acknowledgement of one would break the rules.
            let mut waiting = HashSet::new();
            loop {
                match driver.step().await {
                    Ok(Step::Message(message)) if message.packet.is_none_or(|packet| waiting.insert(packet)) => {
                        inbound.take(message, &client);
                    }
                    Ok(Step::Acknowledged(packet)) => drop(waiting.remove(&packet)),
                    Ok(Step::Message(_) | Step::Connected(_) | Step::Other) => {}
                    Err(failure) => return failure,
                }
            }
        };
        let mut failure = tokio::select! {
            failure = drive => failure,
            why = session.broken() => Failure::new(why),
        };
        if session.was_useful() {
            backoff.reset();
        } else if failure.closed {
            let hint = format!(
                " soon after it was made: another client may use the client id {client_id}, or the broker does not allow \
                 what is published"
            );
            failure.text.push_str(&hint);
        }
        failure
    }

    /// Connects, and waits until the broker has accepted.
    async fn connect(&self, client_id: &str, will: Option<&Status>) -> Result<(Client, Driver, Limits), Failure> {
        let reached = Arc::new(AtomicBool::new(false));
        let limit = self.broker.connect_timeout;
        let connect = async {
            let tls = match self.broker.tls.clone() {
                None => None,
                Some(tls) => Some(
                    tokio::task::spawn_blocking(move || tls.read())
                        .await
                        .map_err(|error| Failure::new(format!("cannot be reached: {error}")))?
                        .map_err(|why| Failure::new(format!("cannot be reached: {why}")))?,
                ),
            };
            let connect = Connect {
                target: self.broker.target.clone(),
                version: self.broker.version,
                client_id: client_id.to_owned(),
                login: self.broker.login.clone(),
                keep_alive: self.broker.keep_alive,
                will: will.map(|status| Will {
                    topic: status.topic.clone(),
                    payload: status.offline.clone(),
                    qos: session::STATUS_QOS,
                    retain: status.retain,
                }),
                exactly_once: self.broker.exactly_once,
                tls,
                reached: reached.clone(),
            };
            let made = connect.make().map_err(|why| Failure::new(format!("cannot be reached: {why}")));
            let (client, mut driver) = made?;
            loop {
                match driver.step().await? {
                    Step::Connected(limits) => return Ok::<_, Failure>((client, driver, limits)),
                    Step::Message(_) | Step::Acknowledged(_) | Step::Other => {}
                }
            }
        };
        match tokio::time::timeout(limit, connect).await {
            Ok(Err(mut failure)) if failure.closed => {
                failure.text.push_str(if self.broker.target.encrypted {
                    " before it has accepted us: is the port of `url` right?"
                } else {
                    " before it has accepted us: is it a port for TLS (`mqtts://`) or WebSocket (`ws://`)?"
                });
                Err(failure)
            }
            Ok(outcome) => outcome,
            Err(_) if reached.load(Ordering::Relaxed) => Err(Failure::new(format!(
                "does not accept the connection within {} ms, although somebody is there: does it speak MQTT, and is it \
                 well?",
                limit.as_millis()
            ))),
            Err(_) => Err(Failure::new(format!(
                "cannot be reached within {} ms: a firewall may be between, or `url` is wrong",
                limit.as_millis()
            ))),
        }
    }

    /// Connects as `butler check` does: beside the daemon's connection, and publishes nothing.
    pub(crate) async fn probe(&self) -> Result<String, String> {
        let client_id = client_id::of(&self.host, &self.broker, Purpose::Alone).await;
        let (client, mut driver, limits) =
            self.connect(&client_id, None).await.map_err(|why| self.not_connected(Some(&why.text)))?;
        client.disconnect(GOODBYE).await;
        let end = async { while driver.step().await.is_ok() {} };
        let _ = tokio::time::timeout(GOODBYE, end).await;
        let packet = match limits.packet {
            crate::client::LARGEST_PACKET => String::new(),
            bytes => format!(", takes packets of {bytes} bytes at most"),
        };
        Ok(format!("the broker {} accepts us as {client_id}{packet}; nothing was published", self.broker.url))
    }

    /// Once for each change.
    fn down(&self, failure: &Failure, client_id: &str) {
        let text = failure.text.clone();
        let changed = self.state.send_replace(State::Down(Some(text.clone())));
        match changed {
            State::Down(Some(before)) if before == text => tracing::debug!("the broker {} {text}", self.broker.url),
            _ => tracing::warn!(client_id, "the broker {} {text}; what is to be published waits", self.broker.url),
        }
    }
}
