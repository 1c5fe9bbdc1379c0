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
}

/// A kind of events that no log appender sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no event that Qlik Sense sends by UDP: use one such as reload-task.failed, reload-task.aborted, \
         reload-task.succeeded, distribute-task.failed or app-reload.failed"
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
            _ if text == kind::APP_RELOAD_FAILED => Ok(Self::AppReloadFailed),
            _ => Err(UnknownKind(text.to_owned())),
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
    let (message_type, level, text) = match kind {
        SampleKind::TaskFailed => ("/scheduler-task-failed/", "WARN", "Max retries reached"),
        SampleKind::TaskAborted => ("/scheduler-task-aborted/", "INFO", "Execution State Change to Aborting"),
        SampleKind::TaskSucceeded => ("/scheduler-task-success/", "INFO", "Execution State Change to FinishedSuccess"),
        SampleKind::Distribute => ("/scheduler-distribute/", "INFO", "Exiting execute of Distribute task request."),
        SampleKind::AppReloadFailed => ("/engine-reload-failed/", "ERROR", "Reload failed: table not found"),
    };
    let Fields { node, task_name, app_name, user, task_id, app_id, .. } = fields;
    let Fields { timestamp, execution_id, session_id, message, .. } = fields;
    let text = message.as_deref().unwrap_or(text);
    if kind == SampleKind::AppReloadFailed {
        let (directory, user) = user.split_once('\\').unwrap_or(("", user));
        return format!("{message_type};{node};{app_id};{session_id};{directory};{user};{timestamp};{level};{text}");
    }
    let names = format!("{task_name};{app_name};{user}");
    format!("{message_type};{node};{names};{task_id};{app_id};{timestamp};{level};{execution_id};{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::parse;

    const APPENDERS: &str = include_str!("../../../config/log4net/scheduler-reload/LocalLogConfig.xml");

    /// The value of every `param` of this name.
    fn params<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!(r#"<param name="{name}" value=""#);
        xml.split(&start).skip(1).filter_map(|rest| rest.split_once('"')).map(|(value, _)| value).collect()
    }

    #[test]
    fn samples_are_understood_as_what_they_are() {
        for sent in kind::ALL {
            let Ok(sample) = sent.parse::<SampleKind>() else { continue };
            let fields = Fields::random().unwrap();
            let heard = parse(message(sample, &fields).as_bytes()).unwrap();
            let outcome = sent.rsplit_once('.').unwrap().1;
            let expected = match sample {
                SampleKind::Distribute => crate::ingest::DISTRIBUTE_PENDING.to_owned(),
                SampleKind::AppReloadFailed => kind::APP_RELOAD_FAILED.to_owned(),
                _ => format!("reload-task.{outcome}"),
            };
            assert_eq!(heard.kind, expected);
            assert_eq!(heard.data.app.unwrap().id, fields.app_id);
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

    #[test]
    fn what_the_appender_file_makes_of_a_log_line_is_understood() {
        let patterns = params(APPENDERS, "conversionpattern");
        let fields = Fields::random().unwrap();
        let kinds: Vec<_> = patterns
            .iter()
            .map(|pattern| {
                let sent = pattern
                    .replace("%hostname", &fields.node)
                    .replace("%property{TaskName}", &fields.task_name)
                    .replace("%property{AppName}", &fields.app_name)
                    .replace("%property{User}", &fields.user)
                    .replace("%property{TaskId}", &fields.task_id)
                    .replace("%property{AppId}", &fields.app_id)
                    .replace("%date", &fields.timestamp)
                    .replace("%level", "WARN")
                    .replace("%property{ExecutionId}", &fields.execution_id)
                    .replace("%message", "a message");
                assert!(!sent.contains('%') && !sent.contains("//"), "{sent}");
                let heard = parse(sent.as_bytes()).unwrap();
                assert_eq!(heard.data.task.unwrap().id, fields.task_id);
                assert_eq!(heard.data.log.unwrap().message, "a message");
                heard.kind
            })
            .collect();
        assert_eq!(kinds, [kind::RELOAD_TASK_FAILED, kind::RELOAD_TASK_ABORTED, kind::RELOAD_TASK_SUCCEEDED]);
    }

    #[test]
    fn the_appender_file_is_well_formed_and_uses_every_appender() {
        let mut text = APPENDERS.to_owned();
        while let Some((before, rest)) = text.split_once("<!--") {
            let (comment, after) = rest.split_once("-->").unwrap();
            assert!(!comment.contains("--"), "two hyphens may not stand in a comment");
            text = format!("{before}{after}");
        }
        let mut open = Vec::new();
        for tag in text.split('<').skip(1).map(|tag| tag.split_once('>').unwrap().0) {
            let name = tag.split([' ', '/']).next().unwrap();
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed));
            } else if !tag.starts_with('?') && !tag.ends_with('/') {
                open.push(name);
            }
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
        let values = |start| {
            let found = text.split(start).skip(1).map(|rest| rest.split_once('"').unwrap().0);
            found.map(str::to_owned).collect::<Vec<String>>()
        };
        let names = values("<appender name=\"");
        assert_eq!(names, values("<appender-ref ref=\""));
        assert!(names.len() == 3 && names.iter().all(|name| !name.starts_with('$')));
        let [addresses, ports, encodings] = ["remoteAddress", "remotePort", "encoding"].map(|name| params(&text, name));
        assert_eq!((addresses.len(), ports.len(), encodings), (3, 3, vec!["utf-8"; 3]));
    }
}
