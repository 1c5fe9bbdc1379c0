//! Starting tasks of Qlik Sense: one service for everybody who asks, by id, tag or custom property.
//!
//! The tasks are looked up first; if that fails, none is started. Each is started once, however many selections choose it,
//! and each outcome is an event with the name of who asked.

pub(crate) mod events;
mod filter;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{StartTasks, StartedTask, TasksStarted};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::filter::{Filter, Verdict};
use crate::config::{Config, StartTaskFilter};
use crate::current::Current;
use crate::qlik::{FollowUp, Lookups, QlikError, Start, TaskFacts, is_guid, refusal};
use crate::store::{NewEvent, Store};

/// Tasks of one request that are started at once.
const STARTS: usize = 8;
/// Selections of one request that are looked up at once; those by id share calls.
const LOOK_UPS: usize = 16;
/// Who asked is not kept waiting longer for the events to be stored: they are when the store can be written again.
const TELLING: Duration = Duration::from_secs(2);
/// While Qlik Sense is not asked, since a call has failed, a start waits at most so long for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// What chooses tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The task with this id.
    TaskId(String),
    /// All tasks with this tag.
    Tag(String),
    /// All tasks with this value of a custom property.
    CustomProperty {
        /// Name of the custom property.
        name: String,
        /// One of its values.
        value: String,
    },
}

/// What became of a selection.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// `qlik.startTaskFilter` does not allow it.
    Denied,
    /// There is no such task, or the id is none.
    Unknown,
    /// It was not started, since another id of the request is unknown and all had to exist.
    HeldBack,
    /// The tasks that were chosen.
    Tasks(Vec<Arc<Started>>),
}

/// A task that was to be started.
#[derive(Debug)]
pub struct Started {
    /// The task.
    pub task: Arc<TaskFacts>,
    /// Id of the execution session, or why it was not started.
    pub result: Result<String, String>,
}

/// A request to start tasks.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which, in the order in which they are to be started.
    pub selections: Vec<Selection>,
    /// When an id is unknown, none is started by its id.
    pub all_task_ids_must_exist: bool,
    /// Name of the token or grant of a REST caller, or `instance:<name>`.
    pub caller: String,
}

/// What became of a request: its selections in their order.
pub type Report = Vec<(Selection, Outcome)>;

/// The service.
pub struct TaskStarter {
    lookups: Arc<Lookups>,
    store: Store,
    accepted: Arc<Notify>,
    config: Arc<Current<Config>>,
}

impl TaskStarter {
    /// A service that keeps its events in the store and tells `accepted` of them.
    pub fn new(lookups: Arc<Lookups>, store: Store, accepted: Arc<Notify>, config: Arc<Current<Config>>) -> Arc<Self> {
        Arc::new(Self { lookups, store, accepted, config })
    }

    /// Where tasks are looked up.
    pub fn lookups(&self) -> &Arc<Lookups> {
        &self.lookups
    }

    /// Starts the tasks that follow a reload of an app, one after the other, each once.
    pub fn follow_up(self: &Arc<Self>) -> FollowUp {
        let starter = self.clone();
        Arc::new(move |ids, caller| {
            let starter = starter.clone();
            Box::pin(async move {
                let mut known = HashSet::new();
                let ids = ids.into_iter().filter(|id| known.insert(id.to_ascii_lowercase())).collect();
                let mut left = Unstarted { ids, caller };
                while let Some(id) = left.ids.pop_front() {
                    let caller = left.caller.clone();
                    let selections = vec![Selection::TaskId(id)];
                    // What became of it is an event.
                    drop(starter.start(Request { selections, all_task_ids_must_exist: false, caller }).await);
                }
            })
        })
    }

