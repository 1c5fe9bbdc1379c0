//! The variables of templates.
//!
//! There is one set for all kinds of events. Every variable that Butler 16 documents or sets is there under its name,
//! misspelt ones of its documentation included, and beside them a tidy form: `event`, `task`, `app`, `execution`, `log`,
//! `scriptLog`, `links`, `note`, `facts`. What is not known is not there, and prints nothing.

mod original;
mod tidy;

use butler_plugin_api::{Delivery, Instance};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::fit::{self, Cut};
use crate::time;

/// First and last lines of a script log, as many as the settings ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LogLines {
    pub(crate) head: Vec<String>,
    pub(crate) tail: Vec<String>,
}

/// How many lines the settings ask for; templates show them as well.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LineCounts {
    pub(crate) head: usize,
    pub(crate) tail: usize,
}

/// All that templates can show of one delivery.
pub(crate) struct Facts {
    /// What is the same however much is cut.
    base: Map<String, Value>,
    log: LogLines,
    details: Vec<Step>,
}

/// One step of a run.
struct Step {
    line: String,
    value: Value,
}

impl Facts {
    pub(crate) fn new(
        delivery: &Delivery,
        instance: &Instance,
        zone: &TimeZone,
        counts: LineCounts,
        log: LogLines,
    ) -> Self {
        let mut base = delivery.event.data.further();
        original::add(&mut base, delivery, instance, zone, counts);
        tidy::add(&mut base, delivery, instance, zone);
        Self { base, log, details: steps(delivery, zone) }
    }

    /// How many lines can be given up.
    pub(crate) fn lines(&self) -> usize {
        self.log.head.len() + self.log.tail.len() + self.details.len()
    }

    /// The variables, with as much of the long parts as the cut allows.
    pub(crate) fn context(&self, cut: Cut) -> Value {
        let mut left = cut.dropped;
        let mut drop = |lines: usize| {
            let dropped = left.min(lines);
            left -= dropped;
            dropped
        };
        let (head, tail) = (&self.log.head, &self.log.tail);
        let (no_head, no_tail, no_details) = (drop(head.len()), drop(tail.len()), drop(self.details.len()));
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
        for (name, value) in &mut context {
            // Texts of others only; what Butler puts together itself is short.
            if cut.text < usize::MAX && name != "links" && name != "genericUrls" {
                shorten(value, cut.text);
            }
        }
        if let Some(log) = context.get_mut("scriptLog") {
            log["head"] = head.clone().into();
            log["tail"] = tail.clone().into();
        }
        let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
        if cut != Cut::NONE {
            put("shortened", "Shortened, since Teams takes no larger messages".into());
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

/// The steps of the run in order of time, with the time forms of the original.
fn steps(delivery: &Delivery, zone: &TimeZone) -> Vec<Step> {
    let details = delivery.event.data.execution.iter().flat_map(|execution| &execution.details);
    let mut details: Vec<_> = details.collect();
    details.sort_by(|a, b| a.time.cmp(&b.time));
    let step = |detail: &butler_plugin_api::Detail| {
        let mut value = time::forms("timestamp", &detail.time, zone);
        value.insert("message".to_owned(), detail.message.clone().into());
        value.insert("detailsType".to_owned(), detail.detail_type.into());
        Step { line: format!("{}\t{}", detail.time, detail.message), value: value.into() }
    };
    details.into_iter().map(step).collect()
}

/// `reload-task.failed` as `Reload task failed`.
pub(crate) fn headline(kind: &str) -> String {
    let words = kind.replace(['-', '.'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
