//! Deliveries: bodies, accounts, retries.

use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery};
use butler_plugin_api::{Delivery, DeliveryError, HttpError, OperationError, Plugin, kind};
use serde_json::{Value, json};

use super::{Sent, delivered, sent, start};

const EVENT_A: &str = "https://insights-collector.eu01.nr-data.net/v1/accounts/123/events";
const EVENT_B: &str = "https://insights-collector.eu01.nr-data.net/v1/accounts/456/events";
const LOG: &str = "https://log-api.eu.newrelic.com/log/v1";
const METRIC: &str = "https://metric-api.eu.newrelic.com/metric/v1";

fn only(account: &str) -> Value {
    json!({ "always": [account] })
}

/// Events to A only, and no logs.
fn events_only() -> Value {
    json!({ "events": [{ "kinds": ["*"], "sendTo": only("A") }], "logs": [] })
}

/// With a line for each attribute.
fn lines(body: &str) -> String {
    body.replace(butler_plugin_api::API_VERSION, "<version>").replace(",\"", ",\n\"")
}

fn places(sent: &[Sent]) -> Vec<(&str, &str)> {
    sent.iter().map(|sent| (sent.url.as_str(), sent.key.as_str())).collect()
}

/// Attempts a delivery, as the host does after a retry.
async fn again(plugin: &impl Plugin, delivery: &mut Delivery) -> Result<(), DeliveryError> {
    let outcome = plugin.deliver(delivery).await;
    if let Err(DeliveryError::Retry { progress, .. }) = &outcome {
        delivery.progress.clone_from(progress);
        delivery.attempt += 1;
    }
    outcome
}

#[test]
fn events_and_logs_of_reloads() {
    let more = json!({ "attributes": { "service": "butler" }, "logs": [
        { "kinds": ["reload-task.failed"], "tailScriptLogLines": 2, "attributes": { "from": "log" } },
        { "kinds": ["reload-task.aborted"], "tailScriptLogLines": 1, "leaveOut": ["qs_*Tag_*", "qs_execution*"] },
    ] });
    for kind in [kind::RELOAD_TASK_FAILED, kind::RELOAD_TASK_ABORTED] {
        let sent = delivered(&more, &sample_delivery(kind));
        assert_eq!(places(&sent), [(EVENT_A, "key-of-a"), (LOG, "key-of-a"), (EVENT_B, "key-of-b"), (LOG, "key-of-b")]);
        insta::assert_snapshot!(format!("{kind}.event"), lines(&sent[0].body));
        insta::assert_snapshot!(format!("{kind}.log"), lines(&sent[1].body));
        assert!(sent[0].body == sent[2].body && sent[1].body == sent[3].body);
        assert_eq!(sent[0].header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!([0, 1].map(|index| sent[index].header("content-encoding")), [None, Some("gzip")], "by its length");
    }
}

#[test]
fn other_kinds_bring_what_is_known() {
    for kind in [kind::SERVICE_STOPPED, kind::CERTIFICATE_EXPIRING, kind::CLOUD_APP_RELOAD_FAILED, "moon.risen"] {
        let sent = delivered(&events_only(), &sample_delivery(kind));
        insta::assert_snapshot!(format!("{kind}.event"), lines(&sent[0].body));
    }
    let sent = delivered(&json!({}), &sample_delivery(kind::SERVICE_STOPPED));
    insta::assert_snapshot!("service.stopped.log", lines(&sent[1].body));
    assert_eq!(sent[1].header("content-encoding"), None, "it is short");
}

#[test]
fn an_event_is_a_list_of_one_whose_last_key_is_its_type_at_an_address_with_or_without_a_slash() {
    for base in ["https://insights-collector.eu01.nr-data.net", "https://insights-collector.eu01.nr-data.net/"] {
        let mut more = events_only();
        more["urls"] = json!({ "event": base });
        let sent = delivered(&more, &sample_delivery(kind::RELOAD_TASK_FAILED));
        assert_eq!(places(&sent), [(EVENT_A, "key-of-a")]);
        assert_eq!(sent[0].json().as_array().unwrap().len(), 1);
        assert!(sent[0].body.ends_with(r#","eventType":"qs_reloadTaskFailedEvent"}]"#));
    }
}

#[test]
fn texts_are_as_long_as_each_api_takes_them() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
    delivery.event.data.log.as_mut().unwrap().message = "m".repeat(10_000);
    let sent = delivered(&json!({}), &delivery);
    let length = |value: &Value| value["qs_logMessage"].as_str().unwrap().chars().count();
    let (event, log) = (sent[0].json(), sent[1].json());
    assert_eq!((length(&event[0]), length(&log[0]["common"]["attributes"])), (4096, 4094));
}

#[test]
fn tags_are_attributes_of_their_own() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
    delivery.event.data.task.as_mut().unwrap().tags = vec!["Finance".to_owned(), "Night run".to_owned()];
    let event = delivered(&events_only(), &delivery)[0].json();
    assert_eq!((&event[0]["qs_taskTag_Finance"], &event[0]["qs_taskTag_Night run"]), (&json!("true"), &json!("true")));
    assert_eq!(event[0].get("qs_taskTags"), None);
}

#[test]
fn accounts_of_settings_and_custom_property_get_it_once_each_in_this_order() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
    let properties = &mut delivery.event.data.task.as_mut().unwrap().custom_properties;
    properties.insert("Nr".to_owned(), vec!["B".to_owned(), "A".to_owned(), "Typo".to_owned()]);
    let send_to = json!({ "always": ["A"], "byCustomProperty": "Nr" });
    let more = json!({ "events": [{ "kinds": ["*"], "sendTo": send_to }], "logs": [] });
    let fake = FakeHost::new("relic");
    block_on(async {
        let plugin = start(&fake, &more).await;
        plugin.deliver(&delivery).await.unwrap();
        plugin.deliver(&delivery).await.unwrap();
    });
    assert_eq!(places(&sent(&fake))[..2], [(EVENT_A, "key-of-a"), (EVENT_B, "key-of-b")]);
    let warnings = fake.records().into_iter().filter(|record| record.message.contains("`Typo`")).count();
    assert_eq!((fake.requests().len(), warnings), (4, 1), "an unknown name is told once");
}

