//! Connections: handshake, then calls and answers until either side ends it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::faults::{self, Effect};
use super::methods::Step;
use super::reload::{ReloadState, Running};
use super::rpc::{self, Call, Outcome, Refusal};
use super::session::{Handles, Open};
use super::{Engine, SeenCall};
use crate::qrs::names_user;
use crate::socket::{ResetSwitch, Socket};

/// A client that connects must finish the handshakes within this time.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Answers that come within this time of each other are put in reverse order, if so wished.
const TOGETHER: Duration = Duration::from_millis(5);

type Web = WebSocketStream<TlsStream<Socket>>;

/// What is written.
enum Out {
    Text(String),
    HalfOf(String),
    Close(u16),
    Break,
    Deaf,
}

impl Engine {
    /// Serves a connection to its end.
    pub(crate) async fn serve(self, stream: TcpStream, tls: TlsAcceptor) {
        let _ = stream.set_nodelay(true);
        let reset = ResetSwitch::default();
        let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, tls.accept(Socket::new(stream, reset.clone()))).await else {
            return;
        };
        let fault = faults::of_handshake(&mut self.lock().faults);
        if matches!(fault, Some(Effect::NoHandshake)) {
            return std::future::pending().await;
        }
        let (mut user, mut path) = (String::new(), String::new());
        #[allow(clippy::result_large_err, reason = "the library wants it so")]
        let look = |request: &Request, response: Response| {
            let refused = |status: StatusCode, text: &str| {
                let mut refusal = ErrorResponse::new(Some(text.to_owned()));
                *refusal.status_mut() = status;
                refusal
            };
            if let Some(Effect::Status(status)) = fault {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Err(refused(status, "The simulator was told to answer like this"));
            }
            let header = request.headers().get("x-qlik-user").and_then(|user| user.to_str().ok()).unwrap_or_default();
            if !names_user(header) {
                return Err(refused(StatusCode::FORBIDDEN, "The header X-Qlik-User names no user"));
            }
            header.clone_into(&mut user);
            request.uri().path().clone_into(&mut path);
            if path != "/" && !path.strip_prefix("/app/").is_some_and(|id| !id.is_empty() && !id.contains('/')) {
                return Err(refused(StatusCode::NOT_FOUND, "There is nothing at this path"));
            }
            Ok(response)
        };
        let accepted = timeout(HANDSHAKE_TIME, accept_hdr_async(stream, look)).await;
        let Ok(Ok(web)) = accepted else { return };
        Connection { engine: self, web, reset }.run(fault, &user, &path).await;
    }
}

struct Connection {
    engine: Engine,
    web: Web,
    reset: ResetSwitch,
}

impl Connection {
    async fn run(mut self, fault: Option<Effect>, user: &str, path: &str) {
        if let Some(Effect::Notify(method, params)) = fault {
            return self.dismiss(&method, &params).await;
        }
        let Some(mut open) = Open::new(&self.engine, user, path) else {
            let message = json!({ "message": "You have exceeded the number of parallel sessions" });
            return self.dismiss("OnMaxParallelSessionsExceeded", &message).await;
        };
        let greetings = [
            rpc::notification("OnAuthenticationInformation", &json!({ "userId": user, "mustAuthenticate": false })),
            rpc::notification("OnConnected", &json!({ "qSessionState": "SESSION_CREATED" })),
        ];
        for greeting in greetings {
            if self.write(Out::Text(greeting)).await.is_none() {
                return;
            }
        }
        let mut handles = Handles::new(open.number);
        let (later, mut due) = mpsc::unbounded_channel();
        let mut delays = JoinSet::new();
        let mut held: Vec<String> = Vec::new();
        loop {
            let running = handles.reload.as_ref().filter(|reload| !reload.over);
            let end = running.map(|reload| reload.began + reload.plan.takes);
            let out = tokio::select! {
                message = self.web.next() => match message {
                    Some(Ok(Message::Text(text))) => self.called(&text, path, &mut open, &mut handles, &later, &mut delays, &mut held),
                    Some(Ok(Message::Close(frame))) => {
                        open.close_code = frame.map(|frame| frame.code.into());
                        // Sends the answer to it.
                        let _ = timeout(HANDSHAKE_TIME, self.web.next()).await;
                        return;
                    }
                    Some(Ok(_)) => None,
                    Some(Err(_)) | None => return,
                },
                Some(out) = due.recv() => Some(out),
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => self.ends(&mut handles),
                () = sleep(TOGETHER), if !held.is_empty() => {
                    let mut texts = std::mem::take(&mut held);
                    texts.push(rpc::answer(9_999_999, &Ok(json!({ "qReturn": "an answer to no question" }))));
                    for text in texts.into_iter().rev() {
                        if self.write(Out::Text(text)).await.is_none() {
                            return;
                        }
                    }
                    None
                }
            };
            if let Some(out) = out
                && self.write(out).await.is_none()
            {
                return;
            }
        }
    }

