//! Tells how Butler itself is doing: `butler.uptime` by the clock, and `butler.ingest` if it is wanted.
//!
//! Each has a schedule and a last look of its own, kept in the storage: [`figures`] makes of two looks what is told, [`words`] the
//! texts. The first look ever begins the count and tells nothing.

mod figures;
mod import;
mod settings;
mod words;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, ServiceError, StartError, When, kind};
use serde_json::{Value, json};

use figures::Seen;
use settings::{Level, Settings};

/// Names of the schedules, and keys of the last looks in the storage.
const UPTIME: &str = "uptime";
const INGEST: &str = "ingest";

struct Uptime {
    settings: Settings,
    host: Host,
    state: Mutex<State>,
}

/// What went wrong at a look.
#[derive(Debug)]
enum Trouble {
    /// It has told nothing.
    Untold(ServiceError),
    /// What it saw is not stored.
    Unstored(ServiceError),
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        Self::Untold(error)
    }
}

impl Trouble {
    /// At the look of a schedule; absent: the instance has been stopped.
    fn text(self, name: &str) -> Option<String> {
        match self {
            Self::Untold(ServiceError::Stopped) | Self::Unstored(ServiceError::Stopped) => None,
            Self::Untold(error) => Some(format!("`butler.{name}` is not told: {error}")),
            Self::Unstored(error) => Some(format!(
                "the last look of `butler.{name}` is not stored, so a restart of the instance would count from an earlier \
                 one: {error}"
            )),
        }
    }
}

/// By the names of the schedules.
#[derive(Default)]
struct State {
    /// What was wrong at the last look.
    trouble: BTreeMap<&'static str, String>,
    /// What the last look saw that told something: the storage may not have taken it.
    seen: BTreeMap<&'static str, Seen>,
}

impl Plugin for Uptime {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("uptime", "Tells how Butler itself is doing")
            .emits(&[kind::BUTLER_UPTIME, kind::BUTLER_INGEST])
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let ingest = settings.ingest.as_ref().map(|ingest| ("ingest.when", &ingest.when));
        for (name, when) in std::iter::once(("when", &settings.when)).chain(ingest) {
            host.schedule().check(when).await.map_err(|error| match error {
                ServiceError::Invalid(why) => StartError::Config(format!("`{name}`: {why}")),
                other => StartError::Unavailable(other.to_string()),
            })?;
        }
        Ok(Self { settings, host, state: Mutex::default() })
    }

    async fn run(&self) {
        let ingest = async {
            if let Some(ingest) = &self.settings.ingest {
                self.look_at(INGEST, &ingest.when).await;
            }
        };
        futures_util::join!(self.look_at(UPTIME, &self.settings.when), ingest);
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        let troubles: Vec<String> = self.state().trouble.values().cloned().collect();
        if troubles.is_empty() { Health::Good } else { Health::Degraded(troubles.join("; ")) }
    }
}

butler_plugin_api::export!(Uptime);

impl Uptime {
    /// Looks at each time of a schedule.
    async fn look_at(&self, name: &'static str, when: &When) {
        // A report on a time when Butler did not run would be one on something else. No time comes twice, so the events need
        // no keys.
        let when = when.clone().skip_missed();
        while let Ok(tick) = self.host.schedule().next(name, &when).await {
            let told = match name {
                INGEST => self.tell_ingest(&tick.planned).await,
                _ => self.tell_uptime(&tick.planned).await,
            };
            match told.map_err(|trouble| trouble.text(name)) {
                Ok(()) => self.note(name, None),
                Err(Some(trouble)) => self.note(name, Some(trouble)),
                Err(None) => return,
            }
        }
    }

    async fn tell_uptime(&self, planned: &str) -> Result<(), Trouble> {
        let status = self.host.status().await?;
        let now = Seen::new(&status, planned);
        let Some(last) = self.last(UPTIME).await? else { return self.begin(UPTIME, &now).await };
        let butler = figures::butler(&status, &last, &now);
        self.log(&words::line(&butler));
        let data = json!({ "message": words::running(&butler), "butler": butler });
        self.host.emit(kind::BUTLER_UPTIME, data).await?;
        self.remember(UPTIME, &now).await
    }

    async fn tell_ingest(&self, planned: &str) -> Result<(), Trouble> {
        let status = self.host.status().await?;
        let now = Seen::new(&status, planned);
        if now.ingest.is_none() {
            let why = "the config has no `udp:`; add it, or remove `ingest`".to_owned();
            return Err(ServiceError::Unavailable(why).into());
        }
        let Some(last) = self.last(INGEST).await? else { return self.begin(INGEST, &now).await };
        if let Some(ingest) = figures::ingest(&last, &now) {
            let data = json!({ "message": words::received(&ingest), "ingest": ingest });
            self.host.emit(kind::BUTLER_INGEST, data).await?;
        }
        self.remember(INGEST, &now).await
    }

    /// What the last look saw; one that a later version has written in another form counts for none.
    async fn last(&self, name: &str) -> Result<Option<Seen>, ServiceError> {
        let seen = self.state().seen.get(name).cloned();
        if seen.is_some() {
            return Ok(seen);
        }
        Ok(self.host.storage().get(name).await?.and_then(|seen| serde_json::from_value(seen).ok()))
    }

    /// The first look ever.
    async fn begin(&self, name: &'static str, seen: &Seen) -> Result<(), Trouble> {
        self.remember(name, seen).await?;
        tracing::debug!("`butler.{name}` counts from now on: the first one comes at the next time");
        Ok(())
    }

    async fn remember(&self, name: &'static str, seen: &Seen) -> Result<(), Trouble> {
        self.state().seen.insert(name, seen.clone());
        self.host.storage().set(name, &json!(seen), None).await.map_err(Trouble::Unstored)
    }

    fn log(&self, line: &str) {
        match self.settings.log_level {
            Level::Off => {}
            Level::Error => tracing::error!("{line}"),
            Level::Warn => tracing::warn!("{line}"),
            Level::Info => tracing::info!("{line}"),
            Level::Debug => tracing::debug!("{line}"),
            Level::Trace => tracing::trace!("{line}"),
        }
    }

    /// Notes how a look went; what is wrong is said once, until it changes.
    fn note(&self, name: &'static str, trouble: Option<String>) {
        let mut state = self.state();
        let known = &mut state.trouble;
        let Some(trouble) = trouble else {
            known.remove(name);
            return;
        };
        if known.get(name) != Some(&trouble) {
            tracing::warn!("{trouble}");
        }
        known.insert(name, trouble);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
