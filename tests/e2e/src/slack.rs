//! A simulated Slack: `chat.postMessage` and `auth.test` for one bot token, one incoming webhook, channels and threads. It
//! refuses what the real one refuses; see [`rules`] for the content of messages.

pub mod rules;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Path of the webhook.
const WEBHOOK: &str = "/services/T0001/B0001/xxxx";

/// A message in a channel.
#[derive(Debug, Clone)]
pub struct SlackMessage {
    /// Its time stamp.
    pub ts: String,
    /// The message that it answers.
    pub thread: Option<String>,
    /// Name of its channel.
    pub channel: String,
    /// As it was posted.
    pub body: Value,
}

/// An answer of something on the way to Slack, or of a Slack in trouble.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Content type and content.
    pub body: (&'static str, String),
}

impl Trouble {
    /// Too many messages.
    pub fn rate_limit(seconds: u64) -> Self {
        let body = json!({ "ok": false, "error": "ratelimited" }).to_string();
        Self { status: 429, retry_after: Some(seconds), body: ("application/json", body) }
    }

    /// A page for people.
    pub fn page(status: u16, title: &str) -> Self {
        let page = format!("<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>");
        Self { status, retry_after: None, body: ("text/html", page) }
    }

    /// What a method answers with status 200 that did not do its work.
    pub fn error(code: &str) -> Self {
        let body = json!({ "ok": false, "error": code }).to_string();
        Self { status: 200, retry_after: None, body: ("application/json", body) }
    }
}

/// A request, and the status and code that it was answered with.
#[derive(Debug, Clone)]
pub struct SlackCall {
    /// Path.
    pub path: String,
    /// Status.
    pub status: u16,
    /// `ok`, or an error code.
    pub code: String,
    /// When it came.
    pub at: std::time::Instant,
}

struct Workspace {
    token: String,
    has_webhook: bool,
    /// Names; ids are `C` and the number.
    channels: Vec<String>,
    trouble: VecDeque<Trouble>,
    messages: Vec<SlackMessage>,
    calls: Vec<SlackCall>,
    last_ts: u64,
}

/// The simulated Slack. It ends when it is dropped.
pub struct Slack {
    address: SocketAddr,
    workspace: Arc<Mutex<Workspace>>,
    task: tokio::task::JoinHandle<()>,
}

impl Slack {
    /// The token that it knows at first.
    pub const TOKEN: &str = "xoxb-simulated-token";

