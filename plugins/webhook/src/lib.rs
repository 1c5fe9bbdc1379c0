//! Calls an HTTP address for each event: the general way to bring alerts into a system that has no plugin of its own.
//!
//! [`settings`] turns the settings into a checked [`Hook`]; [`fields`] and [`cloud_event`] make the content of a request
//! in one of the three formats; this module puts the two together and sends.

mod cloud_event;
mod fields;
mod settings;

use butler_plugin_api::{Delivery, DeliveryError, Host, HttpRequest, Manifest, OperationError, Plugin, StartError};
use serde_json::{Map, Value, json};

use settings::{Format, Hook, Method, Settings};

struct Webhook {
    hook: Hook,
    host: Host,
}

impl Plugin for Webhook {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("webhook", "Calls an HTTP address for each event")
            .default_events(Manifest::ALERTS)
            .concurrency(8)
            .operation("check")
            .operation("render")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let hook = Hook::try_from(settings).map_err(StartError::Config)?;
        Ok(Self { hook, host })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let call = self.call(delivery)?;
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
            "render" => {
                let delivery: Delivery = serde_json::from_value(input)
                    .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
                let call = self.call(&delivery).map_err(|error| OperationError::Failed(error.to_string()))?;
                // The body is given as the text that would be sent: as JSON it would lose the order of its fields.
                let headers: Map<String, Value> =
                    call.headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
                Ok(json!({ "method": call.method, "url": call.url, "headers": headers, "body": call.body }))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }
}

butler_plugin_api::export!(Webhook);

/// A request that is ready to be sent.
struct Call {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Webhook {
    fn request(&self, method: &str, url: &str) -> HttpRequest {
        let request = self.host.http().request(method, url).timeout(self.hook.timeout);
        match &self.hook.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    fn call(&self, delivery: &Delivery) -> Result<Call, DeliveryError> {
        let event = &delivery.event;
        let mut url = self.hook.url.clone();
        let mut body = None;
        if self.hook.method == Method::Get {
            fields::append_query(&mut url, &fields::butler16(event, fields::Names::Query));
        } else {
            let text = match self.hook.format {
                Format::Butler16 => serde_json::to_string(&fields::butler16(event, fields::Names::Json)),
                Format::Cloudevents => {
                    serde_json::to_string(&cloud_event::CloudEvent::new(event, &self.host.instance().name))
                }
                Format::Event => serde_json::to_string(event),
            };
            body = Some(text.map_err(|error| DeliveryError::reject(error.to_string()))?);
        }
        let mut headers = self.hook.headers.clone();
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let content_type = match self.hook.format {
                Format::Cloudevents => "application/cloudevents+json",
                Format::Butler16 | Format::Event => "application/json",
            };
            headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        }
        headers.push((settings::IDEMPOTENCY_KEY.to_owned(), delivery.delivery_id.clone()));
        headers.push((settings::EVENT_ID.to_owned(), event.id.clone()));
        Ok(Call { method: self.hook.method.name(), url: url.into(), headers, body })
    }

    /// Asks for the options of the address: neither POST nor GET, so that nothing is triggered. Whatever HTTP status
    /// comes back, somebody is there and TLS works.
    async fn check(&self) -> Result<Value, OperationError> {
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
