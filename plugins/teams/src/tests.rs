//! The plugin as the host sees it.

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_delivery};
use butler_plugin_api::{CustomLink, Data, Delivery, DeliveryError, Health, Links, OperationError, Plugin, StartError};
use serde_json::{Value, json};

use super::Teams;

const NASTY: &str = "R&D \"x\"; C:\\new\\file\r\n\tä \u{1F600}";

fn links() -> Links {
    let mut wiki = CustomLink::new("Wiki", "https://wiki.test/?a=b&c=d");
    wiki.id = "wiki".to_owned();
    wiki.comment = "What to do".to_owned();
    Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        hub: Some("https://sense.test/hub".to_owned()),
        app_base_url: Some("https://sense.test/sense/app".to_owned()),
        custom: vec![wiki],
    }
}

/// A fake host with links, and a folder for templates.
fn fake() -> (FakeHost, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (FakeHost::new("teams").links(links()).config_dir(folder.path().to_str().unwrap()), folder)
}

async fn start(fake: &FakeHost, more: Value) -> Teams {
    let mut settings = json!({ "webhookUrl": "https://flow.test/hook?sig=x", "timeZone": "Europe/Stockholm" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fake.start(settings).await.unwrap()
}

/// What is posted for a delivery.
fn posted(more: Value, delivery: &Delivery) -> Value {
    let (fake, _folder) = fake();
    block_on(async { start(&fake, more).await.deliver(delivery).await.unwrap() });
    let request = fake.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://flow.test/hook?sig=x"));
    assert!(request.headers.contains(&("Content-Type".to_owned(), "application/json".to_owned())));
    serde_json::from_slice(&request.body).unwrap()
}

fn nasty(delivery: &mut Delivery) {
    let data = &mut delivery.event.data;
    data.task.as_mut().unwrap().name = NASTY.to_owned();
    data.app.as_mut().unwrap().name = NASTY.to_owned();
    data.log.as_mut().unwrap().message = NASTY.to_owned();
    data.execution.as_mut().unwrap().details[0].message = NASTY.to_owned();
    let log = data.script_log.as_mut().unwrap();
    log.head[0] = NASTY.to_owned();
    log.tail[0] = NASTY.to_owned();
}

#[test]
fn built_in_cards() {
    insta::assert_json_snapshot!("failed", posted(json!({}), &sample_delivery("reload-task.failed")));
    let mut late = sample_delivery("preload-task.aborted");
    (late.late_seconds, late.suppressed) = (Some(3600), 2);
    insta::assert_json_snapshot!("aborted-late", posted(json!({ "envelope": "card" }), &late));
    insta::assert_json_snapshot!("certificate", posted(json!({}), &sample_delivery("certificate.expiring")));
}

#[test]
fn rows_without_value_are_left_out() {
    let mut delivery = sample_delivery("reload-task.failed");
    let data = &mut delivery.event.data;
    (data.app, data.execution, data.script_log, data.user) = (None, None, None, None);
    data.missing = ["app", "execution", "scriptLog"].map(str::to_owned).to_vec();
    insta::assert_json_snapshot!("missing", posted(json!({ "envelope": "card" }), &delivery));
    // Even with nothing at all there is a card.
    for kind in ["reload-task.failed", "moon.risen", ""] {
        let mut delivery = sample_delivery(kind);
        delivery.event.data = Data::default();
        assert_eq!(posted(json!({}), &delivery)["type"], "message", "{kind}");
    }
}

#[test]
fn every_kind_has_a_card_that_fits() {
    for kind in butler_plugin_api::kind::ALL {
        let (fake, _folder) = fake();
        block_on(async {
            let teams = start(&fake, json!({ "envelope": "card" })).await;
            teams.deliver(&sample_delivery(kind)).await.unwrap();
            assert_eq!(teams.health().await, Health::Good, "{kind}");
        });
        let body = &fake.requests()[0].body;
        assert!(body.len() < 20_480);
        let card: Value = serde_json::from_slice(body).unwrap();
        insta::with_settings!({ snapshot_path => "snapshots/kinds", prepend_module_to_snapshot => false }, {
            insta::assert_json_snapshot!(*kind, card["body"]);
        });
    }
}

#[test]
fn nasty_texts_arrive_as_they_are() {
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    let card = &posted(json!({}), &delivery)["attachments"][0]["content"];
    assert_eq!(card["body"][0]["items"][0]["text"], format!("Reload task failed: {NASTY}"));
    assert_eq!(element(card, "FactSet")["facts"][0]["value"], NASTY);
    assert_eq!(element(card, "ActionSet")["actions"][3]["url"], "https://wiki.test/?a=b&c=d");
    let code = code(card, "begins");
    assert!(code.starts_with(&format!("{NASTY}\n")), "{code}");
}

/// The first element of a type.
fn element<'a>(card: &'a Value, of_type: &str) -> &'a Value {
    card["body"].as_array().unwrap().iter().find(|element| element["type"] == of_type).unwrap()
}

