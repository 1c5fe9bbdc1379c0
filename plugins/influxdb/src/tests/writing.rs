//! Batches, answers of InfluxDB, creation, checks.

use std::collections::BTreeSet;

use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery};
use butler_plugin_api::{Delivery, DeliveryError, Health, HttpError, Plugin, kind};
use serde_json::{Value, json};

use super::{settings, v2, v3};
use crate::Influxdb;

fn deliveries(count: usize) -> Vec<Delivery> {
    let delivery = |number: usize| {
        let mut delivery = sample_delivery(kind::NODE_SILENT);
        delivery.delivery_id = format!("d{number}");
        delivery.event.id = format!("e{number}");
        delivery
    };
    (0..count).map(delivery).collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

fn body(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.strip_prefix("q=").unwrap_or(&text).replace('+', " ").replace("%22", "\"")
}

fn rejected(result: &Result<(), DeliveryError>) -> &str {
    match result {
        Err(DeliveryError::Reject { message }) => message,
        other => panic!("{other:?} is no reject"),
    }
}

fn is_retry(result: &Result<(), DeliveryError>) -> bool {
    matches!(result, Err(DeliveryError::Retry { .. }))
}

/// Where time stands still, so that points are written when all are there, and not before.
fn influx() -> FakeHost {
    FakeHost::new("influx").manual_time()
}

/// What a plugin makes of deliveries, on this fake host: of a point each in one request, unless the settings say otherwise.
fn run(fake: &FakeHost, mut settings: Value, deliveries: &[Delivery]) -> (Vec<Result<(), DeliveryError>>, Health) {
    if settings["flush"].is_null() {
        settings["flush"] = json!({ "points": deliveries.len() });
    }
    block_on(async {
        let plugin: Influxdb = fake.start(settings).await.unwrap();
        (plugin.deliver_batch(deliveries).await, plugin.health().await)
    })
}

#[test]
fn many_deliveries_are_one_request() {
    let fake = influx().answer(204, "");
    let settings =
        settings(json!({ "create": false, "username": "u", "password": "p", "tls": "own", "timeout": "3s" }));
    let (results, health) = run(&fake, settings, &deliveries(100));
    assert!(results.iter().all(Result::is_ok) && health == Health::Good);
    let [request] = fake.requests().try_into().unwrap();
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "http://influx.test:8086/write?db=butler&precision=ns")
    );
    assert_eq!(header(&request.headers, "authorization"), "Basic dTpw");
    assert_eq!(header(&request.headers, "content-encoding"), "gzip");
    assert!(request.options.contains("own") && request.options.contains("3000"), "{}", request.options);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(request.body.as_slice()), &mut text).unwrap();
    let times: BTreeSet<_> = text.lines().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!((text.lines().count(), times.len()), (100, 100), "{text}");
    fake.wait_until("the metric", |fake| fake.metric("points{outcome=\"written\"}") == Some(100.0));
}

#[test]
fn an_event_of_six_points_is_delivered_when_all_of_them_are() {
    let fake = influx().answer(204, "");
    let (results, _) = run(&fake, v3(json!({})), &[sample_delivery(kind::ACCESS_LICENSE_USAGE)]);
    assert!(results[0].is_ok());
    let request = &fake.requests()[0];
    assert_eq!(request.url, "http://influx.test/api/v2/write?bucket=butler&precision=ns");
    assert_eq!(header(&request.headers, "authorization"), "Token my-v3-token");
    let text = body(&request.body);
    let lines: Vec<_> = text.lines().collect();
    let times: Vec<i64> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(lines.len() == 6 && times.windows(2).all(|pair| pair[1] == pair[0] + 1), "{text}");
    assert!(times[0] / 1_000_000 == 1_772_600_767_890, "{text}");

    // The third is refused, and InfluxDB says which.
    let refused = json!({ "error": "partial write of line protocol occurred", "data": [{ "original_line": "…",
                          "line_number": 3, "error_message": "invalid column type for column 'used'" }] });
    let fake = influx().answer(400, &refused.to_string());
    let (results, health) = run(&fake, v3(json!({})), &[sample_delivery(kind::ACCESS_LICENSE_USAGE)]);
    let message = rejected(&results[0]);
    assert!(message.starts_with("1 of 6 points were refused: invalid column type"), "{message}");
    assert!(message.contains("license_type=professional"), "{message}");
    assert!(matches!(health, Health::Degraded(_)) && fake.requests().len() == 1);
}

