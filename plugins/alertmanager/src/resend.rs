//! Sends open alerts again from time to time: Alertmanager keeps alerts in memory only, and forgets them when it is restarted.
//!
//! An alert may be resolved while it is sent again, and that may arrive in any order. So whoever resolves says so before
//! ([`Resolving`]), and what is no longer open after it was sent again is resolved once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use butler_plugin_api::ServiceError;
use jiff::Timestamp;

use crate::Alertmanager;
use crate::alert::Alert;
use crate::post::State;

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
            let mut alerts = self.remembered(&key).await?;
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
        self.tell_all(&all, State::Open(Timestamp::now())).await;
        while self.resolving.0.load(Ordering::SeqCst) > 0 {
            self.host.sleep(PAUSE).await;
        }
        let mut over = Vec::new();
        for (key, alerts) in batch {
            let open = self.remembered(&key).await?;
            over.extend(alerts.into_iter().filter(|alert| !open.iter().any(|other| other.labels == alert.labels)));
        }
        if !over.is_empty() {
            self.tell_all(&over, State::Resolved(Timestamp::now())).await;
        }
        Ok(())
    }

    /// An Alertmanager that is away gets them the next time.
    async fn tell_all(&self, alerts: &[Alert], state: State) {
        for member in &self.site.members {
            if let Err(error) = self.post(member, alerts, state).await {
                tracing::debug!("{}: open alerts are not sent again now: {error}", member.name);
            }
        }
    }
}
