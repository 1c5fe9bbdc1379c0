//! A plain HTTP port beside the simulator, for other processes that watch it or run its tasks.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /simulator/counts` | the [`Counts`] as JSON |
//! | `DELETE /simulator/counts` | 204, all counts are zero |
//! | `GET /simulator/tasks` | identifiers, names and types of all tasks |
//! | `POST /simulator/tasks/{id}/{outcome}?executionId=…` | runs a task; `outcome` is `begin`, `fail`, `succeed` or `abort`. Without an execution identifier there is a random one. Answers with the execution result |

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Counts, QlikSimulator, ids, qrs::Qrs};

/// The control port of a simulator. It closes when this is dropped.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
    serving: JoinHandle<io::Result<()>>,
}

impl Control {
    /// Opens a control port on 127.0.0.1; with port 0 the system chooses one.
    pub async fn start(simulator: &QlikSimulator, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let router = Router::new()
            .route("/simulator/counts", get(counts).delete(reset_counts))
            .route("/simulator/tasks", get(tasks))
            .route("/simulator/tasks/{id}/{outcome}", post(run_task))
            .with_state(simulator.qrs());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { addr, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunQuery {
    execution_id: Option<String>,
}

async fn counts(State(qrs): State<Arc<Qrs>>) -> Json<Counts> {
    Json(qrs.counters.snapshot())
}

async fn reset_counts(State(qrs): State<Arc<Qrs>>) -> StatusCode {
    qrs.counters.reset();
    qrs.log.clear();
    StatusCode::NO_CONTENT
}

async fn tasks(State(qrs): State<Arc<Qrs>>) -> Json<Value> {
    let state = qrs.site.read();
    let task = |task: &crate::Task| json!({ "id": task.id, "name": task.name, "taskType": task.kind as u8 });
    Json(state.tasks.iter().map(task).collect())
}

async fn run_task(
    State(qrs): State<Arc<Qrs>>,
    Path((id, outcome)): Path<(String, String)>,
    Query(query): Query<RunQuery>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let execution_id = query.execution_id.unwrap_or_else(ids::random);
    let result = match outcome.as_str() {
        "begin" => qrs.site.begin_task(&id, &execution_id),
        "fail" => qrs.site.fail_task(&id, &execution_id),
        "succeed" => qrs.site.succeed_task(&id, &execution_id),
        "abort" => qrs.site.abort_task(&id, &execution_id),
        _ => return Err((StatusCode::NOT_FOUND, format!("there is no outcome \"{outcome}\""))),
    };
    result.map(|result| Json(result.full())).map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))
}
