//! What Slack answers, and what follows from it; the endpoint.

use std::time::Duration;

use butler_plugin_api::{DeliveryError, Health, HttpError, Request};

use super::*;

fn deliver(fake: &FakeHost, settings: Value) -> Result<(), DeliveryError> {
    block_on(async { start(fake, settings).await.deliver(&sample_delivery("certificate.expiring")).await })
}

/// The text of a retry and its wait; panics for everything else.
fn retry(outcome: Result<(), DeliveryError>) -> (String, Option<Duration>) {
    match outcome {
        Err(DeliveryError::Retry { message, after, .. }) => (message, after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_are_as_slack_wants_them() {
    let (fake, _folder) = fake();
    let fake = fake.answer(200, "ok").answer(200, r#"{"ok":true,"ts":"1.2"}"#);
    deliver(&fake, json!({ "tls": "internal" })).unwrap();
    deliver(&fake, token(&json!({ "apiUrl": "https://gov.test/api/" }))).unwrap();
    let requests = fake.requests();
    let header = |number: usize, name: &str| {
        let headers = &requests[number].headers;
        headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    assert_eq!((requests[0].method.as_str(), requests[0].url.as_str()), ("POST", HOOK));
    assert_eq!(header(0, "Content-Type").as_deref(), Some("application/json"));
    assert_eq!(header(0, "Authorization"), None);
    assert!(requests[0].options.contains("\"internal\""), "{}", requests[0].options);
    assert_eq!(requests[1].url, "https://gov.test/api/chat.postMessage");
    assert_eq!(header(1, "Authorization").as_deref(), Some("Bearer xoxb-1"));
}

#[test]
fn what_an_administrator_can_put_right_is_tried_again_and_says_how() {
    for (status, body, parts) in [
        (404, "no_service", ["no_service", "`webhookUrl`"]),
        (404, "channel_not_found", ["channel_not_found", "`channel`"]),
        (403, "action_prohibited", ["action_prohibited", "administrator of the Slack workspace"]),
        (410, "channel_is_archived", ["channel_is_archived", "unarchive"]),
        (400, "user_not_found", ["user_not_found", "`channel`"]),
        (302, "", ["302", "`webhookUrl`"]),
        (403, "<html><title>Blocked by proxy</title></html>", ["HTML page", "Blocked by proxy"]),
        (200, "<!DOCTYPE html><title>Sign in</title>", ["HTML page", "Sign in"]),
        (500, "rollup_error", ["rollup_error", "in trouble"]),
        (502, "<html>bad gateway</html>", ["502", "in trouble"]),
    ] {
        let (fake, _folder) = fake();
        let (message, _) = retry(deliver(&fake.answer(status, body), json!({})));
        assert!(parts.iter().all(|part| message.contains(part)), "{status} {body}: {message}");
    }
    for (body, parts) in [
        (r#"{"ok":false,"error":"invalid_auth"}"#, ["invalid_auth", "`token`"]),
        (r#"{"ok":false,"error":"token_revoked"}"#, ["token_revoked", "`token`"]),
        (r#"{"ok":false,"error":"account_inactive"}"#, ["account_inactive", "`token`"]),
        (r#"{"ok":false,"error":"missing_scope","needed":"chat:write"}"#, ["needed is chat:write", "install it again"]),
        (r#"{"ok":false,"error":"channel_not_found"}"#, ["channel_not_found", "`channel`"]),
        (r#"{"ok":false,"error":"not_in_channel"}"#, ["not_in_channel", "/invite"]),
        (r#"{"ok":false,"error":"is_archived"}"#, ["is_archived", "unarchive"]),
        (r#"{"ok":false,"error":"fatal_error"}"#, ["fatal_error", "in trouble"]),
        (r#"{"ok":false,"error":"moonstruck"}"#, ["moonstruck", "check `apiUrl`"]),
        ("{}", ["200", "`apiUrl`"]),
        ("hello", ["200", "`apiUrl`"]),
        ("<html></html>", ["HTML page", "`apiUrl`"]),
    ] {
        let (fake, _folder) = fake();
        let (message, _) = retry(deliver(&fake.answer(200, body), token(&json!({}))));
        assert!(parts.iter().all(|part| message.contains(part)), "{body}: {message}");
        assert!(!message.contains("xoxb-1"), "{message}");
    }
    let (fake, _folder) = fake();
    let (message, _) = retry(deliver(&fake.fail(HttpError::Timeout("no answer in 15 s".to_owned())), json!({})));
    assert_eq!(message, "no answer in 15 s");
}

#[test]
fn a_message_that_slack_refuses_goes_out_in_the_plain_form_at_once() {
    let refusal = r#"{"ok":false,"error":"invalid_blocks","errors":["x"],"response_metadata":{"messages":["[ERROR] bad [json-pointer:/blocks/0]"]}}"#;
    for (settings, status, body, part) in [
        (token(&json!({})), 200, refusal, "json-pointer:/blocks/0"),
        (token(&json!({})), 200, r#"{"ok":false,"error":"msg_blocks_too_long"}"#, "msg_blocks_too_long"),
        (json!({}), 400, "invalid_blocks", "invalid_blocks"),
        (json!({}), 413, "<html>too large</html>", "413"),
        (json!({}), 400, "what of another server", "what of another server"),
    ] {
        let (fake, _folder) = fake();
        let fine = r#"{"ok":true,"ts":"1.2"}"#;
        let fake = fake.answer(status, body).answer(200, fine).answer(200, fine);
        block_on(async {
            let chat = start(&fake, settings).await;
            chat.deliver(&sample_delivery("certificate.expiring")).await.unwrap();
            assert!(matches!(chat.health().await, Health::Degraded(text) if text.contains(part)));
            chat.deliver(&sample_delivery("certificate.expiring")).await.unwrap();
            assert_eq!(chat.health().await, Health::Good);
        });
        let plain = bodies(&fake)[1].to_string();
        assert!(plain.contains("This is the plain message") && plain.contains(part), "{plain}");
    }
}

#[test]
fn the_plain_form_goes_into_the_channel_that_the_template_chose() {
    let (fake, folder) = fake();
    let fake = fake.answer(200, r#"{"ok":false,"error":"invalid_blocks"}"#).answer(200, r#"{"ok":true,"ts":"1.2"}"#);
    std::fs::write(folder.path().join("mine.json"), r#"{ "text": "t", "channel": "C7" }"#).unwrap();
    deliver(&fake, token(&json!({ "templateFile": "mine.json" }))).unwrap();
    assert_eq!(bodies(&fake)[1]["channel"], "C7");
}

#[test]
fn a_channel_that_a_template_names_in_vain_costs_no_alert() {
    let refused = |code: &str| json!({ "ok": false, "error": code }).to_string();
    let fine = r#"{"ok":true,"ts":"1.2"}"#;
    let template = |folder: &tempfile::TempDir| {
        std::fs::write(folder.path().join("mine.json"), r#"{ "text": "t", "channel": "C7" }"#).unwrap();
    };
    let failed = || sample_delivery("reload-task.failed");
    for code in ["channel_not_found", "is_archived", "not_in_channel"] {
        let (fake, folder) = fake();
        template(&folder);
        // The second time Slack looks at the content first.
        let fake = fake.answer(200, &refused(code)).answer(200, fine);
        let fake = fake.answer(200, &refused("invalid_blocks")).answer(200, &refused(code)).answer(200, fine);
        block_on(async {
            let chat = start(&fake, token(&json!({ "templateFile": "mine.json" }))).await;
            for _ in 0..2 {
                chat.deliver(&failed()).await.unwrap();
                assert!(matches!(chat.health().await, Health::Degraded(text) if text.contains(code)), "{code}");
            }
        });
        let bodies = bodies(&fake);
        let channels: Vec<_> = bodies.iter().map(|body| body["channel"].as_str().unwrap()).collect();
        assert_eq!(channels, ["C7", "#ops", "C7", "C7", "#ops"]);
        for plain in [&bodies[1], &bodies[4]] {
            assert!(plain.to_string().contains(code) && plain["thread_ts"].is_null(), "{plain}");
        }
        assert_eq!(fake.stored("thread/task/11111111-2222-4333-8444-555555555555"), None, "nobody answers there");
    }
    // A webhook has a channel of its own.
    let (fake, folder) = fake();
    template(&folder);
    let fake = fake.answer(404, "channel_not_found").answer(200, "ok");
    block_on(async { start(&fake, json!({ "templateFile": "mine.json" })).await.deliver(&failed()).await.unwrap() });
    assert_eq!(bodies(&fake)[1]["channel"], Value::Null);
    // In the settings' channel the same is tried again later.
    let fake = FakeHost::new("slack").answer(200, &refused("is_archived"));
    retry(deliver(&fake, token(&json!({}))));
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn a_plain_message_that_is_refused_is_dead_unless_a_setting_may_be_the_cause() {
    let (fake, _folder) = fake();
    let fake = fake.answer(400, "invalid_blocks").answer(400, "invalid_payload");
    let outcome = deliver(&fake, json!({}));
    assert!(
        matches!(&outcome, Err(DeliveryError::Reject { message }) if message.contains("invalid_payload")),
        "{outcome:?}"
    );
    let unclear = r#"{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["bad icon_emoji"]}}"#;
    let fake = FakeHost::new("slack").answer(200, unclear).answer(200, unclear);
    assert!(retry(deliver(&fake, token(&json!({})))).0.contains("bad icon_emoji"));
}

#[test]
fn a_rate_limit_holds_for_all_that_follows() {
    for (settings, body) in [(json!({}), "rate_limited"), (token(&json!({})), r#"{"ok":false,"error":"ratelimited"}"#)]
    {
        let (fake, _folder) = fake();
        let fake = fake.answer_with(429, &[("Retry-After", "40")], body);
        block_on(async {
            let chat = start(&fake, settings).await;
            let (message, after) = retry(chat.deliver(&sample_delivery("certificate.expiring")).await);
            assert!(message.contains("40 s") && after == Some(Duration::from_secs(40)), "{message} {after:?}");
            let (_, after) = retry(chat.deliver(&sample_delivery("reload-task.failed")).await);
            assert!(after.is_some_and(|after| after > Duration::from_secs(20)), "{after:?}");
        });
        assert_eq!(fake.requests().len(), 1, "Slack is not asked while it wants no messages");
    }
    let (_, after) = retry(deliver(&FakeHost::new("slack").answer(429, ""), json!({})));
    assert_eq!(after, Some(Duration::from_secs(30)));
    let days = FakeHost::new("slack").answer_with(429, &[("Retry-After", "999999")], "");
    assert_eq!(retry(deliver(&days, json!({}))).1, Some(Duration::from_mins(10)), "not for days");
}

#[test]
fn a_rate_limit_costs_neither_a_composition_nor_an_attempt_when_it_ends_soon() {
    // Composing would fetch the script log.
    let long = |delivery: &mut Delivery| delivery.event.data.script_log.as_mut().unwrap().rows = 10_000;
    let mut delivery = sample_delivery("reload-task.failed");
    long(&mut delivery);
    let (fake, _folder) = fake();
    let fake = fake.answer_with(429, &[("Retry-After", "40")], "rate_limited");
    block_on(async {
        let chat = start(&fake, json!({})).await;
        retry(chat.deliver(&sample_delivery("certificate.expiring")).await);
        let before = fake.records().len();
        let (_, after) = retry(chat.deliver(&delivery).await);
        assert!(after.is_some_and(|after| after > Duration::from_secs(20)), "{after:?}");
        assert_eq!(fake.records()[before..].len(), 0, "the script log was asked for, which this host does not have");
    });
    assert!(fake.slept().is_empty());

    let fake = FakeHost::new("slack").manual_time().answer_with(429, &[("Retry-After", "1")], "rate_limited");
    block_on(async {
        let chat = start(&fake, json!({})).await;
        let limited = std::time::Instant::now();
        retry(chat.deliver(&delivery).await);
        let clock = fake.clone();
        let passing = std::thread::spawn(move || {
            clock.wait_until("the wait", |fake| fake.sleeping() == 1);
            std::thread::sleep(Duration::from_millis(1100).saturating_sub(limited.elapsed()));
            clock.advance(Duration::from_secs(2));
        });
        chat.deliver(&delivery).await.unwrap();
        passing.join().unwrap();
    });
    assert_eq!(fake.requests().len(), 2);
    assert!(fake.slept()[0] <= Duration::from_millis(1001), "{:?}", fake.slept());
}

#[test]
fn a_check_posts_nothing() {
    let known = r#"{"ok":true,"team":"Acme","user":"butler"}"#;
    for (settings, status, body, part) in [
        (json!({}), 400, "no_text", "Slack knows the webhook; no message was posted"),
        (json!({}), 400, "invalid_payload", "Slack knows the webhook"),
        (
            json!({}),
            400,
            "who are you",
            "the address of the webhook answers: Slack answered who are you; check `webhookUrl`",
        ),
        (token(&json!({})), 200, known, "`butler` in the workspace `Acme`"),
    ] {
        let (fake, _folder) = fake();
        let fake = fake.answer(status, body);
        let text = block_on(async { start(&fake, settings).await.invoke("check", Value::Null).await.unwrap() });
        assert!(text.as_str().unwrap().contains(part), "{text}");
        assert!(text.as_str().unwrap().contains("the channel was not looked at: `butler test-alert` posts"), "{text}");
        let request = &fake.requests()[0];
        assert!(request.url == HOOK || request.url.ends_with("/auth.test"), "{}", request.url);
        assert_eq!(request.body, b"{}");
    }
    for (settings, status, body, part) in [
        (json!({}), 404, "no_service", "make a new one"),
        (json!({}), 403, "invalid_token", "make a new one"),
        (token(&json!({})), 200, r#"{"ok":false,"error":"invalid_auth"}"#, "put a valid bot token"),
    ] {
        let (fake, _folder) = fake();
        let fake = fake.answer(status, body);
        let error = block_on(async { start(&fake, settings).await.invoke("check", Value::Null).await.unwrap_err() });
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Status and body of the answer to `PUT /v4/slackpostmessage`.
fn put(fake: &FakeHost, settings: Value, body: &str) -> (u16, String) {
    let mut request = Request::new("PUT", "/v4/slackpostmessage");
    request.body = body.as_bytes().to_vec();
    let response = block_on(async { start(fake, settings).await.call(request).await });
    (response.status, String::from_utf8(response.body).unwrap())
}

#[test]
fn load_scripts_post_as_with_butler_16() {
    let (fake, _folder) = fake();
    let body = r##"{"channel":"#a","from_user":"u","msg":"m"}"##;
    assert_eq!(put(&fake, json!({ "channel": "other" }), body), (201, body.to_owned()));
    let body = r##"{"channel":"#etl","from_user":"Load script","msg":"Stage <2> & done","emoji":"tada"}"##;
    assert_eq!(put(&fake, json!({}), body), (201, body.to_owned()));
    let sent: Vec<_> = fake.requests().into_iter().map(|request| String::from_utf8(request.body).unwrap()).collect();
    assert_eq!(
        sent,
        [
            r##"{"username":"u","channel":"#a","blocks":[{"type":"section","text":{"type":"plain_text","text":"m"}}]}"##,
            r##"{"username":"Load script","channel":"#etl","icon_emoji":"tada","blocks":[{"type":"section","text":{"type":"plain_text","text":"Stage <2> & done"}}]}"##
        ]
    );
    assert_eq!(fake.requests()[0].url, HOOK);
    let fake = FakeHost::new("slack").answer(200, r#"{"ok":true,"ts":"1.2"}"#);
    assert_eq!(put(&fake, token(&json!({})), body).0, 201);
    assert_eq!(fake.requests()[0].url, POST);
}

#[test]
fn long_texts_of_load_scripts_are_split_and_impossible_ones_refused() {
    let (fake, _folder) = fake();
    let body = |msg: &str| json!({ "channel": "c", "from_user": "u", "msg": msg }).to_string();
    let long = "a line\n".repeat(1000);
    assert_eq!(put(&fake, json!({}), &body(&long)).0, 201);
    let sent = bodies(&fake).pop().unwrap();
    let texts = sent["blocks"].as_array().unwrap().iter().map(|block| block["text"]["text"].as_str().unwrap());
    assert_eq!(texts.collect::<Vec<_>>().join("\n"), long);
    for (msg, part) in [("", "`msg` is empty"), (&*"x".repeat(13_000), "about 12000 characters")] {
        let (status, answer) = put(&fake, json!({}), &body(msg));
        assert!(status == 400 && answer.contains(part), "{status} {answer}");
    }
    assert_eq!(put(&fake, json!({}), "{}").0, 400);
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn a_refusal_by_slack_is_502() {
    let body = r#"{"channel":"c","from_user":"u","msg":"m"}"#;
    for (status, answer, part) in [
        (404, "channel_not_found", "channel_not_found"),
        (400, "invalid_blocks", "invalid_blocks"),
        (429, "rate_limited", "too many messages"),
        (500, "", "500"),
    ] {
        let (fake, _folder) = fake();
        let (status, text) = put(&fake.answer(status, answer), json!({}), body);
        assert!(status == 502 && text.contains(part) && text.contains("\"statusCode\":502"), "{status} {text}");
    }
    let (fake, _folder) = fake();
    let (status, text) = put(&fake.fail(HttpError::Connection("cannot be reached".to_owned())), json!({}), body);
    assert!(status == 502 && text.contains("cannot be reached"), "{status} {text}");
}
