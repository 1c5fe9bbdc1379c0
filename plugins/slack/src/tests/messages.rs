//! What is sent.

use butler_plugin_api::{Data, Health, kind};
use proptest::prelude::*;

use super::*;
use crate::text::MARK;

fn first_text(message: &Value) -> &str {
    message["blocks"][0]["text"]["text"].as_str().unwrap_or_default()
}

fn with_log(head: Vec<String>, tail: Vec<String>) -> Delivery {
    let mut delivery = sample_delivery("reload-task.failed");
    let log = delivery.event.data.script_log.as_mut().unwrap();
    (log.rows, log.head, log.tail) = ((head.len() + tail.len()) as u64, head, tail);
    delivery
}

#[test]
fn built_in_messages() {
    insta::assert_json_snapshot!("failed", posted(json!({}), &sample_delivery("reload-task.failed")));
    let mut late = sample_delivery("preload-task.aborted");
    (late.late_seconds, late.suppressed) = (Some(3600), 2);
    insta::assert_json_snapshot!("aborted-late", posted(json!({}), &late));
    let who = json!({ "channel": "ops", "fromUser": "Qlik Sense", "iconEmoji": ":ghost:" });
    insta::assert_json_snapshot!("certificate", posted(who, &sample_delivery("certificate.expiring")));
}

#[test]
fn every_kind_has_a_message_and_so_has_an_event_without_facts() {
    let mut deliveries: Vec<Delivery> = kind::ALL.iter().map(|kind| sample_delivery(kind)).collect();
    for kind in ["reload-task.failed", "moon.risen", ""] {
        let mut delivery = sample_delivery(kind);
        delivery.event.data = Data::default();
        deliveries.push(delivery);
    }
    for message_type in ["formatted", "basic"] {
        let (fake, _folder) = fake();
        block_on(async {
            let chat = start(&fake, json!({ "messageType": message_type })).await;
            for delivery in &deliveries {
                chat.deliver(delivery).await.unwrap();
                assert_eq!(chat.health().await, Health::Good, "{}", delivery.event.kind);
            }
        });
        for body in bodies(&fake) {
            assert!(!body["text"].as_str().unwrap().is_empty() && body["blocks"].is_array(), "{body:#}");
        }
    }
}

#[test]
fn nasty_texts_arrive_as_they_are() {
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    let source = r#"{ "blocks": [
        { "type": "section", "text": { "type": "mrkdwn", "text": "{{taskName}} {{{taskName}}}" } },
        { "type": "section", "text": { "type": "mrkdwn", "text": "```{{{scriptLogHead}}}```" } },
        { "type": "actions", "elements": [{ "type": "button", "text": { "type": "plain_text", "text": "W" },
            "url": "{{#each genericUrls}}{{url}}{{/each}}&amp;e=&lt;" }] }
    ] }"#;
    let message = by_template(source, &delivery);
    // As Slack shows it: entities turned back, and what takes no place gone.
    let shown = |number: usize| {
        let text = message["blocks"][number]["text"]["text"].as_str().unwrap();
        assert!(!text.contains("<!channel>"), "{text}");
        crate::text::unescape(text).replace('\u{200b}', "")
    };
    assert_eq!(shown(0), format!("{NASTY} {NASTY}"));
    assert!(shown(1).starts_with(&format!("```{NASTY}\n")), "{}", shown(1));
    assert_eq!(message["blocks"][2]["elements"][0]["url"], "https://wiki.test/?a=b&c=d&e=<");
    assert!(message["text"].as_str().unwrap().contains("R&amp;D \"x\" &lt;!channel&gt;"), "{}", message["text"]);
}