#[test]
fn a_point_without_a_field_is_no_reason_to_ask() {
    let mut delivery = sample_delivery(kind::ACCESS_LICENSE_RELEASED);
    delivery.event.data.license_release.as_mut().unwrap().dry_run = Some(true);
    let fake = influx();
    let (results, _) = run(&fake, settings(json!({})), &[delivery]);
    assert!(results[0].is_ok() && fake.requests().is_empty());
    assert!(fake.records().iter().any(|record| record.message.contains("nothing in it is a point")));
}

#[test]
fn which_of_many_points_are_refused_is_found_out_by_halves() {
    let partial = r#"{"error":"partial write: field type conflict: input field \"v\" dropped=1"}"#;
    // 8 lines, of which the third is refused: 8, first 4, first 2, second 2, third, fourth, last 4.
    let mut fake = influx();
    for status in [400, 400, 204, 400, 400, 204, 204] {
        fake = fake.answer(status, if status == 400 { partial } else { "" });
    }
    let (results, _) = run(&fake, settings(json!({ "create": false })), &deliveries(8));
    assert!(
        rejected(&results[2]).contains("field type conflict") && rejected(&results[2]).contains("node_silent,host=")
    );
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 7);
    assert_eq!(fake.requests().len(), 7);

    // All are refused, and InfluxDB says how many.
    let all = r#"{"error":"partial write: points beyond retention policy dropped=8"}"#;
    let fake = influx().answer(400, all);
    let (results, _) = run(&fake, settings(json!({ "create": false })), &deliveries(8));
    assert!(results.iter().all(|result| rejected(result).contains("beyond retention policy")));
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn answers_of_version_3_that_cannot_be_are_not_believed() {
    for data in [
        json!([]),
        json!([{ "line_number": 9, "error_message": "x" }]),
        json!([{ "line_number": 0, "error_message": "x" }]),
        json!({ "line_number": 1, "error_message": "x" }),
    ] {
        let lie = json!({ "error": "partial write of line protocol occurred", "data": data }).to_string();
        let fake = influx().answer(400, &lie).answer(204, "").answer(400, &lie);
        let (results, _) = run(&fake, v3(json!({})), &deliveries(2));
        assert!(results[0].is_ok() && results[1].is_err(), "{data}: {results:?}");
    }
}

#[test]
fn too_much_for_a_request_is_sent_in_parts() {
    let fake = influx().answer(413, "").answer(204, "").answer(413, "{\"error\":\"Request Entity Too Large\"}");
    let (results, _) = run(&fake, settings(json!({ "create": false })), &deliveries(2));
    assert!(results[0].is_ok() && rejected(&results[1]).contains("Request Entity Too Large"));
}

#[test]
fn what_may_be_put_right_is_tried_again() {
    let no = settings(json!({ "create": false }));
    for (status, text) in [
        (401, "{\"error\":\"authorization failed\"}"),
        (403, ""),
        (404, ""),
        (405, ""),
        (302, ""),
        (500, "{}"),
        (503, ""),
    ] {
        let (results, health) = run(&influx().answer(status, text), no.clone(), &deliveries(2));
        assert!(results.iter().all(is_retry), "{status}: {results:?}");
        assert!(matches!(&health, Health::Bad(text) if text.contains(&status.to_string())), "{status}: {health:?}");
    }
    let busy = influx().answer_with(429, &[("Retry-After", "7")], "slow down");
    let (results, _) = run(&busy, no.clone(), &deliveries(1));
    assert!(matches!(&results[0], Err(DeliveryError::Retry { after: Some(after), .. }) if after.as_secs() == 7));
    let away = influx().fail(HttpError::Connection("refused".to_owned()));
    assert!(is_retry(&run(&away, no.clone(), &deliveries(1)).0[0]));
    let page = influx().answer(200, "<html>Please sign in</html>");
    let (results, _) = run(&page, no.clone(), &deliveries(1));
    assert!(is_retry(&results[0]) && results[0].as_ref().unwrap_err().to_string().contains("proxy"), "{results:?}");
    // It goes away while halves are written: what is written is delivered.
    let fake = influx().answer(400, "{\"error\":\"partial write\"}").answer(204, "").answer(503, "");
    let (results, _) = run(&fake, no, &deliveries(4));
    assert!(results[..2].iter().all(Result::is_ok) && results[2..].iter().all(is_retry), "{results:?}");
}

