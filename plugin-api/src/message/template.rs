//! Handlebars as templates of Butler 16 expect it.
//!
//! The library differs from the original in what it takes (`dialect`), and in how values are printed, escaped and found. So
//! a compiled template is changed before it is used (`rewrite`): each place that prints a value, `{{x}}` as well as `{{{x}}}` and `{{&x}}`, becomes a call
//! of a helper of ours, and so does each look into a value (`list.length`). That gives
//!
//! * **one escaping for each format**, see [`Format`].
//! * **the original's forms**: a list prints its elements with commas between, a missing variable prints nothing. An
//!   object that has a name prints it, so `{{appStreamName}}` and `{{appStreamName.name}}` both work; other objects print
//!   as JSON.
//! * **no error for what is not there**: `list.name` prints nothing, `list.length` the number of elements.
//!
//! An unknown helper is an error. Errors name the template, the line, and the variable or helper.

mod commas;
mod dialect;
mod escape;
mod helpers;
mod locate;
mod partials;
mod rewrite;

use handlebars::template::TemplateElement;
use handlebars::{Handlebars, RenderError, RenderErrorReason, Template as Parsed, TemplateErrorReason};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// What a template makes; it decides how values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HTML. `{{x}}` is escaped as in the original (`& < > " ' `` ` `` =`), `{{{x}}}` and `{{&x}}` are not: they hold markup.
    Html,
    /// JSON. Every value is escaped as part of a JSON string, with two braces and with three, since templates of both
    /// styles exist and a quote or backslash in a task's name must not break either. With three braces nothing else can be
    /// meant: no variable holds JSON.
    Json,
    /// JSON for Slack. As `Json`, and `& < >` are the entities `&amp; &lt; &gt;`, as Slack asks for in all texts.
    SlackJson,
    /// Text. Nothing is escaped.
    Text,
    /// An address. `{{x}}` is percent-encoded, `{{{x}}}` is not: it holds an address.
    Url,
}

/// A template that does not work: which, in which line, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{template}`{}: {reason}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct TemplateError {
    template: String,
    line: Option<usize>,
    reason: String,
}

impl TemplateError {
    pub(super) fn new(template: &str, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self { template: template.to_owned(), line, reason: reason.into() }
    }
}

/// A template that has been read and found correct.
pub struct Template {
    name: String,
    registry: Handlebars<'static>,
    format: Format,
    source: Parsed,
    /// As the library got it.
    text: String,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

impl Template {
    /// `name` is for error messages.
    pub fn new(name: &str, source: &str, format: Format) -> Result<Self, TemplateError> {
        let text = dialect::translate(source);
        let source = Parsed::compile_with_name(&text, name.to_owned()).map_err(|error| {
            let line = error.pos().map(|(line, _)| line);
            TemplateError::new(name, line, explain_syntax(&text, line, error.reason()))
        })?;
        if let Some((line, reason)) = partials::fault(&source) {
            return Err(TemplateError::new(name, Some(line), reason));
        }
        let mut registry = Handlebars::new();
        helpers::register(&mut registry);
        registry.register_escape_fn(match format {
            Format::Html => handlebars::html_escape,
            Format::Json => escape::json,
            Format::SlackJson => escape::slack_json,
            Format::Text => handlebars::no_escape,
            Format::Url => escape::url,
        });
        let mut template = source.clone();
        rewrite::rewrite(&mut template, format);
        registry.register_template(name, template);
        Ok(Self { name: name.to_owned(), registry, format, source, text })
    }

    /// Renders to text, of at most 4 MB.
    pub fn text(&self, context: &Value) -> Result<String, TemplateError> {
        self.render(&self.registry, context).map_err(|error| self.explain(&error))
    }

    fn render(&self, registry: &Handlebars<'_>, context: &Value) -> Result<String, RenderError> {
        let mut out = Bounded(Vec::new());
        registry.render_to_write(&self.name, context, &mut out)?;
        Ok(String::from_utf8_lossy(&out.0).into_owned())
    }

