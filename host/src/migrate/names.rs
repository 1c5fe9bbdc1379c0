//! Names of older versions as those of Butler 16, so that whoever reads the config afterwards knows only one form.
//!
//! Which version renamed what is in the comments. Where a value is there by its new name as well, that one counts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::old::{covers, leaves};

/// Values that only moved: from, to.
const MOVED: [(&str, &str); 14] = [
    // 9.0
    ("uptimeMonitor.storeInInfluxdb.hostIP", "influxDb.hostIP"),
    ("uptimeMonitor.storeInInfluxdb.hostPort", "influxDb.hostPort"),
    ("uptimeMonitor.storeInInfluxdb.auth", "influxDb.auth"),
    ("uptimeMonitor.storeInInfluxdb.dbName", "influxDb.dbName"),
    ("uptimeMonitor.storeInInfluxdb.instanceTag", "influxDb.instanceTag"),
    ("uptimeMonitor.storeInInfluxdb.retentionPolicy", "influxDb.retentionPolicy"),
    // 12.2
    ("qlikSenseLicense.licenseRelease.neverReleaseUsers", "qlikSenseLicense.licenseRelease.neverRelease.user"),
    // 13.0
    ("emailNotification.reloadTaskAborted.fromAdress", "emailNotification.reloadTaskAborted.fromAddress"),
    ("emailNotification.reloadTaskFailure.fromAdress", "emailNotification.reloadTaskFailure.fromAddress"),
    ("emailNotification.serviceStopped.fromAdress", "emailNotification.serviceStopped.fromAddress"),
    ("emailNotification.serviceStarted.fromAdress", "emailNotification.serviceStarted.fromAddress"),
    ("scriptLog.storeOnDisk.reloadTaskFailure", "scriptLog.storeOnDisk.clientManaged.reloadTaskFailure"),
    // 14.0
    ("restServerEndpointsEnable.apiListEnbledEndpoints", "restServerEndpointsEnable.apiListEnabledEndpoints"),
    // Never so in the program, but in its documentation.
    ("scheduler.configFile", "scheduler.configfile"),
];

/// Lists of accounts that 8.4 introduced: absent, the one account got everything.
const ACCOUNTS: [(&str, &str); 5] = [
    ("uptimeMonitor.storeNewRelic", "uptimeMonitor.storeNewRelic.destinationAccount"),
    ("incidentTool.newRelic", "incidentTool.newRelic.destinationAccount.event"),
    ("incidentTool.newRelic", "incidentTool.newRelic.destinationAccount.log"),
    (
        "restServerEndpointsConfig.newRelic.postNewRelicMetric",
        "restServerEndpointsConfig.newRelic.postNewRelicMetric.destinationAccount",
    ),
    (
        "restServerEndpointsConfig.newRelic.postNewRelicEvent",
        "restServerEndpointsConfig.newRelic.postNewRelicEvent.destinationAccount",
    ),
];
/// What the one account is called.
const ACCOUNT: &str = "default";

/// A config by the names of Butler 16.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// What stands below `Butler`.
    pub butler: Map<String, Value>,
    /// Values that do not count, since they are there by their new names as well: old name, new name.
    pub superseded: Vec<(String, String)>,
    /// New path, and the path in the file.
    origins: BTreeMap<String, String>,
    /// Paths of values that are not in the file.
    made: BTreeSet<String>,
}

impl Named {
    /// Brings a config into the form of Butler 16.
    pub fn new(butler: Map<String, Value>) -> Self {
        let mut named = Self { butler, ..Self::default() };
        named.accounts();
        named.influx_switch();
        for (from, to) in MOVED {
            named.shift(from, to);
        }
        // 13.0: one value became a list of names and values.
        named.listed("influxDb.instanceTag", None, "influxDb.tag.static", "butler_instance");
        named.listed("configEngine.headers.X-Qlik-User", None, "configEngine.headers.static", "X-Qlik-User");
        named.listed("configQRS.headerValue", Some("configQRS.headerKey"), "configQRS.headers.static", "X-Qlik-User");
        named
    }

    /// The path in the file of a path here; `None` for what is not in the file.
    pub fn origin(&self, path: &str) -> Option<String> {
        if self.made.iter().any(|made| covers(made, path)) {
            return None;
        }
        let moved = self.origins.iter().filter(|(new, _)| covers(new, path)).max_by_key(|(new, _)| new.len());
        Some(moved.map_or_else(|| path.to_owned(), |(new, old)| format!("{old}{}", &path[new.len()..])))
    }

    /// All values that are in the file: their paths here and there.
    pub fn leaves(&self) -> Vec<(String, String)> {
        leaves(&self.butler).into_iter().filter_map(|path| Some((path.clone(), self.origin(&path)?))).collect()
    }

