//! Cards that are made without a template, and what goes around a card.

use serde_json::{Value, json};

use crate::fit::cut;
use crate::settings::Envelope;

/// A card with a heading and links, for messages of type `basic`.
pub(crate) fn basic(text: &str, context: &Value) -> Value {
    let mut body = vec![heading(text)];
    body.extend(note(context, usize::MAX));
    let buttons = context["links"]["buttons"].as_array().into_iter().flatten();
    // As ever, basic messages do not show links of the administrator's own.
    body.extend(actions(buttons.filter(|button| button.get("id").is_none() && button["title"] != "Open app")));
    card(&body, text)
}

/// The card of last resort. `trouble` says why it is used; no text is longer than `max` characters, and below 100 there
/// are no links.
pub(crate) fn plain(context: &Value, trouble: &str, max: usize) -> Value {
    let text = |value: &Value| cut(value.as_str().unwrap_or_default(), max);
    let mut body = vec![heading(&text(&context["heading"])), paragraph(&text(&context["summary"]))];
    let facts = [
        ("Happened", &context["event"]["timeLocal"]),
        ("Task", &context["task"]["name"]),
        ("Task id", &context["task"]["id"]),
        ("App", &context["app"]["name"]),
        ("Node", &context["hostName"]),
    ];
    let facts = facts.into_iter().map(|(title, value)| (title, text(value))).filter(|(_, value)| !value.is_empty());
    let facts: Vec<Value> = facts.map(|(title, value)| json!({ "title": title, "value": value })).collect();
    body.push(json!({ "type": "FactSet", "facts": facts }));
    body.extend(note(context, max));
    body.push(json!({ "type": "TextBlock", "wrap": true, "isSubtle": true, "text": cut(trouble, max) }));
    if max >= 100 {
        body.extend(actions(context["links"]["buttons"].as_array().into_iter().flatten()));
    }
    card(&body, &text(&context["heading"]))
}

fn card(body: &[Value], fallback: &str) -> Value {
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.3",
        "fallbackText": fallback,
        "msteams": { "width": "Full" },
        "body": body,
    })
}

fn heading(text: &str) -> Value {
    json!({ "type": "TextBlock", "size": "Large", "weight": "Bolder", "style": "heading", "wrap": true, "text": text })
}

fn paragraph(text: &str) -> Value {
    json!({ "type": "TextBlock", "wrap": true, "text": text })
}

fn note(context: &Value, max: usize) -> Option<Value> {
    let note = context["note"].as_str().filter(|note| !note.is_empty())?;
    Some(json!({ "type": "TextBlock", "wrap": true, "color": "Warning", "text": cut(note, max) }))
}

fn actions<'a>(buttons: impl Iterator<Item = &'a Value>) -> Option<Value> {
    let button = |button: &Value| json!({ "type": "Action.OpenUrl", "title": button["title"], "url": button["url"] });
    let actions: Vec<Value> = buttons.map(button).collect();
    (!actions.is_empty()).then(|| json!({ "type": "ActionSet", "actions": actions }))
}

/// Puts a bare card into a message, or takes it out, as the settings want it. Anything else, such as a message card of
/// the retired connectors, stays as the template made it.
pub(crate) fn wrap(mut value: Value, envelope: Envelope) -> Value {
    match envelope {
        Envelope::Message if value["type"] == "AdaptiveCard" => json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": value,
            }],
        }),
        Envelope::Card if value["type"] == "message" => match value.pointer_mut("/attachments/0/content") {
            Some(content) if content.is_object() => content.take(),
            _ => value,
        },
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes() {
        let bare = json!({ "type": "AdaptiveCard", "body": [] });
        let message = wrap(bare.clone(), Envelope::Message);
        assert_eq!(message["attachments"][0]["content"], bare);
        assert_eq!(wrap(message.clone(), Envelope::Message), message);
        assert_eq!(wrap(message, Envelope::Card), bare);
        assert_eq!(wrap(bare.clone(), Envelope::Card), bare);
        let odd = json!({ "@type": "MessageCard", "title": "x" });
        assert_eq!(wrap(odd.clone(), Envelope::Message), odd);
        let text = json!({ "type": "message", "text": "x" });
        assert_eq!(wrap(text.clone(), Envelope::Card), text);
    }

    #[test]
    fn the_card_of_last_resort_needs_nothing() {
        let card = plain(&Value::Null, "no facts", 40);
        assert_eq!(card["body"][0]["text"], "");
        assert!(card.to_string().contains("no facts"));
    }
}
