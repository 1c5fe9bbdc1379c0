//! Makes the message for a delivery: facts, template, limits, and the plain form where that does not work out.
//!
//! What is long is shortened in three steps. Each value is kept short enough for a text of Slack of its own: of the head of
//! the script log the beginning, of its tail the end. Lines of the log are given up until they are the cause of no cut any
//! more. What is too long without any line (a text that is no log) is cut where it stands.

use butler_plugin_api::message::{BuiltIn, Cut, Facts, Format, Template, TemplateError, Templates, shorten};
use butler_plugin_api::{Delivery, kind};
use serde_json::{Map, Value};

use crate::limits::{Mended, TOTAL, mend, shows_something};
use crate::payload::Payload;
use crate::settings::{MessageType, Post};
use crate::text::{MARK, escape, escaped_length, keep_end, keep_start, length, pieces, tame, unescape};
use crate::{Chat, blocks};

/// The built-in templates, which are shipped as a start for own ones as well. The first whose kinds fit is used.
const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        kinds: &[kind::MESSAGE_POSTED],
        name: "message.json.handlebars",
        source: include_str!("../../../config/templates/slack/message.json.handlebars"),
    },
    BuiltIn {
        kinds: &["*"],
        name: "event.json.handlebars",
        source: include_str!("../../../config/templates/slack/event.json.handlebars"),
    },
];
/// The text of basic messages.
const BASIC: &[BuiltIn] = &[BuiltIn { kinds: &["*"], name: "built-in basic template", source: "{{summary}}" }];

/// Longest values, in units of the escaped text. The second leaves room for a code block and some words around.
const LONGEST: [usize; 2] = [2999, 2900];

/// Longest part of a posted text, what the block around each takes of [`TOTAL`], and what all else takes.
const PART: usize = 2800;
const SECTION_AROUND: usize = 250;
const REST: usize = 2500;

/// A message that is ready to be sent.
pub(crate) struct Message {
    pub(crate) payload: Payload,
    /// What is wrong with the template; the message is the plain form then.
    pub(crate) trouble: Option<String>,
    /// To make the plain form of, if Slack refuses this one.
    pub(crate) facts: Facts,
}

impl Chat {
    pub(crate) async fn compose(&self, delivery: &Delivery, templates: &Templates) -> Message {
        let facts = match self.post.message_type {
            MessageType::Formatted => Facts::gather(delivery, &self.host, &self.presentation).await,
            MessageType::Basic => Facts::of(delivery, self.host.instance(), &self.presentation),
        };
        self.message(facts, &delivery.event.kind, templates)
    }

    /// Always makes a message, whatever the template and the facts are like.
    pub(crate) fn message(&self, facts: Facts, kind: &str, templates: &Templates) -> Message {
        let (payload, trouble) = match self.templated(&facts, kind, templates) {
            Ok(payload) => (payload, None),
            Err(error) => (self.plain(&facts, &error), Some(error)),
        };
        Message { payload, trouble, facts }
    }

    /// The plain form, since the configured one has failed: in the template, or at Slack.
    pub(crate) fn plain(&self, facts: &Facts, trouble: &str) -> Payload {
        let context = facts.context(Cut::last(facts.lines()));
        let why = format!("This is the plain message, since the configured one failed: {trouble}");
        let mut payload = Payload::new(&self.post).with(blocks::last_resort(&context, &why));
        payload.set("text", &blocks::fallback(&context));
        payload
    }

    fn templated(&self, facts: &Facts, kind: &str, templates: &Templates) -> Result<Payload, String> {
        let template = templates.of(kind).map_err(|error| error.to_string())?;
        let mut payload = Payload::new(&self.post);
        let context = facts.context(Cut::NONE);
        if self.post.message_type == MessageType::Basic {
            let text = template.text(&context).map_err(|error| error.to_string())?;
            let texts = [text.trim(), context["heading"].as_str().unwrap_or_default(), "Butler has an alert"];
            let text = texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
            payload.set("blocks", &blocks::basic(text, &context));
            payload.set("text", &blocks::fallback(&context));
            return Ok(payload);
        }
        let render = |cut: Cut, longest: usize| -> Result<Mended, TemplateError> {
            let mut context = facts.context(cut);
            split_posted(&mut context);
            bound(&mut context, longest);
            mended(&template, &context)
        };
        // What is cut even without any line: to give up lines for its sake would be in vain.
        let mut bare = facts.context(Cut::NONE);
        forget_lines(&mut bare);
        split_posted(&mut bare);
        bound(&mut bare, LONGEST[1]);
        let in_vain = mended(&template, &bare).map_or(0, |mended| mended.cuts);
        let lines = facts.lines();
        let fitting = shorten(lines, |cut| {
            // The last steps give up all lines and more for the sake of a text that may be no line at all.
            if cut.is_beyond_lines() {
                return Ok(None);
            }
            for longest in LONGEST {
                let mended = render(cut, longest)?;
                if mended.cuts <= in_vain {
                    return Ok(Some(mended));
                }
            }
            Ok(None)
        });
        let mended = match fitting {
            Ok(Some(mended)) => mended,
            Ok(None) => render(Cut::NONE, LONGEST[1]).map_err(|error| error.to_string())?,
            Err(error) => return Err(TemplateError::to_string(&error)),
        };
        if !shows_something(&mended.message) {
            return Err("the template makes neither `blocks` nor `text`, so that there is nothing to show".to_owned());
        }
        if !mended.message.contains_key("text") {
            payload.set("text", &blocks::fallback(&context));
        }
        Ok(payload.with(mended.message))
    }
}

