use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::NewRelic;

fn pair(name: &str, value: &str) -> Value {
    json!([{ "name": name, "value": value }])
}

/// A section `destination.event` or `.log` of reloads.
fn destination(property: &str, own: &str) -> Value {
    json!({
        "enable": true,
        "sendToAccount": {
            "byCustomProperty": { "enable": true, "customPropertyName": property },
            "always": { "enable": true, "account": ["First"] },
        },
        "attribute": { "static": pair("own", own), "dynamic": { "useAppTags": true, "useTaskTags": false } },
    })
}

fn reloads(name: &str, lines: u64) -> Value {
    let (event, mut log) = (destination(&format!("{name}_event"), "event"), destination(&format!("{name}_log"), "log"));
    log["tailScriptLogLines"] = lines.into();
    json!({
        "destination": { "event": event, "log": log },
        "sharedSettings": {
            "rateLimit": 15,
            "header": pair("X-My-Header", name),
            "attribute": { "static": pair("service", "butler") },
        },
    })
}

/// All keys.
fn complete() -> Value {
    let service = json!({
        "enable": false,
        "sendToAccount": ["Second"],
        "attribute": {
            "static": pair("own", "service"),
            "dynamic": { "serviceHost": true, "serviceName": true, "serviceDisplayName": false, "serviceState": true },
        },
    });
    let post = |url: &str| {
        let attribute = json!({ "static": pair("env", "prod") });
        json!({
            "destinationAccount": ["First", "Second"], "url": url, "header": pair("X-Rest", "yes"), "attribute": attribute,
        })
    };
    json!({
        "thirdPartyToolsCredentials": { "newRelic": [
            { "accountName": "First", "insertApiKey": "key-of-first", "accountId": 1_234_567 },
            { "accountName": "Second", "insertApiKey": "key-of-second", "accountId": 7_654_321 },
        ] },
        "incidentTool": { "newRelic": {
            "enable": true,
            "destinationAccount": { "event": ["Second"], "log": null },
            "url": {
                "event": "https://insights-collector.eu01.nr-data.net", "log": "https://log-api.eu.newrelic.com/log/v1",
            },
            "reloadTaskFailure": reloads("failed", 20),
            "reloadTaskAborted": reloads("aborted", 30),
            "serviceMonitor": {
                "destination": { "event": service, "log": service },
                "monitorServiceState": { "running": { "enable": true }, "stopped": { "enable": true } },
                "sharedSettings": { "rateLimit": 5, "header": null, "attribute": { "static": pair("service", "butler") } },
            },
        } },
        "uptimeMonitor": { "enable": true, "storeNewRelic": {
            "enable": true,
            "destinationAccount": ["First", "Second"],
            "url": "https://insights-collector.eu01.nr-data.net/metric/v1",
            "header": pair("X-Uptime", "yes"),
            "metric": { "dynamic": { "butlerMemoryUsage": { "enable": false }, "butlerUptime": { "enable": true } } },
            "attribute": {
                "static": pair("metricType", "butler-uptime"), "dynamic": { "butlerVersion": { "enable": true } },
            },
        } },
        "serviceMonitor": { "enable": true, "alertDestination": { "newRelic": { "enable": true } } },
        "restServerConfig": { "enable": true },
        "restServerEndpointsEnable": { "newRelic": { "postNewRelicMetric": true, "postNewRelicEvent": true } },
        "restServerEndpointsConfig": { "newRelic": {
            "postNewRelicMetric": post("https://insights-collector.eu01.nr-data.net/metric/v1"),
            "postNewRelicEvent": post("https://insights-collector.eu01.nr-data.net/"),
        } },
    })
}

/// With other values, by pointers.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut old = complete();
    for (pointer, value) in changes {
        *old.pointer_mut(pointer).unwrap() = value.clone();
    }
    old
}

/// The entries, each of which starts.
fn entries(old: &Value) -> Vec<Value> {
    let answer = import_of::<NewRelic>(old);
    for settings in filled_settings(&answer) {
        block_on(FakeHost::new("relic").start::<NewRelic>(settings)).unwrap();
    }
    answer["instances"].as_array().unwrap().clone()
}

