//! The settings, and the checked form of them.

use std::collections::{BTreeMap, BTreeSet};

use butler_plugin_api::butler16::Zone;
use butler_plugin_api::kind;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};
use url::Url;

use crate::accounts::{Account, SendTo};
use crate::{attributes, metric};

/// Most accounts, and longest name of one in bytes: what is done already must fit into 16 KB.
const MOST_ACCOUNTS: usize = 50;
const LONGEST_NAME: usize = 60;
/// Most static attributes in one place, so that they never crowd out the facts.
const MOST_STATIC: usize = 50;
/// Names that static attributes cannot have.
const RESERVED: [&str; 5] = ["eventType", "timestamp", "logtype", "message", "accountId"];
/// Headers that belong to the plugin or to HTTP.
const OURS: [&str; 5] = ["Api-Key", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Connection"];
/// Kinds that go to the Log API without a rule.
const LOGS: &[&str] = &[
    kind::RELOAD_TASK_FAILED,
    kind::RELOAD_TASK_ABORTED,
    kind::CLOUD_APP_RELOAD_FAILED,
    kind::SERVICE_STOPPED,
    kind::SERVICE_STARTED,
];

/// Static attributes: texts and numbers.
pub(crate) type Named = Vec<(String, Value)>;

/// Settings of New Relic: accounts, and what they get.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Region of the accounts: `us` or `eu`. It decides about the addresses.
    #[serde(default)]
    region: Region,
    /// Addresses in the place of the region's, for proxies.
    #[serde(default)]
    urls: Urls,
    /// The accounts.
    #[schemars(length(min = 1, max = 50))]
    accounts: Vec<AccountSettings>,
    /// Further HTTP headers of all requests: name to value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Static attributes of all that is sent: name to text or number.
    #[serde(default)]
    attributes: BTreeMap<String, Scalar>,
    /// What goes to the Event API: the first rule whose `kinds` fit decides. Absent: all kinds but those that metrics are made
    /// of, to all accounts. `[]`: nothing.
    #[serde(default)]
    events: Option<Vec<RuleSettings>>,
    /// What goes to the Log API: the first rule whose `kinds` fit decides. Absent: failed and aborted reloads with the end of
    /// their script logs, and services that stop and start, to all accounts. `[]`: nothing.
    #[serde(default)]
    logs: Option<Vec<LogRuleSettings>>,
    /// What goes to the Metric API: the first rule whose `kinds` fit decides. Metrics are made of `butler.uptime`,
    /// `butler.ingest`, `server-license.status` and `access-license.usage`. Absent: all of them, to all accounts. `[]`: nothing.
    #[serde(default)]
    metrics: Option<Vec<RuleSettings>>,
    /// What load scripts send by `POST /v4/newrelic/event` and `/v4/newrelic/metric`.
    #[serde(default)]
    rest: RestSettings,
    /// Time zone of local times in logs, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

/// Where New Relic keeps the data of an account.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Region {
    /// United States.
    #[default]
    Us,
    /// European Union.
    Eu,
}

/// Addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Urls {
    /// Event API, to which `/v1/accounts/<id>/events` is added: `https://insights-collector.newrelic.com`.
    #[serde(default)]
    event: Option<Url>,
    /// Log API, whole: `https://log-api.newrelic.com/log/v1`.
    #[serde(default)]
    log: Option<Url>,
    /// Metric API, whole: `https://metric-api.newrelic.com/metric/v1`.
    #[serde(default)]
    metric: Option<Url>,
}

/// An account of New Relic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountSettings {
    /// Name that `sendTo` and custom properties of tasks refer to.
    #[schemars(length(min = 1, max = 60))]
    name: String,
    /// Number of the account.
    account_id: AccountId,
    /// License key, or an insert key, of the account. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[schemars(length(min = 1))]
    api_key: String,
}

/// A number, or its digits as a text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum AccountId {
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
struct RuleSettings {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    kinds: Vec<String>,
    /// Which accounts get it. Absent: all.
    #[serde(default)]
    send_to: Option<SendToSettings>,
    /// Static attributes, beside those for all.
    #[serde(default)]
    attributes: BTreeMap<String, Scalar>,
    /// Attributes (of metrics: names of metrics) that are left out; `*` stands for any text: `qs_taskTag_*`.
    #[serde(default)]
    leave_out: Vec<String>,
}

