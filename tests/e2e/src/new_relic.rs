//! A simulated New Relic: Event, Log and Metric API for two accounts. It answers as the documentation of the three says, and
//! notes what the real one would drop later on without a word; see [`rules`].

pub mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Most bytes of a request, before it is unpacked and after.
const MOST: usize = 1_000_000;

/// Which of its APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewRelicApi {
    /// `/v1/accounts/<id>/events`.
    Event,
    /// `/log/v1`.
    Log,
    /// `/metric/v1`.
    Metric,
}

/// A request that was taken or refused.
#[derive(Debug, Clone)]
pub struct NewRelicCall {
    /// Which API.
    pub api: NewRelicApi,
    /// Name of the account whose key it had; empty for another key.
    pub account: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Body, unpacked.
    pub body: Value,
    /// The same as text.
    pub text: String,
    /// Whether it was compressed.
    pub gzip: bool,
    /// Header `X-Test`.
    pub header: Option<String>,
}

/// An answer of a New Relic in trouble, or of something on the way to it.
#[derive(Debug, Clone)]
pub struct NewRelicTrouble {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Content.
    pub body: String,
}

impl NewRelicTrouble {
    /// A status, in the form of errors that the three APIs have.
    pub fn status(status: u16) -> Self {
        let error = json!({ "type": "standard", "message": format!("status {status}") });
        Self { status, retry_after: None, body: json!({ "success": false, "error": error }).to_string() }
    }
}

struct Cloud {
    /// Names, by number and key.
    accounts: Vec<(String, String, String)>,
    trouble: BTreeMap<(NewRelicApi, String), NewRelicTrouble>,
    /// None: as usual.
    once: VecDeque<Option<NewRelicTrouble>>,
    calls: Vec<NewRelicCall>,
    dropped: Vec<String>,
}

/// The simulated New Relic. It ends when it is dropped.
pub struct NewRelic {
    address: SocketAddr,
    cloud: Arc<Mutex<Cloud>>,
    task: tokio::task::JoinHandle<()>,
}

impl NewRelic {
    /// Keys of the accounts `A` and `B`, whose numbers are 101 and 202.
    pub const KEYS: [&str; 2] = ["simulated-key-of-a", "simulated-key-of-b"];