#[test]
fn basic_messages_have_the_form_of_butler_16() {
    let delivery = sample_delivery("reload-task.failed");
    let settings =
        json!({ "messageType": "basic", "basicTemplate": "T", "fromUser": "U", "channel": "c", "iconEmoji": "" });
    let (fake, _folder) = fake();
    block_on(async { start(&fake, settings.clone()).await.deliver(&delivery).await.unwrap() });
    let body = String::from_utf8(fake.requests()[0].body.clone()).unwrap();
    let button = |title: &str, url: &str| {
        format!(
            r#"{{"type":"button","text":{{"type":"plain_text","emoji":true,"text":"{title}"}},"style":"primary","url":"{url}"}}"#
        )
    };
    let start_of_body = r#"{"username":"U","channel":"c","icon_emoji":"","blocks":[{"type":"header","text":{"type":"plain_text","text":"T"}},{"type":"divider"}"#;
    let actions = format!(
        r#",{{"type":"actions","elements":[{},{}]}}],"text":"#,
        button("Open QMC", "https://sense.test/qmc"),
        button("Open Hub", "https://sense.test/hub")
    );
    assert!(body.starts_with(&format!("{start_of_body}{actions}")), "{body}");

    let fake = FakeHost::new("slack");
    block_on(async { start(&fake, settings).await.deliver(&delivery).await.unwrap() });
    let body = String::from_utf8(fake.requests()[0].body.clone()).unwrap();
    assert!(body.starts_with(&format!("{start_of_body}],\"text\":")), "buttons without address are left out: {body}");
}

#[test]
fn basic_messages_hold_nasty_long_and_empty_texts() {
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    delivery.suppressed = 4;
    let basic = |template: &str| json!({ "messageType": "basic", "basicTemplate": template });
    let message = posted(basic("Failed: {{taskName}}"), &delivery);
    assert_eq!(first_text(&message), format!("Failed: {NASTY}"));
    assert!(message["blocks"][2].to_string().contains("4 more suppressed"), "{message:#}");
    let long = posted(basic(&"x".repeat(4000)), &delivery);
    assert_eq!((first_text(&long).chars().count(), &long["blocks"][2]["type"]), (150, &json!("section")));
    assert!(first_text(&posted(basic(" "), &delivery)).starts_with("Reload task failed"));
    let broken = posted(basic("{{nosuch taskName}}"), &delivery).to_string();
    assert!(broken.contains("template `basicTemplate`, line 1"), "{broken}");
}

#[test]
fn keys_of_a_template_go_before_the_settings() {
    let (fake, folder) = fake();
    let source = r##"{ "channel": "#{{app.stream.name}}", "icon_url": "https://a.test/?a&amp;b", "unfurl_links": false, "text": "t" }"##;
    std::fs::write(folder.path().join("mine.json"), source).unwrap();
    let settings = json!({ "templateFile": "mine.json", "fromUser": "U", "channel": "c", "iconEmoji": ":e:" });
    block_on(async { start(&fake, settings).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap() });
    let expected = json!({ "username": "U", "channel": "#Finance EU", "icon_emoji": ":e:", "text": "t",
                           "icon_url": "https://a.test/?a&b", "unfurl_links": false });
    assert_eq!(bodies(&fake)[0], expected);
}

