//! What is refused, and what becomes of what is not.

use butler_plugin_api::kind;
use serde_json::{Value, json};

use super::*;
use crate::client::{Target, Version};

fn check(mut settings: Value) -> Result<Checked, String> {
    if settings["url"].is_null() {
        settings["url"] = "mqtt://broker.test".into();
    }
    serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string())?.check("/etc/butler")
}

#[test]
fn the_address_alone_is_enough() {
    let Checked { broker, subscriptions, metadata, .. } = check(json!({})).unwrap();
    assert_eq!((broker.version, broker.keep_alive), (Version::V311, Duration::from_mins(1)));
    assert_eq!(broker.status.unwrap().topic, "qliksense/butler/mqtt/status");
    assert!(subscriptions.filters().is_empty() && metadata);
}

#[test]
fn addresses_have_four_forms() {
    let target = |url: &str| check(json!({ "url": url })).unwrap().broker.target;
    let plain = |host: &str, port, encrypted| Target { host: host.to_owned(), port, encrypted, websocket: None };
    assert_eq!(target("mqtt://broker.test"), plain("broker.test", 1883, false));
    assert_eq!(target("mqtts://10.1.2.3:8884/"), plain("10.1.2.3", 8884, true));
    assert_eq!(
        (target("mqtt://[::1]:1"), target("mqtt://[::1]:1").address()),
        (plain("::1", 1, false), "[::1]:1".to_owned())
    );
    let websocket = |url: &str| (target(url).port, target(url).websocket.unwrap());
    assert_eq!(websocket("ws://broker.test/mqtt?a=b"), (80, "/mqtt?a=b".to_owned()));
    assert_eq!(websocket("wss://broker.test"), (443, "/".to_owned()));
}

#[test]
fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
    let publish = |part: Value| json!({ "topics": [{ "events": ["*"], "publish": [part] }] });
    let topics = |entries: Value, payload: &str| {
        let entry = |events: &Value| json!({ "events": events, "publish": [{ "topic": "a", "payload": payload }] });
        json!({ "topics": entries.as_array().unwrap().iter().map(entry).collect::<Vec<_>>() })
    };
    for (settings, part) in [
        (json!({ "url": "broker.test:1883" }), "`url`"),
        (json!({ "url": "http://broker.test" }), "`url`: there is no way to `http:`"),
        (json!({ "url": "mqtt://" }), "`url`"),
        (json!({ "url": "mqtt://broker.test/path" }), "only `ws:` and `wss:` have a path"),
        (json!({ "url": "mqtt://me:geheim@broker.test" }), "`user` and `password`"),
        (json!({ "password": "geheim" }), "`password` needs `user`"),
        (json!({ "tls": { "ca": "ca.pem" } }), "`tls` is for `mqtts://`"),
        (json!({ "url": "mqtts://b", "tls": { "certificate": "c.pem" } }), "go together"),
        (json!({ "url": "mqtts://b", "tls": { "ca": "c.pem", "verify": "none" } }), "`tls.ca` is not looked at"),
        (json!({ "version": "3" }), "unknown variant"),
        (json!({ "qos": 3 }), "`qos` is 3"),
        (json!({ "keepAlive": "1s" }), "`keepAlive` is `1s`, but must be 5s to 3600s"),
        (json!({ "ackTimeout": "1h" }), "`ackTimeout` is `1h`"),
        (json!({ "connectTimeout": "51s" }), "`connectTimeout` is `51s`"),
        (json!({ "rootTopic": "a/#" }), "`rootTopic`: the topic `a/#` has a wildcard"),
        (json!({ "rootTopic": "/" }), "`rootTopic`"),
        (json!({ "status": { "topic": "a/+" } }), "`status.topic`"),
        (json!({ "startTask": { "topic": "a/#" } }), "`startTask.topic`"),
        (json!({ "cloud": { "topic": "a/#/b" } }), "`cloud.topic`"),
        (json!({ "timeZone": "Mars/Olympus" }), "`timeZone`"),
        (json!({ "brokerHost": "x" }), "unknown field"),
        (json!({ "topics": [{ "events": ["moon"], "publish": [] }] }), "`topics[0].events`: `moon`"),
        (json!({ "topics": [{ "events": [], "publish": [] }] }), "`topics[0]` needs"),
        (publish(json!({ "topic": "a/+/b" })), "`topics[0].publish[0].topic`"),
        (publish(json!({ "topic": "a/{{b" })), "topics[0].publish[0].topic"),
        (publish(json!({ "topic": "a", "text": "{{#if}}" })), "topics[0].publish[0].text"),
        (publish(json!({ "topic": "a", "text": "x", "payload": "name" })), "both `payload` and `text`"),
        (
            publish(json!({ "topic": "a", "payload": "userCount" })),
            "`topics[0].publish[0].payload`: only `active-users.",
        ),
        (topics(json!([["active-users.counted", "moon.rose"]]), "userIds"), "`moon.rose` too"),
        (
            topics(json!([["active-users.counted"], ["active-*", "*.counted", "*"]]), "userCount"),
            "give it an entry of its",
        ),
        (publish(json!({ "topic": "a/activeNode/{{event.kind}}", "payload": "userCountByNode" })), "`{{activeNode}}`"),
        (publish(json!({ "topic": "a", "payload": "userCountByNode" })), "`topics[0].publish[0].topic`"),
        (publish(json!({ "topic": "a", "qos": 7 })), "`topics[0].publish[0].qos` is 7"),
    ] {
        let error = check(settings).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn counts_of_users_have_entries_of_their_own_or_stand_behind_those_of_all_others() {
    let entry = |events: Value| json!({ "events": events, "publish": [{ "topic": "a", "payload": "userIds" }] });
    assert!(check(json!({ "topics": [entry(json!(["active-users.*"])), { "events": ["*"], "publish": [] }] })).is_ok());
    let others: Vec<&str> = kind::ALL.iter().copied().filter(|kind| *kind != kind::ACTIVE_USERS_COUNTED).collect();
    assert!(check(json!({ "topics": [{ "events": others, "publish": [] }, entry(json!(["*"]))] })).is_ok());
}

#[test]
fn cloud_topics_stand_for_what_is_below_them() {
    let filters = |topic: &str| check(json!({ "cloud": { "topic": topic } })).unwrap().subscriptions.filters();
    assert_eq!(filters("qscloud/app/reload"), ["qscloud/app/reload/#"]);
    assert_eq!(filters("qscloud/+/reload"), ["qscloud/+/reload"]);
}

#[test]
fn a_status_can_be_left_out() {
    assert!(check(json!({ "status": { "topic": "" } })).unwrap().broker.status.is_none());
}