#[test]
fn an_event_that_nobody_gets_is_refused_with_the_reason() {
    let by_property = json!([{ "kinds": ["*"], "sendTo": { "byCustomProperty": "Nr" } }]);
    for (more, kind, part) in [
        (json!({ "events": by_property, "logs": [] }), "reload-task.failed", "`Nr` has no value"),
        (json!({ "events": [], "logs": [] }), "reload-task.failed", "takes `reload-task.failed`"),
        (json!({ "events": [{ "kinds": ["moon.*"] }] }), "node.silent", "takes `node.silent`"),
        (json!({ "metrics": [] }), "butler.uptime", "takes `butler.uptime`"),
    ] {
        let fake = FakeHost::new("relic");
        let error = block_on(async { start(&fake, &more).await.deliver(&sample_delivery(kind)).await.unwrap_err() });
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains(part)), "{error:?}");
        assert!(fake.requests().is_empty());
    }
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.missing = vec!["task".to_owned()];
    delivery.event.data.task.as_mut().unwrap().custom_properties.clear();
    let sent = delivered(&json!({ "events": by_property, "logs": [] }), &delivery);
    assert_eq!(sent.len(), 2, "who should get it is not known: all do");
    assert_eq!(sent[0].json()[0]["butler_note"], "not available from Qlik Sense: task");
}

