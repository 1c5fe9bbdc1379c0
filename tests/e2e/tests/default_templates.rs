//! The templates that are built in, for every kind of event, with facts, without any, and with nasty ones: what programs
//! that show mails, Slack and Teams take, and nothing that is empty.

use butler_plugin_api::message::{Cut, Facts, Format, Presentation, Template};
use butler_plugin_api::{CustomLink, Data, Delivery, Instance, Links, kind, sample_delivery};
use serde_json::Value;

struct BuiltIn {
    format: Format,
    event: &'static str,
    message: &'static str,
}

macro_rules! built_in {
    ($format:expr, $folder:literal, $ending:literal) => {
        BuiltIn {
            format: $format,
            event: include_str!(concat!("../../../config/templates/", $folder, "/event", $ending)),
            message: include_str!(concat!("../../../config/templates/", $folder, "/message", $ending)),
        }
    };
}

const HTML: BuiltIn = built_in!(Format::Html, "email", ".html.handlebars");
const TEXT: BuiltIn = built_in!(Format::Text, "email", ".txt.handlebars");
const SLACK: BuiltIn = built_in!(Format::SlackJson, "slack", ".json.handlebars");
const TEAMS: BuiltIn = built_in!(Format::Json, "teams", ".handlebars");

const NASTY: &str =
    "R&D \"x\" <script>alert('q')</script> </td> `t` {{heading}} C:\\new\r\n\tשלום \u{202e}abc \u{1F600} \u{1}";

impl BuiltIn {
    fn template(&self, kind: &str) -> Template {
        let source = if kind == kind::MESSAGE_POSTED { self.message } else { self.event };
        Template::new("built in", source, self.format).expect("a correct template")
    }
}

fn spoil(value: &mut Value) {
    match value {
        Value::String(text) if !text.starts_with("20") && !text.starts_with("http") => {
            *text = format!("{text} {NASTY}");
        }
        Value::Array(items) => items.iter_mut().for_each(spoil),
        Value::Object(fields) => fields.values_mut().for_each(spoil),
        _ => {}
    }
}

/// Each kind as the sample is, with nasty texts and a note, and without facts.
fn deliveries() -> Vec<Delivery> {
    let mut all = Vec::new();
    for kind in kind::ALL.iter().chain(&["moon.risen", "odd"]) {
        let sample = sample_delivery(kind);
        let mut nasty = sample.clone();
        let mut json = serde_json::to_value(&nasty.event.data).expect("facts are JSON");
        spoil(&mut json);
        nasty.event.data = serde_json::from_value(json).expect("facts are read whatever they are");
        (nasty.late_seconds, nasty.suppressed) = (Some(4000), 3);
        let mut empty = sample.clone();
        empty.event.data = Data::default();
        all.extend([sample, nasty, empty]);
    }
    all
}

/// What a template is rendered with: all facts and as few as possible, with links and without.
fn contexts(delivery: &Delivery) -> Vec<Value> {
    let mut wiki = CustomLink::new("What to do", "https://wiki.test/?a=b&c={{taskName}}");
    "Run \"book\"".clone_into(&mut wiki.comment);
    let links = Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        hub: Some("https://sense.test/hub".to_owned()),
        app_base_url: Some("https://sense.test/sense/app/".to_owned()),
        custom: vec![wiki],
    };
    let linked = Instance { host_version: "17.0.0".to_owned(), links, ..Instance::default() };
    let presentation = Presentation::new(Some("Europe/Stockholm"), 10, 20).expect("a known zone");
    let facts = [linked, Instance::default()].map(|instance| Facts::of(delivery, &instance, &presentation));
    facts.iter().flat_map(|facts| [facts.context(Cut::NONE), facts.context(Cut::last(facts.lines()))]).collect()
}

/// Every kind, each time with its context.
fn each(check: impl Fn(&Delivery, &Value)) {
    let deliveries = deliveries();
    for delivery in &deliveries {
        for context in contexts(delivery) {
            check(delivery, &context);
        }
    }
    assert!(deliveries.len() > 100);
}

/// Tags that are closed in the order in which they were opened; the names of all.
fn tags(html: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for part in html.split('<').skip(1) {
        let name: String = part.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        if part.starts_with('!') || name.is_empty() {
            continue;
        }
        if part.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "closed but not open, before {part:.80}");
        } else if !matches!(name.as_str(), "meta" | "br") {
            open.push(name.clone());
        }
        all.push(name);
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    all
}

