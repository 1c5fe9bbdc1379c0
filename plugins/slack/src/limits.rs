//! The limits of Slack, and what is done to a message that exceeds them.
//!
//! Slack refuses a message as a whole: for one empty text, for one button whose text is a character too long. So what a
//! template makes is mended before it is sent. What is empty is left out. What is too long was shortened before, where it
//! came from ([`crate::compose`]); what still is too long is cut here, lists are split, and the blocks that are left at the
//! end are replaced by a note. Blocks of kinds that are not known here are passed on as they are.

use serde_json::{Map, Value, json};
use url::Url;

use crate::text::{cut_markup, cut_plain, length};

/// Blocks in a message.
pub(crate) const BLOCKS: usize = 50;
/// Text of a header.
pub(crate) const HEADER: usize = 150;
/// Text of a section.
pub(crate) const SECTION: usize = 3000;
/// Fields of a section, and text of each.
pub(crate) const FIELDS: usize = 10;
pub(crate) const FIELD: usize = 2000;
/// Elements of a block of actions, and of a context.
pub(crate) const ACTIONS: usize = 25;
pub(crate) const CONTEXT: usize = 10;
/// Text, address and value of a button.
pub(crate) const BUTTON: usize = 75;
pub(crate) const ADDRESS: usize = 3000;
pub(crate) const VALUE: usize = 2000;
/// Title and description of an image.
const IMAGE_TEXT: usize = 2000;
/// A block of Markdown.
const MARKDOWN: usize = 12_000;
/// Ids of blocks and actions.
const ID: usize = 255;
/// The text that is shown when there are no blocks, and in notifications when there are: longer ones are cut by Slack, or
/// refused (`msg_too_long`).
pub(crate) const TEXT: usize = 40_000;
pub(crate) const FALLBACK: usize = 4000;
/// All blocks together. Slack documents no such limit, but answers `msg_blocks_too_long` from about 13,200 on, of which
/// each block takes more than its text.
pub(crate) const TOTAL: usize = 12_000;
/// What a block takes beside its JSON.
const BLOCK: usize = 100;
/// Texts are cut to these lengths until all blocks together are small enough.
const SHORTER: [usize; 3] = [1500, 700, 300];

/// A message within the limits.
pub(crate) struct Mended {
    /// The message's own keys: `blocks`, `text`, and whatever else the template made.
    pub(crate) message: Map<String, Value>,
    /// How many times something was cut, or left out although it was not empty.
    pub(crate) cuts: usize,
}

/// Mends a message. Addresses must have no entities any more.
pub(crate) fn mend(mut message: Map<String, Value>) -> Mended {
    let mut mender = Mender { cuts: 0 };
    let mut has_blocks = false;
    if let Some(Value::Array(blocks)) = message.get_mut("blocks") {
        *blocks = mender.blocks(std::mem::take(blocks));
        has_blocks = !blocks.is_empty();
        if !has_blocks {
            message.remove("blocks");
        }
    }
    if let Some(Value::Array(attachments)) = message.get_mut("attachments") {
        for attachment in attachments {
            if let Some(Value::Array(blocks)) = attachment.get_mut("blocks") {
                *blocks = mender.blocks(std::mem::take(blocks));
            }
        }
    }
    if let Some(Value::String(text)) = message.get_mut("text") {
        let max = if has_blocks { FALLBACK } else { TEXT };
        mender.replace(text, |text| cut_markup(text, max));
        if text.is_empty() {
            message.remove("text");
        }
    }
    Mended { message, cuts: mender.cuts }
}

/// Whether there is anything to see.
pub(crate) fn shows_something(message: &Map<String, Value>) -> bool {
    let filled = |name: &str| match message.get(name) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        _ => false,
    };
    ["blocks", "attachments", "text", "markdown_text"].into_iter().any(filled)
}

