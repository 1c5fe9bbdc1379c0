//! One of the things that an instance does again and again: when, what became of it last, and what is said about that.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use butler_plugin_api::{Host, ServiceError, When};
use futures_util::future::{Either, select};
use serde_json::{Value, json};

/// Why there is something to tell about a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It came to nothing, and is done again before long. The text says why, and what to do.
    #[error("{0}")]
    Failed(String),
    /// It is done, but something about it is not as it should be.
    #[error("{0}")]
    Noted(String),
    /// The instance has been stopped.
    #[error("the instance has been stopped")]
    Stopped,
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Stopped => Self::Stopped,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// One of the things that an instance does.
pub(crate) struct Part {
    /// Of its schedule and of its keys in the storage.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// After a run that failed the next one begins so much later, or at the next planned time if that comes first.
    again: Duration,
    /// What is wrong.
    trouble: Mutex<Option<String>>,
}

impl Part {
    pub(crate) fn new(name: &'static str, title: &'static str, again: Duration) -> Self {
        Self { name, title, again, trouble: Mutex::default() }
    }

    /// Runs at the planned times, one run after the other, until the instance stops. A run gets its planned time, which is the
    /// same again when it is repeated: since it failed, or since the process ended in the middle of it.
    pub(crate) async fn keep<R>(&self, host: &Host, when: &When, run: impl Fn(String) -> R)
    where
        R: Future<Output = Result<(), Trouble>>,
    {
        let mut planned = self.unfinished(host).await;
        loop {
            let this = match planned.take() {
                Some(planned) => planned,
                None => match host.schedule().next(self.name, when).await {
                    Ok(tick) => tick.planned,
                    Err(error) => return self.end(&error),
                },
            };
            // Before it is begun: what is left of it after a crash is found by this.
            let result = match host.storage().set(&self.due(), &json!(this), None).await {
                Ok(()) => run(this.clone()).await,
                Err(error) => Err(error.into()),
            };
            let has_failed = matches!(result, Err(Trouble::Failed(_)));
            match result {
                Ok(()) => self.note(None),
                Err(Trouble::Failed(text) | Trouble::Noted(text)) => self.note(Some(text)),
                Err(Trouble::Stopped) => return,
            }
            if !has_failed {
                if let Err(error) = host.storage().delete(&self.due()).await {
                    tracing::debug!(
                        "{}: it is done again after a restart, since that it is done is not stored: {error}",
                        self.title
                    );
                }
                continue;
            }
            let schedule = host.schedule();
            let (next, again) = (pin!(schedule.next(self.name, when)), pin!(host.sleep(self.again)));
            planned = match select(next, again).await {
                Either::Left((Ok(tick), _)) => Some(tick.planned),
                Either::Left((Err(error), _)) => return self.end(&error),
                Either::Right(_) => Some(this),
            };
        }
    }

    /// Finishes what was begun when there was a section for it; again and again while that fails.
    pub(crate) async fn finish<R>(&self, host: &Host, run: impl Fn() -> R)
    where
        R: Future<Output = Result<(), Trouble>>,
    {
        loop {
            match run().await {
                Ok(()) => return self.note(None),
                // Told, and never done again.
                Err(Trouble::Noted(text)) => {
                    self.note(None);
                    return tracing::warn!("{}: {text}", self.title);
                }
                Err(Trouble::Failed(text)) => self.note(Some(text)),
                Err(Trouble::Stopped) => return,
            }
            host.sleep(self.again).await;
        }
    }

    /// What is wrong with it, for the health of the instance.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(|text| format!("{}: {text}", self.title))
    }

    fn due(&self) -> String {
        format!("{}/due", self.name)
    }

    /// The planned time of a run that was begun and is not done.
    async fn unfinished(&self, host: &Host) -> Option<String> {
        let stored = host.storage().get(&self.due()).await;
        // The storage that does not answer now will be told about when it is written to.
        stored.ok().flatten().as_ref().and_then(Value::as_str).map(str::to_owned)
    }

    /// Said once, and again when it is another.
    fn note(&self, trouble: Option<String>) {
        let mut before = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*before, &trouble) {
            (before, Some(text)) if before.as_ref() != Some(text) => tracing::warn!("{}: {text}", self.title),
            (Some(_), None) => tracing::info!("{}: all is well again", self.title),
            _ => {}
        }
        *before = trouble;
    }

    fn end(&self, error: &ServiceError) {
        if *error != ServiceError::Stopped {
            self.note(Some(format!(
                "it is done no more, since there is no next time for it ({error}); restart Butler"
            )));
        }
    }
}
