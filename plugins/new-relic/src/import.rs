//! What Butler 16 sent to New Relic: ends of reloads and changes of services (`incidentTool.newRelic`), figures of itself
//! (`uptimeMonitor.storeNewRelic`), and what load scripts sent (`restServerEndpointsConfig.newRelic`).

mod address;
mod services;
mod tasks;
mod uptime;

use std::collections::BTreeMap;

use butler_plugin_api::OperationError;
use butler_plugin_api::import::{Block, Import};
use serde_json::{Map, Value, json};

use crate::relic::{LONGEST_NAME, MOST_STATIC, Relic, check_attributes, check_headers};
use crate::settings::{Scalar, Settings};
use address::{Address, Addresses};

const CREDENTIALS: &str = "thirdPartyToolsCredentials.newRelic";
const INCIDENTS: &str = "incidentTool.newRelic";
/// What load scripts may send: the names under the setting `rest` and in the old config.
const ENDPOINTS: [(&str, &str); 2] = [("event", "postNewRelicEvent"), ("metric", "postNewRelicMetric")];

/// An instance to be.
#[derive(Debug, Default)]
struct Draft {
    /// Rules for `on:`.
    on: Vec<Value>,
    events: Vec<Value>,
    logs: Vec<Value>,
    metrics: Vec<Value>,
    headers: BTreeMap<String, Header>,
    /// Where headers stand in the old config, and the names of those.
    with_headers: Vec<(String, Vec<String>)>,
    addresses: Addresses,
}

/// The value of a header, which may be a secret.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    value: String,
    /// What stands for it in the new config.
    setting: String,
}

/// An account, with its place in the old config.
#[derive(Debug)]
struct Account {
    item: String,
    name: String,
    id: u64,
}

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let accounts = accounts(&mut import);
    let mut draft = Draft::default();
    tasks::read(&mut import, &accounts, &mut draft);
    services::read(&mut import, &accounts, &mut draft);
    if draft.on.is_empty() {
        import.dropped(&format!("{INCIDENTS}.url"), "nothing is sent there");
    } else {
        draft.addresses.event = address::read(&mut import, &format!("{INCIDENTS}.url.event"), "event");
        draft.addresses.log = address::read(&mut import, &format!("{INCIDENTS}.url.log"), "log");
    }
    uptime::read(&mut import, &accounts, &mut draft);
    let (rest, of_rest) = rest(&mut import, &accounts);
    if rest.is_empty() && draft.on.is_empty() {
        import.dropped("thirdPartyToolsCredentials", "nothing is sent to New Relic");
        return Ok(import.finish());
    }
    let accounts = settings_of(&mut import, &accounts);
    if rest.is_empty() {
        draft.tell_of_shared_headers(&mut import);
        instance(&mut import, None, &accounts, &draft, rest);
    } else if draft.on.is_empty() || draft.addresses.can_be(&of_rest) {
        draft.addresses.join(of_rest);
        for (setting, endpoint) in ENDPOINTS.into_iter().filter(|(setting, _)| rest.contains_key(*setting)) {
            let names = rest[setting]["headers"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
            draft.with_headers.push((format!("restServerEndpointsConfig.newRelic.{endpoint}.header"), names.collect()));
        }
        draft.tell_of_shared_headers(&mut import);
        instance(&mut import, None, &accounts, &draft, rest);
    } else {
        // The first instance of the config serves the endpoints.
        draft.tell_of_shared_headers(&mut import);
        let apart = Draft { addresses: of_rest, ..Draft::default() };
        instance(&mut import, Some("new-relic-rest"), &accounts, &apart, rest);
        instance(&mut import, None, &accounts, &draft, Map::new());
    }
    import.tidy();
    Ok(import.finish())
}

