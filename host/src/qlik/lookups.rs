//! Look-ups in QRS, each made once per burst.
//!
//! Answers are kept for some seconds from when they came, and concurrent questions for the same thing share one call.
//! Errors are not kept, nor are answers that will change soon: executions that still run, results that are not written
//! yet. At most `enrich.concurrency` calls are under way at a time; what waits for a place is put together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{App, Owner};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::batched::Batched;
use super::error::QlikError;
use super::facts::{self, AppFacts, ResultFacts, TaskFacts};
use super::kept::Kept;
use super::repository::Repository;
use super::script_log::{Log, ScriptLogs};
use crate::config;

/// How long an answer is used.
const TTL: Duration = Duration::from_secs(15);

/// Most answers of one sort that are kept.
const ENTRIES: u32 = 1_000;

/// Most bytes of script logs that are kept, and for how long: until the event is stored.
const LOG_BYTES: u64 = 32 << 20;
const LOG_TTL: Duration = Duration::from_mins(1);
/// How many that may be.
const LOGS: usize = 100;

/// How long the names of status numbers are used: the server may be updated.
const DICTIONARY_TTL: Duration = Duration::from_hours(1);

/// How far the clocks of the Sense servers and ours may be apart.
const SKEW_MS: i64 = 5 * 60 * 1_000;

/// Look-ups in QRS with short memory. Shared by all workers.
pub struct Lookups {
    repository: Arc<Repository>,
    /// Calls that may be under way.
    places: Semaphore,
    task_lists: Batched<TaskFacts>,
    app_lists: Batched<AppFacts>,
    results_by_execution: Batched<ResultFacts>,
    results_by_id: Batched<ResultFacts>,
    tasks: Kept<Option<Arc<TaskFacts>>, QlikError>,
    apps: Kept<Option<Arc<AppFacts>>, QlikError>,
    owners: Kept<Option<Arc<Owner>>, QlikError>,
    executions: Kept<Arc<[ResultFacts]>, QlikError>,
    logs: Kept<Arc<Log>, WithoutLog>,
    status_texts: Kept<Arc<BTreeMap<i64, String>>, QlikError>,
    script_logs: ScriptLogs,
    max_log_size: usize,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Why a script log is not kept.
#[derive(Clone)]
enum WithoutLog {
    /// QRS has none, maybe none yet.
    None,
    Error(QlikError),
}

/// An app, and whether its owner was found out in full.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFound {
    /// The app. If the owner could not be read, it has what the app itself says, without email addresses.
    pub app: App,
    /// The owner is not known in full.
    pub owner_missing: bool,
    /// Why, unless QRS simply has no such user.
    pub owner_error: Option<QlikError>,
}

/// What became of looking for an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// This is it.
    Result(Box<ResultFacts>),
    /// It is over, but otherwise than heard: of an earlier attempt while that of the last one is not written yet, or else
    /// the log line was premature.
    Otherwise(Box<ResultFacts>),
    /// QRS has not written it yet; it may some seconds later.
    NotYet,
    /// QRS does not have it.
    Nothing,
}

/// How the execution that is looked for ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It failed.
    Failed,
    /// It was aborted, or is being so.
    Aborted,
    /// It succeeded.
    Succeeded,
    /// Not known: QRS tells.
    Any,
}

impl Outcome {
    /// From the last part of a kind of event.
    pub fn of(text: &str) -> Self {
        match text {
            "failed" => Self::Failed,
            "aborted" => Self::Aborted,
            "succeeded" => Self::Succeeded,
            _ => Self::Any,
        }
    }

    /// From the status of an execution that is over.
    pub fn of_status(status: i64) -> Option<&'static str> {
        match status {
            7 => Some("succeeded"),
            8 | 11 => Some("failed"),
            6 => Some("aborted"),
            _ => None,
        }
    }

    fn fits(self, result: &ResultFacts) -> bool {
        // The number of another release, or none at all, tells nothing but that it is over when it has stopped.
        let Some(status) = result.execution.status.filter(|status| facts::status_text(*status).is_some()) else {
            return self == Self::Any || result.execution.stop_time.is_some();
        };
        match self {
            Self::Failed => matches!(status, 8 | 11),
            Self::Aborted => matches!(status, 4..=6),
            Self::Succeeded => status == 7,
            Self::Any => true,
        }
    }
}

