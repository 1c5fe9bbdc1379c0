//! The calls that are answered, and which of them a path means.

use std::{fmt, str::FromStr};

use hyper::Method;

/// A call of the repository service, all requests that differ in identifiers and parameters only taken together.
///
/// Written as text it is the path below `/qrs/` with `{id}` for identifiers, for instance `reloadtask/{id}/scriptlog`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is its pattern")]
pub enum Endpoint {
    About,
    Enums,
    Task,
    TaskFull,
    TaskCount,
    TaskStart,
    TaskStartSynchronous,
    ReloadTask,
    ReloadTaskFull,
    ReloadTaskCount,
    ReloadTaskById,
    ScriptLog,
    ScriptLogFile,
    ScriptLogDownload,
    ExternalProgramTaskById,
    UserSyncTaskById,
    ExecutionResult,
    ExecutionResultFull,
    ExecutionResultCount,
    ExecutionResultById,
    AppFull,
    AppCount,
    AppById,
    UserFull,
    UserCount,
    UserById,
    ProfessionalAccessFull,
    ProfessionalAccessCount,
    ProfessionalAccessById,
    AnalyzerAccessFull,
    AnalyzerAccessCount,
    AnalyzerAccessById,
    CustomPropertyDefinitionFull,
    CustomPropertyDefinitionCount,
    Tag,
    TagFull,
    TagCount,
    TagById,
    SchedulerServiceFull,
    ServerNodeConfigurationFull,
    Notification,
    License,
    AccessTypeOverview,
    /// Any path that is not known. Its pattern is `unknown`.
    Unknown,
}

/// There is no such endpoint pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no endpoint \"{0}\"")]
pub struct UnknownEndpoint(pub String);

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::About,
        Self::Enums,
        Self::Task,
        Self::TaskFull,
        Self::TaskCount,
        Self::TaskStart,
        Self::TaskStartSynchronous,
        Self::ReloadTask,
        Self::ReloadTaskFull,
        Self::ReloadTaskCount,
        Self::ReloadTaskById,
        Self::ScriptLog,
        Self::ScriptLogFile,
        Self::ScriptLogDownload,
        Self::ExternalProgramTaskById,
        Self::UserSyncTaskById,
        Self::ExecutionResult,
        Self::ExecutionResultFull,
        Self::ExecutionResultCount,
        Self::ExecutionResultById,
        Self::AppFull,
        Self::AppCount,
        Self::AppById,
        Self::UserFull,
        Self::UserCount,
        Self::UserById,
        Self::ProfessionalAccessFull,
        Self::ProfessionalAccessCount,
        Self::ProfessionalAccessById,
        Self::AnalyzerAccessFull,
        Self::AnalyzerAccessCount,
        Self::AnalyzerAccessById,
        Self::CustomPropertyDefinitionFull,
        Self::CustomPropertyDefinitionCount,
        Self::Tag,
        Self::TagFull,
        Self::TagCount,
        Self::TagById,
        Self::SchedulerServiceFull,
        Self::ServerNodeConfigurationFull,
        Self::Notification,
        Self::License,
        Self::AccessTypeOverview,
        Self::Unknown,
    ];

    /// The path below `/qrs/`, with `{id}` for identifiers.
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::About => "about",
            Self::Enums => "about/api/enums",
            Self::Task => "task",
            Self::TaskFull => "task/full",
            Self::TaskCount => "task/count",
            Self::TaskStart => "task/{id}/start",
            Self::TaskStartSynchronous => "task/{id}/start/synchronous",
            Self::ReloadTask => "reloadtask",
            Self::ReloadTaskFull => "reloadtask/full",
            Self::ReloadTaskCount => "reloadtask/count",
            Self::ReloadTaskById => "reloadtask/{id}",
            Self::ScriptLog => "reloadtask/{id}/scriptlog",
            Self::ScriptLogFile => "reloadtask/{id}/scriptlogfile",
            Self::ScriptLogDownload => "download/reloadtask/{id}/scriptlog.txt",
            Self::ExternalProgramTaskById => "externalprogramtask/{id}",
            Self::UserSyncTaskById => "usersynctask/{id}",
            Self::ExecutionResult => "executionresult",
            Self::ExecutionResultFull => "executionresult/full",
            Self::ExecutionResultCount => "executionresult/count",
            Self::ExecutionResultById => "executionresult/{id}",
            Self::AppFull => "app/full",
            Self::AppCount => "app/count",
            Self::AppById => "app/{id}",
            Self::UserFull => "user/full",
            Self::UserCount => "user/count",
            Self::UserById => "user/{id}",
            Self::ProfessionalAccessFull => "license/professionalaccesstype/full",
            Self::ProfessionalAccessCount => "license/professionalaccesstype/count",
            Self::ProfessionalAccessById => "license/professionalaccesstype/{id}",
            Self::AnalyzerAccessFull => "license/analyzeraccesstype/full",
            Self::AnalyzerAccessCount => "license/analyzeraccesstype/count",
            Self::AnalyzerAccessById => "license/analyzeraccesstype/{id}",
            Self::CustomPropertyDefinitionFull => "custompropertydefinition/full",
            Self::CustomPropertyDefinitionCount => "custompropertydefinition/count",
            Self::Tag => "tag",
            Self::TagFull => "tag/full",
            Self::TagCount => "tag/count",
            Self::TagById => "tag/{id}",
            Self::SchedulerServiceFull => "schedulerservice/full",
            Self::ServerNodeConfigurationFull => "servernodeconfiguration/full",
            Self::Notification => "notification",
            Self::License => "license",
            Self::AccessTypeOverview => "license/accesstypeoverview",
            Self::Unknown => "unknown",
        }
    }

    /// The methods that are answered.
    pub(super) fn methods(self) -> &'static [Method] {
        match self {
            Self::TaskStart | Self::TaskStartSynchronous => &[Method::POST],
            Self::Tag => &[Method::GET, Method::POST],
            Self::TagById | Self::ProfessionalAccessById | Self::AnalyzerAccessById => &[Method::GET, Method::DELETE],
            Self::Notification => &[Method::POST, Method::DELETE],
            _ => &[Method::GET],
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.pattern())
    }
}

