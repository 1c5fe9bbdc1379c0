//! A plugin that was built against the plugin API as it was frozen, and uses what that version offers.

use butler_plugin_api::{
    Delivery, DeliveryError, Endpoint, Health, Host, Manifest, OperationError, Plugin, Request, Response, Scope,
    StartError,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Settings of the heirloom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where deliveries go.
    url: String,
}

struct Heirloom {
    settings: Settings,
    host: Host,
}

impl Plugin for Heirloom {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("heirloom", "Built against a frozen copy of the plugin API")
            .default_events(&["reload-task.*"])
            .operation("check")
            .endpoint(Endpoint::new("GET", "/v5/heirloom/{what}", Scope::Read, "How many deliveries there were"));
        manifest.emits = vec!["heirloom.seen".to_owned()];
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        tracing::info!("the heirloom starts");
        Ok(Self { settings, host })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        if delivery.attempt == 1 {
            return Err(DeliveryError::retry("not at once").with_progress(json!({ "step": 1 })));
        }
        let event = &delivery.event;
        let report = json!({ "event": event.id, "kind": event.kind, "progress": delivery.progress });
        self.host.http().post(self.settings.url.as_str()).json(&report).send().await?.error_for_status()?;
        let count = self.count().await + 1;
        self.host.storage().set("count", &json!(count), None).await?;
        self.host.emit("heirloom.seen", json!({ "message": event.id })).await?;
        Ok(())
    }

    async fn call(&self, request: Request) -> Response {
        Response::json(200, &json!({ "what": request.params.get("what"), "count": self.count().await }))
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        if operation == "check" {
            Ok(json!("the heirloom is whole"))
        } else {
            Err(OperationError::Unsupported(operation.to_owned()))
        }
    }

    async fn health(&self) -> Health {
        Health::Good
    }
}

impl Heirloom {
    async fn count(&self) -> u64 {
        self.host.storage().get("count").await.ok().flatten().and_then(|value| value.as_u64()).unwrap_or_default()
    }
}

butler_plugin_api::export!(Heirloom);
