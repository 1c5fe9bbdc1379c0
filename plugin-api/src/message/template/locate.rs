//! Finds the place in a template that a fault in its result comes from.
//!
//! The template is rendered once more with a mark before each piece: a number between two characters that no text holds.
//! The last mark before the fault tells the piece.

use handlebars::Template as Parsed;
use handlebars::template::{Parameter, TemplateElement};

const BEGIN: char = '\u{10F8B0}';
const END: char = '\u{10F8B1}';

/// A piece of a template: a line of it, and what is printed there; fixed text without.
pub(super) struct Mark {
    line: usize,
    prints: Option<String>,
}

/// Where the fault is.
pub(super) struct Found {
    pub(super) line: Option<usize>,
    /// ` of the result; {{x}} printed nothing`; to be appended to the error. Nothing of the result itself: facts are not for
    /// logs.
    pub(super) place: String,
}

/// Puts marks into a template.
pub(super) fn mark(template: &mut Parsed) -> Vec<Mark> {
    let mut marks = Vec::new();
    mark_into(template, &mut marks);
    marks
}

fn mark_into(template: &mut Parsed, marks: &mut Vec<Mark>) {
    let elements = std::mem::take(&mut template.elements);
    let mapping = std::mem::take(&mut template.mapping);
    for (index, mut element) in elements.into_iter().enumerate() {
        let Some(position) = mapping.get(index) else { continue };
        let prints = match &element {
            TemplateElement::RawString(_) => Some(None),
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                // Of a helper the first parameter says more than its name.
                let first = call.params.first().unwrap_or(&call.name);
                Some(Some(name_of(first).or_else(|| name_of(&call.name)).unwrap_or_else(|| "(…)".to_owned())))
            }
            _ => None,
        };
        if let Some(prints) = prints {
            template.elements.push(TemplateElement::RawString(format!("{BEGIN}{}{END}", marks.len())));
            template.mapping.push(position.clone());
            marks.push(Mark { line: position.0, prints });
        }
        for inner in super::inner_templates(&mut element) {
            mark_into(inner, marks);
        }
        template.elements.push(element);
        template.mapping.push(position.clone());
    }
}

fn name_of(parameter: &Parameter) -> Option<String> {
    parameter.as_name().map(str::to_owned)
}

/// Finds the fault in a result with marks.
pub(super) fn find(marked: &str, marks: &[Mark], error: &serde_json::Error) -> Found {
    let (text, places) = strip(marked);
    let at = offset(&text, error.line(), error.column());
    let before = places.iter().filter(|(offset, _)| *offset < at.max(1)).collect::<Vec<_>>();
    let Some((start, mark)) = before.last().and_then(|(start, number)| Some((*start, marks.get(*number)?))) else {
        return Found { line: None, place: " of the result".to_owned() };
    };
    let mut line = mark.line;
    if mark.prints.is_none() {
        line += text.get(start..at.saturating_sub(1).max(start)).unwrap_or_default().matches('\n').count();
    }
    // The variable whose text holds the fault, or else the one printed just before it.
    let culprit = before.iter().enumerate().rev().find_map(|(index, (start, number))| {
        let prints = marks.get(*number)?.prints.as_ref()?;
        let next = places.get(index + 1).map_or(text.len(), |(next, _)| *next);
        (at - start <= 60 || mark.prints.is_some()).then_some((prints, next == *start))
    });
    let place = match culprit {
        Some((name, true)) => format!(" of the result; `{name}` printed nothing"),
        Some((name, false)) => format!(" of the result; the last variable before is `{name}`"),
        None => " of the result".to_owned(),
    };
    Found { line: Some(line), place }
}

/// The text without marks, and at which byte each mark stood.
fn strip(marked: &str) -> (String, Vec<(usize, usize)>) {
    let mut text = String::with_capacity(marked.len());
    let mut places = Vec::new();
    let mut parts = marked.split(BEGIN);
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        if let Some((number, rest)) = part.split_once(END) {
            places.extend(number.parse().ok().map(|number| (text.len(), number)));
            text.push_str(rest);
        }
    }
    (text, places)
}

/// The byte after the place that serde_json names by line and column in bytes, both from 1; column 0 is the line break
/// before.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = if column == 0 { start.saturating_sub(1) } else { (start + column).min(text.len()) };
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}
