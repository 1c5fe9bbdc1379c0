//! The part of `butler check` and `butler doctor` about tenants of Qlik Cloud.

use super::findings::Findings;
use super::progress::waiting;
use crate::config::Config;
use crate::qlik::Cloud;

/// Asks each tenant whose token it is.
pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let Some(section) = &config.qlik_cloud else { return };
    let cloud = match Cloud::new(config) {
        Ok(cloud) => cloud,
        Err(error) => return findings.failed("qlik cloud", &error.to_string(), ""),
    };
    for tenant in &section.tenants {
        let what = format!("qlik cloud {}", tenant.id);
        match waiting(&what, cloud.probe(&tenant.id)).await {
            Ok(name) => findings.ok(&what, &format!("{} answers, the token is of {name}", tenant.url)),
            Err(error) => findings.failed(&what, &error.to_string(), ""),
        }
        if tenant.webhook_secret.is_none() {
            let detail = "no `webhookSecret`: nothing is taken by webhook, only what plugins hand over";
            findings.note(&what, detail, "");
        }
    }
}
