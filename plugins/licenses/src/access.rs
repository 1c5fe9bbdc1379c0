//! The access licences (QRS `license/accesstypeoverview`): their use at every look, and alerts when few are left.

mod overview;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use butler_plugin_api::{AccessLicenses, Host, kind};
use serde_json::json;

use crate::part::Trouble;
use crate::qrs;
use crate::settings::Low;
use overview::Left;

/// Where the types of which few are left, and somebody was told of it, are remembered.
const LOW: &str = "access-license/low";

/// Looks at the access licences. `planned` is the time of the look by its schedule.
pub(crate) async fn look(host: &Host, low: Low, planned: &str) -> Result<(), Trouble> {
    let body = qrs::object(host, overview::PATH).await?;
    let licenses = overview::read(&body);
    let left = overview::left(&licenses);
    for left in &left {
        let name =
            if left.name == overview::CAPACITY { "analyzer_capacity_minutes_left" } else { "access_licenses_left" };
        let labels: &[_] = if left.name == overview::CAPACITY { &[] } else { &[("type", left.name)] };
        host.metrics().gauge(name, labels, left.count);
    }
    let data = json!({ "message": summary(&left), "accessLicenses": licenses });
    host.emit_once(&format!("access-license/usage/{planned}"), kind::ACCESS_LICENSE_USAGE, data).await?;
    alert(host, &licenses, &left, low, planned).await?;
    match overview::fault(&body, &licenses, &limits(low)) {
        Some(text) => Err(Trouble::Noted(text)),
        None => Ok(()),
    }
}

/// At how many left there are few, by type; absent: never.
fn limits(low: Low) -> [(&'static str, Option<u32>); 4] {
    [
        (overview::PROFESSIONAL, low.professional),
        (overview::ANALYZER, low.analyzer),
        (overview::CAPACITY, low.analyzer_capacity_minutes),
        (overview::TOKENS, low.tokens),
    ]
}

/// What is to be said about them, for `check`.
pub(crate) async fn describe(host: &Host) -> Result<String, Trouble> {
    let licenses = overview::read(&qrs::object(host, overview::PATH).await?);
    Ok(format!("access licences: {}", summary(&overview::left(&licenses))))
}

/// An alert for each type of which few are left now, and were not at the look before. It is emitted before that is remembered,
/// under a key of the look: a look that is repeated after a crash emits nothing twice.
async fn alert(host: &Host, licenses: &AccessLicenses, left: &[Left], low: Low, planned: &str) -> Result<(), Trouble> {
    let stored = host.storage().get(LOW).await?;
    // What cannot be read is of another version: better told again than not at all.
    let before: BTreeSet<String> = stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default();
    let mut now = BTreeSet::new();
    for (name, limit) in limits(low) {
        let Some(limit) = limit else { continue };
        let is_known = before.contains(name);
        let Some(left) = left.iter().find(|left| left.name == name) else {
            // Not told at this look: as before.
            now.extend(is_known.then(|| name.to_owned()));
            continue;
        };
        if left.count > f64::from(limit) {
            if is_known {
                tracing::info!("{}: that is enough again", left.text());
            }
            continue;
        }
        if !is_known {
            let data = json!({ "message": left.text(), "accessLicenses": overview::only(licenses, name) });
            host.emit_once(&format!("access-license/low/{planned}/{name}"), kind::ACCESS_LICENSE_LOW, data).await?;
        }
        now.insert(name.to_owned());
    }
    if now != before {
        host.storage().set(LOW, &json!(now), None).await?;
    }
    Ok(())
}

fn summary(left: &[Left]) -> String {
    if left.is_empty() {
        return "Qlik Sense names no kind of access licence that is in use".to_owned();
    }
    left.iter().map(Left::text).collect::<Vec<_>>().join(", ")
}
