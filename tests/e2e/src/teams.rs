//! A channel of Microsoft Teams behind the webhook of a workflow: takes what the real one takes, and refuses the rest.
//!
//! By Microsoft's documentation (Create incoming webhooks with Workflows; Adaptive Cards schema 1.5; Format cards in
//! Microsoft Teams) and what people report: a message with a card as attachment, by choice of the flow's author a bare
//! card; at most 28 kB with Teams' own wrapping; 429 with `Retry-After`; error pages in HTML from gateways.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// Largest card, with what Teams puts around it: it was seen to add 4.4 kB to 24 kB.
const LARGEST: usize = 28_672;
const WRAPPING: usize = 4_500;

/// A trouble of the channel.
#[derive(Debug, Clone, Copy)]
pub enum TeamsTrouble {
    /// 429, come again after so many seconds.
    Busy(u64),
    /// A gateway's error page.
    ErrorPage,
    /// 413, whatever the size.
    TooLarge,
    /// 401: the signature in the address has been renewed.
    Unauthorized,
    /// A connector of Office 365, which answers 200 although Teams has answered it with this status.
    Undelivered(u16),
}

#[derive(Default)]
struct Channel {
    troubles: VecDeque<TeamsTrouble>,
    shown: Vec<Value>,
    refused: Vec<String>,
}

/// The channel. It ends when it is dropped.
pub struct TeamsChannel {
    address: SocketAddr,
    channel: Arc<Mutex<Channel>>,
    task: tokio::task::JoinHandle<()>,
}

impl TeamsChannel {
    /// Opens one on a free port.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let channel = Arc::<Mutex<Channel>>::default();
        let router = Router::new().route("/workflows/flow/triggers/manual/paths/invoke", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let router = router.with_state(channel.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, channel, task }
    }

    /// Address of the workflow's webhook.
    pub fn webhook(&self) -> String {
        format!("http://{}/workflows/flow/triggers/manual/paths/invoke?sig=secret", self.address)
    }

    /// Answers the next requests with troubles, one each.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = TeamsTrouble>) {
        self.lock().troubles.extend(troubles);
    }

    /// The messages that people see.
    pub fn shown(&self) -> Vec<Value> {
        self.lock().shown.clone()
    }

    /// Why messages were refused.
    pub fn refused(&self) -> Vec<String> {
        self.lock().refused.clone()
    }

    /// Waits for so many messages.
    pub async fn wait(&self, count: usize) -> Vec<Value> {
        crate::wait_for(&format!("{count} messages in the channel"), || async {
            let shown = self.shown();
            (shown.len() >= count).then_some(shown)
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TeamsChannel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(channel): State<Arc<Mutex<Channel>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
    let page = Html("<html><body><h1>502 Bad Gateway</h1></body></html>");
    match channel.troubles.pop_front() {
        Some(TeamsTrouble::Busy(seconds)) => {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())], "").into_response();
        }
        Some(TeamsTrouble::ErrorPage) => return (StatusCode::BAD_GATEWAY, page).into_response(),
        Some(TeamsTrouble::TooLarge) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Some(TeamsTrouble::Unauthorized) => return StatusCode::UNAUTHORIZED.into_response(),
        Some(TeamsTrouble::Undelivered(status)) => {
            let text = format!(
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with \
                 ContextId tcid=0,server=X,cv=Y.."
            );
            return text.into_response();
        }
        None => {}
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/json") {
        channel.refused.push(format!("content type {content_type}"));
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let message = serde_json::from_slice::<Value>(&body).map_err(|error| error.to_string());
    match message.and_then(|message| fault_of_message(&message, body.len()).map_or(Ok(message), Err)) {
        Ok(message) => {
            channel.shown.push(message);
            StatusCode::ACCEPTED.into_response()
        }
        Err(fault) => {
            let answer = json!({ "error": { "code": "TriggerInputSchemaMismatch", "message": fault } });
            channel.refused.push(fault);
            (StatusCode::BAD_REQUEST, answer.to_string()).into_response()
        }
    }
}

/// Why Teams would not show a message of so many bytes: a message with cards, a bare card, or a message card.
pub fn fault_of_message(message: &Value, size: usize) -> Option<String> {
    if size + WRAPPING > LARGEST {
        return Some(format!("{size} bytes are too many"));
    }
    if message["@type"] == "MessageCard" {
        let text = |name: &str| message[name].as_str().is_some_and(|text| !text.is_empty());
        if !text("summary") && !text("text") {
            return Some("a message card needs summary or text".to_owned());
        }
        let mut actions = message["potentialAction"].as_array().into_iter().flatten();
        let lost = actions.find(|action| !goes_somewhere(&action["targets"][0]["uri"]))?;
        return Some(format!("an action that leads nowhere: {lost}"));
    }
    if message["type"] == "AdaptiveCard" {
        return fault_of_card(message);
    }
    if message["type"] != "message" {
        return Some(format!("the type is {}", message["type"]));
    }
    let Some([attachment]) = message["attachments"].as_array().map(Vec::as_slice) else {
        return Some("not one attachment".to_owned());
    };
    if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" {
        return Some(format!("attachment of type {}", attachment["contentType"]));
    }
    fault_of_card(&attachment["content"])
}

