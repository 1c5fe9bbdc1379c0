//! A simulated Apprise API server: services under keys, with tags, which are reached or not; and such that a request names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A service that Apprise notifies.
#[derive(Debug, Clone)]
pub struct AppriseService {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// It cannot be reached.
    pub fails: bool,
    /// The notifications that reached it.
    pub got: Vec<Value>,
}

impl AppriseService {
    /// One that is reached.
    pub fn new(name: &str, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Self { name: name.to_owned(), tags, fails: false, got: Vec::new() }
    }
}

#[derive(Default)]
struct Server {
    /// Services by key; those that requests name are under the empty one.
    services: BTreeMap<String, Vec<AppriseService>>,
    /// Answers so and does nothing.
    away: Option<(u16, String)>,
    statuses: Vec<u16>,
}

/// The simulated server. It ends when it is dropped.
pub struct Apprise {
    address: SocketAddr,
    server: Arc<Mutex<Server>>,
    task: tokio::task::JoinHandle<()>,
}

impl Apprise {
    /// Starts it on a free port, without any services.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let server = Arc::<Mutex<Server>>::default();
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, server, task }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keeps services under a key.
    pub fn keep(&self, key: &str, services: impl IntoIterator<Item = AppriseService>) {
        self.lock().services.insert(key.to_owned(), services.into_iter().collect());
    }

    /// Reaches a service from now on, or reaches it no more.
    pub fn set_failing(&self, key: &str, name: &str, fails: bool) {
        for service in self.lock().services.get_mut(key).into_iter().flatten().filter(|service| service.name == name) {
            service.fails = fails;
        }
    }

    /// Answers with a status and a text and does nothing, or works again.
    pub fn set_away(&self, answer: Option<(u16, &str)>) {
        self.lock().away = answer.map(|(status, text)| (status, text.to_owned()));
    }

    /// What has reached a service.
    pub fn got(&self, key: &str, name: &str) -> Vec<Value> {
        let server = self.lock();
        let services = server.services.get(key).into_iter().flatten();
        services.filter(|service| service.name == name).flat_map(|service| service.got.clone()).collect()
    }

    /// The statuses of its answers to POST.
    pub fn statuses(&self) -> Vec<u16> {
        self.lock().statuses.clone()
    }

    /// Waits until so many notifications have reached a service.
    ///
    /// # Panics
    /// When there are fewer in time.
    pub async fn wait(&self, key: &str, name: &str, count: usize) -> Vec<Value> {
        crate::wait_for(&format!("{count} notifications of {name}; it answered {:?}", self.statuses()), || async {
            Some(self.got(key, name)).filter(|got| got.len() >= count)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Apprise {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(server): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    let path = uri.path().trim_end_matches('/').to_owned();
    let response = match &server.away {
        Some((status, text)) => {
            (StatusCode::from_u16(*status).expect("a test names a status that there is"), text.clone()).into_response()
        }
        None if method == Method::POST => server.notify(&path, &headers, &body),
        None => match path.strip_prefix("/json/urls/").and_then(|key| server.services.get(key)) {
            Some(services) => {
                let tag = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("tag="));
                let is_meant = |service: &&AppriseService| tag.is_none_or(|tag| meant(service, Some(tag)));
                let one = |service: &AppriseService| json!({ "url": "slack://****", "tags": service.tags });
                let urls: Vec<Value> = services.iter().filter(is_meant).map(one).collect();
                axum::Json(json!({ "tags": [], "urls": urls })).into_response()
            }
            None if path == "/status" => axum::Json(json!({ "status": { "details": ["OK"] } })).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        },
    };
    if method == Method::POST {
        server.statuses.push(response.status().as_u16());
    }
    response
}

/// A service has one of the tags, or all that have blanks between them; without any only those without are meant.
fn meant(service: &AppriseService, tag: Option<&str>) -> bool {
    match tag {
        None => service.tags.is_empty(),
        Some("all") => true,
        Some(tags) => tags.split([',', '|']).any(|all| {
            let mut all = all.split_whitespace().peekable();
            all.peek().is_some() && all.all(|tag| service.tags.iter().any(|own| own == tag))
        }),
    }
}

fn level_of(name: &str) -> Option<usize> {
    ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].iter().position(|level| level.eq_ignore_ascii_case(name))
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "error": text }))).into_response()
}

impl Server {
    fn notify(&mut self, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        let has = |name: &str, start: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(start))
        };
        // Forms are taken too, and others may be answered with pages: what is tested here is neither.
        if !has("content-type", "application/json") || !has("accept", "application/json") {
            return error(StatusCode::BAD_REQUEST, "not in JSON");
        }
        // The details are the server's log from this level on.
        let level = headers.get("x-apprise-log-level").and_then(|value| value.to_str().ok()).unwrap_or("error");
        let least = level_of(level);
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
        let is_one_of =
            |name: &str, all: &[&str]| body[name].is_null() || text(name).is_some_and(|one| all.contains(&one));
        if text("body").is_none_or(|text| text.trim().is_empty())
            || !is_one_of("type", &["info", "success", "warning", "failure"])
            || !is_one_of("format", &["text", "markdown", "html"])
        {
            return error(StatusCode::BAD_REQUEST, "Payload lacks minimum requirements");
        }
        let key = match path {
            "/notify" => "",
            path => path.strip_prefix("/notify/").unwrap_or("?"),
        };
        if key.is_empty() {
            let names = text("urls").unwrap_or_default().split([' ', ',']).filter(|url| url.starts_with("json://"));
            let known = names.map(|url| AppriseService::new(url, &[])).collect::<Vec<_>>();
            let kept = self.services.entry(String::new()).or_default();
            for service in known {
                if !kept.iter().any(|other| other.name == service.name) {
                    kept.push(service);
                }
            }
            if kept.is_empty() {
                return StatusCode::NO_CONTENT.into_response();
            }
        }
        let Some(services) = self.services.get_mut(key) else { return StatusCode::NO_CONTENT.into_response() };
        let mut details = Vec::new();
        for service in services.iter_mut().filter(|service| meant(service, text("tag"))) {
            let (level, line) = if service.fails {
                ("WARNING", format!("Failed to send {} notification: Service Unavailable, error=503.", service.name))
            } else {
                service.got.push(body.clone());
                ("INFO", format!("Sent {} notification.", service.name))
            };
            details.push(json!([level, "2026-03-04 05:06:07,000", line]));
        }
        let is_sent = !details.is_empty() && details.iter().all(|line| line[0] == "INFO");
        details.retain(|line| level_of(line[0].as_str().unwrap_or_default()) >= least);
        if is_sent {
            return axum::Json(json!({ "error": "", "details": details })).into_response();
        }
        let body = json!({ "error": "One or more notification could not be sent", "details": details });
        (StatusCode::FAILED_DEPENDENCY, axum::Json(body)).into_response()
    }
}
