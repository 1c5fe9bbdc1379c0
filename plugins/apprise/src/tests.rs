//! The plugin as the host sees it.

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_events};
use butler_plugin_api::{
    Delivery, DeliveryError, Health, HttpError, Links, OperationError, Plugin, StartError, sample_delivery,
};
use serde_json::{Value, json};

use super::Apprise;

const SENT: &str = r#"{"error":"","details":[["INFO","2026-03-04 05:06:07","Sent Slack notification."]]}"#;

fn fake() -> FakeHost {
    let links = Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        app_base_url: Some("https://sense.test/sense/app".to_owned()),
        ..Links::default()
    };
    FakeHost::new("apprise").links(links)
}

async fn start(fake: &FakeHost, more: Value) -> Apprise {
    let mut settings = json!({ "url": "http://apprise.test:8000", "key": "bi", "timeZone": "Europe/Stockholm" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fake.start(settings).await.unwrap()
}

/// The bodies of what was posted, each of which Apprise takes.
fn posted(fake: &FakeHost) -> Vec<Value> {
    let one = |body: Vec<u8>| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(!body["body"].as_str().unwrap().trim().is_empty(), "{body:#}");
        assert!(["info", "success", "warning", "failure"].contains(&body["type"].as_str().unwrap()), "{body:#}");
        assert!(["text", "markdown", "html"].contains(&body["format"].as_str().unwrap()), "{body:#}");
        assert!(!body["title"].as_str().unwrap().contains('\n'), "{body:#}");
        body
    };
    fake.requests().into_iter().filter(|request| request.method == "POST").map(|request| one(request.body)).collect()
}

#[test]
fn notifications_of_all_kinds() {
    let fake = fake();
    block_on(async {
        let server = start(&fake, json!({ "tag": "ops", "tailScriptLogLines": 3 })).await;
        for mut event in sample_events() {
            event.id.clone_from(&event.kind);
            server.deliver(&Delivery { event, ..sample_delivery("x.y") }).await.unwrap();
        }
        server.deliver(&sample_delivery("moon.risen")).await.unwrap();
    });
    let shown = |body: &Value| {
        assert_eq!((&body["tag"], &body["format"]), (&json!("ops"), &json!("text")));
        format!(
            "=== {}: {}\n{}",
            body["type"].as_str().unwrap(),
            body["title"].as_str().unwrap(),
            body["body"].as_str().unwrap()
        )
    };
    let all: Vec<String> = posted(&fake).iter().map(shown).collect();
    insta::assert_snapshot!(all.join("\n\n"));
    let request = &fake.requests()[0];
    assert_eq!(request.url, "http://apprise.test:8000/notify/bi");
    assert!(request.headers.contains(&("Accept".to_owned(), "application/json".to_owned())));
    assert!(request.headers.contains(&("X-Apprise-Log-Level".to_owned(), "info".to_owned())));
}

#[test]
fn the_other_formats() {
    for format in ["markdown", "html"] {
        let fake = fake();
        block_on(async {
            let server = start(&fake, json!({ "format": format, "headScriptLogLines": 1 })).await;
            let mut delivery = sample_delivery("reload-task.failed");
            delivery.late_seconds = Some(600);
            delivery.event.data.task.as_mut().unwrap().name = "R&D <b> ` [open](http://evil.test) `".to_owned();
            server.deliver(&delivery).await.unwrap();
            server.deliver(&sample_delivery("message.posted")).await.unwrap();
        });
        let bodies: Vec<String> = posted(&fake).iter().map(|body| body["body"].as_str().unwrap().to_owned()).collect();
        insta::assert_snapshot!(format, bodies.join("\n=====\n"));
    }
}

#[test]
fn a_server_that_keeps_none_is_told_the_services() {
    let fake = fake();
    let settings = json!({ "key": null, "services": ["json://a.test", "xml://b.test"], "headers": { "X-A": "b" }, "tls": "internal" });
    block_on(async {
        let server = start(&fake, settings).await;
        server.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    let request = &fake.requests()[0];
    assert_eq!(request.url, "http://apprise.test:8000/notify/");
    assert!(request.headers.contains(&("X-A".to_owned(), "b".to_owned())));
    assert_eq!(request.options, r#"{"timeoutMs":45000,"tls":"internal"}"#);
    assert_eq!(posted(&fake)[0]["urls"], "json://a.test xml://b.test");
}

#[test]
fn answers_without_anybody_notified_are_no_success() {
    let fake = fake().answer(204, "").answer(424, r#"{"error":"x","details":[]}"#).answer(200, "<html>Sign in");
    let fake = fake.answer(500, r#"{"error":"x"}"#).answer(400, r#"{"error":"bad"}"#);
    let fake = fake.fail(HttpError::Connection("refused".to_owned()));
    let fake = fake.answer(200, SENT).answer(200, "Notification(s) sent.");
    block_on(async {
        let server = start(&fake, json!({ "tag": "ops" })).await;
        let delivery = sample_delivery("reload-task.failed");
        for part in ["no configuration under the `key` bi", "has the `tag` ops", "not by Apprise", "500"] {
            let error = server.deliver(&delivery).await.unwrap_err();
            let DeliveryError::Retry { message, progress, .. } = &error else { panic!("{error:?}") };
            assert!(message.contains(part) && progress.is_none(), "{message}");
        }
        assert!(matches!(server.deliver(&delivery).await.unwrap_err(), DeliveryError::Reject { .. }));
        assert!(matches!(server.deliver(&delivery).await.unwrap_err(), DeliveryError::Retry { .. }));
        server.deliver(&delivery).await.unwrap();
        server.deliver(&delivery).await.unwrap();
    });
}

#[test]
fn where_some_are_not_reached_all_are_notified_again_but_not_often() {
    let partial = r#"{"error":"One or more notification could not be sent","details":[["INFO","t","Sent Slack notification."],["WARNING","t","Failed to send Discord notification: error=401."]]}"#;
    let fake = fake();
    let fake = fake.answer_to("POST", "http://apprise.test", 424, partial);
    block_on(async {
        let server = start(&fake, json!({ "partialRetries": 6 })).await;
        let mut delivery = sample_delivery("reload-task.failed");
        let mut waits = Vec::new();
        let error = loop {
            match server.deliver(&delivery).await.unwrap_err() {
                DeliveryError::Retry { message, after, progress, .. } => {
                    assert!(message.contains("Failed to send Discord") && !message.contains("Sent Slack"), "{message}");
                    waits.push(after.unwrap().as_secs() / 60);
                    delivery.progress = progress;
                }
                error => break error,
            }
        };
        assert_eq!(waits, [1, 5, 15, 60, 60, 60]);
        assert!(
            matches!(&error, DeliveryError::Reject { message } if message.contains("given up after 7 attempts")),
            "{error}"
        );
        // A text instead of JSON, and never again.
        let fake = fake.clone().answer_to("POST", "http://apprise.test", 424, "One or more");
        let server = start(&fake, json!({ "partialRetries": 0 })).await;
        let error = server.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Reject { .. }), "{error}");
    });
}

/// The server goes on to send, whether somebody waits for its answer or not.
#[test]
fn without_an_answer_in_time_all_are_notified_again_but_not_often() {
    let fake = fake().fail(HttpError::Timeout("apprise.test did not answer".to_owned())).answer(504, "<html>");
    let fake = fake.answer(424, "One or more").fail(HttpError::Timeout("apprise.test did not answer".to_owned()));
    block_on(async {
        let server = start(&fake, json!({ "partialRetries": 3 })).await;
        let mut delivery = sample_delivery("reload-task.failed");
        for (wait, part) in [(1, "did not answer"), (5, "504"), (15, "424")] {
            let error = server.deliver(&delivery).await.unwrap_err();
            let DeliveryError::Retry { message, after: Some(after), progress, .. } = error else { panic!("{error:?}") };
            assert_eq!(after.as_secs(), wait * 60);
            assert!(message.contains(part), "{message}");
            delivery.progress = progress;
        }
        // Perhaps nobody was reached: rarely, but not given up. The answer that it is done in part ends it.
        let fake = fake.clone().answer(424, "One or more");
        let error = server.deliver(&delivery).await.unwrap_err();
        let DeliveryError::Retry { after: Some(after), progress, .. } = error else { panic!("{error:?}") };
        assert_eq!((after.as_secs(), &progress), (3600, &delivery.progress));
        delivery.progress = progress;
        let error = server.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("given up after 4 attempts")));
        let fake = fake.fail(HttpError::Timeout("apprise.test did not answer".to_owned()));
        let server = start(&fake, json!({ "partialRetries": 0 })).await;
        let error = server.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { after: Some(_), .. }), "{error:?}");
    });
}

