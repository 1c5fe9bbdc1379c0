//! Makes the message for a delivery: facts, template, size, and the plain card where that does not work out.

use std::io::Read;
use std::path::Path;

use butler_plugin_api::{Delivery, Event, ScriptLog};
use serde_json::Value;

use crate::context::{Facts, LineCounts, LogLines};
use crate::fit::{self, Cut};
use crate::settings::MessageType;
use crate::template::{Compiled, Makes, TemplateError};
use crate::{Teams, card};

/// The built-in templates, which are shipped as a start for own ones as well.
const TASK: (&str, &str) = ("task.handlebars", include_str!("../../../config/templates/teams/task.handlebars"));
const EVENT: (&str, &str) = ("event.handlebars", include_str!("../../../config/templates/teams/event.handlebars"));
/// The built-in text of basic messages.
const BASIC: (&str, &str) = ("built-in basic template", "{{summary}}");
/// A delivery with all facts, to try templates on.
const SAMPLE: &str = include_str!("sample.json");

/// Largest template file in bytes.
const LARGEST_TEMPLATE: u64 = 1 << 20;
/// Longest text of a basic message, in characters.
const LONGEST_BASIC: usize = 1000;

/// A message that is ready to be sent.
pub(crate) struct Message {
    pub(crate) json: String,
    /// What is wrong with the template; the message is the plain card then.
    pub(crate) trouble: Option<String>,
}

impl Teams {
    /// Always makes a message, whatever the template and the facts are like.
    pub(crate) async fn compose(&self, delivery: &Delivery) -> Message {
        let log = match self.post.message_type {
            MessageType::Formatted => self.log_lines(delivery.event.data.script_log.as_ref()).await,
            MessageType::Basic => LogLines::default(),
        };
        let facts = self.facts(delivery, log);
        match self.templated(&facts, &delivery.event) {
            Ok(Some(json)) => Message { json, trouble: None },
            Ok(None) => {
                let why = format!(
                    "The full card is larger than maxSize ({} bytes), even when shortened.",
                    self.post.max_size
                );
                tracing::warn!(event.id = %delivery.event.id, "the card does not fit maxSize; a plain one is sent");
                Message { json: self.plain(&facts, &why), trouble: None }
            }
            Err(error) => {
                let why = format!("This is the plain card, since the configured one failed: {error}");
                Message { json: self.plain(&facts, &why), trouble: Some(error.to_string()) }
            }
        }
    }

    /// Renders the templates of the settings for a sample. The error is for people.
    pub(crate) fn try_templates(&self) -> Result<(), String> {
        let sample: Delivery = serde_json::from_str(SAMPLE).map_err(|error| error.to_string())?;
        let log = sample.event.data.script_log.clone().unwrap_or_default();
        let facts = self.facts(&sample, LogLines { head: log.head, tail: log.tail });
        self.templated(&facts, &sample.event).map(drop).map_err(|error| error.to_string())
    }

    fn facts(&self, delivery: &Delivery, log: LogLines) -> Facts {
        let counts = LineCounts { head: self.post.head_lines, tail: self.post.tail_lines };
        Facts::new(delivery, self.host.instance(), &self.post.zone, counts, log)
    }

    /// None if the message does not fit even at its shortest.
    fn templated(&self, facts: &Facts, event: &Event) -> Result<Option<String>, TemplateError> {
        if self.post.message_type == MessageType::Basic {
            let (name, source) = self.post.basic_template.as_deref().map_or(BASIC, |text| ("basicTemplate", text));
            let template = Compiled::new(name, source, Makes::Text)?;
            let context = facts.context(Cut::NONE);
            let text = fit::cut(template.text(&context)?.trim(), LONGEST_BASIC);
            let json = self.finish(card::basic(&text, &context));
            return Ok(Some(json).filter(|json| json.len() <= self.post.max_size));
        }
        let template = if let Some((name, path)) = &self.post.template_file {
            Compiled::new(name, &read(name, path)?, Makes::Json)?
        } else {
            let (name, source) = if event.subject().ends_with("-task") { TASK } else { EVENT };
            Compiled::new(name, source, Makes::Json)?
        };
        fit::shorten(self.post.max_size, facts.lines(), |cut| Ok(self.finish(template.json(&facts.context(cut))?)))
    }

    /// Shorter and shorter, until it fits; the last one is small enough for every allowed `maxSize`.
    fn plain(&self, facts: &Facts, why: &str) -> String {
        let context = facts.context(Cut::at(Cut::last(facts.lines()), facts.lines()));
        let mut json = String::new();
        for max in [1000, 300, 100, 40] {
            json = self.finish(card::plain(&context, why, max));
            if json.len() <= self.post.max_size {
                break;
            }
        }
        json
    }

    fn finish(&self, value: Value) -> String {
        card::wrap(value, self.post.envelope).to_string()
    }

    /// The lines that the settings ask for. The event has some; only if those are too few the whole log is fetched.
    async fn log_lines(&self, log: Option<&ScriptLog>) -> LogLines {
        let Some(log) = log else { return LogLines::default() };
        let (head, tail) = (self.post.head_lines, self.post.tail_lines);
        let enough = |have: usize, want: usize| have >= want || u64::try_from(have).is_ok_and(|have| have >= log.rows);
        if !enough(log.head.len(), head) || !enough(log.tail.len(), tail) {
            match self.host.qlik().script_log(&log.reference).await {
                Ok(text) => {
                    let lines: Vec<&str> = text.lines().collect();
                    return LogLines { head: first(&lines, head), tail: last(&lines, tail) };
                }
                Err(error) => tracing::debug!("the card has fewer lines of the script log than it could: {error}"),
            }
        }
        LogLines { head: first(&log.head, head), tail: last(&log.tail, tail) }
    }
}

fn first(lines: &[impl AsRef<str>], count: usize) -> Vec<String> {
    lines.iter().take(count).map(|line| line.as_ref().to_owned()).collect()
}

fn last(lines: &[impl AsRef<str>], count: usize) -> Vec<String> {
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| line.as_ref().to_owned()).collect()
}

/// Reads a template. The file is small and local, and read anew for each message, so that edits work without a restart.
fn read(name: &str, path: &Path) -> Result<String, TemplateError> {
    let fail = |reason: String| TemplateError::new(name, None, reason);
    let file =
        std::fs::File::open(path).map_err(|error| fail(format!("{} cannot be read: {error}", path.display())))?;
    let mut source = String::new();
    let read = file.take(LARGEST_TEMPLATE + 1).read_to_string(&mut source);
    read.map_err(|error| fail(format!("{} cannot be read: {error}", path.display())))?;
    if source.len() as u64 > LARGEST_TEMPLATE {
        return Err(fail("a template of more than 1 MB is refused".to_owned()));
    }
    // Editors on Windows put a byte order mark in front.
    Ok(source.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(source))
}
