//! Reading a config of Butler 16, for [`Plugin::import`](crate::Plugin::import).
//!
//! [`Import`] hands out values by their path and remembers which were read, so that the host can tell its user of each
//! key what became of it. Paths are those of Butler 16 below `Butler`, with `[0]` for items of lists:
//! `teamsNotification.reloadTaskFailure.rateLimit`, `webhookNotification.serviceMonitor.webhooks[0].webhookURL`.
//!
//! The host has put the config into the form of Butler 16 before: names of older versions do not occur.

mod blocks;
mod chat;
mod frequency;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::plugin::OperationError;

pub use blocks::Block;

/// What the host asks with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImportInput {
    /// What stands below `Butler` in the old file.
    pub butler: Map<String, Value>,
    /// Folders at which relative paths of the old file may start, the likeliest first; absolute.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
}

/// What a plugin answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Imported {
    /// Entries for `plugins:` of the new config, without `use`.
    pub instances: Vec<Value>,
    /// Paths that were read; each stands for all that is below it.
    pub used_keys: BTreeSet<String>,
    /// What a person should know.
    pub remarks: Vec<Remark>,
    /// Secrets that were written out in the old file, by the file that is to hold each, relative to the new config; the
    /// instances name them as `${file:…}`.
    pub secrets: BTreeMap<String, String>,
    /// Profiles for `tls:` of the new config, by the names that the instances have for them.
    pub tls: BTreeMap<String, Value>,
}

/// Something to tell about a key of the old config.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Remark {
    /// Path of the key; what is below it is meant as well.
    pub key: String,
    /// What became of it.
    pub fate: Fate,
    /// For people: why, and what to do.
    pub text: String,
}

/// What became of a key that was not simply taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Fate {
    /// It is taken over, and means something a little different now.
    Differs,
    /// Somebody has to do something.
    ToDo,
    /// It is left out; the text says why.
    Dropped,
    /// It had no effect in Butler 16 either.
    NoEffect,
}

/// A config of Butler 16 that is being read.
#[derive(Debug)]
pub struct Import {
    old: Value,
    folders: Vec<PathBuf>,
    imported: Imported,
}

impl Import {
    /// From what [`Plugin::import`](crate::Plugin::import) was given.
    ///
    /// # Errors
    /// When it is not an [`ImportInput`].
    pub fn new(input: Value) -> Result<Self, OperationError> {
        let input: ImportInput = serde_json::from_value(input)
            .map_err(|error| OperationError::Failed(format!("the old config cannot be read: {error}")))?;
        Ok(Self { old: Value::Object(input.butler), folders: input.folders, imported: Imported::default() })
    }

    /// The answer.
    pub fn finish(self) -> Value {
        json!(self.imported)
    }