    /// Starts it on a free port, with the channels `ops` and `etl`.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let workspace = Workspace {
            token: Self::TOKEN.to_owned(),
            has_webhook: true,
            channels: vec!["ops".to_owned(), "etl".to_owned()],
            trouble: VecDeque::new(),
            messages: Vec::new(),
            calls: Vec::new(),
            last_ts: 0,
        };
        let workspace = Arc::new(Mutex::new(workspace));
        let router = Router::new().fallback(answer).with_state(workspace.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, workspace, task }
    }

    /// Address of the webhook, which posts into the first channel.
    pub fn webhook(&self) -> String {
        format!("http://{}{WEBHOOK}", self.address)
    }

    /// Address of the methods.
    pub fn api(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Knows another token from now on.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    /// Knows the webhook from now on, or knows it no more.
    pub fn set_webhook(&self, known: bool) {
        self.lock().has_webhook = known;
    }

    /// Answers the next requests so, one each.
    pub fn next(&self, trouble: impl IntoIterator<Item = Trouble>) {
        self.lock().trouble.extend(trouble);
    }

    /// Deletes a message.
    pub fn delete(&self, ts: &str) {
        self.lock().messages.retain(|message| message.ts != ts);
    }

    /// The messages so far, without those deleted.
    pub fn messages(&self) -> Vec<SlackMessage> {
        self.lock().messages.clone()
    }

    /// The requests so far.
    pub fn calls(&self) -> Vec<SlackCall> {
        self.lock().calls.clone()
    }

    /// Waits for so many messages and returns them.
    ///
    /// # Panics
    /// When there are fewer in time.
    pub async fn wait(&self, count: usize) -> Vec<SlackMessage> {
        crate::wait_for(&format!("{count} messages in Slack; it answered {:?}", self.calls()), || async {
            Some(self.messages()).filter(|messages| messages.len() >= count)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Workspace> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(workspace): State<Arc<Mutex<Workspace>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
    let path = uri.path().to_owned();
    let (response, code) = match workspace.trouble.pop_front() {
        Some(trouble) => (in_trouble(&trouble), "trouble".to_owned()),
        None if method != Method::POST => (StatusCode::METHOD_NOT_ALLOWED.into_response(), "method".to_owned()),
        None if path.starts_with("/services/") => workspace.by_webhook(&path, &headers, &body),
        None => match path.as_str() {
            "/api/auth.test" => by_method(workspace.auth(&headers)),
            "/api/chat.postMessage" => by_method(workspace.post(&headers, &body)),
            _ => by_method(Err(("unknown_method", String::new()))),
        },
    };
    let status = response.status().as_u16();
    workspace.calls.push(SlackCall { path, status, code, at: std::time::Instant::now() });
    response
}

fn in_trouble(trouble: &Trouble) -> Response {
    let status = StatusCode::from_u16(trouble.status).expect("a test names a status that there is");
    let mut response = (status, [("content-type", trouble.body.0)], trouble.body.1.clone()).into_response();
    if let Some(seconds) = trouble.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// Methods answer 200 whatever happens.
fn by_method(outcome: Result<Value, rules::Fault>) -> (Response, String) {
    let (code, body) = match outcome {
        Ok(body) => ("ok".to_owned(), body),
        Err((code, details)) => {
            let messages = [details].into_iter().filter(|text| !text.is_empty()).map(|text| format!("[ERROR] {text}"));
            let metadata = json!({ "messages": messages.collect::<Vec<_>>() });
            (code.to_owned(), json!({ "ok": false, "error": code, "response_metadata": metadata }))
        }
    };
    (axum::Json(body).into_response(), code)
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"))
}

impl Workspace {
    fn channel(&self, name: &Value) -> Option<String> {
        let name = name.as_str()?;
        let known = self.channels.iter().enumerate();
        let mut known = known.filter(|(number, channel)| {
            name.trim_start_matches('#') == channel.as_str() || name == format!("C{number}")
        });
        known.next().map(|(_, channel)| channel.clone())
    }

    fn add(&mut self, channel: String, thread: Option<String>, body: Value) -> String {
        self.last_ts += 1;
        let ts = format!("1700000000.{:06}", self.last_ts);
        self.messages.push(SlackMessage { ts: ts.clone(), thread, channel, body });
        ts
    }

    fn auth(&self, headers: &HeaderMap) -> Result<Value, rules::Fault> {
        let header = headers.get("authorization").and_then(|header| header.to_str().ok());
        match header.map(|header| header == format!("Bearer {}", self.token)) {
            None => Err(("not_authed", String::new())),
            Some(false) => Err(("invalid_auth", String::new())),
            Some(true) => Ok(json!({ "ok": true, "team": "Acme", "user": "butler", "team_id": "T0001" })),
        }
    }

    fn post(&mut self, headers: &HeaderMap, body: &Bytes) -> Result<Value, rules::Fault> {
        self.auth(headers)?;
        if !is_json(headers) {
            return Err(("invalid_post_type", String::new()));
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| ("invalid_json", error.to_string()))?;
        if !body.is_object() {
            return Err(("json_not_object", String::new()));
        }
        let channel = self.channel(&body["channel"]).ok_or(("channel_not_found", String::new()))?;
        if let Some(fault) = rules::refuse(&body) {
            return Err(fault);
        }
        let thread = body["thread_ts"].as_str().map(str::to_owned);
        let is_first = |message: &SlackMessage| {
            Some(&message.ts) == thread.as_ref() && message.channel == channel && message.thread.is_none()
        };
        if thread.is_some() && !self.messages.iter().any(is_first) {
            return Err(("thread_not_found", String::new()));
        }
        let ts = self.add(channel, thread, body);
        Ok(json!({ "ok": true, "channel": "C0", "ts": ts, "message": {} }))
    }

    /// Webhooks answer with a status, and a code as text. They post into their own channel, whatever the message says.
    fn by_webhook(&mut self, path: &str, headers: &HeaderMap, body: &Bytes) -> (Response, String) {
        let refuse = |status: StatusCode, code: &str| ((status, code.to_owned()).into_response(), code.to_owned());
        if path != WEBHOOK || !self.has_webhook {
            return refuse(StatusCode::NOT_FOUND, "no_service");
        }
        let body = serde_json::from_slice::<Value>(body).ok().filter(|body| body.is_object() && is_json(headers));
        let Some(body) = body else { return refuse(StatusCode::BAD_REQUEST, "invalid_payload") };
        if let Some((code, _)) = rules::refuse(&body) {
            return refuse(StatusCode::BAD_REQUEST, code);
        }
        let channel = self.channels[0].clone();
        self.add(channel, None, body);
        (([("content-type", "text/html")], "ok").into_response(), "ok".to_owned())
    }
}
