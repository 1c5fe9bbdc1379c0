//! What the simulated Qlik Sense contains.
//!
//! [`Site`] is a handle: clones share one state behind a lock, so a test can go on changing it while the server answers.

mod access_type;
mod app;
mod execution;
mod license;
mod meta;
mod node;
mod record;
mod sample;
mod scheduler;
mod script_log;
mod state;
mod table;
mod task;
mod time;
mod user;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use access_type::{Access, AccessRelease, AccessType};
pub use app::{App, Stream};
pub use execution::{Detail, ExecutionResult, Status};
pub use license::{AccessTypes, AccessUse, License};
pub use meta::{CustomPropertyDefinition, Tag};
pub use node::Node;
pub use record::{ExecutionIds, Run, UnknownTask};
pub use scheduler::{Scheduler, SchedulerKind};
pub use script_log::ScriptLogs;
pub use task::{Task, TaskKind};
pub use time::NO_TIME;
pub use user::{UnknownUser, User};

pub(crate) use access_type::{Accesses, Released};
pub(crate) use script_log::failed_log;
pub(crate) use state::State;
pub(crate) use time::stamp;

/// The identifier that Qlik uses for "refers to nothing".
pub const NO_REFERENCE: &str = "00000000-0000-0000-0000-000000000000";

/// Name of the user who made everything.
const MODIFIED_BY: &str = "LAB\\ann";

/// When everything was made.
const CREATED: &str = "2025-01-02T08:00:00.000Z";

/// The contents of a simulated Qlik Sense. Clones share them.
#[derive(Clone, Default)]
pub struct Site(Arc<RwLock<State>>);

impl std::fmt::Debug for Site {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.read();
        formatter
            .debug_struct("Site")
            .field("tasks", &state.tasks.len())
            .field("apps", &state.apps.len())
            .field("users", &state.users.len())
            .finish_non_exhaustive()
    }
}

/// Making and filling a site. Adding something whose identifier exists replaces it.
impl Site {
    /// A site without anything.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds or replaces a task and gives its identifier. Its tags and custom properties are defined if needed.
    pub fn add_task(&self, task: Task) -> String {
        let mut state = self.write();
        state.define(&task.tags, &task.custom_properties, task.kind.object_type());
        let id = task.id.clone();
        state.tasks.insert(task);
        id
    }

    /// Adds or replaces an app and gives its identifier. Its tags and custom properties are defined if needed.
    pub fn add_app(&self, app: App) -> String {
        let mut state = self.write();
        state.define(&app.tags, &app.custom_properties, "App");
        let id = app.id.clone();
        state.apps.insert(app);
        id
    }

    /// Adds or replaces a stream and gives its identifier.
    pub fn add_stream(&self, stream: Stream) -> String {
        let id = stream.id.clone();
        self.write().streams.insert(stream);
        id
    }

    /// Adds or replaces a user and gives the identifier.
    pub fn add_user(&self, user: User) -> String {
        let mut state = self.write();
        state.define(&user.tags, &user.custom_properties, "User");
        let id = user.id.clone();
        state.users.insert(user);
        id
    }

    /// Adds or replaces a tag and gives its identifier. Tags used by tasks, apps and users need not be added.
    pub fn add_tag(&self, tag: Tag) -> String {
        let id = tag.id.clone();
        self.write().tags.insert(tag);
        id
    }

    /// Adds or replaces a custom property and gives its identifier. Those used by tasks, apps and users need not be
    /// added; they are defined with the values in use.
    pub fn add_custom_property(&self, definition: CustomPropertyDefinition) -> String {
        let id = definition.id.clone();
        self.write().custom_properties.insert(definition);
        id
    }

    /// Removes a task; false if there was none. Its execution results stay.
    pub fn remove_task(&self, id: &str) -> bool {
        self.write().tasks.remove(id)
    }

    /// Removes an app; false if there was none. Tasks that reload it go on referring to it.
    pub fn remove_app(&self, id: &str) -> bool {
        self.write().apps.remove(id)
    }

    /// Removes a user; false if there was none. Apps that the user owns go on referring to it.
    pub fn remove_user(&self, id: &str) -> bool {
        self.write().users.remove(id)
    }
}

/// Looking at a site.
impl Site {
    /// The full JSON of results that are recorded from now on.
    pub(crate) fn changes(&self) -> UnboundedReceiver<Value> {
        let (sender, receiver) = unbounded_channel();
        self.write().listeners.push(sender);
        receiver
    }

    /// A task by its identifier.
    pub fn task(&self, id: &str) -> Option<Task> {
        self.read().tasks.get(id).cloned()
    }

    /// All tasks in the order in which they were added.
    pub fn tasks(&self) -> Vec<Task> {
        self.read().tasks.iter().cloned().collect()
    }

    /// An app by its identifier.
    pub fn app(&self, id: &str) -> Option<App> {
        self.read().apps.get(id).cloned()
    }

    /// A user by the identifier.
    pub fn user(&self, id: &str) -> Option<User> {
        self.read().users.get(id).cloned()
    }

    /// The result of the last execution of a task, if it ever ran.
    pub fn last_result(&self, task_id: &str) -> Option<ExecutionResult> {
        self.read().last_result(task_id).cloned()
    }

    /// All execution results, oldest first.
    pub fn results(&self) -> Vec<ExecutionResult> {
        self.read().results.iter().cloned().collect()
    }

    /// Identifiers of the tasks that were started by clients, in order.
    pub fn starts(&self) -> Vec<String> {
        self.read().starts.clone()
    }
}

/// How the site behaves; can be changed at any time.
impl Site {
    /// Whether a scheduler is free for tasks that clients start. One is unless changed.
    pub fn set_scheduler(&self, free: bool) {
        self.write().no_scheduler = !free;
    }

    /// Which of the two ways to a script log work. Both unless changed.
    pub fn set_script_logs(&self, script_logs: ScriptLogs) {
        self.write().script_logs = script_logs;
    }

    /// How long a script log cannot be downloaded after its reference was handed out. No time unless changed.
    pub fn set_download_delay(&self, delay: Duration) {
        self.write().download_delay = delay;
    }

    /// Whether execution results carry the execution identifier that a run was given. They do unless changed.
    pub fn set_execution_ids(&self, execution_ids: ExecutionIds) {
        self.write().execution_ids = execution_ids;
    }

    /// The licence of the server. Without this one that is valid for long.
    pub fn set_license(&self, license: License) {
        self.write().license = license;
    }

    /// The use of the access licences. Without this some are used, and most are free.
    pub fn set_access_types(&self, access_types: AccessTypes) {
        self.write().access_types = access_types;
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
