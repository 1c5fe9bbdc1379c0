//! The text that Qlik Sense's log appenders send: one event per datagram, fields separated by `;`, nothing escaped.
//!
//! These layouts are understood, and those of the proxy (`sessions`). `TYPE` is matched without regard to case and to
//! repeated slashes.
//!
//! ```text
//! scheduler  TYPE;host;task name;app name;user;task id;app id;date;level;execution id;message
//! engine     TYPE;host;app id;session id;user directory;user id;date;level;message
//! before 11  host;task name;app name;user;task id;app id;date;level;execution id;message
//! ```
//!
//! Names and messages may hold `;` themselves. The pair of adjacent ids that is followed by a date is looked for first:
//! what stands before it are the names, and everything after the execution id is the message. Where names with `;`
//! leave a choice, the most likely split is taken; the true names come later from the repository, by the ids.

use butler_plugin_api::{App, Data, Execution, LogLine, Session, Task, kind};

use super::keys::{KeyBase, Outcome, Subject};
use text::{Fields, blank, clean, clip, id, is_date, is_guid, name};

mod sessions;
mod text;

/// Provisional kind of a distribution that has left the scheduler: held until the repository tells how it ended.
pub const DISTRIBUTE_PENDING: &str = "distribute-task.pending";

/// What a message tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Kind of the event, provisional for tasks: `reload-task.<outcome>` whatever the type of the task, or
    /// [`DISTRIBUTE_PENDING`]. The wire does not tell the type; the repository does.
    pub kind: String,
    /// The facts: task, app, execution id, log line, node, user; for messages of engine and proxy also the session. Ids of
    /// tasks and apps are in lower case. An app without a usable id is absent.
    pub data: Data,
    /// What identifies the event.
    pub keys: KeyBase,
}

impl Heard {
    /// Whether it tells of a session or a connection of a user: there are many of these, and none is an alert.
    pub fn is_session(&self) -> bool {
        self.kind.starts_with("user-session.") || self.kind.starts_with("user-connection.")
    }
}

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// No text at all.
    #[error("the message is empty")]
    Empty,
    /// The first field names nothing known.
    #[error("`{0}` is no known message type: check the conversion pattern of the log appender")]
    UnknownType(String),
    /// The message ends too early.
    #[error("the message has {found} fields instead of {expected}: check the conversion pattern of the log appender")]
    TooFewFields {
        /// Fields of the layout.
        expected: usize,
        /// Fields of the message.
        found: usize,
    },
    /// The task id is empty, `(null)` or all zeros.
    #[error("the message has no task id")]
    NoTaskId,
    /// The task id is no GUID.
    #[error("the task id `{0}` is no GUID")]
    BadTaskId(String),
    /// The app id is no GUID.
    #[error("the app id `{0}` is neither empty nor a GUID")]
    BadAppId(String),
    /// There are more fields than the layout has, and no ids to find the right ones by.
    #[error("the message has {0} fields and no task and app id beside each other: its names cannot be told apart")]
    NoIdPair(usize),
    /// The proxy did something that is neither of a session nor of a connection.
    #[error(
        "`{0}` is no command that starts or stops a session, or opens or closes a connection: check filters and \
         conversion pattern of the log appender"
    )]
    UnknownCommand(String),
}

impl Reject {
    /// All reasons.
    pub const REASONS: [&'static str; 8] = [
        "empty",
        "unknown-type",
        "too-few-fields",
        "no-task-id",
        "bad-task-id",
        "bad-app-id",
        "no-id-pair",
        "unknown-command",
    ];

    /// Stable name, for metrics and for limiting logs.
    pub const fn reason(&self) -> &'static str {
        Self::REASONS[match self {
            Self::Empty => 0,
            Self::UnknownType(_) => 1,
            Self::TooFewFields { .. } => 2,
            Self::NoTaskId => 3,
            Self::BadTaskId(_) => 4,
            Self::BadAppId(_) => 5,
            Self::NoIdPair(_) => 6,
            Self::UnknownCommand(_) => 7,
        }]
    }
}

/// Longest first field that may be a type, with room for what is not seen, in bytes.
const LONGEST_TYPE: usize = 200;