    /// 8.4: one account became a list of them.
    fn accounts(&mut self) {
        const LIST: &str = "thirdPartyToolsCredentials.newRelic";
        let Some(Value::Object(account)) = at(&self.butler, LIST).cloned() else { return };
        let mut account = account;
        if !account.contains_key("accountName") {
            account.insert("accountName".to_owned(), ACCOUNT.into());
            self.made.insert(format!("{LIST}[0].accountName"));
        }
        let name = account["accountName"].clone();
        put(&mut self.butler, LIST, json!([account]));
        self.origins.insert(format!("{LIST}[0]"), LIST.to_owned());
        for (section, list) in ACCOUNTS {
            if at(&self.butler, section).is_some_and(Value::is_object) && at(&self.butler, list).is_none() {
                put(&mut self.butler, list, json!([name]));
                self.made.insert(list.to_owned());
            }
        }
    }

    /// Before 9.0 InfluxDB had no switch but that of the uptime monitor.
    fn influx_switch(&mut self) {
        let before = at(&self.butler, "uptimeMonitor.storeInInfluxdb.hostIP").is_some();
        if before && at(&self.butler, "influxDb.enable").is_none() {
            let on = at(&self.butler, "uptimeMonitor.storeInInfluxdb.enable").cloned().unwrap_or(Value::Bool(true));
            put(&mut self.butler, "influxDb.enable", on);
            self.made.insert("influxDb.enable".to_owned());
        }
    }

    /// Takes a value away, unless it is there by its new name as well.
    fn taken(&mut self, from: &str, to: &str) -> Option<(Value, String)> {
        let value = take(&mut self.butler, from)?;
        // The switch that was made may stand alone in its section.
        let origin = self.origin(from)?;
        if at(&self.butler, to).is_some() {
            self.superseded.extend(below(&origin, &value).into_iter().map(|path| (path, to.to_owned())));
            return None;
        }
        Some((value, origin))
    }

    fn shift(&mut self, from: &str, to: &str) {
        let Some((value, origin)) = self.taken(from, to) else { return };
        if put(&mut self.butler, to, value.clone()) {
            self.origins.insert(to.to_owned(), origin);
        } else {
            put(&mut self.butler, from, value);
        }
    }

    /// A value that becomes the only entry of a list of names and values; `key` is where its name stands, if it does.
    fn listed(&mut self, from: &str, key: Option<&str>, to: &str, name: &str) {
        let named = key.and_then(|key| self.taken(key, to));
        let Some((value, origin)) = self.taken(from, to) else {
            // The name alone says nothing.
            if let Some((_, origin)) = named {
                self.superseded.push((origin, to.to_owned()));
            }
            return;
        };
        let (name, name_origin) = named.unwrap_or_else(|| (name.into(), origin.clone()));
        if put(&mut self.butler, to, json!([{ "name": name, "value": value }])) {
            self.origins.insert(format!("{to}[0].name"), name_origin);
            self.origins.insert(format!("{to}[0].value"), origin);
        } else {
            put(&mut self.butler, from, value);
        }
    }
}

fn below(path: &str, value: &Value) -> Vec<String> {
    let alone = Map::from_iter([(path.to_owned(), value.clone())]);
    leaves(&alone)
}

fn at<'v>(butler: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut parts = path.split('.');
    let mut value = butler.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// Takes a value out, and the mappings around it that are empty then.
fn take(butler: &mut Map<String, Value>, path: &str) -> Option<Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(rest) = rest else { return butler.remove(first) };
    let inner = butler.get_mut(first)?.as_object_mut()?;
    let taken = take(inner, rest)?;
    if inner.is_empty() {
        butler.remove(first);
    }
    Some(taken)
}

