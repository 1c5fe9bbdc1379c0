//! From what was heard of an event to all its facts.
//!
//! QRS's word wins over the log line's, except for what only the line knows: node, user, log. What QRS does not know
//! stays as heard. Asking again later is cheap: what was found is kept for some seconds by the look-ups.

use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{App, Data, Execution, Task};
use tokio::time::Instant;

use super::error::{Cause, QlikError};
use super::facts::{self, ResultFacts, TaskFacts};
use super::lookups::{AppFound, Found, Lookups, Outcome};
use super::script_log::Log;

/// QRS's numbers of the types of tasks whose app matters, and of that with script logs.
const WITH_APP: [i64; 3] = [0, 3, 4];
const RELOAD: i64 = 0;

/// An event with its facts.
#[derive(Debug, Clone, Default)]
pub struct Enriched {
    /// The kind, by the type of the task and, for distributions, by their status.
    pub kind: String,
    /// The facts. `missing` and `kind_assumed` are set; `script_log` is for the caller, who stores the log.
    pub data: Data,
    /// Further keys of the same event: `result:<id of the execution result>`.
    pub keys: Vec<String>,
    /// When the execution ended, in the form of an event's time.
    pub time: Option<String>,
    /// What should be in `data` but could not be found out: `task`, `app`, `owner`, `execution`, `scriptLog`.
    pub missing: Vec<&'static str>,
    /// Something is missing because Qlik Sense gave no proper answer: asking again may help.
    pub transient: Option<QlikError>,
    /// A distribution that is not over, or whose status is not known.
    pub pending: bool,
    /// Qlik Sense answers, but has not written the result of the execution or its script log yet: asking again after
    /// some seconds may help.
    pub not_yet: bool,
    /// The script log, if wanted and found.
    pub script_log: Option<Arc<Log>>,
}

impl Enriched {
    /// Notes a fact that was not found. Why: in the error, or QRS does not know it.
    fn lacks(&mut self, fact: &'static str, error: Option<QlikError>) {
        if !self.missing.contains(&fact) {
            self.missing.push(fact);
        }
        match error {
            Some(error) if error.is_transient() => {
                self.transient.get_or_insert(error);
            }
            Some(error) => tracing::warn!(fact, "a fact cannot be found out: {error}"),
            None => {}
        }
    }

    /// The fact, or a note why it is not there.
    fn take<T>(&mut self, fact: &'static str, found: Result<Option<T>, QlikError>) -> Option<T> {
        match found {
            Ok(Some(found)) => return Some(found),
            Ok(None) => self.lacks(fact, None),
            Err(error) => self.lacks(fact, Some(error)),
        }
        None
    }
}

impl Lookups {
    /// Finds out the facts of an event: `heard` are those that came with it, of the provisional kind `kind`, at
    /// `received_ms` (milliseconds of the Unix epoch).
    ///
    /// Needs at most four calls (task, app, its owner, execution result), and those for the script log; while many events
    /// wait for Qlik Sense, they share calls. What is not there after `patience` is missing, with a transient error; what
    /// is there by then is not lost.
    pub async fn enrich(
        &self,
        heard: &Data,
        kind: &str,
        received_ms: i64,
        want_script_log: bool,
        patience: Duration,
    ) -> Enriched {
        let until = Instant::now() + patience;
        let (subject, outcome_text) = kind.rsplit_once('.').unwrap_or((kind, ""));
        let is_task = subject.ends_with("-task");
        let mut out = Enriched { kind: kind.to_owned(), data: heard.clone(), ..Enriched::default() };

        let mut task = None;
        let mut result = None;
        if is_task {
            let outcome = Outcome::of(outcome_text);
            let execution = heard.execution.as_ref();
            let execution_id = execution.and_then(|execution| execution.id.as_deref());
            let result_id = execution.and_then(|execution| execution.result_id.as_deref());
            let (known, results) = tokio::join!(
                self.by(until, self.heard_task(heard)),
                self.by(until, self.results(execution_id, result_id))
            );
            task = out.take("task", known);
            let found = match results {
                Ok(results) => {
                    let choice = self.choose(execution_id, &results, task.as_deref(), outcome, received_ms);
                    self.by(until, choice).await
                }
                Err(error) => Err(error),
            };
            result = match found {
                Ok(Found::Result(result)) => Some(*result),
                Ok(Found::Otherwise(result)) => {
                    out.not_yet = true;
                    Some(*result)
                }
                Ok(Found::NotYet) => {
                    out.not_yet = true;
                    out.take("execution", Ok(None))
                }
                Ok(Found::Nothing) => out.take("execution", Ok(None)),
                Err(error) => out.take("execution", Err(error)),
            };
            out.fix_kind(outcome_text, task.as_deref(), result.as_ref());
        }

        // A log is looked for while the type is not known too: most tasks are reloads.
        let type_number = task.as_ref().and_then(|task| task.type_number);
        let want_log = want_script_log && is_task && type_number.is_none_or(|number| number == RELOAD);
        let with_app = !is_task || type_number.is_none_or(|number| WITH_APP.contains(&number));
        let app_id = app_id(heard, task.as_deref()).filter(|_| with_app);
        if with_app {
            let app = match &app_id {
                Some(id) => self.by(until, self.app(id)).await,
                None => Ok(None),
            };
            let app = out.take("app", app);
            out.set_app(heard.app.as_deref(), task.as_deref(), app);
        }
        if want_log {
            // The last of all: logs are long, and must not wait in memory for other facts.
            let log = match (&heard.task, &result) {
                (Some(task), Some(result)) if facts::is_guid(&task.id) => {
                    self.by(until, self.script_log(&task.id, result)).await
                }
                _ => Ok(None),
            };
            out.script_log = out.take("scriptLog", log);
            let reference_may_come = result.as_ref().is_some_and(|result| result.file_reference.is_none());
            if out.script_log.is_none() && reference_may_come {
                // The result itself is final, but is asked for again to see the reference.
                let execution = heard.execution.as_ref();
                self.forget_execution(execution.and_then(|execution| execution.id.as_deref()));
                self.forget_execution(execution.and_then(|execution| execution.result_id.as_deref()));
                if let Some(task) = &task {
                    self.forget_task(&task.task.id);
                }
                out.not_yet = true;
            }
        }
        if let Some(task) = &task {
            out.data.task = Some(merged_task(heard.task.as_ref(), &task.task));
        }
        if let Some(mut result) = result {
            if let (Some(status), None) = (result.execution.status, &result.execution.status_text) {
                match self.by(until, self.status_name(status)).await {
                    Ok(name) => result.execution.status_text = name,
                    Err(error) => tracing::warn!(status, "the number of a status stays without its name: {error}"),
                }
            }
            out.set_execution(heard.execution.as_ref(), result);
        }
        out.data.missing = out.missing.iter().map(|fact| (*fact).to_owned()).collect();
        out
    }

