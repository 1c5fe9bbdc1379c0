//! What became of each value of the old config.
//!
//! The host and several plugins may have read the same value. Of what they say of it, the weightiest counts: who has to do
//! something about it hears of it, whoever else took it over.

use std::collections::{BTreeMap, BTreeSet};

use butler_plugin_api::import::{Fate, Imported};

use super::names::Named;
use super::old::{Old, covers};
use crate::config::similar;

/// What became of a value; the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Somebody has to do something.
    ToDo,
    /// It is taken over, and means something a little different.
    Differs,
    /// It is taken over.
    Taken,
    /// It is left out.
    Dropped,
    /// It had no effect before either.
    NoEffect,
    /// Nobody knows it.
    Unknown,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// Path by the names of Butler 16.
    pub key: String,
    /// What became of it.
    pub outcome: Outcome,
    /// For people.
    pub text: String,
}

/// What somebody has made of the config.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Name of a plugin; `butler` for the host.
    pub name: String,
    /// Paths that were read, with all that is below each.
    pub used: BTreeSet<String>,
    /// What is to be told.
    pub notes: Vec<Note>,
}

impl Reader {
    /// From the answer of a plugin, or of the host's own part.
    pub fn new(name: &str, imported: &Imported) -> Self {
        let notes = imported.remarks.iter().map(|remark| Note {
            key: remark.key.clone(),
            outcome: match remark.fate {
                Fate::ToDo => Outcome::ToDo,
                Fate::Differs => Outcome::Differs,
                Fate::NoEffect => Outcome::NoEffect,
                // A later version may know more; then its text says what it is.
                _ => Outcome::Dropped,
            },
            text: remark.text.clone(),
        });
        Self { name: name.to_owned(), used: imported.used_keys.clone(), notes: notes.collect() }
    }

    /// Whether it has looked for something below a path.
    fn looked_below(&self, path: &str) -> bool {
        self.used.iter().any(|used| used != path && covers(path, used))
    }

    /// What it says of a value, and by which of its notes.
    fn says(&self, path: &str) -> Option<(Outcome, Option<usize>)> {
        let notes = self.notes.iter().enumerate().filter(|(_, note)| covers(&note.key, path));
        // The closest one; of several, the weightiest.
        let closest = notes.min_by_key(|(_, note)| (std::cmp::Reverse(note.key.len()), note.outcome));
        match closest {
            Some((index, note)) => Some((note.outcome, Some(index))),
            None => self.used.iter().any(|used| covers(used, path)).then_some((Outcome::Taken, None)),
        }
    }
}

/// A value of the old file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its line.
    pub line: usize,
    /// Its path in the file, below `Butler`.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Who has it.
    pub by: Vec<String>,
}

/// A note with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    /// Line in the file; `None` when it is about nothing in it.
    pub line: Option<usize>,
    /// Path in the file, below `Butler`.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// For people.
    pub text: String,
    /// Who says so.
    pub by: Vec<String>,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Each value once, by line.
    pub entries: Vec<Entry>,
    /// What is to be told, by line.
    pub told: Vec<Told>,
}

impl Account {
    /// Puts together what everybody says. `all_asked`: nobody who could know something was left out.
    pub fn new(old: &Old, named: &Named, readers: &[Reader], all_asked: bool) -> Self {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut counted: BTreeSet<(usize, usize)> = BTreeSet::new();
        let (mut unknown, mut empty) = (Vec::new(), Vec::new());
        for (path, in_file) in named.leaves() {
            let says: Vec<_> =
                readers.iter().enumerate().filter_map(|(r, reader)| Some((r, reader.says(&path)?))).collect();
            let mut outcome = says.iter().map(|(_, (outcome, _))| *outcome).min().unwrap_or(Outcome::Unknown);
            let chosen = says.iter().filter(|(_, (other, _))| *other == outcome);
            counted.extend(chosen.clone().filter_map(|(r, (_, note))| Some((*r, (*note)?))));
            let mut by: Vec<String> = chosen.map(|(r, _)| readers[*r].name.clone()).collect();
            if outcome == Outcome::Unknown {
                // A section without anything in it: who owns it has looked for what could be there.
                by = readers.iter().filter(|it| it.looked_below(&path)).map(|it| it.name.clone()).collect();
                if by.is_empty() {
                    unknown.push((path, in_file.clone()));
                } else {
                    outcome = Outcome::Dropped;
                    empty.push((in_file.clone(), by.clone()));
                }
            }
            let entry = Entry { line: old.line(&in_file), path: in_file.clone(), outcome, by };
            // What was one value in the file may be two here.
            let known = entries.get(&in_file).is_some_and(|known| known.outcome <= entry.outcome);
            if !known {
                entries.insert(in_file, entry);
            }
        }
        let mut account = Self::default();
        let leaves = named.leaves();
        for (r, reader) in readers.iter().enumerate() {
            for (n, note) in reader.notes.iter().enumerate() {
                // What one leaves out and another takes over is no news.
                if counted.contains(&(r, n)) || note.outcome <= Outcome::Differs {
                    account.tell(old, named, &leaves, note, &reader.name);
                }
            }
        }
        for (path, by) in empty {
            let text = "there is nothing in it".to_owned();
            account.told.push(Told { line: Some(old.line(&path)), path, outcome: Outcome::Dropped, text, by });
        }
        for (path, new) in &named.superseded {
            let text = format!("an older name of `{new}`, which is there as well and counts");
            entries.insert(
                path.clone(),
                Entry { line: old.line(path), path: path.clone(), outcome: Outcome::Dropped, by: Vec::new() },
            );
            account.told.push(Told {
                line: Some(old.line(path)),
                path: path.clone(),
                outcome: Outcome::Dropped,
                text,
                by: Vec::new(),
            });
        }
        account.entries = entries.into_values().collect();
        account.unknown(old, readers, &unknown, all_asked);
        account.entries.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        account.told.sort();
        account
    }