    /// Starts it on a free port.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let account = |name: &str, id: &str, key: &str| (name.to_owned(), id.to_owned(), key.to_owned());
        let cloud = Cloud {
            accounts: vec![account("A", "101", Self::KEYS[0]), account("B", "202", Self::KEYS[1])],
            trouble: BTreeMap::new(),
            once: VecDeque::new(),
            calls: Vec::new(),
            dropped: Vec::new(),
        };
        let cloud = Arc::new(Mutex::new(cloud));
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(cloud.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, cloud, task }
    }

    /// Settings that lead to it: `urls` and `accounts`, in one line.
    pub fn settings(&self) -> String {
        let [a, b] = Self::KEYS;
        let base = format!("http://{}", self.address);
        format!(
            "urls: {{ event: \"{base}\", log: \"{base}/log/v1\", metric: \"{base}/metric/v1\" }}, accounts: [{{ name: A, \
             accountId: 101, apiKey: {a} }}, {{ name: B, accountId: \"202\", apiKey: {b} }}]"
        )
    }

    /// Refuses what comes for an account to an API, until it is told otherwise.
    pub fn trouble(&self, api: NewRelicApi, account: &str, trouble: Option<NewRelicTrouble>) {
        let place = (api, account.to_owned());
        let mut cloud = self.lock();
        match trouble {
            Some(trouble) => cloud.trouble.insert(place, trouble),
            None => cloud.trouble.remove(&place),
        };
    }

    /// Answers the next requests so, one each; none: as usual.
    pub fn next(&self, trouble: impl IntoIterator<Item = Option<NewRelicTrouble>>) {
        self.lock().once.extend(trouble);
    }

    /// Knows another key of an account from now on.
    pub fn set_key(&self, account: &str, key: &str) {
        for (name, _, known) in &mut self.lock().accounts {
            if name == account {
                key.clone_into(known);
            }
        }
    }

    /// The requests so far.
    pub fn calls(&self) -> Vec<NewRelicCall> {
        self.lock().calls.clone()
    }

    /// The requests so far that were taken, of an API.
    pub fn taken(&self, api: NewRelicApi) -> Vec<NewRelicCall> {
        self.calls().into_iter().filter(|call| call.api == api && call.status < 300).collect()
    }

    /// What the real one would have taken and dropped.
    pub fn dropped(&self) -> Vec<String> {
        self.lock().dropped.clone()
    }

    /// Waits until so many requests to an API were taken, and returns them.
    ///
    /// # Panics
    /// When there are fewer in time.
    pub async fn wait(&self, api: NewRelicApi, count: usize) -> Vec<NewRelicCall> {
        crate::wait_for(&format!("{count} requests to the API {api:?}"), || async {
            Some(self.taken(api)).filter(|calls| calls.len() >= count)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NewRelic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(cloud): State<Arc<Mutex<Cloud>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    let (api, id) = match path.strip_prefix("/v1/accounts/").and_then(|rest| rest.strip_suffix("/events")) {
        Some(id) => (NewRelicApi::Event, Some(id)),
        None if path == "/log/v1" => (NewRelicApi::Log, None),
        None if path == "/metric/v1" => (NewRelicApi::Metric, None),
        None => return StatusCode::NOT_FOUND.into_response(),
    };
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let mut cloud = cloud.lock().unwrap_or_else(PoisonError::into_inner);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = header("api-key").unwrap_or_default();
    let account = cloud.accounts.iter().find(|(_, _, known)| known == key);
    let belongs = account.is_some_and(|(_, known, _)| id.is_none_or(|id| id == known));
    let account = account.map(|(name, ..)| name.clone()).unwrap_or_default();
    let gzip = header("content-encoding") == Some("gzip");
    let text = unpack(&body, gzip);
    let content = text.as_ref().ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let is_json = header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let lasting = cloud.trouble.get(&(api, account.clone())).cloned();
    let trouble = cloud.once.pop_front().unwrap_or(lasting);
    let status = match &trouble {
        Some(trouble) => trouble.status,
        None if body.len() > MOST || matches!(text, Err(413)) => 413,
        None if !is_json => 415,
        None if !belongs => 403,
        None if text.is_err() || content.is_none() => 400,
        // About an empty list the three differ.
        None if content == Some(json!([])) && api == NewRelicApi::Event => 400,
        None if api == NewRelicApi::Event => 200,
        None => 202,
    };
    let text = text.unwrap_or_default();
    let content = content.unwrap_or_default();
    if status < 300 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_millis()).unwrap_or_default();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let fault = match api {
            NewRelicApi::Event => rules::event_fault(&content, now),
            NewRelicApi::Log => rules::log_fault(&content, now),
            NewRelicApi::Metric => rules::metric_fault(&content, now),
        };
        cloud.dropped.extend(fault);
    }
    let header = header("x-test").map(str::to_owned);
    cloud.calls.push(NewRelicCall { api, account, status, body: content, text, gzip, header });
    respond(api, status, trouble)
}

/// The text of a body, or the status that it is refused with.
fn unpack(body: &Bytes, gzip: bool) -> Result<String, u16> {
    if !gzip {
        return String::from_utf8(body.to_vec()).map_err(|_| 400);
    }
    let mut text = String::new();
    let limit = u64::try_from(MOST).unwrap_or(u64::MAX) + 1;
    let read = flate2::read::GzDecoder::new(body.as_ref()).take(limit).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes > MOST => Err(413),
        Ok(_) => Ok(text),
        Err(_) => Err(400),
    }
}

fn respond(api: NewRelicApi, status: u16, trouble: Option<NewRelicTrouble>) -> Response {
    let code = StatusCode::from_u16(status).expect("a test names a status that there is");
    if let Some(trouble) = trouble {
        let mut response = (code, trouble.body).into_response();
        if let Some(seconds) = trouble.retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        return response;
    }
    let id = "c0b3f3a2-0000-4000-8000-0000000000aa";
    let body = match (api, status < 300) {
        (NewRelicApi::Event, true) => json!({ "success": true, "uuid": id }),
        (_, true) => json!({ "requestId": id }),
        (NewRelicApi::Event, false) => json!({ "success": false, "error": code.canonical_reason() }),
        (_, false) => json!({ "error": { "type": "standard", "message": code.canonical_reason() } }),
    };
    (code, axum::Json(body)).into_response()
}
