//! `GET /v5/nodes`: when each Sense node was last heard of, and by which road.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::super::answer::{Answer, json as answer};
use super::super::context::Context;
use crate::observe::{Heard, Road};
use crate::store::rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeRow {
    name: String,
    /// RFC 3339, as are all times here.
    last_heard: Option<String>,
    roads: RoadTimes,
}

/// `null`: never.
#[derive(Serialize)]
struct RoadTimes {
    udp: Option<String>,
    qrs: Option<String>,
    notifications: Option<String>,
}

impl NodeRow {
    fn new(name: String, heard: &Heard) -> Self {
        let time = |road: Road| heard.get(&road).copied().map(rfc3339);
        let roads = RoadTimes { udp: time(Road::Udp), qrs: time(Road::Qrs), notifications: time(Road::Notifications) };
        Self { name, last_heard: heard.values().max().copied().map(rfc3339), roads }
    }
}

/// `GET /v5/nodes`
pub(in super::super) fn nodes(context: &Context) -> Answer {
    let nodes: Vec<NodeRow> =
        context.roads.nodes().into_iter().map(|(name, heard)| NodeRow::new(name, &heard)).collect();
    let (last, found) = context.roads.last_reconciled();
    let reconciled = json!({ "lastRound": last.map(rfc3339), "found": found });
    answer(&context.secrets(), StatusCode::OK, &json!({ "nodes": nodes, "reconcile": reconciled }))
}
