//! The plugin as the host sees it.

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_delivery};
use butler_plugin_api::{DeliveryError, HttpError, OperationError, Plugin, StartError};
use serde_json::{Value, json};

use super::Webhook;

async fn start(fake: &FakeHost, settings: Value) -> Webhook {
    fake.start(settings).await.unwrap()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_post_carries_ids_headers_and_options() {
    let fake = FakeHost::new("hook").answer(202, "");
    block_on(async {
        let settings = json!({ "url": "https://a.test/hook?token=x", "headers": { "X-Token": "secret" },
                               "timeout": "1500ms", "tls": "internal" });
        let hook = start(&fake, settings).await;
        hook.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    let request = &fake.requests()[0];
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://a.test/hook?token=x"));
    assert_eq!(header(&request.headers, "content-type"), ["application/json"]);
    assert_eq!(header(&request.headers, "x-token"), ["secret"]);
    assert_eq!(header(&request.headers, "idempotency-key"), ["sample-d1"]);
    assert_eq!(header(&request.headers, "x-butler-event-id"), ["sample-1"]);
    let options: Value = serde_json::from_str(&request.options).unwrap();
    assert_eq!(options, json!({ "timeoutMs": 1500, "tls": "internal" }));
    assert!(request.body.starts_with(br#"{"event":"Qlik Sense reload failed","hostName":"sense1","user":"LAB\\sa_s"#));
}

#[test]
fn a_get_appends_to_the_query_and_has_no_body() {
    let fake = FakeHost::new("hook");
    block_on(async {
        let settings = json!({ "url": "https://a.test/hook?token=x", "method": "GET", "query": { "team": "a b" } });
        start(&fake, settings).await.deliver(&sample_delivery("reload-task.aborted")).await.unwrap();
    });
    let request = &fake.requests()[0];
    assert_eq!(request.method, "GET");
    assert!(request.body.is_empty());
    assert!(header(&request.headers, "content-type").is_empty());
    insta::assert_snapshot!("get", request.url.replace('&', "\n&"));
}

#[test]
fn cloud_events_and_whole_events() {
    let fake = FakeHost::new("hook one");
    let delivery = sample_delivery("reload-task.failed");
    block_on(async {
        let settings = json!({ "url": "https://a.test/", "method": "PUT", "format": "cloudevents" });
        start(&fake, settings).await.deliver(&delivery).await.unwrap();
        start(&fake, json!({ "url": "https://a.test/", "format": "event" })).await.deliver(&delivery).await.unwrap();
    });
    let requests = fake.requests();
    assert_eq!(requests[0].method, "PUT");
    assert_eq!(header(&requests[0].headers, "content-type"), ["application/cloudevents+json"]);
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["data"], serde_json::to_value(&delivery.event.data).unwrap());
    let text = String::from_utf8(requests[0].body.clone()).unwrap();
    insta::assert_snapshot!("cloud-event", text.split_once(r#","data":"#).unwrap().0);
    assert_eq!(
        serde_json::from_slice::<Value>(&requests[1].body).unwrap(),
        serde_json::to_value(&delivery.event).unwrap()
    );
}

#[test]
fn answers_follow_the_shared_rule() {
    let fake = FakeHost::new("hook").answer_with(429, &[("Retry-After", "7")], "slow down").answer(400, "what?");
    let fake = fake.fail(HttpError::Timeout("no answer within 10s".to_owned()));
    block_on(async {
        let hook = start(&fake, json!({ "url": "https://a.test/" })).await;
        let delivery = sample_delivery("reload-task.failed");
        let error = hook.deliver(&delivery).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { after: Some(after), .. } if after.as_secs() == 7));
        assert!(matches!(hook.deliver(&delivery).await, Err(DeliveryError::Reject { .. })));
        assert!(matches!(hook.deliver(&delivery).await, Err(DeliveryError::Retry { .. })));
    });
}

#[test]
fn a_check_triggers_nothing() {
    let fake = FakeHost::new("hook").answer(405, "").fail(HttpError::Connection("refused".to_owned()));
    block_on(async {
        let settings = json!({ "url": "https://a.test/hook", "headers": { "X-Token": "secret" }, "tls": "internal" });
        let hook = start(&fake, settings).await;
        let text = hook.invoke("check", Value::Null).await.unwrap();
        assert!(text.as_str().unwrap().contains("answered with 405"), "{text}");
        let error = hook.invoke("check", Value::Null).await.unwrap_err();
        assert_eq!(error, OperationError::Failed("refused".to_owned()));
        assert!(matches!(hook.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
    });
    let request = &fake.requests()[0];
    assert_eq!((request.method.as_str(), request.body.len()), ("OPTIONS", 0));
    assert!(request.options.contains("internal"), "the profile is used as well: {}", request.options);
}

#[test]
fn render_shows_the_request_and_sends_nothing() {
    let fake = FakeHost::new("hook");
    block_on(async {
        let settings = json!({ "url": "https://a.test/hook", "headers": { "Authorization": "Bearer abc" } });
        let hook = start(&fake, settings).await;
        let delivery = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        let shown = hook.invoke("render", delivery).await.unwrap();
        assert_eq!((&shown["method"], &shown["url"]), (&json!("POST"), &json!("https://a.test/hook")));
        assert_eq!(shown["headers"]["Authorization"], "Bearer abc");
        let body: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["taskName"], "Sales nightly");
        let error = hook.invoke("render", json!({ "event": 1 })).await.unwrap_err();
        assert!(error.to_string().contains("no delivery"), "{error}");
    });
    assert!(fake.requests().is_empty());
}

#[test]
fn start_refuses_other_schemes_and_the_manifest_says_what_it_can() {
    let error = block_on(FakeHost::new("hook").start::<Webhook>(json!({ "url": "ldap://a.test/" }))).err().unwrap();
    assert!(matches!(&error, StartError::Config(text) if text.contains("`ldap:`")), "{error}");
    let manifest = manifest_of::<Webhook>();
    assert_eq!(manifest.operations, ["check", "render"]);
    let properties = manifest.settings_schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(properties, ["format", "headers", "method", "query", "timeout", "tls", "url"]);
    assert_eq!(manifest.settings_schema["additionalProperties"], false);
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<Webhook>(json!({ "url": "https://a.test/hook" }));
}
