//! A server that answers as it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: String,
    /// The method that is meant.
    pub meant: String,
    pub target: String,
    pub content_type: Option<String>,
    pub authorization: Option<String>,
    pub body: String,
}

#[derive(Default)]
struct Told {
    answers: VecDeque<(u16, String)>,
    asked: Vec<Asked>,
}

/// It ends when it is dropped.
pub struct Double {
    pub address: String,
    state: Arc<Mutex<Told>>,
    task: tokio::task::JoinHandle<()>,
}

impl Double {
    /// Starts it with these answers, in this order; after them it answers 500.
    pub async fn start(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        let state = Arc::new(Mutex::new(Told { answers: answers.into_iter().collect(), asked: Vec::new() }));
        let router = Router::new().fallback(answer).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, state, task }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<Told>) -> MutexGuard<'_, Told> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(state): State<Arc<Mutex<Told>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut state = lock(&state);
    state.asked.push(Asked {
        meant: header("x-http-method-override").unwrap_or_else(|| method.to_string()),
        method: method.to_string(),
        target: uri.to_string(),
        content_type: header("content-type"),
        authorization: header("authorization"),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let (status, body) = state.answers.pop_front().unwrap_or_else(|| (500, "{}".to_owned()));
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body).into_response()
}
