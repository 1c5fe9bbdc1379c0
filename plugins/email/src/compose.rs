//! What a mail says: facts, templates, size, and the plain form where that does not work out.

use butler_plugin_api::message::{Cut, Facts, TemplateError, cut, shorten};
use butler_plugin_api::{Delivery, Host};
use serde_json::{Value, json};

use crate::mail::Content;
use crate::recipients::Plan;
use crate::settings::{Checked, Html};

/// Largest HTML and text, in bytes each: servers take at least 10 MB, but nobody reads that.
const LARGEST: usize = 1 << 20;
/// Longest value in a plain mail, in characters.
const LONGEST_VALUE: usize = 500;
/// Most recipients that a redirected mail names.
const MOST_NAMED: usize = 50;
/// And an error, which may become part of other alerts.
const MOST_IN_ERRORS: usize = 3;

/// A mail that is ready to be sent.
pub(crate) struct Composed {
    pub(crate) content: Content,
    /// What is wrong with a template; the mail is the plain one then.
    pub(crate) trouble: Option<String>,
}

impl Checked {
    /// Always makes a mail, whatever templates and facts are like.
    pub(crate) async fn compose(&self, delivery: &Delivery, plan: &Plan, host: &Host, html: &Html) -> Composed {
        let facts = Facts::gather(delivery, host, &self.presentation).await;
        let mut composed = self.compose_of(&facts, delivery, plan, html);
        let note = delivery.note();
        if let Some(shown) = composed.content.html.as_mut().filter(|_| !note.is_empty() && !html.shows_notes()) {
            *shown = with_note(shown, &note);
        }
        if self.redirect_to.is_some() {
            let note = redirection(plan);
            composed.content.text = format!("{note}\n\n{}", composed.content.text);
            composed.content.html = composed.content.html.map(|html| with_note(&html, &note));
        }
        composed
    }

    fn compose_of(&self, facts: &Facts, delivery: &Delivery, plan: &Plan, html: &Html) -> Composed {
        let kind = &delivery.event.kind;
        // It is cut to one line of its own length.
        let subject = self.subject.of(kind).and_then(|template| template.text(&variables(facts, Cut::NONE, plan)));
        let bodies = self.bodies(facts, kind, plan, html);
        match (subject, bodies) {
            (Ok(subject), Ok(Some((html, text)))) => {
                Composed { content: Content { subject, html: Some(html), text }, trouble: None }
            }
            (Ok(subject), Ok(None)) => {
                let why = "The mail is larger than 1 MB, even when shortened.";
                Composed { content: Content { subject, html: None, text: plain(facts, delivery, why) }, trouble: None }
            }
            (subject, Err(error)) => self.without_template(subject.ok(), facts, delivery, &error),
            (Err(error), Ok(_)) => self.without_template(None, facts, delivery, &error),
        }
    }

    #[allow(clippy::unused_self, reason = "reads as the others")]
    fn without_template(
        &self,
        subject: Option<String>,
        facts: &Facts,
        delivery: &Delivery,
        error: &TemplateError,
    ) -> Composed {
        let why = format!("This is the plain form of the mail, since a template failed: {error}");
        let subject = subject.unwrap_or_else(|| delivery.event.summary());
        Composed {
            content: Content { subject, html: None, text: plain(facts, delivery, &why) },
            trouble: Some(error.to_string()),
        }
    }

    /// HTML and text; none if they are too large even when shortened.
    fn bodies(
        &self,
        facts: &Facts,
        kind: &str,
        plan: &Plan,
        html: &Html,
    ) -> Result<Option<(String, String)>, TemplateError> {
        let (html, text) = (html.templates.of(kind)?, self.text.of(kind)?);
        shorten(facts.lines(), |cut| {
            let context = variables(facts, cut, plan);
            let (html, text) = (html.text(&context)?, text.text(&context)?);
            Ok((html.len() <= LARGEST && text.len() <= LARGEST).then(|| (html.trim().to_owned(), text)))
        })
    }

    /// Renders the templates for a delivery. The error is for people.
    pub(crate) fn try_templates(&self, delivery: &Delivery, host: &Host) -> Result<(), String> {
        let facts = Facts::of(delivery, host.instance(), &self.presentation);
        self.compose_of(&facts, delivery, &Plan::default(), &self.html).trouble.map_or(Ok(()), Err)
    }
}

/// All that templates can show.
fn variables(facts: &Facts, cut: Cut, plan: &Plan) -> Value {
    let mut context = facts.context(cut);
    if let Value::Object(variables) = &mut context {
        let recipients = json!({ "taskSpecific": plan.of_task, "common": plan.common });
        variables.insert("emailRecipients".to_owned(), recipients);
    }
    context
}

/// Made without a template, so it cannot fail.
fn plain(facts: &Facts, delivery: &Delivery, why: &str) -> String {
    let event = &delivery.event;
    let mut text = cut(&event.summary(), 2000);
    for part in [delivery.note().as_str(), why] {
        if !part.is_empty() {
            text = format!("{text}\n\n{}", cut(part, 2000));
        }
    }
    let context = facts.context(Cut::last(facts.lines()));
    text.push_str("\n\n");
    for fact in context["facts"].as_array().into_iter().flatten() {
        let [title, value] = ["title", "value"].map(|name| cut(fact[name].as_str().unwrap_or_default(), LONGEST_VALUE));
        text = format!("{text}{title}: {value}\n");
    }
    format!("{text}Happened at: {}\nEvent: {} {}\n", event.time, event.kind, event.id)
}

/// What a redirected mail says first.
fn redirection(plan: &Plan) -> String {
    let mut whom = at_most(MOST_NAMED, &plan.to, ", ");
    if whom.is_empty() {
        let why: Vec<&str> = plan.unreachable.iter().chain(&plan.left_out).map(String::as_str).collect();
        whom = format!("nobody ({})", first(&why, "; "));
    }
    format!("For tries this mail goes here alone (setting redirectTo). It would have gone to: {whom}")
}

/// The first of a list, as errors and the log name them.
pub(crate) fn first<T: AsRef<str>>(list: &[T], between: &str) -> String {
    at_most(MOST_IN_ERRORS, list, between)
}

fn at_most<T: AsRef<str>>(most: usize, list: &[T], between: &str) -> String {
    let shown: Vec<&str> = list.iter().take(most).map(AsRef::as_ref).collect();
    match list.len() - shown.len() {
        0 => shown.join(between),
        more => format!("{} and {more} more", shown.join(between)),
    }
}

/// Puts a note at the beginning of what HTML shows.
fn with_note(html: &str, note: &str) -> String {
    let note = note.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let note = format!("<p style=\"background:#fff3cd;color:#000;padding:8px;margin:0\">{note}</p>");
    let lower = html.to_ascii_lowercase();
    let place = lower.find("<body").and_then(|start| lower[start..].find('>').map(|end| start + end + 1));
    let (before, after) = html.split_at(place.unwrap_or(0));
    format!("{before}{note}{after}")
}

#[cfg(test)]
mod tests;
