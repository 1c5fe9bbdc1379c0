//! Incidents: for destinations where what was raised is resolved later.
//!
//! [`Incident::of`] says what an event does to the incident of its subject: a failed reload opens that of its task, a
//! successful one closes it. That of a service is that nobody can say that it runs: it is stopped, or cannot be checked; what it
//! is may change, and one start closes it. [`Incidents`] remembers the open ones in the instance's storage, so that a success of which
//! nobody has complained is kept quiet, and what is resolved is what was raised.
//!
//! **Remember before you send.** If the process ends in between, the delivery comes again and both are done again, which is
//! why a destination must know an incident by the same id. If the other way round, an alert might be there that nothing will
//! ever resolve. Close it after the destination has the resolution, for the same reason. For a plugin whose manifest says
//! [`ordered`](crate::Manifest::ordered) the host keeps the events of one subject apart and in order.

use std::time::Duration;

use serde_json::Value;

use crate::event::Event;
use crate::host::Host;
use crate::services::{ServiceError, Storage};

/// Longest part of a key in characters; ids are much shorter.
const LONGEST_ID: usize = 100;
/// What keys in the storage begin with.
const PREFIX: &str = "incident/";

/// What an event does to the incident of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Something is wrong: it opens, or goes on.
    Opens,
    /// All is well again: it closes.
    Closes,
}

impl Role {
    /// What an event of this kind does, of whatever subject; [`Incident::of`] says of which. None for events that open or
    /// close nothing. The same for tests, of which nothing has happened.
    pub fn of(event: &Event) -> Option<Self> {
        let subject = event.subject();
        if !subject.ends_with("-task") && subject != "service" {
            return None;
        }
        match event.outcome() {
            "failed" | "aborted" | "stopped" => Some(Self::Opens),
            "unknown" if subject == "service" => Some(Self::Opens),
            "succeeded" | "started" => Some(Self::Closes),
            _ => None,
        }
    }
}

/// The incident of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The subject: `task/<id>` or `service/<host>/<name>`, where the host may be unknown and empty. At most 408 bytes where ids are plain.
    pub key: String,
    /// What the event does to it.
    pub role: Role,
}

impl Incident {
    /// None for events that open or close nothing or do not tell of what, and for tests: nothing has happened. None for
    /// reloads of apps, too: no event tells that one has succeeded.
    ///
    /// The key says nothing of the type of a task: its id is enough, and the type may be a guess at first
    /// ([`Data::kind_assumed`](crate::Data::kind_assumed)).
    pub fn of(event: &Event) -> Option<Self> {
        if event.source == Event::TEST { None } else { Self::if_real(event) }
    }

    /// The same of a test, as if what it tells of had happened: to show what would be sent.
    pub fn if_real(event: &Event) -> Option<Self> {
        let role = Role::of(event)?;
        let data = &event.data;
        let short = |id: &str| id.chars().take(LONGEST_ID).collect::<String>();
        let known = |id: &str| Some(short(id)).filter(|id| !id.is_empty());
        let key = if event.subject() == "service" {
            let service = data.service.as_ref()?;
            let host = short(service.host.as_deref().unwrap_or_default());
            format!("service/{host}/{}", known(service.name.as_deref()?)?)
        } else {
            format!("task/{}", known(&data.task.as_ref()?.id)?)
        };
        Some(Self { key, role })
    }
}

/// The open incidents of an instance, in its storage.
#[derive(Debug, Clone)]
pub struct Incidents {
    storage: Storage,
}

impl Incidents {
    /// Those of the instance that has this host.
    pub fn new(host: &Host) -> Self {
        Self { storage: host.storage() }
    }

    /// Remembers an incident, with what is needed to resolve it, for so long.
    pub async fn open(&self, key: &str, value: &Value, kept: Duration) -> Result<(), ServiceError> {
        self.storage.set(&stored(key), value, Some(kept)).await
    }

    /// What was remembered of an open incident; none if it is not open.
    pub async fn find(&self, key: &str) -> Result<Option<Value>, ServiceError> {
        self.storage.get(&stored(key)).await
    }

    /// The keys of all that are open, at most 10,000.
    pub async fn keys(&self) -> Result<Vec<String>, ServiceError> {
        let keys = self.storage.list(PREFIX).await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(PREFIX)).map(str::to_owned).collect())
    }

    /// Forgets an incident that is resolved. If that fails it is resolved once more with the next success: no harm.
    pub async fn close(&self, key: &str) {
        if let Err(error) = self.storage.delete(&stored(key)).await {
            tracing::warn!("the incident `{key}` is resolved, but stays remembered as open: {error}");
        }
    }
}

