//! Endpoints of Butler 16 that are the host's own. Their names are those of its switches.

mod apps;
mod bases;
mod schedules;
mod start_tasks;

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::answer::{Answer, json as answer};
use super::context::Context;
use super::own::{Declared, Own, answered};
use super::routes::Table;

pub(super) use apps::{dump_app, list_apps, reload_app};
pub(super) use bases::{to_base16, to_base62};
pub(super) use schedules::{Schedules, schedules};
pub(super) use start_tasks::start_tasks;

/// What is declared of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let ping = Endpoint::new("GET", "/v4/butlerping", Scope::Read, "Says that Butler is there")
        .named("butlerping")
        .answer(200, "It is there", answered::<Ping>());
    let names = json!({ "type": "array", "items": { "type": "string" } });
    let enabled = Endpoint::new("GET", "/v4/configfile/endpointsenabled", Scope::Read, "Names of what is served")
        .named("apiListEnabledEndpoints")
        .answer(200, "The names, each once", names);
    let mut all = vec![Declared::new(ping, Own::Ping), Declared::new(enabled, Own::EnabledEndpoints)];
    all.extend(bases::endpoints());
    all.extend(start_tasks::endpoints());
    all.extend(apps::endpoints());
    all.extend(schedules::endpoints());
    all
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Ping {
    /// Always the same.
    response: &'static str,
    butler_version: &'static str,
}

/// `GET /v4/butlerping`
pub(super) fn ping(context: &Context) -> Answer {
    // Clients compare the text.
    let ping = Ping { response: "Butler reporting for duty", butler_version: context.version };
    answer(&context.secrets(), StatusCode::OK, &ping)
}

/// `GET /v4/configfile/endpointsenabled`: `["butlerping", …]`, in the order of the table.
pub(super) fn enabled_endpoints(context: &Context, table: &Table) -> Answer {
    answer(&context.secrets(), StatusCode::OK, &table.names())
}
