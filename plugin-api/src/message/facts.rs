//! The variables of templates.
//!
//! There is one set for all kinds of events. Every variable that Butler 16 documents or sets is there under its name,
//! misspelt ones of its documentation included, and beside them a tidy form: `event`, `task`, `app`, `execution`, `log`,
//! `scriptLog`, `links`, `note`, `facts` and the sections of the kind (`service`, `cloud`, …). What is not known is not
//! there, and prints nothing.

mod errors;
mod heading;
mod links;
mod original;
mod rows;
mod tidy;

use serde_json::{Map, Value};

use super::fit::{self, Cut};
use super::numbers;
use super::presentation::Presentation;
use crate::butler16::{self, time};
use crate::{Delivery, Host, Instance, ScriptLog};

/// Longest line of a script log in characters, as in events.
const LONGEST_LINE: usize = 4000;

/// Lines of a script log, as many as the settings ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct LogLines {
    head: Vec<String>,
    tail: Vec<String>,
    /// Those that tell what went wrong, wherever in the log.
    errors: Vec<String>,
    /// Characters without line ends, where the whole log was read.
    characters: Option<usize>,
}

/// All that a message can show of one delivery: the context of templates.
#[derive(Debug)]
pub struct Facts {
    /// What is the same however much is cut.
    base: Map<String, Value>,
    log: LogLines,
    details: Vec<Step>,
}

/// One step of a run.
#[derive(Debug)]
struct Step {
    line: String,
    value: Value,
}

impl Facts {
    /// With as many lines of the script log as the settings ask for: the event has some, and only if those are too few the
    /// whole log is fetched. Without it the message has fewer lines.
    pub async fn gather(delivery: &Delivery, host: &Host, presentation: &Presentation) -> Self {
        let log = match &delivery.event.data.script_log {
            Some(log) => match butler16::whole(log, host, presentation.head_lines, presentation.tail_lines).await {
                Some(text) => LogLines::of_text(&text, presentation),
                None => LogLines::of_event(log, presentation),
            },
            None => LogLines::default(),
        };
        Self::new(delivery, host.instance(), presentation, log)
    }

    /// With what is in the event.
    pub fn of(delivery: &Delivery, instance: &Instance, presentation: &Presentation) -> Self {
        let log = delivery.event.data.script_log.as_ref();
        let log = log.map_or_else(LogLines::default, |log| LogLines::of_event(log, presentation));
        Self::new(delivery, instance, presentation, log)
    }

    fn new(delivery: &Delivery, instance: &Instance, presentation: &Presentation, log: LogLines) -> Self {
        let mut base = delivery.event.data.further();
        original::add(&mut base, delivery, instance, presentation);
        if let Some(characters) = log.characters.filter(|_| delivery.event.data.cloud.is_some()) {
            base.insert("scriptLogSizeCharacters".to_owned(), numbers::grouped(characters).into());
        }
        tidy::add(&mut base, delivery, presentation);
        if let Some(reason) = heading::reason(&delivery.event, &log.errors, presentation) {
            base.insert("reason".to_owned(), reason.into());
        }
        links::add(&mut base, delivery, instance);
        Self { base, log, details: steps(delivery, presentation) }
    }

    /// How many lines can be given up, for [`shorten`](super::shorten).
    pub fn lines(&self) -> usize {
        self.log.head.len() + self.log.tail.len() + self.details.len() + self.log.errors.len()
    }