fn instance(import: &mut Import, name: Option<&str>, accounts: &Value, draft: &Draft, rest: Map<String, Value>) {
    let mut settings = Map::new();
    draft.addresses.write(&mut settings);
    let lists = [("events", &draft.events), ("logs", &draft.logs), ("metrics", &draft.metrics)];
    settings.extend(lists.map(|(name, rules)| (name.to_owned(), json!(rules))));
    settings.insert("accounts".to_owned(), accounts.clone());
    if !draft.headers.is_empty() {
        let headers = draft.headers.iter().map(|(name, header)| (name.clone(), header.setting.as_str().into()));
        settings.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    if !rest.is_empty() {
        settings.insert("rest".to_owned(), rest.into());
    }
    let mut entry = json!({ "on": draft.on, "settings": settings });
    if let Some(name) = name {
        entry["name"] = name.into();
    }
    import.checked("thirdPartyToolsCredentials", entry, |settings: Settings| Relic::try_from(settings).map(drop));
}

/// The accounts that are whole; of several with one name the first.
fn accounts(import: &mut Import) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for item in 0..import.len(CREDENTIALS) {
        let item = format!("{CREDENTIALS}[{item}]");
        let name = import.text(&format!("{item}.accountName")).filter(|name| name.len() <= LONGEST_NAME);
        let id = import.number(&format!("{item}.accountId"));
        // A placeholder such as `<key of the account>` would be refused, and all accounts with it.
        let key = import.text(&format!("{item}.insertApiKey"));
        let has_key = key.is_some_and(|key| key.chars().all(|c| c.is_ascii_graphic()));
        match name.zip(id).filter(|_| has_key) {
            Some((name, _)) if accounts.iter().any(|account| account.name == name) => {
                import.dropped(&item, "another account before it has the same name");
            }
            Some((name, id)) => accounts.push(Account { item, name, id }),
            None => import.todo(
                &item,
                &format!(
                    "it is left out: an account needs `accountName`, of at most {LONGEST_NAME} bytes, `accountId` and an \
                     `insertApiKey` without blanks in it"
                ),
            ),
        }
    }
    accounts
}

/// The setting `accounts`. Only here keys become files.
fn settings_of(import: &mut Import, accounts: &[Account]) -> Value {
    let setting = |Account { item, name, id }: &Account| {
        let key = import.token(&format!("{item}.insertApiKey"));
        json!({ "name": name, "accountId": id, "apiKey": key })
    };
    accounts.iter().map(setting).collect()
}

/// The names of accounts in a list, each once; those of no account are told.
fn names(import: &mut Import, accounts: &[Account], path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for item in 0..import.len(path) {
        let item = format!("{path}[{item}]");
        match import.text(&item) {
            Some(name) if !accounts.iter().any(|account| account.name == name) => {
                import.todo(&item, &format!("`{name}` is none of the accounts, and is left out"));
            }
            Some(name) if !names.contains(&name) => names.push(name),
            _ => {}
        }
    }
    names
}

/// Static attributes of several lists, of which later ones go before. What New Relic would not take is left out.
fn attributes(import: &mut Import, paths: &[String]) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    for path in paths {
        for item in 0..import.len(path) {
            let item = format!("{path}[{item}]");
            let Some((name, value)) = import.pair(&item) else { continue };
            let one = BTreeMap::from([(name.clone(), Scalar::Text(value.clone()))]);
            if let Err(why) = check_attributes("attributes", one) {
                import.todo(&item, &format!("it is left out: {why}"));
            } else if attributes.len() == MOST_STATIC && !attributes.contains_key(&name) {
                import.todo(&item, &format!("it is left out: at most {MOST_STATIC} attributes are possible"));
            } else {
                attributes.insert(name, value);
            }
        }
    }
    attributes
}

/// The headers of a list, each with its value in a file of its own. What cannot be sent is left out.
fn headers(import: &mut Import, path: &str) -> Vec<(String, Header)> {
    let mut headers = Vec::new();
    for item in 0..import.len(path) {
        let item = format!("{path}[{item}]");
        let Some((name, value)) = import.pair(&item) else { continue };
        if let Err(why) = check_headers("headers", BTreeMap::from([(name.clone(), value.clone())])) {
            import.todo(&item, &format!("it is left out: {why}"));
            continue;
        }
        let setting = import.token(&format!("{item}.value")).unwrap_or_default();
        headers.push((name, Header { value, setting }));
    }
    headers
}

