//! One connection from its handshake to its end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Order, Phase};
use super::body::{Download, Upload};
use super::connections::Place;
use super::limits::Limits;
use super::tls::Tls;
use crate::rest::api::{Api, Ends};
use crate::rest::request;
use crate::rest::room::Room;
use crate::stop::stopping;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The same with HTTP/2, where there are many at once.
const MAX_HEAD_OF_MANY: u32 = 16 << 10;
/// Requests at once on one connection with HTTP/2.
const STREAMS: u32 = 32;
/// How much of its bodies a client may send before it is read; all streams together four times as much.
const WINDOW: u32 = 256 << 10;
/// How much of an answer waits for its client.
const UNSENT: usize = 64 << 10;
/// With HTTP/2 a client is asked so often whether it is still there, and has so long to answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// First byte of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What all connections share.
pub(super) struct Shared {
    api: Arc<Api>,
    tls: Option<Arc<Tls>>,
    http: auto::Builder<TokioExecutor>,
    /// A place for each request at once, beside the first of each connection.
    further: Arc<Room>,
}

/// The connection is being closed for another one: its requests are not done.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed")]
struct Closed;

impl Shared {
    pub(super) fn new(api: Arc<Api>, tls: Option<Arc<Tls>>, limits: &Limits) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // The table of connections sees to all other time limits. Only here it is known that a head is on the way.
        http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(MAX_HEAD_OF_MANY)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_send_buf_size(UNSENT)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        let further = Arc::new(Room::new(limits.further));
        Self { api, tls, http, further }
    }

    /// Serves a connection until its end.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place, stop: watch::Receiver<bool>) {
        let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
            Ok(local) => local,
            Err(error) => {
                tracing::debug!(%error, "a REST connection is gone");
                return;
            }
        };
        let ends = Ends { peer, local };
        let Some(tls) = &self.tls else { return self.exchange(stream, ends, &place.activity, stop).await };
        let (mut orders, mut stopped) = (place.activity.orders(), stop.clone());
        let secured = tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            _ = orders.wait_for(|order| *order != Order::Serve) => return,
            secured = secure(tls, stream) => secured,
        };
        match secured {
            Ok(Some(stream)) => self.exchange(stream, ends, &place.activity, stop).await,
            Ok(None) => tracing::debug!(%peer, "a REST connection without TLS"),
            Err(error) => tracing::debug!(%peer, %error, "a REST connection without a TLS session"),
        }
    }

    /// Requests and answers.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ends: Ends,
        activity: &Arc<Activity>,
        mut stop: watch::Receiver<bool>,
    ) {
        let service =
            service_fn(|request| answer(self.api.clone(), self.further.clone(), activity.clone(), ends, request));
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let (mut orders, mut first_orders) = (activity.orders(), activity.orders());
        let mut leaving = false;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = closing(&mut orders) => {
                    tracing::debug!(peer = %ends.peer, "a REST connection is closed: its client is slow, or others need the place");
                    return;
                }
                () = leave(&mut first_orders, &mut stop), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %ends.peer, %error, "a REST connection broke");
        }
    }
}

/// Waits until the connection is to be closed.
async fn closing(orders: &mut watch::Receiver<Order>) {
    // An error would mean that its place is gone, which it holds itself.
    let _ = orders.wait_for(|order| *order == Order::Close).await;
}

/// Waits until no further request is to come.
async fn leave(orders: &mut watch::Receiver<Order>, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = orders.wait_for(|order| *order != Order::Serve) => {}
        () = stopping(stop) => {}
    }
}

/// The TLS handshake; nothing if the client does not begin one, which it is told in its own language.
async fn secure(tls: &Tls, mut stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == HANDSHAKE {
        return TlsAcceptor::from(tls.config()).accept(stream).await.map(Some);
    }
    // Unread, it would make the system reset the connection before the answer is seen.
    let _ = stream.read(&mut [0; 4096]).await?;
    let message = "this server speaks HTTPS only: write https:// in place of http://";
    let body = json!({ "statusCode": 400, "error": "Bad Request", "message": message }).to_string();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Answers a request.
async fn answer(
    api: Arc<Api>,
    further: Arc<Room>,
    activity: Arc<Activity>,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Response<Download>, Closed> {
    use hyper::body::Body as _;

    // Their bodies are not read.
    let method = request::method(request.method(), request.headers());
    let begins = matches!(method, Method::GET | Method::HEAD) || request.body().is_end_stream();
    let exchange = activity.begin(if begins { Phase::Working } else { Phase::Receiving }).ok_or(Closed)?;
    let version = request.version();
    let request = request.map(|body| Body::new(Upload::new(body, exchange.clone())));
    // So clients with one request at a time always get through, and those with many on each connection do not fill the memory.
    // Who takes none of many answers keeps nobody else out.
    let place = exchange.is_further.then(|| further.take(&further.share(ends.peer.ip()), 1));
    let (mut answer, place) = if let Some(None) = place {
        drop(request);
        (api.busy(), None)
    } else {
        (api.handle(request, ends).await, place.flatten())
    };
    if exchange.is_unread() && version <= Version::HTTP_11 {
        // What follows is the rest of the body, and no request.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.enter(Phase::Sending);
    Ok(answer.map(|body| Download::new(body, exchange, place)))
}