    /// The variables, with as much of the long parts as the cut allows.
    pub fn context(&self, cut: Cut) -> Value {
        let mut left = cut.dropped;
        let mut drop = |lines: usize| {
            let dropped = left.min(lines);
            left -= dropped;
            dropped
        };
        let (head, tail) = (&self.log.head, &self.log.tail);
        let (no_head, no_tail, no_details) = (drop(head.len()), drop(tail.len()), drop(self.details.len()));
        let no_errors = drop(self.log.errors.len());
        let short = |line: &String| fit::cut(line, cut.line);

        let head: Vec<String> = head[..head.len() - no_head].iter().map(short).chain(gap(no_head)).collect();
        let tail: Vec<String> = gap(no_tail).into_iter().chain(tail[no_tail..].iter().map(short)).collect();
        let details = &self.details[no_details..];
        let lines = gap(no_details).into_iter().chain(details.iter().map(|step| short(&step.line)));
        let details_text = lines.map(|line| line + "\n").collect::<String>();
        let details = details.iter().map(|step| {
            let mut value = step.value.clone();
            shorten(&mut value, cut.line);
            value
        });
        let details: Vec<Value> = details.collect();

        let mut context = self.base.clone();
        let is_cloud = context.contains_key("cloud");
        for (name, value) in &mut context {
            // Texts of others only; what Butler puts together itself is short.
            if cut.text == usize::MAX || name == "links" || name == "genericUrls" {
                continue;
            }
            match value {
                // The log of a reload in Qlik Cloud, which ends with the error.
                Value::String(text) if name == "logMessage" && is_cloud => *text = fit::cut_start(text, cut.text),
                other => shorten(other, cut.text),
            }
        }
        if let Some(log) = context.get_mut("scriptLog") {
            log["head"] = head.clone().into();
            log["tail"] = tail.clone().into();
            // None and not an empty list: a list of nothing explains nothing.
            let errors: Vec<String> = self.log.errors[no_errors..].iter().map(short).collect();
            log["errors"] = if errors.is_empty() { Value::Null } else { errors.into() };
        }
        let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
        if cut != Cut::NONE {
            put("shortened", "Shortened to fit the message".into());
        }
        put("scriptLogHead", head.join("\n").into());
        put("scriptLogTail", tail.join("\n").into());
        put("executionDetailsConcatenated", details_text.clone().into());
        put("executionDetailsText", details_text.into());
        put("executionDetails", details.into());
        Value::Object(context)
    }
}

/// A line in the place of dropped ones.
fn gap(dropped: usize) -> Option<String> {
    match dropped {
        0 => None,
        1 => Some("… 1 line left out to fit the message".to_owned()),
        lines => Some(format!("… {lines} lines left out to fit the message")),
    }
}

/// Cuts every text in a value, addresses excepted: a cut address leads nowhere.
fn shorten(value: &mut Value, max: usize) {
    match value {
        Value::String(text) if !text.starts_with("http://") && !text.starts_with("https://") => {
            *text = fit::cut(text, max);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, max)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shorten(field, max)),
        _ => {}
    }
}

impl LogLines {
    fn of_event(log: &ScriptLog, presentation: &Presentation) -> Self {
        let lines = butler16::LogLines::of_event(log, presentation.head_lines, presentation.tail_lines);
        // The first lines tell of a failure only where they are the last as well.
        let errors = errors::among(log.tail.iter().map(String::as_str));
        Self { head: lines.head, tail: lines.tail, errors, characters: None }
    }

    fn of_text(text: &str, presentation: &Presentation) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let wanted = butler16::LogLines::of_text(text, presentation.head_lines, presentation.tail_lines);
        let short = |lines: Vec<String>| lines.iter().map(|line| fit::cut(line, LONGEST_LINE)).collect();
        Self {
            head: short(wanted.head),
            tail: short(wanted.tail),
            errors: errors::among(lines.iter().copied()).iter().map(|line| fit::cut(line, LONGEST_LINE)).collect(),
            characters: Some(lines.iter().map(|line| line.chars().count()).sum()),
        }
    }
}

/// The steps of the run, which the host has put in order of time, with the time forms of the original.
fn steps(delivery: &Delivery, presentation: &Presentation) -> Vec<Step> {
    let step = |detail: &crate::Detail| {
        let mut value = time::forms("timestamp", &detail.time, &presentation.zone);
        value.insert("message".to_owned(), detail.message.clone().into());
        value.insert("detailsType".to_owned(), detail.detail_type.into());
        // So it was called in mails about distributions.
        value.insert("detailCreatedDate".to_owned(), detail.time.clone().into());
        Step { line: format!("{}\t{}", detail.time, detail.message), value: value.into() }
    };
    delivery.event.data.execution.iter().flat_map(|execution| &execution.details).map(step).collect()
}

#[cfg(test)]
mod spec;
#[cfg(test)]
mod tests;