#[test]
fn each_outcome_has_a_number_of_lines_of_its_own() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_ABORTED);
    let log = delivery.event.data.script_log.as_mut().unwrap();
    log.rows = 100;
    let whole: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    let fake = FakeHost::new("relic").qlik(&format!("scriptLog/{}", log.reference), json!(whole.join("\r\n")));
    let more = json!({ "events": [], "logs": [
        { "kinds": ["reload-task.aborted"], "tailScriptLogLines": 5, "sendTo": only("B") },
        { "kinds": ["reload-task.failed"], "tailScriptLogLines": 20 },
    ] });
    block_on(async { start(&fake, &more).await.deliver(&delivery).await.unwrap() });
    let body = sent(&fake)[0].json();
    let message = body[0]["logs"][0]["message"].as_str().unwrap();
    assert_eq!(message.split_once("\r\n\r\n").unwrap().1, whole[95..].join("\r\n"));
    assert_eq!(body[0]["common"]["attributes"]["qs_scriptLogTailCount"], 5);
    assert_eq!(body[0]["common"]["attributes"].get("scriptLog"), None);
}

#[test]
fn figures_go_to_the_metric_api_and_as_events_where_a_rule_says_so() {
    let mut delivery = sample_delivery(kind::BUTLER_UPTIME);
    delivery.event.time = jiff::Timestamp::now().to_string();
    let both = json!({ "events": [{ "kinds": ["butler.*"], "sendTo": only("B") }] });
    assert_eq!(places(&delivered(&json!({}), &delivery)), [(METRIC, "key-of-a"), (METRIC, "key-of-b")]);
    assert_eq!(
        places(&delivered(&both, &delivery)),
        [(METRIC, "key-of-a"), (EVENT_B, "key-of-b"), (METRIC, "key-of-b")]
    );
    let times =
        |sent: &[Sent]| (sent[0].json()[0]["common"]["timestamp"].clone(), sent[1].json()[0]["timestamp"].clone());
    let (metric, event) = times(&delivered(&both, &delivery));
    assert!(metric.is_i64() && metric == event, "{metric} {event}");
}

#[test]
fn what_has_arrived_is_not_repeated() {
    // A takes the event and refuses the log for now, B takes only the log.
    let fake = FakeHost::new("relic")
        .answer(200, r#"{"success":true,"uuid":"u"}"#)
        .answer_with(429, &[("Retry-After", "7")], "slow down")
        .answer(503, "")
        .answer(202, r#"{"requestId":"r"}"#);
    block_on(async {
        let plugin = start(&fake, &json!({})).await;
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        let DeliveryError::Retry { message, after, .. } = error else { panic!("{error:?}") };
        assert_eq!(after, None, "B, which asks for no wait, is not held up by A");
        assert_eq!(
            message,
            "account `A`, log: the destination answered 429: slow down (https://log-api.eu.newrelic.com; it gets too many requests); \
             account `B`, event: the destination answered 503 (https://insights-collector.eu01.nr-data.net; it is in trouble \
             itself: see its log or its status page)"
        );
        again(&plugin, &mut delivery).await.unwrap();
    });
    let sent = sent(&fake);
    let expected = [(EVENT_A, "key-of-a"), (LOG, "key-of-a"), (EVENT_B, "key-of-b"), (LOG, "key-of-b")];
    assert_eq!(places(&sent)[..4], expected);
    assert_eq!(places(&sent)[4..], [(LOG, "key-of-a"), (EVENT_B, "key-of-b")]);
}

#[test]
fn the_shortest_wait_counts_and_only_if_each_asks_for_one() {
    for (of_b, expected) in [(Some("3"), Some(3)), (Some("9"), Some(7)), (None, None)] {
        let headers: Vec<_> = of_b.iter().map(|after| ("Retry-After", *after)).collect();
        let fake = FakeHost::new("relic").answer_with(429, &[("Retry-After", "7")], "").answer_with(429, &headers, "");
        let delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        let error =
            block_on(async { start(&fake, &json!({ "logs": [] })).await.deliver(&delivery).await.unwrap_err() });
        let DeliveryError::Retry { after, .. } = error else { panic!("{error:?}") };
        assert_eq!(after, expected.map(Duration::from_secs));
    }
}

#[test]
fn what_an_account_will_never_take_ends_the_delivery_when_the_others_have_it() {
    let fake =
        FakeHost::new("relic").answer(400, r#"{"success":false,"error":"bad"}"#).answer(403, "{}").answer(202, "");
    let more = json!({ "logs": [] });
    block_on(async {
        let plugin = start(&fake, &more).await;
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Retry { .. }) && error.to_string().contains("`region`"), "{error}");
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Retry { progress: Some(_), .. }), "B has it: {error:?}");
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        let DeliveryError::Reject { message } = error else { panic!("{error:?}") };
        assert!(
            message.contains("account `A`, event: the destination answered 400") && !message.contains("`B`"),
            "{message}"
        );
    });
    assert_eq!(places(&sent(&fake)), [(EVENT_A, "key-of-a"), (EVENT_B, "key-of-b"), (EVENT_B, "key-of-b")]);
}

