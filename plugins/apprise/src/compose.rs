//! Makes title and body of a notification: facts, templates, size, and the plain form where that does not work out.

use butler_plugin_api::message::{Cut, Facts, TemplateError, Templates, cut, shorten};
use butler_plugin_api::{Delivery, Host, sample_delivery};
use serde_json::Value;

use crate::settings::{BodyFormat, Server};

/// Longest title, in characters: it is one line.
const LONGEST_TITLE: usize = 250;
/// Longest value in the plain form.
const LONGEST_VALUE: usize = 300;

/// A notification that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) title: String,
    /// Apprise refuses an empty one.
    pub(crate) body: String,
    pub(crate) format: BodyFormat,
    /// `info`, `success`, `warning` or `failure`.
    pub(crate) kind: &'static str,
    /// What is wrong with a template; the notification is the plain one then.
    pub(crate) trouble: Option<String>,
}

impl Server {
    /// Always makes a notification, whatever templates and facts are like.
    pub(crate) async fn compose(&self, delivery: &Delivery, body: &Templates, host: &Host) -> Notification {
        let facts = Facts::gather(delivery, host, &self.presentation).await;
        self.compose_of(&facts, delivery, body)
    }

    fn compose_of(&self, facts: &Facts, delivery: &Delivery, body: &Templates) -> Notification {
        let kind = match delivery.event.severity() {
            "information" => "info",
            severity => severity,
        };
        let plain = |title: Option<String>, why: &str, trouble: Option<String>| Notification {
            title: title.unwrap_or_else(|| one_line(&delivery.event.summary())),
            body: self.plain(facts, delivery, why),
            format: BodyFormat::Text,
            kind,
            trouble,
        };
        let (title, body) = (self.title(facts, delivery), self.body(facts, delivery, body));
        let fault = title.as_ref().err().or(body.as_ref().err()).map(ToString::to_string);
        if let Some(fault) = fault {
            let why = format!("This is the plain form, since the template failed: {fault}");
            return plain(title.ok(), &why, Some(fault));
        }
        match (title.ok(), body.ok().flatten()) {
            (Some(title), Some(body)) => Notification { title, body, format: self.format, kind, trouble: None },
            (title, _) => {
                plain(title, "The full message is longer than maxLengthCharacters, even when shortened.", None)
            }
        }
    }

    /// What templates are made with. In Markdown nothing ends a span or a block of code but the template.
    fn context(&self, facts: &Facts, cut: Cut) -> Value {
        let mut context = facts.context(cut);
        if let (BodyFormat::Markdown, Some(parts)) = (self.format, context.as_object_mut()) {
            // Who posts a message writes Markdown.
            for (_, part) in parts.iter_mut().filter(|(name, _)| *name != "posted") {
                without_backticks(part);
            }
        }
        context
    }

    fn title(&self, facts: &Facts, delivery: &Delivery) -> Result<String, TemplateError> {
        let title = one_line(&self.title.of(&delivery.event.kind)?.text(&facts.context(Cut::NONE))?);
        Ok(if title.is_empty() { one_line(&delivery.event.summary()) } else { title })
    }

    /// None if it is too long even when shortened.
    fn body(&self, facts: &Facts, delivery: &Delivery, templates: &Templates) -> Result<Option<String>, TemplateError> {
        let template = templates.of(&delivery.event.kind)?;
        let body = shorten(facts.lines(), |cut| {
            let text = clean(template.text(&self.context(facts, cut))?.trim());
            Ok((text.chars().count() <= self.longest).then_some(text))
        })?;
        Ok(body.map(|body| if body.is_empty() { delivery.event.summary() } else { body }))
    }

    /// Made without a template, so it cannot fail.
    fn plain(&self, facts: &Facts, delivery: &Delivery, why: &str) -> String {
        let mut text = String::new();
        for part in [delivery.note().as_str(), why, &delivery.event.summary()] {
            if !part.is_empty() {
                text = format!("{text}{}\n\n", cut(part, 1000));
            }
        }
        let context = facts.context(Cut::last(facts.lines()));
        for fact in context["facts"].as_array().into_iter().flatten() {
            let [title, value] =
                ["title", "value"].map(|name| cut(fact[name].as_str().unwrap_or_default(), LONGEST_VALUE));
            text = format!("{text}{title}: {value}\n");
        }
        // With room for the mark of the cut.
        cut(clean(text.trim()).as_str(), self.longest - 1)
    }

    /// What is wrong with the templates, by a sample.
    pub(crate) fn trouble(&self, host: &Host) -> Option<String> {
        let sample = sample_delivery(butler_plugin_api::kind::RELOAD_TASK_FAILED);
        let facts = Facts::of(&sample, host.instance(), &self.presentation);
        self.compose_of(&facts, &sample, &self.body).trouble
    }
}

fn without_backticks(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('`') => *text = text.replace('`', "'"),
        Value::Array(values) => values.iter_mut().for_each(without_backticks),
        Value::Object(values) => values.values_mut().for_each(without_backticks),
        _ => {}
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), LONGEST_TITLE)
}

/// Without control characters: some services refuse them.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}