const INCIDENTS: &str = "/incidentTool/newRelic";
const FAILURE: &str = "/incidentTool/newRelic/reloadTaskFailure/destination";
const UPTIME: &str = "/uptimeMonitor/storeNewRelic";
const REST: &str = "/restServerEndpointsConfig/newRelic";
const SWITCHES: [&str; 4] = [
    "/incidentTool/newRelic/enable",
    "/serviceMonitor/alertDestination/newRelic/enable",
    "/uptimeMonitor/storeNewRelic/enable",
    "/restServerConfig/enable",
];

#[test]
fn all_keys_are_taken_over() {
    let answer = import_of::<NewRelic>(&complete());
    insta::assert_snapshot!("complete", format!("{answer:#}"));
    assert_eq!(entries(&complete()).len(), 1);
}

#[test]
fn everything_off_is_nothing() {
    let old = with(&SWITCHES.map(|switch| (switch, json!(false))));
    let answer = import_of::<NewRelic>(&old);
    // No key becomes a file.
    assert_eq!((&answer["instances"], &answer["secrets"]), (&json!([]), &json!({})));
    insta::assert_snapshot!("off", format!("{:#}", answer["remarks"]));
    assert_eq!(import_of::<NewRelic>(&json!({}))["instances"], json!([]));
}

#[test]
fn each_part_works_by_itself() {
    for (on, kinds) in SWITCHES.into_iter().zip([
        r#"["reload-task.failed"],["reload-task.aborted"]"#,
        r#"["service.stopped","service.started"]"#,
        r#"["butler.uptime"]"#,
        "",
    ]) {
        let off: Vec<_> = SWITCHES.into_iter().filter(|it| *it != on).map(|switch| (switch, json!(false))).collect();
        let entries = entries(&with(&off));
        assert_eq!(entries.len(), 1, "{on}");
        let events: Vec<_> =
            entries[0]["on"].as_array().unwrap().iter().map(|rule| rule["events"].to_string()).collect();
        assert_eq!(events.join(","), kinds, "{on}");
        assert_eq!(entries[0]["settings"]["rest"].is_object(), on == SWITCHES[3], "{on}");
    }
}

#[test]
fn who_gets_it_by_a_property_alone_needs_a_condition() {
    let always = |api: &str| format!("{FAILURE}/{api}/sendToAccount/always/enable");
    let (event, log, legacy) = (always("event"), always("log"), format!("{INCIDENTS}/destinationAccount/event"));
    let on = |changes: &[(&str, Value)]| -> Vec<Value> {
        let rules = entries(&with(changes))[0]["on"].as_array().unwrap().clone();
        rules.into_iter().filter(|rule| rule["events"][0] == "reload-task.failed").collect()
    };
    let throttle = json!({ "per": "task", "every": "15s" });
    let rule = |property: &str| {
        let mut condition = json!({});
        condition[format!("task.customProperties.{property}")] = "*".into();
        json!({ "events": ["reload-task.failed"], "where": condition, "throttle": throttle })
    };
    let off = [(event.as_str(), json!(false)), (log.as_str(), json!(false)), (legacy.as_str(), json!(null))];
    assert_eq!(on(&off), [rule("failed_event"), rule("failed_log")]);
    // One that gets all of them is enough.
    assert_eq!(on(&off[1..]), [json!({ "events": ["reload-task.failed"], "throttle": throttle })]);
    let enabled = format!("{FAILURE}/log/enable");
    let only_events = [off[0].clone(), off[2].clone(), (enabled.as_str(), json!(false))];
    assert_eq!(on(&only_events), [rule("failed_event")]);
}

#[test]
fn the_old_list_of_accounts_counts_as_well() {
    let rules = entries(&complete()).remove(0)["settings"].clone();
    assert_eq!(
        rules["events"][0]["sendTo"],
        json!({ "always": ["First", "Second"], "byCustomProperty": "failed_event" })
    );
    assert_eq!(rules["logs"][0]["sendTo"], json!({ "always": ["First"], "byCustomProperty": "failed_log" }));
    // Alone, too.
    let mut changes = Vec::new();
    let section = format!("{FAILURE}/event/sendToAccount");
    for name in ["always", "byCustomProperty"] {
        changes.push((format!("{section}/{name}/enable"), json!(false)));
    }
    let changes: Vec<(&str, Value)> = changes.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    assert_eq!(entries(&with(&changes))[0]["settings"]["events"][0]["sendTo"], json!({ "always": ["Second"] }));
}

