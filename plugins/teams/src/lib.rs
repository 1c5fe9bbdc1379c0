//! Posts alerts to Microsoft Teams, by an incoming webhook of a workflow.
//!
//! [`compose`] makes a message: it renders a template and shortens it until Teams takes it. If the template fails, or Teams
//! refuses the card, [`card`] has a plain one that cannot fail: an alert is never lost for the sake of its looks, and the
//! card says what is wrong.

mod card;
mod compose;
mod import;
mod settings;

use std::path::Path;

use butler_plugin_api::message::{Facts, Trouble, cut};
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, HttpError, HttpReply, Manifest, OperationError, Plugin, StartError,
};
use serde_json::Value;
use url::Url;

use settings::{Post, Settings};

struct Teams {
    post: Post,
    host: Host,
    trouble: Trouble,
}

impl Plugin for Teams {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("teams", "Posts alerts to Microsoft Teams")
            .default_events(Manifest::ALERTS)
            .script_log()
            .operation("check")
            .operation("render")
            .operation("import")
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let post = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let teams = Self { post, host, trouble: Trouble::new("plain cards") };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        teams.trouble.note(teams.try_templates().err().map(|error| error.to_string()));
        if let Some(hint) = retired(&teams.post.url) {
            tracing::warn!("`webhookUrl`: {hint}");
        }
        Ok(teams)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let facts = self.facts(delivery).await;
        let message = self.compose(&facts, &delivery.event);
        self.trouble.note(message.trouble);
        match shown(self.send(delivery, message.json).await?) {
            Err(Refusal::Card { status, why }) if !message.is_plain => {
                // A plain one may still get through.
                let plain = format!("This is the plain card, since Teams refused the full one: {why}");
                shown(self.send(delivery, self.plain(&facts, &plain)).await?)?;
                self.trouble.note(Some(format!("Teams refused the card with {status}: {why}")));
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => self.render(input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        self.trouble.health()
    }
}

butler_plugin_api::export!(Teams);

impl Teams {
    async fn send(&self, delivery: &Delivery, json: String) -> Result<HttpReply, HttpError> {
        let request = self.host.http().post(self.post.url.as_str()).header("Idempotency-Key", &delivery.delivery_id);
        request.header("Content-Type", "application/json").body(json).send().await
    }

    /// What would be posted. `input` is a delivery, with a `templateFile` beside its own fields if another template than
    /// that of the settings is to be tried.
    async fn render(&self, input: Value) -> Result<Value, OperationError> {
        let failed = |why: String| OperationError::Failed(why);
        let format = self.post.message_type.format();
        let file = input["templateFile"].as_str().map(|path| settings::file_template(Path::new(path), "", format));
        let delivery: Delivery =
            serde_json::from_value(input).map_err(|error| failed(format!("the input is no delivery: {error}")))?;
        let facts: Facts = self.facts(&delivery).await;
        let templates = file.as_ref().unwrap_or(self.templates());
        let json = self.templated(&facts, &delivery.event, templates).map_err(|error| failed(error.to_string()))?;
        let json = json.ok_or_else(|| {
            failed(format!("the card does not fit maxSize ({} bytes), even when shortened", self.post.max_size))
        })?;
        serde_json::from_str(&json).map_err(|error| failed(error.to_string()))
    }

    /// Tries the template on samples, and asks for the options of the address: no card appears in the channel.
    async fn check(&self) -> Result<Value, OperationError> {
        self.try_templates().map_err(|error| OperationError::Failed(error.to_string()))?;
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

/// Why Teams does not show a card.
#[derive(Debug)]
enum Refusal {
    /// It does not like the card.
    Card {
        status: u16,
        why: String,
    },
    Other(DeliveryError),
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Card { why, .. } => Self::reject(why),
            Refusal::Other(error) => error,
        }
    }
}

/// Whether Teams has the card. Connectors of Office 365 answer 200 even when it has not, and say so in the body.
/// (Microsoft: Create and send messages, "Rate limiting for connectors".)
fn shown(reply: HttpReply) -> Result<(), Refusal> {
    let is_of_card = |status| matches!(status, 400 | 413 | 422);
    let text = reply.text();
    if let Err(error) = reply.error_for_status() {
        let (status, why) = (error.status, error.to_string());
        return Err(if is_of_card(status) { Refusal::Card { status, why } } else { Refusal::Other(error.into()) });
    }
    if !text.starts_with("Webhook message delivery failed") {
        return Ok(());
    }
    let why = cut(&text.replace(['\r', '\n'], " "), 300);
    let status = text.split_once("HTTP error").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    Err(match status {
        Some(status) if is_of_card(status) => Refusal::Card { status, why },
        _ => Refusal::Other(DeliveryError::retry(why)),
    })
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
