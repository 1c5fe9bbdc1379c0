//! What is remembered of the alerts of a task or service that a success resolves.
//!
//! Before a resolution is posted its alerts are marked: while one Alertmanager of a cluster is away they stay remembered, for
//! that one, but must not be sent again as open to those that have it.

use butler_plugin_api::ServiceError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Alertmanager;
use crate::alert::Alert;

/// Most alerts of one task: they differ by outcome, node, and what has been renamed. The oldest give way; they end by
/// themselves.
const MOST_OF_ONE: usize = 20;

/// An alert that was posted, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    #[serde(flatten)]
    alert: Alert,
    /// When a success ended it; not all Alertmanagers may have that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved: Option<Timestamp>,
}

impl Remembered {
    pub(crate) fn into_alert(self) -> Alert {
        self.alert
    }

    /// The alert, if nothing has resolved it.
    pub(crate) fn into_open(self) -> Option<Alert> {
        if self.resolved.is_none() { Some(self.alert) } else { None }
    }
}

impl Alertmanager {
    pub(crate) async fn remembered(&self, key: &str) -> Result<Vec<Remembered>, ServiceError> {
        let value = self.incidents.find(key).await?.unwrap_or_default();
        Ok(serde_json::from_value(value["alerts"].clone()).unwrap_or_default())
    }

    /// The alerts that are open.
    pub(crate) async fn open_alerts(&self, key: &str) -> Result<Vec<Alert>, ServiceError> {
        Ok(self.remembered(key).await?.into_iter().filter_map(Remembered::into_open).collect())
    }

    /// Adds an alert to those of its task. Returns what was remembered before, too.
    pub(crate) async fn remember(&self, key: &str, alert: &Alert) -> (Vec<Remembered>, Result<(), ServiceError>) {
        let _memory = self.memory.lock().await;
        let before = match self.remembered(key).await {
            Ok(before) => before,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let others = before.iter().filter(|other| other.alert.labels != alert.labels).cloned();
        let mut all: Vec<Remembered> = others.collect();
        all.push(Remembered { alert: alert.clone(), resolved: None });
        let first = all.len().saturating_sub(MOST_OF_ONE);
        let stored = self.store(key, &all[first..]).await;
        (before, stored)
    }

    /// Marks alerts as resolved at a time.
    pub(crate) async fn mark(&self, key: &str, alerts: &[Remembered], at: Timestamp) -> Result<(), ServiceError> {
        if alerts.iter().all(|one| one.resolved.is_some()) {
            return Ok(());
        }
        let marked = |one: &Remembered| Remembered { resolved: one.resolved.or(Some(at)), ..one.clone() };
        let marked: Vec<Remembered> = alerts.iter().map(marked).collect();
        match self.store(key, &marked).await {
            // It would be the same the next time, and the resolution is what counts.
            Err(ServiceError::Quota(why)) => {
                tracing::warn!("that alerts are resolved cannot be stored: {why}");
                Ok(())
            }
            stored => stored,
        }
    }

    /// Remembers these instead of what there is.
    pub(crate) async fn keep(&self, key: &str, alerts: &[Remembered]) {
        if alerts.is_empty() {
            self.incidents.close(key).await;
        } else if let Err(error) = self.store(key, alerts).await {
            tracing::warn!("an alert that was refused stays remembered as open: {error}");
        }
    }

    /// Forgets an alert that is refused.
    pub(crate) async fn forget(&self, key: &str, alert: &Alert) -> Result<(), ServiceError> {
        let _memory = self.memory.lock().await;
        let mut all = self.remembered(key).await?;
        let count = all.len();
        all.retain(|one| one.alert.labels != alert.labels);
        if all.len() < count {
            self.keep(key, &all).await;
        }
        Ok(())
    }

    async fn store(&self, key: &str, alerts: &[Remembered]) -> Result<(), ServiceError> {
        self.incidents.open(key, &json!({ "alerts": alerts }), self.site.open_for).await
    }
}
