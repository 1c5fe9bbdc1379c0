//! Raises alerts in Signl4, and resolves them when all is well again.
//!
//! [`settings`] turns the settings into a checked [`Team`]; [`body`] makes what is posted. What is open is remembered before
//! it is raised, and forgotten after it is resolved: see [`butler_plugin_api::incidents`].

mod body;
mod import;
mod settings;

use std::time::Duration;

use butler_plugin_api::incidents::{Incident, Incidents, Role};
use butler_plugin_api::{
    Delivery, DeliveryError, Event, Host, HttpRequest, Manifest, OperationError, Plugin, ServiceError, StartError,
};
use serde_json::{Value, json};

use body::Body;
use settings::{Settings, Team};

/// For how long an alert that nothing resolves stays remembered.
const KEPT: Duration = Duration::from_hours(30 * 24);

struct Signl4 {
    team: Team,
    host: Host,
    incidents: Incidents,
}

/// What a delivery is for.
enum Task {
    Trigger(Box<Body>, Option<Incident>),
    Resolve(Box<Body>, Incident),
    Nothing(&'static str),
}

impl Plugin for Signl4 {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut events = Manifest::ALERTS.to_vec();
        events.extend(["*-task.succeeded", "service.started"]);
        Manifest::new("signl4", "Raises and resolves Signl4 alerts")
            .default_events(&events)
            // A success must not overtake the failure that it resolves.
            .ordered()
            .operation("check")
            .operation("render")
            .operation("import")
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let team = Team::try_from(settings).map_err(StartError::Config)?;
        let incidents = Incidents::new(&host);
        Ok(Self { team, host, incidents })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        match self.task(&delivery.event, delivery).await? {
            Task::Nothing(why) => {
                tracing::debug!(event.id = %delivery.event.id, "nothing is sent: {why}");
                Ok(())
            }
            Task::Resolve(body, incident) => {
                self.post(delivery, &body).await?;
                self.incidents.close(&incident.key).await;
                Ok(())
            }
            Task::Trigger(body, None) => self.post(delivery, &body).await,
            Task::Trigger(body, Some(incident)) => {
                let is_new = self.incidents.find(&incident.key).await == Ok(None);
                let value = json!({ "externalId": body.external_id, "since": delivery.event.time });
                let remembered = self.incidents.open(&incident.key, &value, KEPT).await;
                if delivery.progress.is_none()
                    && let Err(error) = self.post(delivery, &body).await
                {
                    if is_new && matches!(error, DeliveryError::Reject { .. }) {
                        self.incidents.close(&incident.key).await;
                    }
                    return Err(error);
                }
                remembered.or_else(not_remembered)
            }
        }
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => {
                let delivery: Delivery = serde_json::from_value(input)
                    .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
                let body = match Incident::if_real(&delivery.event) {
                    // As if the alert that it resolves were open.
                    Some(Incident { key, role: Role::Closes }) => {
                        Body::resolve(&delivery.event, &self.team, external_id_of(&key))
                    }
                    _ => Body::trigger(&delivery, &self.team, self.host.links()),
                };
                // As the text that would be sent: as JSON it would lose the order of its fields.
                serde_json::to_string(&body).map(Value::from).map_err(|error| OperationError::Failed(error.to_string()))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }
}

butler_plugin_api::export!(Signl4);

impl Signl4 {
    async fn task(&self, event: &Event, delivery: &Delivery) -> Result<Task, DeliveryError> {
        let trigger = || Box::new(Body::trigger(delivery, &self.team, self.host.links()));
        let incident = match Incident::of(event) {
            Some(incident) => incident,
            None if Role::of(event) == Some(Role::Closes) && event.source == Event::TEST => {
                // Said, since whoever tries it out would wait for it.
                return Err(DeliveryError::reject(
                    "a success resolves an open alert and raises none; a test opens none that could be resolved: try it \
                     with a failure",
                ));
            }
            None if Role::of(event) == Some(Role::Closes) => {
                return Ok(Task::Nothing("it does not say of what it is a success"));
            }
            None => return Ok(Task::Trigger(trigger(), None)),
        };
        match incident.role {
            Role::Opens if !self.team.resolve => Ok(Task::Trigger(trigger(), None)),
            Role::Opens => Ok(Task::Trigger(trigger(), Some(incident))),
            Role::Closes if !self.team.resolve => Ok(Task::Nothing("`resolve` is off")),
            Role::Closes => match self.incidents.find(&incident.key).await? {
                None => Ok(Task::Nothing("no alert is open that it would resolve")),
                Some(open) => {
                    let external_id = open["externalId"].as_str().map(str::to_owned);
                    let external_id = external_id.unwrap_or_else(|| external_id_of(&incident.key));
                    Ok(Task::Resolve(Box::new(Body::resolve(event, &self.team, external_id)), incident))
                }
            },
        }
    }

