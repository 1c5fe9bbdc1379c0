//! Adds our appenders to a file that other tools have written.
//!
//! The file is parsed to find where things stand, and its text is changed only there: whatever is not ours stays as it is,
//! to the last blank.

use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};

use super::appenders::{Service, Target};
use super::{MAX_SIZE, write};

/// Elements, comments and texts of a file, at most: more than any log4net configuration has, and little memory.
const MAX_NODES: u32 = 20_000;

/// Children of the root by which a log4net configuration is known.
const KNOWN: [&str; 4] = ["appender", "logger", "root", "category"];

/// Why a file is not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There is nothing in it.
    #[error(
        "the file is empty. If the output goes to the same file, the shell has emptied it: write to another one, and \
         restore this one. Without `--merge` a whole file is written"
    )]
    Empty,
    /// It is too long.
    #[error("the file has more than 1 MB, which Qlik Sense refuses: remove what is not needed from it")]
    TooLong,
    /// It would become too long.
    #[error("with Butler's appenders the file has more than 1 MB, which Qlik Sense refuses: remove what is not needed")]
    BecomesTooLong,
    /// It is in another encoding.
    #[error("the file is not in UTF-8: save it in that encoding, and say so in its first line (encoding=\"utf-8\")")]
    Encoding,
    /// The parser refuses it.
    #[error("the file is not well-formed XML, which Qlik Sense refuses as well: {0}; mend it, or restore a former one")]
    NotWellFormed(roxmltree::Error),
    /// It has a document type.
    #[error("the file has a DOCTYPE, which a LocalLogConfig.xml does not need: remove it")]
    Doctype,
    /// It has very many elements.
    #[error("the file has more elements than a log4net configuration ever has: is it the right one?")]
    TooManyElements,
    /// Its root is another one.
    #[error("the root of the file is <{0}> and not <configuration>: name the LocalLogConfig.xml of the service")]
    Root(String),
    /// Nothing in it is of log4net.
    #[error(
        "there is neither an <appender> nor a <logger> directly below the root of the file: this is no log4net \
         configuration; name the LocalLogConfig.xml of the service"
    )]
    NotLog4net,
}

impl From<roxmltree::Error> for MergeError {
    fn from(error: roxmltree::Error) -> Self {
        match error {
            roxmltree::Error::DtdDetected => Self::Doctype,
            roxmltree::Error::NodesLimitReached => Self::TooManyElements,
            error => Self::NotWellFormed(error),
        }
    }
}

/// The file with our appenders for a service, which send to `target`, and with everything else that was in it. Ours that are
/// there already are replaced. Merging the result again changes nothing.
pub fn merge(file: &[u8], service: Service, target: &Target) -> Result<String, MergeError> {
    if file.len() > MAX_SIZE {
        return Err(MergeError::TooLong);
    }
    let text = std::str::from_utf8(file).map_err(|_| MergeError::Encoding)?;
    if text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').is_empty() {
        return Err(MergeError::Empty);
    }
    let text = opened(text, service)?;
    let document = parse(&text)?;
    let root = document.root_element();
    let mut edits = Edits { text: &text, edits: Vec::new() };
    edits.appenders(root, service, target);
    edits.loggers(root, service);
    let merged = edits.made();
    if merged.len() > MAX_SIZE { Err(MergeError::BecomesTooLong) } else { Ok(merged) }
}

/// Parses a file and checks that it is one of log4net.
fn parse(text: &str) -> Result<Document<'_>, MergeError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)?;
    if declared_encoding(text).is_some_and(|name| !["utf-8", "us-ascii"].contains(&name.to_lowercase().as_str())) {
        return Err(MergeError::Encoding);
    }
    let root = document.root_element();
    if !is(root, "configuration") {
        let namespace = root.tag_name().namespace().map(|name| format!(" xmlns=\"{name}\"")).unwrap_or_default();
        return Err(MergeError::Root(root.tag_name().name().to_owned() + &namespace));
    }
    let mut elements = root.children().filter(Node::is_element).peekable();
    if elements.peek().is_some() && !elements.any(|child| KNOWN.iter().any(|name| is(child, name))) {
        return Err(MergeError::NotLog4net);
    }
    Ok(document)
}

/// The file with a closing tag of their own for those elements that something is to be added to.
fn opened(text: &str, service: Service) -> Result<String, MergeError> {
    let document = parse(text)?;
    let root = document.root_element();
    let loggers = write::loggers(service);
    let loggers = loggers.iter().filter_map(|(name, _)| children(root, "logger", "name", name).next_back());
    let mut edits = Edits { text, edits: Vec::new() };
    for element in loggers.chain([root]) {
        if let Some(start) = text[element.range()].strip_suffix("/>") {
            let from = element.range().start + start.trim_end().len();
            edits.replace(from..element.range().end, &format!("></{}>", element.tag_name().name()));
        }
    }
    Ok(edits.made())
}

