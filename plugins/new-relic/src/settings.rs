//! The settings as they are written; [`relic`](crate::relic) has the checked form of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use url::Url;

/// Most lines of a script log.
pub(crate) const MOST_LINES: usize = 100_000;

/// Settings of New Relic: accounts, and what they get.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Region of the accounts: `us` or `eu`. It decides about the addresses.
    #[serde(default)]
    pub(crate) region: Region,
    /// Addresses in the place of the region's, for proxies.
    #[serde(default)]
    pub(crate) urls: Urls,
    /// The accounts.
    #[schemars(length(min = 1, max = 50))]
    pub(crate) accounts: Vec<AccountSettings>,
    /// Further HTTP headers of all requests: name to value.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    pub(crate) headers: BTreeMap<String, String>,
    /// Static attributes of all that is sent: name to text or number.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Scalar>,
    /// What goes to the Event API: the first rule whose `kinds` fit decides. Absent: all kinds but those that metrics are made
    /// of, to all accounts. `[]`: nothing.
    #[serde(default)]
    pub(crate) events: Option<Vec<RuleSettings>>,
    /// What goes to the Log API: the first rule whose `kinds` fit decides. Absent: failed and aborted reloads with the end of
    /// their script logs, and services that stop and start, to all accounts. `[]`: nothing.
    #[serde(default)]
    pub(crate) logs: Option<Vec<LogRuleSettings>>,
    /// What goes to the Metric API: the first rule whose `kinds` fit decides. Metrics are made of `butler.uptime`,
    /// `butler.ingest`, `server-license.status` and `access-license.usage`. Absent: all of them, to all accounts. `[]`: nothing.
    #[serde(default)]
    pub(crate) metrics: Option<Vec<RuleSettings>>,
    /// What load scripts send by `POST /v4/newrelic/event` and `/v4/newrelic/metric`.
    #[serde(default)]
    pub(crate) rest: RestSettings,
    /// Time zone of local times in logs, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    pub(crate) time_zone: Option<String>,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    pub(crate) tls: Option<String>,
}

/// Where New Relic keeps the data of an account.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Region {
    /// United States.
    #[default]
    Us,
    /// European Union.
    Eu,
}

/// Addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Urls {
    /// Event API, to which `/v1/accounts/<id>/events` is added: `https://insights-collector.newrelic.com`.
    #[serde(default)]
    pub(crate) event: Option<Url>,
    /// Log API, whole: `https://log-api.newrelic.com/log/v1`.
    #[serde(default)]
    pub(crate) log: Option<Url>,
    /// Metric API, whole: `https://metric-api.newrelic.com/metric/v1`.
    #[serde(default)]
    pub(crate) metric: Option<Url>,
}

/// An account of New Relic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccountSettings {
    /// Name that `sendTo` and custom properties of tasks refer to.
    #[schemars(length(min = 1, max = 60))]
    pub(crate) name: String,
    /// Number of the account.
    pub(crate) account_id: AccountId,
    /// License key, or an insert key, of the account. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[schemars(length(min = 1), extend("writeOnly" = true))]
    pub(crate) api_key: String,
}

/// A number, or its digits as a text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum AccountId {
    Number(u64),
    Text(String),
}

/// A text or a number; `true` and `false` become texts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Text(String),
    Number(Number),
    Truth(bool),
}

/// Which events go where, and with which attributes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RuleSettings {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    pub(crate) kinds: Vec<String>,
    /// Which accounts get it. Absent: all.
    #[serde(default)]
    pub(crate) send_to: Option<SendToSettings>,
    /// Static attributes, which go before those for all.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Scalar>,
    /// Attributes (of metrics: names of metrics) that are left out; `*` stands for any text: `qs_taskTag_*`.
    #[serde(default)]
    pub(crate) leave_out: Vec<String>,
}

/// The same for logs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LogRuleSettings {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    pub(crate) kinds: Vec<String>,
    /// Which accounts get it. Absent: all.
    #[serde(default)]
    pub(crate) send_to: Option<SendToSettings>,
    /// Static attributes, which go before those for all.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Scalar>,
    /// Attributes that are left out; `*` stands for any text: `qs_taskTag_*`.
    #[serde(default)]
    pub(crate) leave_out: Vec<String>,
    /// How many of the last lines of the script log are sent; at most 100,000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = MOST_LINES))]
    pub(crate) tail_script_log_lines: usize,
}

pub(crate) fn default_lines() -> usize {
    20
}

/// Accounts by their names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SendToSettings {
    /// Accounts that get it always.
    #[serde(default)]
    pub(crate) always: Vec<String>,
    /// Custom property whose values are names of accounts: of the task, or of the app where there is no task.
    #[serde(default)]
    #[schemars(extend("x-qlik" = "customProperty"))]
    pub(crate) by_custom_property: Option<String>,
}

/// The two endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RestSettings {
    /// `POST /v4/newrelic/event`.
    #[serde(default)]
    pub(crate) event: PostSettings,
    /// `POST /v4/newrelic/metric`.
    #[serde(default)]
    pub(crate) metric: PostSettings,
}

/// What becomes of what a load script sends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PostSettings {
    /// Names of the accounts that get it. Absent: all.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(crate) accounts: Option<Vec<String>>,
    /// Further HTTP headers, beside those of all requests.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    pub(crate) headers: BTreeMap<String, String>,
    /// Static attributes, beside those for all; those of the load script go before them.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Scalar>,
}

impl From<RuleSettings> for LogRuleSettings {
    fn from(rule: RuleSettings) -> Self {
        let RuleSettings { kinds, send_to, attributes, leave_out } = rule;
        Self { kinds, send_to, attributes, leave_out, tail_script_log_lines: 0 }
    }
}