/// What a template makes of a context, within the limits.
fn mended(template: &Template, context: &Value) -> Result<Mended, TemplateError> {
    let mut message = template.json(context)?;
    raw_names(&mut message);
    let Value::Object(message) = message else { return Ok(mend(Map::new())) };
    Ok(mend(message))
}

/// Where the templates come from that the settings name.
pub(crate) fn templates(post: &Post) -> Templates {
    let format = post.format();
    match post.message_type {
        MessageType::Basic => match &post.basic_template {
            Some(source) => Templates::inline("basicTemplate", source, format),
            None => Templates::built_in(BASIC, format),
        },
        MessageType::Formatted => match &post.template_file {
            Some((shown, path)) => Templates::file(shown, path.clone(), format),
            None => Templates::built_in(BUILT_IN, Format::SlackJson),
        },
    }
}

/// Keeps every text short enough for a text of Slack, and from opening or closing a code block. Addresses stay whole.
fn bound(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) if !is_address(text) => *text = keep_start(&tame(text), longest),
        Value::Array(items) => items.iter_mut().for_each(|item| bound(item, longest)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match (field, name.as_str()) {
                    (
                        Value::String(text),
                        "scriptLogTail" | "executionDetailsConcatenated" | "executionDetailsText",
                    ) => *text = keep_end(&tame(text), longest),
                    (Value::Array(lines), "head" | "tail") if lines.iter().any(Value::is_string) => {
                        let text: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
                        let text = tame(&text.join("\n"));
                        let kept = if name == "tail" { keep_end(&text, longest) } else { keep_start(&text, longest) };
                        *lines = kept.split('\n').map(Value::from).collect();
                    }
                    (other, _) => bound(other, longest),
                }
            }
        }
        _ => {}
    }
}

fn is_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && !text.contains(|c: char| c.is_whitespace() || c == '`')
}

/// Empties what holds lines that can be given up.
fn forget_lines(context: &mut Value) {
    let Some(context) = context.as_object_mut() else { return };
    for name in
        ["scriptLogHead", "scriptLogTail", "executionDetails", "executionDetailsConcatenated", "executionDetailsText"]
    {
        context.remove(name);
    }
    if let Some(log) = context.get_mut("scriptLog").and_then(Value::as_object_mut) {
        for name in ["head", "tail", "errors"] {
            log.remove(name);
        }
    }
}

/// Gives a posted text as `posted.parts` as well: as many as Slack takes, and a word if that is not all.
fn split_posted(context: &mut Value) {
    let Some(posted) = context.get_mut("posted").and_then(Value::as_object_mut) else { return };
    let Some(text) = posted.get("text").and_then(Value::as_str) else { return };
    let (mut parts, mut left) = (Vec::new(), TOTAL - REST);
    for part in pieces(text, PART, escaped_length) {
        let size = length(&Value::from(escape(part)).to_string()) + SECTION_AROUND;
        if size > left {
            parts.push(Value::from(MARK));
            break;
        }
        left -= size;
        parts.push(part.into());
    }
    posted.insert("parts".to_owned(), parts.into());
}

/// Addresses and names are no text to Slack: the entities that the template's values have got are turned back. An author who
/// wrote entities into an address of the template meant the same.
fn raw_names(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(raw_names),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text)
                        if matches!(name.as_str(), "url" | "username")
                            || name.ends_with("_url")
                            || name.ends_with("_link") =>
                    {
                        *text = unescape(text);
                    }
                    other => raw_names(other),
                }
            }
        }
        _ => {}
    }
}