#[test]
fn what_is_no_influxdb_refuses_no_points() {
    for (status, text) in [
        (400, "Client sent an HTTP request to an HTTPS server.\n"),
        (400, "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"),
        (400, "{}"),
        (400, "{\"error\":{\"code\":17}}"),
        (422, "[\"error\"]"),
        (200, "{\"status\":\"ok\"}"),
    ] {
        for count in [1, 2] {
            let fake = influx().answer(status, text);
            let (results, health) = run(&fake, v2(json!({})), &deliveries(count));
            let error = results[0].as_ref().unwrap_err().to_string();
            assert!(results.iter().all(is_retry) && fake.requests().len() == 1, "{text}: {results:?}");
            assert!(error.contains("no InfluxDB") && error.contains("https"), "{error}");
            assert!(matches!(health, Health::Bad(_)), "{text}: {health:?}");
        }
    }
    // A cloud that has not written all of it, and says why.
    let fake = influx().answer(201, "{\"code\":\"invalid\",\"message\":\"partial write has occurred\"}");
    assert!(rejected(&run(&fake, v2(json!({})), &deliveries(1)).0[0]).contains("partial write"));
}

#[test]
fn points_are_kept_for_ever_if_the_settings_say_so() {
    let forever = |fake: &FakeHost, settings: Value| {
        let (results, _) = run(fake, settings, &deliveries(1));
        assert!(results[0].is_ok(), "{results:?}");
        fake.requests()
    };
    let empty = "{\"results\":[{}]}";
    let fake = influx().answer(200, empty).answer(200, empty).answer(200, empty).answer(204, "");
    let requests = forever(&fake, settings(json!({ "retention": "inf", "retentionPolicy": "always" })));
    let policy = "create retention policy \"always\" on \"butler\" duration inf replication 1 default";
    assert_eq!(body(&requests[2].body), policy);
    let fake = influx().answer(200, "{}").answer(200, "{\"orgs\":[{\"id\":\"0a\"}]}").answer(201, "{}").answer(204, "");
    let requests = forever(&fake, v2(json!({ "create": true, "retention": "inf" })));
    let sent: Value = serde_json::from_slice(&requests[2].body).unwrap();
    assert_eq!(sent["retentionRules"], json!([]));
    let fake = influx().answer(200, "").answer(204, "");
    let requests = forever(&fake, v3(json!({ "create": true, "retention": "inf" })));
    assert_eq!(serde_json::from_slice::<Value>(&requests[0].body).unwrap(), json!({ "db": "butler" }));
}

#[test]
fn a_password_keeps_its_blanks_but_not_the_end_of_the_line_of_its_file() {
    for password in [" p w ", " p w \n", " p w \r\n"] {
        let fake = influx().answer(204, "");
        let settings = settings(json!({ "create": false, "username": "u", "password": password }));
        run(&fake, settings, &deliveries(1));
        assert_eq!(header(&fake.requests()[0].headers, "authorization"), "Basic dTogcCB3IA==");
    }
}

