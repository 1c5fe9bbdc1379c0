//! YAML to JSON, with the place of each key and value.
//!
//! The events of the parser are put together here and not by a ready-made loader, because a config is also an input: the
//! depth, the number of values and what aliases expand to are limited, and several faults are told at once.

use std::collections::HashMap;
use std::fmt::Write as _;

use saphyr::{Scalar, ScalarStyle};
use saphyr_parser::{Event, Marker, Parser, ScanError, Span};
use serde_json::{Map, Number, Value};

use super::report::{ConfigError, push_key, unescape};

/// Deepest nesting of lists and mappings, expanded aliases included.
const MOST_DEPTH: usize = 64;
/// Most values in a document, expanded aliases included; every 64 bytes of text count as one more.
const MOST_VALUES: usize = 200_000;
/// Longest key in bytes.
const LONGEST_KEY: usize = 256;
/// After so many errors the rest of the text is not looked at.
const MOST_ERRORS: usize = 200;

/// The merge key.
const MERGE: &str = "<<";

/// Line and column, from 1.
pub(crate) type Spot = (usize, usize);

/// Where a node stands, and where what is in it stands. What an alias stands for has no places, only the alias has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Its key, if it has one.
    pub key: Option<Spot>,
    /// The node itself.
    pub value: Spot,
    /// Of a list.
    items: Vec<Place>,
    /// Of a mapping.
    entries: HashMap<String, Place>,
}

impl Place {
    /// The place of the node at a JSON pointer or, if there is none, of the nearest one around it; and whether it is the
    /// node itself.
    pub fn find(&self, pointer: &str) -> (&Self, bool) {
        let mut place = self;
        for segment in pointer.split('/').skip(1) {
            let name = unescape(segment);
            let next = if place.items.is_empty() {
                place.entries.get(&name)
            } else {
                name.parse().ok().and_then(|index: usize| place.items.get(index))
            };
            match next {
                Some(next) => place = next,
                None => return (place, false),
            }
        }
        (place, true)
    }
}

/// A document.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    /// Its content.
    pub value: Value,
    /// The places of its nodes.
    pub place: Place,
}

/// Parses a text with at most one document. `None`: there is none, or it is empty.
pub(crate) fn parse(text: &str) -> Result<Option<Parsed>, Vec<ConfigError>> {
    build(text, Builder::default())
}

/// The same with merge keys (`<<`), as YAML 1.1 and Butler 16 have them: the entries of a mapping, or of several, are put in
/// where the mapping around it has none of its own. They have the place of the merge key.
pub(crate) fn parse_merging(text: &str) -> Result<Option<Parsed>, Vec<ConfigError>> {
    build(text, Builder { merges: true, ..Builder::default() })
}

fn build(text: &str, mut builder: Builder) -> Result<Option<Parsed>, Vec<ConfigError>> {
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event().filter(|_| builder.errors.len() < MOST_ERRORS) {
        let done = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(scan_error(text, &error)),
        };
        if let Err(error) = done {
            builder.errors.push(error);
            break;
        }
    }
    if !builder.errors.is_empty() {
        return Err(builder.errors);
    }
    Ok(builder.root.filter(|(value, _)| !value.is_null()).map(|(value, place)| Parsed { value, place }))
}

fn spot(marker: &Marker) -> Spot {
    (marker.line(), marker.col() + 1)
}

/// An error of the parser, with the remedy for the mistakes that people make.
fn scan_error(text: &str, error: &ScanError) -> ConfigError {
    let (line, column) = spot(error.marker());
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: usize| line.checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or_default();
    let indented_by_tab = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
    // What goes on in the next line is told at its beginning.
    let next = error.info().contains("found a tab").then_some(line + 1);
    let near = [Some(line), line.checked_sub(1), next].into_iter().flatten();
    if let Some(line) = near.into_iter().find(|&line| indented_by_tab(at(line))) {
        let column = at(line).chars().position(|c| c == '\t').unwrap_or(0) + 1;
        return ConfigError {
            line,
            column,
            path: String::new(),
            message: "a tab in the indentation: YAML allows only spaces there".to_owned(),
            suggestion: Some("replace it by spaces".to_owned()),
        };
    }
    // The parser's own limit, which it may reach before ours since it reads ahead.
    if error.info().contains("recursion limit") {
        let message = format!("lists and mappings are nested more than {MOST_DEPTH} deep");
        return ConfigError { line, column, path: String::new(), message, suggestion: None };
    }
    let suggestion = if at(line).contains("${") {
        Some("put texts with `${…}` into double quotes: \"${env:NAME}\"")
    } else if at(line).matches(": ").count() > 1 {
        Some("put texts with `: ` into quotes")
    } else {
        None
    };
    ConfigError {
        line,
        column,
        path: String::new(),
        message: format!("this is no valid YAML: {}", error.info()),
        suggestion: suggestion.map(str::to_owned),
    }
}

