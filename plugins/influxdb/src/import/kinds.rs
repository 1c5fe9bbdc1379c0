//! What is written, when, and with which tags.

use std::collections::BTreeMap;

use butler_plugin_api::import::{Import, task_property};
use butler_plugin_api::kind;
use serde_json::{Map, Value, json};

use super::tags;

/// Sections of tasks whose ends are written without conditions: kind of event and measurement.
/// Butler 16 wrote a distribution that was aborted as one that failed.
const TASKS: [(&str, &str, &str); 9] = [
    ("userSyncTaskSuccess", kind::USER_SYNC_TASK_SUCCEEDED, "user_sync_task_success"),
    ("userSyncTaskFailure", kind::USER_SYNC_TASK_FAILED, "user_sync_task_failed"),
    ("externalProgramTaskSuccess", kind::EXTERNAL_PROGRAM_TASK_SUCCEEDED, "external_program_task_success"),
    ("externalProgramTaskFailure", kind::EXTERNAL_PROGRAM_TASK_FAILED, "external_program_task_failed"),
    ("distributeTaskSuccess", kind::DISTRIBUTE_TASK_SUCCEEDED, "distribute_task_success"),
    ("distributeTaskFailure", kind::DISTRIBUTE_TASK_FAILED, "distribute_task_failed"),
    ("distributeTaskFailure", kind::DISTRIBUTE_TASK_ABORTED, "distribute_task_aborted"),
    ("preloadTaskSuccess", kind::PRELOAD_TASK_SUCCEEDED, "preload_task_success"),
    ("preloadTaskFailure", kind::PRELOAD_TASK_FAILED, "preload_task_failed"),
];
const FAILURE: &str = "influxDb.reloadTaskFailure";
const SUCCESS: &str = "influxDb.reloadTaskSuccess";
const RELEASE: &str = "qlikSenseLicense.licenseRelease";

/// Monitors, where their points are switched on, kind of event and measurement.
const MONITORS: [(&str, &str, &str, &str); 3] = [
    (
        "qlikSenseVersion.versionMonitor",
        "qlikSenseVersion.versionMonitor.destination.influxDb",
        kind::QLIK_VERSION_CHECKED,
        "qlik_sense_version",
    ),
    (
        "qlikSenseLicense.serverLicenseMonitor",
        "qlikSenseLicense.serverLicenseMonitor.destination.influxDb",
        kind::SERVER_LICENSE_STATUS,
        "qlik_sense_server_license",
    ),
    (
        "qlikSenseLicense.licenseMonitor",
        "qlikSenseLicense.licenseMonitor.destination.influxDb",
        kind::ACCESS_LICENSE_USAGE,
        "qlik_sense_license",
    ),
];

/// What is written.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// For `on:`.
    pub(super) rules: Vec<Value>,
    pub(super) measurements: BTreeMap<String, Value>,
    /// Lines of script logs.
    pub(super) head: Option<u64>,
    pub(super) tail: Option<u64>,
}

pub(super) fn read(import: &mut Import) -> Kinds {
    let mut kinds = Kinds::default();
    let mut events: Vec<&str> = Vec::new();
    if import.flag(&format!("{FAILURE}.enable")) {
        events.push(kind::RELOAD_TASK_FAILED);
        kinds.tail = import.log_lines(&format!("{FAILURE}.tailScriptLogLines"));
        kinds.mark("reload_task_failed", of_task(import, FAILURE, true));
    } else {
        import.off(FAILURE);
    }
    let successes = successes(import);
    if successes.is_some() {
        kinds.head = import.log_lines(&format!("{SUCCESS}.headScriptLogLines"));
        let tail = import.log_lines(&format!("{SUCCESS}.tailScriptLogLines"));
        one_tail(import, &mut kinds, tail);
        kinds.mark("reload_task_success", of_task(import, SUCCESS, true));
    }
    for (section, kind, measurement) in TASKS {
        let section = format!("influxDb.{section}");
        if import.flag(&format!("{section}.enable")) {
            events.push(kind);
            kinds.mark(measurement, of_task(import, &section, false));
            if kind == kind::DISTRIBUTE_TASK_ABORTED {
                let why = "distributions that were aborted are in `distribute_task_aborted` now; Butler 16 wrote them to \
                           `distribute_task_failed` as well";
                import.differs(&format!("{section}.enable"), why);
            }
        } else {
            import.off(&section);
        }
    }
    if import.both("uptimeMonitor", "uptimeMonitor.storeInInfluxdb") {
        events.push(kind::BUTLER_UPTIME);
    }
    if import.both("serviceMonitor", "serviceMonitor.alertDestination.influxDb") {
        events.push("service.*");
    }
    for (monitor, destination, kind, measurement) in MONITORS {
        if import.both(monitor, destination) {
            events.push(kind);
            let tags = tags(import, &format!("{destination}.tag.static"));
            kinds.mark(measurement, plain(&tags));
        }
    }
    if import.flag(&format!("{RELEASE}.enable")) {
        let destination = format!("{RELEASE}.destination.influxDb");
        events.push(kind::ACCESS_LICENSE_RELEASED);
        import.no_effect(&format!("{destination}.enable"), "what was released was written in any case, and is now");
        let tags = tags(import, &format!("{destination}.tag.static"));
        kinds.mark("qlik_sense_license_release", plain(&tags));
    } else {
        import.dropped(&format!("{RELEASE}.destination.influxDb"), "no licence is released");
    }
    if !events.is_empty() {
        kinds.rules.push(json!({ "events": events }));
    }
    kinds.rules.extend(successes);
    kinds
}

