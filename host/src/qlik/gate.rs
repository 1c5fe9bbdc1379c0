//! A circuit breaker in front of Qlik Sense, and of each tenant of Qlik Cloud.
//!
//! When Qlik Sense is down, every look-up would wait for its own time-out. So the first failure closes the way: calls
//! fail at once until a pause is over, then one of them tries; its success opens the way for all, its failure doubles
//! the pause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::error::QlikError;

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A call that was given up after this time without an answer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The breaker. Shared by all calls to one server.
#[derive(Debug)]
pub(super) struct Gate {
    /// Who is behind it, for the log.
    who: String,
    /// After the first failure; doubles with each further one.
    first_pause: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Present while Qlik Sense counts as down.
    down: Option<Down>,
    /// How often it has gone down.
    outages: u64,
    last_success_ms: Option<i64>,
}

#[derive(Debug)]
struct Down {
    since_ms: i64,
    error: String,
    pause: Duration,
    until: Instant,
    /// A call is trying at the moment.
    probing: bool,
}

/// Whether Qlik Sense answers, for health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateState {
    /// The last call that ended got an answer, or there was none yet.
    pub reachable: bool,
    /// Since when not, milliseconds of the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_since_ms: Option<i64>,
    /// The latest failure, while not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When there was an answer last, milliseconds of the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_ms: Option<i64>,
    /// How often it has gone down since the start.
    pub outages: u64,
}

/// Permission for one call. Its holder tells how the call ended. Dropped without, it counts as not made, or as failed
/// when there was no answer for long: somebody lost patience with it.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    probe: bool,
    since: Instant,
    told: bool,
}

impl Gate {
    /// An open gate.
    pub(super) fn new(first_pause: Duration) -> Self {
        Self::of("Qlik Sense".to_owned(), first_pause)
    }

    /// An open gate in front of somebody else.
    pub(super) fn of(who: String, first_pause: Duration) -> Self {
        Self { who, first_pause, inner: Mutex::default() }
    }

    /// Lets a call through, or says why not.
    pub(super) fn admit(&self) -> Result<Pass<'_>, QlikError> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Result<Pass<'_>, QlikError> {
        let mut inner = self.lock();
        let Some(down) = &mut inner.down else { return Ok(Pass { gate: self, probe: false, since: now, told: false }) };
        if now < down.until || down.probing {
            let retry_in = down.until.saturating_duration_since(now).max(Duration::from_millis(50));
            return Err(QlikError::Gated { last_error: down.error.clone(), retry_in });
        }
        down.probing = true;
        Ok(Pass { gate: self, probe: true, since: now, told: false })
    }

    /// For health.
    pub(super) fn state(&self) -> GateState {
        let inner = self.lock();
        GateState {
            reachable: inner.down.is_none(),
            down_since_ms: inner.down.as_ref().map(|down| down.since_ms),
            last_error: inner.down.as_ref().map(|down| down.error.clone()),
            last_success_ms: inner.last_success_ms,
            outages: inner.outages,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// There was an answer, whatever it says.
    pub(super) fn succeeded(mut self) {
        self.told = true;
        let mut inner = self.gate.lock();
        inner.last_success_ms = Some(Timestamp::now().as_millisecond());
        if let Some(down) = inner.down.take() {
            tracing::info!(downSinceMs = down.since_ms, "{} answers again", self.gate.who);
        }
    }

    /// There was none.
    pub(super) fn failed(self, error: &str) {
        self.failed_at(error, Instant::now());
    }

    fn failed_at(mut self, error: &str, now: Instant) {
        self.note(error, now);
    }

    fn note(&mut self, error: &str, now: Instant) {
        self.told = true;
        let mut inner = self.gate.lock();
        match &mut inner.down {
            None => {
                tracing::warn!("{error}");
                inner.outages += 1;
                inner.down = Some(Down {
                    since_ms: Timestamp::now().as_millisecond(),
                    error: error.to_owned(),
                    pause: self.gate.first_pause,
                    until: now + self.gate.first_pause,
                    probing: false,
                });
            }
            Some(down) => {
                error.clone_into(&mut down.error);
                // Calls that had started before the failure of the first one say nothing new.
                if self.probe {
                    down.pause = (down.pause * 2).min(LONGEST_PAUSE);
                    down.until = now + down.pause;
                }
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        if !self.told && waited >= PATIENCE {
            let error = format!("{} gave no answer for {:.0} s", self.gate.who, waited.as_secs_f32());
            self.note(&error, Instant::now());
        }
        if self.probe
            && let Some(down) = &mut self.gate.lock().down
        {
            down.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_PAUSE: Duration = Duration::from_millis(500);

    fn refused(gate: &Gate, now: Instant) -> Duration {
        match gate.admit_at(now) {
            Err(QlikError::Gated { retry_in, .. }) => retry_in,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_closes_for_a_pause_that_doubles_up_to_ten_seconds() {
        let gate = Gate::new(FIRST_PAUSE);
        let mut now = Instant::now();
        gate.admit_at(now).unwrap().failed_at("down", now);
        for pause in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000].map(Duration::from_millis) {
            assert_eq!(refused(&gate, now), pause);
            refused(&gate, now + pause / 2);
            now += pause;
            gate.admit_at(now).unwrap().failed_at("still down", now);
        }
        let state = gate.state();
        assert!(!state.reachable && state.down_since_ms.is_some());
        assert_eq!(state.last_error.as_deref(), Some("still down"));
    }

    #[test]
    fn one_call_tries_and_its_success_opens_for_all() {
        let gate = Gate::new(FIRST_PAUSE);
        let now = Instant::now();
        gate.admit_at(now).unwrap().failed_at("down", now);
        let later = now + FIRST_PAUSE;
        let probe = gate.admit_at(later).unwrap();
        refused(&gate, later);
        probe.succeeded();
        let (_one, _two) = (gate.admit_at(later).unwrap(), gate.admit_at(later).unwrap());
        assert!(gate.state().reachable && gate.state().last_success_ms.is_some());
    }

    #[test]
    fn a_cancelled_try_leaves_room_for_another() {
        let gate = Gate::new(FIRST_PAUSE);
        let now = Instant::now();
        gate.admit_at(now).unwrap().failed_at("down", now);
        let later = now + FIRST_PAUSE;
        drop(gate.admit_at(later).unwrap());
        gate.admit_at(later).unwrap().succeeded();
        assert!(gate.state().reachable);
    }

    #[test]
    fn calls_that_were_under_way_do_not_lengthen_the_pause() {
        let gate = Gate::new(FIRST_PAUSE);
        let now = Instant::now();
        let passes: Vec<_> = (0..16).map(|_| gate.admit_at(now).unwrap()).collect();
        for pass in passes {
            pass.failed_at("down", now);
        }
        assert_eq!(refused(&gate, now), FIRST_PAUSE);
        // A success among them means that it is not down after all.
        let gate = Gate::new(FIRST_PAUSE);
        let (one, two) = (gate.admit_at(now).unwrap(), gate.admit_at(now).unwrap());
        one.failed_at("down", now);
        two.succeeded();
        assert!(gate.admit_at(now).is_ok());
    }
}
