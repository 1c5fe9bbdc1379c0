//! Publishes events over MQTT, and takes task starts and events of Qlik Cloud from there.
//!
//! [`plan`] makes the messages of an event, with [`payload`] for what they say and [`topic`] for what may be a topic;
//! [`link`] keeps the connection, with [`client`] for the two versions of MQTT; [`inbound`] handles what comes from the
//! broker. A delivery is done when the broker has acknowledged all of its messages; a repeated one publishes only those that
//! it has not.

mod client;
mod endpoint;
mod import;
mod inbound;
mod link;
mod metadata;
mod newest;
mod payload;
mod plan;
mod settings;
mod tls;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::message::{Presentation, Trouble};
use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, Request, Response, StartError, kind,
    sample_delivery,
};
use serde_json::{Value, json};

use client::{Qos, Refusal};
use link::Link;
use metadata::Metadata;
use newest::Newest;
use plan::{Plan, Planner};
use settings::{Routes, Settings};

/// Deliveries at a time: each waits for the broker's acknowledgement.
const CONCURRENCY: u32 = 500;

/// The host gives a delivery 60 s in all, and what was achieved is to be told before.
const LONGEST_DELIVERY: Duration = Duration::from_secs(50);

struct Mqtt {
    host: Host,
    link: Arc<Link>,
    routes: Routes,
    presentation: Presentation,
    metadata: Option<Metadata>,
    trouble: Trouble,
    newest: Newest,
}

impl Plugin for Mqtt {
    type Settings = Settings;

    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        let sent_ever_since = [kind::SERVICE_STARTED, kind::UDP_LISTENING, kind::UDP_FAILED];
        let events: Vec<&str> = Manifest::ALERTS.iter().copied().chain(sent_ever_since).collect();
        Manifest::new("mqtt", "Publishes events over MQTT, and takes task starts and events of Qlik Cloud from there")
            .default_events(&events)
            // The last message on a topic tells how it is now.
            .ordered()
            .concurrency(CONCURRENCY)
            .endpoint(endpoint::endpoint())
            .operation("check")
            .operation("render")
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let checked = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        if let Some(tls) = &checked.broker.tls {
            if tls.verify == tls::Verify::Nothing {
                tracing::warn!("`tls.verify: none`: anybody on the way to the broker can read and change messages");
            }
            // The system's authorities may come later; files that are named must be there.
            if tls.verify != tls::Verify::System || tls.client.is_some() {
                tls.read().map_err(StartError::Config)?;
            }
        } else if checked.broker.login.as_ref().is_some_and(|(_, password)| password.is_some()) {
            tracing::warn!(
                "the password goes to the broker without encryption: `mqtts://` or `wss://` in `url` encrypts it"
            );
        }
        let mqtt = Self {
            link: Link::new(host.clone(), checked.broker, checked.subscriptions),
            metadata: checked.metadata.then(|| Metadata::new(host.clone())),
            routes: checked.routes,
            presentation: checked.presentation,
            trouble: Trouble::new("events on built-in topics, or as JSON"),
            newest: Newest::default(),
            host,
        };
        mqtt.trouble.note(mqtt.try_templates().await.err());
        Ok(mqtt)
    }

    async fn run(&self) {
        self.link.run().await;
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let last = tokio::time::Instant::now() + LONGEST_DELIVERY;
        // Nobody is asked for anything while there is no connection.
        let session = self.link.session().await.map_err(|why| keep(delivery, DeliveryError::retry(why)))?;
        if !self.newest.is_of_interest(&delivery.event) {
            return Ok(());
        }
        let Plan { messages, trouble, misplaced } = self.planner(self.metadata.as_ref()).plan(delivery).await?;
        self.trouble.note(trouble.or(misplaced));
        let is_posted = delivery.event.kind == kind::MESSAGE_POSTED;
        if is_posted && messages.iter().any(|planned| self.link.obeys(&planned.message.topic)) {
            return Err(DeliveryError::reject(
                "Butler itself listens to this topic; start tasks by their own endpoint",
            ));
        }
        let mut arrived: Vec<String> = plan::arrived(delivery).map(str::to_owned).collect();
        // All are handed over before any is waited for, in their order.
        let (mut under_way, mut later, mut never) = (Vec::with_capacity(messages.len()), None, None);
        for planned in messages {
            let topic = planned.message.topic.clone();
            match session.publish(planned.message, planned.properties, last).await {
                Ok(publishing) => under_way.push((planned.name, topic, publishing)),
                Err(Refusal::Never(why)) => note(&mut never, &why, &topic),
                Err(why) => {
                    note(&mut later, &why, &topic);
                    break;
                }
            }
        }
        for (name, topic, publishing) in under_way {
            match publishing.done().await {
                Ok(()) => {
                    self.host.metrics().count("messages_total", &[], 1);
                    arrived.push(name);
                }
                Err(Refusal::Never(why)) => note(&mut never, &why, &topic),
                Err(why) => note(&mut later, &why, &topic),
            }
        }
        match (later, never) {
            (Some(why), _) => {
                Err(DeliveryError::retry(why).with_progress(plan::progress(arrived.iter().map(String::as_str))))
            }
            (None, Some(why)) => Err(DeliveryError::reject(why)),
            (None, None) => Ok(()),
        }
    }

    async fn call(&self, request: Request) -> Response {
        match request.route.as_str() {
            endpoint::PATH => self.put_message(&request).await,
            _ => Response::error(404, "the plugin mqtt does not serve this path"),
        }
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => {
                self.try_templates().await.map_err(OperationError::Failed)?;
                self.link.probe().await.map(Value::from).map_err(OperationError::Failed)
            }
            "render" => self.render(input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        match (self.link.health(), self.trouble.health()) {
            (Health::Good, templates) => templates,
            (connection, _) => connection,
        }
    }

    async fn stop(&self) {
        self.link.stop().await;
    }
}