#[test]
fn a_missing_database_is_created_with_its_policy() {
    let databases =
        |names: Value| json!({ "results": [{ "series": [{ "name": "databases", "values": names }] }] }).to_string();
    let fake = FakeHost::new("influx")
        .answer(200, &databases(json!([["_internal"]])))
        .answer(200, "{\"results\":[{}]}")
        .answer(200, "{\"results\":[{}]}")
        .answer(204, "")
        // Somebody drops it.
        .answer(404, "{\"error\":\"database not found: \\\"butler\\\"\"}")
        .answer(200, &databases(json!([])))
        .answer(200, "{\"results\":[{}]}")
        .answer(200, "{\"results\":[{\"error\":\"retention policy already exists\"}]}")
        .answer(204, "");
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({}))).await.unwrap();
        for delivery in deliveries(2) {
            plugin.deliver(&delivery).await.unwrap();
        }
    });
    let requests = fake.requests();
    let said: Vec<_> = requests[..3].iter().map(|request| body(&request.body)).collect();
    assert_eq!(
        said,
        [
            "show databases",
            "create database \"butler\"",
            "create retention policy \"10d\" on \"butler\" duration 10d replication 1 default"
        ]
    );
    assert_eq!(requests.len(), 9);

    let fake = FakeHost::new("influx").answer(200, &databases(json!([["butler"]]))).answer(204, "").answer(204, "");
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({}))).await.unwrap();
        for delivery in deliveries(2) {
            plugin.deliver(&delivery).await.unwrap();
        }
    });
    assert_eq!(fake.requests().len(), 3, "one that is there is left alone");
}

#[test]
fn a_policy_that_could_not_be_created_at_once_is_created_later() {
    let none = json!({ "results": [{}] }).to_string();
    let there = json!({ "results": [{ "series": [{ "values": [["butler"]] }] }] }).to_string();
    let fake = FakeHost::new("influx")
        .answer(200, &none)
        .answer(200, &none)
        .fail(HttpError::Timeout("10 s".to_owned()))
        .answer(200, &there)
        .answer(200, &none)
        .answer(204, "");
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({}))).await.unwrap();
        let delivery = &deliveries(1)[0];
        assert!(is_retry(&plugin.deliver(delivery).await));
        plugin.deliver(delivery).await.unwrap();
    });
    assert!(body(&fake.requests()[4].body).starts_with("create retention policy"));
}

#[test]
fn who_may_not_create_writes_all_the_same() {
    let denied = "{\"error\":\"bob not authorized to execute statement\"}";
    let fake = FakeHost::new("influx").answer_to("POST", "http://influx.test:8086/query", 403, denied).answer_to(
        "POST",
        "http://influx.test:8086/write",
        204,
        "",
    );
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({}))).await.unwrap();
        for delivery in deliveries(3) {
            plugin.deliver(&delivery).await.unwrap();
        }
    });
    let warnings = fake.records().iter().filter(|record| record.message.contains("bob not authorized")).count();
    assert_eq!((warnings, fake.requests().len()), (1, 4), "{:?}", fake.records());
}

#[test]
fn buckets_and_databases_of_later_versions_are_created_if_the_settings_say_so() {
    let fake = influx()
        .answer(200, "{\"buckets\":[]}")
        .answer(200, "{\"orgs\":[{\"id\":\"0a\",\"name\":\"lab\"}]}")
        .answer(201, "{}")
        .answer(204, "");
    let (results, _) = run(&fake, v2(json!({ "create": true, "retention": "10d" })), &deliveries(1));
    assert!(results[0].is_ok(), "{results:?}");
    let requests = fake.requests();
    assert_eq!(requests[0].url, "http://influx.test/api/v2/buckets?org=lab&name=butler");
    let sent: Value = serde_json::from_slice(&requests[2].body).unwrap();
    let rules = json!([{ "type": "expire", "everySeconds": 864_000 }]);
    assert_eq!(sent, json!({ "orgID": "0a", "name": "butler", "retentionRules": rules }));
    assert_eq!(header(&requests[2].headers, "authorization"), "Token my-token");

    for (status, text) in [(409, ""), (422, "{\"code\":\"conflict\"}"), (200, "")] {
        let fake = influx().answer_to("POST", "http://influx.test/api/v3/configure/database", status, text).answer_to(
            "POST",
            "http://influx.test/api/v2/write",
            204,
            "",
        );
        let (results, _) = run(&fake, v3(json!({ "create": true, "retention": "30d" })), &deliveries(1));
        assert!(results[0].is_ok() && !fake.records().iter().any(|record| record.level == 2), "{:?}", fake.records());
        let sent: Value = serde_json::from_slice(&fake.requests()[0].body).unwrap();
        assert_eq!(sent, json!({ "db": "butler", "retention_period": "30d" }));
    }

    // By default it is not created, and the error says what to do.
    let fake = influx().answer(404, "{\"code\":\"not found\",\"message\":\"bucket \\\"butler\\\" not found\"}");
    let (results, _) = run(&fake, v2(json!({})), &deliveries(1));
    let message = results[0].as_ref().unwrap_err().to_string();
    assert!(is_retry(&results[0]) && message.contains("set `create: true`"), "{message}");
}