/// The same for logs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogRuleSettings {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    kinds: Vec<String>,
    /// Which accounts get it. Absent: all.
    #[serde(default)]
    send_to: Option<SendToSettings>,
    /// Static attributes, beside those for all.
    #[serde(default)]
    attributes: BTreeMap<String, Scalar>,
    /// Attributes that are left out; `*` stands for any text: `qs_taskTag_*`.
    #[serde(default)]
    leave_out: Vec<String>,
    /// How many of the last lines of the script log are sent.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 100_000))]
    tail_script_log_lines: usize,
}

fn default_lines() -> usize {
    20
}

/// Accounts by their names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendToSettings {
    /// Accounts that get it always.
    #[serde(default)]
    always: Vec<String>,
    /// Custom property whose values are names of accounts: of the task, or of the app where there is no task.
    #[serde(default)]
    by_custom_property: Option<String>,
}

/// The two endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RestSettings {
    /// `POST /v4/newrelic/event`.
    #[serde(default)]
    event: PostSettings,
    /// `POST /v4/newrelic/metric`.
    #[serde(default)]
    metric: PostSettings,
}

/// What becomes of what a load script sends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostSettings {
    /// Names of the accounts that get it. Absent: all.
    #[serde(default)]
    #[schemars(length(min = 1))]
    accounts: Option<Vec<String>>,
    /// Further HTTP headers, beside those of all requests.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Static attributes, beside those for all; those of the load script go before them.
    #[serde(default)]
    attributes: BTreeMap<String, Scalar>,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Relic {
    pub(crate) addresses: Addresses,
    pub(crate) accounts: Vec<Account>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) events: Vec<Rule>,
    pub(crate) logs: Vec<Rule>,
    pub(crate) metrics: Vec<Rule>,
    pub(crate) rest_event: Post,
    pub(crate) rest_metric: Post,
    pub(crate) zone: Zone,
    pub(crate) tls: Option<String>,
}

/// Where the three APIs are; that of events without a final slash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) event: String,
    pub(crate) log: String,
    pub(crate) metric: String,
}

/// A checked rule.
#[derive(Debug)]
pub(crate) struct Rule {
    kinds: Vec<String>,
    /// Kinds that it does not take all the same.
    except: &'static [&'static str],
    pub(crate) send_to: SendTo,
    /// Static ones, those for all first.
    pub(crate) attributes: Named,
    pub(crate) leave_out: Vec<String>,
    /// Last lines of the script log, for logs.
    pub(crate) tail: usize,
}

/// A checked endpoint.
#[derive(Debug)]
pub(crate) struct Post {
    /// Indices of accounts; at least one.
    pub(crate) accounts: Vec<usize>,
    /// All of them.
    pub(crate) headers: Vec<(String, String)>,
    /// All of them.
    pub(crate) attributes: Named,
}

impl Rule {
    /// The first rule that takes a kind.
    pub(crate) fn of<'a>(rules: &'a [Self], kind: &str) -> Option<&'a Self> {
        rules
            .iter()
            .find(|rule| rule.kinds.iter().any(|pattern| kind::matches(pattern, kind)) && !rule.except.contains(&kind))
    }

    /// To all accounts, with nothing left out.
    fn plain(kinds: &[&str], except: &'static [&'static str], shared: &Named) -> Self {
        Self {
            kinds: kinds.iter().map(ToString::to_string).collect(),
            except,
            send_to: SendTo::All,
            attributes: shared.clone(),
            leave_out: Vec::new(),
            tail: default_lines(),
        }
    }
}

impl From<RuleSettings> for LogRuleSettings {
    fn from(rule: RuleSettings) -> Self {
        let RuleSettings { kinds, send_to, attributes, leave_out } = rule;
        Self { kinds, send_to, attributes, leave_out, tail_script_log_lines: 0 }
    }
}

impl TryFrom<Settings> for Relic {
    /// For people: which setting is wrong, and what would be right.
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let accounts = check_accounts(settings.accounts)?;
        let headers = check_headers("headers", settings.headers)?;
        let shared = check_attributes("attributes", settings.attributes)?;
        let rules = |section: &str, given: Vec<LogRuleSettings>| -> Result<Vec<Rule>, String> {
            given.into_iter().map(|rule| check_rule(section, rule, &shared, &accounts)).collect()
        };
        let events = match settings.events {
            None => vec![Rule::plain(&["*"], metric::KINDS, &shared)],
            Some(given) => rules("events", given.into_iter().map(Into::into).collect())?,
        };
        let logs = match settings.logs {
            None => vec![Rule::plain(LOGS, &[], &shared)],
            Some(given) => rules("logs", given)?,
        };
        let metrics = match settings.metrics {
            None => vec![Rule::plain(&["*"], &[], &shared)],
            Some(given) => rules("metrics", given.into_iter().map(Into::into).collect())?,
        };
        let post = |section: &str, given: PostSettings| check_post(section, given, &headers, &shared, &accounts);
        let (rest_event, rest_metric) =
            (post("rest.event", settings.rest.event)?, post("rest.metric", settings.rest.metric)?);
        Ok(Self {
            addresses: check_addresses(settings.region, &settings.urls)?,
            zone: Zone::new(settings.time_zone.as_deref())?,
            tls: settings.tls,
            accounts,
            headers,
            events,
            logs,
            metrics,
            rest_event,
            rest_metric,
        })
    }
}

