//! `POST /v4/newrelic/event` and `/v4/newrelic/metric`.

use butler_plugin_api::testing::{FakeHost, block_on};
use butler_plugin_api::{Plugin, Request, Response};
use serde_json::{Value, json};

use super::{sent, start};
use crate::endpoint::{EVENT, METRIC};

fn request(path: &str, body: &Value) -> Request {
    let mut request = Request::new("POST", path);
    request.body = body.to_string().into_bytes();
    request
}

fn call(fake: &FakeHost, more: &Value, path: &str, body: &Value) -> Response {
    block_on(async { start(fake, more).await.call(request(path, body)).await })
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn event(timestamp: i64) -> Value {
    json!({ "eventType": "Stage done", "timestamp": timestamp,
            "attributes": [{ "name": "rows", "value": "12" }, { "name": "team", "value": "own" }] })
}

#[test]
fn an_event_is_an_object_and_the_answer_the_reason_of_the_first() {
    let rest =
        json!({ "rest": { "event": { "headers": { "X-A": "1" }, "attributes": { "team": "static", "n": 1 } } } });
    let fake = FakeHost::new("relic").answer(200, r#"{"success":true,"uuid":"u"}"#).answer(202, "");
    let time = now();
    let response = call(&fake, &rest, EVENT, &event(time));
    assert_eq!((response.status, text(&response).as_str()), (202, "OK"));
    assert_eq!(response.headers, [("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())]);
    let sent = sent(&fake);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].url, "https://insights-collector.eu01.nr-data.net/v1/accounts/123/events");
    assert_eq!((sent[1].key.as_str(), sent[1].header("x-a")), ("key-of-b", Some("1")));
    assert_eq!(
        sent[0].body,
        format!(r#"{{"timestamp":{time},"eventType":"Stage done","n":1,"team":"own","rows":"12"}}"#)
    );
}

#[test]
fn a_metric_goes_to_the_accounts_of_the_settings() {
    let rest = json!({ "rest": { "metric": { "accounts": ["B"] } } });
    let fake = FakeHost::new("relic").answer(202, r#"{"requestId":"r"}"#);
    let metric = json!({ "name": "rows", "type": "gauge", "value": 2.5, "timestamp": -1, "interval": 10 });
    let response = call(&fake, &rest, METRIC, &metric);
    assert_eq!((response.status, text(&response).as_str()), (202, "Accepted"));
    let sent = sent(&fake);
    assert_eq!((sent.len(), sent[0].key.as_str()), (1, "key-of-b"));
    let body = sent[0].json();
    assert_eq!(body[0]["metrics"], json!([{ "name": "rows", "type": "gauge", "value": 2.5 }]));
    assert!(body[0]["common"]["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "now: {body}");
    assert_eq!(body[0]["common"].get("interval.ms"), None);
}

#[test]
fn all_accounts_are_tried_and_each_is_told_of() {
    let fake = FakeHost::new("relic").answer_with(429, &[("Retry-After", "9")], "slow").answer(202, "");
    let response = call(&fake, &json!({}), EVENT, &event(0));
    assert_eq!(response.status, 502);
    assert!(response.headers.contains(&("retry-after".to_owned(), "9".to_owned())), "{:?}", response.headers);
    assert_eq!(
        text(&response),
        "{\"statusCode\":502,\"error\":\"Bad Gateway\",\"message\":\"Failed posting event to New Relic: account `A`: the \
         destination answered 429: slow (https://insights-collector.eu01.nr-data.net; it gets too many \
         requests)\",\"accounts\":[{\"account\":\"A\",\"sent\":false,\"status\":429,\"error\":\"the destination answered 429: slow \
         (https://insights-collector.eu01.nr-data.net; it gets too many requests)\"},{\"account\":\"B\",\"sent\":true,\"status\":202}]}"
    );
    assert_eq!(fake.requests().len(), 2);
}

#[test]
fn times_that_new_relic_would_drop_are_refused() {
    const HOUR: i64 = 3_600_000;
    for (path, age, status) in [
        (EVENT, 23 * HOUR, 202),
        (EVENT, 25 * HOUR, 400),
        (EVENT, -23 * HOUR, 202),
        (EVENT, -25 * HOUR, 400),
        (METRIC, 47 * HOUR, 202),
        (METRIC, 49 * HOUR, 400),
    ] {
        let time = now() - age;
        let body = if path == EVENT {
            event(time)
        } else {
            json!({ "name": "n", "type": "gauge", "value": 1, "timestamp": time })
        };
        let fake = FakeHost::new("relic");
        let response = call(&fake, &json!({}), path, &body);
        assert_eq!(response.status, status, "{path} {age}: {}", text(&response));
        assert_eq!(sent(&fake).is_empty(), status == 400);
    }
    assert_eq!(call(&FakeHost::new("relic"), &json!({}), EVENT, &event(i64::MAX)).status, 400);
}

#[test]
fn times_in_other_units_become_milliseconds() {
    let millis = now() / 1000 * 1000;
    for given in [millis / 1000, millis, millis * 1000, millis * 1_000_000] {
        let fake = FakeHost::new("relic");
        assert_eq!(call(&fake, &json!({}), EVENT, &event(given)).status, 202);
        assert_eq!(sent(&fake)[0].json()["timestamp"], millis, "{given}");
        let fake = FakeHost::new("relic");
        let metric = json!({ "name": "n", "type": "gauge", "value": 1, "timestamp": given });
        assert_eq!(call(&fake, &json!({}), METRIC, &metric).status, 202);
        assert_eq!(sent(&fake)[0].json()[0]["common"]["timestamp"], millis, "{given}");
    }
}

#[test]
fn attributes_are_no_way_around_the_checks() {
    let millis = now() / 1000 * 1000;
    let posted = |name: &str, value: &str| {
        json!({ "eventType": "Fine", "timestamp": 1, "attributes": [{ "name": "timestamp", "value": "5" },
                { "name": "timestamp", "value": format!("{}", millis / 1000) }, { "name": name, "value": value }] })
    };
    let fake = FakeHost::new("relic");
    let response = call(&fake, &json!({}), EVENT, &posted("eventType", "Own"));
    assert_eq!(response.status, 202, "{}", text(&response));
    assert_eq!(sent(&fake)[0].body, format!(r#"{{"timestamp":{millis},"eventType":"Own"}}"#));
    for (name, value) in
        [("eventType", "a-b"), ("eventType", &"e".repeat(255)), ("timestamp", "now"), ("timestamp", "7")]
    {
        let fake = FakeHost::new("relic");
        let response = call(&fake, &json!({}), EVENT, &posted(name, value));
        assert_eq!(response.status, 400, "{name} {value}");
        assert!(text(&response).contains(&format!("`{name}`")) && fake.requests().is_empty());
    }
}

#[test]
fn a_value_of_the_longest_length_is_not_cut() {
    let value = "v".repeat(4096);
    let body = json!({ "eventType": "Stage", "attributes": [{ "name": "long", "value": value }] });
    let fake = FakeHost::new("relic");
    assert_eq!(call(&fake, &json!({}), EVENT, &body).status, 202);
    assert_eq!(sent(&fake)[0].json()["long"], value);
}

#[test]
fn what_cannot_be_sent_is_a_400() {
    let fake = FakeHost::new("relic");
    for (path, body, part) in [
        (EVENT, json!({ "eventType": "a-b" }), "`eventType` may hold"),
        (EVENT, json!({ "eventType": " " }), "`eventType` may hold"),
        (EVENT, json!({ "attributes": [] }), "eventType"),
        (METRIC, json!({ "name": "", "type": "gauge", "value": 1 }), "`name` is empty"),
        (METRIC, json!({ "name": "n", "type": "count", "value": 1 }), "count"),
        ("/v4/newrelic/other", json!({}), "does not serve"),
    ] {
        let response = call(&fake, &json!({}), path, &body);
        let status = if path.ends_with("other") { 404 } else { 400 };
        assert!(response.status == status && text(&response).contains(part), "{} {}", response.status, text(&response));
    }
    assert!(fake.requests().is_empty());
}
