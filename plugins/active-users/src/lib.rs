//! Who uses Qlik Sense: counts the users of the proxies' sessions and connections, and tells when that changes.
//!
//! * [`presence`]: one user on one node; [`users`]: all of them, in memory; [`records`]: the same in the storage.
//! * [`sighting`] is what an event says; [`tell`] makes the event `active-users.counted`.
//! * [`endpoints`]: what is answered by REST.
//!
//! A delivery is done when the storage has what it changes. Repeated ones change nothing.

mod endpoints;
mod presence;
mod records;
mod settings;
mod sighting;
mod tell;
#[cfg(test)]
mod tests;
mod users;

use std::sync::{Mutex, MutexGuard, PoisonError};

use butler_plugin_api::{
    Delivery, DeliveryError, Health, Host, Manifest, Plugin, Request, Response, ServiceError, StartError, kind,
};
use futures_util::lock::Mutex as AsyncMutex;
use jiff::Timestamp;

use settings::{Rules, Settings};
use sighting::Sighting;
use tell::Teller;
use users::Users;

/// Deliveries of one write: most that a host hands over at once.
const BATCH: u32 = 1_000;

struct ActiveUsers {
    host: Host,
    rules: Rules,
    users: Mutex<Users>,
    teller: AsyncMutex<Teller>,
    trouble: Mutex<Trouble>,
}

/// What does not work.
#[derive(Default)]
struct Trouble {
    /// Why nothing can be told, or not be noted that it was.
    telling: Option<String>,
    /// Why events cannot be stored.
    storing: Option<String>,
    /// Users were passed over since there are too many.
    full: bool,
}

impl Plugin for ActiveUsers {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let manifest = Manifest::new("active-users", "Counts who uses Qlik Sense, by sessions and connections")
            .default_events(&sighting::KINDS)
            .emits(&[kind::ACTIVE_USERS_COUNTED])
            // One write at a time: each builds on the one before.
            .concurrency(1)
            .batch(BATCH);
        endpoints::declare(manifest)
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let rules = settings.check().map_err(StartError::Config)?;
        let (users, told) = records::load(&host.storage()).await.map_err(|error| match error {
            ServiceError::Unsupported(_) => {
                StartError::Config(format!("this plugin needs a newer Butler: {error}; install one version of both"))
            }
            error => StartError::Unavailable(format!("what is stored cannot be read: {error}")),
        })?;
        let teller = AsyncMutex::new(Teller::new(told));
        Ok(Self { host, rules, users: Mutex::new(users), teller, trouble: Mutex::default() })
    }

    async fn run(&self) {
        loop {
            let longer = match self.tell().await {
                Ok(longer) => longer,
                Err((_, ServiceError::Stopped)) => return,
                Err((what, error)) => {
                    self.note(|trouble| &mut trouble.telling, Some(format!("{what}: {error}")));
                    std::time::Duration::ZERO
                }
            };
            self.host.sleep(self.rules.publish_every.max(longer)).await;
        }
    }

    async fn deliver_batch(&self, deliveries: &[Delivery]) -> Vec<Result<(), DeliveryError>> {
        let sightings: Vec<Sighting> = deliveries.iter().filter_map(|delivery| Sighting::of(&delivery.event)).collect();
        let stored = self.take(&sightings).await;
        match &stored {
            Ok(()) => self.note(|trouble| &mut trouble.storing, None),
            Err(ServiceError::Stopped) => {}
            Err(error) => {
                let why = format!("sessions and connections cannot be stored, and are not counted: {error}");
                self.note(|trouble| &mut trouble.storing, Some(why));
            }
        }
        let result = |delivery: &Delivery| match &stored {
            _ if !sighting::KINDS.contains(&delivery.event.kind.as_str()) => Err(DeliveryError::reject(
                "only sessions and connections of users are counted: name no others in `on:`",
            )),
            Ok(()) => Ok(()),
            Err(error) => Err(DeliveryError::retry(format!("it cannot be stored: {error}"))),
        };
        deliveries.iter().map(result).collect()
    }

    async fn call(&self, request: Request) -> Response {
        let (mut users, now) = (self.users(), now_ms());
        match request.route.as_str() {
            endpoints::COUNT => endpoints::count(&users, now, &self.rules),
            endpoints::NAMES => endpoints::names(&users, now, &self.rules),
            endpoints::USERS => endpoints::page(&mut users, &request, now, &self.rules),
            route => Response::error(404, &format!("{} {route} is not served", request.method)),
        }
    }

    async fn health(&self) -> Health {
        let trouble = self.trouble();
        match (trouble.storing.as_ref().or(trouble.telling.as_ref()), trouble.full) {
            (Some(why), _) => Health::Bad(why.clone()),
            (None, true) => Health::Degraded(format!(
                "{} users are remembered, and more are not counted: raise `maxUsers`, or lower `expireAfter`",
                self.rules.max_users
            )),
            (None, false) => Health::Good,
        }
    }
}

impl ActiveUsers {
    /// Takes events in: on disk first, then in memory.
    async fn take(&self, sightings: &[Sighting]) -> Result<(), ServiceError> {
        let now = now_ms();
        let plan = self.users().plan(sightings, now, &self.rules);
        records::save(&self.host.storage(), &plan.changes, now, &self.rules).await?;
        self.users().apply(plan.changes);
        let metrics = self.host.metrics();
        for (reason, count) in [("full", plan.refused), ("name", plan.too_long)] {
            if count > 0 {
                metrics.count("passed_over_total", &[("reason", reason)], count);
            }
        }
        if plan.too_long > 0 {
            tracing::warn!(events = plan.too_long, "users are not counted whose names are longer than 500 bytes");
        }
        if plan.refused > 0 && !std::mem::replace(&mut self.trouble().full, true) {
            tracing::warn!(
                max_users = self.rules.max_users,
                "more users than `maxUsers`: further ones are not counted; raise it, or lower `expireAfter`"
            );
        }
        Ok(())
    }

    /// Tells how many there are, if that has changed; how long to wait for at least. The error says what did not work, and why.
    async fn tell(&self) -> Result<std::time::Duration, (&'static str, ServiceError)> {
        let (counted, nodes) = {
            let mut users = self.users();
            let counted = users.count(now_ms(), &self.rules);
            if users.len() < self.rules.max_users {
                self.trouble().full = false;
            }
            (counted, users.nodes().clone())
        };
        tell::show(&self.host, &counted);
        let mut teller = self.teller.lock().await;
        let longer = teller.tell(&self.host, &counted, nodes).await;
        let longer = longer.map_err(|error| ("`active-users.counted` cannot be told", error))?;
        teller.save(&self.host).await.map_err(|error| ("what was told cannot be stored", error))?;
        self.note(|trouble| &mut trouble.telling, None);
        Ok(longer)
    }

    /// Notes why something does not work, and logs it when that changes.
    fn note(&self, of: fn(&mut Trouble) -> &mut Option<String>, why: Option<String>) {
        let mut trouble = self.trouble();
        let before = of(&mut trouble);
        match (&*before, &why) {
            (before, Some(why)) if before.as_ref() != Some(why) => tracing::warn!("{why}; it is tried again"),
            (Some(before), None) => tracing::info!(before, "active users are counted, told and stored again"),
            _ => {}
        }
        *before = why;
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock, in milliseconds since 1970.
fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

butler_plugin_api::export!(ActiveUsers);
