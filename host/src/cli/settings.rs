//! `butler plugins settings`: the settings of a plugin as a table, from its schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::OptionalConfigFile;
use crate::config::Document;
use crate::config::schema_nodes::{forms, referred};
use crate::plugins::{SearchPath, open_file};

/// Deepest that settings are looked into.
const MOST_DEPTH: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Plugin.
    #[arg(value_name = "NAME")]
    plugin: String,
    #[command(flatten)]
    file: OptionalConfigFile,
}

impl Settings {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dirs = match &self.file.config {
            Some(path) => Document::read(path)?.plugin_dirs(),
            None => Vec::new(),
        };
        let found = SearchPath::new(&dirs).files().into_iter().find(|(name, _)| *name == self.plugin);
        let (_, path) = found.with_context(|| {
            format!("there is no plugin `{}` in the search path; `butler plugins list` has all", self.plugin)
        })?;
        print!("{}", table(&open_file(&path, None)?.manifest().settings_schema));
        Ok(())
    }
}

/// A table in Markdown.
fn table(schema: &Value) -> String {
    let mut table = Table { schema, expanded: BTreeMap::new(), rows: Vec::new() };
    let whole = Part { node: schema, definition: None, suffix: String::new(), is_alternative: false };
    table.properties(&whole, "", 0);
    if table.rows.is_empty() {
        return "It has no settings.\n".to_owned();
    }
    let rows = table.rows.iter().map(|row| row.replace('\n', " "));
    "| setting | default | meaning |\n| --- | --- | --- |\n".to_owned()
        + &rows.map(|row| row + "\n").collect::<String>()
}

struct Table<'a> {
    schema: &'a Value,
    /// Definitions that have rows, with the setting that these are below.
    expanded: BTreeMap<&'a str, String>,
    rows: Vec<String>,
}

/// What a setting consists of: an object with settings of its own.
struct Part<'a> {
    node: &'a Value,
    /// Reference to the definition, if it has one.
    definition: Option<&'a str>,
    /// `[]` for items of a list, `.NAME` for values of a map.
    suffix: String,
    /// One of several: what it needs is needed only if it is chosen.
    is_alternative: bool,
}

/// What there is to say of a setting beyond its own node.
#[derive(Default)]
struct Inside<'a> {
    parts: Vec<Part<'a>>,
    description: Option<String>,
    /// Values of enumerations, with what each means.
    choices: Vec<(&'a str, String)>,
}