/// The code block below a title.
fn code<'a>(card: &'a Value, title: &str) -> &'a str {
    let has_title = |element: &&Value| element["items"][0]["text"].as_str().is_some_and(|text| text.contains(title));
    let found = card["body"].as_array().unwrap().iter().find(has_title).unwrap();
    found["items"][1]["codeSnippet"].as_str().unwrap()
}

#[test]
fn basic_messages() {
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.suppressed = 4;
    nasty(&mut delivery);
    let message = posted(json!({ "messageType": "basic", "basicTemplate": "Failed: {{taskName}}" }), &delivery);
    assert_eq!(message["attachments"][0]["content"]["body"][0]["text"], format!("Failed: {NASTY}"));
    let delivery = sample_delivery("reload-task.failed");
    insta::assert_json_snapshot!("basic", posted(json!({ "messageType": "basic", "envelope": "card" }), &delivery));
    let broken =
        posted(json!({ "messageType": "basic", "basicTemplate": "{{nosuch taskName}}" }), &delivery).to_string();
    assert!(broken.contains("template `basicTemplate`, line 1: there is no helper `nosuch`"), "{broken}");
}

#[test]
fn own_templates_of_both_styles_are_read_for_each_message() {
    let (fake, folder) = fake();
    let path = folder.path().join("mine.json");
    std::fs::write(
        &path,
        "\u{feff}{\"a\": \"{{{scriptLogHead}}}\", \"b\": \"{{appStreamName}} {{appStreamName.id}}\"}",
    )
    .unwrap();
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    block_on(async {
        let teams = start(&fake, json!({ "templateFile": "mine.json" })).await;
        teams.deliver(&delivery).await.unwrap();
        std::fs::write(&path, "{\"c\": {{scriptLogSizeRows}}}").unwrap();
        teams.deliver(&delivery).await.unwrap();
    });
    let bodies: Vec<Value> = fake.requests().iter().map(|r| serde_json::from_slice(&r.body).unwrap()).collect();
    assert!(bodies[0]["a"].as_str().unwrap().starts_with(NASTY));
    assert_eq!(bodies[0]["b"], "Finance EU 99999999-0000-4000-8000-000000000001");
    assert_eq!(bodies[1], json!({ "c": 412 }));
}