    /// The outcome of a look-up, or that there was none in time.
    pub(super) async fn by<T>(
        &self,
        until: Instant,
        look_up: impl Future<Output = Result<T, QlikError>>,
    ) -> Result<T, QlikError> {
        tokio::time::timeout_at(until, look_up).await.unwrap_or_else(|_| {
            Err(QlikError::Unreachable {
                server: self.repository().server().to_owned(),
                cause: Cause::Timeout,
                reason: "the time for the facts of an event was over (`enrich.giveUpAfter`)".to_owned(),
            })
        })
    }

    async fn heard_task(&self, heard: &Data) -> Result<Option<Arc<TaskFacts>>, QlikError> {
        match &heard.task {
            Some(task) => self.task(&task.id).await,
            None => Ok(None),
        }
    }
}

impl Enriched {
    fn fix_kind(&mut self, outcome: &str, task: Option<&TaskFacts>, result: Option<&ResultFacts>) {
        let subject = task.and_then(|task| task.type_number).and_then(facts::task_subject);
        self.data.kind_assumed = subject.is_none();
        let provisional = self.kind.rsplit_once('.').map_or(self.kind.as_str(), |(subject, _)| subject);
        let subject = subject.unwrap_or(provisional);
        let mut outcome = outcome;
        if outcome == "pending" {
            match result.and_then(|result| result.execution.status).and_then(Outcome::of_status) {
                Some(known) => outcome = known,
                None => self.pending = true,
            }
        }
        self.kind = format!("{subject}.{outcome}");
    }

    fn set_app(&mut self, heard: Option<&App>, task: Option<&TaskFacts>, found: Option<AppFound>) {
        if let Some(found) = found {
            if found.owner_missing {
                self.lacks("owner", found.owner_error);
            }
            let mut app = found.app;
            if app.name.is_empty() {
                app.name = heard.map(|app| app.name.clone()).unwrap_or_default();
            }
            self.data.app = Some(Box::new(app));
        } else {
            // The task knows the app's name even where the app itself is gone or may not be read.
            let known = task.and_then(|task| task.app.as_ref());
            if let (None, Some(known)) = (heard, known) {
                let app = App { id: known.id.clone(), name: known.name.clone(), ..App::default() };
                self.data.app = Some(Box::new(app));
            }
        }
    }

    fn set_execution(&mut self, heard: Option<&Execution>, result: ResultFacts) {
        let execution = result.execution;
        if let Some(id) = &execution.result_id {
            self.keys.push(format!("result:{}", id.to_ascii_lowercase()));
        }
        self.time = execution.stop_time.as_deref().and_then(facts::event_time);
        if self.data.node.is_none() {
            self.data.node.clone_from(&execution.node);
        }
        let id = heard.and_then(|execution| execution.id.clone());
        self.data.execution = Some(Execution { id, ..execution });
    }
}

/// The app to look up: that of the log line, or else that of the task.
fn app_id(heard: &Data, task: Option<&TaskFacts>) -> Option<String> {
    let heard = heard.app.as_ref().map(|app| app.id.as_str()).filter(|id| facts::is_guid(id));
    heard.or_else(|| task?.app.as_ref().map(|app| app.id.as_str())).map(str::to_owned)
}

fn merged_task(heard: Option<&Task>, known: &Task) -> Task {
    let mut task = known.clone();
    if task.name.is_empty() {
        task.name = heard.map(|task| task.name.clone()).unwrap_or_default();
    }
    task
}
