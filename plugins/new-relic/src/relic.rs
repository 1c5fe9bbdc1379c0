//! The settings in their checked form.

use std::collections::{BTreeMap, BTreeSet};

use butler_plugin_api::butler16::Zone;
use butler_plugin_api::kind;
use butler_plugin_api::settings::{header_or_type, http_address, not_reserved};
use serde_json::Value;
use url::Url;

use crate::accounts::{Account, SendTo};
use crate::settings::{
    AccountId, AccountSettings, LogRuleSettings, PostSettings, Region, Scalar, SendToSettings, Settings, Urls,
    default_lines,
};
use crate::{attributes, metric};

/// Most accounts, and longest name of one in bytes: what is done already must fit into 16 KB.
const MOST_ACCOUNTS: usize = 50;
pub(crate) const LONGEST_NAME: usize = 60;
/// Most static attributes in one place, so that they never crowd out the facts.
pub(crate) const MOST_STATIC: usize = 50;
/// Names that static attributes cannot have.
const RESERVED: [&str; 6] = ["eventType", "timestamp", "logtype", "message", "accountId", "appId"];
/// Headers that belong to the plugin.
const OURS: [&str; 2] = ["Api-Key", "Content-Encoding"];
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
    let address = |name: &str, given: &Option<Url>| match given {
        None => Ok(usual(region, name).to_owned()),
        Some(url) => http_address(&format!("urls.{name}"), url).map(|()| url.as_str().to_owned()),
    };
    Ok(Addresses {
        event: address("event", &urls.event)?.trim_end_matches('/').to_owned(),
        log: address("log", &urls.log)?,
        metric: address("metric", &urls.metric)?,
    })
}

/// New Relic's own address of an API, by the name that it has under `urls`.
pub(crate) fn usual(region: Region, api: &str) -> &'static str {
    match (region, api) {
        (Region::Us, "event") => "https://insights-collector.newrelic.com",
        (Region::Us, "log") => "https://log-api.newrelic.com/log/v1",
        (Region::Us, _) => "https://metric-api.newrelic.com/metric/v1",
        (Region::Eu, "event") => "https://insights-collector.eu01.nr-data.net",
        (Region::Eu, "log") => "https://log-api.eu.newrelic.com/log/v1",
        (Region::Eu, _) => "https://metric-api.eu.newrelic.com/metric/v1",
    }
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

pub(crate) fn check_attributes(setting: &str, given: BTreeMap<String, Scalar>) -> Result<Named, String> {
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
pub(crate) fn check_headers(setting: &str, given: BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    for (name, value) in &given {
        header_or_type(setting, name, value)?;
        not_reserved(setting, name, &OURS)?;
    }
    Ok(given.into_iter().collect())
}
