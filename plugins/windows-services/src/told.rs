//! The events: their data, and the lines for people.

use butler_plugin_api::kind;
use serde_json::{Map, Value, json};

use crate::backend::{Found, State};
use crate::kept::Change;
use crate::settings::WatchedService;

/// Exit codes of Windows: its own code says more; it was not started since the machine was.
const OWN_CODE: i64 = 1066;
const NEVER_STARTED: i64 = 1077;

/// Most characters of a command line. Windows allows 8,191, of which those of a program and what tells it from others come first.
const LONGEST_PATH: usize = 1000;

/// Kinds that are emitted.
pub(crate) const KINDS: &[&str] =
    &[kind::SERVICE_STOPPED, kind::SERVICE_STARTED, kind::SERVICE_STATE, kind::SERVICE_UNKNOWN];

/// The event of a change: kind and data. `found`: what was found out now or, of a service that cannot be checked, last;
/// `why`: why it cannot.
pub(crate) fn change(
    host: &str,
    service: &WatchedService,
    change: Change,
    found: Option<&Found>,
    why: &str,
) -> (&'static str, Value) {
    let (kind, what, before) = match change {
        Change::Stopped { before } => (kind::SERVICE_STOPPED, format!("is stopped{}", reason(found)), before),
        Change::Started { before } => (kind::SERVICE_STARTED, "runs again".to_owned(), before),
        Change::Known { before } => (kind::SERVICE_STARTED, "can be checked again, and runs".to_owned(), before),
        Change::Unknown => (kind::SERVICE_UNKNOWN, format!("cannot be checked: {why}"), None),
        Change::Hangs => {
            let state = found.map_or("on its way", |found| found.state.name());
            (kind::SERVICE_UNKNOWN, format!("has been {state} for more than ten minutes: it hangs"), None)
        }
    };
    let state = found.map(|found| found.state).filter(|_| change != Change::Unknown);
    (kind, data(host, service, found, state, before, &what))
}

/// The data of `service.state`.
pub(crate) fn state(host: &str, service: &WatchedService, found: &Found) -> Value {
    let what = format!("is {}", found.state.name());
    data(host, service, Some(found), Some(found.state), None, &what)
}

/// Why it may be stopped.
fn reason(found: Option<&Found>) -> String {
    let Some(found) = found else { return String::new() };
    let code = match (found.exit_code, found.service_exit_code) {
        (None | Some(0), _) => String::new(),
        (Some(NEVER_STARTED), _) => ", and was not started since the machine was".to_owned(),
        (Some(OWN_CODE), Some(own)) => format!(" (its own exit code: {own})"),
        (Some(code), _) => format!(" (exit code {code})"),
    };
    let disabled = if found.start_type == Some("Disabled") { "; its start type is Disabled" } else { "" };
    code + disabled
}

fn data(
    host: &str,
    service: &WatchedService,
    found: Option<&Found>,
    state: Option<State>,
    before: Option<State>,
    what: &str,
) -> Value {
    let mut facts = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    put("host", Some(json!(host)));
    put("name", Some(json!(service.name)));
    put("displayName", found.and_then(|found| found.display_name.as_deref()).map(Value::from));
    put("friendlyName", service.friendly_name.as_deref().map(Value::from));
    put("startType", found.and_then(|found| found.start_type).map(Value::from));
    put("exePath", found.and_then(|found| found.exe_path.as_deref()).map(|path| json!(cut(path))));
    put("dependencies", found.and_then(|found| found.dependencies.as_ref()).map(|names| json!(names)));
    put("state", state.map(|state| json!(state.name())));
    put("previousState", before.map(|state| json!(state.name())));
    // Codes of a look that is over say nothing of now.
    let now = found.filter(|_| state.is_some());
    put("exitCode", now.and_then(|found| found.exit_code).map(Value::from));
    put("serviceExitCode", now.and_then(|found| found.service_exit_code).map(Value::from));
    let message = format!("`{}` on {host} {what}", shown(service, found));
    json!({ "node": host, "message": message, "service": facts })
}

/// The beginning of a command line that is very long.
fn cut(path: &str) -> String {
    let mut cut: String = path.chars().take(LONGEST_PATH).collect();
    if cut.len() < path.len() {
        cut.push('…');
    }
    cut
}