#[test]
fn a_retry_by_hand_asks_who_refused_again_and_nobody_else() {
    let fake = FakeHost::new("relic").answer(400, "").answer(202, "").answer(413, "").answer(202, "");
    block_on(async {
        let plugin = start(&fake, &json!({ "logs": [] })).await;
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        // The second time A refuses again; the third time it takes it.
        for is_dead in [true, true, false] {
            delivery.attempt = 1;
            let mut outcome = again(&plugin, &mut delivery).await;
            if matches!(outcome, Err(DeliveryError::Retry { .. })) {
                outcome = again(&plugin, &mut delivery).await;
            }
            assert_eq!(matches!(&outcome, Err(DeliveryError::Reject { .. })), is_dead, "{outcome:?}");
            assert_eq!(outcome.is_ok(), !is_dead, "{outcome:?}");
        }
    });
    let expected = [(EVENT_A, "key-of-a"), (EVENT_B, "key-of-b"), (EVENT_A, "key-of-a"), (EVENT_A, "key-of-a")];
    assert_eq!(places(&sent(&fake)), expected);
}

#[test]
fn parts_that_arrived_before_a_refusal_are_not_repeated_by_hand() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
    let log = delivery.event.data.script_log.as_mut().unwrap();
    log.tail = (0..200_000).map(|n| format!("line {n}")).collect();
    log.rows = 200_000;
    let more =
        json!({ "events": [], "logs": [{ "kinds": ["*"], "tailScriptLogLines": 100_000, "sendTo": only("A") }] });
    let fake = FakeHost::new("relic").answer(202, "").answer(413, "");
    block_on(async {
        let plugin = start(&fake, &more).await;
        again(&plugin, &mut delivery).await.unwrap_err();
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Reject { .. }), "{error:?}");
        delivery.attempt = 1;
        again(&plugin, &mut delivery).await.unwrap();
    });
    let sent = sent(&fake);
    assert_eq!((sent.len(), &sent[1].body), (3, &sent[2].body), "only the second request is repeated");
}

#[test]
fn parts_of_a_log_go_on_where_they_ended() {
    let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
    let log = delivery.event.data.script_log.as_mut().unwrap();
    log.tail = (0..200_000).map(|n| format!("line {n}")).collect();
    log.rows = 200_000;
    let more =
        json!({ "events": [], "logs": [{ "kinds": ["*"], "tailScriptLogLines": 100_000, "sendTo": only("A") }] });
    let fake = FakeHost::new("relic").answer(202, "").fail(HttpError::Timeout("no answer within 10s".to_owned()));
    block_on(async {
        let plugin = start(&fake, &more).await;
        let error = again(&plugin, &mut delivery).await.unwrap_err();
        assert!(error.to_string().contains("account `A`, log: no answer within 10s"), "{error}");
        again(&plugin, &mut delivery).await.unwrap();
    });
    let parts: Vec<i64> = sent(&fake)
        .iter()
        .map(|sent| sent.json()[0]["logs"][0]["attributes"]["butler_part"].as_i64().unwrap())
        .collect();
    assert_eq!((parts.len(), parts[0], parts[1]), (3, 1, parts[2]), "the second request is repeated: {parts:?}");
    assert!(parts[1] > 1);
}

