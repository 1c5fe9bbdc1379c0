//! Where templates come from.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::template::{Format, Template, TemplateError};
use crate::event::kind;

/// Largest template file in bytes.
const LARGEST: u64 = 1 << 20;

/// A template that a plugin brings with it.
#[derive(Debug)]
pub struct BuiltIn {
    /// Patterns of the kinds of events that it is for: `*-task.*`.
    pub kinds: &'static [&'static str],
    /// Its name, for errors.
    pub name: &'static str,
    /// Handlebars.
    pub source: &'static str,
}

/// The templates of an instance: those that the plugin brings with it, one of the settings, or a file.
#[derive(Debug)]
pub struct Templates {
    source: Source,
    format: Format,
    /// By name, with the text that each was made of: compiling takes longer than rendering.
    compiled: Mutex<HashMap<String, (String, Arc<Template>)>>,
}

#[derive(Debug)]
enum Source {
    BuiltIn(&'static [BuiltIn]),
    Inline { name: String, source: String },
    File { shown: String, path: PathBuf },
}

impl Templates {
    /// Those of the plugin; the first whose pattern fits the kind is used.
    pub fn built_in(list: &'static [BuiltIn], format: Format) -> Self {
        Self::new(Source::BuiltIn(list), format)
    }

    /// A text of the settings; errors call it `name`.
    pub fn inline(name: &str, source: &str, format: Format) -> Self {
        Self::new(Source::Inline { name: name.to_owned(), source: source.to_owned() }, format)
    }

    /// A file, which is read for each message, so that edits work without a restart; errors call it `shown`.
    pub fn file(shown: &str, path: PathBuf, format: Format) -> Self {
        Self::new(Source::File { shown: shown.to_owned(), path }, format)
    }

    fn new(source: Source, format: Format) -> Self {
        Self { source, format, compiled: Mutex::default() }
    }

    /// Whether they are those of the plugin.
    pub fn is_built_in(&self) -> bool {
        matches!(self.source, Source::BuiltIn(_))
    }

    /// The template for a kind of events.
    pub fn of(&self, kind: &str) -> Result<Arc<Template>, TemplateError> {
        match &self.source {
            Source::BuiltIn(list) => {
                let fits = |one: &&BuiltIn| one.kinds.iter().any(|pattern| kind::matches(pattern, kind));
                let Some(found) = list.iter().find(fits) else {
                    return Err(TemplateError::new(
                        kind,
                        None,
                        "there is no built-in template for events of this kind",
                    ));
                };
                self.compile(found.name, found.source)
            }
            Source::Inline { name, source } => self.compile(name, source),
            Source::File { shown, path } => self.compile(shown, &read(shown, path)?),
        }
    }

    fn compile(&self, name: &str, source: &str) -> Result<Arc<Template>, TemplateError> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, template)) = compiled.get(name).filter(|(of, _)| of == source) {
            return Ok(template.clone());
        }
        let template = Arc::new(Template::new(name, source, self.format)?);
        compiled.insert(name.to_owned(), (source.to_owned(), template.clone()));
        Ok(template)
    }
}

/// Reads a template. The file is small and local.
fn read(shown: &str, path: &Path) -> Result<String, TemplateError> {
    let fail = |reason: String| TemplateError::new(shown, None, reason);
    let file =
        std::fs::File::open(path).map_err(|error| fail(format!("{} cannot be read: {error}", path.display())))?;
    let mut source = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut source);
    read.map_err(|error| fail(format!("{} cannot be read: {error}", path.display())))?;
    if source.len() as u64 > LARGEST {
        return Err(fail("a template of more than 1 MB is refused".to_owned()));
    }
    // A letter of an older code page costs that letter, as ever, and not the message.
    let source = String::from_utf8_lossy(&source).into_owned();
    // Editors on Windows put a byte order mark in front.
    Ok(source.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(source))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIST: &[BuiltIn] = &[
        BuiltIn { kinds: &["*-task.*"], name: "task", source: "task {{x}}" },
        BuiltIn { kinds: &["*"], name: "all", source: "other {{x}}" },
    ];

    fn text(templates: &Templates, kind: &str) -> Result<String, TemplateError> {
        templates.of(kind)?.text(&json!({ "x": "<1>" }))
    }

    #[test]
    fn the_first_pattern_that_fits_decides() {
        let templates = Templates::built_in(LIST, Format::Text);
        assert_eq!(text(&templates, "reload-task.failed").unwrap(), "task <1>");
        assert_eq!(text(&templates, "moon.risen").unwrap(), "other <1>");
        let none = Templates::built_in(&LIST[..1], Format::Text);
        assert!(text(&none, "moon.risen").unwrap_err().to_string().contains("no built-in template"));
    }

    #[test]
    fn a_template_is_compiled_again_only_when_its_text_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.handlebars");
        let templates = Templates::file("a.handlebars", path.clone(), Format::Html);
        assert!(text(&templates, "a.b").unwrap_err().to_string().contains("a.handlebars cannot be read"));
        std::fs::write(&path, "\u{feff}1 {{x}}").unwrap();
        let first = templates.of("a.b").unwrap();
        assert!(Arc::ptr_eq(&first, &templates.of("c.d").unwrap()));
        assert_eq!(text(&templates, "a.b").unwrap(), "1 &lt;1&gt;");
        std::fs::write(&path, "2 {{x}}").unwrap();
        assert_eq!(text(&templates, "a.b").unwrap(), "2 &lt;1&gt;");
        std::fs::write(&path, "{{#if x}}").unwrap();
        assert!(text(&templates, "a.b").unwrap_err().to_string().starts_with("template `a.handlebars`, line 1: "));
        std::fs::write(&path, b"M\xfcller {{x}}").unwrap();
        assert_eq!(text(&templates, "a.b").unwrap(), "M\u{fffd}ller &lt;1&gt;");
        std::fs::write(&path, "x".repeat((1 << 20) + 1)).unwrap();
        assert!(text(&templates, "a.b").unwrap_err().to_string().contains("more than 1 MB"));
    }
}
