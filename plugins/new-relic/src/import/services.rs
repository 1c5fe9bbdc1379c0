//! Services that stop and run again, as events and logs.

use butler_plugin_api::import::Import;
use butler_plugin_api::kind;
use serde_json::json;

use super::{Account, Draft, INCIDENTS, attributes, names, rule, switched_off, throttle};

const DESTINATION: &str = "serviceMonitor.alertDestination.newRelic";
const FACTS: [(&str, &[&str]); 4] = [
    ("serviceHost", &["butler_serviceHost"]),
    ("serviceName", &["butler_serviceName"]),
    ("serviceDisplayName", &["butler_serviceDisplayName"]),
    ("serviceState", &["butler_serviceStatus"]),
];

pub(super) fn read(import: &mut Import, accounts: &[Account], draft: &mut Draft) {
    // `incidentTool.newRelic.enable` did not count here.
    let section = format!("{INCIDENTS}.serviceMonitor");
    if !import.both("serviceMonitor", DESTINATION) {
        return import.dropped(&section, &format!("`serviceMonitor.enable` or `{DESTINATION}.enable` is off"));
    }
    let mut kinds = Vec::new();
    for (state, kind) in [("stopped", kind::SERVICE_STOPPED), ("running", kind::SERVICE_STARTED)] {
        if import.flag(&format!("{section}.monitorServiceState.{state}.enable")) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        return import.dropped(&section, "no state is to be told");
    }
    let shared = format!("{section}.sharedSettings");
    let mut is_sent = false;
    for api in ["event", "log"] {
        let destination = format!("{section}.destination.{api}");
        import.no_effect(&format!("{destination}.enable"), "the accounts in `sendToAccount` decided, and do now");
        let names = names(import, accounts, &format!("{destination}.sendToAccount"));
        if names.is_empty() {
            import.dropped(&destination, "it names no account, so nothing was sent");
            continue;
        }
        is_sent = true;
        let statics = [format!("{shared}.attribute.static"), format!("{destination}.attribute.static")];
        let attributes = attributes(import, &statics);
        let leave_out = switched_off(import, &format!("{destination}.attribute.dynamic"), &FACTS);
        let rules = if api == "event" { &mut draft.events } else { &mut draft.logs };
        rules.push(rule(&kinds, &json!({ "always": names }), &attributes, &leave_out));
    }
    if !is_sent {
        return import.dropped(&shared, "nothing of the section is sent");
    }
    draft.headers(import, &format!("{shared}.header"));
    // A stop and a start count for themselves.
    let mut rule = json!({ "events": kinds });
    if let Some(throttle) = throttle(import, &shared, kind::SERVICE_STOPPED, "service") {
        rule["throttle"] = throttle;
    }
    draft.on.push(rule);
}
