//! Butler's own log: `log:` of the config.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Size;

/// Butler's own log, on standard error.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// Most detailed level.
    pub level: Level,
    /// Form of the lines.
    pub format: LogFormat,
    /// The same lines in files as well. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<LogFile>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Human, file: None }
    }
}

/// Files with the log: a new one each day (UTC).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogFile {
    /// Where they are: `logs/butler.log` stands for `logs/butler.2026-11-28.log`, and so on. The folder is made. Another Butler needs
    /// another name: the lines of two would mix.
    pub path: PathBuf,
    /// How many files are kept, one for each day; the oldest are removed.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 3650))]
    pub keep: u32,
    /// Largest file of a day. Lines beyond are not in it, which is said once.
    #[serde(default = "default_max_size")]
    pub max_size: Size,
}

fn default_keep() -> u32 {
    14
}

fn default_max_size() -> Size {
    Size::megabytes(100)
}

/// Level of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the usual levels")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// 1 for error to 5 for trace.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
