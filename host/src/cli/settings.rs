//! `butler plugins settings`: the settings of a plugin as a table, from its schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use super::OptionalConfigFile;
use crate::config::Document;
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
    table.properties(schema, "", 0);
    if table.rows.is_empty() {
        return "It has no settings.\n".to_owned();
    }
    let rows = table.rows.iter().map(|row| row.replace('\n', " "));
    "| setting | default | meaning |\n| --- | --- | --- |\n".to_owned() + &rows.map(|row| row + "\n").collect::<String>()
}

struct Table<'a> {
    schema: &'a Value,
    /// Definitions that have rows, with the setting that these are below.
    expanded: BTreeMap<&'a str, String>,
    rows: Vec<String>,
}

/// What a setting consists of.
struct Inside<'a> {
    node: &'a Value,
    /// Name of the definition, if it has one.
    definition: Option<&'a str>,
    /// `[]` for items of a list, `.NAME` for values of a map.
    suffix: String,
}

impl<'a> Table<'a> {
    /// Rows for the properties of an object: those that are needed come first.
    fn properties(&mut self, node: &'a Value, prefix: &str, depth: usize) {
        let Some(properties) = node.get("properties").and_then(Value::as_object) else { return };
        let needed = node.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (first, others): (Vec<_>, Vec<_>) =
            properties.iter().partition(|(name, _)| needed.iter().any(|it| it == name.as_str()));
        let first = first.into_iter().map(|it| (it, true));
        for ((name, property), is_needed) in first.chain(others.into_iter().map(|it| (it, false))) {
            self.property(&format!("{prefix}{name}"), property, is_needed, depth);
        }
    }

    fn property(&mut self, setting: &str, property: &'a Value, is_needed: bool, depth: usize) {
        let inside = self.inside(property);
        let default = match property.get("default") {
            _ if is_needed => "needed".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{}`", brief(default)),
        };
        let mut meaning = description(property).or_else(|| description(inside.node)).unwrap_or_default();
        for (choice, what) in choices(inside.node) {
            let choice = format!("`{choice}`");
            if !meaning.contains(&choice) {
                let _ = if what.is_empty() { write!(meaning, " {choice}.") } else { write!(meaning, " {choice}: {what}") };
            }
        }
        let has_parts = inside.node.get("properties").is_some() && depth < MOST_DEPTH;
        let known = inside.definition.filter(|_| has_parts).and_then(|name| self.expanded.get(name));
        if let Some(known) = known {
            let _ = write!(meaning, " With settings as `{known}`.");
        }
        let is_known = known.is_some();
        self.rows.push(format!("| `{setting}` | {default} | {} |", meaning.trim().replace('|', "\\|")));
        if has_parts && !is_known {
            let path = format!("{setting}{}", inside.suffix);
            if let Some(name) = inside.definition {
                self.expanded.insert(name, path.clone());
            }
            self.properties(inside.node, &format!("{path}."), depth + 1);
        }
    }

    /// Follows references, `null` as an alternative, items of lists and values of maps.
    fn inside(&self, property: &'a Value) -> Inside<'a> {
        let mut inside = Inside { node: property, definition: None, suffix: String::new() };
        for _ in 0..MOST_DEPTH {
            let node = inside.node;
            if let Some(name) = node.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix("#/$defs/")) {
                let Some(definition) = self.schema.get("$defs").and_then(|all| all.get(name)) else { break };
                (inside.node, inside.definition) = (definition, Some(name));
            } else if let Some([one, null]) = node.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
                && null.get("type").is_some_and(|it| it == "null")
            {
                inside.node = one;
            } else if let Some(items) = node.get("items") {
                inside.node = items;
                inside.suffix += "[]";
            } else if let Some(values) = node.get("additionalProperties").filter(|it| it.is_object()) {
                inside.node = values;
                inside.suffix += ".NAME";
            } else {
                break;
            }
        }
        inside
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
    let described = described.filter_map(|one| Some((one.get("const")?.as_str()?, description(one).unwrap_or_default())));
    listed.chain(described).collect()
}

/// A default as one would write it.
fn brief(default: &Value) -> String {
    match default {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name}: {}", brief(value));
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
                "url": { "type": "string", "description": "Address | place." },
                "way": { "anyOf": [{ "$ref": "#/$defs/Way" }, { "type": "null" }], "default": null, "description": "How: `up`." },
            },
            "required": ["url"],
            "$defs": {
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
        | `rules` | `[1, a]` | Rules. With settings as `by.NAME`. |
        | `way` |  | How: `up`. `down`: Downwards. |
        ");
        assert_eq!(table(&json!({ "type": "object" })), "It has no settings.\n");
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({ "properties": { "a": { "$ref": "#/$defs/A" } },
            "$defs": { "A": { "properties": { "a": { "$ref": "#/$defs/A" } } }, "B": { "$ref": "#/$defs/B" } } });
        assert_eq!(table(&schema).lines().count(), 4);
        assert!(table(&json!({ "properties": { "b": { "$ref": "#/$defs/B" } }, "$defs": schema["$defs"] })).contains("`b`"));
    }
}
