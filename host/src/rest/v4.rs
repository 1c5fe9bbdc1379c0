//! Endpoints of Butler 16 that are the host's own.

mod apps;
mod start_tasks;

use axum::http::StatusCode;
use serde::Serialize;

use super::answer::{Answer, json};
use super::context::Context;

pub(super) use apps::{dump_app, list_apps, reload_app, reload_body};
pub(super) use start_tasks::start_tasks;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ping {
    response: &'static str,
    butler_version: &'static str,
}

/// `GET /v4/butlerping`
pub(super) fn ping(context: &Context) -> Answer {
    // Clients compare the text.
    let ping = Ping { response: "Butler reporting for duty", butler_version: context.version };
    json(&context.secrets(), StatusCode::OK, &ping)
}