#[test]
fn a_success_that_is_none_is_tried_again() {
    for (status, body) in [
        (200, "<html>Please sign in</html>"),
        (200, r#"{"success":false,"error":"later"}"#),
        (202, "[]"),
        (204, "\"ok\""),
    ] {
        let fake = FakeHost::new("relic").answer(status, body);
        let more = events_only();
        let error = block_on(async {
            start(&fake, &more).await.deliver(&sample_delivery(kind::RELOAD_TASK_FAILED)).await.unwrap_err()
        });
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
    }
}

#[test]
fn headers_and_tls_of_the_settings_are_used() {
    let mut more = events_only();
    more["headers"] = json!({ "X-My-Header": "1", "content-type": "application/json" });
    more["tls"] = json!("proxy");
    let fake = FakeHost::new("relic");
    block_on(async { start(&fake, &more).await.deliver(&sample_delivery(kind::NODE_SILENT)).await.unwrap() });
    let request = &fake.requests()[0];
    let options: Value = serde_json::from_str(&request.options).unwrap();
    assert_eq!(options, json!({ "timeoutMs": 10_000, "tls": "proxy" }));
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["X-My-Header: 1", "content-type: application/json", "Api-Key: key-of-a"]);
}

#[test]
fn a_check_sends_nothing_and_looks_at_each_key() {
    let fake = FakeHost::new("relic").answer_to("POST", EVENT_A, 400, "empty").answer_to(
        "POST",
        EVENT_B,
        403,
        r#"{"success":false}"#,
    );
    block_on(async {
        let rest =
            json!({ "event": { "accounts": ["A"] }, "metric": { "accounts": ["B"], "headers": { "X-A": "1" } } });
        let plugin = start(&fake, &json!({ "metrics": [], "rest": rest })).await;
        let error = plugin.invoke("check", Value::Null).await.unwrap_err();
        let OperationError::Failed(text) = error else { panic!("{error:?}") };
        assert!(
            text.starts_with("account `B`, event: the destination answered 403") && !text.contains("`A`"),
            "{text}"
        );
        // What load scripts send needs its keys as well.
        let more = json!({ "events": [], "logs": [], "metrics": [], "rest": rest });
        let text = start(&fake, &more).await.invoke("check", Value::Null).await.unwrap();
        assert!(text.as_str().unwrap().contains("(account `A`, event; account `B`, metric)"), "{text}");
        let more = json!({ "events": [], "metrics": [], "rest": rest });
        let text = start(&fake, &more).await.invoke("check", Value::Null).await.unwrap();
        assert!(text.as_str().unwrap().contains("account `A`, log; account `B`, log"), "{text}");
        assert!(matches!(plugin.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
    });
    let sent = sent(&fake);
    assert!(sent.iter().all(|sent| sent.body == "[]"));
    let of_rest = sent.iter().filter(|sent| sent.header("x-a") == Some("1"));
    assert_eq!(of_rest.map(|sent| sent.url.as_str()).collect::<Vec<_>>(), [METRIC; 3]);
}

#[test]
fn render_shows_the_requests_and_sends_nothing() {
    let fake = FakeHost::new("relic");
    block_on(async {
        let plugin = start(&fake, &json!({})).await;
        let delivery = serde_json::to_value(sample_delivery(kind::RELOAD_TASK_FAILED)).unwrap();
        let shown = plugin.invoke("render", delivery).await.unwrap();
        assert_eq!(shown["requests"].as_array().unwrap().len(), 4);
        assert_eq!(shown["requests"][0]["url"], EVENT_A);
        assert_eq!(shown["requests"][3]["headers"]["Api-Key"], "key-of-b");
        assert!(shown["requests"][0]["body"].as_str().unwrap().contains("Sales nightly"));
        let error = plugin.invoke("render", json!({ "event": 1 })).await.unwrap_err();
        assert!(error.to_string().contains("no delivery"), "{error}");
    });
    assert!(fake.requests().is_empty());
}
