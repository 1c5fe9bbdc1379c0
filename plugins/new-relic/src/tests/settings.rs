//! Settings: what is taken, and what is refused.

use std::collections::BTreeMap;

use butler_plugin_api::kind;
use serde_json::{Value, json};

use crate::accounts::SendTo;
use crate::relic::{Relic, Rule};
use crate::settings::Settings;

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
    let urls =
        json!({ "region": "eu", "urls": { "event": "http://proxy.test/events/", "metric": "http://proxy.test/m" } });
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
        (json!({ "headers": { "api-key": "geheim" } }), "`Api-Key` is set by Butler"),
        (json!({ "headers": { "X-A": "geheim\r\nb" } }), "the value of `X-A`"),
        (json!({ "headers": { "X A": "geheim" } }), "no name of a header"),
        (json!({ "attributes": { "eventType": "x" } }), "`eventType` is set by Butler"),
        (json!({ "attributes": { "appId": "x" } }), "`appId` is set by Butler, or New Relic drops it"),
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
