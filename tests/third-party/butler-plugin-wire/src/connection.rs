//! The connection: connects, again and again, and matches acknowledgements to deliveries.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use butler_plugin_api::{Host, ServiceError};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

const RECONNECT: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_secs(10);

/// A delivery on its way to the peer. Dropping it unanswered means: try again.
pub struct Outgoing {
    pub id: String,
    pub event: String,
    pub answer: oneshot::Sender<Answer>,
}

/// What the peer answered.
pub enum Answer {
    Acknowledged,
    Refused(String),
}

/// Whether the peer is there; shared with the instance.
#[derive(Clone)]
pub struct State(Arc<Mutex<Option<String>>>);

impl Default for State {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("not connected yet".to_owned()))))
    }
}

impl State {
    /// What is wrong.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

pub struct Connection {
    address: String,
    host: Host,
    state: State,
    /// What was sent and is not acknowledged.
    waiting: HashMap<String, oneshot::Sender<Answer>>,
}

impl Connection {
    pub fn new(address: String, host: Host, state: State) -> Self {
        Self { address, host, state, waiting: HashMap::new() }
    }

    /// Runs until the instance is gone.
    pub async fn run(mut self, mut deliveries: mpsc::Receiver<Outgoing>) {
        loop {
            let connected = timeout(CONNECT, TcpStream::connect(&self.address)).await;
            let trouble = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    self.state.set(None);
                    tracing::info!(address = self.address, "connected");
                    match self.converse(stream, &mut deliveries).await {
                        Ok(()) => return,
                        Err(trouble) => format!("the connection to {} broke: {trouble}", self.address),
                    }
                }
                Err(trouble) => format!("{} cannot be reached: {trouble}", self.address),
            };
            tracing::warn!("{trouble}");
            self.state.set(Some(trouble));
            self.waiting.clear();
            // Nothing waits for a peer that is not there: the host repeats it.
            let until = Instant::now() + RECONNECT;
            loop {
                tokio::select! {
                    () = sleep_until(until) => break,
                    outgoing = deliveries.recv() => if outgoing.is_none() { return },
                }
            }
        }
    }

    /// Talks until the connection breaks, or until there is nobody left to talk for.
    async fn converse(&mut self, stream: TcpStream, deliveries: &mut mpsc::Receiver<Outgoing>) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        // Written by a task of its own: a peer that does not read must not keep its acknowledgements from being read.
        let (out, outgoing) = mpsc::unbounded_channel();
        let writing = tokio::spawn(write(writer, outgoing));
        let ended = loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => if let Some(reply) = self.heard(&line).await { let _ = out.send(reply); },
                    Ok(None) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => break Err(error),
                },
                delivery = deliveries.recv() => {
                    let Some(Outgoing { id, event, answer }) = delivery else { break Ok(()) };
                    let _ = out.send(format!("EVENT {id} {event}\n"));
                    self.waiting.insert(id, answer);
                }
            }
        };
        writing.abort();
        ended
    }

    /// Does what a line of the peer says; the reply, if it needs one.
    async fn heard(&mut self, line: &str) -> Option<String> {
        let mut words = line.splitn(3, ' ');
        let (verb, id, rest) = (words.next()?, words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match verb {
            "ACK" => self.answer(id, Answer::Acknowledged),
            "REFUSE" => self.answer(id, Answer::Refused(rest.to_owned())),
            "SAY" => match self.host.emit_once(&format!("said-{id}"), "wire.said", json!({ "message": rest })).await {
                Ok(_) => return Some(format!("HEARD {id}\n")),
                Err(ServiceError::Stopped) => {}
                Err(error) => tracing::error!("the peer's message {id} is lost unless it is sent again: {error}"),
            },
            _ => tracing::warn!("the peer sent a line that means nothing: {line:?}"),
        }
        None
    }

    fn answer(&mut self, id: &str, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(id) {
            // The host may have stopped to wait.
            let _ = waiting.send(answer);
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        // A broken connection is seen by the reader.
        if writer.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}