fn check_accounts(given: Vec<AccountSettings>) -> Result<Vec<Account>, String> {
    if given.is_empty() || given.len() > MOST_ACCOUNTS {
        return Err(format!(
            "`accounts` has {} entries: at least 1 and at most {MOST_ACCOUNTS} are needed",
            given.len()
        ));
    }
    let mut names = BTreeSet::new();
    given
        .into_iter()
        .map(|AccountSettings { name, account_id, api_key }| {
            if name.is_empty() || name.len() > LONGEST_NAME {
                return Err(format!("`accounts`: the name `{name}` must have 1 to {LONGEST_NAME} bytes"));
            }
            if !names.insert(name.clone()) {
                return Err(format!("`accounts` has `{name}` twice: each needs a name of its own"));
            }
            let id = match account_id {
                AccountId::Number(number) => number.to_string(),
                AccountId::Text(text) => text.trim().to_owned(),
            };
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("`accountId` of the account `{name}` is `{id}`, but must be a number"));
            }
            let key = api_key.trim().to_owned();
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
                return Err(format!(
                    "`apiKey` of the account `{name}` is empty, or holds a blank or a line break: write the license key"
                ));
            }
            Ok(Account { name, id, key })
        })
        .collect()
}

fn check_addresses(region: Region, urls: &Urls) -> Result<Addresses, String> {
    let (event, log, metric) = match region {
        Region::Us => (
            "https://insights-collector.newrelic.com",
            "https://log-api.newrelic.com/log/v1",
            "https://metric-api.newrelic.com/metric/v1",
        ),
        Region::Eu => (
            "https://insights-collector.eu01.nr-data.net",
            "https://log-api.eu.newrelic.com/log/v1",
            "https://metric-api.eu.newrelic.com/metric/v1",
        ),
    };
    let address = |name: &str, given: &Option<Url>, usual: &str| match given {
        None => Ok(usual.to_owned()),
        Some(url) if matches!(url.scheme(), "http" | "https") => Ok(url.as_str().to_owned()),
        Some(url) => {
            Err(format!("`urls.{name}` begins with `{}:`, but only http and https can be called", url.scheme()))
        }
    };
    Ok(Addresses {
        event: address("event", &urls.event, event)?.trim_end_matches('/').to_owned(),
        log: address("log", &urls.log, log)?,
        metric: address("metric", &urls.metric, metric)?,
    })
}

fn check_rule(section: &str, rule: LogRuleSettings, shared: &Named, accounts: &[Account]) -> Result<Rule, String> {
    if rule.kinds.is_empty() {
        return Err(format!("`{section}`: a rule has no `kinds`; `\"*\"` stands for all of them"));
    }
    if let Some(fault) = rule.kinds.iter().find_map(|pattern| kind::pattern_fault(pattern)) {
        return Err(format!("`{section}`, `kinds`: {fault}"));
    }
    let send_to = match rule.send_to {
        None => SendTo::All,
        Some(SendToSettings { always, by_custom_property: None }) if always.is_empty() => {
            return Err(format!("`{section}`: `sendTo` names no account; leave it out for all accounts"));
        }
        Some(SendToSettings { always, by_custom_property: property }) => {
            let always = by_name(&format!("{section}.sendTo.always"), &always, accounts)?;
            SendTo::Chosen { always, property }
        }
    };
    let mut attributes = shared.clone();
    attributes.extend(check_attributes(&format!("{section}.attributes"), rule.attributes)?);
    let LogRuleSettings { kinds, leave_out, tail_script_log_lines: tail, .. } = rule;
    Ok(Rule { kinds, except: &[], send_to, attributes, leave_out, tail })
}