    fn request(&self, method: &str) -> HttpRequest {
        let request = self.host.http().request(method, self.team.url.as_str()).timeout(self.team.timeout);
        match &self.team.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    /// Ok: Signl4 has it.
    async fn post(&self, delivery: &Delivery, body: &Body) -> Result<(), DeliveryError> {
        let outcome = self.send(delivery, body).await;
        outcome.map_err(|error| match error {
            DeliveryError::Retry { message, after: Some(after), .. } => {
                DeliveryError::retry_after(self.team.without_secret(&message), after)
            }
            DeliveryError::Retry { message, .. } => DeliveryError::retry(self.team.without_secret(&message)),
            DeliveryError::Reject { message } => DeliveryError::reject(self.team.without_secret(&message)),
            other => other,
        })
    }

    async fn send(&self, delivery: &Delivery, body: &Body) -> Result<(), DeliveryError> {
        let request = self.request("POST").header("Idempotency-Key", &delivery.delivery_id);
        let reply = request.json(body).send().await?.error_for_status()?;
        if reply.bytes().is_empty() {
            return Ok(());
        }
        // A page of a proxy is no answer of Signl4, which says the id of the event.
        let Ok(Value::Object(answer)) = reply.json::<Value>() else {
            let text: String = reply.text().chars().take(200).collect();
            let text = text.replace(['\r', '\n'], " ");
            return Err(DeliveryError::retry(format!(
                "`url` was answered with {}, but not by Signl4: {text}",
                reply.status()
            )));
        };
        let id = answer.get("eventId").and_then(Value::as_str).unwrap_or_default();
        tracing::debug!(signl4.event = id, "Signl4 has it");
        Ok(())
    }

    /// Asks for the options of the address: the API has no call that raises no alert.
    async fn check(&self) -> Result<Value, OperationError> {
        match self.request("OPTIONS").send().await {
            Ok(reply) => Ok(Value::from(format!(
                "{} is reachable: OPTIONS was answered with {}; no alert was raised, so the secret was not tried: \
                 `butler test-alert` does",
                self.team.url.host_str().unwrap_or("the address"),
                reply.status()
            ))),
            Err(error) => Err(OperationError::Failed(self.team.without_secret(&error.to_string()))),
        }
    }
}

/// The alert is out, but what would resolve it is not stored.
fn not_remembered(error: ServiceError) -> Result<(), DeliveryError> {
    match error {
        // It would be the same the next time.
        ServiceError::Quota(why) => {
            tracing::warn!("the alert is raised, but no success will resolve it: {why}");
            Ok(())
        }
        error => {
            let message = format!("the alert is raised, but what will resolve it cannot be stored: {error}");
            Err(DeliveryError::retry(message).with_progress(json!({ "raised": true })))
        }
    }
}

/// By which id an incident of this key was raised.
fn external_id_of(key: &str) -> String {
    key.strip_prefix("task/").unwrap_or(key).to_owned()
}

#[cfg(test)]
mod tests;
