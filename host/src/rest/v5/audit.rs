//! `GET /v5/audit`: the last writes by REST.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::super::answer::{Answer, json as answer};
use super::super::audit::{Audit, Write};
use super::super::auth::scope_name;
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use super::super::request::Call;
use super::query::{self, Query};
use crate::store::rfc3339;

pub(super) fn endpoint() -> Declared {
    let scopes: Vec<String> = Scope::ALL.iter().map(|scope| scope_name(*scope)).collect();
    let message = format!("must be one of {}", scopes.join(", "));
    let endpoint = Endpoint::new("GET", "/v5/audit", Scope::Admin, "The last writes by REST, the newest first")
        .query(query::limited(json!({ "scope": { "type": "string", "enum": scopes, "errorMessage": message } })))
        .answer(200, "The writes", answered::<Page>());
    Declared::new(endpoint, Own::Audit)
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Audit")]
struct Page {
    writes: Vec<Row>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Write")]
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
pub(in super::super) fn audit(context: &Context, audit: &Audit, call: &Call) -> Answer {
    let query = Query(&call.query);
    // Its schema lets only scopes through.
    let scope = query.text("scope").and_then(|scope| serde_json::from_value(scope.into()).ok());
    let writes = audit.writes(scope, query.limit() as usize).into_iter().map(Row::from).collect();
    answer(&context.secrets(), StatusCode::OK, &Page { writes })
}
