//! Messages as Qlik Sense's log appenders would send them: for `butler udp-send`, tests and demonstrations.

use std::fmt::Write as _;
use std::str::FromStr;

use butler_plugin_api::kind;

/// What a sample message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// A task failed for good.
    TaskFailed,
    /// A task was aborted.
    TaskAborted,
    /// A task succeeded.
    TaskSucceeded,
    /// A distribution left the scheduler; how it ended only the repository tells.
    Distribute,
    /// A reload outside the scheduler failed.
    AppReloadFailed,
    /// A session of a user began.
    SessionStarted,
    /// A session of a user ended.
    SessionStopped,
    /// A connection of a session was opened.
    ConnectionOpened,
    /// A connection of a session was closed.
    ConnectionClosed,
}

/// A kind of events that no log appender sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no event that Qlik Sense sends by UDP: use one such as reload-task.failed, reload-task.aborted, \
         reload-task.succeeded, distribute-task.failed, app-reload.failed, user-session.started or user-connection.opened"
)]
pub struct UnknownKind(String);

impl FromStr for SampleKind {
    type Err = UnknownKind;

    /// From the kind of an event. The wire does not tell types of tasks: `preload-task.failed` is sent as
    /// `reload-task.failed` is, and all outcomes of distribution look the same.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = kind::ALL.contains(&text) || text == super::DISTRIBUTE_PENDING;
        match text.rsplit_once('.') {
            Some(("distribute-task", _)) if known => Ok(Self::Distribute),
            Some((task, "failed")) if known && task.ends_with("-task") => Ok(Self::TaskFailed),
            Some((task, "aborted")) if known && task.ends_with("-task") => Ok(Self::TaskAborted),
            Some((task, "succeeded")) if known && task.ends_with("-task") => Ok(Self::TaskSucceeded),
            _ => match text {
                kind::APP_RELOAD_FAILED => Ok(Self::AppReloadFailed),
                kind::USER_SESSION_STARTED => Ok(Self::SessionStarted),
                kind::USER_SESSION_STOPPED => Ok(Self::SessionStopped),
                kind::USER_CONNECTION_OPENED => Ok(Self::ConnectionOpened),
                kind::USER_CONNECTION_CLOSED => Ok(Self::ConnectionClosed),
                _ => Err(UnknownKind(text.to_owned())),
            },
        }
    }
}

/// The fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the messages' layouts")]
pub struct Fields {
    pub node: String,
    pub task_name: String,
    pub app_name: String,
    /// `DIRECTORY\id`.
    pub user: String,
    pub task_id: String,
    pub app_id: String,
    /// `2026-03-04 05:06:07,890`, local time.
    pub timestamp: String,
    pub execution_id: String,
    /// Of engine messages.
    pub session_id: String,
    /// The log line's text; absent: what Qlik Sense writes for the kind.
    pub message: Option<String>,
}

/// The system gives no random numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers for ids: {0}")]
pub struct RandomError(String);

impl Fields {
    /// Plausible fields with random ids, at this moment.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self {
            node: "sense1".into(),
            task_name: "Reload task of Sales".into(),
            app_name: "Sales".into(),
            user: r"INTERNAL\sa_scheduler".into(),
            task_id: guid()?,
            app_id: guid()?,
            timestamp: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string(),
            execution_id: guid()?,
            session_id: guid()?,
            message: None,
        })
    }
}

/// A random GUID, version 4, in lower case.
pub fn guid() -> Result<String, RandomError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| RandomError(error.to_string()))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut guid = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            guid.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(guid, "{byte:02x}");
    }
    Ok(guid)
}

/// The datagram's text.
pub fn message(kind: SampleKind, fields: &Fields) -> String {
    match kind {
        SampleKind::TaskFailed => scheduler("/scheduler-task-failed/", "WARN", "Max retries reached", fields),
        SampleKind::TaskAborted => {
            scheduler("/scheduler-task-aborted/", "INFO", "Execution State Change to Aborting", fields)
        }
        SampleKind::TaskSucceeded => {
            scheduler("/scheduler-task-success/", "INFO", "Execution State Change to FinishedSuccess", fields)
        }
        SampleKind::Distribute => {
            scheduler("/scheduler-distribute/", "INFO", "Exiting execute of Distribute task request.", fields)
        }
        SampleKind::AppReloadFailed => engine(fields),
        SampleKind::SessionStarted => proxy("/proxy-session/", "Start session", "Start session for user", fields),
        SampleKind::SessionStopped => proxy("/proxy-session/", "Stop session", "Stop session for user", fields),
        SampleKind::ConnectionOpened => {
            proxy("/proxy-connection/", "Open connection", "connection Opened for session", fields)
        }
        SampleKind::ConnectionClosed => {
            proxy("/proxy-connection/", "Close connection", "connection Closed for session", fields)
        }
    }
}

fn scheduler(message_type: &str, level: &str, text: &str, fields: &Fields) -> String {
    let Fields { node, task_name, app_name, user, task_id, app_id, timestamp, execution_id, message, .. } = fields;
    let text = message.as_deref().unwrap_or(text);
    let names = format!("{task_name};{app_name};{user}");
    format!("{message_type};{node};{names};{task_id};{app_id};{timestamp};{level};{execution_id};{text}")
}

fn engine(fields: &Fields) -> String {
    let Fields { node, user, app_id, timestamp, session_id, message, .. } = fields;
    let (directory, user) = user.split_once('\\').unwrap_or(("", user));
    let text = message.as_deref().unwrap_or("Reload failed: table not found");
    format!("/engine-reload-failed/;{node};{app_id};{session_id};{directory};{user};{timestamp};ERROR;{text}")
}

fn proxy(message_type: &str, command: &str, text: &str, fields: &Fields) -> String {
    let Fields { node, user, session_id, message, .. } = fields;
    let (directory, id) = user.split_once('\\').unwrap_or(("", user));
    let about = if message_type == "/proxy-session/" { user } else { session_id };
    let text = message.clone().unwrap_or_else(|| format!("{text} {about}"));
    format!("{message_type};{node};{command};{directory};{id};Proxy;AppAccess;{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::parse;

    #[test]
    fn samples_are_understood_as_what_they_are() {
        assert_eq!(kind::ALL.iter().filter(|kind| kind.parse::<SampleKind>().is_ok()).count(), 20);
        for sent in kind::ALL {
            let Ok(sample) = sent.parse::<SampleKind>() else { continue };
            let fields = Fields::random().unwrap();
            let heard = parse(message(sample, &fields).as_bytes()).unwrap();
            let outcome = sent.rsplit_once('.').unwrap().1;
            let expected = match sample {
                SampleKind::Distribute => crate::ingest::DISTRIBUTE_PENDING.to_owned(),
                SampleKind::TaskFailed | SampleKind::TaskAborted | SampleKind::TaskSucceeded => {
                    format!("reload-task.{outcome}")
                }
                _ => (*sent).to_owned(),
            };
            assert_eq!(heard.kind, expected);
            assert_eq!(heard.data.app.is_none(), heard.is_session());
            assert!(heard.data.app.is_none_or(|app| app.id == fields.app_id));
            assert_eq!((heard.data.node.unwrap(), heard.data.user.unwrap()), (fields.node, fields.user));
            if let Some(task) = heard.data.task {
                assert_eq!((task.id, task.name), (fields.task_id, fields.task_name));
                assert_eq!(heard.data.execution.unwrap().id, Some(fields.execution_id));
            }
        }
        for wrong in ["delivery.dead", "moon-task.failed", "", "reload-task"] {
            assert!(wrong.parse::<SampleKind>().is_err(), "{wrong}");
        }
    }
}