    /// What follows from a message at once.
    #[allow(clippy::too_many_arguments, reason = "the parts of one session")]
    fn called(
        &self,
        text: &str,
        path: &str,
        open: &mut Open,
        handles: &mut Handles,
        later: &mpsc::UnboundedSender<Out>,
        delays: &mut JoinSet<()>,
        held: &mut Vec<String>,
    ) -> Option<Out> {
        let call = match rpc::read(text) {
            Ok(call) => call,
            Err((id, refusal)) => return Some(Out::Text(rpc::refusal(id, &refusal))),
        };
        let fault = {
            let mut state = self.engine.lock();
            let params = serde_json::Value::Array(call.params.clone());
            state.saw(SeenCall { path: path.to_owned(), method: call.method.clone(), params });
            faults::of_call(&mut state.faults, &call.method, handles.app.as_deref())
        };
        match &fault {
            Some(Effect::Silent) => return None,
            Some(Effect::Deaf) => return Some(Out::Deaf),
            Some(Effect::Break) => return Some(Out::Break),
            Some(Effect::Close(code)) => return Some(Out::Close(*code)),
            Some(Effect::NotJson) => return Some(Out::Text("<html>Bad gateway</html>".to_owned())),
            Some(Effect::Huge(bytes)) => {
                return Some(Out::Text(rpc::answer(
                    call.id,
                    &Ok(json!({ "qDocList": [], "padding": "x".repeat(*bytes) })),
                )));
            }
            Some(Effect::Refuse(code, message)) => {
                return Some(Out::Text(rpc::answer(call.id, &Err(Refusal::new(*code, "", message)))));
            }
            Some(Effect::Odd) => return Some(Out::Text(rpc::answer(call.id, &Ok(json!([1, 2]))))),
            Some(Effect::NullHandle) => {
                return Some(Out::Text(rpc::answer(
                    call.id,
                    &Ok(json!({ "qReturn": { "qType": null, "qHandle": null } })),
                )));
            }
            _ => {}
        }
        let outcome = self.outcome(&call, open, handles)?;
        let text = rpc::answer(call.id, &outcome);
        match fault {
            Some(Effect::HalfFrame) => Some(Out::HalfOf(text)),
            Some(Effect::Delay(delay)) => {
                let later = later.clone();
                delays.spawn(async move {
                    sleep(delay).await;
                    let _ = later.send(Out::Text(text));
                });
                None
            }
            Some(Effect::Reverse) => {
                held.push(text);
                None
            }
            _ => Some(Out::Text(text)),
        }
    }

    /// The outcome of a call; absent for a reload, which has begun.
    fn outcome(&self, call: &Call, open: &mut Open, handles: &mut Handles) -> Option<Outcome> {
        match self.engine.perform(call, handles) {
            Step::Answer(outcome) => Some(outcome),
            Step::Reload { mode, partial } => {
                let app = handles.app.clone().unwrap_or_default();
                let plan = self.engine.lock().plans.get(&app).cloned().unwrap_or_default();
                let index = open.reloads(app, mode, partial);
                handles.reload = Some(Running { index, request: call.id, began: Instant::now(), plan, over: false });
                None
            }
        }
    }

    /// The script has come to its end.
    fn ends(&self, handles: &mut Handles) -> Option<Out> {
        let running = handles.reload.as_mut()?;
        running.over = true;
        let success = running.plan.succeeds;
        if let Some(reload) = self.engine.lock().reloads.get_mut(running.index) {
            reload.state = if success { ReloadState::Succeeded } else { ReloadState::Failed };
        }
        Some(Out::Text(rpc::answer(running.request, &Ok(json!({ "qReturn": success })))))
    }

    async fn dismiss(mut self, method: &str, params: &serde_json::Value) {
        if self.write(Out::Text(rpc::notification(method, params))).await.is_some() {
            self.write(Out::Close(1000)).await;
        }
    }

    /// Writes; absent when the connection has ended.
    async fn write(&mut self, out: Out) -> Option<()> {
        match out {
            Out::Text(text) => self.web.send(Message::text(text)).await.ok(),
            Out::HalfOf(text) => {
                let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
                let frame = [&[0x81, 126, length[0], length[1]], &text.as_bytes()[..text.len() / 2]].concat();
                self.web.get_mut().write_all(&frame).await.ok()?;
                self.web.get_mut().flush().await.ok()
            }
            Out::Close(code) => {
                let _ = self.web.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await;
                // Until the client has answered.
                let _ = timeout(HANDSHAKE_TIME, async { while let Some(Ok(_)) = self.web.next().await {} }).await;
                None
            }
            Out::Break => {
                self.reset.set();
                None
            }
            Out::Deaf => std::future::pending().await,
        }
    }
}