#[test]
fn of_a_long_log_the_beginning_of_the_head_and_the_end_of_the_tail_are_kept() {
    let source = r#"{"text":"{{{scriptLogHead}}}","blocks":[{"type":"markdown","text":"{{{scriptLogTail}}}"}]}"#;
    let of = |text: String| {
        let message = by_template(source, &with_log(vec![text.clone()], vec![text]));
        [&message["text"], &message["blocks"][0]["text"]].map(|text| text.as_str().unwrap().to_owned())
    };
    let a = |count: usize| "a".repeat(count);
    assert_eq!(of(a(2999)), [a(2999), a(2999)]);
    assert_eq!(of(a(3000)), [format!("{}\n{MARK}", a(2900)), format!("{MARK}\n{}", a(2900))]);
    assert_eq!(of("=".repeat(3500))[0], format!("{}\n{MARK}", "=".repeat(2900)));
    let text = by_template(r#"{"text":"{{{scriptLogHead}}}"}"#, &with_log(vec!["a\"b".into(), "c\\d".into()], vec![]));
    assert_eq!(text["text"], "a\"b\nc\\d");
}

#[test]
fn a_log_in_code_blocks_of_a_template_loses_lines_of_the_head_first() {
    let line = |number: usize| format!("{number:03} <quoted> {}", "ä".repeat(200));
    let log = |from: usize| (from..from + 10).map(line).collect::<Vec<_>>();
    let delivery = with_log(log(0), log(10));
    let both = r#"{"blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*Log*\n```{{scriptLogHead}}```\n```{{scriptLogTail}}```"}}]}"#;
    let text = first_text(&by_template(both, &delivery)).to_owned();
    assert!(text.ends_with(&format!("{}```", crate::text::escape(&line(19)))), "{text}");
    assert!(text.contains("lines left out") && !text.contains(MARK), "{text}");
    // In texts of their own both are there as far as they fit.
    let message = posted(json!({}), &delivery).to_string();
    assert!(message.contains("000 &lt;quoted") && message.contains("019 &lt;quoted"), "{message}");
}

#[test]
fn a_long_text_that_is_no_log_costs_no_line_of_the_log() {
    let mut delivery = with_log(vec!["the head".to_owned()], vec!["the tail".to_owned()]);
    // Too long for a field, and short enough if all is given up that can be.
    delivery.event.data.app.as_mut().unwrap().name = "long & ".repeat(2000);
    let text = posted(json!({}), &delivery).to_string();
    assert!(text.contains("the head") && text.contains("the tail") && text.contains(MARK), "{text}");
    let one = vec!["a".repeat(2990)];
    let text = posted(json!({}), &with_log(one.clone(), one)).to_string();
    assert_eq!(text.matches(&"a".repeat(2800)).count(), 2, "one long line is cut for the code block only: {text}");
}

#[test]
fn what_lines_cannot_mend_costs_no_end_of_the_log() {
    let log: Vec<String> = (0..15).map(|number| format!("{number:02} {}", "x".repeat(186))).collect();
    let mut delivery = with_log(log.clone(), log);
    // The facts together are too long for a section, the heading for a header.
    delivery.event.data.task.as_mut().unwrap().name = "task ".repeat(500);
    delivery.event.data.app.as_mut().unwrap().name = "app ".repeat(500);
    let message = posted(json!({}), &delivery);
    let tail = message["blocks"].as_array().unwrap().iter().find(|block| block.to_string().contains("log ends"));
    let tail = tail.unwrap()["text"]["text"].as_str().unwrap();
    assert!(tail.ends_with(&format!("14 {}```", "x".repeat(186))), "{tail}");
    let source = r#"{ "blocks": [
        { "type": "header", "text": { "type": "plain_text", "text": "{{taskName}}" } },
        { "type": "section", "text": { "type": "mrkdwn", "text": "*The whole log and some words more than the bound leaves room for, so that it is cut: here they are, for once; and some more of them, so that these are a hundred and thirty characters and more.*\n```{{scriptLogTail}}```" } }
    ] }"#;
    let message = by_template(source, &delivery);
    let tail = message["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(tail.ends_with(&format!("14 {}```", "x".repeat(186))), "{tail}");
    assert_eq!(tail.matches(MARK).count(), 0, "whole lines are left out: {tail}");
}

#[test]
fn only_a_whole_address_is_kept_as_it_is() {
    let mut delivery = sample_delivery("reload-task.failed");
    let source = r#"{ "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": "```{{taskName}}```" } }] }"#;
    for name in ["https://a.test/ is ``` down".to_owned(), "https://a.test/```".to_owned()] {
        delivery.event.data.task.as_mut().unwrap().name = name;
        let message = by_template(source, &delivery);
        assert_eq!(first_text(&message).matches("```").count(), 2, "{message}");
    }
    delivery.event.data.task.as_mut().unwrap().name = format!("https://a.test/ {}", "x ".repeat(5000));
    let message = by_template(source, &delivery);
    assert!(first_text(&message).ends_with("```"), "{message}");
}

