//! A dead man's switch: calls an address again and again while Butler and what it needs are well.
//!
//! [`settings`] makes a checked [`Plan`]; [`parts`] finds out whether all is well; [`signal`] calls. The next beat begins when the
//! one before has ended, so two never overlap. The intervals are the plugin's own and not those of the schedule of the
//! host, whose times wait while the store cannot be written: just then there is something to tell.

mod import;
mod parts;
mod settings;
mod signal;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, StartError};
use serde_json::Value;

use parts::Past;
use settings::{Plan, Settings};
use signal::Signal;

struct Heartbeat {
    plan: Plan,
    host: Host,
    state: Mutex<State>,
}

/// What is not as it should be, and since when.
#[derive(Debug, Default)]
struct State {
    /// A part is not well.
    unwell: Option<(String, Instant)>,
    /// The far end does not take what it is told.
    untold: Option<(String, Instant)>,
}

impl Plugin for Heartbeat {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("heartbeat", "Calls an address again and again while all is well")
            .operation("check")
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let plan = Plan::try_from(settings).map_err(StartError::Config)?;
        Ok(Self { plan, host, state: Mutex::default() })
    }

    async fn run(&self) {
        self.tell(Signal::Start, "Butler starts", Instant::now()).await;
        let mut past = Past::default();
        loop {
            let begun = Instant::now();
            self.beat(&mut past, begun).await;
            self.host.sleep(self.plan.every.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        let state = self.state();
        match (&state.unwell, &state.untold) {
            (Some((why, _)), None) => Health::Degraded(format!("not all is well: {why}")),
            (None, Some((why, _))) => Health::Degraded(format!("the heartbeat is not taken: {why}")),
            (Some((unwell, _)), Some((untold, _))) => {
                Health::Degraded(format!("not all is well: {unwell}; and that is not taken: {untold}"))
            }
            (None, None) => Health::Good,
        }
    }
}

butler_plugin_api::export!(Heartbeat);

impl Heartbeat {
    async fn beat(&self, past: &mut Past, begun: Instant) {
        let fault = parts::fault(&self.host, self.plan.require.as_deref(), self.plan.timeout, past).await;
        self.host.metrics().gauge("healthy", &[], if fault.is_none() { 1.0 } else { 0.0 });
        self.note_fault(fault.as_deref(), begun);
        match &fault {
            None => self.tell(Signal::Success, "all is well", begun).await,
            Some(fault) => self.tell(Signal::Fail, fault, begun).await,
        }
    }

    /// Tells the far end, if it is to know. `begun`: when the interval began.
    async fn tell(&self, signal: Signal, text: &str, begun: Instant) {
        let Some(url) = signal.url(&self.plan) else { return };
        let called = Instant::now();
        let told = signal::send(&self.host, &self.plan, url, text, begun + self.plan.every).await;
        let result = if told.is_ok() { "taken" } else { "failed" };
        self.host.metrics().count("signals", &[("signal", signal.name()), ("result", result)], 1);
        if told.is_ok() {
            let took = u64::try_from(called.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(heartbeat.signal = signal.name(), heartbeat.ms = took, "the heartbeat was taken");
        }
        let mut state = self.state();
        match told {
            Err(why) => {
                let known = state.untold.as_ref().is_some_and(|(known, _)| *known == why);
                if !known {
                    tracing::warn!(heartbeat.signal = signal.name(), "the heartbeat is not taken: {why}");
                }
                let since = state.untold.take().map_or(called, |(_, since)| since);
                state.untold = Some((why, since));
            }
            Ok(()) => {
                if let Some((_, since)) = state.untold.take() {
                    tracing::info!("the heartbeat is taken again, after {} s", since.elapsed().as_secs());
                }
            }
        }
    }

    /// Says when a part is no longer well, why, and when all is well again: once, until it changes.
    fn note_fault(&self, fault: Option<&str>, now: Instant) {
        let mut state = self.state();
        let known = state.unwell.as_ref().map(|(why, _)| why.as_str());
        match fault {
            Some(fault) if known != Some(fault) => {
                let what = if self.plan.fail.is_some() { "a failure is told" } else { "the heartbeat stops" };
                tracing::warn!("{what}, since not all is well: {fault}");
                let since = state.unwell.take().map_or(now, |(_, since)| since);
                state.unwell = Some((fault.to_owned(), since));
            }
            None => {
                if let Some((_, since)) = state.unwell.take() {
                    tracing::info!("all is well again, after {} s: the heartbeat goes on", since.elapsed().as_secs());
                }
            }
            Some(_) => {}
        }
    }

    /// Calls the server, but not the address: that would be a heartbeat.
    async fn check(&self) -> Result<Value, OperationError> {
        let mut root = self.plan.success.clone();
        root.set_path("/");
        root.set_query(None);
        root.set_fragment(None);
        match signal::request(&self.host, &self.plan, "OPTIONS", &root).send().await {
            Ok(reply) => Ok(Value::from(format!(
                "{} is reachable: OPTIONS was answered with {}; the address itself was not called, since that would be a \
                 heartbeat",
                root.host_str().unwrap_or("the server"),
                reply.status()
            ))),
            Err(error) => Err(OperationError::Failed(error.to_string())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
