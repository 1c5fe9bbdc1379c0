//! Posts alerts to Prometheus Alertmanager, and resolves them when all is well again.
//!
//! [`settings`] turns the settings into a checked [`Site`]; [`alert`] makes alerts; [`post`] brings them to each Alertmanager,
//! and [`resend`] does so again while they are open.
//! What is open is [`remembered`] before it is posted, since it is resolved by its labels, and those may be others by then.

mod alert;
mod post;
mod remembered;
mod resend;
mod settings;

use butler_plugin_api::incidents::{Incident, Incidents, Role};
use butler_plugin_api::{
    Delivery, DeliveryError, Event, Host, Manifest, OperationError, Plugin, ServiceError, StartError,
};
use futures_util::lock::Mutex;
use jiff::Timestamp;
use serde_json::Value;

use alert::{Alert, lasting};
use post::{State, have, progress_of, wire};
use remembered::Remembered;
use resend::Resolving;
use settings::{Settings, Site};

struct Alertmanager {
    site: Site,
    host: Host,
    incidents: Incidents,
    resolving: Resolving,
    /// Held by whoever changes what is remembered, so that reading and writing are one.
    memory: Mutex<()>,
}

impl Plugin for Alertmanager {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut events = Manifest::ALERTS.to_vec();
        events.extend(["*-task.succeeded", "service.started"]);
        Manifest::new("alertmanager", "Posts alerts to Prometheus Alertmanager")
            .default_events(&events)
            // A success must not overtake the failure that it resolves.
            .ordered()
            .script_log_of(&["*.failed", "*.aborted"])
            .operation("check")
            .operation("render")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let site = Site::try_from(settings).map_err(StartError::Config)?;
        let incidents = Incidents::new(&host);
        Ok(Self { site, host, incidents, resolving: Resolving::default(), memory: Mutex::default() })
    }

    async fn run(&self) {
        self.keep_sending().await;
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let event = &delivery.event;
        match Incident::of(event) {
            Some(Incident { key, role: Role::Closes }) => self.resolve(delivery, &key).await,
            Some(Incident { key, role: Role::Opens }) if self.site.resolve => self.open(delivery, &key).await,
            None if is_success(event) && event.source == Event::TEST => {
                // Said, since whoever tries it out would wait for it.
                Err(DeliveryError::reject(
                    "a success resolves an open alert and posts none; a test opens none that could be resolved: try it \
                     with a failure",
                ))
            }
            None if is_success(event) => {
                tracing::debug!(event.id = %event.id, "nothing is sent: it does not say of what it is a success");
                Ok(())
            }
            _ => {
                let (alert, state) = self.alert(delivery, false);
                self.post_to_all(&[alert], state, &mut have(delivery.progress.as_ref())).await
            }
        }
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => {
                let delivery: Delivery = serde_json::from_value(input)
                    .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
                serde_json::to_value(self.shown(delivery)).map_err(|error| OperationError::Failed(error.to_string()))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }
}

butler_plugin_api::export!(Alertmanager);

/// Whether an event raises nothing, whether it happened or is a test.
fn is_success(event: &Event) -> bool {
    Role::of(event) == Some(Role::Closes)
}

impl Alertmanager {
    fn alert(&self, delivery: &Delivery, is_resolved_later: bool) -> (Alert, State) {
        let lasting = lasting(&delivery.event, is_resolved_later, &self.site);
        let alert = Alert::of(delivery, &self.site, self.host.links(), lasting, Timestamp::now());
        (alert, State::Firing(lasting))
    }

    async fn open(&self, delivery: &Delivery, key: &str) -> Result<(), DeliveryError> {
        let (alert, state) = self.alert(delivery, true);
        let (before, remembered) = self.remember(key, &alert).await;
        let mut have = have(delivery.progress.as_ref());
        if let Err(error) = self.post_to_all(&[alert], state, &mut have).await {
            // What could not be read was not changed either.
            if remembered.is_ok() && matches!(error, DeliveryError::Reject { .. }) && have.is_empty() {
                self.keep(key, &before).await;
            }
            return Err(error);
        }
        match remembered {
            Ok(()) => Ok(()),
            // It would be the same the next time.
            Err(ServiceError::Quota(why)) => {
                tracing::warn!("the alert is posted, but no success will resolve it: {why}");
                Ok(())
            }
            Err(error) => {
                let message = format!("the alert is posted, but what will resolve it cannot be stored: {error}");
                Err(DeliveryError::retry(message).with_progress(progress_of(&have)))
            }
        }
    }

    async fn resolve(&self, delivery: &Delivery, key: &str) -> Result<(), DeliveryError> {
        let _underway = self.resolving.begin();
        let memory = self.memory.lock().await;
        let remembered = if self.site.resolve { self.remembered(key).await? } else { Vec::new() };
        if remembered.is_empty() {
            tracing::debug!(event.id = %delivery.event.id, "nothing is sent: no alert is open that it would resolve");
            return Ok(());
        }
        let at = delivery.event.time.parse().unwrap_or_else(|_| Timestamp::now());
        self.mark(key, &remembered, at).await?;
        drop(memory);
        let alerts: Vec<Alert> = remembered.into_iter().map(Remembered::into_alert).collect();
        self.post_to_all(&alerts, State::Resolved(at), &mut have(delivery.progress.as_ref())).await?;
        let _memory = self.memory.lock().await;
        self.incidents.close(key).await;
        Ok(())
    }

    /// What would be posted; for a success, as if the failure before it were open.
    fn shown(&self, mut delivery: Delivery) -> Vec<Alert> {
        let success = is_success(&delivery.event).then(|| delivery.event.time.clone());
        if success.is_some() {
            let failure = if delivery.event.subject() == "service" { "stopped" } else { "failed" };
            delivery.event.kind = format!("{}.{failure}", delivery.event.subject());
        }
        let is_resolved_later = self.site.resolve && Incident::of(&delivery.event).is_some();
        let (alert, state) = self.alert(&delivery, is_resolved_later);
        match success {
            Some(time) => {
                let now = Timestamp::now();
                wire(&[alert], State::Resolved(time.parse().unwrap_or(now)), now)
            }
            None => wire(&[alert], state, Timestamp::now()),
        }
    }

    async fn check(&self) -> Result<Value, OperationError> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for member in &self.site.members {
            match self.status(member).await {
                Ok(text) => good.push(text),
                Err(text) => bad.push(text),
            }
        }
        if bad.is_empty() {
            return Ok(Value::from(format!("{}; no alert was posted", good.join("; "))));
        }
        bad.extend(good);
        Err(OperationError::Failed(bad.join("; ")))
    }
}

#[cfg(test)]
mod tests;