#[test]
fn a_long_posted_message_has_several_sections_and_says_what_is_missing() {
    let mut delivery = sample_delivery("message.posted");
    let mut of = |text: &str| {
        let posted_message = delivery.event.data.posted.as_mut().unwrap();
        posted_message.text = Some(text.to_owned());
        posted_message.from = Some("R&D <ETL>".to_owned());
        let message = posted(json!({}), &delivery);
        assert_eq!(message["username"], "R&D <ETL>", "names have no entities");
        let sections = message["blocks"].as_array().unwrap().iter().filter(|block| block["type"] == "section");
        let texts: Vec<String> = sections.map(|block| block["text"]["text"].as_str().unwrap().to_owned()).collect();
        (texts.join("\n"), message["blocks"].to_string().contains(MARK))
    };
    assert_eq!(of("short"), ("short".to_owned(), false));
    let lines = |count: usize| (0..count).map(|number| format!("line {number:05} <&>")).collect::<Vec<_>>().join("\n");
    let (text, is_cut) = of(&lines(300));
    assert_eq!((crate::text::unescape(&text), is_cut), (lines(300), false));
    let text = of(&lines(3500)).0;
    let text = crate::text::unescape(text.strip_suffix(&format!("\n{MARK}")).unwrap());
    assert!(lines(3500).starts_with(&text) && text.ends_with("<&>"), "{text}");
    assert!(text.len() > 5000, "{}", text.len());
    assert!(of(&"x".repeat(64_000)).0.len() > 8000);
    assert!(of(&"\"\\`\n".repeat(16_000)).1);
}