/// The encoding that the first line names. The parser has seen that it is well-formed.
fn declared_encoding(text: &str) -> Option<&str> {
    let declaration = text.trim_start_matches('\u{feff}').strip_prefix("<?xml")?.split_once("?>")?.0;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split_once(quote).map(|(name, _)| name)
}

/// Whether a node is the element of this name, in no namespace.
fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().namespace().is_none() && node.tag_name().name() == name
}

/// The children of this name whose attribute has this value.
fn children<'a, 'i: 'a>(
    parent: Node<'a, 'i>,
    name: &'static str,
    attribute: &'static str,
    value: &'a str,
) -> impl DoubleEndedIterator<Item = Node<'a, 'i>> {
    parent.children().filter(move |child| is(*child, name) && child.attribute(attribute) == Some(value))
}

fn last_child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    parent.children().rfind(|child| is(*child, name))
}

/// Changes of a text. Those at one place are made in the order in which they were noted.
struct Edits<'t> {
    text: &'t str,
    edits: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn appenders(&mut self, root: Node<'_, '_>, service: Service, target: &Target) {
        let mut missing = Vec::new();
        for appender in service.appenders() {
            let ours = write::appender(appender, target);
            let mut found = false;
            for node in children(root, "appender", "name", appender.name) {
                found = true;
                self.replace(node.range(), &ours);
            }
            if !found {
                missing.push(ours);
            }
        }
        // Qlik's schema wants appenders before loggers.
        let first = root.children().find(|child| !child.is_text());
        for ours in missing {
            match (last_child(root, "appender"), first) {
                (Some(last), _) => self.insert(last.range().end, &format!("\n\n  {ours}")),
                (None, Some(first)) => {
                    let at = first.range().start;
                    let indent = self.indent(at).to_owned();
                    self.insert(at, &format!("{ours}\n\n{indent}"));
                }
                (None, None) => self.append(root, &format!("\n  {ours}\n")),
            }
        }
    }

    fn loggers(&mut self, root: Node<'_, '_>, service: Service) {
        for (name, references) in write::loggers(service) {
            if let Some(logger) = children(root, "logger", "name", name).next_back() {
                self.references(logger, &references);
                continue;
            }
            let ours = write::logger(name, &references);
            let last = last_child(root, "logger").or_else(|| root.children().rfind(Node::is_element));
            match last {
                Some(last) => self.insert(last.range().end, &format!("\n\n  {ours}")),
                None => self.append(root, &format!("\n  {ours}\n")),
            }
        }
    }

    /// Adds the references that a logger does not have.
    fn references(&mut self, logger: Node<'_, '_>, references: &[&str]) {
        let missing = references.iter().filter(|name| children(logger, "appender-ref", "ref", name).next().is_none());
        let last = last_child(logger, "appender-ref").or_else(|| logger.children().rfind(Node::is_element));
        for name in missing {
            let ours = write::reference(name);
            match last {
                Some(last) => {
                    let indent = self.indent(last.range().start).to_owned();
                    self.insert(last.range().end, &format!("\n{indent}{ours}"));
                }
                None => self.append(logger, &format!("\n    {ours}\n  ")),
            }
        }
    }

    /// The blanks between the begin of a line and this place in it; two where there is something else.
    fn indent(&self, at: usize) -> &str {
        let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = &self.text[line..at];
        if before.chars().all(|c| c == ' ' || c == '\t') { before } else { "  " }
    }

    /// Adds something before the closing tag of an element.
    fn append(&mut self, element: Node<'_, '_>, addition: &str) {
        let range = element.range();
        // It has one: see `opened`. Nothing within a closing tag looks like the begin of one.
        if let Some(closing) = self.text[range.clone()].rfind("</") {
            self.insert(range.start + closing, addition);
        }
    }

    fn insert(&mut self, at: usize, addition: &str) {
        self.replace(at..at, addition);
    }

    fn replace(&mut self, range: Range<usize>, by: &str) {
        self.edits.push((range, lines(self.text, by)));
    }

    fn made(mut self) -> String {
        // What is added at a place comes before what is replaced from there on.
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut made =
            String::with_capacity(self.text.len() + self.edits.iter().map(|(_, by)| by.len()).sum::<usize>());
        let mut done = 0;
        for (range, by) in &self.edits {
            made.push_str(&self.text[done..range.start]);
            made.push_str(by);
            done = range.end;
        }
        made + &self.text[done..]
    }
}

/// Our text with the line ends of the file.
fn lines(file: &str, ours: &str) -> String {
    if file.contains("\r\n") { ours.replace('\n', "\r\n") } else { ours.to_owned() }
}

#[cfg(test)]
mod tests;
