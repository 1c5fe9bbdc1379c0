//! The part of `butler check` about tenants of Qlik Cloud.

use super::check::{Lines, good, note};
use super::progress::waiting;
use crate::config::Config;
use crate::qlik::Cloud;

/// Asks each tenant whose token it is.
pub(super) async fn check(config: &Config, lines: &mut Lines) {
    let Some(section) = &config.qlik_cloud else { return };
    let cloud = match Cloud::new(config) {
        Ok(cloud) => cloud,
        Err(error) => return lines.bad("qlik cloud", &error.to_string()),
    };
    for tenant in &section.tenants {
        let what = format!("qlik cloud {}", tenant.id);
        match waiting(&what, cloud.probe(&tenant.id)).await {
            Ok(name) => good(&what, &format!("{} answers, the token is of {name}", tenant.url)),
            Err(error) => lines.bad(&what, &error.to_string()),
        }
        if tenant.webhook_secret.is_none() {
            note(&what, "no `webhookSecret`: nothing is taken by webhook, only what plugins hand over");
        }
    }
}