#[test]
fn a_broken_template_loses_no_alert() {
    let (fake, folder) = fake();
    let path = folder.path().join("mine.json");
    let mut delivery = sample_delivery("reload-task.failed");
    block_on(async {
        let teams = start(&fake, json!({ "templateFile": "mine.json" })).await;
        assert!(matches!(teams.health().await, Health::Degraded(_)), "the file is not there yet");
        for (source, part) in [
            (None, "cannot be read"),
            (Some("{\n{{#if x}}\n}"), "template `mine.json`, line"),
            (Some("{\n\"a\": \"{{upper taskName}}\"\n}"), "template `mine.json`, line 2: there is no helper `upper`"),
            (Some("{\n\"a\": {{nothing}}\n}"), "`nothing` printed nothing"),
            (Some("[1, 2]"), "JSON, but no object"),
        ] {
            if let Some(source) = source {
                std::fs::write(&path, source).unwrap();
            }
            teams.deliver(&delivery).await.unwrap();
            let body = String::from_utf8(fake.requests().pop().unwrap().body).unwrap();
            assert!(body.contains("Reload task failed: Sales nightly") && body.contains(part), "{body}");
            assert!(matches!(teams.health().await, Health::Degraded(text) if text.contains(part)));
            let error = teams.invoke("check", Value::Null).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        std::fs::write(&path, "{}").unwrap();
        teams.deliver(&delivery).await.unwrap();
        assert_eq!(teams.health().await, Health::Good);
    });
    delivery.suppressed = 1;
    std::fs::write(&path, "{").unwrap();
    block_on(async { start(&fake, json!({ "templateFile": "mine.json" })).await.deliver(&delivery).await.unwrap() });
    let shown: Value = serde_json::from_slice(&fake.requests().pop().unwrap().body).unwrap();
    insta::assert_json_snapshot!("plain", shown);
}

#[test]
fn long_logs_are_shortened_to_fit_and_say_so() {
    let mut delivery = sample_delivery("reload-task.failed");
    let log = delivery.event.data.script_log.as_mut().unwrap();
    let line = |number: usize| format!("{number:03} \"quoted\\\" {}", "ä".repeat(200));
    log.head = (0..60).map(line).collect();
    log.tail = (352..412).map(line).collect();
    let lines = json!({ "headScriptLogLines": 30, "tailScriptLogLines": 60 });
    let message = posted(lines, &delivery);
    let text = message.to_string();
    assert!(text.len() <= 20_480 && text.len() > 19_000, "{}", text.len());
    let card = &message["attachments"][0]["content"];
    assert!(card["body"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().contains("Shortened"));
    assert_eq!(code(card, "begins"), "… 30 lines left out to fit the message", "the head goes first");
    let tail = code(card, "ends");
    assert_eq!(code(card, "Steps").lines().count(), 3, "the details stay");
    assert!(tail.starts_with("… ") && tail.ends_with(&line(411)), "the end of the tail is the last to go");

    // What cannot be shortened enough is a plain card.
    delivery.event.data.task.as_mut().unwrap().name = "\u{1}".repeat(100_000);
    let text = posted(json!({ "maxSize": "2kB" }), &delivery).to_string();
    assert!(text.len() <= 2048 && text.contains("The full card is larger"), "{}: {text}", text.len());
}

#[test]
fn the_whole_log_is_fetched_only_when_the_event_has_too_few_lines() {
    let (fake, _folder) = fake();
    let whole: Vec<String> = (0..412).map(|number| format!("line {number}")).collect();
    let fake = fake.qlik("scriptLog/e1", json!(whole.join("\r\n")));
    let shown = block_on(async {
        let teams = start(&fake, json!({ "headScriptLogLines": 3, "tailScriptLogLines": 2 })).await;
        let delivery = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        teams.invoke("render", delivery).await.unwrap()
    });
    let card = &shown["attachments"][0]["content"];
    assert_eq!(code(card, "begins"), "line 0\nline 1\nline 2");
    assert_eq!(code(card, "ends"), "line 410\nline 411");
}

#[test]
fn answers_follow_the_shared_rule() {
    let (fake, _folder) = fake();
    let fake = fake.answer(202, "1").answer_with(429, &[("Retry-After", "30")], "");
    let fake = fake.answer(400, "bad card").answer(400, "bad card");
    block_on(async {
        let teams = start(&fake, json!({})).await;
        let delivery = sample_delivery("reload-task.failed");
        teams.deliver(&delivery).await.unwrap();
        let error = teams.deliver(&delivery).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { after: Some(after), .. } if after.as_secs() == 30));
        assert!(matches!(teams.deliver(&delivery).await, Err(DeliveryError::Reject { .. })));
    });
}

#[test]
fn a_card_that_teams_refuses_goes_out_as_a_plain_one() {
    for status in [400, 413, 422] {
        let (fake, _folder) = fake();
        let fake = fake.answer(status, "<html>no such element</html>");
        block_on(async {
            let teams = start(&fake, json!({})).await;
            teams.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
            let health = teams.health().await;
            assert!(matches!(health, Health::Degraded(text) if text.contains("no such element")));
        });
        let plain = String::from_utf8(fake.requests().pop().unwrap().body).unwrap();
        assert!(plain.contains("Teams refused the full one") && plain.contains("no such element"), "{plain}");
        assert_eq!(fake.requests().len(), 2);
    }
}

