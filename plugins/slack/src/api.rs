//! Slack's two doors: incoming webhooks, and the method `chat.postMessage`.
//!
//! A webhook answers with a status and a code as text. The method answers 200 for almost everything, and says in the JSON
//! whether it went well. Before both there may be a proxy with pages of its own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::{DeliveryError, Host, HttpReply, HttpRequest};
use serde::Deserialize;

use crate::errors::{Class, class};
use crate::payload::Payload;
use crate::settings::{Door, Post};

/// A delivery may need three calls after the wait for a pause ([`Slack::wait`]), and has 60 s.
const TIMEOUT: Duration = Duration::from_secs(12);
/// When Slack says that there are too many messages, but not how long to wait.
const PAUSE: Duration = Duration::from_secs(30);
/// Longest pause, whatever is asked for: a strange answer must not silence an instance for days.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// Longest time to wait for the end of a pause.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that Slack has taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Its time stamp, which is its id in the channel. Webhooks do not tell.
    pub(crate) ts: Option<String>,
}

/// Why Slack has not taken a message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Slack refuses the message for what it holds. Another form of it may be taken.
    #[error("{0}")]
    Content(String),
    /// The message, or something of the settings. Another form may be taken; if not, somebody can put it right.
    #[error("{0}")]
    Unclear(String),
    /// The channel cannot be posted in.
    #[error("{0}")]
    Channel(String),
    /// The thread is not there any more.
    #[error("{0}")]
    Thread(String),
    /// To be tried again.
    #[error("{0}")]
    Other(DeliveryError),
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Content(message) => Self::reject(message),
            Refusal::Channel(message) | Refusal::Thread(message) | Refusal::Unclear(message) => Self::retry(message),
            Refusal::Other(error) => error,
        }
    }
}

/// An answer of Slack's methods.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    error: String,
    ts: Option<String>,
    /// The scope that is missing.
    needed: Option<String>,
    errors: Vec<serde_json::Value>,
    response_metadata: Metadata,
    /// Of `auth.test`.
    team: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    messages: Vec<String>,
}

/// Slack, as the settings reach it.
pub(crate) struct Slack {
    host: Host,
    door: Door,
    tls: Option<String>,
    /// Slack wants no messages until then.
    pause: Mutex<Option<Instant>>,
}

impl Slack {
    pub(crate) fn new(host: Host, post: &Post) -> Self {
        Self { host, door: post.door.clone(), tls: post.tls.clone(), pause: Mutex::default() }
    }

