//! Posts alerts to Slack, by an incoming webhook or with a bot token.
//!
//! [`compose`] makes the message of a delivery, within the [`limits`] of Slack; [`api`] sends it and reads the answer;
//! [`threads`] knows which messages belong together. If a template fails, or Slack refuses what it made, [`blocks`] has a
//! plain message: an alert is never lost for the sake of its looks, and the message says what is wrong. [`endpoint`] is what
//! load scripts post by.

mod api;
mod blocks;
mod compose;
mod endpoint;
mod errors;
mod import;
mod limits;
mod payload;
mod settings;
mod text;
mod threads;

use std::path::Path;

use butler_plugin_api::message::{Facts, Presentation, Templates, Trouble};
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, Request, Response, ServiceError,
    StartError, kind, sample_delivery,
};
use serde_json::Value;

use api::{Posted, Refusal, Slack};
use compose::Message;
use payload::Payload;
use settings::{Post, Settings, Threads};
use threads::{Role, Subject, Thread};

struct Chat {
    post: Post,
    presentation: Presentation,
    templates: Templates,
    slack: Slack,
    host: Host,
    trouble: Trouble,
}

impl Plugin for Chat {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("slack", "Posts alerts to Slack")
            .default_events(Manifest::ALERTS)
            // A success must not overtake the failure whose thread it ends.
            .ordered()
            .script_log()
            .endpoint(endpoint::endpoint())
            .operation("check")
            .operation("render")
            .operation("import")
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let (post, presentation) = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let templates = compose::templates(&post);
        let slack = Slack::new(host.clone(), &post);
        let chat = Self { post, presentation, templates, slack, host, trouble: Trouble::new("plain messages") };
        // A broken template is no reason not to start, since alerts go out without it, but the sooner it is known the better.
        chat.trouble.note(chat.sample_trouble());
        Ok(chat)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let subject = threads::subject(&delivery.event).filter(|_| self.post.threads != Threads::Off);
        if let Some(thread) = posted_before(delivery) {
            return match &subject {
                Some(subject) => self.keep(subject, &thread).await,
                None => Ok(()),
            };
        }
        self.slack.wait().await?;
        let message = self.compose(delivery, &self.templates).await;
        // A template that names a thread itself is left alone.
        let Some(subject) = subject.filter(|_| message.payload.text("thread_ts").is_none()) else {
            self.send(&message, None).await?;
            return Ok(());
        };
        let channel = message.payload.text("channel").unwrap_or_default();
        let mut open = threads::find(&self.host, &subject).await.filter(|thread| thread.channel == channel);
        if delivery.attempt > 1 && open.as_ref().is_some_and(|thread| thread.delivery == delivery.delivery_id) {
            // It was posted, and the process ended before that was noted.
            return Ok(());
        }
        let posted = match self.send(&message, open.as_ref()).await {
            Err(Refusal::Thread(why)) if open.is_some() => {
                tracing::info!("the thread is gone, so the message goes into the channel: {why}");
                open = None;
                self.send(&message, None).await?
            }
            outcome => outcome?,
        };
        match (subject.role, open, posted.ts) {
            (Role::Success, ..) => threads::end(&self.host, &subject).await,
            (Role::Failure, None, Some(ts)) => {
                let thread = Thread { ts, channel, delivery: delivery.delivery_id.clone() };
                self.keep(&subject, &thread).await?;
            }
            (Role::Failure, ..) => {}
        }
        Ok(())
    }

    async fn call(&self, request: Request) -> Response {
        match request.route.as_str() {
            endpoint::PATH => self.put_message(&request).await,
            _ => Response::error(404, "the plugin slack does not serve this path"),
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

butler_plugin_api::export!(Chat);

impl Chat {
    /// Sends a message, as an answer if there is a thread. If Slack refuses its content, the plain form is sent instead; if it
    /// refuses a channel that the message chose, into the channel of the settings.
    async fn send(&self, message: &Message, thread: Option<&Thread>) -> Result<Posted, Refusal> {
        let placed = |payload: &Payload| {
            let mut payload = payload.clone();
            if let Some(thread) = thread {
                payload.set("thread_ts", &thread.ts);
                if self.post.threads == Threads::Broadcast {
                    payload.set("reply_broadcast", &true);
                }
            }
            payload
        };
        let mut outcome = self.slack.post(&placed(&message.payload)).await;
        let mut trouble = message.trouble.clone();
        let refused = match &outcome {
            Err(Refusal::Content(why) | Refusal::Unclear(why)) => Some(why),
            // A thread that the template names itself.
            Err(Refusal::Thread(why)) if thread.is_none() => Some(why),
            _ => None,
        };
        let channel = message.payload.text("channel");
        if let Some(why) = refused.filter(|_| trouble.is_none()).cloned() {
            let mut plain = self.plain(&message.facts, &why);
            if let Some(channel) = &channel {
                plain.set("channel", channel);
            }
            outcome = self.slack.post(&placed(&plain)).await;
            trouble = Some(why);
        }
        if let Err(Refusal::Channel(why)) = &outcome
            && channel != self.post.channel
        {
            let why = why.clone();
            outcome = self.slack.post(&self.plain(&message.facts, &why)).await;
            if let Ok(posted) = &mut outcome {
                // Nothing answers there: what follows belongs into the other channel.
                posted.ts = None;
            }
            trouble = Some(why);
        }
        if outcome.is_ok() || trouble.is_some() {
            self.trouble.note(trouble);
        }
        outcome
    }

    /// Keeps the thread of a message that is posted. If that fails the message is not posted again.
    async fn keep(&self, subject: &Subject, thread: &Thread) -> Result<(), DeliveryError> {
        let kept = if self.post.threads == Threads::Quiet { threads::KEPT_QUIET } else { threads::KEPT };
        match threads::keep(&self.host, subject, thread, kept).await {
            Ok(()) => Ok(()),
            Err(ServiceError::Quota(why)) => {
                tracing::warn!("what follows will not answer in the thread of this message, which is not kept: {why}");
                Ok(())
            }
            Err(error) => {
                let progress = serde_json::to_value(thread).unwrap_or_default();
                let message = format!("the message is posted, but its thread cannot be stored: {error}");
                Err(DeliveryError::retry(message).with_progress(progress))
            }
        }
    }

    /// What is wrong with the template, by a sample.
    fn sample_trouble(&self) -> Option<String> {
        let sample = sample_delivery(kind::RELOAD_TASK_FAILED);
        let facts = Facts::of(&sample, self.host.instance(), &self.presentation);
        self.message(facts, &sample.event.kind, &self.templates).trouble
    }

    /// Tries the template on a sample, and asks Slack whether it knows the token or the webhook: no message appears.
    async fn check(&self) -> Result<Value, OperationError> {
        if let Some(trouble) = self.sample_trouble() {
            return Err(OperationError::Failed(trouble));
        }
        let known = self.slack.probe().await.map_err(OperationError::Failed)?;
        Ok(Value::from(format!(
            "the template is fine. {known}; no message was posted, and the channel was not looked at: \
             `butler test-alert` posts into it"
        )))
    }

    /// What would be sent for the delivery in the input. `templateFile` in it takes the place of the configured template.
    async fn render(&self, mut input: Value) -> Result<Value, OperationError> {
        let file = input.as_object_mut().and_then(|input| input.remove("templateFile"));
        let delivery: Delivery = serde_json::from_value(input)
            .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
        let message = match file.as_ref().and_then(Value::as_str) {
            Some(shown) => {
                let path = Path::new(&self.host.instance().config_dir).join(shown);
                self.compose(&delivery, &Templates::file(shown, path, self.post.format())).await
            }
            None => self.compose(&delivery, &self.templates).await,
        };
        if let Some(trouble) = message.trouble {
            return Err(OperationError::Failed(trouble));
        }
        serde_json::from_str(&message.payload.json()).map_err(|error| OperationError::Failed(error.to_string()))
    }
}

/// The thread of a message that is posted already and could not be stored.
fn posted_before(delivery: &Delivery) -> Option<Thread> {
    serde_json::from_value(delivery.progress.clone()?).ok()
}

/// What Slack refuses, as the end-to-end tests have it.
#[cfg(test)]
#[path = "../../../tests/e2e/src/slack/rules.rs"]
mod rules;
#[cfg(test)]
mod tests;