/// Reads a datagram.
pub fn parse(datagram: &[u8]) -> Result<Heard, Reject> {
    let text = String::from_utf8_lossy(datagram);
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_matches(|c: char| c.is_whitespace() || c.is_control()).is_empty() {
        return Err(Reject::Empty);
    }
    let fields = Fields::of(text);
    // Types are short: of rubbish no more than that is looked at.
    let first = clean(clip(fields.get(0), LONGEST_TYPE));
    let message_type = first.trim().to_ascii_lowercase();
    let known = if message_type.starts_with('/') { message_type.trim_matches('/') } else { "" };
    match known {
        "scheduler-task-failed" | "scheduler-reload-failed" | "scheduler-reloadtask-failed" => {
            scheduler(&fields, kind::RELOAD_TASK_FAILED, Outcome::Failed)
        }
        "scheduler-task-aborted" | "scheduler-reload-aborted" | "scheduler-reloadtask-aborted" => {
            scheduler(&fields, kind::RELOAD_TASK_ABORTED, Outcome::Aborted)
        }
        "scheduler-task-success" | "scheduler-reload-success" | "scheduler-reloadtask-success" => {
            scheduler(&fields, kind::RELOAD_TASK_SUCCEEDED, Outcome::Succeeded)
        }
        "scheduler-distribute" => scheduler(&fields, DISTRIBUTE_PENDING, Outcome::Pending),
        "engine-reload-failed" => engine(&fields),
        "proxy-session" | "proxy-connection" => sessions::typed(&fields),
        _ => before_11(&fields)
            .or_else(|| sessions::before_5(&fields))
            .ok_or_else(|| Reject::UnknownType(clip(first.trim(), 60).to_owned())),
    }
}

/// The scheduler's layout: `TYPE;host;task;app;user;TASK;APP;date;level;execution;message`.
fn scheduler(fields: &Fields<'_>, kind: &str, outcome: Outcome) -> Result<Heard, Reject> {
    const FIELDS: usize = 11;
    const IDS: usize = 5;
    let found = fields.len();
    if found < FIELDS {
        return Err(Reject::TooFewFields { expected: FIELDS, found });
    }
    // Distribution does not use the app, so whatever stands there does no harm.
    let any_app = outcome == Outcome::Pending;
    let Some(ids) = find_ids(fields, IDS, any_app) else {
        let task = fields.get(IDS);
        let in_place = found == FIELDS || is_date(fields.get(IDS + 2));
        return Err(match () {
            () if is_guid(task) => Reject::BadAppId(clip(&clean(fields.get(IDS + 1)), 60).to_owned()),
            () if !in_place => Reject::NoIdPair(found),
            () if blank(task) => Reject::NoTaskId,
            () => Reject::BadTaskId(clip(&clean(task), 60).to_owned()),
        });
    };
    task_event(fields, 1, ids, kind, outcome)
}

/// The layout of Butler before 11, which had no type and told failures only.
fn before_11(fields: &Fields<'_>) -> Option<Heard> {
    const IDS: usize = 4;
    if fields.get(0).trim_start().starts_with('/') {
        return None;
    }
    let ids = find_ids(fields, IDS, false).filter(|ids| is_date(fields.get(ids + 2)))?;
    task_event(fields, 0, ids, kind::RELOAD_TASK_FAILED, Outcome::Failed).ok()
}

/// Where the task id stands, with the app id behind it: at `first` or, when names hold `;`, further on.
fn find_ids(fields: &Fields<'_>, first: usize, any_app: bool) -> Option<usize> {
    let like_id = |field: &str| is_guid(field) || blank(field);
    // Behind the ids come date, level, execution id and message.
    let places = first..fields.len().saturating_sub(5);
    let pair = |at: usize| (fields.get(at), fields.get(at + 1));
    let dated = |at: &usize| is_date(fields.get(at + 2));
    let by_date = places.clone().filter(dated).find(|at| {
        let (task, app) = pair(*at);
        like_id(task) && (like_id(app) || (any_app && is_guid(task)))
    });
    // Appenders may write dates in their own form.
    let by_ids = || {
        places.clone().find(|at| {
            let (task, app) = pair(*at);
            is_guid(task) && is_guid(app)
        })
    };
    let in_place = || {
        places.clone().next().filter(|at| {
            let (task, app) = pair(*at);
            is_guid(task) && (any_app || blank(app))
        })
    };
    by_date.or_else(by_ids).or_else(in_place)
}