fn stored(key: &str) -> String {
    format!("{PREFIX}{key}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{FakeHost, block_on};
    use crate::{sample_event, sample_events};

    #[test]
    fn what_events_do_to_which_incident() {
        let of = |kind: &str| Incident::of(&sample_event(kind)).map(|incident| (incident.key, incident.role));
        let task = "task/11111111-2222-4333-8444-555555555555".to_owned();
        assert_eq!(of("reload-task.failed"), Some((task.clone(), Role::Opens)));
        assert_eq!(of("preload-task.aborted"), Some((task.clone(), Role::Opens)));
        assert_eq!(of("external-program-task.succeeded"), Some((task, Role::Closes)), "the type may be a guess");
        let service = "service/sense1/QlikSenseEngineService".to_owned();
        assert_eq!(of("service.stopped"), Some((service.clone(), Role::Opens)));
        assert_eq!(of("service.unknown"), Some((service.clone(), Role::Opens)), "the same");
        assert_eq!(of("service.started"), Some((service, Role::Closes)));
        for kind in [
            "app-reload.failed",
            "cloud-app-reload.failed",
            "service.state",
            "certificate.expiring",
            "task-start.failed",
            "task-start.succeeded",
            "butler.started",
            "user-session.started",
            "udp.failed",
            "x.failed",
            "reload-task.unknown",
        ] {
            assert_eq!(of(kind), None, "{kind}");
        }
        assert!(sample_events().filter(|event| Incident::of(event).is_some()).count() > 15);
    }

    #[test]
    fn tests_and_events_without_an_id_have_none_and_keys_stay_short() {
        let mut event = sample_event("service.stopped");
        let service = event.data.service.as_mut().unwrap();
        service.host = Some("ä".repeat(10_000));
        service.name = Some("x".repeat(10_000));
        assert!(stored(&Incident::of(&event).unwrap().key).len() < 512);
        event.source = Event::TEST.to_owned();
        assert_eq!(Incident::of(&event), None);
        assert!(Incident::if_real(&event).is_some());
        let mut event = sample_event("reload-task.failed");
        event.data.task.as_mut().unwrap().id = String::new();
        assert_eq!(Incident::of(&event), None);
        event.data.task = None;
        assert_eq!(Incident::of(&event), None);
        assert_eq!(Role::of(&event), Some(Role::Opens), "whose it is is not known, what it is is");
        let mut event = sample_event("service.started");
        event.data.service.as_mut().unwrap().host = None;
        assert_eq!(Incident::of(&event).unwrap().key, "service//QlikSenseEngineService");
        event.data.service.as_mut().unwrap().name = None;
        assert_eq!((Incident::of(&event), Role::of(&event)), (None, Some(Role::Closes)));
    }

    #[test]
    fn an_incident_is_there_until_it_is_closed_or_too_old() {
        let fake = FakeHost::new("x").manual_time();
        let incidents = Incidents::new(&fake.host());
        block_on(async {
            assert_eq!(incidents.find("task/1").await, Ok(None));
            incidents.open("task/1", &json!({ "a": 1 }), Duration::from_mins(1)).await.unwrap();
            assert_eq!(incidents.find("task/1").await, Ok(Some(json!({ "a": 1 }))));
            assert_eq!(incidents.find("task/2").await, Ok(None));
            assert_eq!(incidents.keys().await, Ok(vec!["task/1".to_owned()]));
            incidents.close("task/1").await;
            assert_eq!(incidents.find("task/1").await, Ok(None));
            incidents.open("task/1", &json!(2), Duration::from_mins(1)).await.unwrap();
            fake.advance(Duration::from_secs(61));
            assert_eq!(incidents.find("task/1").await, Ok(None));
        });
        let fake = FakeHost::new("x").fail_service("storage", ServiceError::Quota("full".to_owned()));
        let incidents = Incidents::new(&fake.host());
        block_on(async {
            assert!(incidents.open("task/1", &json!(1), Duration::from_secs(1)).await.is_err());
            incidents.close("task/1").await;
        });
        assert!(fake.records().iter().any(|record| record.message.contains("stays remembered as open: full")));
    }
}
