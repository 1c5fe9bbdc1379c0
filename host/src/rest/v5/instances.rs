//! `GET /v5/plugins`: the instances of the config, and how they are.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Health, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use crate::plugins::Condition;

pub(super) fn endpoint() -> Declared {
    let endpoint = Endpoint::new("GET", "/v5/plugins", Scope::Read, "The instances of the config, and how they are")
        .answer(200, "All of them", answered::<Instances>());
    Declared::new(endpoint, Own::Plugins)
}

#[derive(Serialize, JsonSchema)]
struct Instances<'a> {
    plugins: Vec<InstanceRow<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Instance")]
#[serde(rename_all = "camelCase")]
struct InstanceRow<'a> {
    name: &'a str,
    plugin: &'a str,
    version: &'a str,
    description: &'a str,
    condition: Condition,
    /// What the plugin says: `state` (`good`, `degraded`, `bad`) and, if there is something to say, `message`.
    #[schemars(with = "Value")]
    health: Health,
    /// Threads that the plugin blocked and that were given up.
    abandoned_threads: u32,
    /// Deliveries that wait or are under way.
    open: i64,
    /// Dead ones that are still in the store.
    dead: i64,
    /// Error of the last attempt; null after a success.
    last_error: Option<String>,
    statistics: StatisticsRow,
}

/// Since the start.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeliveryStatistics")]
struct StatisticsRow {
    delivered: u64,
    retried: u64,
    dead: u64,
}

/// `GET /v5/plugins`
pub(in super::super) async fn plugins(context: &Context) -> Result<Answer, Failure> {
    let depths = context.store.queue_depths().await?;
    let depths: HashMap<&str, (i64, i64)> =
        depths.iter().map(|depth| (depth.instance.as_str(), (depth.open, depth.dead))).collect();
    let instances = context.instances();
    let plugins = instances
        .iter()
        .map(|instance| {
            let manifest = instance.manifest();
            let (open, dead) = depths.get(instance.name()).copied().unwrap_or_default();
            let statistics = &instance.statistics;
            InstanceRow {
                name: instance.name(),
                plugin: &manifest.name,
                version: &manifest.version,
                description: &manifest.description,
                condition: instance.condition(),
                health: instance.health(),
                abandoned_threads: instance.abandoned_threads(),
                open,
                dead,
                last_error: statistics.last_error(),
                statistics: StatisticsRow {
                    delivered: statistics.delivered.load(Ordering::Relaxed),
                    retried: statistics.retried.load(Ordering::Relaxed),
                    dead: statistics.dead.load(Ordering::Relaxed),
                },
            }
        })
        .collect();
    Ok(answer(&context.secrets(), StatusCode::OK, &Instances { plugins }))
}
