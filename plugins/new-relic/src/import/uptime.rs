//! Figures of Butler itself, as metrics.

use butler_plugin_api::import::Import;
use butler_plugin_api::kind;
use serde_json::json;

use super::{Account, Draft, address, attributes, names, rule, switched_off};

const SECTION: &str = "uptimeMonitor.storeNewRelic";
const GROUPS: [(&str, &[&str]); 2] = [
    ("butlerMemoryUsage.enable", &["qs_butlerHeap*", "qs_butlerExternalMem", "qs_butlerProcessMem"]),
    ("butlerUptime.enable", &["qs_butlerUptimeMillisec"]),
];

pub(super) fn read(import: &mut Import, accounts: &[Account], draft: &mut Draft) {
    if !import.both("uptimeMonitor", SECTION) {
        return;
    }
    let names = names(import, accounts, &format!("{SECTION}.destinationAccount"));
    if names.is_empty() {
        return import.dropped(SECTION, "it names no account, so nothing was sent");
    }
    draft.addresses.metric = address::read(import, &format!("{SECTION}.url"), "metric");
    draft.headers(import, &format!("{SECTION}.header"));
    let attributes = attributes(import, &[format!("{SECTION}.attribute.static")]);
    let leave_out = switched_off(import, &format!("{SECTION}.metric.dynamic"), &GROUPS);
    let version = format!("{SECTION}.attribute.dynamic.butlerVersion");
    if !import.flag(&format!("{version}.enable")) {
        import.differs(&version, "metrics always have the attribute `version` now");
    }
    draft.metrics.push(rule(&[kind::BUTLER_UPTIME], &json!({ "always": names }), &attributes, &leave_out));
    draft.on.push(json!({ "events": [kind::BUTLER_UPTIME] }));
}
