//! The plugin as the host sees it.

use std::time::SystemTime;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_delivery};
use butler_plugin_api::{DeliveryError, Health, HttpError, OperationError, Plugin, StartError, kind};
use serde_json::{Value, json};

use super::Webhook;
use super::signature::{SignatureSettings, Signer};

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
fn cloud_events_in_binary_mode_have_all_but_the_facts_in_headers() {
    let fake = FakeHost::new("hook one");
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.source = "test".to_owned();
    block_on(async {
        let settings = json!({ "url": "https://a.test/", "format": "cloudevents", "mode": "binary" });
        start(&fake, settings).await.deliver(&delivery).await.unwrap();
    });
    let request = &fake.requests()[0];
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, serde_json::to_value(&delivery.event.data).unwrap());
    let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<Vec<_>>().concat();
    insta::assert_snapshot!("binary", headers);
}

#[test]
fn templates_make_body_query_and_headers_and_values_break_nothing() {
    let fake = FakeHost::new("hook");
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.task.as_mut().unwrap().name = "A \"b\" & c\r\nX-Evil: 1\u{1}<d>".to_owned();
    let settings = |content_type: &str, template: &str| {
        json!({ "url": "https://a.test/?k=1", "query": { "t": "{{taskName}}" },
                "headers": { "Content-Type": content_type, "X-Task": " {{taskName}} ", "X-None": "{{nothing}}" },
                "template": template })
    };
    block_on(async {
        for (content_type, template) in [
            ("application/json", r#"[{ "z": "{{taskName}}", "a": {{scriptLogSizeRows}} }]"#),
            ("application/json", r#"{ "z": "{{taskName}}", "a": 1, }"#),
            ("application/json", r#"[{ "z": "{{taskName}}", "a": [1,], },]"#),
            ("text/xml", "<t>{{taskName}}</t>"),
            ("application/x-www-form-urlencoded", "t={{taskName}}"),
            ("text/plain", "{{taskName}}"),
        ] {
            let hook = start(&fake, settings(content_type, template)).await;
            hook.deliver(&delivery).await.unwrap();
            assert_eq!(hook.health().await, Health::Good);
        }
    });
    let requests = fake.requests();
    let bodies = requests.iter().map(|request| String::from_utf8(request.body.clone()).unwrap() + "\n");
    insta::assert_snapshot!("templated", bodies.collect::<String>());
    for request in &requests {
        assert_eq!(header(&request.headers, "x-task"), [r#"A "b" & c  X-Evil: 1 <d>"#]);
        assert!(header(&request.headers, "x-none").is_empty() && header(&request.headers, "x-evil").is_empty());
        let expected = "https://a.test/?k=1&t=A+%22b%22+%26+c%0D%0AX-Evil%3A+1%01%3Cd%3E";
        assert_eq!(request.url, expected);
        assert_eq!(header(&request.headers, "content-type").len(), 1);
    }
}

#[test]
fn xml_holds_no_characters_that_it_cannot() {
    let fake = FakeHost::new("hook");
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.task.as_mut().unwrap().name =
        "a\t\r\nb\0\u{b}\u{c}\u{7f}\u{85}\u{fffd}\u{fffe}\u{ffff}c".to_owned();
    block_on(async {
        let settings = json!({ "url": "https://a.test/", "headers": { "Content-Type": "text/xml" },
                               "template": "<t>{{taskName}}</t>" });
        start(&fake, settings).await.deliver(&delivery).await.unwrap();
    });
    let body = String::from_utf8(fake.requests()[0].body.clone()).unwrap();
    assert_eq!(body, "<t>a\t\r\nb\u{fffd}c</t>");
}

#[test]
fn a_template_that_fails_costs_no_alert() {
    let fake = FakeHost::new("hook");
    let delivery = sample_delivery("reload-task.failed");
    block_on(async {
        for (more, part) in [
            (json!({ "template": "{{#if x}}" }), "template `template`"),
            (json!({ "template": "{ \"a\": {{nothing}} }" }), "not JSON"),
            (json!({ "templateFile": "missing.json" }), "missing.json cannot be read"),
            (json!({ "template": "{{#if x}}", "headers": { "Content-Type": "text/plain" } }), "template `template`"),
            (json!({ "headers": { "X-A": "{{nope x}}", "X-B": "b" } }), "`headers.X-A`"),
            (json!({ "query": { "q": "{{/if}}" } }), "`query.q`"),
            (json!({ "query": { "q": "{{/if}}" }, "format": "none" }), "`query.q`"),
        ] {
            let mut settings = json!({ "url": "https://a.test/" });
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let hook = start(&fake, settings).await;
            hook.deliver(&delivery).await.unwrap();
            let health = hook.health().await;
            assert!(matches!(&health, Health::Degraded(text) if text.contains(part)), "{health:?}");
            let error = hook.invoke("check", Value::Null).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            let error = hook.invoke("render", serde_json::to_value(&delivery).unwrap()).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    });
    assert_eq!(fake.requests().len(), 7);
    for request in fake.requests() {
        assert!(request.body.starts_with(br#"{"event":"Qlik Sense reload failed","#), "{request:?}");
        assert_eq!(header(&request.headers, "content-type"), ["application/json"]);
    }
}

#[test]
fn a_template_for_some_kinds_is_no_trouble_at_the_start() {
    let fake = FakeHost::new("hook");
    block_on(async {
        let settings = json!({ "url": "https://a.test/", "template": "{ \"days\": {{daysUntilExpiry}}{{serverLicense.daysUntilExpiry}} }" });
        let hook = start(&fake, settings).await;
        assert_eq!(hook.health().await, Health::Good);
        hook.deliver(&sample_delivery(kind::SERVER_LICENSE_EXPIRING)).await.unwrap();
        assert_eq!(hook.health().await, Health::Good);
    });
    assert_eq!(fake.requests()[0].body, br#"{ "days": 28 }"#);
}

#[test]
fn a_get_without_a_format_says_only_what_the_settings_say() {
    let fake = FakeHost::new("hook");
    block_on(async {
        let settings = json!({ "url": "https://a.test/send?k=1", "method": "GET", "format": "none",
                               "query": { "text": "{{heading}}", "to": "47" } });
        start(&fake, settings).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    let request = &fake.requests()[0];
    assert_eq!(request.url, "https://a.test/send?k=1&to=47&text=Reload+task+failed%3A+Sales+nightly");
    assert!(request.body.is_empty());
}

#[test]
fn requests_are_signed_over_the_body_that_is_sent() {
    let fake = FakeHost::new("hook");
    let delivery = sample_delivery("reload-task.failed");
    block_on(async {
        let settings = json!({ "url": "https://a.test/", "template": "{ \"t\": \"{{taskName}}\" }",
                               "signature": { "secret": "whsec_c2VjcmV0LWtleQ==" } });
        start(&fake, settings).await.deliver(&delivery).await.unwrap();
    });
    let request = &fake.requests()[0];
    let time = header(&request.headers, "webhook-timestamp")[0];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 60, "{time}");
    assert_eq!(header(&request.headers, "webhook-id"), ["sample-d1"]);
    let settings = serde_json::from_value::<SignatureSettings>(json!({ "secret": "secret-key" })).unwrap();
    let expected = Signer::try_from(settings).unwrap().sign("sample-d1", time.parse().unwrap(), &request.body);
    assert_eq!(header(&request.headers, "webhook-signature"), [expected[2].1.as_str()]);
}

#[test]
fn render_tries_a_template_file() {
    let fake = FakeHost::new("hook");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.txt");
    std::fs::write(&file, "{ \"t\": \"{{taskName}}\" }").unwrap();
    block_on(async {
        let mut input = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        input["templateFile"] = file.to_str().unwrap().into();
        let hook = start(&fake, json!({ "url": "https://a.test/", "format": "event" })).await;
        let shown = hook.invoke("render", input.clone()).await.unwrap();
        assert_eq!(shown["body"], "{ \"t\": \"Sales nightly\" }");
        let hook = start(&fake, json!({ "url": "https://a.test/", "method": "GET" })).await;
        let error = hook.invoke("render", input).await.unwrap_err();
        assert!(error.to_string().contains("a GET has no body"), "{error}");
    });
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
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    let properties = manifest.settings_schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        "format",
        "headers",
        "method",
        "mode",
        "query",
        "signature",
        "template",
        "templateFile",
        "timeZone",
        "timeout",
        "tls",
        "url",
    ];
    assert_eq!(properties, expected);
    assert_eq!(manifest.settings_schema["additionalProperties"], false);
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<Webhook>(json!({ "url": "https://a.test/hook" }));
}
