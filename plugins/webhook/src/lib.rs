//! Calls an HTTP address for each event: the general way to bring alerts into a system that has no plugin of its own.
//!
//! [`settings`] turns the settings into a checked [`Hook`]; [`call`] makes the request for an event, of what [`fields`] and
//! [`cloud_event`] know or of templates, signed by [`signature`]; this module sends it. If a template fails, the request goes
//! out in the built-in form, and the health of the instance says so: an alert is never lost for the sake of its looks.

mod call;
mod cloud_event;
mod fields;
mod import;
mod settings;
mod signature;

use std::path::Path;
use std::time::SystemTime;

use butler_plugin_api::message::{Templates, Trouble};
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, HttpRequest, Manifest, OperationError, Plugin, StartError, kind,
    sample_delivery,
};
use serde_json::{Map, Value, json};

use call::Call;
use settings::{Hook, Settings};

struct Webhook {
    hook: Hook,
    host: Host,
    trouble: Trouble,
}

impl Plugin for Webhook {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("webhook", "Calls an HTTP address for each event")
            .default_events(Manifest::ALERTS)
            .concurrency(8)
            .operation("check")
            .operation("render")
            .operation("import")
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let hook = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let webhook = Self { hook, host, trouble: Trouble::new("requests in the built-in form") };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        webhook.trouble.note(webhook.sample_trouble());
        Ok(webhook)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let call = self.call(delivery, None)?;
        self.trouble.note(call.trouble);
        let mut request = self.request(call.method, &call.url);
        for (name, value) in call.headers {
            request = request.header(&name, value);
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        request.send().await?.error_for_status()?;
        Ok(())
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => self.render(input),
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        self.trouble.health()
    }
}

butler_plugin_api::export!(Webhook);

impl Webhook {
    fn request(&self, method: &str, url: &str) -> HttpRequest {
        let request = self.host.http().request(method, url).timeout(self.hook.timeout);
        match &self.hook.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    fn call(&self, delivery: &Delivery, body: Option<&Templates>) -> Result<Call, DeliveryError> {
        // A clock before 1970 makes signatures that nobody takes; that is for the other side to say.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.hook.call(delivery, self.host.instance(), now, body)
    }

    /// What is wrong with the templates whatever the event is: a template may well be for some kinds only.
    fn sample_trouble(&self) -> Option<String> {
        let mut first = None;
        for kind in [kind::RELOAD_TASK_FAILED].iter().chain(kind::ALL) {
            let trouble = match self.call(&sample_delivery(kind), None) {
                Ok(call) => call.trouble?,
                Err(error) => error.to_string(),
            };
            first.get_or_insert(trouble);
        }
        first
    }

    /// What would be sent for the delivery in the input. `templateFile` in it takes the place of the template of the settings.
    fn render(&self, mut input: Value) -> Result<Value, OperationError> {
        let failed = |why: String| OperationError::Failed(why);
        let file = input.as_object_mut().and_then(|input| input.remove("templateFile"));
        let delivery: Delivery =
            serde_json::from_value(input).map_err(|error| failed(format!("the input is no delivery: {error}")))?;
        let body = match file.as_ref().and_then(Value::as_str) {
            Some(shown) => {
                let escapes = self.hook.templates.escapes;
                let escapes =
                    escapes.ok_or_else(|| failed("a GET has no body that a template could make".to_owned()))?;
                Some(Templates::file(shown, Path::new(&self.host.instance().config_dir).join(shown), escapes))
            }
            None => None,
        };
        let call = self.call(&delivery, body.as_ref()).map_err(|error| failed(error.to_string()))?;
        if let Some(trouble) = call.trouble {
            return Err(failed(trouble));
        }
        // The body is given as the text that would be sent: as JSON it would lose the order of its fields.
        let headers: Map<String, Value> =
            call.headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        Ok(json!({ "method": call.method, "url": call.url, "headers": headers, "body": call.body }))
    }

    /// Tries the templates on samples, and asks for the options of the address: neither POST nor GET, so that nothing is
    /// triggered. Whatever HTTP status comes back, somebody is there and TLS works.
    async fn check(&self) -> Result<Value, OperationError> {
        if let Some(trouble) = self.sample_trouble() {
            return Err(OperationError::Failed(trouble));
        }
        let reply = self.request("OPTIONS", self.hook.url.as_str()).send().await;
        match reply {
            Ok(reply) => Ok(Value::from(format!(
                "{} is reachable: OPTIONS was answered with {}; no alert was sent",
                self.hook.url.host_str().unwrap_or("the address"),
                reply.status()
            ))),
            Err(error) => Err(OperationError::Failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