impl Lookups {
    /// Look-ups at one server, with at most `concurrency` calls at a time.
    pub fn new(repository: Arc<Repository>, script_log: &config::ScriptLog, concurrency: u32) -> Self {
        Self {
            repository,
            places: Semaphore::new(concurrency as usize),
            task_lists: Batched::new("task/full", "id", facts::task),
            app_lists: Batched::new("app/full", "id", facts::app),
            results_by_execution: Batched::new("executionresult/full", "executionID", facts::result),
            results_by_id: Batched::new("executionresult/full", "id", facts::result),
            tasks: kept(),
            apps: kept(),
            owners: kept(),
            executions: kept(),
            logs: Kept::new(LOG_TTL, LOG_BYTES, LOGS, |log| log.text.len() as u64),
            status_texts: Kept::new(DICTIONARY_TTL, 1, 1, |_| 1),
            script_logs: ScriptLogs::default(),
            max_log_size: script_log.max_size.as_usize(),
        }
    }

    /// The server that is asked.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// A task by its id; absent: QRS does not know it.
    pub async fn task(&self, id: &str) -> Result<Option<Arc<TaskFacts>>, QlikError> {
        // Nothing else may get into the filter.
        if !facts::is_guid(id) {
            return Ok(None);
        }
        self.tasks.once(id, self.task_as_it_is(id)).await
    }

    /// The same, not from memory.
    pub async fn task_as_it_is(&self, id: &str) -> Result<Option<Arc<TaskFacts>>, QlikError> {
        if !facts::is_guid(id) {
            return Ok(None);
        }
        let listed = self.task_lists.ask(id, &self.repository, &self.places).await?;
        let asked_ms = listed.asked_ms;
        Ok(listed.found.into_iter().next().map(|task| Arc::new(TaskFacts { asked_ms, ..task })))
    }

    /// The same, asked for after `since_ms` (milliseconds of the Unix epoch) by one call for all that want this.
    async fn task_since(&self, id: &str, since_ms: i64) -> Result<Option<Arc<TaskFacts>>, QlikError> {
        let old = |task: &Option<Arc<TaskFacts>>| task.as_ref().is_some_and(|task| task.asked_ms < since_ms);
        let mut found = None;
        // A call that is under way may have begun too early, but not its successor. Clocks that jump must not keep us here.
        for _ in 0..3 {
            self.tasks.forget_if(id, old);
            found = self.task(id).await?;
            if !old(&found) {
                break;
            }
        }
        Ok(found)
    }

    /// An app by its id with its owner; absent: QRS does not know it. Trouble with the owner does not lose the app.
    pub async fn app(&self, id: &str) -> Result<Option<AppFound>, QlikError> {
        if !facts::is_guid(id) {
            return Ok(None);
        }
        let list = async {
            let listed = self.app_lists.ask(id, &self.repository, &self.places).await?;
            Ok(listed.found.into_iter().next().map(Arc::new))
        };
        let found = self.apps.once(id, list).await?;
        let Some(found) = found else { return Ok(None) };
        let mut app = found.app.clone();
        let owner = match &found.owner_id {
            Some(id) => self.owner(id).await,
            None => Ok(None),
        };
        let (owner_missing, owner_error) = match owner {
            Ok(Some(owner)) => {
                app.owner = Some(owner.as_ref().clone());
                (false, None)
            }
            Ok(None) => (true, None),
            Err(error) => (true, Some(error)),
        };
        Ok(Some(AppFound { app, owner_missing, owner_error }))
    }