    /// Whether there is something at a path, null counting as nothing. Does not count as read.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).is_some_and(|value| !value.is_null())
    }

    /// Whether a key is written, with null or any other value. Does not count as read.
    pub fn is_written(&self, path: &str) -> bool {
        self.at(path).is_some()
    }

    /// The value at a path, which counts as read with all that is below it.
    pub fn value(&mut self, path: &str) -> Option<Value> {
        self.used(path);
        self.at(path).filter(|value| !value.is_null()).cloned()
    }

    /// A switch; `false` if it is absent or no boolean (which is remarked).
    pub fn flag(&mut self, path: &str) -> bool {
        self.typed(path, "true or false", Value::as_bool).unwrap_or_default()
    }

    /// A text, without blanks around it; `None` if it is absent, empty or no text (which is remarked). A `${` in it means
    /// nothing in the new config.
    pub fn text(&mut self, path: &str) -> Option<String> {
        let text = self.typed(path, "a text", |value| value.as_str().map(|text| text.trim().to_owned()))?;
        (!text.is_empty()).then(|| text.replace("${", "$${"))
    }

    /// A whole number of at least 0; others are remarked.
    pub fn number(&mut self, path: &str) -> Option<u64> {
        self.typed(path, "a whole number", |value| {
            // Numbers of JSON may be written with a fraction that is 0.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and small")]
            value.as_u64().or_else(|| {
                value
                    .as_f64()
                    .filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))
                    .map(|it| it as u64)
            })
        })
    }

    /// The pairs of a list of `{name, value}`; one whose value is no text is left out, and remarked.
    pub fn pairs(&mut self, path: &str) -> Vec<(String, String)> {
        (0..self.len(path)).filter_map(|item| self.pair(&format!("{path}[{item}]"))).collect()
    }

    /// The same for one item of such a list.
    pub fn pair(&mut self, item: &str) -> Option<(String, String)> {
        let value_at = format!("{item}.value");
        // Both are read, whatever the first is.
        let (name, value) = (self.text(&format!("{item}.name")), self.text(&value_at));
        let is_other = self.at(&value_at).is_some_and(|value| !value.is_null() && !value.is_string());
        (!is_other).then_some((name?, value.unwrap_or_default()))
    }

    /// How many items a list has; 0 if it is absent or no list (which is remarked). The list itself counts as read only
    /// if it is empty: its items are to be.
    pub fn len(&mut self, path: &str) -> usize {
        match self.at(path) {
            Some(Value::Array(items)) if !items.is_empty() => items.len(),
            Some(Value::Array(_) | Value::Null) | None => {
                self.used(path);
                0
            }
            Some(_) => {
                self.todo(path, "it is no list, and is left out");
                0
            }
        }
    }

    /// A secret: what is to be written into the new config in its place, `${file:secrets/…}`. The host writes the file.
    /// Blanks around it belong to it; `None` if there is nothing else.
    pub fn secret(&mut self, path: &str) -> Option<String> {
        // As it is: in a file `${` means nothing.
        let secret = self.typed(path, "a text", |value| value.as_str().map(str::to_owned))?;
        (!secret.trim().is_empty()).then(|| self.keep_secret(path, secret))
    }

    /// A secret without blanks in it, such as a token, a key or the value of a header: those around it, which mattered to
    /// nobody, are left out.
    pub fn token(&mut self, path: &str) -> Option<String> {
        let token = self.typed(path, "a text", |value| value.as_str().map(|text| text.trim().to_owned()))?;
        (!token.is_empty()).then(|| self.keep_secret(path, token))
    }

    fn keep_secret(&mut self, path: &str, secret: String) -> String {
        let file = format!("secrets/{}", path.replace(['[', ']'], "."));
        let file = file.trim_end_matches('.').replace("..", ".");
        self.imported.secrets.insert(file.clone(), secret);
        format!("${{file:{file}}}")
    }

    /// A file or folder of the old config: an absolute path. What is not found is remarked.
    pub fn path(&mut self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        if is_absolute(&text) {
            if !Path::new(&text).exists() {
                self.todo(path, &format!("`{text}` is not there on this machine"));
            }
            return Some(text);
        }
        let found = self.found(&text);
        if found.is_none() && !self.folders.is_empty() {
            self.todo(path, &format!("`{text}` is not found: Butler 16 looked from the folder it was started in"));
        }
        Some(found.unwrap_or_else(|| self.place(&text)))
    }

    /// When something is to be done, from a text such as `every 15 minutes`: the value of a setting `when`
    /// (`{ "every": "15m" }` or `{ "cron": …, "timeZone": "UTC" }`). What never worked, or worked otherwise than it reads,
    /// is remarked.
    pub fn when(&mut self, path: &str) -> Option<Value> {
        let text = self.text(path)?;
        match frequency::read(&text) {
            Ok(frequency::Frequency { when, differs }) => {
                if let Some(differs) = differs {
                    self.differs(path, &differs);
                }
                Some(when)
            }
            Err(problem) => {
                self.todo(path, &problem);
                None
            }
        }
    }

    /// Counts a path, with all that is below it, as read. So does a block on the way to it that is empty, and what stands there
    /// and is no block, which is remarked.
    pub fn used(&mut self, path: &str) {
        self.imported.used_keys.insert(path.to_owned());
        self.passed(path);
    }

    fn passed(&mut self, path: &str) {
        let Some((block, is_empty)) = self.last_block(path) else { return };
        if self.imported.used_keys.insert(block.clone()) && !is_empty {
            self.todo(&block, "it should have keys of its own, and is left out");
        }
    }

    /// An entry for `plugins:`, without `use`: `{ "name": …, "on": …, "settings": … }`.
    pub fn instance(&mut self, entry: Value) {
        self.imported.instances.push(entry);
    }

    /// The same, if the plugin takes the settings, which have their secrets in them then: what it cannot read, or its own rules,
    /// `check`, refuse, is left out, since Butler would not start with it. That is told as something to do about `path`.
    pub fn checked<S: DeserializeOwned>(
        &mut self,
        path: &str,
        entry: Value,
        check: impl FnOnce(S) -> Result<(), String>,
    ) {
        let settings = serde_json::from_value(self.plain(&entry["settings"])).map_err(|error| error.to_string());
        match settings.and_then(check) {
            Ok(()) => self.instance(entry),
            Err(why) => self.refused(path, &why),
        }
    }

    /// Settings that are left out, since the plugin would not start with them.
    fn refused(&mut self, path: &str, why: &str) {
        self.todo(path, &format!("it is left out, since its settings would be refused: {why}"));
    }

    /// Taken over, and a little different now. Told of a key that is not there as well, as [`todo`](Self::todo) is.
    pub fn differs(&mut self, path: &str, text: &str) {
        self.remark(path, Fate::Differs, text);
    }

    /// Somebody has to do something.
    pub fn todo(&mut self, path: &str, text: &str) {
        self.remark(path, Fate::ToDo, text);
    }

    /// Left out. Without effect if there is no such key.
    pub fn dropped(&mut self, path: &str, why: &str) {
        self.remark(path, Fate::Dropped, why);
    }

    /// It had no effect in Butler 16 either. Without effect here if there is no such key.
    pub fn no_effect(&mut self, path: &str, why: &str) {
        self.remark(path, Fate::NoEffect, why);
    }

    /// A section that is switched off: nothing of it is taken over.
    pub fn off(&mut self, path: &str) {
        self.dropped(path, "it is switched off");
    }

    /// The absolute path of a file or folder of the old config, if it is there.
    fn found(&self, text: &str) -> Option<String> {
        let here = Some(PathBuf::from(text)).filter(|_| is_absolute(text));
        let mut places = here.into_iter().chain(self.folders.iter().map(|folder| folder.join(text)));
        places.find(|place| place.exists()).map(|place| place.display().to_string())
    }

    /// Where it should be.
    fn place(&self, text: &str) -> String {
        match self.folders.first().filter(|_| !is_absolute(text)) {
            Some(folder) => folder.join(text).display().to_string(),
            None => text.to_owned(),
        }
    }

    fn remark(&mut self, path: &str, fate: Fate, text: &str) {
        // Of what is not there nothing is left out, but something may have to be done.
        if matches!(fate, Fate::ToDo | Fate::Differs) || self.is_written(path) {
            self.used(path);
            let remark = Remark { key: path.to_owned(), fate, text: text.to_owned() };
            // A key may be read more than once.
            if !self.imported.remarks.contains(&remark) {
                self.imported.remarks.push(remark);
            }
        } else {
            self.passed(path);
        }
    }

    fn typed<T>(&mut self, path: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        self.used(path);
        let value = self.at(path).filter(|value| !value.is_null())?;
        let typed = read(value);
        if typed.is_none() {
            self.todo(path, &format!("it should be {what}, and is left out"));
        }
        typed
    }

    fn at(&self, path: &str) -> Option<&Value> {
        steps(path).try_fold(&self.old, |value, step| step.of(value))
    }

    /// What is on the way to a path and has nothing below, or nothing that the path could mean; and whether it is empty.
    fn last_block(&self, path: &str) -> Option<(String, bool)> {
        let (mut value, mut gone) = (&self.old, String::new());
        for step in steps(path) {
            let Some(inner) = step.of(value) else {
                let (fits, is_empty) = match value {
                    Value::Object(fields) => (matches!(step, Step::Name(_)), fields.is_empty()),
                    Value::Array(items) => (matches!(step, Step::Item(_)), items.is_empty()),
                    other => (false, other.is_null()),
                };
                return (!gone.is_empty() && (!fits || is_empty)).then_some((gone, is_empty));
            };
            value = inner;
            step.add_to(&mut gone);
        }
        None
    }
}