    /// Renders to a JSON object. Commas before the end of a list or an object are left out, as templates that leave out
    /// the last element make them. An error tells where in the template what is no JSON came from.
    pub fn json(&self, context: &Value) -> Result<Value, TemplateError> {
        match self.read(context)?.0 {
            object @ Value::Object(_) => Ok(object),
            _ => Err(TemplateError::new(&self.name, None, "the result is JSON, but no object")),
        }
    }

    /// Renders to the text of JSON of any kind, with its fields in the order of the template. Else as [`json`](Self::json).
    pub fn json_text(&self, context: &Value) -> Result<String, TemplateError> {
        Ok(self.read::<IgnoredAny>(context)?.1)
    }

    /// What JSON makes of the result, and the text that it is made of.
    fn read<T: DeserializeOwned>(&self, context: &Value) -> Result<(T, String), TemplateError> {
        let text = self.text(context)?;
        let error = match serde_json::from_str(&text) {
            Ok(value) => return Ok((value, text)),
            Err(error) => error,
        };
        let mended = commas::without_last(&text);
        if let Ok(value) = serde_json::from_str(&mended) {
            return Ok((value, mended));
        }
        Err(self.explain_json(&error, context))
    }

    /// Where in the template what is no JSON came from.
    fn explain_json(&self, error: &serde_json::Error, context: &Value) -> TemplateError {
        let mut marked = self.source.clone();
        let marks = locate::mark(&mut marked);
        rewrite::rewrite(&mut marked, self.format);
        let mut registry = self.registry.clone();
        registry.register_template(&self.name, marked);
        // Marks hardly change what is rendered: this fails at most for its size.
        let marked = self.render(&registry, context).unwrap_or_default();
        let found = locate::find(&marked, &marks, error);
        let line = found.line.and_then(|line| self.text.lines().nth(line.saturating_sub(1)));
        let line = line.map(|line| format!("; the line is `{}`", super::cut(line.trim(), 80)));
        let reason = format!("the result is not JSON: {error}{}{}", found.place, line.unwrap_or_default());
        TemplateError::new(&self.name, found.line, reason)
    }

    fn explain(&self, error: &RenderError) -> TemplateError {
        let reason = match error.reason() {
            RenderErrorReason::HelperNotFound(name) => format!("there is no helper `{name}`"),
            RenderErrorReason::IOError(_) => {
                format!("it makes more than {} MB: are there loops within loops?", LARGEST >> 20)
            }
            other => other.to_string(),
        };
        TemplateError::new(&self.name, error.line_no, reason)
    }
}

/// Largest result in bytes. No destination takes nearly as much.
const LARGEST: usize = 4 << 20;

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The library tells what its grammar expected, by the grammar's own names; the place in the template helps more.
fn explain_syntax(source: &str, line: Option<usize>, reason: &TemplateErrorReason) -> String {
    let TemplateErrorReason::InvalidSyntax(expected) = reason else { return reason.to_string() };
    let text = line.and_then(|line| source.lines().nth(line.saturating_sub(1))).unwrap_or_default();
    let text: String = text.trim().chars().take(60).collect();
    let is_open = expected.contains("helper_block_end") && line.is_some_and(|line| line >= source.lines().count());
    let hint = if is_open { "; is a block such as `{{#if …}}` not closed?" } else { "" };
    format!("this is not Handlebars, near `{text}`{hint}")
}

/// The templates inside a block.
fn inner_templates(element: &mut TemplateElement) -> impl Iterator<Item = &mut Parsed> {
    let (first, second) = match element {
        TemplateElement::HelperBlock(block) => (block.template.as_mut(), block.inverse.as_mut()),
        TemplateElement::DecoratorBlock(block) | TemplateElement::PartialBlock(block) => {
            (block.template.as_mut(), None)
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

#[cfg(test)]
mod tests;