impl FromStr for Endpoint {
    type Err = UnknownEndpoint;

    fn from_str(text: &str) -> Result<Self, UnknownEndpoint> {
        Self::ALL
            .into_iter()
            .find(|endpoint| endpoint.pattern() == text)
            .ok_or_else(|| UnknownEndpoint(text.to_owned()))
    }
}

/// A path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    /// What stands for `{id}`, in lower case; empty if there is none.
    pub(super) id: String,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let path = path.to_ascii_lowercase();
        let below = path.strip_prefix("/qrs/").unwrap_or_default();
        let segments: Vec<&str> = below.trim_end_matches('/').split('/').collect();
        // Patterns without identifier come first, so that `full` is never taken for one.
        let fixed = Endpoint::ALL.iter().filter(|endpoint| !endpoint.pattern().contains('{'));
        let variable = Endpoint::ALL.iter().filter(|endpoint| endpoint.pattern().contains('{'));
        fixed
            .chain(variable)
            .filter(|endpoint| **endpoint != Endpoint::Unknown)
            .find_map(|endpoint| {
                identifier(&segments, endpoint.pattern()).map(|id| Self { endpoint: *endpoint, id: id.to_owned() })
            })
            .unwrap_or(Self { endpoint: Endpoint::Unknown, id: String::new() })
    }
}

/// What stands for `{id}` if the path fits the pattern.
fn identifier<'a>(segments: &[&'a str], pattern: &str) -> Option<&'a str> {
    let mut id = "";
    let mut segments = segments.iter();
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected == "{id}" {
            id = segment;
        } else if expected != *segment {
            return None;
        }
    }
    segments.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_in_order() {
        for (position, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, position);
            assert_eq!(endpoint.pattern().parse(), Ok(endpoint));
        }
        assert!("task/half".parse::<Endpoint>().is_err());
    }

    #[test]
    fn paths_become_routes() {
        let route = |path| {
            let Route { endpoint, id } = Route::of(path);
            (endpoint, id)
        };
        assert_eq!(route("/qrs/task/full"), (Endpoint::TaskFull, String::new()));
        assert_eq!(route("/QRS/ReloadTask/AB"), (Endpoint::ReloadTaskById, "ab".to_owned()));
        assert_eq!(route("/qrs/reloadtask/ab/scriptlog/"), (Endpoint::ScriptLog, "ab".to_owned()));
        assert_eq!(route("/qrs/download/reloadtask/ab/scriptlog.txt"), (Endpoint::ScriptLogDownload, "ab".to_owned()));
        for path in ["/", "/qrs", "/qrs/", "/task", "/qrs/unknown", "/qrs/task/ab", "/qrs/task/ab/start/later"] {
            assert_eq!(route(path), (Endpoint::Unknown, String::new()), "{path}");
        }
    }
}