#[test]
fn a_connector_that_answers_200_with_a_failure_has_not_shown_the_card() {
    let says = |what: &str| {
        format!(
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned {what} with ContextId tcid=0"
        )
    };
    for envelope in ["messageCard", "message", "card"] {
        for code in ["400", "413", "422"] {
            let (fake, _folder) = fake();
            let fake = fake.answer(200, &says(&format!("HTTP error {code}"))).answer(200, "1");
            block_on(async {
                let teams = start(&fake, json!({ "envelope": envelope })).await;
                teams.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
                let health = teams.health().await;
                assert!(matches!(&health, Health::Degraded(text) if text.contains("ContextId")), "{code}: {health:?}");
            });
            let plain = String::from_utf8(fake.requests().pop().unwrap().body).unwrap();
            assert!(fake.requests().len() == 2 && plain.contains("Teams refused the full one"), "{plain}");
        }
    }
    for what in ["HTTP error 429", "HTTP error 404", "HTTP error 500", "HTTP error", "nothing"] {
        let (fake, _folder) = fake();
        let fake = fake.answer(200, &says(what));
        let sent = block_on(async { start(&fake, json!({})).await.deliver(&sample_delivery("butler.started")).await });
        assert!(
            matches!(&sent, Err(DeliveryError::Retry { message, .. }) if message.contains("ContextId")),
            "{what}: {sent:?}"
        );
        assert_eq!(fake.requests().len(), 1);
    }
    // The plain one is refused as well: it would be again.
    let (fake, _folder) = fake();
    let fake = fake.answer(413, "").answer(200, &says("HTTP error 413"));
    let sent = block_on(async { start(&fake, json!({})).await.deliver(&sample_delivery("butler.started")).await });
    assert!(matches!(sent, Err(DeliveryError::Reject { .. })), "{sent:?}");
}

#[test]
fn owners_are_mentioned_where_their_address_is_known() {
    let mut delivery = sample_delivery("reload-task.failed");
    let shown = posted(json!({ "mentionOwner": true, "envelope": "card" }), &delivery);
    assert_eq!(shown["body"][1]["text"], "Owner: <at>Ann Berg</at>");
    assert_eq!(shown["msteams"]["entities"][0]["mentioned"]["id"], "ann@lab.test");
    delivery.event.data.app.as_mut().unwrap().owner.as_mut().unwrap().emails.clear();
    assert!(!posted(json!({ "mentionOwner": true }), &delivery).to_string().contains("<at>"));
    for name in ["", " <> "] {
        let mut delivery = sample_delivery("reload-task.failed");
        name.clone_into(&mut delivery.event.data.app.as_mut().unwrap().owner.as_mut().unwrap().name);
        let shown = posted(json!({ "mentionOwner": true, "envelope": "card" }), &delivery);
        assert_eq!(shown["body"][1]["text"], "Owner: <at>ann@lab.test</at>", "without a name the address is shown");
    }
}

#[test]
fn names_make_no_links_and_only_addresses_of_the_web_are_buttons() {
    const LURE: &str = "[Your session expired](https://evil.test)";
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.app.as_mut().unwrap().name = LURE.to_owned();
    delivery.event.data.task.as_mut().unwrap().name = LURE.to_owned();
    delivery.event.data.log.as_mut().unwrap().message = LURE.to_owned();
    for settings in [
        json!({}),
        json!({ "envelope": "card" }),
        json!({ "envelope": "messageCard" }),
        json!({ "messageType": "basic" }),
        json!({ "messageType": "basic", "envelope": "messageCard" }),
        json!({ "templateFile": "nosuch.json" }),
        json!({ "templateFile": "nosuch.json", "envelope": "messageCard" }),
    ] {
        let card = posted(settings.clone(), &delivery).to_string();
        assert!(card.contains("[Your session expired]\u{200b}(https://evil.test)"), "{settings}: {card}");
        assert!(!card.contains(LURE), "{settings}: {card}");
    }

    let mut links = links();
    links.qmc = Some("https://:4242/".to_owned());
    links.custom.push(CustomLink::new("Script", "javascript:alert(1)"));
    for settings in [json!({}), json!({ "messageType": "basic" }), json!({ "templateFile": "nosuch.json" })] {
        for envelope in ["card", "messageCard"] {
            let (fake, _folder) = fake();
            let fake = fake.links(links.clone());
            let mut settings = settings.clone();
            settings["envelope"] = envelope.into();
            block_on(async { start(&fake, settings.clone()).await.deliver(&delivery).await.unwrap() });
            let card = String::from_utf8(fake.requests().pop().unwrap().body).unwrap();
            assert!(
                !card.contains("4242") && !card.contains("javascript") && card.contains("/hub"),
                "{settings}: {card}"
            );
        }
    }
}