    /// Starts tasks. Goes on when who asked does not wait for it any more. An error: QRS cannot be asked which tasks there
    /// are, and none was started.
    pub async fn start(self: &Arc<Self>, mut request: Request) -> Result<Report, QlikError> {
        let this = self.clone();
        let mut known = HashSet::new();
        request.selections.retain(|selection| known.insert(selection.clone()));
        let work = tokio::spawn(async move {
            let (report, events) = this.attempt(&request).await;
            // Apart: tasks run already, and who hears nothing starts them again.
            let telling = tokio::spawn(async move { this.tell(events).await });
            let _ = tokio::time::timeout(TELLING, telling).await;
            report
        });
        match work.await {
            Ok(report) => report,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Starts tasks, and leaves the events to [`TaskStarter::tell`]: for who tries again and tells only of the end.
    pub async fn attempt(&self, request: &Request) -> (Result<Report, QlikError>, Vec<NewEvent>) {
        let report = self.work(request).await;
        let events = match &report {
            Ok(report) => events::of(report, &request.caller),
            Err(error) => events::of_failure(request, error),
        };
        (report, events)
    }

    async fn work(&self, request: &Request) -> Result<Report, QlikError> {
        let config = self.config.get();
        let nothing = StartTaskFilter::default();
        // A config that was reloaded without Qlik Sense allows nothing.
        let filter = Filter(config.qlik.as_ref().map_or(Some(&nothing), |qlik| qlik.start_task_filter.as_ref()));
        let choices: Vec<_> = request.selections.iter().map(|selection| self.choose(selection, filter)).collect();
        let mut choices: Vec<Choice> = stream::iter(choices).buffered(LOOK_UPS).try_collect().await?;
        if request.all_task_ids_must_exist && choices.iter().any(|choice| matches!(choice, Choice::Unknown)) {
            for (selection, choice) in request.selections.iter().zip(&mut choices) {
                if matches!((selection, &*choice), (Selection::TaskId(_), Choice::Tasks(_))) {
                    *choice = Choice::HeldBack;
                }
            }
        }
        let mut chosen = HashSet::new();
        let tasks = choices.iter().flat_map(Choice::tasks).filter(|task| chosen.insert(&task.task.id));
        let starts: Vec<_> = tasks.map(|task| self.start_one(task.clone())).collect();
        let started: HashMap<String, Arc<Started>> = stream::iter(starts).buffered(STARTS).collect().await;
        let outcome = |choice: Choice| match choice {
            Choice::Denied => Outcome::Denied,
            Choice::Unknown => Outcome::Unknown,
            Choice::HeldBack => Outcome::HeldBack,
            Choice::Tasks(tasks) => {
                Outcome::Tasks(tasks.iter().filter_map(|task| started.get(&task.task.id).cloned()).collect())
            }
        };
        Ok(request.selections.iter().cloned().zip(choices.into_iter().map(outcome)).collect())
    }

    async fn choose(&self, selection: &Selection, filter: Filter<'_>) -> Result<Choice, QlikError> {
        if let Selection::TaskId(id) = selection
            && !is_guid(id)
        {
            return Ok(Choice::Unknown);
        }
        let verdict = filter.verdict(selection);
        if verdict == Verdict::Denied {
            return Ok(Choice::Denied);
        }
        let repository = self.lookups.repository();
        let found = match selection {
            Selection::TaskId(id) => match self.lookups.task_as_it_is(&id.to_ascii_lowercase()).await? {
                None => return Ok(Choice::Unknown),
                Some(task) if verdict == Verdict::Depends && !filter.allows(&task) => return Ok(Choice::Denied),
                Some(task) => vec![task],
            },
            Selection::Tag(tag) => arcs(repository.tasks_with_tag(tag).await?),
            Selection::CustomProperty { name, value } => arcs(repository.tasks_with_property(name, value).await?),
        };
        Ok(Choice::Tasks(found))
    }

    async fn start_one(&self, task: Arc<TaskFacts>) -> (String, Arc<Started>) {
        let until = Instant::now() + PATIENCE;
        let answer = loop {
            match self.lookups.repository().start_task(&task.task.id).await {
                // It was not sent.
                Err(QlikError::Gated { retry_in, .. }) if Instant::now() + retry_in < until => {
                    tokio::time::sleep(retry_in.max(Duration::from_millis(50))).await;
                }
                answer => break answer,
            }
        };
        let result = match answer {
            Ok(Start::Session(id)) => Ok(id),
            Ok(Start::Refused) => Err(refusal(&task).to_owned()),
            Ok(Start::Unknown) => Err("Qlik Sense does not know it any more".to_owned()),
            Err(error @ QlikError::Unreachable { .. }) => {
                Err(format!("{error}; it may have been started all the same"))
            }
            Err(error) => Err(error.to_string()),
        };
        (task.task.id.clone(), Arc::new(Started { task, result }))
    }
}

/// Tasks that are to follow a reload. A stop of Butler may cut them off.
struct Unstarted {
    ids: VecDeque<String>,
    caller: String,
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            let tasks: Vec<&str> = self.ids.iter().map(String::as_str).collect();
            tracing::warn!(
                tasks = tasks.join(" "),
                caller = self.caller,
                "tasks that follow a reload are not started, since Butler is stopping: start them by hand"
            );
        }
    }
}

fn arcs(tasks: Vec<TaskFacts>) -> Vec<Arc<TaskFacts>> {
    tasks.into_iter().map(Arc::new).collect()
}

/// What a selection chooses.
enum Choice {
    Denied,
    Unknown,
    HeldBack,
    Tasks(Vec<Arc<TaskFacts>>),
}

impl Choice {
    fn tasks(&self) -> &[Arc<TaskFacts>] {
        match self {
            Self::Tasks(tasks) => tasks,
            _ => &[],
        }
    }
}

impl Selection {
    /// How people read it: the id, the tag, `name=value`.
    pub fn text(&self) -> String {
        match self {
            Self::TaskId(id) => id.clone(),
            Self::Tag(tag) => tag.clone(),
            Self::CustomProperty { name, value } => format!("{name}={value}"),
        }
    }
}

impl Request {
    /// What a plugin asks for.
    pub fn of(tasks: StartTasks, caller: String) -> Self {
        let ids = tasks.task_ids.into_iter().map(Selection::TaskId);
        let tags = tasks.tags.into_iter().map(Selection::Tag);
        let properties = tasks.custom_properties.into_iter();
        let properties =
            properties.map(|property| Selection::CustomProperty { name: property.name, value: property.value });
        Self {
            selections: ids.chain(tags).chain(properties).collect(),
            all_task_ids_must_exist: tasks.all_task_ids_must_exist,
            caller,
        }
    }
}

/// What a plugin is told.
pub fn told(report: &Report) -> TasksStarted {
    let (mut told, mut known) = (TasksStarted::default(), HashSet::new());
    for (selection, outcome) in report {
        match outcome {
            Outcome::Unknown => told.unknown.push(selection.text()),
            Outcome::Denied | Outcome::HeldBack => told.denied.push(selection.text()),
            Outcome::Tasks(tasks) => {
                for started in tasks.iter().filter(|started| known.insert(&started.task.task.id)) {
                    let mut task = StartedTask::new(&started.task.task.id, &started.task.task.name);
                    match &started.result {
                        Ok(session) => task.session_id = Some(session.clone()),
                        Err(reason) => task.error = Some(reason.clone()),
                    }
                    told.tasks.push(task);
                }
            }
        }
    }
    told
}
