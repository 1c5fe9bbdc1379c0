//! Posts alerts to Microsoft Teams, by an incoming webhook of a workflow.
//!
//! A message is made in three steps: [`context`] lays out all facts for templates, [`template`] renders them to JSON, and
//! [`fit`] shortens what is long until Teams takes it. If a template fails, [`card`] has a plain card that cannot fail:
//! an alert is never lost for the sake of its looks, and the card says what is wrong with the template.

mod card;
mod compose;
mod context;
mod fit;
mod settings;
mod template;
mod time;

use std::sync::{Mutex, PoisonError};

use butler_plugin_api::{Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, StartError};
use serde_json::Value;
use url::Url;

use settings::{Post, Settings};

struct Teams {
    post: Post,
    host: Host,
    /// Why the last message went out as the plain card; for [`Plugin::health`].
    trouble: Mutex<Option<String>>,
}

impl Plugin for Teams {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("teams", "Posts alerts to Microsoft Teams")
            .default_events(Manifest::ALERTS)
            .script_log()
            .operation("check")
            .operation("render")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let post = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let teams = Self { post, host, trouble: Mutex::new(None) };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        teams.note_trouble(teams.try_templates().err());
        if let Some(hint) = retired(&teams.post.url) {
            tracing::warn!("`webhookUrl`: {hint}");
        }
        Ok(teams)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let message = self.compose(delivery).await;
        self.note_trouble(message.trouble);
        let request = self.host.http().post(self.post.url.as_str()).header("Idempotency-Key", &delivery.delivery_id);
        request.header("Content-Type", "application/json").body(message.json).send().await?.error_for_status()?;
        Ok(())
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => {
                let delivery: Delivery = serde_json::from_value(input)
                    .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
                let message = self.compose(&delivery).await;
                serde_json::from_str(&message.json).map_err(|error| OperationError::Failed(error.to_string()))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(trouble) => Health::Degraded(format!("alerts go out as plain cards: {trouble}")),
            None => Health::Good,
        }
    }
}

butler_plugin_api::export!(Teams);

impl Teams {
    /// Remembers and logs what is wrong with the template; logs again only when it changes.
    fn note_trouble(&self, trouble: Option<String>) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = trouble.as_ref().filter(|text| last.as_ref() != Some(text)) {
            tracing::warn!("alerts go out as plain cards: {text}");
        } else if trouble.is_none() && last.is_some() {
            tracing::info!("the template works again");
        }
        *last = trouble;
    }

    /// Tries the template on samples, and asks for the options of the address: no card appears in the channel.
    async fn check(&self) -> Result<Value, OperationError> {
        self.try_templates().map_err(OperationError::Failed)?;
        match self.host.http().request("OPTIONS", self.post.url.as_str()).send().await {
            Ok(reply) => Ok(Value::from(format!(
                "the template is fine and {} is reachable: OPTIONS was answered with {}; no card was posted{}",
                self.post.url.host_str().unwrap_or("the address"),
                reply.status(),
                retired(&self.post.url).map(|hint| format!("; but {hint}")).unwrap_or_default(),
            ))),
            Err(error) => Err(OperationError::Failed(error.to_string())),
        }
    }
}

/// What is wrong with addresses of kinds that Microsoft has given up.
fn retired(url: &Url) -> Option<&'static str> {
    let host = url.host_str()?;
    if host.ends_with(".logic.azure.com") {
        return Some(
            "addresses under logic.azure.com were to stop at the end of November 2025: copy the flow's new address",
        );
    }
    if host.ends_with("webhook.office.com") {
        return Some("connectors of Office 365 are retired: make a workflow for the channel and take its address");
    }
    None
}

#[cfg(test)]
mod tests;