/// Puts a value in; false when something stands in the way.
fn put(butler: &mut Map<String, Value>, path: &str, value: Value) -> bool {
    match path.split_once('.') {
        None => {
            butler.insert(path.to_owned(), value);
            true
        }
        Some((first, rest)) => {
            let inner = butler.entry(first).or_insert(Value::Null);
            if inner.is_null() {
                *inner = json!({});
            }
            inner.as_object_mut().is_some_and(|inner| put(inner, rest, value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(butler: Value) -> Named {
        let Value::Object(butler) = butler else { panic!("no mapping") };
        Named::new(butler)
    }

    /// Paths here, by the path in the file.
    fn origins(named: &Named) -> Vec<String> {
        named.leaves().into_iter().map(|(new, old)| format!("{old} -> {new}")).collect()
    }

    #[test]
    fn headers_and_tags_of_butler_12() {
        let named = named(json!({
            "configQRS": { "headerKey": "X-Qlik-User", "headerValue": "UserDirectory=A;UserId=b", "host": "h" },
            "configEngine": { "headers": { "X-Qlik-User": "UserDirectory=C;UserId=d" } },
            "influxDb": { "instanceTag": "DEV" },
        }));
        assert_eq!(
            Value::Object(named.butler.clone()),
            json!({
                "configQRS": { "host": "h", "headers": { "static": [{ "name": "X-Qlik-User", "value": "UserDirectory=A;UserId=b" }] } },
                "configEngine": { "headers": { "static": [{ "name": "X-Qlik-User", "value": "UserDirectory=C;UserId=d" }] } },
                "influxDb": { "tag": { "static": [{ "name": "butler_instance", "value": "DEV" }] } },
            })
        );
        assert_eq!(
            origins(&named),
            [
                "configEngine.headers.X-Qlik-User -> configEngine.headers.static[0].name",
                "configEngine.headers.X-Qlik-User -> configEngine.headers.static[0].value",
                "configQRS.headerKey -> configQRS.headers.static[0].name",
                "configQRS.headerValue -> configQRS.headers.static[0].value",
                "configQRS.host -> configQRS.host",
                "influxDb.instanceTag -> influxDb.tag.static[0].name",
                "influxDb.instanceTag -> influxDb.tag.static[0].value",
            ]
        );
        assert!(named.superseded.is_empty());
    }

    #[test]
    fn influxdb_and_the_account_of_butler_8() {
        let named = named(json!({
            "thirdPartyToolsCredentials": { "newRelic": { "insertApiKey": "k", "accountId": 7 } },
            "uptimeMonitor": { "storeInInfluxdb": { "hostIP": "i", "hostPort": 1, "instanceTag": "T", "auth": { "enable": false } },
                               "storeNewRelic": { "enable": true } },
        }));
        assert_eq!(
            Value::Object(named.butler.clone()),
            json!({
                "thirdPartyToolsCredentials": { "newRelic": [{ "accountName": "default", "insertApiKey": "k", "accountId": 7 }] },
                "uptimeMonitor": { "storeNewRelic": { "enable": true, "destinationAccount": ["default"] } },
                "influxDb": { "enable": true, "hostIP": "i", "hostPort": 1, "auth": { "enable": false },
                              "tag": { "static": [{ "name": "butler_instance", "value": "T" }] } },
            })
        );
        let origins = origins(&named);
        assert_eq!(origins.len(), 8, "{origins:#?}");
        for line in [
            "thirdPartyToolsCredentials.newRelic.accountId -> thirdPartyToolsCredentials.newRelic[0].accountId",
            "uptimeMonitor.storeInInfluxdb.auth.enable -> influxDb.auth.enable",
            "uptimeMonitor.storeInInfluxdb.instanceTag -> influxDb.tag.static[0].value",
        ] {
            assert!(origins.iter().any(|it| it == line), "{line}: {origins:#?}");
        }
    }

    #[test]
    fn the_new_name_counts() {
        let named = named(json!({
            "emailNotification": { "serviceStopped": { "fromAdress": "old", "fromAddress": "new" }, "serviceStarted": { "fromAdress": "only" } },
            "configQRS": { "headerKey": "a", "headerValue": "b", "headers": { "static": [] } },
            "configEngine": { "headers": "odd" },
            "scriptLog": { "storeOnDisk": { "reloadTaskFailure": { "enable": true, "logDirectory": "/x" }, "clientManaged": { "reloadTaskFailure": { "enable": false } } } },
        }));
        assert_eq!(
            Value::Object(named.butler.clone()),
            json!({
                "emailNotification": { "serviceStopped": { "fromAddress": "new" }, "serviceStarted": { "fromAddress": "only" } },
                "configQRS": { "headers": { "static": [] } },
                "configEngine": { "headers": "odd" },
                "scriptLog": { "storeOnDisk": { "clientManaged": { "reloadTaskFailure": { "enable": false } } } },
            })
        );
        let superseded: Vec<&str> = named.superseded.iter().map(|(old, _)| old.as_str()).collect();
        assert_eq!(
            superseded,
            [
                "emailNotification.serviceStopped.fromAdress",
                "scriptLog.storeOnDisk.reloadTaskFailure.enable",
                "scriptLog.storeOnDisk.reloadTaskFailure.logDirectory",
                "configQRS.headerKey",
                "configQRS.headerValue",
            ]
        );
    }

    #[test]
    fn what_stands_in_the_way_keeps_a_value_where_it_is() {
        let named = named(json!({ "influxDb": 5, "uptimeMonitor": { "storeInInfluxdb": { "dbName": "b" } } }));
        // Nobody can read it there, and it is told as not known.
        assert_eq!(
            origins(&named),
            ["influxDb -> influxDb", "uptimeMonitor.storeInInfluxdb.dbName -> uptimeMonitor.storeInInfluxdb.dbName"]
        );
    }
}
