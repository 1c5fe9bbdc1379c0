//! Questions for objects by an id, put together: when a place for a call gets free, all that wait are asked for at once.
//!
//! With a quick Qlik Sense every question is a call of its own, made at once. With a slow one, or when a night's failures
//! come together, the calls are few, which is what both sides need then.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use super::error::QlikError;
use super::repository::Repository;

/// Most ids in one call: its address stays below 2,048 characters, which no server or proxy refuses.
const MOST: usize = 25;

/// What was found by an id.
#[derive(Debug, Clone)]
pub(super) struct Listed<T> {
    /// The objects that have the id, as far as they can be read.
    pub(super) found: Vec<T>,
    /// When QRS was asked, milliseconds of the Unix epoch.
    pub(super) asked_ms: i64,
}

/// Questions for the objects of one list whose field is an id.
#[derive(Debug)]
pub(super) struct Batched<T> {
    path: &'static str,
    field: &'static str,
    read: fn(&Value) -> Option<T>,
    waiting: Mutex<VecDeque<Question<T>>>,
    /// Ids in one call.
    most: AtomicUsize,
}

#[derive(Debug)]
struct Question<T> {
    id: String,
    answer: oneshot::Sender<Result<Listed<T>, QlikError>>,
}

impl<T: Clone> Batched<T> {
    /// Of the list at `path`; `read` makes something of its elements.
    pub(super) fn new(path: &'static str, field: &'static str, read: fn(&Value) -> Option<T>) -> Self {
        Self { path, field, read, waiting: Mutex::default(), most: AtomicUsize::new(MOST) }
    }

    /// The objects with an id, which must be a GUID. Waits for one of `places`, for itself or for another's call.
    pub(super) async fn ask(
        &self,
        id: &str,
        repository: &Repository,
        places: &Semaphore,
    ) -> Result<Listed<T>, QlikError> {
        loop {
            let (answer, mut answered) = oneshot::channel();
            self.lock().push_back(Question { id: id.to_owned(), answer });
            let mut waiting = true;
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut answered => break answer,
                    // The semaphore is never closed; without a place the call is made all the same.
                    _place = places.acquire(), if waiting => {
                        let questions = self.take();
                        // None: this one is being asked for by another.
                        waiting = !questions.is_empty();
                        if waiting {
                            // Boxed: only those that are being asked for need its room.
                            Box::pin(self.call(questions, repository)).await;
                        }
                    }
                }
            };
            // Who asked for it has lost its patience, or several at once are refused: it is asked for again.
            if let Ok(answer) = answer {
                return answer;
            }
        }
    }

    /// The questions of the next call, without those that nobody waits for any more.
    fn take(&self) -> Vec<Question<T>> {
        let mut waiting = self.lock();
        waiting.retain(|question| !question.answer.is_closed());
        let count = waiting.len().min(self.most.load(Ordering::Relaxed));
        waiting.drain(..count).collect()
    }

    async fn call(&self, questions: Vec<Question<T>>, repository: &Repository) {
        let asked_ms = Timestamp::now().as_millisecond();
        let parts: Vec<String> =
            questions.iter().map(|question| format!("{} eq {}", self.field, question.id)).collect();
        let alone = (questions.len() == 1).then(|| questions[0].id.to_ascii_lowercase());
        let mut found: HashMap<String, Vec<T>> = HashMap::new();
        let read = |object: &Value| {
            // A release that ignores the filter answers with others, too; one may answer without the field.
            let id = object[self.field].as_str().map(str::to_ascii_lowercase).or_else(|| alone.clone());
            if let (Some(id), Some(object)) = (id, (self.read)(object)) {
                found.entry(id).or_default().push(object);
            }
        };
        let listed = repository.each(self.path, &parts.join(" or "), read).await;
        if let Err(error) = &listed
            && alone.is_none()
            && !error.is_transient()
        {
            // It may be the number of them.
            self.most.store(1, Ordering::Relaxed);
            tracing::warn!(
                path = self.path,
                "several ids in one call are refused, each has its own from now on: {error}"
            );
            return;
        }
        for question in questions {
            let of_id = found.get(&question.id.to_ascii_lowercase()).cloned().unwrap_or_default();
            let answer = listed.clone().map(|()| Listed { found: of_id, asked_ms });
            // Who asked may have lost its patience.
            let _ = question.answer.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Question<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