/// A part of a path.
enum Step<'a> {
    Name(&'a str),
    Item(usize),
}

impl Step<'_> {
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Name(name) => value.get(name),
            Self::Item(item) => value.get(item),
        }
    }

    fn add_to(&self, path: &mut String) {
        match self {
            Self::Name(name) if path.is_empty() => path.push_str(name),
            Self::Name(name) => path.extend([".", name]),
            Self::Item(item) => path.extend(["[", &item.to_string(), "]"]),
        }
    }
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.').flat_map(|part| {
        let mut pieces = part.split('[');
        let name = pieces.next().unwrap_or_default();
        // What is no number leads nowhere, as no list has so many items.
        let item = |item: &str| item.trim_end_matches(']').parse().unwrap_or(usize::MAX);
        std::iter::once(Step::Name(name)).chain(pieces.map(move |piece| Step::Item(item(piece))))
    })
}

/// The path of a custom property of tasks, for a `where` of `on:`; `None` for a name that no path can have.
pub fn task_property(name: &str) -> Option<String> {
    if !name.contains(['.', '[', '\'']) {
        return Some(format!("task.customProperties.{name}"));
    }
    (!name.contains("']")).then(|| format!("task.customProperties['{name}']"))
}

/// On either system: an old config may be read on another machine than its own.
fn is_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with(['/', '\\']) || (bytes.len() > 2 && bytes[1] == b':' && bytes[0].is_ascii_alphabetic())
}

#[cfg(test)]
mod tests;
