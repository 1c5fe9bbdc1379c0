//! Reloads of apps.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// How a reload goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadPlan {
    /// How long it takes.
    pub takes: Duration,
    /// How it ends.
    pub succeeds: bool,
    /// What the script is doing, one after the other over the time that it takes.
    pub steps: Vec<String>,
}

impl Default for ReloadPlan {
    fn default() -> Self {
        Self {
            takes: Duration::from_millis(50),
            succeeds: true,
            steps: vec!["Connected".to_owned(), "Orders << orders.qvd 12 lines fetched".to_owned()],
        }
    }
}

impl ReloadPlan {
    /// One that ends in failure.
    pub fn failing() -> Self {
        Self { succeeds: false, ..Self::default() }
    }

    /// Takes so long.
    #[must_use]
    pub fn taking(mut self, time: Duration) -> Self {
        self.takes = time;
        self
    }
}

/// Where a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadState {
    /// It runs.
    Running,
    /// The script has succeeded; the app is not saved.
    Succeeded,
    /// The script has succeeded and the app is saved.
    Saved,
    /// The script has failed.
    Failed,
    /// Its session has ended before it.
    Aborted,
}

/// A reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReload {
    /// Id of the app.
    pub app: String,
    /// As called.
    pub mode: i64,
    /// As called.
    pub partial: bool,
    /// Where it is.
    pub state: ReloadState,
}

/// A reload under way in a session.
pub(super) struct Running {
    /// Its place in the list of all.
    pub(super) index: usize,
    /// Id of the call.
    pub(super) request: u64,
    pub(super) began: Instant,
    pub(super) plan: ReloadPlan,
    /// It has ended; what it said is still to be asked for.
    pub(super) over: bool,
}

impl Running {
    /// `qProgressData`.
    pub(super) fn progress(&self) -> Value {
        let share = self.began.elapsed().as_secs_f64() / self.plan.takes.as_secs_f64().max(0.001);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few steps"
        )]
        let step = (share * self.plan.steps.len() as f64) as usize;
        let step = self.plan.steps.get(step.min(self.plan.steps.len().saturating_sub(1)));
        let errors = if self.over && !self.plan.succeeds {
            json!([{ "qErrorString": "Field 'Amuont' not found", "qLine": "LOAD Amuont FROM orders", "qLineEnd": "", "qErrorDataCode": 11 }])
        } else {
            json!([])
        };
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!({
            "qStarted": true, "qFinished": self.over, "qMillisecs": millis,
            "qUserInteractionWanted": false, "qPersistentProgress": step, "qTransientProgress": "", "qErrorData": errors,
        })
    }
}
