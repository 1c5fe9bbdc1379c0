//! An InfluxDB on loopback that costs little: it takes every point, and counts them.

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The server. It ends when it is dropped.
pub struct Points {
    shared: Arc<Mutex<Written>>,
    task: JoinHandle<()>,
}

/// What came so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Written {
    /// Points.
    pub points: usize,
    /// Requests that brought them.
    pub requests: usize,
    /// When the first request came.
    pub first: Option<Instant>,
    /// When the last one came.
    pub last: Option<Instant>,
}

impl Points {
    /// Starts it at a port.
    pub async fn start(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the port of InfluxDB is taken")?;
        let shared = Arc::<Mutex<Written>>::default();
        let app = Router::new()
            .route("/api/v2/write", post(write))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let task = tokio::spawn(async move {
            // It ends with the measurement.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { shared, task })
    }

    /// What came so far.
    pub fn written(&self) -> Written {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many points are there, or none came for a time.
    pub async fn wait(&self, points: usize, patience: Duration) -> Written {
        let (mut written, mut changed) = (self.written(), Instant::now());
        while written.points < points && changed.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.written();
            if now.points != written.points {
                (written, changed) = (now, Instant::now());
            }
        }
        written
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(State(shared): State<Arc<Mutex<Written>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut lines = Vec::new();
    let body = match headers.get(header::CONTENT_ENCODING) {
        Some(_) if GzDecoder::new(&*body).read_to_end(&mut lines).is_err() => return StatusCode::BAD_REQUEST,
        Some(_) => &lines[..],
        None => &body[..],
    };
    let points = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let mut written = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    written.points += points;
    written.requests += 1;
    written.first.get_or_insert(now);
    written.last = Some(now);
    StatusCode::NO_CONTENT
}
