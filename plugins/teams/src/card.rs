//! Cards that are made without a template, and what goes around a card.

use butler_plugin_api::message::cut;
use serde_json::{Value, json};
use url::Url;

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

/// Mentions somebody below the heading of an adaptive card, bare or in a message; other messages stay as they are.
/// (Microsoft: Format cards in Microsoft Teams, "Microsoft Entra Object ID and UPN in user mention".)
pub(crate) fn mention(value: &mut Value, name: &str, address: &str) {
    let card = if value["type"] == "message" { value.pointer_mut("/attachments/0/content") } else { Some(value) };
    let Some(card) = card.filter(|card| card["type"] == "AdaptiveCard" && card["body"].is_array()) else { return };
    // It is found again by its text, which must be no markup.
    let [name, address_as_name] = [name, address].map(|text| text.replace(['<', '>'], "").trim().to_owned());
    let name = if name.is_empty() { address_as_name } else { name };
    let text = format!("<at>{name}</at>");
    let entity = json!({ "type": "mention", "text": text, "mentioned": { "id": address, "name": name } });
    let block = json!({ "type": "TextBlock", "wrap": true, "text": format!("Owner: {text}") });
    if let Some(body) = card["body"].as_array_mut() {
        body.insert(body.len().min(1), block);
    }
    if !card["msteams"].is_object() {
        card["msteams"] = json!({});
    }
    match card["msteams"]["entities"].as_array_mut() {
        Some(entities) => entities.push(entity),
        None => card["msteams"]["entities"] = json!([entity]),
    }
}

/// What Butler 16 sent for `basic` messages, for connectors of Office 365.
/// (Microsoft: Legacy actionable message card reference.)
pub(crate) fn legacy_basic(text: &str, context: &Value) -> Value {
    let buttons = [("Qlik Sense QMC", &context["links"]["qmc"]), ("Qlik Sense Hub", &context["links"]["hub"])];
    let buttons = buttons.into_iter().filter(|(_, url)| url.is_string());
    json!({
        "@type": "MessageCard",
        "@context": "https://schema.org/extensions",
        "summary": text,
        "themeColor": "0078D7",
        "title": text,
        "potentialAction": buttons.map(|(name, url)| open_uri(&name.into(), url)).collect::<Vec<_>>(),
    })
}

/// The message card of all that is known of an event.
pub(crate) fn legacy(context: &Value) -> Value {
    let facts = context["facts"].as_array().into_iter().flatten();
    let facts: Vec<Value> = facts.map(|row| json!({ "name": row["title"], "value": row["value"] })).collect();
    let mut sections = vec![json!({ "facts": facts })];
    if let Some(log) = context["scriptLogTail"].as_str().filter(|log| !log.is_empty()) {
        // Markdown: four blanks make a line what it is.
        let log = log.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
        sections.push(json!({ "title": "How the script log ends", "text": log }));
    }
    let parts = [&context["note"], &context["summary"], &context["shortened"]];
    let text: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).filter(|part| !part.is_empty()).collect();
    legacy_card(context, &context["heading"], &text.join("\n\n"), &sections)
}

/// The message card of last resort.
pub(crate) fn legacy_plain(context: &Value, trouble: &str, max: usize) -> Value {
    let text = |value: &Value| cut(value.as_str().unwrap_or_default(), max);
    let body = format!("{}\n\n{}", text(&context["summary"]), cut(trouble, max));
    legacy_card(context, &text(&context["heading"]).into(), &body, &[])
}

fn legacy_card(context: &Value, title: &Value, text: &str, sections: &[Value]) -> Value {
    let colour = match context["event"]["severity"].as_str() {
        Some("failure") => "C4314B",
        Some("warning") => "F8D22A",
        Some("success") => "6BB700",
        _ => "0078D7",
    };
    // More than four are refused.
    let buttons = context["links"]["buttons"].as_array().into_iter().flatten().take(4);
    json!({
        "@type": "MessageCard",
        "@context": "https://schema.org/extensions",
        "summary": title,
        "themeColor": colour,
        "title": title,
        "text": text,
        "sections": sections,
        "potentialAction": buttons.map(|button| open_uri(&button["title"], &button["url"])).collect::<Vec<_>>(),
    })
}

fn open_uri(name: &Value, url: &Value) -> Value {
    json!({ "@type": "OpenUri", "name": name, "targets": [{ "os": "default", "uri": url }] })
}

/// Makes a card that is built in harmless, whatever the names and texts in it: Teams reads its texts as Markdown, so a link
/// in an app's name would be one to click on; and it shows no card with an action that leads nowhere. What an own template
/// makes is meant so.
pub(crate) fn defuse(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(defuse);
            items.retain(|item| !leads_nowhere(item));
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    // Code blocks have no Markdown, addresses no links.
                    Value::String(text)
                        if matches!(
                            name.as_str(),
                            "text" | "title" | "value" | "name" | "summary" | "fallbackText"
                        ) =>
                    {
                        *text = text.replace("](", "]\u{200b}(");
                    }
                    other => defuse(other),
                }
            }
        }
        _ => {}
    }
}

fn leads_nowhere(item: &Value) -> bool {
    let is_web_address = |url: &Value| {
        let url = url.as_str().and_then(|url| Url::parse(url).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    };
    match (item["type"].as_str(), item["@type"].as_str()) {
        (Some("Action.OpenUrl"), _) => !is_web_address(&item["url"]),
        (Some("ActionSet"), _) => item["actions"].as_array().is_none_or(Vec::is_empty),
        (_, Some("OpenUri")) => !is_web_address(&item["targets"][0]["uri"]),
        _ => false,
    }
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
    fn mentions() {
        let bare = json!({ "type": "AdaptiveCard", "body": [{ "text": "Heading" }, { "text": "Rest" }] });
        let mut card = bare.clone();
        mention(&mut card, "Ann <Berg>", "ann@lab.test");
        assert_eq!(card["body"][1]["text"], "Owner: <at>Ann Berg</at>");
        assert_eq!(card["body"].as_array().unwrap().len(), 3);
        assert_eq!(
            card["msteams"]["entities"],
            json!([{ "type": "mention", "text": "<at>Ann Berg</at>", "mentioned": { "id": "ann@lab.test", "name": "Ann Berg" } }])
        );
        let mut twice = card.clone();
        mention(&mut twice, "Bo Lund", "bo@lab.test");
        assert_eq!(twice["msteams"]["entities"].as_array().map(Vec::len), Some(2), "others' mentions stay");
        for odd in [json!([1]), json!("Full"), Value::Null, json!({ "entities": "none" })] {
            let mut other = bare.clone();
            other["msteams"] = odd;
            mention(&mut other, "Ann <Berg>", "ann@lab.test");
            assert_eq!(other["msteams"]["entities"], card["msteams"]["entities"]);
        }
        let mut message = wrap(bare, Envelope::Message);
        mention(&mut message, "Ann <Berg>", "ann@lab.test");
        assert_eq!(message["attachments"][0]["content"], card);
        for other in
            [json!({ "@type": "MessageCard" }), json!({ "type": "message" }), json!({ "type": "AdaptiveCard" })]
        {
            let mut same = other.clone();
            mention(&mut same, "Ann", "ann@lab.test");
            assert_eq!(same["@type"], other["@type"]);
            assert!(!same.to_string().contains("<at>"));
        }
    }

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