#[test]
fn mails_are_sound_html_that_loads_nothing() {
    const TAGS: &[&str] = &[
        "html", "head", "meta", "title", "style", "body", "div", "table", "tr", "td", "h1", "h2", "pre", "a", "strong",
        "span", "br",
    ];
    each(|delivery, context| {
        let kind = &delivery.event.kind;
        let html = HTML.template(kind).text(context).unwrap();
        for tag in tags(&html) {
            assert!(TAGS.contains(&tag.as_str()), "{kind}: <{tag}>");
        }
        for part in ["src=", "url(", "@import", "<script", "position:", "display:flex", "display:grid", "[object"] {
            assert!(!html.contains(part), "{kind}: {part}");
        }
        assert!(html.trim_start().starts_with("<!DOCTYPE html>") && html.contains("<html lang=\"en\">"));
        assert!(html.contains(&delivery.event.id) && html.contains("Butler"), "{kind}: a footer that names both");
    });
}

#[test]
fn mails_as_text_have_no_gaps() {
    each(|delivery, context| {
        let kind = &delivery.event.kind;
        let text = TEXT.template(kind).text(context).unwrap();
        // What is from the facts may have any.
        if !context.to_string().contains("{{heading}}") {
            assert!(!text.trim().contains("\n\n\n"), "{kind}: {text}");
        }
        assert!(text.contains(&delivery.event.id), "{kind}");
        assert!(!text.contains("[object"), "{kind}: {text}");
    });
}

/// No text is empty, and no list.
fn has_no_gaps(value: &Value, path: &str) {
    match value {
        Value::String(text) => assert!(!text.trim().is_empty(), "{path} is empty"),
        Value::Array(items) => {
            assert!(!items.is_empty(), "{path} is empty");
            for item in items {
                has_no_gaps(item, path);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                has_no_gaps(field, &format!("{path}.{name}"));
            }
        }
        _ => {}
    }
}

#[test]
fn slack_takes_all_messages() {
    each(|delivery, context| {
        let kind = &delivery.event.kind;
        let message = SLACK.template(kind).json(context).unwrap();
        has_no_gaps(&message, kind);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{kind}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let text = |value: &Value| text(value).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let length = |value: &Value| text(value).chars().count();
        for block in blocks {
            match block["type"].as_str().unwrap() {
                "header" => assert!(length(&block["text"]["text"]) <= 150, "{kind}"),
                "actions" => {
                    let buttons = block["elements"].as_array().unwrap();
                    assert!(buttons.iter().all(|button| length(&button["text"]["text"]) <= 75), "{kind}");
                }
                "section" | "context" => {}
                other => panic!("{kind}: {other}"),
            }
        }
        // The plain text is what a phone shows: it names no markup of Slack's.
        assert!(!message["text"].as_str().unwrap().contains("<!"), "{kind}");
    });
}

#[test]
fn cards_of_teams_have_no_empty_element() {
    each(|delivery, context| {
        let kind = &delivery.event.kind;
        let message = TEAMS.template(kind).json(context).unwrap();
        let card = &message["attachments"][0]["content"];
        assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.4".into()));
        has_no_gaps(card, kind);
        if delivery.event.data == sample_delivery(kind).event.data {
            assert_eq!(e2e::fault_of_message(&message, message.to_string().len()), None, "{kind}");
        }
        let style = &card["body"][0]["style"];
        let expected = match context["event"]["severity"].as_str().unwrap() {
            _ if kind == kind::MESSAGE_POSTED => Value::Null,
            "failure" => "attention".into(),
            "warning" => "warning".into(),
            "success" => "good".into(),
            _ => "accent".into(),
        };
        assert_eq!(style, &expected, "{kind}");
    });
}

#[test]
fn a_posted_message_looks_like_a_note() {
    let delivery = sample_delivery(kind::MESSAGE_POSTED);
    let context = &contexts(&delivery)[0];
    let html = HTML.template(kind::MESSAGE_POSTED).text(context).unwrap();
    assert!(html.contains("Stock loaded</pre>") && html.contains("Load script") && !html.contains("Open QMC"));
    let slack = SLACK.template(kind::MESSAGE_POSTED).json(context).unwrap();
    let envelope = [&slack["username"], &slack["channel"], &slack["icon_emoji"]].map(|value| value.as_str().unwrap());
    assert_eq!(envelope, ["Load script", "#reloads", ":thumbsup:"]);
    assert_eq!(slack["blocks"].as_array().unwrap().len(), 1);
    let teams = TEAMS.template(kind::MESSAGE_POSTED).json(context).unwrap();
    assert_eq!(teams["attachments"][0]["content"]["body"][0]["text"], "Load script");
}
