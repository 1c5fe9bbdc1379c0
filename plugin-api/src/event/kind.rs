//! Names of the kinds of events that this version knows. An event's kind is a text: more may come.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// Every kind of this version.
        pub const ALL: &[&str] = &[$($text),*];
    };
}
kinds! {
    /// A reload task failed for good (all retries used).
    RELOAD_TASK_FAILED = "reload-task.failed";
    /// A reload task was aborted.
    RELOAD_TASK_ABORTED = "reload-task.aborted";
    /// A reload task succeeded.
    RELOAD_TASK_SUCCEEDED = "reload-task.succeeded";
    /// A distribution task failed.
    DISTRIBUTE_TASK_FAILED = "distribute-task.failed";
    /// A distribution task was aborted.
    DISTRIBUTE_TASK_ABORTED = "distribute-task.aborted";
    /// A distribution task succeeded.
    DISTRIBUTE_TASK_SUCCEEDED = "distribute-task.succeeded";
    /// A preload task failed.
    PRELOAD_TASK_FAILED = "preload-task.failed";
    /// A preload task was aborted.
    PRELOAD_TASK_ABORTED = "preload-task.aborted";
    /// A preload task succeeded.
    PRELOAD_TASK_SUCCEEDED = "preload-task.succeeded";
    /// An external program task failed.
    EXTERNAL_PROGRAM_TASK_FAILED = "external-program-task.failed";
    /// An external program task was aborted.
    EXTERNAL_PROGRAM_TASK_ABORTED = "external-program-task.aborted";
    /// An external program task succeeded.
    EXTERNAL_PROGRAM_TASK_SUCCEEDED = "external-program-task.succeeded";
    /// A user synchronisation task failed.
    USER_SYNC_TASK_FAILED = "user-sync-task.failed";
    /// A user synchronisation task was aborted.
    USER_SYNC_TASK_ABORTED = "user-sync-task.aborted";
    /// A user synchronisation task succeeded.
    USER_SYNC_TASK_SUCCEEDED = "user-sync-task.succeeded";
    /// A reload outside the scheduler (editor, hub, API) failed in the engine.
    APP_RELOAD_FAILED = "app-reload.failed";
    /// An app reload failed in Qlik Cloud.
    CLOUD_APP_RELOAD_FAILED = "cloud-app-reload.failed";
    /// A user session began.
    USER_SESSION_STARTED = "user-session.started";
    /// A user session ended.
    USER_SESSION_STOPPED = "user-session.stopped";
    /// A connection of a session was opened.
    USER_CONNECTION_OPENED = "user-connection.opened";
    /// A connection of a session was closed.
    USER_CONNECTION_CLOSED = "user-connection.closed";
    /// Periodic: who uses Qlik Sense now.
    ACTIVE_USERS_COUNTED = "active-users.counted";
    /// A watched service stopped.
    SERVICE_STOPPED = "service.stopped";
    /// A watched service runs again.
    SERVICE_STARTED = "service.started";
    /// Periodic state of a watched service.
    SERVICE_STATE = "service.state";
    /// A watched service cannot be checked.
    SERVICE_UNKNOWN = "service.unknown";
    /// Periodic state of the server licence.
    SERVER_LICENSE_STATUS = "server-license.status";
    /// The server licence expires soon.
    SERVER_LICENSE_EXPIRING = "server-license.expiring";
    /// The server licence has expired.
    SERVER_LICENSE_EXPIRED = "server-license.expired";
    /// Periodic use of access licences.
    ACCESS_LICENSE_USAGE = "access-license.usage";
    /// Few access licences are left.
    ACCESS_LICENSE_LOW = "access-license.low";
    /// Unused access licences were looked for, and released if the config says so.
    ACCESS_LICENSE_RELEASED = "access-license.released";
    /// The version of Qlik Sense was read.
    QLIK_VERSION_CHECKED = "qlik-version.checked";
    /// A certificate expires soon.
    CERTIFICATE_EXPIRING = "certificate.expiring";
    /// A node has not been heard from.
    NODE_SILENT = "node.silent";
    /// A task was started through Butler.
    TASK_START_SUCCEEDED = "task-start.succeeded";
    /// A task could not be started through Butler.
    TASK_START_FAILED = "task-start.failed";
    /// Butler has started.
    BUTLER_STARTED = "butler.started";
    /// Butler is stopping.
    BUTLER_STOPPING = "butler.stopping";
    /// Periodic: Butler's memory and uptime.
    BUTLER_UPTIME = "butler.uptime";
    /// Periodic: counters of the UDP ingestion.
    BUTLER_INGEST = "butler.ingest";
    /// The UDP socket listens.
    UDP_LISTENING = "udp.listening";
    /// The UDP socket failed.
    UDP_FAILED = "udp.failed";
    /// Deliveries of an instance ended dead.
    DELIVERY_DEAD = "delivery.dead";
    /// A write by REST worth an audit.
    AUDIT_WRITE = "audit.write";
    /// A message was posted by REST.
    MESSAGE_POSTED = "message.posted";
}
/// Kinds that begin with the name of the plugin of ours that emits them.
pub(crate) const OF_PLUGINS: &[&str] = &[ACTIVE_USERS_COUNTED];

/// Kinds that come by the clock; never part of an instance's default events.
pub const PERIODIC: &[&str] = &[
    ACTIVE_USERS_COUNTED,
    SERVICE_STATE,
    SERVER_LICENSE_STATUS,
    ACCESS_LICENSE_USAGE,
    QLIK_VERSION_CHECKED,
    BUTLER_UPTIME,
    BUTLER_INGEST,
];

/// Whether a kind fits a pattern in which `*` stands for any text: the rule of `on:` in the config.
pub fn matches(pattern: &str, kind: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = kind.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Why a text cannot be the kind of an event.
pub fn fault(kind: &str) -> Option<String> {
    let sound = !kind.is_empty() && kind.len() <= 100 && kind.contains('.');
    (!sound).then(|| format!("`{kind}` is no kind of event: one looks like `node.silent`"))
}

/// Why a text cannot be a pattern of kinds.
pub fn pattern_fault(pattern: &str) -> Option<String> {
    let sound = ALL.iter().any(|kind| matches(pattern, kind)) || pattern.contains('.') || pattern.contains('*');
    (!sound).then(|| format!("`{pattern}` is no kind of event: one looks like `reload-task.failed`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, kind, fits) in [
            ("*", "a.b", true),
            ("*-task.failed", "reload-task.failed", true),
            ("*-task.failed", "reload-task.failed-twice", false),
            ("a*b*c", "a--b--c", true),
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
        ] {
            assert_eq!(matches(pattern, kind), fits, "{pattern} {kind}");
        }
        assert!(PERIODIC.iter().all(|kind| ALL.contains(kind) && fault(kind).is_none()));
        assert!(fault("moon").is_some() && pattern_fault("moon").is_some() && pattern_fault("moon.*").is_none());
    }
}
