//! Keys that identify an event, whichever road it comes by.
//!
//! An event may be heard twice: Qlik Sense sends near-identical lines for one run, and what UDP told is found again in
//! the repository. Every road claims all keys it knows; a claimed key joins the roads.
//!
//! The key of choice is the execution id. Without it, task and outcome identify a run only together with its time, and
//! times differ a little from road to road. Such an event has a key on each of two one-minute grids, half a minute
//! apart: two times less than half a minute apart share a cell of at least one of them.

use std::fmt;

use super::wire::Heard;

const MINUTE_MS: i64 = 60_000;

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It failed for good.
    Failed,
    /// Somebody or something stopped it.
    Aborted,
    /// It worked.
    Succeeded,
    /// It has ended, but how is not known yet (distribution).
    Pending,
}

impl Outcome {
    /// As in kinds of events and in keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Succeeded => "succeeded",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event is about, as far as it identifies the event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A run, by its execution id in lower case.
    Execution(String),
    /// Some run of a task, by the task's id in lower case.
    Task(String),
    /// A reload in the engine: ids of the app and of the session in lower case, at least one of them.
    App {
        /// The app.
        app: Option<String>,
        /// The session.
        session: Option<String>,
    },
    /// Nothing that could be recognised again: every message is an event of its own.
    Unknown,
}

/// What the keys of an event are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyBase {
    /// What the event is about.
    pub subject: Subject,
    /// How it ended. Two outcomes of one run are two events.
    pub outcome: Outcome,
}

impl KeyBase {
    /// The keys of an event of this time (milliseconds since 1970 UTC).
    ///
    /// Without an execution id there are two, one on each grid; none for a subject that cannot be recognised again.
    pub fn keys(&self, time_ms: i64) -> Vec<String> {
        let outcome = self.outcome;
        match &self.subject {
            Subject::Execution(id) => vec![format!("exec:{id}:{outcome}")],
            Subject::Task(id) => on_grids(&format!("task:{id}:{outcome}"), time_ms),
            Subject::App { app, session } => {
                let [app, session] = [app, session].map(|id| id.as_deref().unwrap_or("-"));
                on_grids(&format!("app:{app}:{session}:{outcome}"), time_ms)
            }
            Subject::Unknown => Vec::new(),
        }
    }
}

/// The keys of a message received at this time (milliseconds since 1970 UTC); see [`KeyBase::keys`].
pub fn keys(heard: &Heard, received_ms: i64) -> Vec<String> {
    heard.keys.keys(received_ms)
}

fn on_grids(stem: &str, time_ms: i64) -> Vec<String> {
    let a = time_ms.div_euclid(MINUTE_MS);
    let b = time_ms.saturating_add(MINUTE_MS / 2).div_euclid(MINUTE_MS);
    vec![format!("{stem}:a{a}"), format!("{stem}:b{b}")]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task() -> KeyBase {
        KeyBase { subject: Subject::Task("t".into()), outcome: Outcome::Aborted }
    }

    #[test]
    fn keys_have_their_documented_form() {
        let run = KeyBase { subject: Subject::Execution("e".into()), outcome: Outcome::Failed };
        assert_eq!(run.keys(5), ["exec:e:failed"]);
        assert_eq!(task().keys(7 * MINUTE_MS), ["task:t:aborted:a7", "task:t:aborted:b7"]);
        assert_eq!(task().keys(7 * MINUTE_MS + 30_000), ["task:t:aborted:a7", "task:t:aborted:b8"]);
        let app = Subject::App { app: Some("a".into()), session: None };
        let app = KeyBase { subject: app, outcome: Outcome::Failed };
        assert_eq!(app.keys(MINUTE_MS - 1), ["app:a:-:failed:a0", "app:a:-:failed:b1"]);
        assert!(KeyBase { subject: Subject::Unknown, outcome: Outcome::Failed }.keys(0).is_empty());
    }

    proptest! {
        #[test]
        fn times_less_than_half_a_minute_apart_share_a_key_and_those_beyond_a_minute_none(
            time in any::<i64>(), near in 0..30_000_i64, far in 60_000..10_000_000_i64
        ) {
            let shared = |other: i64| task().keys(time).iter().filter(|key| task().keys(other).contains(key)).count();
            prop_assert!(shared(time.saturating_add(near)) >= 1);
            if let Some(far) = time.checked_add(far).filter(|far| *far < i64::MAX - MINUTE_MS) {
                prop_assert_eq!(shared(far), 0);
            }
        }
    }
}