butler_plugin_api::export!(Mqtt);

/// What has arrived in former attempts is not forgotten when nothing could be tried.
fn keep(delivery: &Delivery, error: DeliveryError) -> DeliveryError {
    match &delivery.progress {
        Some(progress) => error.with_progress(progress.clone()),
        None => error,
    }
}

/// Keeps the first reason, with the topic.
fn note(first: &mut Option<String>, why: &impl std::fmt::Display, topic: &str) {
    first.get_or_insert_with(|| format!("{why} (topic `{}`)", topic::shown(topic)));
}

impl Mqtt {
    fn planner<'a>(&'a self, metadata: Option<&'a Metadata>) -> Planner<'a> {
        Planner { host: &self.host, routes: &self.routes, presentation: &self.presentation, metadata }
    }

    /// Tries the templates of the settings on samples.
    async fn try_templates(&self) -> Result<(), String> {
        for kind in self.routes.kinds_with_templates() {
            // A topic that only this sample makes impossible is told when it happens.
            let plan = self.planner(None).plan(&sample_delivery(kind)).await;
            if let Some(trouble) = plan.ok().and_then(|plan| plan.trouble) {
                return Err(trouble);
            }
        }
        Ok(())
    }

    /// Shows the messages about a delivery.
    async fn render(&self, mut input: Value) -> Result<Value, OperationError> {
        let failed = |why: String| OperationError::Failed(why);
        let file = input.as_object_mut().and_then(|input| input.remove("templateFile"));
        if file.as_ref().and_then(Value::as_str).is_some_and(|file| !file.is_empty()) {
            return Err(failed("mqtt has no template files: its templates are `topics` of the settings".to_owned()));
        }
        let delivery: Delivery =
            serde_json::from_value(input).map_err(|error| failed(format!("the input is no delivery: {error}")))?;
        let plan = self.planner(self.metadata.as_ref()).plan(&delivery).await;
        let Plan { messages, trouble, misplaced } = plan.map_err(|error| failed(error.to_string()))?;
        if let Some(trouble) = trouble.or(misplaced) {
            return Err(failed(trouble));
        }
        let messages = messages.into_iter().map(|planned| {
            let message = planned.message;
            let qos = match message.qos {
                Qos::AtMostOnce => 0,
                Qos::AtLeastOnce => 1,
                Qos::ExactlyOnce => 2,
            };
            // As the text that would be sent: as JSON it would lose the order of its members.
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            json!({ "topic": message.topic, "qos": qos, "retain": message.retain, "payload": payload })
        });
        Ok(json!({ "messages": messages.collect::<Vec<_>>() }))
    }
}

#[cfg(test)]
mod tests;
