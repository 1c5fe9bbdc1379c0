//! Endpoints of Butler 16 that are the host's own.

mod apps;
mod schedules;
mod start_tasks;

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use serde::Serialize;

use super::answer::{Answer, json};
use super::context::Context;
use super::own::{Declared, Own};

pub(super) use apps::{dump_app, list_apps, reload_app};
pub(super) use schedules::{Schedules, schedules};
pub(super) use start_tasks::start_tasks;

/// What is declared of them. Names are those of Butler 16's switches.
pub(super) fn endpoints() -> Vec<Declared> {
    let endpoint = |method: &str, path: &str, scope, name: &str, summary: &str| {
        Endpoint::new(method, path, scope, summary).named(name)
    };
    let start = "/v4/reloadtask/{taskId}/start";
    let starts = |method| endpoint(method, start, Scope::Tasks, "senseStartTask", "Starts tasks of Qlik Sense");
    let list = |path| endpoint("GET", path, Scope::Tasks, "senseListApps", "Lists the apps of Qlik Sense");
    let dump = |path| endpoint("GET", path, Scope::Tasks, "senseAppDump", "Dumps an app of Qlik Sense");
    let reload =
        endpoint("PUT", "/v4/app/{appId}/reload", Scope::Tasks, "senseAppReload", "Reloads an app of Qlik Sense");
    let ping = endpoint("GET", "/v4/butlerping", Scope::Read, "butlerping", "Says that Butler is there");
    let mut all = vec![
        Declared::new(ping, Own::Ping),
        Declared::new(starts("PUT"), Own::StartTasks),
        Declared::new(starts("POST"), Own::StartTasks),
        Declared::new(list("/v4/senselistapps"), Own::ListApps),
        Declared::new(list("/v4/apps/list"), Own::ListApps),
        Declared::new(dump("/v4/senseappdump/{appId}"), Own::DumpApp),
        Declared::new(dump("/v4/app/{appId}/dump"), Own::DumpApp),
        Declared::new(reload.body(apps::reload_body()), Own::ReloadApp),
    ];
    all.extend(schedules::endpoints());
    all
}

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