/// Whether Slack takes an address.
pub(crate) fn is_address(address: &str) -> bool {
    length(address) <= ADDRESS && Url::parse(address).is_ok()
}

/// What blocks take of [`TOTAL`].
pub(crate) fn total(blocks: &[Value]) -> usize {
    blocks.iter().map(|block| length(&block.to_string()) + BLOCK).sum()
}

/// Empty, or a code block with nothing in it.
fn is_nothing(text: &str) -> bool {
    text.is_empty() || (text.starts_with("``````") && text.trim_end_matches(['`', '\n']).is_empty())
}

struct Mender {
    cuts: usize,
}

impl Mender {
    fn replace(&mut self, text: &mut String, cut: impl FnOnce(&str) -> Option<String>) {
        if let Some(shorter) = cut(text) {
            *text = shorter;
            self.cuts += 1;
        }
    }

    fn blocks(&mut self, blocks: Vec<Value>) -> Vec<Value> {
        let mut blocks: Vec<Value> = blocks.into_iter().flat_map(|block| self.block(block)).collect();
        for max in SHORTER {
            if total(&blocks) <= TOTAL {
                break;
            }
            for block in &mut blocks {
                self.shorten(block, max);
            }
        }
        let mut left_out = 0;
        let note = |count: usize| {
            let text = format!("… {count} more parts are left out, since Slack takes no larger messages");
            json!({ "type": "context", "elements": [{ "type": "plain_text", "text": text }] })
        };
        let note_size = total(&[note(usize::MAX)]);
        while blocks.len() > BLOCKS - usize::from(left_out > 0)
            || total(&blocks) > TOTAL - if left_out > 0 { note_size } else { 0 }
        {
            blocks.pop();
            left_out += 1;
        }
        if left_out > 0 {
            self.cuts += left_out;
            blocks.push(note(left_out));
        }
        blocks
    }

