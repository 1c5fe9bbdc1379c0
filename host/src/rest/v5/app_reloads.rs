//! `GET /v5/apps/reloads`: reloads of apps that were asked for here.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::answer::{Answer, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use crate::qlik::{ReloadRow, ReloadState};
use crate::store::rfc3339;

pub(super) fn endpoint() -> Declared {
    let endpoint = Endpoint::new("GET", "/v5/apps/reloads", Scope::Read, "Reloads of apps that were asked for here")
        .answer(200, "Those under way and the last 100 that have ended, the newest first", answered::<Reloads>());
    Declared::new(endpoint, Own::AppReloads)
}

#[derive(Serialize, JsonSchema)]
struct Reloads {
    reloads: Vec<Row>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppReload")]
#[serde(rename_all = "camelCase")]
struct Row {
    app_id: String,
    reload_mode: u8,
    partial: bool,
    caller: String,
    state: ReloadState,
    /// RFC 3339, as are all times here.
    started_at: String,
    ended_at: Option<String>,
    /// The last thing that the script was heard of doing.
    progress: Option<String>,
    error: Option<String>,
}

impl From<ReloadRow> for Row {
    fn from(row: ReloadRow) -> Self {
        Self {
            app_id: row.app,
            reload_mode: row.mode,
            partial: row.partial,
            caller: row.caller,
            state: row.state,
            started_at: rfc3339(row.started_ms),
            ended_at: row.ended_ms.map(rfc3339),
            progress: row.progress,
            error: row.error,
        }
    }
}

/// `GET /v5/apps/reloads`: `{"reloads": [...]}`, those under way and the last 100 that have ended, the newest first.
pub(in super::super) fn app_reloads(context: &Context) -> Answer {
    let rows = context.engine.as_ref().map(|engine| engine.reloads()).unwrap_or_default();
    let reloads = rows.into_iter().map(Row::from).collect();
    answer(&context.secrets(), StatusCode::OK, &Reloads { reloads })
}