    /// How long Slack still wants no messages.
    fn pause(&self) -> Option<Duration> {
        let until = (*self.pause.lock().unwrap_or_else(PoisonError::into_inner))?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Waits until Slack wants messages, unless that takes long.
    pub(crate) async fn wait(&self) -> Result<(), DeliveryError> {
        match self.pause() {
            Some(left) if left > PATIENCE => Err(paused(left)),
            Some(left) => {
                // A sleep is in whole milliseconds: without one more it would end too early.
                self.host.sleep(left + Duration::from_millis(1)).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Posts a message.
    pub(crate) async fn post(&self, payload: &Payload) -> Result<Posted, Refusal> {
        if let Some(left) = self.pause() {
            return Err(Refusal::Other(paused(left)));
        }
        let reply = self
            .request("chat.postMessage")
            .body(payload.json())
            .send()
            .await
            .map_err(|error| Refusal::Other(error.into()))?;
        let answer = self.read(&reply)?;
        Ok(Posted { ts: answer.ts })
    }

    /// Looks whether token or webhook are known, without a message; a line for people.
    pub(crate) async fn probe(&self) -> Result<String, String> {
        let request = match &self.door {
            Door::Webhook(_) => self.request(""),
            Door::Token { .. } => self.request("auth.test"),
        };
        // No message is made of it: a webhook refuses it for having no text.
        let reply = request.body("{}").send().await.map_err(|error| error.to_string())?;
        match (&self.door, self.read(&reply)) {
            (Door::Token { .. }, Ok(answer)) => {
                let (team, user) = (answer.team.unwrap_or_default(), answer.user.unwrap_or_default());
                Ok(format!("Slack knows the token: it is that of `{user}` in the workspace `{team}`"))
            }
            (Door::Webhook(_), Ok(_) | Err(Refusal::Content(_))) => Ok("Slack knows the webhook".to_owned()),
            (Door::Webhook(_), Err(Refusal::Unclear(answer))) => {
                Ok(format!("the address of the webhook answers: {answer}"))
            }
            (_, Err(refusal)) => Err(refusal.to_string()),
        }
    }

    fn request(&self, method: &str) -> HttpRequest {
        let http = self.host.http();
        let request = match &self.door {
            Door::Webhook(url) => http.post(url.as_str()).header("Content-Type", "application/json"),
            Door::Token { token, api } => http
                .post(format!("{}/{method}", api.as_str().trim_end_matches('/')))
                .header("Content-Type", "application/json; charset=utf-8")
                .header("Authorization", format!("Bearer {token}")),
        };
        let request = request.timeout(TIMEOUT);
        match &self.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    fn read(&self, reply: &HttpReply) -> Result<Answer, Refusal> {
        let status = reply.status();
        let text = reply.text();
        let is_api = matches!(self.door, Door::Token { .. });
        if is_api && let Ok(answer) = reply.json::<Answer>() {
            if answer.ok && (200..300).contains(&status) {
                return Ok(answer);
            }
            if !answer.error.is_empty() {
                return Err(self.refusal(reply, &answer.error, &details(&answer)));
            }
        }
        let page = page_title(reply, &text);
        if let Some(title) = &page
            && !matches!(status, 413 | 429 | 500..)
        {
            return Err(again(format!(
                "the answer ({status}) is an HTML page{title}: a proxy or another server has answered, not Slack; check {}",
                self.setting()
            )));
        }
        if (200..300).contains(&status) {
            if is_api {
                return Err(again(format!("the answer ({status}) is not that of Slack's methods: check `apiUrl`")));
            }
            return Ok(Answer::default());
        }
        let code = if page.is_some() { "" } else { text.lines().next().unwrap_or_default().trim() };
        Err(self.refusal(reply, code, ""))
    }

    /// The refusal of an answer that is no success.
    fn refusal(&self, reply: &HttpReply, code: &str, details: &str) -> Refusal {
        let status = reply.status();
        let shown: String = if code.is_empty() { format!("{status}") } else { code.chars().take(200).collect() };
        let message = format!("Slack answered {shown}{details}");
        let class = match (class(code), status) {
            (Class::Unknown, 413) => Class::Content,
            (Class::Unknown, 400) => Class::Unclear,
            (Class::Unknown, 429 | 500..) => Class::Busy,
            (class, _) => class,
        };
        match class {
            Class::Content => Refusal::Content(message),
            Class::Unclear => Refusal::Unclear(format!("{message}; check {}", self.setting())),
            Class::Channel(remedy) => Refusal::Channel(format!("{message}: {remedy}")),
            Class::Thread => Refusal::Thread(message),
            Class::Busy if status == 429 || code.starts_with("rate") || code == "message_limit_exceeded" => {
                let asked = reply.header("retry-after").and_then(|text| text.trim().parse().ok());
                let pause = asked.map_or(PAUSE, Duration::from_secs).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(pause);
                let message = format!("{message}: too many messages, the next one in {} s", pause.as_secs());
                Refusal::Other(DeliveryError::retry_after(message, pause))
            }
            Class::Busy => again(format!("{message}: Slack is in trouble")),
            Class::Settings(remedy) => again(format!("{message}: {remedy}")),
            Class::Unknown => again(format!("{message}; check {}", self.setting())),
        }
    }

    fn setting(&self) -> &'static str {
        match self.door {
            Door::Webhook(_) => "`webhookUrl`",
            Door::Token { .. } => "`apiUrl` and `token`",
        }
    }
}

fn paused(left: Duration) -> DeliveryError {
    let message = format!("Slack wants no messages for {} s more (rate limit)", left.as_secs() + 1);
    DeliveryError::retry_after(message, left)
}

fn again(message: String) -> Refusal {
    Refusal::Other(DeliveryError::retry(message))
}

/// What the answer says beyond its code.
fn details(answer: &Answer) -> String {
    let errors = answer.errors.iter().map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
    let needed = answer.needed.iter().map(|scope| format!("needed is {scope}"));
    // The two lists say the same where there are both.
    let messages = answer.response_metadata.messages.iter().cloned();
    let parts: Vec<String> = if answer.response_metadata.messages.is_empty() {
        needed.chain(errors).collect()
    } else {
        needed.chain(messages).collect()
    };
    let text: String = parts.join("; ").chars().take(400).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

/// None if the answer is no HTML page; else its title, if it has one, in quotes.
fn page_title(reply: &HttpReply, text: &str) -> Option<String> {
    let start: String = text.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    let is_page = reply.header("content-type").is_some_and(|kind| kind.contains("text/html"))
        || start.starts_with("<!doctype html")
        || start.starts_with("<html");
    // Slack sends its codes as text/html, too.
    if !is_page || !text.contains('<') {
        return None;
    }
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    Some(
        title.map_or_else(String::new, |(title, _)| {
            format!(" \"{}\"", title.trim().chars().take(100).collect::<String>())
        }),
    )
}