    /// A user by the id of its object; absent: QRS does not know it.
    pub async fn owner(&self, id: &str) -> Result<Option<Arc<Owner>>, QlikError> {
        if !facts::is_guid(id) {
            return Ok(None);
        }
        self.owners
            .once(id, async {
                let _place = self.place().await;
                // Boxed, as all calls: only those that are under way need their room.
                match Box::pin(self.repository.get_json(&format!("user/{id}"), &[])).await {
                    Ok(user) => Ok(facts::owner(&user).map(Arc::new)),
                    Err(error) if error.status() == Some(404) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// What this server calls the number of an execution's status: for numbers that Butler has no name for.
    pub(super) async fn status_name(&self, status: i64) -> Result<Option<String>, QlikError> {
        let asked = self.status_texts.once("", async {
            match self.repository.get_json("about/api/enums", &[]).await {
                Ok(dictionary) => Ok(Arc::new(facts::status_texts(&dictionary))),
                Err(error) if error.status() == Some(404) => Ok(Arc::default()),
                Err(error) => Err(error),
            }
        });
        Ok(asked.await?.get(&status).cloned())
    }

    /// An execution that was heard of at `received_ms` (milliseconds of the Unix epoch): by its id, or else the last
    /// one of the task if it can be the one that is meant.
    pub async fn execution(
        &self,
        execution_id: Option<&str>,
        task: Option<&TaskFacts>,
        outcome: Outcome,
        received_ms: i64,
    ) -> Result<Found, QlikError> {
        let results = self.results(execution_id, None).await?;
        self.choose(execution_id, &results, task, outcome, received_ms).await
    }

    /// The results of an execution, one per attempt; or the one of this id, if it is known.
    pub(super) async fn results(
        &self,
        execution_id: Option<&str>,
        result_id: Option<&str>,
    ) -> Result<Arc<[ResultFacts]>, QlikError> {
        let guid = |id: &&str| facts::is_guid(id);
        let (id, lists) = match (result_id.filter(guid), execution_id.filter(guid)) {
            (Some(id), _) => (id, &self.results_by_id),
            (None, Some(id)) => (id, &self.results_by_execution),
            (None, None) => return Ok(Arc::default()),
        };
        let asked = self
            .executions
            .once(id, async { Ok(lists.ask(id, &self.repository, &self.places).await?.found.into()) })
            .await;
        match asked {
            // A release that does not know the filter still has the last result of the task.
            Err(error) if !error.is_transient() => {
                tracing::warn!("execution results cannot be looked up by execution id: {error}");
                Ok(Arc::default())
            }
            other => other,
        }
    }

    pub(super) async fn choose(
        &self,
        execution_id: Option<&str>,
        results: &[ResultFacts],
        task: Option<&TaskFacts>,
        outcome: Outcome,
        received_ms: i64,
    ) -> Result<Found, QlikError> {
        if let Some(found) = newest(results, outcome) {
            if unfinished(&found) {
                self.forget_execution(execution_id);
            }
            return Ok(found);
        }
        // Nothing by this id: it may be written some moments later.
        self.forget_execution(execution_id);
        let Some(mut task) = task else { return Ok(Found::Nothing) };
        let fresh;
        if task.asked_ms < received_ms {
            // What was asked before the event happened cannot know of it.
            fresh = self.task_since(&task.task.id, received_ms).await?;
            let Some(fresh) = &fresh else { return Ok(Found::Nothing) };
            task = fresh;
        }
        let found = last(task, outcome, received_ms);
        if unfinished(&found) {
            self.forget_task(&task.task.id);
        }
        Ok(found)
    }

    /// The script log of an execution; absent: QRS has none, maybe none yet.
    pub async fn script_log(&self, task_id: &str, result: &ResultFacts) -> Result<Option<Arc<Log>>, QlikError> {
        let Some(result_id) = result.execution.result_id.as_deref() else { return Ok(None) };
        let fetch = async {
            let _place = self.place().await;
            let reference = result.file_reference.as_deref();
            let fetch = self.script_logs.fetch(&self.repository, task_id, result_id, reference, self.max_log_size);
            Box::pin(fetch).await.map_err(WithoutLog::Error)?.map(Arc::new).ok_or(WithoutLog::None)
        };
        match self.logs.once(result_id, fetch).await {
            Ok(log) => Ok(Some(log)),
            Err(WithoutLog::None) => Ok(None),
            Err(WithoutLog::Error(error)) => Err(error),
        }
    }

    pub(super) fn forget_task(&self, id: &str) {
        self.tasks.forget(id);
    }

    pub(super) fn forget_execution(&self, id: Option<&str>) {
        if let Some(id) = id {
            self.executions.forget(id);
        }
    }

    /// A place for a call. The semaphore is never closed; without a place the call is made all the same.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }
}

fn kept<T: Clone>() -> Kept<T, QlikError> {
    Kept::new(TTL, ENTRIES.into(), ENTRIES as usize, |_| 1)
}

/// Of several attempts the newest whose status fits; absent: there are none at all.
fn newest(results: &[ResultFacts], outcome: Outcome) -> Option<Found> {
    let start = |result: &&ResultFacts| result.execution.start_time.as_deref().and_then(facts::millis);
    if let Some(result) = results.iter().filter(|result| outcome.fits(result)).max_by_key(start) {
        return Some(Found::Result(Box::new(result.clone())));
    }
    let newest = results.iter().max_by_key(start)?;
    Some(if over(newest) { Found::Otherwise(Box::new(newest.clone())) } else { Found::NotYet })
}

/// The last result of a task, if it can be of the execution that was heard of.
fn last(task: &TaskFacts, outcome: Outcome, received_ms: i64) -> Found {
    let Some(result) = &task.last else { return Found::Nothing };
    let time = |time: &Option<String>| time.as_deref().and_then(facts::millis);
    let (start, stop) = (time(&result.execution.start_time), time(&result.execution.stop_time));
    let started_before = |limit: i64| start.is_some_and(|start| start <= limit);
    let near = match stop {
        // The last result of a task may be months old, or already that of a later execution.
        Some(stop) if stop < received_ms.saturating_sub(SKEW_MS) => false,
        Some(stop) => stop <= received_ms.saturating_add(SKEW_MS) || started_before(received_ms),
        None => started_before(received_ms.saturating_add(SKEW_MS)),
    };
    match (near, outcome.fits(result)) {
        (true, true) => Found::Result(Box::new(result.clone())),
        (true, false) if !over(result) => Found::NotYet,
        _ => Found::Nothing,
    }
}

fn over(result: &ResultFacts) -> bool {
    match result.execution.status {
        Some(status) if facts::status_text(status).is_some() => facts::is_final(status),
        _ => result.execution.stop_time.is_some(),
    }
}

fn unfinished(found: &Found) -> bool {
    match found {
        Found::Result(result) => !over(result),
        Found::Otherwise(_) | Found::NotYet | Found::Nothing => true,
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Execution;

    use super::*;

    fn result(id: &str, status: i64, start: &str, stop: Option<&str>) -> ResultFacts {
        ResultFacts {
            execution: Execution {
                result_id: Some(id.to_owned()),
                status: Some(status),
                start_time: Some(start.to_owned()),
                stop_time: stop.map(str::to_owned),
                ..Execution::default()
            },
            file_reference: None,
        }
    }

    fn id(found: &Found) -> &str {
        match found {
            Found::Result(result) | Found::Otherwise(result) => result.execution.result_id.as_deref().unwrap(),
            Found::NotYet => "not yet",
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn of_several_attempts_the_newest_that_fits_is_taken() {
        let results = [
            result("a", 8, "2025-03-09T14:00:00Z", Some("2025-03-09T14:01:00Z")),
            result("c", 8, "2025-03-09T14:04:00Z", Some("2025-03-09T14:05:00Z")),
            result("b", 8, "2025-03-09T14:02:00Z", Some("2025-03-09T14:03:00Z")),
            result("d", 7, "2025-03-09T14:06:00Z", Some("2025-03-09T14:07:00Z")),
        ];
        assert_eq!(id(&newest(&results, Outcome::Failed).unwrap()), "c");
        let otherwise = newest(&results, Outcome::Aborted).unwrap();
        assert!(matches!(otherwise, Found::Otherwise(_)) && id(&otherwise) == "d", "{otherwise:?}");
        assert_eq!(id(&newest(&[result("a", 2, "2025-03-09T14:00:00Z", None)], Outcome::Failed).unwrap()), "not yet");
        assert_eq!(id(&newest(&[result("a", 5, "2025-03-09T14:00:00Z", None)], Outcome::Aborted).unwrap()), "a");
        assert_eq!(newest(&[], Outcome::Any), None);
    }

    #[test]
    fn the_last_result_must_fit_in_time_and_status() {
        let received = facts::millis("2025-03-09T14:05:00Z").unwrap();
        let found = |status: i64, start: &str, stop: Option<&str>, outcome: Outcome| {
            let task = TaskFacts { last: Some(result("a", status, start, stop)), ..TaskFacts::default() };
            id(&last(&task, outcome, received)).to_owned()
        };
        let start = "2025-03-09T14:00:00Z";
        assert_eq!(found(8, start, Some("2025-03-09T14:04:59Z"), Outcome::Failed), "a");
        assert_eq!(found(11, start, Some("2025-03-09T14:09:59Z"), Outcome::Failed), "a");
        assert_eq!(found(7, start, Some("2025-03-09T14:04:59Z"), Outcome::Failed), "nothing");
        assert_eq!(found(2, start, None, Outcome::Failed), "not yet");
        assert_eq!(found(4, start, None, Outcome::Aborted), "a");
        // Months old, of a later execution, running long after.
        assert_eq!(found(8, "2024-12-01T14:00:00Z", Some("2024-12-01T14:04:59Z"), Outcome::Failed), "nothing");
        assert_eq!(found(8, "2025-03-09T14:11:00Z", Some("2025-03-09T14:12:00Z"), Outcome::Failed), "nothing");
        assert_eq!(found(7, start, Some("2025-03-09T17:00:00Z"), Outcome::Any), "a");
        assert_eq!(last(&TaskFacts::default(), Outcome::Any, received), Found::Nothing);
    }
}