#[test]
fn a_template_of_the_settings_or_the_plain_form_where_it_fails() {
    let folder = tempfile();
    let file = std::path::Path::new(&folder).join("mine.txt");
    std::fs::write(&file, "{{taskName}} of {{appName}}").unwrap();
    let fake = fake().config_dir(&folder);
    block_on(async {
        let server = start(&fake, json!({ "templateFile": "mine.txt", "titleTemplate": "Qlik:\n{{heading}}" })).await;
        server.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        assert_eq!(server.health().await, Health::Good);
        std::fs::write(&file, "{{#if x}}").unwrap();
        server.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        assert!(matches!(server.health().await, Health::Degraded(text) if text.contains("mine.txt")));
        let server = start(&fake, json!({ "template": "{{ nothing }}", "titleTemplate": "{{#each" })).await;
        server.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        let server = start(&fake, json!({ "template": "{{ nothing }}", "titleTemplate": "{{ nothing }}" })).await;
        server.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    let posted = posted(&fake);
    let text = |n: usize, name: &str| posted[n][name].as_str().unwrap().to_owned();
    assert_eq!(text(0, "title"), "Qlik: Reload task failed: Sales nightly");
    assert_eq!(text(0, "body"), "Sales nightly of Sales \"EU\"");
    assert!(
        text(1, "body").contains("the template failed: template `mine.txt`, line 1")
            && text(1, "body").contains("Max retries reached")
    );
    assert!(
        text(2, "title").starts_with("Reload task failed: Sales nightly") && text(2, "body").contains("titleTemplate")
    );
    assert!(
        text(3, "title").starts_with("Reload task failed") && text(3, "body").starts_with("Reload task failed"),
        "{:#}",
        posted[3]
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// A new folder.
fn tempfile() -> String {
    let folder = std::env::temp_dir().join(format!("butler-apprise-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn huge_texts_are_cut_and_missing_facts_are_absent() {
    let fake = fake();
    block_on(async {
        let server = start(&fake, json!({ "maxLengthCharacters": 2000, "tailScriptLogLines": 1000 })).await;
        let mut delivery = sample_delivery("reload-task.failed");
        let data = &mut delivery.event.data;
        data.task.as_mut().unwrap().name = "\u{0}ä\n\"".repeat(300_000);
        data.log.as_mut().unwrap().message = "é".repeat(1 << 20);
        data.script_log.as_mut().unwrap().tail = (0..100).map(|n| format!("{n} {}", "z".repeat(10_000))).collect();
        server.deliver(&delivery).await.unwrap();
        start(&fake, json!({ "maxLengthCharacters": 200 })).await.deliver(&delivery).await.unwrap();
        delivery.event.data = butler_plugin_api::Data::default();
        server.deliver(&delivery).await.unwrap();
    });
    let posted = posted(&fake);
    for (number, longest) in [(0, 2000), (1, 200)] {
        let body = posted[number]["body"].as_str().unwrap();
        assert!(body.chars().count() <= longest && !body.contains('\u{0}'), "{}: {body}", body.chars().count());
        assert!(posted[number]["title"].as_str().unwrap().chars().count() <= 251);
    }
    assert!(!posted[2].to_string().contains("undefined"));
}

#[test]
fn check_asks_whom_it_would_notify_and_render_sends_nothing() {
    let urls = |tags: Value| json!({ "tags": [], "urls": [{ "url": "slack://…", "tags": tags }] }).to_string();
    let fake = fake().answer(200, &urls(json!([]))).answer(200, &urls(json!(["ops"]))).answer(204, "").answer(403, "");
    let fake = fake.answer(200, "<html>").answer(503, "");
    block_on(async {
        let server = start(&fake, json!({})).await;
        let text = server.invoke("check", Value::Null).await.unwrap();
        assert_eq!(text, "the templates are fine; apprise.test would notify 1 service; nobody was notified");
        let check = async |part: &str| match server.invoke("check", Value::Null).await {
            Ok(text) => assert!(text.as_str().unwrap().contains(part), "{text}"),
            Err(error) => assert!(error.to_string().contains(part), "{error}"),
        };
        check("no service without a tag").await;
        check("no configuration under the `key` bi").await;
        check("does not tell").await;
        check("not as Apprise does").await;
        check("503").await;

        let tagged = start(&fake.clone().answer(200, r#"{"urls":[]}"#), json!({ "tag": "a, b" })).await;
        let error = tagged.invoke("check", Value::Null).await.unwrap_err();
        assert!(error.to_string().contains("has the `tag` a, b"), "{error}");
        let told = json!({ "key": null, "services": ["json://a"] });
        let told = start(&fake.clone().answer(404, "").answer(502, ""), told).await;
        assert!(told.invoke("check", Value::Null).await.unwrap().as_str().unwrap().contains("answers (404)"));
        assert!(told.invoke("check", Value::Null).await.is_err());
        let broken = start(&fake, json!({ "template": "{{#if x}}" })).await;
        assert!(
            matches!(broken.invoke("check", Value::Null).await, Err(OperationError::Failed(text)) if text.contains("`template`"))
        );

        let input = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        let shown = server.invoke("render", input.clone()).await.unwrap();
        assert_eq!((&shown["type"], &shown["title"]), (&json!("failure"), &json!("Reload task failed: Sales nightly")));
        assert!(broken.invoke("render", input).await.is_err());
    });
    let urls: Vec<String> =
        fake.requests().into_iter().map(|request| format!("{} {}", request.method, request.url)).collect();
    assert_eq!(urls[0], "GET http://apprise.test:8000/json/urls/bi?privacy=1");
    assert_eq!(urls[6], "GET http://apprise.test:8000/json/urls/bi?privacy=1&tag=a%2C+b");
    assert_eq!((urls[7].as_str(), urls.len()), ("GET http://apprise.test:8000/status", 9));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let error = block_on(FakeHost::new("x").start::<Apprise>(json!({ "url": "http://a.test" }))).err().unwrap();
    assert!(matches!(error, StartError::Config(_)));
    assert!(!manifest_of::<Apprise>().ordered);
    conformance::<Apprise>(json!({ "url": "http://apprise.test:8000", "key": "bi" }));
}