impl<'a> Table<'a> {
    /// Rows for the properties of an object: those that are needed come first.
    fn properties(&mut self, part: &Part<'a>, prefix: &str, depth: usize) {
        let node = part.node;
        let Some(properties) = node.get("properties").and_then(Value::as_object) else { return };
        let needed = node.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_needed = |name: &str| !part.is_alternative && needed.iter().any(|it| it == name);
        // What a variant of an enumeration means stands beside its only property.
        let variant = if part.is_alternative && properties.len() == 1 { description(node) } else { None };
        let (first, others): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| is_needed(name));
        for (name, property) in first.into_iter().chain(others) {
            self.property(&format!("{prefix}{name}"), property, is_needed(name), variant.clone(), depth);
        }
    }

    fn property(&mut self, setting: &str, property: &'a Value, is_needed: bool, variant: Option<String>, depth: usize) {
        let mut inside = Inside::default();
        self.look(property, None, "", false, &mut inside, 0);
        let default = match property.get("default") {
            _ if is_needed => "needed".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{}`", brief(default)),
        };
        let mut meaning = variant.or_else(|| description(property)).or(inside.description).unwrap_or_default();
        for (choice, what) in inside.choices {
            let choice = format!("`{choice}`");
            if !meaning.contains(&choice) {
                // Writing to a text cannot fail.
                let _ =
                    if what.is_empty() { write!(meaning, " {choice}.") } else { write!(meaning, " {choice}: {what}") };
            }
        }
        let row = self.rows.len();
        self.rows.push(String::new());
        for part in inside.parts.iter().filter(|_| depth < MOST_DEPTH) {
            if let Some(known) = part.definition.and_then(|name| self.expanded.get(name)) {
                let _ = write!(meaning, " With settings as `{known}`.");
                continue;
            }
            let path = format!("{setting}{}", part.suffix);
            if let Some(name) = part.definition {
                self.expanded.insert(name, path.clone());
            }
            self.properties(part, &format!("{path}."), depth + 1);
        }
        self.rows[row] = format!("| `{setting}` | {default} | {} |", meaning.trim().replace('|', "\\|"));
    }

    /// Follows references, alternatives, items of lists and values of maps.
    fn look(
        &self,
        node: &'a Value,
        definition: Option<&'a str>,
        suffix: &str,
        is_alternative: bool,
        inside: &mut Inside<'a>,
        depth: usize,
    ) {
        if depth > MOST_DEPTH {
            return;
        }
        if depth > 0 && inside.description.is_none() {
            inside.description = description(node);
        }
        if let Some((reference, defined)) = referred(node, self.schema) {
            self.look(defined, Some(reference), suffix, is_alternative, inside, depth + 1);
        }
        if node.get("properties").is_some() {
            inside.parts.push(Part { node, definition, suffix: suffix.to_owned(), is_alternative });
        }
        inside.choices.extend(choices(node));
        let alternatives = forms(node);
        // Each of several has a name of its own, if any: they are not the definition that lists them.
        let (definition, one_of_several) =
            if alternatives.len() > 1 { (None, true) } else { (definition, is_alternative) };
        for one in alternatives.into_iter().filter(|one| one.get("const").is_none()) {
            self.look(one, definition, suffix, one_of_several, inside, depth + 1);
        }
        if let Some(items) = node.get("items") {
            self.look(items, None, &format!("{suffix}[]"), false, inside, depth + 1);
        }
        if let Some(values) = node.get("additionalProperties").filter(|it| it.is_object()) {
            self.look(values, None, &format!("{suffix}.NAME"), false, inside, depth + 1);
        }
    }
}

fn description(node: &Value) -> Option<String> {
    node.get("description").and_then(Value::as_str).map(str::to_owned)
}

/// The values of an enumeration, with what each means.
fn choices(node: &Value) -> Vec<(&str, String)> {
    let listed = node.get("enum").and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(Value::as_str).map(|choice| (choice, String::new()));
    let described = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described =
        described.filter_map(|one| Some((one.get("const")?.as_str()?, description(one).unwrap_or_default())));
    listed.chain(described).collect()
}

/// A default as one would write it.
fn brief(default: &Value) -> String {
    match default {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let field = |(name, value)| format!("{name}: {}", brief(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn a_schema_becomes_a_table() {
        let schema = json!({
            "properties": {
                "after": { "description": "A second\nline.", "default": { "every": "6h" }, "$ref": "#/$defs/When" },
                "also": { "$ref": "#/$defs/When", "description": "Too." },
                "rules": { "type": "array", "items": { "$ref": "#/$defs/Rule" }, "default": [1, "a"] },
                "by": { "type": "object", "additionalProperties": { "$ref": "#/$defs/Rule" }, "description": "By name." },
                "place": { "description": "Where.", "default": { "here": {} }, "$ref": "#/$defs/Place" },
                "url": { "type": "string", "description": "Address | place." },
                "users": { "type": "array", "items": { "$ref": "#/$defs/Who" }, "description": "Who." },
                "way": { "anyOf": [{ "$ref": "#/$defs/Way" }, { "type": "null" }], "default": null, "description": "How: `up`." },
            },
            "required": ["url"],
            "$defs": {
                "Place": { "oneOf": [
                    { "description": "Here.", "properties": { "here": { "$ref": "#/$defs/Here" } }, "required": ["here"] },
                    { "description": "By road.", "properties": { "there": { "$ref": "#/$defs/There" } }, "required": ["there"] },
                ] },
                "Here": { "description": "Not shown.", "properties": { "floor": { "description": "Which." } } },
                "There": { "properties": { "road": { "description": "Its name." } }, "required": ["road"] },
                "Who": { "anyOf": [{ "type": "string" }, { "properties": { "id": { "description": "Id." } }, "required": ["id"] }] },
                "When": { "properties": { "every": { "description": "So often." } } },
                "Rule": { "description": "Rules.", "properties": { "events": { "description": "Kinds." } } },
                "Way": { "oneOf": [{ "const": "up", "description": "Upwards." }, { "const": "down", "description": "Downwards." }] },
            },
        });
        insta::assert_snapshot!(table(&schema), @r"
        | setting | default | meaning |
        | --- | --- | --- |
        | `url` | needed | Address \| place. |
        | `after` | `{ every: 6h }` | A second line. |
        | `after.every` |  | So often. |
        | `also` |  | Too. With settings as `after`. |
        | `by` |  | By name. |
        | `by.NAME.events` |  | Kinds. |
        | `place` | `{ here: {} }` | Where. |
        | `place.here` |  | Here. |
        | `place.here.floor` |  | Which. |
        | `place.there` |  | By road. |
        | `place.there.road` | needed | Its name. |
        | `rules` | `[1, a]` | Rules. With settings as `by.NAME`. |
        | `users` |  | Who. |
        | `users[].id` |  | Id. |
        | `way` |  | How: `up`. `down`: Downwards. |
        ");
        assert_eq!(table(&json!({ "type": "object" })), "It has no settings.\n");
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({ "properties": { "a": { "$ref": "#/$defs/A" } },
            "$defs": { "A": { "properties": { "a": { "$ref": "#/$defs/A" } } }, "B": { "$ref": "#/$defs/B" } } });
        assert_eq!(table(&schema).lines().count(), 4);
        assert!(
            table(&json!({ "properties": { "b": { "$ref": "#/$defs/B" } }, "$defs": schema["$defs"] })).contains("`b`")
        );
    }
}
