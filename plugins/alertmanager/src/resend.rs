//! Sends open alerts again from time to time: Alertmanager keeps alerts in memory only, and forgets them when it is restarted.
//!
//! An alert may be resolved while it is sent again, and that may arrive in any order. So whoever resolves says so before
//! ([`Resolving`]), and what is no longer open after it was sent again is resolved once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use butler_plugin_api::{DeliveryError, ServiceError};
use jiff::Timestamp;

use crate::Alertmanager;
use crate::alert::Alert;
use crate::post::State;
use crate::settings::Member;

/// Most alerts in a request.
const MOST_AT_ONCE: usize = 100;
/// How often is looked whether resolutions under way have ended.
const PAUSE: Duration = Duration::from_millis(200);

/// How many resolutions are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolving(Arc<AtomicUsize>);

impl Resolving {
    /// One more, until what is returned is dropped.
    pub(crate) fn begin(&self) -> Underway {
        self.0.fetch_add(1, Ordering::SeqCst);
        Underway(self.clone())
    }
}

/// A resolution that is under way.
pub(crate) struct Underway(Resolving);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Alertmanager {
    /// Goes on for ever.
    pub(crate) async fn keep_sending(&self) {
        if !self.site.resolve {
            return;
        }
        loop {
            self.host.sleep(self.site.resend_every).await;
            if let Err(error) = self.send_again().await {
                tracing::debug!("open alerts are not sent again now: {error}");
            }
        }
    }

    async fn send_again(&self) -> Result<(), ServiceError> {
        let keys = self.incidents.keys().await?;
        let mut batch: Vec<(String, Vec<Alert>)> = Vec::new();
        for key in keys {
            let now = Timestamp::now();
            let mut alerts = self.open_alerts(&key).await?;
            alerts.retain(|alert| alert.ends_at > now);
            batch.push((key, alerts));
            if batch.iter().map(|(_, alerts)| alerts.len()).sum::<usize>() >= MOST_AT_ONCE {
                self.send_batch(std::mem::take(&mut batch)).await?;
            }
        }
        self.send_batch(batch).await
    }

    async fn send_batch(&self, batch: Vec<(String, Vec<Alert>)>) -> Result<(), ServiceError> {
        let all: Vec<Alert> = batch.iter().flat_map(|(_, alerts)| alerts.clone()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let refused = self.tell_all(&all, State::Open(Timestamp::now())).await;
        while self.resolving.0.load(Ordering::SeqCst) > 0 {
            self.host.sleep(PAUSE).await;
        }
        let mut over = Vec::new();
        for (key, alerts) in batch {
            for alert in alerts.iter().filter(|alert| refused.contains(alert)) {
                tracing::warn!(
                    "`{key}`: an open alert is refused when it is sent again, and forgotten: {:?}",
                    alert.labels
                );
                self.forget(&key, alert).await?;
            }
            let open = self.open_alerts(&key).await?;
            let is_over =
                |alert: &Alert| !refused.contains(alert) && !open.iter().any(|one| one.labels == alert.labels);
            over.extend(alerts.into_iter().filter(is_over));
        }
        if !over.is_empty() {
            self.tell_all(&over, State::Resolved(Timestamp::now())).await;
        }
        Ok(())
    }

    /// An Alertmanager that is away gets them the next time. Returns those that every one refuses.
    async fn tell_all(&self, alerts: &[Alert], state: State) -> Vec<Alert> {
        let mut refused = alerts.to_vec();
        for member in &self.site.members {
            let by_it = self.tell(member, alerts, state).await;
            refused.retain(|alert| by_it.contains(alert));
        }
        refused
    }

    /// Returns what is refused: for the sake of one Alertmanager takes none of all that are sent together.
    async fn tell(&self, member: &Member, alerts: &[Alert], state: State) -> Vec<Alert> {
        let is_refused = |told: &Result<(), DeliveryError>| matches!(told, Err(DeliveryError::Reject { .. }));
        let told = self.post(member, alerts, state).await;
        if let Err(error) = &told {
            tracing::debug!("{}: open alerts are not sent again now: {error}", member.name);
        }
        if !is_refused(&told) || alerts.len() == 1 {
            return if is_refused(&told) { alerts.to_vec() } else { Vec::new() };
        }
        let mut refused = Vec::new();
        for alert in alerts {
            if is_refused(&self.post(member, std::slice::from_ref(alert), state).await) {
                refused.push(alert.clone());
            }
        }
        refused
    }
}
