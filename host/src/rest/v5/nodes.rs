//! `GET /v5/nodes`: when each Sense node was last heard of, and by which road.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::answer::{Answer, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use crate::observe::{Heard, Road};
use crate::store::rfc3339;

pub(super) fn endpoint() -> Declared {
    let endpoint =
        Endpoint::new("GET", "/v5/nodes", Scope::Read, "The Sense nodes that were heard of, and by which road").answer(
            200,
            "All of them",
            answered::<Nodes>(),
        );
    Declared::new(endpoint, Own::Nodes)
}

#[derive(Serialize, JsonSchema)]
struct Nodes {
    nodes: Vec<NodeRow>,
    reconcile: Reconciled,
}

/// How Qlik Sense was last asked for what no other road told.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Reconciled {
    /// Null: not yet, or no Qlik Sense in the config.
    last_round: Option<String>,
    /// So many since the start.
    found: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
#[serde(rename_all = "camelCase")]
struct NodeRow {
    name: String,
    /// RFC 3339, as are all times here.
    last_heard: Option<String>,
    roads: RoadTimes,
}

/// `null`: never.
#[derive(Serialize, JsonSchema)]
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
    let nodes = context.roads.nodes().into_iter().map(|(name, heard)| NodeRow::new(name, &heard)).collect();
    let (last, found) = context.roads.last_reconciled();
    let reconcile = Reconciled { last_round: last.map(rfc3339), found };
    answer(&context.secrets(), StatusCode::OK, &Nodes { nodes, reconcile })
}