fn check_post(
    section: &str,
    given: PostSettings,
    headers: &[(String, String)],
    shared: &Named,
    accounts: &[Account],
) -> Result<Post, String> {
    let chosen = match given.accounts {
        None => (0..accounts.len()).collect(),
        Some(names) if names.is_empty() => {
            return Err(format!("`{section}.accounts` is empty: name accounts, or leave it out for all"));
        }
        Some(names) => by_name(&format!("{section}.accounts"), &names, accounts)?,
    };
    let mut all_headers = check_headers(&format!("{section}.headers"), given.headers)?;
    // A header that is there for all is replaced by that of the endpoint.
    let is_new = |name: &str| !all_headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let new: Vec<_> = headers.iter().filter(|(name, _)| is_new(name)).cloned().collect();
    all_headers.extend(new);
    let mut attributes = shared.clone();
    attributes.extend(check_attributes(&format!("{section}.attributes"), given.attributes)?);
    Ok(Post { accounts: chosen, headers: all_headers, attributes })
}

/// Indices of accounts, each once.
fn by_name(setting: &str, names: &[String], accounts: &[Account]) -> Result<Vec<usize>, String> {
    let mut chosen = Vec::new();
    for name in names {
        let index = accounts.iter().position(|account| account.name == *name);
        let index = index.ok_or_else(|| format!("`{setting}` names `{name}`, which is none of `accounts`"))?;
        if !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    Ok(chosen)
}

fn check_attributes(setting: &str, given: BTreeMap<String, Scalar>) -> Result<Named, String> {
    if given.len() > MOST_STATIC {
        return Err(format!("`{setting}` has {} entries, but at most {MOST_STATIC} are possible", given.len()));
    }
    for name in given.keys() {
        if name.is_empty() || name.chars().count() > attributes::LONGEST_NAME {
            return Err(format!("`{setting}`: names must have 1 to {} characters", attributes::LONGEST_NAME));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("`{setting}`: `{name}` is set by Butler, or New Relic drops it; take another name"));
        }
    }
    let value = |scalar| match scalar {
        Scalar::Text(text) => Value::from(text),
        Scalar::Number(number) => Value::from(number),
        Scalar::Truth(truth) => Value::from(truth.to_string()),
    };
    Ok(given.into_iter().map(|(name, scalar)| (name, value(scalar))).collect())
}

