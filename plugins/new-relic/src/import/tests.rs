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
fn one_account_that_cannot_be_does_not_keep_the_others_out() {
    let key = "/thirdPartyToolsCredentials/newRelic/1/insertApiKey";
    let old = with(&[(key, json!("<API key of the account>"))]);
    let settings = entries(&old)[0]["settings"].clone();
    assert_eq!(settings["accounts"].as_array().unwrap().len(), 1, "{settings:#}");
    assert_eq!(settings["events"][0]["sendTo"]["always"], json!(["First"]));
    let remarks = import_of::<NewRelic>(&old)["remarks"].to_string();
    assert!(remarks.contains("`insertApiKey` without blanks in it") && !remarks.contains("API key of"), "{remarks}");
}

#[test]
fn keys_and_headers_have_no_blanks_around_them() {
    let header = format!("{UPTIME}/header");
    let old = with(&[
        ("/thirdPartyToolsCredentials/newRelic/0/insertApiKey", json!(" key-of-first\n")),
        (header.as_str(), pair("X-Uptime", "yes\n")),
    ]);
    let settings = filled_settings(&import_of::<NewRelic>(&old)).remove(0);
    assert_eq!(
        (&settings["accounts"][0]["apiKey"], &settings["headers"]["X-Uptime"]),
        (&json!("key-of-first"), &json!("yes"))
    );
    assert_eq!(entries(&old).len(), 1);
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
    // Those who got it by the property alone have to hear of it.
    let section = format!("{FAILURE}/event/sendToAccount");
    let (always, legacy) = (format!("{section}/always/enable"), format!("{INCIDENTS}/destinationAccount/event"));
    let old = with(&[(switch.as_str(), json!(false)), (always.as_str(), json!(false)), (legacy.as_str(), json!(null))]);
    let remarks = import_of::<NewRelic>(&old)["remarks"].clone();
    let key = "incidentTool.newRelic.reloadTaskFailure.destination.event.sendToAccount.byCustomProperty";
    let of_property: Vec<_> = remarks.as_array().unwrap().iter().filter(|it| it["key"] == key).collect();
    assert_eq!(of_property.len(), 1, "{remarks}");
    assert!(
        of_property[0]["fate"] == "toDo" && of_property[0]["text"].as_str().unwrap().contains("`failed_event`"),
        "{remarks}"
    );
    assert!(!remarks.to_string().contains("nothing was sent"), "{remarks}");
    // Without a name there was none to read.
    let name = format!("{section}/byCustomProperty/customPropertyName");
    let old = with(&[(switch.as_str(), json!(false)), (name.as_str(), json!(""))]);
    assert!(!import_of::<NewRelic>(&old)["remarks"].to_string().contains("all the same"));
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
    // Others of New Relic's hosts, ports and paths are no region.
    for url in [
        "https://gov-insights-collector.newrelic.com",
        "https://insights-collector.eu01.nr-data.net:8443",
        "https://insights-collector.newrelic.com/proxy",
        "https://insights-collector.eu01.nr-data.net.test",
    ] {
        let both = [(event.as_str(), url), (rest.0.as_str(), url)];
        assert_eq!(where_to(&both), [(none.clone(), json!("eu"), json!({ "event": url }))], "{url}");
    }
    let plain = [(event.as_str(), "http://insights-collector.eu01.nr-data.net/")];
    let old = with(&plain.map(|(path, url)| (path, json!(url))));
    assert!(import_of::<NewRelic>(&old)["remarks"].to_string().contains("redirects are not followed"));
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
    let headers = &filled_settings(&answer)[0]["headers"];
    assert_eq!(headers, &json!({ "X-My-Header": "failed", "X-Uptime": "yes" }));
    assert!(answer["remarks"].to_string().contains("`X-My-Header` with one value now"));
    // A value may be a secret.
    let settings = answer["instances"][0]["settings"].to_string();
    assert!(settings.contains("{file:secrets/uptimeMonitor.storeNewRelic.header.0.value}"), "{settings}");
    assert!(!settings.contains(r#":"yes""#) && !answer["remarks"].to_string().contains("`failed`"), "{answer}");
}

#[test]
fn headers_that_other_sections_had_are_told() {
    let told = |old: &Value| -> Vec<(String, String)> {
        let answer = import_of::<NewRelic>(old);
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        let remarks = answer["remarks"].as_array().unwrap().iter();
        let remarks = remarks.filter(|it| it["text"].as_str().unwrap().contains("of other sections as well"));
        remarks.map(|it| (text(&it["key"]), text(&it["text"]).split_once(": ").unwrap().1.to_owned())).collect()
    };
    let reloads = |block: &str| format!("incidentTool.newRelic.{block}.sharedSettings.header");
    let rest = |endpoint: &str| format!("restServerEndpointsConfig.newRelic.{endpoint}.header");
    let both = "`X-My-Header`, `X-Uptime`";
    let expected = [
        (reloads("reloadTaskFailure"), "`X-Uptime`"),
        (reloads("reloadTaskAborted"), "`X-Uptime`"),
        (reloads("serviceMonitor"), both),
        ("uptimeMonitor.storeNewRelic.header".to_owned(), "`X-My-Header`"),
        (rest("postNewRelicEvent"), both),
        (rest("postNewRelicMetric"), both),
    ];
    assert_eq!(told(&complete()), expected.map(|(path, names)| (path, names.to_owned())));
    let off: Vec<_> = SWITCHES[1..].iter().map(|switch| (*switch, json!(false))).collect();
    assert_eq!(told(&with(&off)), []);
}

/// One that the plugin refuses would keep all of Butler from starting.
#[test]
fn attributes_and_headers_that_are_refused_are_left_out() {
    let (statics, header) = (format!("{UPTIME}/attribute/static"), format!("{UPTIME}/header"));
    let mut many: Vec<Value> =
        ["appId", "message", "timestamp", ""].iter().map(|name| json!({ "name": name, "value": "x" })).collect();
    many.extend((0..51).map(|number| json!({ "name": format!("a{number}"), "value": "x" })));
    let headers = json!([{ "name": "Api-Key", "value": "geheim" }, { "name": "X-Uptime", "value": "yes" }]);
    let old = with(&[(statics.as_str(), many.into()), (header.as_str(), headers)]);
    let entries = entries(&old);
    let settings = &entries[0]["settings"];
    let attributes = settings["metrics"][0]["attributes"].as_object().unwrap();
    assert!(attributes.len() == 50 && attributes.keys().all(|name| name.starts_with('a') && name != "appId"));
    let names: Vec<&String> = settings["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["X-My-Header", "X-Uptime"]);
    let remarks = import_of::<NewRelic>(&old)["remarks"].clone();
    let left_out =
        remarks.as_array().unwrap().iter().filter(|it| it["text"].as_str().unwrap().contains("it is left out"));
    assert_eq!(left_out.count(), 5, "{remarks}");
    assert!(!remarks.to_string().contains("geheim"));
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
