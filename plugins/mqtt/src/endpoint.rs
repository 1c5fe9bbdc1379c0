//! `PUT /v4/mqttpublishmessage`: load scripts publish texts of their own, as with Butler 16.

use butler_plugin_api::{Endpoint, Request, Response, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Message, Properties, Qos, Refusal};
use crate::{Mqtt, topic};

pub(crate) const PATH: &str = "/v4/mqttpublishmessage";

/// A text for a topic. The answer has the same form.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Text {
    /// Topic, without wildcards.
    topic: String,
    /// The text.
    message: String,
}

/// Several instances may be there: the first one of the config serves it.
pub(crate) fn endpoint() -> Endpoint {
    let text = schemars::schema_for!(Text).to_value();
    Endpoint::new("PUT", PATH, Scope::Messages, "Publishes a text on a topic of MQTT")
        .shared()
        .named("mqttPublishMessage")
        .body(text.clone())
        .answer(201, "The broker has it", text)
        .answer(403, "Butler itself listens to the topic", Value::Null)
        .answer(502, "The broker did not take it", Value::Null)
        .answer(503, "There is no connection to the broker", Value::Null)
}

impl Mqtt {
    /// Answers 201 when the broker has the message, with QoS 1.
    pub(crate) async fn put_message(&self, request: &Request) -> Response {
        let text: Text = match serde_json::from_slice(&request.body) {
            Ok(text) => text,
            Err(error) => return Response::error(400, &format!("the body is not as it should be: {error}")),
        };
        if let Some(fault) = topic::fault(&text.topic) {
            return Response::error(400, &fault);
        }
        let failed = |status: u16, why: &str| {
            tracing::warn!(caller = request.caller, "a message by REST was not published: {why}");
            Response::error(status, &format!("the message was not published: {why}"))
        };
        if self.link.obeys(&text.topic) {
            return failed(403, "Butler itself listens to this topic; start tasks by their own endpoint");
        }
        let session = match self.link.now() {
            Ok(session) => session,
            Err(why) => return failed(503, &why),
        };
        let message = Message {
            topic: text.topic.clone(),
            payload: text.message.clone().into_bytes(),
            qos: Qos::AtLeastOnce,
            retain: false,
        };
        let properties = Properties { content_type: Some("text/plain; charset=utf-8"), user: Vec::new() };
        let outcome = match session.publish(message, properties, session.soon()).await {
            Ok(publishing) => publishing.done().await,
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(()) => Response::json(201, &text),
            Err(Refusal::Lost) => failed(503, &Refusal::Lost.to_string()),
            // Too large for the broker, or no topic that it takes.
            Err(Refusal::Never(why)) => failed(400, &why),
            Err(Refusal::Later(why)) => failed(502, &why),
        }
    }
}