    /// Cuts every text in a block.
    fn shorten(&mut self, value: &mut Value, max: usize) {
        let is_markup = matches!(value["type"].as_str(), Some("mrkdwn" | "markdown"));
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.shorten(item, max)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if name == "text" && is_markup => {
                            self.replace(text, |text| cut_markup(text, max));
                        }
                        Value::String(text) if name == "text" => self.replace(text, |text| cut_plain(text, max)),
                        other => self.shorten(other, max),
                    }
                }
            }
            _ => {}
        }
    }

    /// None, one, or several in its place.
    fn block(&mut self, block: Value) -> Vec<Value> {
        let Value::Object(mut block) = block else { return Vec::new() };
        self.id(&mut block, "block_id");
        match block.get("type").and_then(Value::as_str) {
            Some("header") => {
                self.text(&mut block, "text", HEADER);
                if block.contains_key("text") { vec![block.into()] } else { Vec::new() }
            }
            Some("section") => self.section(block),
            Some("actions") => self.elements(block, ACTIONS),
            Some("context") => self.elements(block, CONTEXT),
            Some("image") => self.image(block).into_iter().collect(),
            Some("markdown") => {
                if let Some(Value::String(text)) = block.get_mut("text") {
                    if text.is_empty() {
                        return Vec::new();
                    }
                    self.replace(text, |text| cut_markup(text, MARKDOWN));
                }
                vec![block.into()]
            }
            _ => vec![block.into()],
        }
    }

    fn section(&mut self, mut block: Map<String, Value>) -> Vec<Value> {
        self.text(&mut block, "text", SECTION);
        if let Some(accessory) = block.remove("accessory").and_then(|accessory| self.element(accessory)) {
            block.insert("accessory".to_owned(), accessory);
        }
        let Some(Value::Array(fields)) = block.remove("fields") else {
            return if block.contains_key("text") { vec![block.into()] } else { Vec::new() };
        };
        let fields: Vec<Value> = fields.into_iter().filter_map(|field| self.text_object(field, FIELD)).collect();
        let mut groups = fields.chunks(FIELDS);
        if let Some(first) = groups.next() {
            block.insert("fields".to_owned(), first.into());
        } else if !block.contains_key("text") {
            return Vec::new();
        }
        let further = groups.map(|fields| json!({ "type": "section", "fields": fields }));
        std::iter::once(block.into()).chain(further).collect()
    }

    /// A block with a list of elements, as many times as they need.
    fn elements(&mut self, mut block: Map<String, Value>, most: usize) -> Vec<Value> {
        let Some(Value::Array(elements)) = block.remove("elements") else { return vec![block.into()] };
        let elements: Vec<Value> = elements.into_iter().filter_map(|element| self.element(element)).collect();
        let group = |(number, elements): (usize, &[Value])| {
            let mut block = block.clone();
            block.insert("elements".to_owned(), elements.into());
            if number > 0 {
                // It must be there once only.
                block.remove("block_id");
            }
            block.into()
        };
        elements.chunks(most).enumerate().map(group).collect()
    }

    fn element(&mut self, element: Value) -> Option<Value> {
        let kind = element["type"].as_str().unwrap_or_default().to_owned();
        match (kind.as_str(), element) {
            ("mrkdwn" | "plain_text", element) => self.text_object(element, SECTION),
            ("image", Value::Object(image)) => self.image(image),
            ("button", Value::Object(button)) => self.button(button),
            (_, Value::Null) => None,
            (_, other) => Some(other),
        }
    }

    /// Buttons that lead nowhere are left out.
    fn button(&mut self, mut button: Map<String, Value>) -> Option<Value> {
        self.text(&mut button, "text", BUTTON);
        if !button.contains_key("text") {
            return None;
        }
        if let Some(Value::String(address)) = button.get("url")
            && !is_address(address)
        {
            self.cuts += usize::from(length(address) > ADDRESS);
            return None;
        }
        self.id(&mut button, "action_id");
        if let Some(Value::String(value)) = button.get_mut("value") {
            self.replace(value, |value| cut_plain(value, VALUE));
        }
        if let Some(Value::String(style)) = button.get("style")
            && !matches!(style.as_str(), "primary" | "danger")
        {
            button.remove("style");
        }
        Some(button.into())
    }

    fn image(&mut self, mut image: Map<String, Value>) -> Option<Value> {
        if let Some(Value::String(address)) = image.get("image_url")
            && !is_address(address)
        {
            self.cuts += usize::from(length(address) > ADDRESS);
            return None;
        }
        self.text(&mut image, "title", IMAGE_TEXT);
        match image.entry("alt_text").or_insert(Value::Null) {
            Value::String(text) if !text.is_empty() => self.replace(text, |text| cut_plain(text, IMAGE_TEXT)),
            other => *other = "image".into(),
        }
        Some(image.into())
    }

    /// The text object under a name; removed if it is empty.
    fn text(&mut self, block: &mut Map<String, Value>, name: &str, max: usize) {
        if let Some(text) = block.remove(name).and_then(|text| self.text_object(text, max)) {
            block.insert(name.to_owned(), text);
        }
    }

    fn text_object(&mut self, mut object: Value, max: usize) -> Option<Value> {
        let is_markup = object["type"] == "mrkdwn";
        match object.get_mut("text") {
            Some(Value::String(text)) if is_nothing(text) => None,
            Some(Value::String(text)) => {
                self.replace(text, |text| if is_markup { cut_markup(text, max) } else { cut_plain(text, max) });
                Some(object)
            }
            Some(Value::Null) => None,
            // No text object: Slack says what is wrong with it.
            _ => Some(object).filter(|object| !object.is_null()),
        }
    }

    fn id(&mut self, block: &mut Map<String, Value>, name: &str) {
        if let Some(Value::String(id)) = block.get_mut(name) {
            self.replace(id, |id| cut_plain(id, ID));
            if id.is_empty() {
                block.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
