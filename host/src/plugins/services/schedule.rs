//! The service `schedule`: `{"op": "next", "name", "when"}` is answered with `{"planned"}` when the time has come, and
//! `{"op": "check", "when"}` at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use butler_plugin_api::ServiceError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{invalid, operation, store_error};
use crate::schedule::{TickError, Wish, next_tick};
use crate::store::{Store, rfc3339};

const MAX_NAME: usize = 100;
/// Names that an instance may wait for at once.
const MAX_WAITS: usize = 64;

/// The names that an instance waits for.
#[derive(Clone, Default)]
pub(in super::super) struct Waits(Arc<Mutex<HashSet<String>>>);

/// A name that is waited for; free again when this is dropped.
struct Waiting {
    waits: Waits,
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum Call {
    Next { name: String, when: Value },
    Check { when: Value },
}

/// Answers a call. `alive`: whether the generation of the instance is there still.
pub(super) async fn answer(
    store: &Store,
    instance: &str,
    waits: &Waits,
    alive: &AtomicBool,
    input: &str,
) -> Result<String, ServiceError> {
    let input: Value = serde_json::from_str(input).map_err(|error| invalid(&error))?;
    let (name, when) = match operation("schedule", &["next", "check"], input)? {
        Call::Check { when } => return read(&when).map(|_| json!({}).to_string()),
        Call::Next { name, when } => (name, when),
    };
    let wish = read(&when)?;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ServiceError::Invalid(format!(
            "the name of a schedule has 1 to {MAX_NAME} bytes, and no line breaks and the like"
        )));
    }
    let _waiting = waits.wait_for(&name)?;
    let tick = next_tick(store, instance, &name, &wish, || waits.names(), || alive.load(Ordering::Relaxed)).await;
    let tick = tick.map_err(|error| match &error {
        TickError::Stopped => ServiceError::Stopped,
        TickError::Never => ServiceError::Invalid(error.to_string()),
        TickError::Store(error) => store_error(error),
    })?;
    Ok(json!({ "planned": rfc3339(tick.planned) }).to_string())
}

fn read(when: &Value) -> Result<Wish, ServiceError> {
    Wish::read(when).map_err(ServiceError::Invalid)
}

impl Waits {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn wait_for(&self, name: &str) -> Result<Waiting, ServiceError> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_WAITS {
            return Err(ServiceError::Quota(format!("an instance may wait for at most {MAX_WAITS} schedules at once")));
        }
        if !names.insert(name.to_owned()) {
            return Err(ServiceError::Invalid(format!(
                "the schedule `{name}` is waited for already: ask when it has come"
            )));
        }
        Ok(Waiting { waits: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_waited_for_once_and_a_wait_that_is_given_up_frees_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        let (waits, alive) = (Waits::default(), AtomicBool::new(true));
        let ask = |input: Value| {
            let (store, waits, alive) = (&store, &waits, &alive);
            async move { answer(store, "one", waits, alive, &input.to_string()).await }
        };
        let next = |name: &str, every: &str| ask(json!({ "op": "next", "name": name, "when": { "every": every } }));
        // The first at once, the second in an hour.
        assert!(next("a", "1h").await.unwrap().contains("planned"));
        let mut waiting = Box::pin(next("a", "1h"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let second = tokio::time::timeout(std::time::Duration::from_secs(5), next("a", "1h")).await;
        let second = second.expect("a second wait is refused at once");
        assert!(
            matches!(&second, Err(ServiceError::Invalid(text)) if text.contains("waited for already")),
            "{second:?}"
        );
        assert!(next("b", "1h").await.is_ok(), "another name");
        drop(waiting);
        assert!(waits.0.lock().unwrap().is_empty());
        alive.store(false, Ordering::Relaxed);
        assert_eq!(next("a", "1h").await, Err(ServiceError::Stopped));
        for (input, part) in [
            (json!({ "op": "next", "name": "", "when": { "every": "1h" } }), "the name of a schedule"),
            (json!({ "op": "next", "name": "x", "when": {} }), "write either `every`"),
            (json!({ "op": "check", "when": { "cron": "0 25 * * *" } }), "column 3 (hour)"),
            (json!({ "op": "next", "name": "x" }), "missing field `when`"),
        ] {
            let error = ask(input.clone()).await.unwrap_err();
            assert!(matches!(&error, ServiceError::Invalid(text) if text.contains(part)), "{input}: {error:?}");
        }
        assert!(matches!(ask(json!({ "op": "later" })).await, Err(ServiceError::Unsupported(_))));
        assert!(
            ask(json!({ "op": "check", "when": { "cron": "0 6 * * *", "timeZone": "Europe/Oslo" } })).await.is_ok()
        );
    }
}
