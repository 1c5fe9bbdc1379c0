//! Tells the version of Qlik Sense, at each look or only when it has changed.
//!
//! What the last look saw is kept in the storage: a change is told once, also when Butler was down while it happened or was
//! killed in the middle.

mod import;
mod version;

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use butler_plugin_api::{
    Health, Host, Manifest, OperationError, Plugin, QlikVersion, ServiceError, StartError, When, kind,
};
use futures_util::future::{Either, select};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Name of the schedule, and key of what the last look saw.
const VERSION: &str = "version";
/// Key that says that the plugin has run before.
const BEGUN: &str = "begun";
/// After a look that failed the next one comes so soon, or at its time if that is sooner.
const AGAIN: Duration = Duration::from_mins(5);

/// Settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// When Qlik Sense is asked, beside each start of Butler. `missed` has no effect: a start makes up for what was missed.
    when: When,
    /// Tells only changes: not what is as it was at the last look, over restarts too. The first look ever is no change.
    only_changes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { when: When::every(Duration::from_hours(24)), only_changes: false }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    version: QlikVersion,
    /// How many changes there have been: the key of the event of a change.
    changes: u64,
}

struct ServerVersion {
    settings: Settings,
    host: Host,
    /// Why the last look failed.
    trouble: Mutex<Option<String>>,
}

impl Plugin for ServerVersion {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("server-version", "Tells the version of Qlik Sense")
            .emits(&[kind::QLIK_VERSION_CHECKED])
            .operation("check")
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        host.schedule().check(&settings.when).await.map_err(|error| match error {
            ServiceError::Invalid(why) => StartError::Config(format!("`when`: {why}")),
            other => StartError::Unavailable(other.to_string()),
        })?;
        Ok(Self { settings, host, trouble: Mutex::default() })
    }

    async fn run(&self) {
        let mut looked = match self.begins_with_a_tick().await {
            Ok(true) => None,
            Ok(false) => self.look_before_its_time().await,
            Err(error) => {
                self.note(Err(error.to_string()));
                None
            }
        };
        let when = self.settings.when.clone().skip_missed();
        loop {
            let schedule = self.host.schedule();
            let mut next = pin!(schedule.next(VERSION, &when));
            let tick = loop {
                if self.trouble().is_none() {
                    break next.as_mut().await;
                }
                match select(next.as_mut(), pin!(self.host.sleep(AGAIN))).await {
                    Either::Left((tick, _)) => break tick,
                    Either::Right(_) => looked = self.look_before_its_time().await,
                }
            };
            let Ok(tick) = tick else { return };
            // It came meanwhile, or while Butler was down: that look was later, and would be told twice.
            let is_done = looked
                .take()
                .zip(tick.planned.parse::<Timestamp>().ok())
                .is_some_and(|(looked, planned)| planned <= looked);
            if !is_done {
                self.look().await;
            }
        }
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => {
                let version = self.ask().await.map_err(OperationError::Failed)?;
                Ok(Value::from(version::name(&version)))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        self.trouble().map_or(Health::Good, Health::Degraded)
    }
}

butler_plugin_api::export!(ServerVersion);

impl ServerVersion {
    /// Whether the schedule's first time comes at once: that of an interval does, when it has never run before.
    async fn begins_with_a_tick(&self) -> Result<bool, ServiceError> {
        let storage = self.host.storage();
        if storage.get(BEGUN).await?.is_some() {
            return Ok(false);
        }
        storage.set(BEGUN, &json!(true), None).await?;
        Ok(json!(self.settings.when).get("every").is_some())
    }

    /// Looks without a tick; answers when it was, if all went well.
    async fn look_before_its_time(&self) -> Option<Timestamp> {
        if !self.look().await {
            return None;
        }
        // By the host's clock, which its times are of.
        let status = self.host.status().await.ok()?;
        let started: Timestamp = status.started_at.parse().ok()?;
        started.checked_add(SignedDuration::from_millis(i64::try_from(status.uptime_ms).ok()?)).ok()
    }

    /// Looks; whether all went well.
    async fn look(&self) -> bool {
        let told = match self.ask().await {
            Ok(version) => self.tell(version).await.map_err(|error| format!("it cannot be told: {error}")),
            Err(why) => Err(why),
        };
        let is_well = told.is_ok();
        self.note(told);
        is_well
    }

    async fn ask(&self) -> Result<QlikVersion, String> {
        let version = self.host.qlik().system_info().await;
        let version = version.map_err(|error| format!("the version of Qlik Sense cannot be read: {error}"))?;
        if version.version.as_ref().is_none_or(String::is_empty) {
            return Err("Qlik Sense answered without a version: is `qlik.ports.systemInfo` the port of its service \
                        (9032), and `qlik.host` the central node?"
                .to_owned());
        }
        Ok(version)
    }

    async fn tell(&self, version: QlikVersion) -> Result<(), ServiceError> {
        let storage = self.host.storage();
        let last: Option<Seen> = storage.get(VERSION).await?.and_then(|seen| serde_json::from_value(seen).ok());
        self.measure(&version, last.as_ref());
        let changed = last.as_ref().filter(|last| last.version != version);
        if let Some(last) = changed {
            let message = version::change(&last.version, &version);
            tracing::info!("{message}");
            let data = json!({ "message": message, "qlikVersion": version });
            // Emitted before it is remembered: killed in between, it comes again and is known.
            // To what it changed belongs to the key: by then Qlik Sense may have been changed again.
            let [to, hash] = [&version.version, &version.content_hash].map(|text| text.as_deref().unwrap_or_default());
            let key = format!("change/{}/{to}/{hash}", last.changes + 1);
            self.host.emit_once(&key, kind::QLIK_VERSION_CHECKED, data).await?;
        } else if !self.settings.only_changes {
            let data = json!({ "message": version::name(&version), "qlikVersion": version });
            self.host.emit(kind::QLIK_VERSION_CHECKED, data).await?;
        }
        if last.as_ref().is_none_or(|last| last.version != version) {
            let seen = Seen { version, changes: last.map_or(0, |last| last.changes + 1) };
            storage.set(VERSION, &json!(seen), None).await?;
        }
        Ok(())
    }

    /// One series says 1; the one before says 0 until Butler is started again.
    fn measure(&self, version: &QlikVersion, last: Option<&Seen>) {
        if let Some(last) = last.filter(|last| last.version != *version) {
            self.host.metrics().gauge("info", &version::labels(&last.version), 0.0);
        }
        self.host.metrics().gauge("info", &version::labels(version), 1.0);
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a look went; what is wrong is said once, until it changes.
    fn note(&self, told: Result<(), String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &told {
            Err(why) if known.as_ref() != Some(why) => tracing::warn!("{why}"),
            Ok(()) if known.is_some() => tracing::info!("the version of Qlik Sense can be read and told again"),
            _ => {}
        }
        let result = if told.is_ok() { "ok" } else { "failed" };
        self.host.metrics().count("looks", &[("result", result)], 1);
        *known = told.err();
    }
}

#[cfg(test)]
mod tests;
