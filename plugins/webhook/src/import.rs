//! What `butler migrate` takes over from a config of Butler 16: `webhookNotification`, with the switches of the monitors for
//! webhooks.

use butler_plugin_api::import::{Block, Import};
use butler_plugin_api::{OperationError, kind};
use serde_json::{Map, Value, json};
use url::Url;

use crate::settings::Settings;

const SECTION: &str = "webhookNotification";
const LICENSE: &str = "qlikSenseLicense.serverLicenseMonitor";

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    for block in blocks(&mut import) {
        let hooks = block.key("webhooks");
        let count = import.len(&hooks);
        if count == 0 {
            import.dropped(&block.path, "it names no webhooks");
            continue;
        }
        let throttle = throttle(&mut import, &block);
        for item in 0..count {
            hook(&mut import, &block, throttle.clone(), &format!("{hooks}[{item}]"));
        }
    }
    import.tidy();
    Ok(import.finish())
}

/// The blocks that are switched on, each by switches of its own.
fn blocks(import: &mut Import) -> Vec<Block> {
    let on = import.flag(&format!("{SECTION}.enable"));
    let services = import.tells_services("webhook");
    let mut license = |switch: &str| import.flag(&format!("{LICENSE}.{switch}"));
    // All are read.
    let is_looked_at = license("enable") & license("destination.webhook.enable");
    let recurring = license("destination.webhook.sendRecurring.enable") && is_looked_at && on;
    let alert = license("destination.webhook.sendAlert.enable") && is_looked_at && on;
    if services && !on && import.has(SECTION) {
        let why = "Butler 16 did not look at it for Windows services: they are told as before. If that is not wanted, take \
                   the instances out";
        import.differs(&format!("{SECTION}.enable"), why);
    } else if !on {
        import.off(SECTION);
        return Vec::new();
    }
    let blocks: [(bool, &str, &[&str], &str); 5] = [
        (on, "reloadTaskFailure", &[kind::RELOAD_TASK_FAILED], "task"),
        (on, "reloadTaskAborted", &[kind::RELOAD_TASK_ABORTED], "task"),
        (services, "serviceMonitor", &[kind::SERVICE_STOPPED, kind::SERVICE_STARTED], "service"),
        (recurring, "qlikSenseServerLicenseMonitor", &[kind::SERVER_LICENSE_STATUS], "kind"),
        (
            alert,
            "qlikSenseServerLicenseExpiryAlert",
            &[kind::SERVER_LICENSE_EXPIRING, kind::SERVER_LICENSE_EXPIRED],
            "kind",
        ),
    ];
    let mut enabled = Vec::new();
    for (is_on, name, events, per) in blocks {
        let block = Block::new(format!("{SECTION}.{name}"), events, per);
        if is_on {
            enabled.push(block);
        } else {
            import.off(&block.path);
        }
    }
    enabled
}

/// The throttle of a block's rules, and what is different about the events.
fn throttle(import: &mut Import, block: &Block) -> Option<Value> {
    let throttle = import.throttle(block);
    if block.per == "service" && throttle.is_some() {
        let why = "Butler 16 counted a stop and a start together; now each for itself, so that a start that follows a stop \
                   is told";
        import.differs(&block.rate_limit, why);
    }
    if block.events.contains(&kind::SERVER_LICENSE_EXPIRED) {
        let why = "Butler 16 called at each look from the threshold on; now one event comes at each of the days that the \
                   plugin `licenses` has in `thresholdDays`, and one when the licence has expired";
        import.differs(&block.path, why);
    }
    throttle
}

/// An instance for one webhook of a block.
fn hook(import: &mut Import, block: &Block, throttle: Option<Value>, path: &str) {
    let key = |name: &str| format!("{path}.{name}");
    import.dropped(&key("description"), "an instance has a `name` instead");
    let (Some(url), Some(method)) =
        (import.secret_address(&key("webhookURL")), import.choice(&key("httpMethod"), &["POST", "PUT", "GET"]))
    else {
        import.todo(path, "it lacks an address or a method, and is left out");
        return;
    };
    let mut settings = Map::new();
    settings.insert("url".to_owned(), url.into());
    if method == "GET" {
        let address = import.value(&key("webhookURL"));
        let address = address.as_ref().and_then(Value::as_str).and_then(|address| Url::parse(address.trim()).ok());
        if address.is_some_and(|address| address.query().is_some()) {
            import.differs(&key("webhookURL"), "Butler 16 dropped the query of the address; now it is kept");
        }
    }
    if method != "POST" {
        settings.insert("method".to_owned(), method.into());
    }
    settings.extend(tls(import, &key("cert")).map(|profile| ("tls".to_owned(), profile.into())));
    import.rule("webhook", block, throttle, settings.into(), |settings| {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check(".").map(drop)
    });
}

/// The name of the TLS profile of a webhook; `None` if the system's authorities are right.
fn tls(import: &mut Import, path: &str) -> Option<String> {
    if !import.flag(&format!("{path}.enable")) {
        import.off(path);
        return None;
    }
    let ca = import.path(&format!("{path}.certCA"));
    let verify = format!("{path}.rejectUnauthorized");
    // What is neither true nor false turns nothing off.
    let is_verified = import.flag(&verify) || import.value(&verify) != Some(Value::Bool(false));
    let profile = match (ca, is_verified) {
        (Some(ca), true) => json!({ "ca": ca }),
        (Some(ca), false) => json!({ "ca": ca, "verify": "none" }),
        (None, false) => json!({ "verify": "none" }),
        (None, true) => {
            import.todo(path, "it names no file of authorities: those of the system are taken");
            return None;
        }
    };
    Some(import.tls("webhook", profile))
}

#[cfg(test)]
mod tests;