/// Never quotes the value: it may be a secret.
fn check_headers(setting: &str, given: BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in &given {
        if name.is_empty() || !name.chars().all(is_token) {
            return Err(format!("`{setting}`: `{name}` is no name of a header"));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(format!("`{setting}`: the value of `{name}` holds a line break or another control character"));
        }
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(format!("`{setting}`: `{name}` is set by Butler; remove it"));
        }
    }
    Ok(given.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn relic(more: &Value) -> Result<Relic, String> {
        let mut settings = json!({ "accounts": [{ "name": "A", "accountId": 1, "apiKey": "geheim-a" },
                                                { "name": "B", "accountId": "2", "apiKey": " geheim-b\n" }] });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Relic::try_from)
    }

    #[test]
    fn regions_have_their_addresses_and_each_can_be_another() {
        let us = relic(&json!({})).unwrap().addresses;
        assert_eq!(us.event, "https://insights-collector.newrelic.com");
        assert_eq!(us.log, "https://log-api.newrelic.com/log/v1");
        assert_eq!(us.metric, "https://metric-api.newrelic.com/metric/v1");
        let eu = relic(&json!({ "region": "eu" })).unwrap().addresses;
        assert_eq!(eu.event, "https://insights-collector.eu01.nr-data.net");
        assert_eq!(eu.log, "https://log-api.eu.newrelic.com/log/v1");
        assert_eq!(eu.metric, "https://metric-api.eu.newrelic.com/metric/v1");
        let urls = json!({ "region": "eu", "urls": { "event": "http://proxy.test/events/", "metric": "http://proxy.test/m" } });
        let mixed = relic(&urls).unwrap().addresses;
        assert_eq!((mixed.event.as_str(), mixed.metric.as_str()), ("http://proxy.test/events", "http://proxy.test/m"));
        assert_eq!(mixed.log, eu.log);
    }

    #[test]
    fn accounts_are_enough() {
        let relic = relic(&json!({})).unwrap();
        assert_eq!((relic.accounts[1].id.as_str(), relic.accounts[1].key.as_str()), ("2", "geheim-b"));
        let takes = |rules: &[Rule], kind| Rule::of(rules, kind).is_some();
        assert!(takes(&relic.events, "reload-task.failed") && takes(&relic.events, "moon.risen"));
        assert!(!takes(&relic.events, kind::BUTLER_UPTIME) && takes(&relic.metrics, kind::BUTLER_UPTIME));
        assert!(takes(&relic.logs, kind::SERVICE_STARTED) && !takes(&relic.logs, kind::RELOAD_TASK_SUCCEEDED));
        assert_eq!((relic.rest_event.accounts, relic.logs[0].tail), (vec![0, 1], 20));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let relic = relic(&json!({ "logs": [
            { "kinds": ["reload-task.aborted"], "tailScriptLogLines": 5 },
            { "kinds": ["*"], "sendTo": { "always": ["B", "A", "B"] } },
        ] }))
        .unwrap();
        assert_eq!(Rule::of(&relic.logs, "reload-task.aborted").unwrap().tail, 5);
        let other = Rule::of(&relic.logs, "reload-task.failed").unwrap();
        assert!(matches!(&other.send_to, SendTo::Chosen { always, property: None } if *always == [1, 0]));
    }

    #[test]
    fn own_attributes_and_headers_follow_those_for_all() {
        let relic = relic(&json!({
            "headers": { "X-A": "1", "X-B": "2" }, "attributes": { "service": "butler", "n": 1, "yes": true },
            "events": [{ "kinds": ["*"], "attributes": { "service": "events" } }],
            "rest": { "metric": { "accounts": ["B"], "headers": { "x-a": "3" }, "attributes": { "m": 2 } } }
        }))
        .unwrap();
        let names: Vec<_> = relic.events[0].attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["n=1", "service=\"butler\"", "yes=\"true\"", "service=\"events\""]);
        assert_eq!(relic.rest_metric.accounts, [1]);
        assert_eq!(relic.rest_metric.headers, [("x-a".into(), "3".into()), ("X-B".into(), "2".into())]);
        assert_eq!(relic.rest_metric.attributes.last().unwrap(), &("m".to_owned(), json!(2)));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        let account = |name: &str, id: Value, key: &str| json!({ "name": name, "accountId": id, "apiKey": key });
        let many: Vec<_> = (0..51).map(|n| account(&n.to_string(), json!(n), "geheim")).collect();
        let statics: BTreeMap<_, _> = (0..51).map(|n| (n.to_string(), n)).collect();
        for (settings, part) in [
            (json!({ "accounts": [] }), "`accounts` has 0"),
            (json!({ "accounts": many }), "`accounts` has 51"),
            (json!({ "accounts": [account("", json!(1), "geheim")] }), "1 to 60 bytes"),
            (json!({ "accounts": [account("A", json!(1), "geheim"), account("A", json!(2), "geheim")] }), "`A` twice"),
            (json!({ "accounts": [account("A", json!("1x"), "geheim")] }), "`accountId` of the account `A`"),
            (json!({ "accounts": [account("A", json!(1), "geheim 1")] }), "`apiKey` of the account `A`"),
            (json!({ "accounts": [account("A", json!(1), " ")] }), "`apiKey` of the account `A`"),
            (json!({ "region": "asia" }), "asia"),
            (json!({ "urls": { "log": "ftp://a.test/" } }), "`urls.log` begins with `ftp:`"),
            (json!({ "headers": { "api-key": "geheim" } }), "`api-key` is set by Butler"),
            (json!({ "headers": { "X-A": "geheim\r\nb" } }), "the value of `X-A`"),
            (json!({ "headers": { "X A": "geheim" } }), "no name of a header"),
            (json!({ "attributes": { "eventType": "x" } }), "`eventType` is set by Butler"),
            (json!({ "attributes": { "": "x" } }), "1 to 255"),
            (json!({ "attributes": statics }), "at most 50"),
            (json!({ "events": [{ "kinds": [] }] }), "a rule has no `kinds`"),
            (json!({ "logs": [{ "kinds": ["failed"] }] }), "`logs`, `kinds`"),
            (json!({ "metrics": [{ "kinds": ["*"], "sendTo": {} }] }), "`sendTo` names no account"),
            (json!({ "events": [{ "kinds": ["*"], "sendTo": { "always": ["C"] } }] }), "names `C`, which is none"),
            (json!({ "rest": { "event": { "accounts": [] } } }), "`rest.event.accounts` is empty"),
            (json!({ "rest": { "metric": { "accounts": ["C"] } } }), "`rest.metric.accounts` names `C`"),
            (json!({ "events": [{ "kinds": ["*"], "tailScriptLogLines": 3 }] }), "tailScriptLogLines"),
            (json!({ "timeZone": "Mars/Olympus" }), "`timeZone`"),
            (json!({ "account": [] }), "unknown field"),
        ] {
            let error = relic(&settings).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
