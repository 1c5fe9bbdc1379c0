use proptest::prelude::*;

use super::*;
use crate::rules::refuse;

fn mended(message: Value) -> (Value, bool) {
    let Value::Object(message) = message else { panic!("an object") };
    let mended = mend(message);
    (mended.message.into(), mended.cuts > 0)
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

fn button(text: &str, url: &str) -> Value {
    json!({ "type": "button", "text": { "type": "plain_text", "text": text }, "url": url })
}

#[test]
fn what_is_sound_stays_as_it_is() {
    let message = json!({ "text": "t", "blocks": [
        { "type": "header", "text": { "type": "plain_text", "text": "x".repeat(150) } },
        { "type": "divider" },
        { "type": "section", "text": { "type": "mrkdwn", "text": "x".repeat(3000) },
          "fields": vec![json!({ "type": "mrkdwn", "text": " " }); 10] },
        { "type": "actions", "elements": vec![button(&"x".repeat(75), "https://a.test/?b&c"); 25] },
        { "type": "context", "elements": vec![json!({ "type": "plain_text", "text": "x" }); 10] },
        { "type": "moon", "anything": [] }
    ]});
    assert_eq!(mended(message.clone()), (message, false));
}

#[test]
fn what_is_empty_is_left_out_and_that_is_no_cut() {
    let message = json!({ "text": "", "blocks": [
        null,
        { "type": "header", "text": { "type": "plain_text", "text": "" } },
        section(""),
        section("``````"),
        { "type": "section", "fields": [{ "type": "mrkdwn", "text": "" }] },
        { "type": "section", "fields": [] },
        { "type": "section", "text": { "type": "mrkdwn", "text": "" }, "fields": [{ "type": "mrkdwn", "text": "f" }],
          "accessory": { "type": "button", "text": { "type": "plain_text", "text": "" } } },
        { "type": "actions", "elements": [button("App", ""), button("", "https://a.test/"), button("x", "no address")] },
        { "type": "context", "elements": [{ "type": "mrkdwn", "text": "" }, null] },
        { "type": "image", "image_url": "", "alt_text": "x" },
        { "type": "image", "image_url": "https://a.test/x.png", "alt_text": "" },
        { "type": "markdown", "text": "" }
    ]});
    let expected = json!({ "blocks": [
        { "type": "section", "fields": [{ "type": "mrkdwn", "text": "f" }] },
        { "type": "image", "image_url": "https://a.test/x.png", "alt_text": "image" }
    ]});
    assert_eq!(mended(message), (expected, false));
    let nothing = mended(json!({ "blocks": [section("")], "text": "" })).0;
    assert_eq!(nothing, json!({}));
    assert!(!shows_something(nothing.as_object().unwrap()));
}

#[test]
fn long_texts_are_cut_and_long_lists_split() {
    let message = json!({ "blocks": [
        { "type": "header", "text": { "type": "plain_text", "text": "x".repeat(151) } },
        section(&"x".repeat(3001)),
        { "type": "actions", "block_id": "b", "elements": vec![button(&"x".repeat(76), "https://a.test/"); 26] },
        { "type": "section", "fields": vec![json!({ "type": "mrkdwn", "text": "f" }); 21] }
    ]});
    let (message, cut) = mended(message);
    assert!(cut);
    assert_eq!(refuse(&message), None);
    let kinds: Vec<_> = message["blocks"].as_array().unwrap().iter().map(|block| block["type"].as_str()).collect();
    assert_eq!(kinds, ["header", "section", "actions", "actions", "section", "section", "section"].map(Some));
    assert_eq!((&message["blocks"][2]["block_id"], &message["blocks"][3]["block_id"]), (&json!("b"), &Value::Null));
    assert_eq!(message["blocks"][6]["fields"].as_array().unwrap().len(), 1);
    assert!(mended(json!({ "text": "x".repeat(40_001) })).1 && !mended(json!({ "text": "x".repeat(40_000) })).1);
}

#[test]
fn too_many_blocks_and_too_much_text_end_with_a_note() {
    let (message, cut) = mended(json!({ "blocks": vec![section("x"); 60] }));
    let blocks = message["blocks"].as_array().unwrap();
    assert!(cut && blocks.len() == 50, "{}", blocks.len());
    assert!(blocks[49].to_string().contains("… 11 more parts are left out"), "{}", blocks[49]);
    let (message, cut) = mended(json!({ "blocks": vec![section(&"x".repeat(3000)); 6] }));
    assert!(cut && message["blocks"].as_array().unwrap().len() == 6, "texts are cut before blocks are left out");
    let (message, _) = mended(json!({ "blocks": [{ "type": "rich_text", "elements": "x".repeat(20_000) }] }));
    assert!(message["blocks"][0].to_string().contains("… 1 more parts"), "{message}");
    let attached = json!({ "attachments": [{ "color": "#f00", "blocks": [section(&"x".repeat(4000))] }] });
    assert_eq!(refuse(&mended(attached).0), None);
}

/// A text that a template may have put somewhere: empty, long, with what is special for Slack.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(String::new()),
        "[a-z &;<>`*\n😀é\"\\\\]{0,40}",
        Just("x".repeat(500)),
        Just("&amp;".repeat(200)),
        Just("line of a log\n".repeat(100)),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn block() -> impl Strategy<Value = Value> {
    let object = |kind: &'static str| text().prop_map(move |text| json!({ "type": kind, "text": text }));
    let address = prop_oneof![Just(String::new()), Just("https://a.test/?a=b&c".to_owned()), text()];
    let button = (object("plain_text"), address.clone(), "|primary|danger|gold")
        .prop_map(|(text, url, style)| json!({ "type": "button", "text": text, "url": url, "style": style }));
    prop_oneof![
        object("plain_text").prop_map(|text| json!({ "type": "header", "text": text })),
        Just(json!({ "type": "divider" })),
        object("mrkdwn").prop_map(|text| json!({ "type": "section", "text": text })),
        text().prop_map(|text| section(&format!("*Log*\n```{}```", crate::text::tame(&text)))),
        (object("mrkdwn"), prop::collection::vec(object("mrkdwn"), 0..25))
            .prop_map(|(text, fields)| json!({ "type": "section", "text": text, "fields": fields })),
        prop::collection::vec(button, 0..60).prop_map(|all| json!({ "type": "actions", "elements": all })),
        prop::collection::vec(object("mrkdwn"), 0..25).prop_map(|all| json!({ "type": "context", "elements": all })),
        (address, text()).prop_map(|(url, alt)| json!({ "type": "image", "image_url": url, "alt_text": alt })),
        text().prop_map(|text| json!({ "type": "markdown", "text": text })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn whatever_the_texts_slack_takes_the_message(blocks in prop::collection::vec(block(), 0..70), text in text()) {
        // An odd number of code fences in a template's own text stays: that is its author's.
        let odd = |block: &Value| block["text"]["text"].as_str().is_some_and(|text| text.matches("```").count() % 2 == 1);
        let blocks: Vec<Value> = blocks.into_iter().filter(|block| !odd(block)).collect();
        let (message, _) = mended(json!({ "blocks": blocks, "text": text }));
        if shows_something(message.as_object().unwrap()) {
            prop_assert_eq!(refuse(&message), None, "{}", message);
        }
        let again = mended(message.clone());
        prop_assert_eq!(again, (message, false), "mending what is mended changes nothing");
    }
}
