//! The section `influxDb` of Butler 16, and what other sections say of InfluxDB.

mod kinds;
mod server;

use std::collections::BTreeMap;

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Value, json};

use crate::settings::{Checked, MOST_TAGS, Settings, check_tags};

/// What was never written, whatever it said.
const QUEUE: &str = "udpServerConfig.queueMetrics";
/// What belongs to InfluxDB in other sections, each with the switch of its section.
const ELSEWHERE: [(&str, &str); 6] = [
    ("uptimeMonitor.enable", "uptimeMonitor.storeInInfluxdb"),
    ("serviceMonitor.enable", "serviceMonitor.alertDestination.influxDb"),
    ("qlikSenseVersion.versionMonitor.enable", "qlikSenseVersion.versionMonitor.destination.influxDb"),
    ("qlikSenseLicense.serverLicenseMonitor.enable", "qlikSenseLicense.serverLicenseMonitor.destination.influxDb"),
    ("qlikSenseLicense.licenseMonitor.enable", "qlikSenseLicense.licenseMonitor.destination.influxDb"),
    ("qlikSenseLicense.licenseRelease.enable", "qlikSenseLicense.licenseRelease.destination.influxDb"),
];

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    import.no_effect(
        QUEUE,
        "Butler 16 never wrote these figures; for them name `butler.ingest` in `on:`, and set `ingest` of the plugin `uptime`",
    );
    if import.flag("influxDb.enable") {
        influxdb(&mut import);
    } else {
        import.off("influxDb");
        for (switch, path) in ELSEWHERE {
            import.used(switch);
            import.dropped(path, "`influxDb.enable` is off");
        }
    }
    import.tidy();
    Ok(import.finish())
}

fn influxdb(import: &mut Import) {
    let server = server::settings(import);
    let tags = tags(import, "influxDb.tag.static");
    let kinds::Kinds { rules, measurements, head, tail } = kinds::read(import);
    let Some(mut settings) = server else {
        return import.todo("influxDb", "there is no instance without the server, its version and what that needs");
    };
    if rules.is_empty() {
        return import.dropped("influxDb", "nothing that is written is switched on");
    }
    for (name, value) in [("tags", json!(tags)), ("measurements", json!(measurements))] {
        if value != json!({}) {
            settings.insert(name.to_owned(), value);
        }
    }
    for (name, lines) in [("headScriptLogLines", head), ("tailScriptLogLines", tail)] {
        if let Some(lines) = lines {
            settings.insert(name.to_owned(), lines.into());
        }
    }
    let check = |settings: Settings| Checked::try_from(settings).map(drop);
    import.checked("influxDb", json!({ "on": rules, "settings": settings }), check);
}

/// Tags by their names; of several with one name the last counts, as it did. What InfluxDB would not take is left out.
fn tags(import: &mut Import, path: &str) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for item in 0..import.len(path) {
        let item = format!("{path}[{item}]");
        let Some((name, value)) = import.pair(&item) else { continue };
        if let Err(why) = check_tags("tags", &BTreeMap::from([(name.clone(), value.clone())])) {
            import.todo(&item, &format!("it is left out: {why}"));
        } else if tags.len() == MOST_TAGS && !tags.contains_key(&name) {
            import.todo(&item, &format!("it is left out: at most {MOST_TAGS} tags are possible"));
        } else {
            tags.insert(name, value);
        }
    }
    tags
}

#[cfg(test)]
mod tests;
