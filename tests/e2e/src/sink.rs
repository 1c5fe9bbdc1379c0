//! A destination on loopback that records requests and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub body: String,
    /// When it came.
    pub at: std::time::Instant,
    /// The status that it was answered with; none for [`Answer::Hang`].
    pub status: Option<u16>,
}

impl Received {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What the sink answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status.
    Status(u16),
    /// A status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// A status, so much later.
    After(std::time::Duration, u16),
    /// Nothing, ever.
    Hang,
}

type Chooser = Box<dyn FnMut(&Received) -> Answer + Send>;

#[derive(Default)]
struct Script {
    once: VecDeque<Answer>,
    chooser: Option<Chooser>,
    always: Option<Answer>,
    received: Vec<Received>,
    /// Requests that have no answer yet, and the most that there were.
    waiting: usize,
    most_waiting: usize,
}

/// A request that has no answer yet.
struct Waiting(Arc<Mutex<Script>>);

impl Waiting {
    fn new(script: &Arc<Mutex<Script>>) -> Self {
        let mut now = script.lock().unwrap_or_else(PoisonError::into_inner);
        now.waiting += 1;
        now.most_waiting = now.most_waiting.max(now.waiting);
        Self(script.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }
}

/// The destination. It ends when it is dropped.
pub struct Sink {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sink {
    /// Starts it on a free port. Answers 200 unless told otherwise.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts it at an address.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_at(address: SocketAddr) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new().fallback(answer).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, script, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests so, one each, before anything else.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().once.extend(answers);
    }

    /// Answers all further requests so; `None`: 200.
    pub fn always(&self, answer: Option<Answer>) {
        self.lock().always = answer;
    }

    /// Answers all further requests as the function says, before [`always`](Self::always).
    pub fn choose(&self, chooser: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.lock().chooser = Some(Box::new(chooser));
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// The requests that were answered with success.
    pub fn successes(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.status.is_some_and(|code| code < 300)).collect()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.lock().received.clear();
    }

    /// The most requests that waited for their answers at the same time.
    pub fn most_at_once(&self) -> usize {
        self.lock().most_waiting
    }

    /// Waits for so many requests and returns them.
    pub async fn wait(&self, count: usize) -> Vec<Received> {
        crate::wait_for(&format!("{count} requests at the sink"), || async {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }

    /// Waits for a request that fits and returns it.
    pub async fn wait_where(&self, what: &str, fits: impl Fn(&Received) -> bool) -> Received {
        crate::wait_for(what, || async { self.received().into_iter().find(|received| fits(received)) }).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // Given up when the caller goes away, too.
    let _waiting = Waiting::new(&script);
    let answer = {
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let mut received = Received {
            method: method.to_string(),
            target: uri.to_string(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            at: std::time::Instant::now(),
            status: None,
        };
        let answer = script.once.pop_front();
        let answer = answer.or_else(|| Some(script.chooser.as_mut()?(&received)));
        let answer = answer.or_else(|| script.always.clone()).unwrap_or(Answer::Status(200));
        received.status = match answer {
            Answer::Status(code) | Answer::RetryAfter(code, _) | Answer::After(_, code) => Some(code),
            Answer::Hang => None,
        };
        script.received.push(received);
        answer
    };
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::RetryAfter(code, seconds) => (status(code), [("retry-after", seconds.to_string())]).into_response(),
        Answer::After(delay, code) => {
            tokio::time::sleep(delay).await;
            status(code).into_response()
        }
        Answer::Hang => std::future::pending().await,
    }
}
