//! The other end of the plugin `wire`: a TCP peer that takes lines and says what it is told to say.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::wait_for;

/// An event as it came.
#[derive(Debug, Clone)]
pub struct WireEvent {
    /// Which connection it came by, from 1.
    pub connection: usize,
    /// Id of the delivery.
    pub delivery: String,
    /// The event.
    pub event: Value,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// Lines to the plugin; the connection of now.
    lines: Option<UnboundedSender<String>>,
    reader: Option<JoinHandle<()>>,
    events: Vec<WireEvent>,
    heard: BTreeSet<String>,
    /// Acknowledges at once.
    prompt: bool,
}

impl State {
    fn say(&self, line: &str) {
        if let Some(lines) = &self.lines {
            let _ = lines.send(format!("{line}\n"));
        }
    }
}

/// The peer. It ends when it is dropped.
pub struct WirePeer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl WirePeer {
    /// Starts it on a free port. It acknowledges nothing until it is told to.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let accepted = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, mut writer) = stream.into_split();
                let (lines, mut outgoing) = unbounded_channel::<String>();
                let mut state = lock(&accepted);
                state.connections += 1;
                let connection = state.connections;
                state.lines = Some(lines);
                tokio::spawn(async move {
                    while let Some(line) = outgoing.recv().await {
                        if writer.write_all(line.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
                let shared = accepted.clone();
                state.reader = Some(tokio::spawn(async move {
                    let mut lines = BufReader::new(reader).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        take(&shared, connection, &line);
                    }
                }));
            }
        });
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The events that came, in this order.
    pub fn events(&self) -> Vec<WireEvent> {
        lock(&self.state).events.clone()
    }

    /// Waits until so many different deliveries came by a connection, and returns their ids.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn wait(&self, connection: usize, count: usize) -> BTreeSet<String> {
        wait_for(&format!("{count} deliveries by connection {connection}"), || async {
            let events = self.events();
            let ids = events.into_iter().filter(|event| event.connection == connection).map(|event| event.delivery);
            Some(ids.collect::<BTreeSet<_>>()).filter(|ids| ids.len() >= count)
        })
        .await
    }

    /// Says a line on the connection of now; without one it is lost.
    pub fn say(&self, line: &str) {
        lock(&self.state).say(line);
    }

    /// Acknowledges everything from now on, and what came by the connection of now.
    pub fn acknowledge_all(&self) {
        let mut state = lock(&self.state);
        state.prompt = true;
        let now = state.connections;
        for event in state.events.iter().filter(|event| event.connection == now) {
            state.say(&format!("ACK {}", event.delivery));
        }
    }

    /// Breaks the connection.
    pub fn hang_up(&self) {
        let mut state = lock(&self.state);
        state.lines = None;
        if let Some(reader) = state.reader.take() {
            reader.abort();
        }
    }

    /// Ids of own messages that the plugin has stored as events.
    pub fn heard(&self) -> BTreeSet<String> {
        lock(&self.state).heard.clone()
    }
}

impl Drop for WirePeer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.hang_up();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(state: &Mutex<State>, connection: usize, line: &str) {
    let mut state = lock(state);
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("EVENT"), Some(delivery), Some(event)) => {
            if state.prompt {
                state.say(&format!("ACK {delivery}"));
            }
            let event = serde_json::from_str(event).unwrap_or_default();
            state.events.push(WireEvent { connection, delivery: delivery.to_owned(), event });
        }
        (Some("HEARD"), Some(id), None) => {
            state.heard.insert(id.to_owned());
        }
        _ => state.events.push(WireEvent { connection, delivery: format!("odd line {line:?}"), event: Value::Null }),
    }
}