/// An event of a task whose host is field `host` and whose ids stand at `ids`.
fn task_event(fields: &Fields<'_>, host: usize, ids: usize, kind: &str, outcome: Outcome) -> Result<Heard, Reject> {
    let task_id = id(fields.get(ids)).ok_or(Reject::NoTaskId)?;
    let app_id = id(fields.get(ids + 1)).filter(|app| is_guid(app));
    let execution_id = id(fields.get(ids + 4));
    let names = split_names(fields, host + 1, ids);
    let subject = match &execution_id {
        Some(execution) => Subject::Execution(execution.to_lowercase()),
        None => Subject::Task(task_id.to_ascii_lowercase()),
    };
    let data = Data {
        task: Some(Task { id: task_id.to_ascii_lowercase(), name: name(names.task), ..Task::default() }),
        app: app_id.map(|id| Box::new(App { id: id.to_ascii_lowercase(), name: name(names.app), ..App::default() })),
        execution: execution_id.map(|id| Execution { id: Some(id), ..Execution::default() }),
        log: Some(log_line(fields, ids + 2, ids + 5)),
        node: present(fields.get(host)),
        user: present(names.user),
        ..Data::default()
    };
    Ok(Heard { kind: kind.to_owned(), data, keys: KeyBase { subject, outcome } })
}

/// The engine's layout: `TYPE;host;APP;SESSION;directory;user;date;level;message`.
fn engine(fields: &Fields<'_>) -> Result<Heard, Reject> {
    const FIELDS: usize = 9;
    const DATE: usize = 6;
    let found = fields.len();
    if found < FIELDS {
        return Err(Reject::TooFewFields { expected: FIELDS, found });
    }
    let app = fields.get(2);
    if !blank(app) && !is_guid(app) {
        return Err(Reject::BadAppId(clip(&clean(app), 60).to_owned()));
    }
    let app = id(app).map(|app| app.to_ascii_lowercase());
    let session = id(fields.get(3));
    // A `;` in the user's id moves the date.
    let dated = (DATE..found.saturating_sub(2)).find(|at| is_date(fields.get(*at))).unwrap_or(DATE);
    let user = user(fields.get(4), fields.span(5, dated));
    let subject = match (&app, &session) {
        (None, None) => Subject::Unknown,
        _ => Subject::App { app: app.clone(), session: session.as_ref().map(|session| session.to_lowercase()) },
    };
    let data = Data {
        app: app.map(|id| Box::new(App { id, ..App::default() })),
        session: session.map(|id| Box::new(Session { id: Some(id), ..Session::default() })),
        log: Some(log_line(fields, dated, dated + 2)),
        node: present(fields.get(1)),
        user,
        ..Data::default()
    };
    let keys = KeyBase { subject, outcome: Outcome::Failed };
    Ok(Heard { kind: kind::APP_RELOAD_FAILED.to_owned(), data, keys })
}

/// Date and level at `date`, message from `message` to the end.
fn log_line(fields: &Fields<'_>, date: usize, message: usize) -> LogLine {
    LogLine {
        timestamp: present(fields.get(date)).unwrap_or_default(),
        level: present(fields.get(date + 1)).unwrap_or_default(),
        message: text::message(fields.rest(message)),
    }
}

/// A field that stands for nothing when it is empty or `(null)`.
fn present(field: &str) -> Option<String> {
    (!blank(field)).then(|| clip(clean(field).trim(), text::FIELD_CHARS).to_owned())
}

/// A user from fields of directory and id; `None` without an id.
fn user(directory: &str, id: &str) -> Option<String> {
    let id = present(id)?;
    Some(match present(directory) {
        Some(directory) => format!("{directory}\\{id}"),
        None => id,
    })
}

/// Names of a task's message, as they stand in the text.
struct Names<'a> {
    task: &'a str,
    app: &'a str,
    user: &'a str,
}

/// Splits the fields `from..to` into the names of task and app, and the user.
///
/// With more than three fields a name holds `;`. The user is taken from the last field with a backslash on, or is the
/// last field. A field that begins with a blank continues the one before (`Sales; north`). An app name that ends the
/// task name (`Reload of Sales;north`) is recognised; otherwise the surplus belongs to the task name.
fn split_names<'a>(fields: &Fields<'a>, from: usize, to: usize) -> Names<'a> {
    let user = (from + 2..to).rev().find(|at| fields.get(*at).contains('\\')).unwrap_or(to - 1);
    let starts = || (from + 1..user).rev().filter(|at| !fields.get(*at).starts_with(' '));
    let named_alike = starts().rev().find(|at| {
        let (task, app) = (fields.span(from, *at), fields.span(*at, user));
        user - from > 2 && app.contains(char::is_alphanumeric) && task.ends_with(app)
    });
    let app = named_alike.or_else(|| starts().next()).unwrap_or(user - 1);
    Names { task: fields.span(from, app), app: fields.span(app, user), user: fields.span(user, to) }
}

#[cfg(test)]
mod tests;
