//! An InfluxDB on loopback that costs little: it takes every point.

use std::io::Read as _;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::arrivals::Arrivals;

/// The server. It ends when it is dropped.
pub struct Points {
    arrivals: Arrivals,
    task: JoinHandle<()>,
}

impl Points {
    /// Starts it at a port.
    pub async fn start(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the port of InfluxDB is taken")?;
        let arrivals = Arrivals::default();
        let write = post(write).layer(DefaultBodyLimit::disable());
        let app = Router::new().route("/api/v2/write", write).with_state(arrivals.clone());
        let task = tokio::spawn(async move {
            // It ends with the measurement.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { arrivals, task })
    }

    /// What came so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(State(arrivals): State<Arrivals>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut lines = Vec::new();
    let body = match headers.get(header::CONTENT_ENCODING) {
        Some(_) if GzDecoder::new(&*body).read_to_end(&mut lines).is_err() => return StatusCode::BAD_REQUEST,
        Some(_) => &lines[..],
        None => &body[..],
    };
    arrivals.note(body, b"execution_id=\"");
    StatusCode::NO_CONTENT
}
