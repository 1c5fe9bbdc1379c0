//! `PUT /v4/slackpostmessage`: load scripts post texts of their own, as with Butler 16.

use butler_plugin_api::{DeliveryError, Endpoint, Request, Response, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Refusal;
use crate::payload::Payload;
use crate::{Chat, blocks, limits};

pub(crate) const PATH: &str = "/v4/slackpostmessage";

/// A text for a channel. The answer has the same form.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Text {
    /// Channel, by its name or id. Webhooks of today's Slack apps ignore it.
    channel: String,
    /// Who it seems to come from.
    from_user: String,
    /// The text. It has no markup.
    msg: String,
    /// Emoji beside it, such as `:tada:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emoji: Option<String>,
}

/// Several instances may be there: the first one of the config serves it.
pub(crate) fn endpoint() -> Endpoint {
    let text = schemars::schema_for!(Text).to_value();
    Endpoint::new("PUT", PATH, Scope::Messages, "Posts a text in a channel of Slack")
        .shared()
        .named("slackPostMessage")
        .body(text.clone())
        .answer(201, "Slack has it", text)
        .answer(502, "Slack did not take it", Value::Null)
}

impl Chat {
    pub(crate) async fn put_message(&self, request: &Request) -> Response {
        let text: Text = match serde_json::from_slice(&request.body) {
            Ok(text) => text,
            Err(error) => return Response::error(400, &format!("the body is not as it should be: {error}")),
        };
        if text.msg.is_empty() {
            return Response::error(400, "`msg` is empty: Slack takes no empty message");
        }
        let Some(blocks) = blocks::posted(&text.msg) else {
            let message = format!("`msg` is too long: Slack takes about {} characters in one message", limits::TOTAL);
            return Response::error(400, &message);
        };
        let mut payload = Payload::default();
        payload.set("username", &text.from_user);
        payload.set("channel", &text.channel);
        if let Some(emoji) = &text.emoji {
            payload.set("icon_emoji", emoji);
        }
        payload.set("blocks", &blocks);
        match self.slack.post(&payload).await {
            Ok(_) => Response::json(201, &text),
            Err(refusal) => {
                tracing::warn!(caller = request.caller, "a message by REST was not posted: {refusal}");
                let response = Response::error(502, &format!("the message was not posted: {refusal}"));
                match refusal {
                    Refusal::Other(DeliveryError::Retry { after: Some(after), .. }) => {
                        response.header("retry-after", after.as_secs().max(1).to_string())
                    }
                    _ => response,
                }
            }
        }
    }
}
