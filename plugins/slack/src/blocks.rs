//! Messages that are made without a template. Their keys have the order of Butler 16.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::limits;
use crate::text::{MARK, cut_markup, cut_plain, escape, length, pieces, tame};

/// A block of texts that have no markup.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    Header { text: TextObject },
    Divider,
    Section { text: TextObject },
    Context { elements: Vec<TextObject> },
    Actions { elements: Vec<Button> },
}

/// Text without markup.
#[derive(Debug, Serialize)]
pub(crate) struct TextObject {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<bool>,
    text: String,
}

/// A button that opens an address.
#[derive(Debug, Serialize)]
pub(crate) struct Button {
    #[serde(rename = "type")]
    kind: &'static str,
    text: TextObject,
    style: &'static str,
    url: String,
}

fn plain(text: &str, max: usize) -> TextObject {
    let text = cut_plain(text, max).unwrap_or_else(|| text.to_owned());
    TextObject { kind: "plain_text", emoji: None, text }
}

/// The message of type `basic`: a heading, and the buttons to QMC and hub; those without an address are left out. A text that is too
/// long for a heading is there once more as a whole.
pub(crate) fn basic(text: &str, context: &Value) -> Vec<Block> {
    let mut blocks = vec![Block::Header { text: plain(text, limits::HEADER) }, Block::Divider];
    if length(text) > limits::HEADER {
        blocks.push(Block::Section { text: plain(text, limits::SECTION) });
    }
    if let Some(note) = context["note"].as_str().filter(|note| !note.is_empty()) {
        blocks.push(Block::Context { elements: vec![plain(note, limits::FIELD)] });
    }
    let button = |(title, link): (&str, &str)| {
        let url = context["links"][link].as_str().filter(|url| limits::is_address(url))?.to_owned();
        let text = TextObject { emoji: Some(true), ..plain(title, limits::BUTTON) };
        Some(Button { kind: "button", text, style: "primary", url })
    };
    let buttons: Vec<Button> = [("Open QMC", "qmc"), ("Open Hub", "hub")].into_iter().filter_map(button).collect();
    if !buttons.is_empty() {
        blocks.push(Block::Actions { elements: buttons });
    }
    blocks
}

/// The message of `PUT /v4/slackpostmessage`: the text as it is, in as many sections as it needs. None if Slack takes no
/// message of that length.
pub(crate) fn posted(text: &str) -> Option<Vec<Block>> {
    let section = |text: &str| Block::Section { text: plain(text, limits::SECTION) };
    let blocks: Vec<Block> = pieces(text, limits::SECTION, char::len_utf16).into_iter().map(section).collect();
    let values: Vec<Value> = blocks.iter().filter_map(|block| serde_json::to_value(block).ok()).collect();
    (limits::total(&values) <= limits::TOTAL && blocks.len() <= limits::BLOCKS).then_some(blocks)
}

/// The message of last resort, which needs no template and says why it is used.
pub(crate) fn last_resort(context: &Value, why: &str) -> Map<String, Value> {
    let text = |value: &Value| value.as_str().map(|text| escape(&tame(text))).unwrap_or_default();
    let markup = |text: String| json!({ "type": "mrkdwn", "text": text });
    let facts = [
        ("Happened", &context["event"]["timeLocal"]),
        ("Task", &context["task"]["name"]),
        ("Task id", &context["task"]["id"]),
        ("App", &context["app"]["name"]),
        ("Node", &context["hostName"]),
    ];
    let facts = facts.into_iter().map(|(title, value)| (title, text(value))).filter(|(_, value)| !value.is_empty());
    let facts: Vec<Value> = facts.map(|(title, value)| markup(format!("*{title}*\n{value}"))).collect();
    let note = text(&context["note"]);
    let buttons = context["links"]["buttons"].as_array().into_iter().flatten();
    let buttons = buttons.map(|button| {
        json!({ "type": "button", "text": { "type": "plain_text", "text": button["title"] }, "url": button["url"] })
    });
    let blocks = json!([
        { "type": "header", "text": { "type": "plain_text", "text": context["heading"].as_str().unwrap_or("Butler") } },
        { "type": "section", "text": markup(text(&context["summary"])), "fields": facts },
        { "type": "context", "elements": [markup(note)] },
        { "type": "context", "elements": [markup(escape(&tame(why)))] },
        { "type": "actions", "elements": buttons.collect::<Vec<_>>() },
    ]);
    let message = Map::from_iter([("blocks".to_owned(), blocks)]);
    limits::mend(message).message
}

/// What notifications show, escaped.
pub(crate) fn fallback(context: &Value) -> String {
    let summary = context["summary"].as_str().filter(|text| !text.is_empty()).unwrap_or("Butler has an alert");
    let text = escape(&tame(summary));
    cut_markup(&text, 1000).map_or(text, |cut| cut.replace(&format!("\n{MARK}"), "…"))
}
