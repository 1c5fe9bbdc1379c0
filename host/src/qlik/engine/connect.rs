//! From an address to an open WebSocket: TCP, TLS with the client certificate, and the handshake with the user header.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::super::explain;
use super::super::repository::Repository;
use super::error::EngineError;
use super::limits::EngineLimits;

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// What is encoded in one step of a path: all but unreserved characters.
const STEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Between two looks at the certificate files, when an engine refuses them.
const LOOK: Duration = Duration::from_millis(500);

/// Where the engine is, and who asks it.
#[derive(Debug)]
pub(super) struct Address {
    host: String,
    port: u16,
    /// `host:port`, for messages and the request.
    pub(super) server: String,
    user: HeaderValue,
    /// Its connection keeps the certificates.
    repository: Arc<Repository>,
}

/// Why one attempt failed.
enum Failed {
    /// Perhaps there are new certificates.
    Refused(String),
    Other(String),
}

impl Address {
    pub(super) fn new(host: &str, port: u16, repository: Arc<Repository>) -> Self {
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let user = repository.user().clone();
        Self { host: host.to_owned(), port, server: format!("{shown}:{port}"), user, repository }
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Unreachable { server: self.server.clone(), reason: reason.into() }
    }

    /// Connects to a path (8.1: `/`, `/app/engineData`, `/app/<id>`).
    pub(super) async fn connect(&self, path: &str, limits: &EngineLimits) -> Result<Socket, EngineError> {
        // TLS and its handshake are large: they need not be in the future of whoever asks.
        let connecting = Box::pin(async {
            let connection = self.repository.connection();
            let mut made = connection.made();
            let mut renewed = false;
            loop {
                match self.attempt(path, made.tls.clone(), limits).await {
                    Ok(socket) => return Ok(socket),
                    Err(Failed::Refused(_)) if !renewed && connection.renew(&made, LOOK).await => {
                        renewed = true;
                        made = connection.made();
                    }
                    Err(Failed::Refused(reason) | Failed::Other(reason)) => return Err(self.unreachable(reason)),
                }
            }
        });
        tokio::time::timeout(limits.connect, connecting).await.unwrap_or_else(|_| {
            let within = format!("no session within {:.1} s", limits.connect.as_secs_f32());
            Err(self.unreachable(format!("{within} (is the server overloaded, or does a firewall drop packets?)")))
        })
    }

    async fn attempt(&self, path: &str, tls: Arc<ClientConfig>, limits: &EngineLimits) -> Result<Socket, Failed> {
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| Failed::Other("its name is none (check `qlik.host`)".to_owned()))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| {
            let remedy = "check `qlik.host`, `ports.engine`, the firewall, and that the engine service runs";
            Failed::Other(format!("{error} ({remedy})"))
        })?;
        // Without it, small calls may wait for acknowledgements. Failure costs time only.
        let _ = stream.set_nodelay(true);
        let stream =
            TlsConnector::from(tls).connect(name, stream).await.map_err(|error| match explain::tls(&error, PORT) {
                Some(reason) => Failed::Refused(reason),
                None => Failed::Refused(format!("TLS breaks off: {error} ({RESTARTED})")),
            })?;
        let wrong = |error: &dyn std::fmt::Display| Failed::Other(format!("it cannot be asked: {error}"));
        let mut request =
            format!("wss://{}{path}", self.server).into_client_request().map_err(|error| wrong(&error))?;
        request.headers_mut().insert("X-Qlik-User", self.user.clone());
        let config = WebSocketConfig::default()
            .read_buffer_size(32 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(limits.message))
            .max_frame_size(Some(limits.message));
        let (socket, _) =
            client_async_with_config(request, stream, Some(config)).await.map_err(|error| refusal(&error))?;
        Ok(socket)
    }
}

const PORT: &str = "ports.engine";
const RESTARTED: &str = "did the engine service restart?";

/// What it means that the handshake of WebSocket failed.
fn refusal(error: &Error) -> Failed {
    match error {
        Error::Http(answer) => {
            let status = answer.status().as_u16();
            let remedy = match status {
                300..=399 => "`ports.engine` must lead to the engine itself, not to the proxy",
                401 | 403 => {
                    "check that `qlik.user` exists, that the client certificate is of this site, and `ports.engine`"
                }
                429 | 500.. => "it is overloaded or starting",
                _ => "is `ports.engine` that of the engine?",
            };
            let reason = format!("it refuses the session with status {status} ({remedy})");
            if matches!(status, 401 | 403) { Failed::Refused(reason) } else { Failed::Other(reason) }
        }
        Error::Io(io) => Failed::Refused(
            // A server that speaks TLS 1.3 refuses a certificate only after the client has finished.
            explain::tls(io, PORT).unwrap_or_else(|| format!("the connection broke: {io} ({RESTARTED})")),
        ),
        other => Failed::Other(format!("what listens there is no engine: {other} (check `ports.engine`)")),
    }
}

/// What broke an open connection.
pub(super) fn broken(error: &Error) -> String {
    let tls = error.source().and_then(|error| explain::tls(error, PORT));
    tls.unwrap_or_else(|| format!("the connection broke: {error} ({RESTARTED})"))
}

/// The path of an app (8.1).
pub(super) fn app_path(app: &str) -> String {
    format!("/app/{}", utf8_percent_encode(app, STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_app_is_one_step_of_the_path() {
        assert_eq!(app_path("0b7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c01"), "/app/0b7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c01");
        assert_eq!(app_path(r"C:\Users\å\a b.qvf?x#y/.."), "/app/C%3A%5CUsers%5C%C3%A5%5Ca%20b.qvf%3Fx%23y%2F..");
    }
}
