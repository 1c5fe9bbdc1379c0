//! The section `mqttConfig` of Butler 16, and what other sections say of MQTT.

mod topics;

use butler_plugin_api::import::Import;
use butler_plugin_api::{OperationError, kind};
use serde_json::{Map, Value, json};

use crate::settings::Settings;
use crate::topic;

const FORWARD: &str = "mqttConfig.qlikSenseCloud.event.mqttForward";
const SERVICES: &str = "serviceMonitor.alertDestination.mqtt";
const LICENSE: &str = "qlikSenseLicense.serverLicenseMonitor.destination.mqtt";
const LICENSE_MONITOR: &str = "qlikSenseLicense.serverLicenseMonitor";
/// Where the second connection of Butler 16 told of itself.
const CLOUD_STATUS: &str = "butler/qscloud/event/mqttforward/status";

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    if import.flag("mqttConfig.enable") {
        main(&mut import);
        cloud(&mut import);
    } else {
        import.off("mqttConfig");
        for path in [SERVICES, LICENSE] {
            import.dropped(path, "`mqttConfig.enable` is off");
        }
        for monitor in ["serviceMonitor", LICENSE_MONITOR, "qlikSenseCloud"] {
            import.used(&format!("{monitor}.enable"));
        }
    }
    import.tidy();
    Ok(import.finish())
}

fn main(import: &mut Import) {
    let mut events = vec![kind::RELOAD_TASK_FAILED, kind::RELOAD_TASK_ABORTED, kind::UDP_LISTENING, kind::UDP_FAILED];
    if import.both("serviceMonitor", SERVICES) {
        events.extend([kind::SERVICE_STOPPED, kind::SERVICE_STARTED, kind::SERVICE_STATE]);
    }
    if import.both(LICENSE_MONITOR, LICENSE) {
        for name in ["sendRecurring", "sendAlert"] {
            import.no_effect(&format!("{LICENSE}.{name}"), "Butler 16 sent both in any case, and so it is now");
        }
        events.extend([kind::SERVER_LICENSE_STATUS, kind::SERVER_LICENSE_EXPIRING, kind::SERVER_LICENSE_EXPIRED]);
    }
    let topics = topics::entries(import);
    let start = start_topic(import);
    let mut settings = Map::new();
    let is_azure = import.flag("mqttConfig.azureEventGrid.enable");
    if is_azure {
        azure(import, &mut settings);
    } else {
        import.off("mqttConfig.azureEventGrid");
    }
    let scheme = if is_azure { "mqtts" } else { "mqtt" };
    let Some(url) = url(import, scheme, "mqttConfig.brokerHost", "mqttConfig.brokerPort") else {
        return import.todo("mqttConfig", "there is no instance without the broker, `brokerHost`");
    };
    settings.insert("url".to_owned(), url.into());
    if !topics.is_empty() {
        settings.insert("topics".to_owned(), topics.into());
    }
    if let Some(topic) = start {
        settings.insert("startTask".to_owned(), json!({ "topic": topic }));
    }
    import.differs(
        "mqttConfig.enable",
        "messages have QoS 1 instead of 0 (`qos`), and the status is retained, with a last will (`status`)",
    );
    instance(import, "mqttConfig", json!({ "on": [{ "events": events }], "settings": settings }));
}

/// The topic that tasks are started by.
fn start_topic(import: &mut Import) -> Option<String> {
    const START: &str = "mqttConfig.taskStartTopic";
    let root = import.text("mqttConfig.subscriptionRootTopic");
    let topic = import.text(START)?;
    if !root.is_some_and(|root| topic::matches(&root, &topic)) {
        import.no_effect(START, "it is not below `subscriptionRootTopic`, so no task was ever started by it");
        return None;
    }
    if let Some(fault) = topic::fault(&topic) {
        import.todo(START, &format!("no task is started by it: {fault}"));
        return None;
    }
    Some(topic)
}

fn azure(import: &mut Import, settings: &mut Map<String, Value>) {
    const AZURE: &str = "mqttConfig.azureEventGrid";
    settings.insert("version".to_owned(), "5".into());
    match import.text(&format!("{AZURE}.clientId")) {
        Some(id) => settings.extend(["clientId", "user"].map(|name| (name.to_owned(), id.clone().into()))),
        None => import.todo(&format!("{AZURE}.clientId"), "Event Grid needs it, as `clientId` and `user`"),
    }
    let (certificate, key) =
        (import.path(&format!("{AZURE}.clientCertFile")), import.path(&format!("{AZURE}.clientKeyFile")));
    match certificate.zip(key) {
        Some((certificate, key)) => {
            settings.insert("tls".to_owned(), json!({ "certificate": certificate, "key": key }));
        }
        None => import.todo(AZURE, "Event Grid needs `tls.certificate` and `tls.key`"),
    }
}

/// The connection for events of Qlik Cloud is an instance of its own, which publishes nothing.
fn cloud(import: &mut Import) {
    let (is_on, is_wanted) = (import.flag(&format!("{FORWARD}.enable")), import.flag("qlikSenseCloud.enable"));
    if !(is_on && is_wanted) {
        return import.dropped("mqttConfig.qlikSenseCloud", "it or `qlikSenseCloud.enable` is off");
    }
    // What is subscribed to is the topic alone now.
    import.used(&format!("{FORWARD}.topic.subscriptionRoot"));
    let topic = import.text(&format!("{FORWARD}.topic.appReload"));
    let user = import.text(&format!("{FORWARD}.broker.username"));
    let password = import.secret(&format!("{FORWARD}.broker.password"));
    let url = url(import, "mqtts", &format!("{FORWARD}.broker.host"), &format!("{FORWARD}.broker.port"));
    let Some((url, topic)) = url.zip(topic) else {
        return import.todo(FORWARD, "there is no instance without `broker.host` and `topic.appReload`");
    };
    let mut settings = json!({ "url": url, "cloud": { "topic": topic }, "status": { "topic": CLOUD_STATUS } });
    for (name, value) in [("user", user), ("password", password)] {
        if let Some(value) = value {
            settings[name] = value.into();
        }
    }
    instance(import, FORWARD, json!({ "name": "mqtt-cloud", "on": [], "settings": settings }));
}

fn url(import: &mut Import, scheme: &str, host: &str, port: &str) -> Option<String> {
    let (host, port) = (import.text(host), import.number(port));
    let host = host?;
    Some(port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

fn instance(import: &mut Import, path: &str, entry: Value) {
    import.checked(path, entry, |settings: Settings| settings.check("/").map(drop));
}

#[cfg(test)]
mod tests;