fn fault_of_card(card: &Value) -> Option<String> {
    if card["type"] != "AdaptiveCard" || !["1.2", "1.3", "1.4", "1.5"].iter().any(|known| card["version"] == *known) {
        return Some(format!("no card of a version that Teams shows: {} {}", card["type"], card["version"]));
    }
    let Some(body) = card["body"].as_array().filter(|body| !body.is_empty()) else {
        return Some("a card without body".to_owned());
    };
    if let Some(fault) = body.iter().find_map(fault_of_element) {
        return Some(fault);
    }
    let all = card["body"].to_string();
    card["msteams"]["entities"].as_array().into_iter().flatten().find_map(|entity| {
        let text = entity["text"].as_str().unwrap_or_default();
        let is_whole = entity["type"] == "mention" && entity["mentioned"]["id"].is_string();
        (!is_whole || !all.contains(text)).then(|| format!("a mention that is not in the text: {entity}"))
    })
}

/// An address of the web with a host.
fn goes_somewhere(url: &Value) -> bool {
    let url = url.as_str().unwrap_or_default();
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with([':', '/', '?', '#']))
}

fn fault_of_element(element: &Value) -> Option<String> {
    let text = |name: &str| element[name].as_str().is_some_and(|text| !text.is_empty());
    let inner = |name: &str| element[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let fault = |what: &str| Some(format!("{what}: {element}"));
    match element["type"].as_str().unwrap_or_default() {
        "TextBlock" if !text("text") => fault("a text block without text"),
        "CodeBlock" if !text("codeSnippet") => fault("a code block without code"),
        "Image" if !text("url") => fault("an image without address"),
        "TextBlock" | "CodeBlock" | "Image" => None,
        "FactSet" => {
            let facts = inner("facts");
            let bad = |fact: &Value| !fact["title"].is_string() || fact["value"].as_str().is_none_or(str::is_empty);
            if facts.is_empty() || facts.iter().any(bad) { fault("facts without title or value") } else { None }
        }
        "Container" | "Column" => inner("items").iter().find_map(fault_of_element),
        "ColumnSet" => inner("columns").iter().find_map(fault_of_element),
        "ActionSet" => inner("actions").iter().find_map(|action| {
            let is_whole = action["type"] == "Action.OpenUrl" && action["title"].is_string();
            (!is_whole || !goes_somewhere(&action["url"])).then(|| format!("an action that leads nowhere: {action}"))
        }),
        other => Some(format!("an element of type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_teams_does_not_show_is_refused() {
        let card = |body: Value| json!({ "type": "AdaptiveCard", "version": "1.3", "body": body });
        let heading = json!({ "type": "TextBlock", "text": "x" });
        assert_eq!(fault_of_message(&card(json!([heading])), 100), None);
        for (message, part) in [
            (card(json!([])), "without body"),
            (card(json!([{ "type": "TextBlock", "text": "" }])), "without text"),
            (card(json!([{ "type": "FactSet", "facts": [] }])), "facts"),
            (card(json!([{ "type": "Container", "items": [{ "type": "Video" }] }])), "type Video"),
            (
                card(
                    json!([{ "type": "ActionSet", "actions": [{ "type": "Action.OpenUrl", "title": "x", "url": "" }] }]),
                ),
                "nowhere",
            ),
            (
                card(json!([{ "type": "ActionSet", "actions": [
                    { "type": "Action.OpenUrl", "title": "x", "url": "https://:4242/" }] }])),
                "nowhere",
            ),
            (
                json!({ "@type": "MessageCard", "text": "x", "potentialAction": [
                    { "@type": "OpenUri", "name": "x", "targets": [{ "os": "default", "uri": "https://:4242/" }] }] }),
                "nowhere",
            ),
            (
                json!({ "type": "AdaptiveCard", "version": "1.3", "body": [heading],
                     "msteams": { "entities": [{ "type": "mention", "text": "<at>A</at>", "mentioned": { "id": "a" } }] } }),
                "mention",
            ),
            (json!({ "type": "message", "attachments": [] }), "attachment"),
            (json!({ "type": "message", "attachments": [{ "contentType": "text/plain" }] }), "text/plain"),
            (json!({ "@type": "MessageCard", "title": "x" }), "summary"),
            (json!({ "text": "x" }), "the type is"),
        ] {
            let fault = fault_of_message(&message, 100).unwrap_or_default();
            assert!(fault.contains(part), "{message}: {fault}");
        }
        assert!(fault_of_message(&card(json!([heading])), 25_000).is_some());
    }
}
