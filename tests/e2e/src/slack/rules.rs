//! What Slack refuses in the content of a message, as its documentation of Block Kit and of `chat.postMessage` says, and
//! where it says nothing, as its answers were reported. Also used by the unit tests of the plugin.

use serde_json::Value;

/// Error code and details, as Slack has them.
pub type Fault = (&'static str, String);

/// Kinds of blocks in messages that are passed without a look into them.
const OTHERS: [&str; 6] = ["divider", "rich_text", "video", "table", "file", "context_actions"];
/// All blocks together: reported for `chat.postMessage`, as the length of their JSON and some more for each.
const TOGETHER: usize = 13_200;

/// Why Slack refuses a message; none if it takes it.
pub fn refuse(message: &Value) -> Option<Fault> {
    check(message).err()
}

fn check(message: &Value) -> Result<(), Fault> {
    let text = message["text"].as_str().unwrap_or_default();
    if units(text) > 40_000 {
        return Err(("msg_too_long", String::new()));
    }
    for name in ["url", "image_url", "icon_url"] {
        entities_in(message, name)?;
    }
    for attachment in message["attachments"].as_array().into_iter().flatten() {
        if !attachment["blocks"].is_null() {
            blocks(&attachment["blocks"])?;
        }
    }
    match &message["blocks"] {
        Value::Null if text.is_empty() && message["attachments"].is_null() => Err(("no_text", String::new())),
        Value::Null => Ok(()),
        list => blocks(list),
    }
}

/// An address with entities leads elsewhere. Slack takes it, and nobody reads it as it was meant.
fn entities_in(value: &Value, name: &str) -> Result<(), Fault> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| entities_in(item, name)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value.as_str() {
            Some(address) if key == name && ["&amp;", "&lt;", "&gt;"].iter().any(|entity| address.contains(entity)) => {
                invalid(name, "an address with entities")
            }
            _ => entities_in(value, name),
        }),
        _ => Ok(()),
    }
}

fn blocks(list: &Value) -> Result<(), Fault> {
    let Some(list) = list.as_array() else { return Err(("invalid_blocks_format", String::new())) };
    if list.len() > 50 {
        return invalid("/blocks", "no more than 50 items allowed");
    }
    if list.iter().map(|block| units(&block.to_string()) + 100).sum::<usize>() > TOGETHER {
        return Err(("msg_blocks_too_long", String::new()));
    }
    let mut ids = Vec::new();
    for (number, block) in list.iter().enumerate() {
        let at = format!("/blocks/{number}");
        if let Some(id) = block["block_id"].as_str() {
            if id.is_empty() || units(id) > 255 || ids.contains(&id) {
                return invalid(&at, "block_id");
            }
            ids.push(id);
        }
        match block["type"].as_str() {
            Some("header") => text_object(&block["text"], &["plain_text"], 150, &at)?,
            Some("section") => section(block, &at)?,
            Some("actions") => each(block, 25, &at, |element, at| match element["type"].as_str() {
                Some("button") => button(element, at),
                _ => invalid(at, "unsupported element"),
            })?,
            Some("context") => each(block, 10, &at, |element, at| match element["type"].as_str() {
                Some("image") => image(element, at),
                _ => text_object(element, &["plain_text", "mrkdwn"], 3000, at),
            })?,
            Some("image") => image(block, &at)?,
            Some("markdown") => string(&block["text"], 12_000, &at)?,
            Some(kind) if OTHERS.contains(&kind) => {}
            _ => return invalid(&at, "unsupported type"),
        }
    }
    Ok(())
}

fn section(block: &Value, at: &str) -> Result<(), Fault> {
    if block["text"].is_null() && block["fields"].is_null() {
        return invalid(at, "missing text or fields");
    }
    if !block["text"].is_null() {
        text_object(&block["text"], &["plain_text", "mrkdwn"], 3000, at)?;
        let text = block["text"]["text"].as_str().unwrap_or_default();
        if block["text"]["type"] == "mrkdwn" && text.matches("```").count() % 2 == 1 {
            // Not refused, but broken to look at.
            return invalid(at, "a code block that is not closed");
        }
    }
    if !block["fields"].is_null() {
        let fields = block["fields"].as_array().filter(|fields| (1..=10).contains(&fields.len()));
        let Some(fields) = fields else { return invalid(at, "1 to 10 fields") };
        for field in fields {
            text_object(field, &["plain_text", "mrkdwn"], 2000, at)?;
        }
    }
    match block["accessory"]["type"].as_str() {
        Some("button") => button(&block["accessory"], at),
        Some("image") => image(&block["accessory"], at),
        _ => Ok(()),
    }
}

fn each(block: &Value, most: usize, at: &str, check: impl Fn(&Value, &str) -> Result<(), Fault>) -> Result<(), Fault> {
    let elements = block["elements"].as_array().filter(|elements| (1..=most).contains(&elements.len()));
    let Some(elements) = elements else { return invalid(at, &format!("1 to {most} elements")) };
    elements.iter().try_for_each(|element| check(element, at))
}

fn button(button: &Value, at: &str) -> Result<(), Fault> {
    text_object(&button["text"], &["plain_text"], 75, at)?;
    if !button["url"].is_null() {
        address(&button["url"], at)?;
    }
    if !button["value"].is_null() {
        string(&button["value"], 2000, at)?;
    }
    match button["style"].as_str() {
        None if button["style"].is_null() => Ok(()),
        Some("primary" | "danger") => Ok(()),
        _ => invalid(at, "style"),
    }
}

fn image(image: &Value, at: &str) -> Result<(), Fault> {
    address(&image["image_url"], at)?;
    string(&image["alt_text"], 2000, at)?;
    if image["title"].is_null() { Ok(()) } else { text_object(&image["title"], &["plain_text"], 2000, at) }
}

fn address(address: &Value, at: &str) -> Result<(), Fault> {
    string(address, 3000, at)?;
    let text = address.as_str().unwrap_or_default();
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    if scheme.is_some_and(is_scheme) { Ok(()) } else { invalid(at, "must be a valid url") }
}

fn text_object(object: &Value, kinds: &[&str], max: usize, at: &str) -> Result<(), Fault> {
    if !object["type"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
        return invalid(at, &format!("must be a text object of type {}", kinds.join(" or ")));
    }
    string(&object["text"], max, at)
}

fn string(text: &Value, max: usize, at: &str) -> Result<(), Fault> {
    match text.as_str().map(units) {
        None => invalid(at, "must be a string"),
        Some(0) => invalid(at, "must be more than 0 characters"),
        Some(length) if length > max => invalid(at, &format!("must be less than {} characters", max + 1)),
        Some(_) => Ok(()),
    }
}

fn invalid(at: &str, why: &str) -> Result<(), Fault> {
    Err(("invalid_blocks", format!("{why} [json-pointer:{at}]")))
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
