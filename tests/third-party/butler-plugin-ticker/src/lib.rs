//! A source of events with an endpoint, as a third party would write it.
//!
//! It emits `ticker.tick` events, numbered from 1, as many as it was asked for at `POST /v5/ticker/ticks`. How far it has
//! come is kept in storage, but not after every tick: after a crash some ticks are emitted again, under the same keys, so
//! that each is one event all the same.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use butler_plugin_api::{Endpoint, Health, Host, Manifest, Plugin, Request, Response, Scope, ServiceError, StartError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

const PROGRESS: &str = "progress";

/// Settings of the ticker.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// Milliseconds from one tick to the next.
    every_ms: u64,
    /// After how many ticks the position is stored.
    #[schemars(range(min = 1))]
    store_every: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { every_ms: 1000, store_every: 1 }
    }
}

/// How far it has come, and how far it should come.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Progress {
    position: u64,
    target: u64,
}

struct Ticker {
    settings: Settings,
    host: Host,
    progress: Mutex<Progress>,
}

impl Plugin for Ticker {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("ticker", "Counts")
            .endpoint(Endpoint::new("GET", "/v5/ticker", Scope::Read, "How far the ticker has come"))
            .endpoint(Endpoint::new("POST", "/v5/ticker/ticks", Scope::Scheduler, "Asks for `count` more ticks"));
        manifest.emits = vec!["ticker.tick".to_owned()];
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let stored = host.storage().get(PROGRESS).await.map_err(|error| StartError::Unavailable(error.to_string()))?;
        let progress: Progress = stored.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        tracing::info!(position = progress.position, target = progress.target, "the ticker starts");
        Ok(Self { settings, host, progress: Mutex::new(progress) })
    }

    async fn run(&self) {
        loop {
            match self.tick().await {
                Err(ServiceError::Stopped) => return,
                Err(error) => tracing::warn!("the tick is tried again: {error}"),
                Ok(()) => {}
            }
            self.host.sleep(Duration::from_millis(self.settings.every_ms)).await;
        }
    }

    async fn call(&self, request: Request) -> Response {
        if request.method == "GET" {
            return Response::json(200, &*self.progress());
        }
        let count = request.json().ok().and_then(|body| body["count"].as_u64());
        let Some(count) = count else { return Response::error(400, "`count` is missing: how many ticks?") };
        self.progress().target += count;
        match self.store().await {
            Ok(()) => Response::json(202, &*self.progress()),
            Err(error) => Response::error(503, &error.to_string()),
        }
    }

    async fn health(&self) -> Health {
        Health::Good
    }

    async fn stop(&self) {
        let _ = self.store().await;
    }
}

impl Ticker {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn store(&self) -> Result<(), ServiceError> {
        let progress = json!(*self.progress());
        self.host.storage().set(PROGRESS, &progress, None).await
    }

    /// Emits the next tick, if one is asked for.
    async fn tick(&self) -> Result<(), ServiceError> {
        let Progress { position, target } = *self.progress();
        if position >= target {
            return Ok(());
        }
        let tick = position + 1;
        let data = json!({ "node": "ticker", "tick": tick, "message": format!("tick {tick}") });
        let emitted = self.host.emit_once(&format!("tick-{tick}"), "ticker.tick", data).await?;
        if emitted.duplicate {
            tracing::info!(tick, "this tick was emitted before");
        }
        self.progress().position = tick;
        if tick % self.settings.store_every == 0 || tick == target { self.store().await } else { Ok(()) }
    }
}

butler_plugin_api::export!(Ticker);
