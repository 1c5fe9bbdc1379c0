//! Section `qlikCloud` of the config: tenants of Qlik Cloud.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Qlik Cloud: failed app reloads of its tenants are told as `cloud-app-reload.failed`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QlikCloud {
    /// The tenants.
    #[schemars(length(min = 1))]
    pub tenants: Vec<CloudTenant>,
}

/// A tenant of Qlik Cloud.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudTenant {
    /// Id of the tenant, as its events have it: not its host name (`tenantId` of `GET /api/v1/users/me`).
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9_-]+$"),
        length(max = 128),
        extend("patternErrorMessage" = "must be the id of the tenant (letters, digits, `-`, `_`), not its host name")
    )]
    pub id: String,
    /// Address of the tenant: `https://acme.eu.qlikcloud.com`.
    pub url: String,
    /// For people; in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What Butler shows when it asks the tenant for facts: an API key or a JWT. A secret.
    #[schemars(length(min = 1))]
    pub token: String,
    /// The secret of the webhook that calls `POST /v5/qlik-cloud/events`. Absent: nothing is taken by the webhook, only what
    /// plugins hand over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub webhook_secret: Option<String>,
    /// Name of a profile under `tls` for the calls to the tenant; absent: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Links for messages.
    #[serde(default)]
    pub links: CloudLinks,
}

/// Links to a tenant for messages.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudLinks {
    /// Its management console.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qmc: Option<String>,
    /// Its hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}