impl Kinds {
    fn mark(&mut self, measurement: &str, marks: Map<String, Value>) {
        if !marks.is_empty() {
            self.measurements.insert(measurement.to_owned(), marks.into());
        }
    }
}

/// The rule for successful reloads, if they are written.
fn successes(import: &mut Import) -> Option<Value> {
    let by_property = format!("{SUCCESS}.byCustomProperty");
    if !import.flag(&format!("{SUCCESS}.enable")) {
        import.off(SUCCESS);
        return None;
    }
    let events = [kind::RELOAD_TASK_SUCCEEDED];
    if import.flag(&format!("{SUCCESS}.allReloadTasks.enable")) {
        import.no_effect(&by_property, "`allReloadTasks.enable` goes before it");
        return Some(json!({ "events": events }));
    }
    if !import.flag(&format!("{by_property}.enable")) {
        import.dropped(SUCCESS, "neither `allReloadTasks` nor `byCustomProperty` is on, so nothing was written");
        return None;
    }
    let name = import.text(&format!("{by_property}.customPropertyName"));
    let value = import.text(&format!("{by_property}.enabledValue"));
    let Some((name, value)) = name.zip(value) else {
        import.todo(SUCCESS, "successes are left out: `customPropertyName` and `enabledValue` are needed");
        return None;
    };
    let Some(path) = task_property(&name).filter(|_| !value.starts_with(['<', '>'])) else {
        import.todo(SUCCESS, "successes are left out: these names cannot be conditions, write `where` by hand");
        return None;
    };
    if value.contains('*') {
        import.differs(&format!("{by_property}.enabledValue"), "`*` stands for any text now");
    }
    Some(json!({ "events": events, "where": { path: value } }))
}

/// An instance has one number of last lines: the larger.
fn one_tail(import: &mut Import, kinds: &mut Kinds, of_success: Option<u64>) {
    let Some((failure, success)) = kinds.tail.zip(of_success) else {
        kinds.tail = kinds.tail.or(of_success);
        return;
    };
    if failure != success {
        let smaller = if failure < success { FAILURE } else { SUCCESS };
        let most = failure.max(success);
        import.differs(
            &format!("{smaller}.tailScriptLogLines"),
            &format!("it is {most}, one number for failures and successes; for two of them make two instances"),
        );
        kinds.tail = Some(most);
    }
}

fn plain(tags: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut marks = Map::new();
    if !tags.is_empty() {
        marks.insert("tags".to_owned(), json!(tags));
    }
    marks
}

/// What the points of a task are marked with. `app`: those of its app, too.
fn of_task(import: &mut Import, section: &str, app: bool) -> Map<String, Value> {
    let tags = tags(import, &format!("{section}.tag.static"));
    let mut marks = plain(&tags);
    let mut are_new = false;
    let switches = [("useTaskTags", "taskTags"), ("useAppTags", "appTags")];
    for (switch, setting) in switches.into_iter().take(if app { 2 } else { 1 }) {
        let path = format!("{section}.tag.dynamic.{switch}");
        let is_there = import.has(&path);
        if import.flag(&path) {
            are_new |= app;
        } else if is_there {
            marks.insert(setting.to_owned(), false.into());
        }
    }
    if are_new {
        import.differs(&format!("{section}.tag.dynamic"), "the tags are written now; Butler 16 lost them on the way");
    }
    marks
}
