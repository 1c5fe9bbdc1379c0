//! The licence of the server (QRS `license`): its state at every look, and alerts as its end comes near.
//!
//! An alert is emitted before it is remembered, under a key of the look: a look that is repeated after a crash emits nothing twice.

mod alerts;
mod license;
#[cfg(test)]
mod tests;

use butler_plugin_api::{Host, kind};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::part::Trouble;
use crate::qrs;
use crate::settings::ServerLicense;
use alerts::{Alert, Told};
use license::License;

/// Where what was alerted about is remembered.
const TOLD: &str = "server-license/told";

/// Looks at the licence. `planned` is the time of the look by its schedule, `now` the time.
pub(crate) async fn look(host: &Host, settings: &ServerLicense, planned: &str, now: Timestamp) -> Result<(), Trouble> {
    let license = License::read(&qrs::object(host, "license").await?, now);
    if let Some(days) = license.days {
        host.metrics().gauge("server_license_days_left", &[], f64::from(days));
    }
    if let Some(expired) = license.expired {
        host.metrics().gauge("server_license_expired", &[], f64::from(u8::from(expired)));
    }
    let key = format!("server-license/status/{planned}");
    host.emit_once(&key, kind::SERVER_LICENSE_STATUS, data(&license, &license.status())).await?;
    alert(host, settings, &license, planned).await?;
    match license.trouble() {
        Some(text) => Err(Trouble::Noted(text)),
        None => Ok(()),
    }
}

/// What is to be said about the licence, for `check`.
pub(crate) async fn describe(host: &Host, now: Timestamp) -> Result<String, Trouble> {
    let license = License::read(&qrs::object(host, "license").await?, now);
    let trouble = license.trouble().map(|text| format!(" ({text})")).unwrap_or_default();
    Ok(format!("{}{trouble}", license.status()))
}

async fn alert(host: &Host, settings: &ServerLicense, license: &License, planned: &str) -> Result<(), Trouble> {
    let stored = host.storage().get(TOLD).await?;
    // What cannot be read is of another version: better told again than not at all.
    let told: Told = stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default();
    let (alert, now_told) = told.after(license, &settings.threshold_days);
    match alert {
        Some(Alert::Expiring(threshold)) => {
            let key = format!("server-license/expiring/{planned}/{threshold}");
            let message = format!("{}: enter the next one before that (QMC, License management)", license.status());
            host.emit_once(&key, kind::SERVER_LICENSE_EXPIRING, data(license, &message)).await?;
        }
        Some(Alert::Expired) => {
            let key = format!("server-license/expired/{planned}");
            let message = format!("{}: enter a new one (QMC, License management)", license.status());
            host.emit_once(&key, kind::SERVER_LICENSE_EXPIRED, data(license, &message)).await?;
        }
        None => {}
    }
    if now_told != told {
        if now_told.is_renewal_of(&told) {
            tracing::info!("{}: it has been renewed", license.status());
        }
        host.storage().set(TOLD, &json!(now_told), None).await?;
    }
    Ok(())
}

fn data(license: &License, message: &str) -> Value {
    json!({ "message": message, "serverLicense": license.section() })
}
