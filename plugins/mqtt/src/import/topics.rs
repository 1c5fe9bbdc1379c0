//! Topics of one's own, in place of the built-in ones.

use butler_plugin_api::import::Import;
use butler_plugin_api::kind;
use serde_json::{Value, json};

use crate::topic;

/// What stands behind a topic: host and name of the service.
const SERVICE: &str = "{{service.host}}/{{service.name}}";

/// A topic of the old config; absent if there is none that can be.
struct Topic {
    path: &'static str,
    text: Option<String>,
    is_usual: bool,
}

/// Entries for `topics`, for the kinds that have other topics than usual.
pub(super) fn entries(import: &mut Import) -> Vec<Value> {
    let mut entries = Vec::new();
    tasks(
        import,
        &mut entries,
        kind::RELOAD_TASK_FAILED,
        [
            ("mqttConfig.taskFailureTopic", "qliksense/task_failure"),
            ("mqttConfig.taskFailureFullTopic", "qliksense/task_failure_full"),
        ],
        "mqttConfig.taskFailureSendFull",
    );
    tasks(
        import,
        &mut entries,
        kind::RELOAD_TASK_ABORTED,
        [
            ("mqttConfig.taskAbortedTopic", "qliksense/task_aborted"),
            ("mqttConfig.taskAbortedFullTopic", "qliksense/task_aborted_full"),
        ],
        "mqttConfig.taskAbortedSendFull",
    );
    let stopped = topic(import, "mqttConfig.serviceStoppedTopic", "qliksense/service_stopped");
    let started = topic(import, "mqttConfig.serviceRunningTopic", "qliksense/service_running");
    let state = topic(import, "mqttConfig.serviceStatusTopic", "qliksense/service_status");
    for (event, change) in
        [(kind::SERVICE_STOPPED, Some(&stopped)), (kind::SERVICE_STARTED, Some(&started)), (kind::SERVICE_STATE, None)]
    {
        if state.is_usual && change.is_none_or(|change| change.is_usual) {
            continue;
        }
        let change = change.and_then(|change| change.text.as_ref()).map(|text| (text, "butler16"));
        let parts = change.into_iter().chain(state.text.as_ref().map(|text| (text, "serviceState")));
        let publish = parts.map(|(text, payload)| json!({ "topic": format!("{text}/{SERVICE}"), "payload": payload }));
        entries.push(json!({ "events": [event], "publish": publish.collect::<Vec<_>>() }));
    }
    for (path, usual, events) in [
        ("mqttConfig.qlikSenseServerLicenseTopic", "qliksense/qliksense_server_license", kind::SERVER_LICENSE_STATUS),
        (
            "mqttConfig.qlikSenseServerLicenseExpireTopic",
            "qliksense/qliksense_server_license_expire",
            "server-license.expir*",
        ),
        ("mqttConfig.taskFailureServerStatusTopic", "qliksense/butler/task_failure_server", "udp.*"),
    ] {
        let Topic { text, is_usual, .. } = topic(import, path, usual);
        if !is_usual {
            let publish = text.map(|text| json!({ "topic": text, "payload": "butler16" }));
            entries.push(json!({ "events": [events], "publish": publish.into_iter().collect::<Vec<_>>() }));
        }
    }
    entries
}

/// The short message, and the long one if it is sent.
fn tasks(
    import: &mut Import,
    entries: &mut Vec<Value>,
    event: &str,
    [(short, usual_short), (full, usual_full)]: [(&'static str, &'static str); 2],
    send_full: &str,
) {
    let (short, mut full) = (topic(import, short, usual_short), topic(import, full, usual_full));
    let is_there = import.has(send_full);
    if !import.flag(send_full) && is_there {
        import.dropped(full.path, &format!("`{send_full}` is off"));
        full = Topic { text: None, is_usual: false, ..full };
    }
    if short.is_usual && full.is_usual {
        return;
    }
    let parts = [(short.text, "name"), (full.text, "butler16")];
    let publish = parts.into_iter().filter_map(|(text, payload)| Some(json!({ "topic": text?, "payload": payload })));
    entries.push(json!({ "events": [event], "publish": publish.collect::<Vec<_>>() }));
}

/// One that older versions did not have is the usual one; an empty one is not published to.
fn topic(import: &mut Import, path: &'static str, usual: &str) -> Topic {
    let is_there = import.has(path);
    let text = import.text(path);
    if !is_there {
        return Topic { path, text: Some(usual.to_owned()), is_usual: true };
    }
    if let Some(fault) = text.as_deref().and_then(topic::fault) {
        import.todo(path, &format!("nothing is published there: {fault}"));
        return Topic { path, text: None, is_usual: false };
    }
    let is_usual = text.as_deref() == Some(usual);
    Topic { path, text, is_usual }
}
