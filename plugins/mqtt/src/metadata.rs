//! Tasks and apps as the repository service has them, for messages that carry them whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::Host;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

/// How long an answer is good for: a burst of one task asks once.
const LIFE: Duration = Duration::from_secs(10);
/// Most answers that are kept. Each may be some 10 kB large.
const MOST: usize = 200;
/// An alert does not wait longer than this for what it can do without.
const PATIENCE: Duration = Duration::from_secs(3);

/// An object of the repository as JSON; `None` if it could not be had.
pub(crate) type Object = Option<Arc<RawValue>>;

type Answer = Arc<OnceCell<Object>>;

/// By path and id, with the time of the question.
type Answers = HashMap<(&'static str, String), (Instant, Answer)>;

/// Looks objects up. Those who ask for the same at the same time share one look-up.
pub(crate) struct Metadata {
    host: Host,
    answers: Mutex<Answers>,
}

impl Metadata {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, answers: Mutex::default() }
    }

    /// `task/full` or `app/full` with this id, unmodified.
    pub(crate) async fn get(&self, path: &'static str, id: &str) -> Object {
        if !is_guid(id) {
            return None;
        }
        let answer = self.answer(path, id);
        let look_up = answer.get_or_init(|| async {
            match tokio::time::timeout(PATIENCE, self.ask(path, id)).await {
                Ok(Ok(object)) => object,
                Ok(Err(why)) => {
                    tracing::debug!("the message goes out without {path} of {id}: {why}");
                    None
                }
                Err(_) => {
                    tracing::debug!("the message goes out without {path} of {id}: no answer in time");
                    None
                }
            }
        });
        // Whoever asked first may have been given up half-way.
        tokio::time::timeout(PATIENCE, look_up).await.ok().cloned().flatten()
    }

    /// The place of an answer, which may be there already.
    fn answer(&self, path: &'static str, id: &str) -> Answer {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path, id.to_ascii_lowercase());
        if let Some((since, answer)) = answers.get(&key)
            && since.elapsed() < LIFE
        {
            return answer.clone();
        }
        if answers.len() >= MOST {
            answers.retain(|_, (since, _)| since.elapsed() < LIFE);
        }
        let answer = Answer::default();
        if answers.len() < MOST {
            answers.insert(key, (Instant::now(), answer.clone()));
        }
        answer
    }

    async fn ask(&self, path: &str, id: &str) -> Result<Object, String> {
        let filter = format!("id eq {id}");
        let reply = self.host.qlik().get(path, &[("filter", &filter)]).await.map_err(|error| error.to_string())?;
        if reply.status != 200 {
            return Err(format!("the repository answered {}", reply.status));
        }
        match reply.body {
            Value::Array(mut objects) if !objects.is_empty() => {
                let raw =
                    serde_json::value::to_raw_value(&objects.swap_remove(0)).map_err(|error| error.to_string())?;
                Ok(Some(raw.into()))
            }
            Value::Array(_) => Err("there is none".to_owned()),
            _ => Err("the repository's answer is no list".to_owned()),
        }
    }
}

/// Whether a text is safe in a filter. Ids of Qlik Cloud are not asked for.
fn is_guid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}
