//! `GET /v5/audit`: the last writes by REST.

use axum::http::StatusCode;
use butler_plugin_api::Scope;
use serde::Serialize;
use serde_json::json;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::audit::{Audit, Write};
use super::super::context::Context;
use super::super::request::Call;
use super::query::Query;
use crate::store::rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// When the request came, RFC 3339.
    time: String,
    /// The scope that it needed.
    scope: Scope,
    /// Whether the caller has that scope.
    allowed: bool,
    /// Name of the token or grant; null: not known.
    caller: Option<String>,
    address: String,
    method: String,
    path: String,
    /// Status of the answer; null: the caller went away before.
    status: Option<u16>,
    duration_ms: u64,
}

impl From<Write> for Row {
    fn from(write: Write) -> Self {
        Self {
            time: rfc3339(write.time_ms),
            scope: write.scope,
            allowed: write.allowed,
            caller: write.caller,
            address: write.address.to_string(),
            method: write.method.to_string(),
            path: write.path,
            status: write.status,
            duration_ms: u64::try_from(write.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// `GET /v5/audit`: `{"writes": [...]}`, the newest first. Query: `scope`, and `limit` (50, at most 500).
pub(in super::super) fn audit(context: &Context, audit: &Audit, call: &Call) -> Result<Answer, Failure> {
    let query = Query::new(&call.query, &["scope", "limit"])?;
    let limit = query.limit()?;
    let scope = query.text("scope").map(scope).transpose()?;
    let rows: Vec<Row> = audit.writes(scope, limit as usize).into_iter().map(Row::from).collect();
    Ok(answer(&context.secrets(), StatusCode::OK, &json!({ "writes": rows })))
}

fn scope(text: &str) -> Result<Scope, Failure> {
    serde_json::from_value(text.into()).map_err(|_| {
        let words = "`scope` must be read, deliveries, tasks, kv, files, messages, scheduler or admin";
        Failure::bad_request(format!("{words}, not `{text}`"))
    })
}