/// With what templates of Butler 16 have: its variables, both kinds of braces, blocks in comments, a blank field, the
/// custom links with commas between.
const BUTLER_16: &str = r#"{ "blocks": [
    { "type": "header", "text": { "type": "plain_text", "text": "Failed: {{taskName}}" } },
    { "type": "divider" },
    { "type": "section", "fields": [
        { "type": "mrkdwn", "text": "*App*\n<{{appUrl}}|{{appName}}>" },
        { "type": "mrkdwn", "text": "*Owner*\n{{appOwnerName}} {{appOwnerUserDirectory}}/{{appOwnerUserId}}" },
        { "type": "mrkdwn", "text": "*User*\n{{user}}" }, { "type": "mrkdwn", "text": " " },
        { "type": "mrkdwn", "text": "*Took*\n{{executionDuration.hours}}:{{executionDuration.minutes}}:{{executionDuration.seconds}}" },
        { "type": "mrkdwn", "text": "*Started*\n{{executionStartTime.startTimeLocal1}}" }
    ] },
    { "type": "actions", "elements": [
        { "type": "button", "text": { "type": "plain_text", "emoji": true, "text": "QMC" }, "style": "primary", "url": "{{qlikSenseQMC}}" }
        {{!-- {{#if (eq id "wiki")}} --}}
        {{#each genericUrls}}{{#if (eq id "wiki")}},
        { "type": "button", "text": { "type": "plain_text", "text": "{{this.linkText}}" }, "url": "{{this.url}}" }{{/if}}{{/each}}
        {{!-- {{/if}} --}}
    ] },
    { "type": "section", "text": { "type": "mrkdwn", "text": "```{{{executionDetailsConcatenated}}}```" } },
    { "type": "section", "text": { "type": "mrkdwn", "text": "{{scriptLogSizeRows}} rows, {{scriptLogSizeCharacters}} characters, first {{scriptLogHeadCount}}" } },
    { "type": "section", "text": { "type": "mrkdwn", "text": "```{{{scriptLogHead}}}```" } },
    { "type": "section", "text": { "type": "mrkdwn", "text": "```{{{scriptLogTail}}}```" } }
] }"#;

#[test]
fn templates_of_butler_16_work_as_they_are() {
    let mut delivery = sample_delivery("reload-task.failed");
    insta::assert_json_snapshot!("butler-16", by_template(BUTLER_16, &delivery));
    nasty(&mut delivery);
    let message = by_template(BUTLER_16, &delivery);
    assert!(!message.to_string().contains("plain message"), "{message:#}");
}

#[test]
fn templates_are_read_for_each_message_and_a_broken_one_loses_no_alert() {
    let (fake, folder) = fake();
    let path = folder.path().join("mine.json");
    let mut delivery = sample_delivery("reload-task.failed");
    nasty(&mut delivery);
    block_on(async {
        let chat = start(&fake, json!({ "templateFile": "mine.json" })).await;
        assert!(matches!(chat.health().await, Health::Degraded(_)), "the file is not there yet");
        for (source, part) in [
            (None, "cannot be read"),
            (Some("{\n{{#if x}}\n}"), "template `mine.json`, line"),
            (Some("{\n\"text\": \"{{upper taskName}}\"\n}"), "template `mine.json`, line 2"),
            (Some("{\n\"text\": {{nothing}}\n}"), "`nothing`"),
            (Some("[1, 2]"), "object"),
            (Some("{ \"blocks\": [] }"), "nothing to show"),
        ] {
            if let Some(source) = source {
                std::fs::write(&path, source).unwrap();
            }
            chat.deliver(&delivery).await.unwrap();
            let plain = bodies(&fake).pop().unwrap();
            let (body, markup) = (plain.to_string(), plain["blocks"][1].to_string());
            assert!(body.contains("Reload task failed: R&D") && body.contains(part), "{part}: {body}");
            assert!(markup.contains("R&amp;D") && !markup.contains("<!channel>"), "{markup}");
            assert!(matches!(chat.health().await, Health::Degraded(text) if text.contains(part)));
            let error = chat.invoke("check", Value::Null).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        std::fs::write(&path, "{ \"text\": \"t\" }").unwrap();
        chat.deliver(&delivery).await.unwrap();
        assert_eq!(chat.health().await, Health::Good);
    });
}

#[test]
fn every_kind_has_a_message() {
    for kind in kind::ALL {
        let message = posted(json!({}), &sample_delivery(kind));
        insta::with_settings!({ snapshot_path => "snapshots/kinds", prepend_module_to_snapshot => false }, {
            insta::assert_json_snapshot!(*kind, message);
        });
    }
}

#[test]
fn render_shows_the_payload_and_sends_nothing() {
    let (fake, folder) = fake();
    std::fs::write(folder.path().join("mine.json"), "{ \"text\": \"{{taskName}}\" }").unwrap();
    std::fs::write(folder.path().join("broken.json"), "{").unwrap();
    let mut delivery = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
    block_on(async {
        let chat = start(&fake, json!({ "channel": "c" })).await;
        let built_in = chat.invoke("render", delivery.clone()).await.unwrap();
        assert_eq!((&built_in["channel"], refuse(&built_in)), (&json!("c"), None));
        delivery["templateFile"] = "mine.json".into();
        let own = chat.invoke("render", delivery.clone()).await.unwrap();
        assert_eq!(own, json!({ "channel": "c", "text": "Sales nightly" }));
        delivery["templateFile"] = "broken.json".into();
        let error = chat.invoke("render", delivery).await.unwrap_err().to_string();
        assert!(error.contains("template `broken.json`, line 1"), "{error}");
        assert!(chat.invoke("render", json!(1)).await.is_err() && chat.invoke("import", Value::Null).await.is_err());
    });
    assert!(fake.requests().is_empty());
    let broken = json!({ "channel": "c", "templateFile": folder.path().join("broken.json") });
    block_on(async {
        start(&fake, broken).await.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    let mut plain = bodies(&fake).pop().unwrap().to_string();
    plain = plain.replace(folder.path().to_str().unwrap(), "");
    let plain: Value = serde_json::from_str(&plain).unwrap();
    insta::assert_json_snapshot!("plain", plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_the_facts_slack_takes_the_message(
        name in "\\PC{0,300}",
        line in "[a-z&<>`\\\\\"\n\t 😀]{0,400}",
        count in 0..60_usize,
        basic in any::<bool>(),
    ) {
        let mut delivery = with_log(vec![line.clone(); count], vec![line.clone(); count]);
        delivery.event.data.task.as_mut().unwrap().name = name;
        delivery.event.data.log.as_mut().unwrap().message = line.repeat(count);
        let lines = json!({ "headScriptLogLines": 60, "tailScriptLogLines": 60,
                            "messageType": if basic { "basic" } else { "formatted" } });
        // `posted` holds it against what Slack refuses.
        let message = posted(lines, &delivery);
        prop_assert!(!message.to_string().contains("plain message"), "{message:#}");
    }
}