/// How people know it.
fn shown<'a>(service: &'a WatchedService, found: Option<&'a Found>) -> &'a str {
    let names = [service.friendly_name.as_deref(), found.and_then(|found| found.display_name.as_deref())];
    names.into_iter().flatten().next().unwrap_or(&service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(friendly_name: Option<&str>) -> WatchedService {
        WatchedService { name: "AcmeIndexSvc".to_owned(), friendly_name: friendly_name.map(str::to_owned) }
    }

    fn found() -> Found {
        Found {
            display_name: Some("Acme Index Service".to_owned()),
            start_type: Some("Automatic"),
            exe_path: Some(r"C:\acme.exe --service".to_owned()),
            dependencies: Some(vec!["RpcSs".to_owned()]),
            exit_code: Some(1067),
            service_exit_code: Some(0),
            ..Found::in_state(State::Stopped)
        }
    }

    #[test]
    fn all_facts_are_told() {
        let stopped = Change::Stopped { before: Some(State::Running) };
        let (kind, data) = change("srv1", &service(Some("Index")), stopped, Some(&found()), "");
        assert_eq!(kind, "service.stopped");
        assert_eq!(
            data,
            json!({
                "node": "srv1", "message": "`Index` on srv1 is stopped (exit code 1067)",
                "service": {
                    "host": "srv1", "name": "AcmeIndexSvc", "displayName": "Acme Index Service", "friendlyName": "Index",
                    "startType": "Automatic", "exePath": r"C:\acme.exe --service", "dependencies": ["RpcSs"],
                    "state": "STOPPED", "previousState": "RUNNING", "exitCode": 1067, "serviceExitCode": 0
                }
            })
        );
        let read = butler_plugin_api::Data::from_json(&data);
        assert!(read.other.is_empty() && read.service.is_some(), "{read:?}");
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let bare = Found::in_state(State::Running);
        assert_eq!(
            state("srv1", &service(None), &bare),
            json!({ "node": "srv1", "message": "`AcmeIndexSvc` on srv1 is RUNNING",
                    "service": { "host": "srv1", "name": "AcmeIndexSvc", "state": "RUNNING" } })
        );
        let (kind, data) = change("srv1", &service(None), Change::Unknown, Some(&found()), "access is denied");
        assert_eq!(
            (kind, &data["message"]),
            ("service.unknown", &json!("`Acme Index Service` on srv1 cannot be checked: access is denied"))
        );
        assert_eq!(data["service"]["startType"], "Automatic", "what was known before");
        for absent in ["state", "previousState", "exitCode", "serviceExitCode"] {
            assert_eq!(data["service"].get(absent), None, "{absent}");
        }
        let (kind, data) =
            change("srv1", &service(None), Change::Started { before: Some(State::Stopped) }, Some(&bare), "");
        assert_eq!((kind, &data["message"]), ("service.started", &json!("`AcmeIndexSvc` on srv1 runs again")));
    }

    #[test]
    fn what_was_not_known_for_a_while_is_told_as_well_again() {
        let running = Found::in_state(State::Running);
        let known = Change::Known { before: None };
        let (kind, data) = change("srv1", &service(None), known, Some(&running), "");
        let message = "`AcmeIndexSvc` on srv1 can be checked again, and runs";
        assert_eq!((kind, &data["message"]), ("service.started", &json!(message)));
        assert_eq!(data["service"].get("previousState"), None);
    }

    #[test]
    fn one_that_hangs_is_told_with_its_state() {
        let hanging = Found::in_state(State::StopPending);
        let (kind, data) = change("srv1", &service(None), Change::Hangs, Some(&hanging), "");
        let message = "`AcmeIndexSvc` on srv1 has been STOP_PENDING for more than ten minutes: it hangs";
        assert_eq!((kind, &data["message"]), ("service.unknown", &json!(message)));
        assert_eq!(data["service"]["state"], "STOP_PENDING");
    }

    #[test]
    fn command_lines_are_not_told_without_end() {
        let long = Found { exe_path: Some("ü".repeat(9000)), ..found() };
        let data = state("srv1", &service(None), &long);
        assert_eq!(data["service"]["exePath"], "ü".repeat(1000) + "…");
    }

    #[test]
    fn why_it_is_stopped_is_told() {
        let stopped = Change::Stopped { before: None };
        for (exit_code, own, start_type, end) in [
            (Some(0), Some(0), Some("Manual"), "is stopped"),
            (None, None, None, "is stopped"),
            (Some(1077), Some(0), Some("Automatic"), "is stopped, and was not started since the machine was"),
            (Some(1066), Some(42), Some("Automatic"), "is stopped (its own exit code: 42)"),
            (Some(1067), Some(0), Some("Disabled"), "is stopped (exit code 1067); its start type is Disabled"),
            (Some(0), Some(0), Some("Disabled"), "is stopped; its start type is Disabled"),
        ] {
            let found = Found { exit_code, service_exit_code: own, start_type, ..found() };
            let (_, data) = change("srv1", &service(None), stopped, Some(&found), "");
            let message = data["message"].as_str().unwrap();
            assert!(message.ends_with(end), "{message}");
            assert_eq!(data["service"].get("previousState"), None);
        }
    }
}