/// Attributes whose switches are off.
fn switched_off(import: &mut Import, section: &str, switches: &[(&str, &[&str])]) -> Vec<String> {
    let mut left_out = Vec::new();
    for (switch, patterns) in switches {
        let path = format!("{section}.{switch}");
        let is_there = import.has(&path);
        if !import.flag(&path) && is_there {
            left_out.extend(patterns.iter().map(ToString::to_string));
        }
    }
    left_out
}

impl Draft {
    /// Headers of all requests: there were some for each section.
    fn headers(&mut self, import: &mut Import, path: &str) {
        let mut names = Vec::new();
        for (name, header) in headers(import, path) {
            names.push(name.clone());
            match self.headers.get(&name) {
                // The value may be a secret.
                Some(known) if known.value != header.value => import.differs(
                    path,
                    &format!("all requests have the header `{name}` with one value now, that of another section"),
                ),
                Some(_) => {}
                None => drop(self.headers.insert(name, header)),
            }
        }
        self.with_headers.push((path.to_owned(), names));
    }

    /// Headers of one section go out with all requests.
    fn tell_of_shared_headers(&self, import: &mut Import) {
        for (path, own) in &self.with_headers {
            let is_own = |name: &str| own.iter().any(|own| own.eq_ignore_ascii_case(name));
            let others = self.headers.keys().filter(|name| !is_own(name)).map(|name| format!("`{name}`"));
            let others = others.collect::<Vec<_>>().join(", ");
            if !others.is_empty() {
                let text = format!("these requests have the headers of other sections as well now: {others}");
                import.differs(path, &text);
            }
        }
    }
}

/// The `throttle` of a section, by its `sharedSettings`.
fn throttle(import: &mut Import, shared: &str, kind: &'static str, per: &'static str) -> Option<Value> {
    import.throttle(&Block::new(shared, &[kind], per))
}

/// A rule of `events`, `logs` or `metrics`; what is empty is left out.
fn rule(kinds: &[&str], send_to: &Value, attributes: &BTreeMap<String, String>, leave_out: &[String]) -> Value {
    let mut rule = json!({ "kinds": kinds, "sendTo": send_to });
    if !attributes.is_empty() {
        rule["attributes"] = json!(attributes);
    }
    if !leave_out.is_empty() {
        rule["leaveOut"] = json!(leave_out);
    }
    rule
}

/// The setting `rest`, and where what load scripts send goes.
fn rest(import: &mut Import, accounts: &[Account]) -> (Map<String, Value>, Addresses) {
    let (mut rest, mut addresses) = (Map::new(), Addresses::default());
    let is_on = import.flag("restServerConfig.enable");
    for (setting, endpoint) in ENDPOINTS {
        let section = format!("restServerEndpointsConfig.newRelic.{endpoint}");
        let switch = format!("restServerEndpointsEnable.newRelic.{endpoint}");
        if !(import.flag(&switch) && is_on) {
            import.dropped(&section, &format!("`restServerConfig.enable` or `{switch}` is off"));
            continue;
        }
        let path = format!("{section}.destinationAccount");
        let names = names(import, accounts, &path);
        if names.is_empty() {
            import.todo(
                &section,
                "it names no account, so nothing was sent; if there is an instance, all accounts get it now",
            );
            continue;
        }
        let mut post = json!({ "accounts": names });
        let headers = headers(import, &format!("{section}.header")).into_iter();
        let headers: BTreeMap<_, _> = headers.map(|(name, header)| (name, header.setting)).collect();
        let attributes = attributes(import, &[format!("{section}.attribute.static")]);
        for (name, pairs) in [("headers", headers), ("attributes", attributes)] {
            if !pairs.is_empty() {
                post[name] = json!(pairs);
            }
        }
        rest.insert(setting.to_owned(), post);
        let address: Option<Address> = address::read(import, &format!("{section}.url"), setting);
        *(if setting == "event" { &mut addresses.event } else { &mut addresses.metric }) = address;
    }
    (rest, addresses)
}

#[cfg(test)]
mod tests;