#[test]
fn message_cards_for_connectors() {
    let legacy = json!({ "envelope": "messageCard" });
    let mut delivery = sample_delivery("reload-task.failed");
    insta::assert_json_snapshot!("message-card", posted(legacy, &delivery));
    let basic =
        json!({ "envelope": "messageCard", "messageType": "basic", "basicTemplate": "Reload failed: {{appName}}" });
    insta::assert_json_snapshot!("message-card-basic", posted(basic, &delivery));
    let log = delivery.event.data.script_log.as_mut().unwrap();
    log.tail = (0..15).map(|number| format!("{number} {}", "x".repeat(3000))).collect();
    let shortened = posted(json!({ "envelope": "messageCard" }), &delivery).to_string();
    assert!(shortened.len() <= 20_480 && shortened.contains("Shortened"), "{}", shortened.len());
    let plain = posted(json!({ "envelope": "messageCard", "maxSize": "2kB" }), &delivery);
    assert_eq!((&plain["@type"], plain.to_string().len() <= 2048), (&"MessageCard".into(), true));
}

#[test]
fn a_template_is_tried_without_being_used() {
    let (fake, folder) = fake();
    let path = folder.path().join("other.json");
    let render = |source: &str| {
        std::fs::write(&path, source).unwrap();
        let mut input = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        input["templateFile"] = path.to_str().unwrap().into();
        block_on(async { start(&fake, json!({})).await.invoke("render", input).await })
    };
    assert_eq!(render("{\"a\": \"{{taskName}}\"}").unwrap(), json!({ "a": "Sales nightly" }));
    let error = render("{\n{{nosuch taskName}}}").unwrap_err().to_string();
    assert!(error.contains("other.json`, line 2: there is no helper `nosuch`"), "{error}");

    // That of a basic message makes a text.
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    let mut input = serde_json::to_value(delivery).unwrap();
    input["templateFile"] = path.to_str().unwrap().into();
    std::fs::write(&path, "Failed: {{taskName}}").unwrap();
    let basic = json!({ "messageType": "basic", "envelope": "card" });
    let card = block_on(async { start(&fake, basic).await.invoke("render", input).await.unwrap() });
    assert_eq!(card["body"][0]["text"], format!("Failed: {NASTY}"));
    assert!(fake.requests().is_empty());
}

#[test]
fn a_check_posts_nothing() {
    let (fake, _folder) = fake();
    let fake = fake.answer(405, "");
    block_on(async {
        let teams = start(&fake, json!({})).await;
        let text = teams.invoke("check", Value::Null).await.unwrap();
        assert!(text.as_str().unwrap().contains("flow.test is reachable"), "{text}");
        assert!(matches!(teams.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
        assert!(matches!(teams.invoke("render", json!(1)).await, Err(OperationError::Failed(_))));
    });
    let methods: Vec<_> = fake.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["OPTIONS"]);
}

#[test]
fn a_check_tells_of_retired_addresses() {
    let (fake, _folder) = fake();
    block_on(async {
        for (url, part) in [
            ("https://prod-1.westeurope.logic.azure.com/workflows/x", "logic.azure.com were to stop"),
            ("https://lab.webhook.office.com/webhookb2/x", "connectors of Office 365"),
        ] {
            let text = start(&fake, json!({ "webhookUrl": url })).await.invoke("check", Value::Null).await.unwrap();
            assert!(text.as_str().unwrap().contains(part), "{text}");
        }
    });
}

#[test]
fn start_and_manifest() {
    let settings = json!({ "webhookUrl": "ftp://flow.test/" });
    let error = block_on(FakeHost::new("teams").start::<Teams>(settings)).err().unwrap();
    assert!(matches!(error, StartError::Config(text) if text.contains("`webhookUrl`")));
    let manifest = manifest_of::<Teams>();
    assert!(manifest.script_log);
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    assert_eq!(manifest.settings_schema["required"], json!(["webhookUrl"]));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<Teams>(json!({ "webhookUrl": "https://flow.test/hook?sig=x" }));
}