#[test]
fn no_more_waits_in_memory_than_is_allowed() {
    let mut many = deliveries(30);
    for delivery in &mut many {
        delivery.event.data.message = Some("x".repeat(1 << 20));
        let other = (0..90).map(|number| (format!("n{number}"), json!("x".repeat(1 << 16))));
        delivery.event.data.other = other.collect();
    }
    let fake = influx().answer_to("POST", "http://influx.test:8086/write", 204, "");
    let patient = json!({ "create": false, "flush": { "interval": "10s", "points": 20_000 } });
    block_on(async {
        let plugin: Influxdb = fake.start(settings(patient)).await.unwrap();
        let mut all = Box::pin(plugin.deliver_batch(&many));
        let mut once = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(all.as_mut().poll(&mut once).is_pending());
        // No time has passed, and there are not enough points: what makes it write is that there is no room for more.
        fake.wait_until("a request", |fake| !fake.requests().is_empty());
        loop {
            if let std::task::Poll::Ready(results) = all.as_mut().poll(&mut once) {
                return assert!(results.iter().all(Result::is_ok));
            }
            fake.advance(std::time::Duration::from_secs(10));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    // 30 points of 720 kB: at most 5 of them fit into a request.
    let requests = fake.requests();
    assert!(requests.len() >= 6, "{}", requests.len());
    for request in &requests {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(request.body.as_slice()), &mut text).unwrap();
        assert!(text.len() <= 4 << 20, "{}", text.len());
    }
}

#[test]
fn points_wait_for_others_and_an_abandoned_delivery_harms_none() {
    let fake = FakeHost::new("influx").manual_time().answer(204, "");
    block_on(async {
        let plugin: Influxdb =
            fake.start(settings(json!({ "create": false, "flush": { "interval": "2s" } }))).await.unwrap();
        let all = deliveries(2);
        let mut abandoned = Box::pin(plugin.deliver(&all[0]));
        let mut kept = Box::pin(plugin.deliver(&all[1]));
        let mut once = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(abandoned.as_mut().poll(&mut once).is_pending() && kept.as_mut().poll(&mut once).is_pending());
        drop(abandoned);
        fake.wait_until("the points to be gathered", |fake| fake.sleeping() == 1);
        assert!(fake.requests().is_empty());
        fake.advance(std::time::Duration::from_secs(2));
        kept.await.unwrap();
    });
    let [request] = fake.requests().try_into().unwrap();
    assert_eq!(body(&request.body).lines().count(), 2, "both are written");
}

#[test]
fn a_backlog_does_not_wait() {
    let fake = influx().answer(204, "").answer(204, "");
    let slow = json!({ "create": false, "flush": { "interval": "10s", "points": 20_000 } });
    let (results, _) = run(&fake, settings(slow), &deliveries(1000));
    assert!(results.iter().all(Result::is_ok), "a full call is written at once");
    let few = json!({ "create": false, "flush": { "interval": "10s", "points": 7 } });
    let (results, _) = run(&fake, settings(few), &deliveries(7));
    assert!(results.iter().all(Result::is_ok), "and so are enough points");
}

#[test]
fn a_stop_leaves_nobody_waiting() {
    let fake = FakeHost::new("influx").manual_time();
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({}))).await.unwrap();
        let delivery = &deliveries(1)[0];
        let mut waiting = Box::pin(plugin.deliver(delivery));
        let mut once = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut once).is_pending());
        fake.stop();
        assert!(is_retry(&waiting.await));
        assert!(is_retry(&plugin.deliver(delivery).await), "and so does nobody who comes later");
    });
}
