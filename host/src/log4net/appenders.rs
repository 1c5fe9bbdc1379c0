//! Which log lines of which service become which messages.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A service of Qlik Sense that can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// Tasks: failed, aborted, succeeded, distributed.
    Scheduler,
    /// Sessions and connections of users.
    Proxy,
    /// Failed reloads outside the scheduler.
    Engine,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 3] = [Self::Scheduler, Self::Proxy, Self::Engine];

    /// Its folder below `C:\ProgramData\Qlik\Sense`.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Scheduler => "Scheduler",
            Self::Proxy => "Proxy",
            Self::Engine => "Engine",
        }
    }

    pub(super) const fn appenders(self) -> &'static [Appender] {
        match self {
            Self::Scheduler => SCHEDULER,
            Self::Proxy => PROXY,
            Self::Engine => ENGINE,
        }
    }
}

/// One appender: log lines of one logger that hold one of the texts are sent in one layout.
#[derive(Debug)]
pub(super) struct Appender {
    /// Its name, unique in the file.
    pub name: &'static str,
    /// What it is for, as a comment; without two hyphens in a row.
    pub about: &'static str,
    /// Name of the logger.
    pub logger: &'static str,
    /// A line that holds one of these texts is sent.
    pub texts: &'static [&'static str],
    /// What is sent.
    pub pattern: &'static str,
}

/// What the scheduler's appenders send, behind the type.
macro_rules! scheduler {
    ($message_type:literal) => {
        concat!(
            $message_type,
            ";%hostname;%property{TaskName};%property{AppName};%property{User};%property{TaskId};%property{AppId}",
            ";%date;%level;%property{ExecutionId};%message"
        )
    };
}

/// What the proxy's appenders send, behind the type.
macro_rules! proxy {
    ($message_type:literal) => {
        concat!(
            $message_type,
            ";%hostname;%property{Command};%property{UserDirectory};%property{UserId};%property{Origin}",
            ";%property{Context};%message"
        )
    };
}

const TASK_SESSION: &str = "System.Scheduler.Scheduler.Master.Task.TaskSession";

const SCHEDULER: &[Appender] = &[
    Appender {
        name: "ButlerTaskFailed",
        about: "Failed for good: no retry is left, or it could not be started (preload).",
        logger: TASK_SESSION,
        texts: &["Max retries reached", "Failed to start session", "Could not reserve an executor for task"],
        pattern: scheduler!("/scheduler-task-failed/"),
    },
    Appender {
        name: "ButlerTaskAborted",
        about: "Stopped by a person or by the scheduler.",
        logger: TASK_SESSION,
        texts: &["Execution State Change to Aborting"],
        pattern: scheduler!("/scheduler-task-aborted/"),
    },
    Appender {
        name: "ButlerTaskSucceeded",
        about: "Done. Leave this appender and its reference out if nobody wants to hear of successes.",
        logger: TASK_SESSION,
        texts: &["Execution State Change to FinishedSuccess"],
        pattern: scheduler!("/scheduler-task-success/"),
    },
    Appender {
        name: "ButlerTaskDistributed",
        about: "A distribution has left the scheduler; Butler asks the repository how it ended.",
        logger: "System.Scheduler.Scheduler.Slave.Tasks.ReloadTask",
        texts: &["Exiting execute of Distribute task request."],
        pattern: scheduler!("/scheduler-distribute/"),
    },
];

const PROXY: &[Appender] = &[
    Appender {
        name: "ButlerUserSessions",
        about: "Sessions of users begin and end.",
        logger: "AuditActivity.Proxy",
        texts: &["Start session for user", "Stop session for user"],
        pattern: proxy!("/proxy-session/"),
    },
    Appender {
        name: "ButlerUserConnections",
        about: "Connections of sessions are opened and closed.",
        logger: "AuditActivity.Proxy",
        texts: &["connection Opened for session", "connection Closed for session"],
        pattern: proxy!("/proxy-connection/"),
    },
];

const ENGINE: &[Appender] = &[Appender {
    name: "ButlerAppReloadFailed",
    about: "A reload outside the scheduler (editor, hub, API) failed.\n\
            \x20        To be verified on your site, since neither is documented: the name of the logger at the end of\n\
            \x20        the file, and the texts to match. Let a reload fail, look for its line in the engine's log, and\n\
            \x20        change both here if they differ. Give the appender a name of your own then: merging again\n\
            \x20        rewrites those with Butler's names.",
    logger: "System.Engine.Engine",
    texts: &["Reload failed", "reload failed"],
    pattern: "/engine-reload-failed/;%hostname;%property{AppId};%property{SessionId};%property{ActiveUserDirectory}\
              ;%property{ActiveUserId};%date;%level;%message",
}];

/// Where messages are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address of Butler's machine. Has nothing in it that means anything in XML.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Name or address of Butler's machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not of the form.
    #[error("write HOST:PORT, the machine where Butler runs and the port of `udp.listen`: butler.example.com:9998")]
    Form,
    /// The host can be none.
    #[error("`{0}` is neither the name nor the address of a machine")]
    Host(String),
    /// Nodes cannot send to it.
    #[error("`{0}` stands for all addresses of a machine: write the name or address by which Sense nodes reach Butler")]
    Unspecified(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::Form)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(TargetError::Form)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match in_brackets {
            Some(host) if host.parse::<Ipv6Addr>().is_ok() => host,
            Some(_) => return Err(TargetError::Host(host.to_owned())),
            None => host,
        };
        if matches!(host, "0.0.0.0" | "::") {
            return Err(TargetError::Unspecified(host.to_owned()));
        }
        let sound = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() {
            return Err(TargetError::Form);
        }
        if host.len() > 253 || (in_brackets.is_none() && !host.chars().all(sound)) {
            return Err(TargetError::Host(host.to_owned()));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}