#[test]
fn a_property_that_is_switched_off_is_not_read() {
    let switch = format!("{FAILURE}/event/sendToAccount/byCustomProperty/enable");
    let old = with(&[(switch.as_str(), json!(false))]);
    assert!(entries(&old)[0]["settings"]["events"][0]["sendTo"]["byCustomProperty"].is_null());
    let remarks = import_of::<NewRelic>(&old)["remarks"].to_string();
    assert!(remarks.contains("Butler 16 read the property all the same"), "{remarks}");
}

#[test]
fn names_of_no_account_are_left_out() {
    let path = format!("{UPTIME}/destinationAccount");
    let old = with(&[(path.as_str(), json!(["Third", "First", "First"]))]);
    assert_eq!(entries(&old)[0]["settings"]["metrics"][0]["sendTo"], json!({ "always": ["First"] }));
    let remarks = import_of::<NewRelic>(&old)["remarks"].to_string();
    assert!(remarks.contains("`Third` is none of the accounts"), "{remarks}");
    // Without any account there is nobody to send to.
    for accounts in [json!(null), json!([{ "accountName": "First", "accountId": 1 }])] {
        let old = with(&[("/thirdPartyToolsCredentials/newRelic", accounts)]);
        // By custom properties it would go to accounts that are not there.
        assert_eq!(import_of::<NewRelic>(&old)["instances"], json!([]));
    }
}

#[test]
fn addresses_are_a_region_or_named() {
    let (event, metric) = (format!("{INCIDENTS}/url/event"), format!("{UPTIME}/url"));
    let rest = (format!("{REST}/postNewRelicEvent/url"), format!("{REST}/postNewRelicMetric/url"));
    let us = "https://insights-collector.newrelic.com";
    let where_to = |changes: &[(&str, &str)]| -> Vec<(Value, Value, Value)> {
        let changes: Vec<_> = changes.iter().map(|(path, url)| (*path, json!(url))).collect();
        let part = |it: &Value| (it["name"].clone(), it["settings"]["region"].clone(), it["settings"]["urls"].clone());
        entries(&with(&changes)).iter().map(part).collect()
    };
    let none = json!(null);
    assert_eq!(where_to(&[]), [(none.clone(), json!("eu"), none.clone())]);
    // Another region for the metrics alone.
    let metrics = [
        (metric.as_str(), "https://metric-api.newrelic.com/metric/v1"),
        (rest.1.as_str(), "https://metric-api.newrelic.com/metric/v1"),
    ];
    let urls = json!({ "metric": "https://metric-api.newrelic.com/metric/v1" });
    assert_eq!(where_to(&metrics), [(none.clone(), json!("eu"), urls)]);
    let proxy = [(event.as_str(), "http://proxy.test/nr"), (rest.0.as_str(), "http://proxy.test/nr")];
    assert_eq!(where_to(&proxy), [(none.clone(), json!("eu"), json!({ "event": "http://proxy.test/nr" }))]);
    // Load scripts send elsewhere: that is an instance of its own, before the other.
    let apart =
        [(json!("new-relic-rest"), json!("us"), json!({ "metric": "https://metric-api.eu.newrelic.com/metric/v1" }))];
    let mut expected = apart.to_vec();
    expected.push((none.clone(), json!("eu"), none));
    assert_eq!(where_to(&[(rest.0.as_str(), us)]), expected);
}

#[test]
fn one_header_has_one_value() {
    let answer = import_of::<NewRelic>(&complete());
    let headers = &answer["instances"][0]["settings"]["headers"];
    assert_eq!(headers, &json!({ "X-My-Header": "failed", "X-Uptime": "yes" }));
    assert!(answer["remarks"].to_string().contains("`X-My-Header` with one value now, `failed`"));
}

#[test]
fn endpoints_without_an_account_are_told() {
    let path = format!("{REST}/postNewRelicEvent/destinationAccount");
    let old = with(&[(path.as_str(), json!([]))]);
    assert!(entries(&old)[0]["settings"]["rest"]["event"].is_null());
    assert!(import_of::<NewRelic>(&old)["remarks"].to_string().contains("it names no account, so nothing was sent"));
}

proptest! {
    #[test]
    fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..9)) {
        let mut old = complete();
        for (place, how) in faults {
            damage(&mut old, place, how);
        }
        import_of::<NewRelic>(&old);
    }
}
