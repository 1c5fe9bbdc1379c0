//! Notifies by an Apprise API server, and so by any of the services that Apprise knows.
//!
//! [`compose`] makes title and body; if a template fails it makes a plain form that cannot: an alert is never lost for the
//! sake of its looks. [`answer`] knows what the server answers, above all that it reached some services and others not.

mod answer;
mod compose;
mod settings;

use std::path::Path;

use butler_plugin_api::message::Trouble;
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, HttpError, HttpRequest, Manifest, OperationError, Plugin, StartError,
};
use serde_json::{Value, json};

use compose::Notification;
use settings::{Server, Settings, Target};

struct Apprise {
    server: Server,
    host: Host,
    trouble: Trouble,
}

impl Plugin for Apprise {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("apprise", "Notifies by an Apprise API server")
            .default_events(Manifest::ALERTS)
            .script_log()
            .operation("check")
            .operation("render")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let server = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let apprise = Self { server, host, trouble: Trouble::new("plain notifications") };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        apprise.trouble.note(apprise.server.trouble(&apprise.host));
        Ok(apprise)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let notification = self.server.compose(delivery, &self.server.body, &self.host).await;
        let request = self.request("POST", self.server.notify().as_str());
        let request = request.header("Idempotency-Key", &delivery.delivery_id).json(&self.wire(&notification));
        // What it logs below the level of its own is not among the details that it answers.
        let reply = match request.header("X-Apprise-Log-Level", "info").send().await {
            Err(HttpError::Timeout(why)) => return Err(self.server.unanswered(&why, delivery.progress.as_ref())),
            reply => reply?,
        };
        self.trouble.note(notification.trouble);
        self.server.outcome(reply, delivery.progress.as_ref())
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

butler_plugin_api::export!(Apprise);

impl Apprise {
    fn request(&self, method: &str, url: &str) -> HttpRequest {
        // Without it older servers answer with pages.
        let mut request = self.host.http().request(method, url).timeout(self.server.timeout);
        if !self.server.headers.keys().any(|name| name.eq_ignore_ascii_case("accept")) {
            request = request.header("Accept", "application/json");
        }
        for (name, value) in &self.server.headers {
            request = request.header(name, value);
        }
        match &self.server.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    fn wire(&self, notification: &Notification) -> Value {
        let mut wire = json!({
            "title": notification.title, "body": notification.body, "type": notification.kind,
            "format": notification.format.name(),
        });
        match &self.server.target {
            Target::Kept { tag: Some(tag), .. } => wire["tag"] = tag.as_str().into(),
            Target::Kept { tag: None, .. } => {}
            Target::Services(services) => wire["urls"] = services.as_str().into(),
        }
        wire
    }

    /// What would be posted. `templateFile` in the input takes the place of the configured template of the body.
    async fn render(&self, input: Value) -> Result<Value, OperationError> {
        let failed = OperationError::Failed;
        let config_dir = &self.host.instance().config_dir;
        let file = input["templateFile"].as_str();
        let file = file.map(|path| settings::file_template(Path::new(path), config_dir, self.server.format));
        let delivery: Delivery =
            serde_json::from_value(input).map_err(|error| failed(format!("the input is no delivery: {error}")))?;
        let body = file.as_ref().unwrap_or(&self.server.body);
        let notification = self.server.compose(&delivery, body, &self.host).await;
        match &notification.trouble {
            Some(trouble) => Err(failed(trouble.clone())),
            None => Ok(self.wire(&notification)),
        }
    }

    /// Tries the templates on a sample, and asks the server whom it would notify.
    async fn check(&self) -> Result<Value, OperationError> {
        if let Some(trouble) = self.server.trouble(&self.host) {
            return Err(OperationError::Failed(trouble));
        }
        let url = match &self.server.target {
            Target::Kept { key, tag } => {
                let mut url = self.server.api(&format!("json/urls/{key}"));
                // Without the secrets of the services.
                url.query_pairs_mut().append_pair("privacy", "1");
                if let Some(tag) = tag {
                    url.query_pairs_mut().append_pair("tag", tag);
                }
                url
            }
            Target::Services(_) => self.server.api("status"),
        };
        let reply = self.request("GET", url.as_str()).send().await;
        let reply = reply.map_err(|error| OperationError::Failed(error.to_string()))?;
        let known = self.server.services(reply).map_err(OperationError::Failed)?;
        Ok(Value::from(format!("the templates are fine; {known}; nobody was notified")))
    }
}

#[cfg(test)]
mod tests;
