//! A simulated Signl4: the inbound webhook of one team, which takes and refuses what the documented one does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

struct Team {
    secret: String,
    /// Answers with this status and does nothing.
    away: Option<u16>,
    calls: usize,
    /// What was taken, as it was posted.
    events: Vec<String>,
}

/// The simulated Signl4. It ends when it is dropped.
pub struct Signl4 {
    address: SocketAddr,
    team: Arc<Mutex<Team>>,
    task: tokio::task::JoinHandle<()>,
}

impl Signl4 {
    /// The secret that it knows at first.
    pub const SECRET: &str = "abcde12345";

    /// Starts it on a free port.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let team = Team { secret: Self::SECRET.to_owned(), away: None, calls: 0, events: Vec::new() };
        let team = Arc::new(Mutex::new(team));
        let router = Router::new().fallback(answer).with_state(team.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, team, task }
    }

    /// Address of the webhooks of all teams: the secret follows.
    pub fn webhooks(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Knows another secret from now on.
    pub fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut self.lock().secret);
    }

    /// Answers with a status and does nothing, or works again.
    pub fn set_away(&self, status: Option<u16>) {
        self.lock().away = status;
    }

    /// How many requests there were.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// The events that were taken, as they were posted.
    pub fn events(&self) -> Vec<String> {
        self.lock().events.clone()
    }

    /// Status and external id of the events that were taken.
    pub fn states(&self) -> Vec<(String, String)> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let one = |event: &String| {
            let event: Value = serde_json::from_str(event).unwrap_or_default();
            (text(&event, "X-S4-Status"), text(&event, "X-S4-ExternalID"))
        };
        self.events().iter().map(one).collect()
    }

    /// Waits for so many events.
    ///
    /// # Panics
    /// When there are fewer in time.
    pub async fn wait(&self, count: usize) -> Vec<String> {
        crate::wait_for(&format!("{count} events at Signl4"), || async {
            Some(self.events()).filter(|events| events.len() >= count)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Team> {
        self.team.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Signl4 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(team): State<Arc<Mutex<Team>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut team = team.lock().unwrap_or_else(PoisonError::into_inner);
    team.calls += 1;
    if let Some(status) = team.away {
        return StatusCode::from_u16(status).expect("a test names a status that there is").into_response();
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let secret = uri.path().strip_prefix("/webhook/").unwrap_or_default();
    if secret != team.secret {
        let details = format!("An event source with ID {secret} was not found.");
        return refusal(StatusCode::NOT_FOUND, 3004, &details);
    }
    let is_json = headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, 3001, "The body is no JSON object.");
    };
    if let Some(fault) = fault(&event).filter(|_| is_json).or((!is_json).then(|| "The body is no JSON.".to_owned())) {
        return refusal(StatusCode::BAD_REQUEST, 3001, &fault);
    }
    team.events.push(String::from_utf8_lossy(&body).into_owned());
    let id = format!("2518583650940558238_{:08}", team.events.len());
    (StatusCode::CREATED, axum::Json(json!({ "eventId": id }))).into_response()
}

fn refusal(status: StatusCode, code: u32, details: &str) -> Response {
    let body = json!({ "requestId": "e933ece1", "code": code, "details": details, "message": "Error raising event." });
    (status, axum::Json(body)).into_response()
}

fn fault(event: &serde_json::Map<String, Value>) -> Option<String> {
    let states = ["new", "acknowledged", "resolved", ""];
    let scenarios = ["single_ack", "multi_ack", "emergency", ""];
    for (name, value) in event.iter().filter(|(name, _)| name.starts_with("X-S4-")) {
        let Some(text) = value.as_str() else { return Some(format!("{name} is no text.")) };
        let is_sound = match name.as_str() {
            "X-S4-Status" => states.contains(&text),
            "X-S4-AlertingScenario" => scenarios.contains(&text),
            "X-S4-Service" | "X-S4-ExternalID" => !text.is_empty(),
            _ => false,
        };
        if !is_sound {
            return Some(format!("{name} cannot be {text}."));
        }
    }
    let is_resolved = event.get("X-S4-Status").is_some_and(|status| status == "resolved");
    (is_resolved && !event.contains_key("X-S4-ExternalID")).then(|| "Nothing says what is resolved.".to_owned())
}