/// A finished node and what it costs.
#[derive(Clone)]
struct Built {
    value: Value,
    /// Number of values in it, itself included, as [`MOST_VALUES`] counts them.
    size: usize,
    /// Depth of lists and mappings in it, itself included.
    height: usize,
}

enum Content {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<(String, Spot)> },
}

/// A list or mapping that is not finished.
struct Frame {
    content: Content,
    anchor: usize,
    place: Place,
    size: usize,
    height: usize,
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    root: Option<(Value, Place)>,
    documents: usize,
    values: usize,
    errors: Vec<ConfigError>,
    /// Whether `<<` merges.
    merges: bool,
}

impl Builder {
    /// Takes an event. An error ends the parse; errors that need not end it are kept aside.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ConfigError> {
        let start = spot(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let error = self.error(start, "a second document begins here: the config is a single one");
                    return Err(ConfigError { suggestion: Some("remove the `---` line".to_owned()), ..error });
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.as_deref().is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    return Err(self.error(start, "tags (`!…`) are not supported"));
                }
                let value = if style == ScalarStyle::Plain && tag.is_none() {
                    text.parse::<u64>().ok().filter(|_| !text.starts_with('+')).map(Value::from)
                } else {
                    None
                };
                let (raw, size) = (text.to_string(), 1 + text.len() / 64);
                let value = match value {
                    Some(value) => value,
                    None => match Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref()) {
                        Some(scalar) => self.scalar(scalar, start)?,
                        None => return Err(self.error(start, "the value does not fit its tag")),
                    },
                };
                if self.wants_key() {
                    self.key(raw, &value, style, start)?;
                } else {
                    let place = Place { value: start, ..Place::default() };
                    self.finish(Built { value, size, height: 0 }, anchor, place, size)?;
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Content::List(Vec::new()), anchor, tag.is_none_or(|tag| tag.is_yaml_core_schema()), start)?;
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { entries: Map::new(), key: None };
                self.open(content, anchor, tag.is_none_or(|tag| tag.is_yaml_core_schema()), start)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut frame) = self.frames.pop() {
                    if self.merges {
                        self.merge(&mut frame)?;
                    }
                    let value = match frame.content {
                        Content::List(items) => Value::Array(items),
                        Content::Map { entries, .. } => Value::Object(entries),
                    };
                    let built = Built { value, size: frame.size, height: frame.height };
                    self.finish(built, frame.anchor, frame.place, 1)?;
                }
            }
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return Err(self.error(start, "a key must be a text, not an alias"));
                }
                let Some(built) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.error(start, "the alias stands within its own anchor"));
                };
                if self.frames.len() + built.height > MOST_DEPTH {
                    return Err(self.too_deep(start));
                }
                let size = built.size;
                self.finish(built, 0, Place { value: start, ..Place::default() }, size)?;
            }
        }
        Ok(())
    }

    fn scalar(&self, scalar: Scalar<'_>, start: Spot) -> Result<Value, ConfigError> {
        /// Up to here a floating point number holds each whole number exactly.
        const WHOLE: f64 = 9_007_199_254_740_992.0;
        Ok(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => value.into(),
            Scalar::Integer(value) => value.into(),
            Scalar::String(text) => text.into_owned().into(),
            Scalar::FloatingPoint(value) => {
                let value = value.into_inner();
                // `5.0` is a whole number for a schema, so it becomes one for what reads the value.
                if value.fract() == 0.0 && value.abs() < WHOLE {
                    #[allow(clippy::cast_possible_truncation, reason = "just checked")]
                    let whole = value as i64;
                    whole.into()
                } else if let Some(number) = Number::from_f64(value) {
                    number.into()
                } else {
                    let error = self.error(start, "is not a finite number");
                    return Err(ConfigError { suggestion: Some("if it is meant as a text, quote it".into()), ..error });
                }
            }
        })
    }

    fn wants_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, name: String, value: &Value, style: ScalarStyle, start: Spot) -> Result<(), ConfigError> {
        if name.len() > LONGEST_KEY {
            return Err(self.error(start, &format!("a key of more than {LONGEST_KEY} bytes")));
        }
        if style == ScalarStyle::Plain && name == MERGE && !self.merges {
            let error = self.error(start, "merging of mappings (`<<`) is not supported");
            let suggestion = Some("write the entries out, or use an alias for a whole value".to_owned());
            self.errors.push(ConfigError { suggestion, ..error });
        } else if !value.is_string() {
            let error = self.error(start, &format!("a key must be a text, and `{name}` is none"));
            self.errors.push(ConfigError { suggestion: Some(format!("quote it: \"{name}\"")), ..error });
        }
        let mut first = None;
        if let Some(Frame { content: Content::Map { key, .. }, place, .. }) = self.frames.last_mut() {
            first = place.entries.get(&name).map(|place| place.key.unwrap_or(place.value).0);
            *key = Some((name, start));
        }
        if let Some(line) = first {
            let error = self.error(start, &format!("the key is here a second time, first in line {line}"));
            self.errors.push(ConfigError { suggestion: Some("remove one of them".to_owned()), ..error });
        }
        Ok(())
    }

    fn open(&mut self, content: Content, anchor: usize, known_tag: bool, start: Spot) -> Result<(), ConfigError> {
        if !known_tag {
            return Err(self.error(start, "tags (`!…`) are not supported"));
        }
        if self.wants_key() {
            let error = self.error(start, "a key must be a text, not a list or mapping");
            let suggestion = Some("put texts with `{` or `[` into quotes".to_owned());
            return Err(ConfigError { suggestion, ..error });
        }
        if self.frames.len() >= MOST_DEPTH {
            return Err(self.too_deep(start));
        }
        let place = Place { value: start, ..Place::default() };
        self.frames.push(Frame { content, anchor, place, size: 1, height: 1 });
        Ok(())
    }

    /// Puts in what a merge key names.
    fn merge(&self, frame: &mut Frame) -> Result<(), ConfigError> {
        let Content::Map { entries, .. } = &mut frame.content else { return Ok(()) };
        let Some(named) = entries.remove(MERGE) else { return Ok(()) };
        let at = frame.place.entries.remove(MERGE).and_then(|place| place.key).unwrap_or(frame.place.value);
        // Of several the first counts.
        let mappings = if let Value::Array(several) = named { several } else { vec![named] };
        for mapping in mappings {
            let Value::Object(mapping) = mapping else {
                return Err(self.error(at, "a merge key (`<<`) takes a mapping, or a list of mappings"));
            };
            for (name, value) in mapping {
                if !entries.contains_key(&name) {
                    let place = Place { key: Some(at), value: at, ..Place::default() };
                    frame.place.entries.insert(name.clone(), place);
                    entries.insert(name, value);
                }
            }
        }
        Ok(())
    }

    /// Puts a finished node where it belongs. `cost`: how many values it adds to what was counted before.
    fn finish(&mut self, built: Built, anchor: usize, mut place: Place, cost: usize) -> Result<(), ConfigError> {
        // An anchor keeps a copy.
        self.values += if anchor == 0 { cost } else { cost + built.size };
        if self.values > MOST_VALUES {
            let error =
                self.error(place.value, "the file has too many values, each alias counted with all it stands for");
            return Err(ConfigError { path: String::new(), ..error });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        match self.frames.last_mut() {
            None => self.root = Some((built.value, place)),
            Some(frame) => {
                frame.size += built.size;
                frame.height = frame.height.max(built.height + 1);
                match &mut frame.content {
                    Content::List(items) => {
                        items.push(built.value);
                        frame.place.items.push(place);
                    }
                    Content::Map { entries, key } => {
                        if let Some((name, at)) = key.take() {
                            place.key = Some(at);
                            frame.size += name.len() / 64;
                            // Of a key that is here twice (an error already) the first counts.
                            frame.place.entries.entry(name.clone()).or_insert(place);
                            entries.entry(name).or_insert(built.value);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn error(&self, (line, column): Spot, message: &str) -> ConfigError {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.content {
                Content::List(items) => {
                    let _ = write!(path, "[{}]", items.len());
                }
                Content::Map { key: Some((name, _)), .. } => push_key(&mut path, name),
                Content::Map { key: None, .. } => {}
            }
        }
        ConfigError { line, column, path, message: message.to_owned(), suggestion: None }
    }

    fn too_deep(&self, start: Spot) -> ConfigError {
        let error = self.error(start, &format!("lists and mappings are nested more than {MOST_DEPTH} deep"));
        ConfigError { path: String::new(), ..error }
    }
}