    fn tell(&mut self, old: &Old, named: &Named, leaves: &[(String, String)], note: &Note, by: &str) {
        let path = named.origin(&note.key).unwrap_or_else(|| note.key.clone());
        // What has moved may have its first value elsewhere.
        let first = || leaves.iter().filter(|(key, _)| covers(&note.key, key)).map(|(_, path)| old.line(path)).min();
        let line = if old.has(&path) { Some(old.line(&path)) } else { first() };
        let same = |told: &&mut Told| told.path == path && told.outcome == note.outcome && told.text == note.text;
        if let Some(told) = self.told.iter_mut().find(same) {
            if !told.by.iter().any(|name| name == by) {
                told.by.push(by.to_owned());
            }
            return;
        }
        self.told.push(Told { line, path, outcome: note.outcome, text: note.text.clone(), by: vec![by.to_owned()] });
    }

    /// Tells of what nobody has read, whole mappings at once.
    fn unknown(&mut self, old: &Old, readers: &[Reader], leaves: &[(String, String)], all_asked: bool) {
        let used: BTreeSet<&str> = readers
            .iter()
            .flat_map(|reader| {
                reader.used.iter().map(String::as_str).chain(reader.notes.iter().map(|note| note.key.as_str()))
            })
            .collect();
        let mut told = BTreeSet::new();
        for (path, in_file) in leaves {
            let top = unknown_part(path, &used);
            // Its place in the file: as much shorter as it is here, where the end is the same.
            let shown = in_file.strip_suffix(&path[top.len()..]).unwrap_or(in_file).to_owned();
            if !told.insert(shown.clone()) {
                continue;
            }
            let name = top.rsplit_once('.').map_or(top, |(_, name)| name);
            let beside = neighbours(top, &used);
            let meant = similar(name, beside.iter().map(String::as_str));
            let meant = meant.map(|meant| format!(", misspelt? There is `{meant}`")).unwrap_or_default();
            let unknown = if all_asked {
                "not known to Butler 16, which gave it no effect"
            } else {
                "nobody who was asked knows it: a plugin is missing, or it is not known to Butler 16"
            };
            let text = format!("{unknown}{meant}");
            self.told.push(Told {
                line: Some(old.line(&shown)),
                path: shown,
                outcome: Outcome::Unknown,
                text,
                by: Vec::new(),
            });
        }
        for name in &old.others {
            let text = "stands beside `Butler`, where Butler 16 takes nothing".to_owned();
            let (line, path) = (old.line_beside(name), format!("(root) {name}"));
            self.entries.push(Entry { line, path: path.clone(), outcome: Outcome::Unknown, by: Vec::new() });
            self.told.push(Told { line: Some(line), path, outcome: Outcome::Unknown, text, by: Vec::new() });
        }
    }

    /// How many values had this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }

    /// What is to be told of an outcome.
    pub fn of(&self, outcome: Outcome) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(move |told| told.outcome == outcome)
    }
}

/// The shortest beginning of a path of which nothing is known.
fn unknown_part<'p>(path: &'p str, used: &BTreeSet<&str>) -> &'p str {
    let ends = path.match_indices(['.', '[']).map(|(index, _)| index).filter(|index| *index > 0);
    let known = |part: &str| used.iter().any(|used| covers(part, used));
    ends.map(|end| &path[..end]).find(|part| !known(part)).unwrap_or(path)
}

/// The names that are known beside a path.
fn neighbours(path: &str, used: &BTreeSet<&str>) -> BTreeSet<String> {
    let above = path.rsplit_once('.').map_or("", |(above, _)| above);
    let below = |used: &&&str| above.is_empty() || covers(above, used);
    let name = |used: &&str| {
        let rest = if above.is_empty() { used } else { used[above.len()..].strip_prefix('.')? };
        rest.split(['.', '[']).next().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    used.iter().filter(below).filter_map(name).collect()
}

#[cfg(test)]
mod tests;
