//! Sends alerts by email.
//!
//! [`recipients`] decides who gets a mail about an event, [`throttle`] who had one just now; [`compose`] makes what it
//! says, [`mail`] its bytes, [`smtp`] talks to the server. [`deliver`] puts them together: a delivery is done when the
//! server has the mail for everybody, and a repeated one goes only to those who lack it ([`progress`]).

mod address;
mod compose;
mod deliver;
mod import;
mod mail;
mod progress;
mod recipients;
mod settings;
mod smtp;
mod throttle;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::message::Trouble;
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, StartError, sample_delivery,
};
use serde_json::{Value, json};

use mail::Draft;
use settings::{Checked, Html, Settings, TlsMode};
use smtp::Server;
use throttle::Throttle;

/// Connections at a time. Microsoft 365 allows a mailbox three of them.
const CONNECTIONS: u32 = 3;
/// How often idle connections are looked at.
const LOOK: Duration = Duration::from_secs(10);

struct Email {
    settings: Checked,
    server: Server,
    throttle: Option<Throttle>,
    host: Host,
    trouble: Trouble,
    /// Whom the server refused in the last mail.
    refusal: Mutex<Option<String>>,
}

impl Plugin for Email {
    type Settings = Settings;

    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("email", "Sends alerts by email")
            .default_events(Manifest::ALERTS)
            .script_log()
            .concurrency(CONNECTIONS)
            .operation("check")
            .operation("render")
            .operation("import");
        manifest.deadline_seconds = u32::try_from(deliver::DEADLINE.as_secs()).unwrap_or(u32::MAX);
        manifest
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let (settings, smtp) = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        if let Some(file) = &smtp.ca {
            smtp::own_authority(file, &smtp.server_name).map_err(StartError::Config)?;
        }
        if !smtp.verify && smtp.tls != TlsMode::None {
            tracing::warn!("`smtp.verify: false`: anybody on the way to the mail server can read mails and password");
        }
        if let Some(address) = &settings.redirect_to {
            tracing::warn!("`redirectTo`: all mails go to {address}, nobody else gets one");
        }
        let email = Self {
            server: Server::new(smtp, host.clone()),
            throttle: settings.throttle.map(|every| Throttle::new(every, host.clone())),
            trouble: Trouble::new("plain mails"),
            refusal: Mutex::default(),
            settings,
            host,
        };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        email.trouble.note(email.try_templates().err());
        Ok(email)
    }

    async fn run(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.server.close_idle(false).await;
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        self.bring(delivery).await
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => self.render(input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        match (self.trouble.health(), &*self.refusal.lock().unwrap_or_else(PoisonError::into_inner)) {
            (Health::Good, Some(refusal)) => Health::Degraded(refusal.clone()),
            (other, _) => other,
        }
    }

    async fn stop(&self) {
        self.server.close_idle(true).await;
    }
}

butler_plugin_api::export!(Email);

impl Email {
    fn note_refusal(&self, refusal: Option<String>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    fn try_templates(&self) -> Result<(), String> {
        self.settings.try_templates(&sample_delivery("reload-task.failed"), &self.host)
    }

    /// Tries the templates on a sample, and talks to the server as before a mail: nobody gets one.
    async fn check(&self) -> Result<Value, OperationError> {
        self.try_templates().map_err(OperationError::Failed)?;
        let until = Instant::now() + Duration::from_secs(50);
        let text = self.server.probe(until).await.map_err(|error| OperationError::Failed(error.to_string()))?;
        let redirected = match &self.settings.redirect_to {
            Some(address) => format!("; `redirectTo` sends all mails to {address}"),
            None => String::new(),
        };
        Ok(Value::from(format!("{text}; the templates are fine; no mail was sent{redirected}")))
    }

    /// Shows the mails about a delivery; `templateFile` beside its fields goes before that of the settings.
    async fn render(&self, mut input: Value) -> Result<Value, OperationError> {
        let failed = |why: String| OperationError::Failed(why);
        let file = input.as_object_mut().and_then(|input| input.remove("templateFile"));
        let delivery: Delivery =
            serde_json::from_value(input).map_err(|error| failed(format!("the input is no delivery: {error}")))?;
        let other = file
            .as_ref()
            .and_then(Value::as_str)
            .filter(|path| !path.is_empty())
            .map(|path| Html::file(Path::new(path), &self.settings.config_dir));
        let plan = self.settings.who.of(&delivery.event);
        let html = other.as_ref().unwrap_or(&self.settings.html);
        let composed = self.settings.compose(&delivery, &plan, &self.host, html).await;
        if let Some(trouble) = composed.trouble {
            return Err(failed(trouble));
        }
        let draft = Draft::new(&self.settings.from, self.settings.priority, &composed.content, &delivery.delivery_id);
        let to = self.settings.redirect_to.clone().map_or_else(|| plan.to.clone(), |to| vec![to]);
        let first =
            if self.settings.mode == settings::Mode::PerRecipient { to.get(..1).unwrap_or_default() } else { &to };
        let head = if first.is_empty() {
            Vec::new()
        } else {
            mail::head(&draft.to(first, self.settings.mode, &to).map_err(|error| failed(error.to_string()))?)
        };
        Ok(json!({
            "from": self.settings.from.to_string(),
            "to": to.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notTo": plan.unreachable.iter().chain(&plan.left_out).collect::<Vec<_>>(),
            "subject": composed.content.subject,
            "headers": head,
            "html": composed.content.html,
            "text": composed.content.text,
        }))
    }
}

#[cfg(test)]
mod tests;
