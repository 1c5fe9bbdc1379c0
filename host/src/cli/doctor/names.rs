//! Whether the custom properties and tags that the config names are there in Qlik Sense: a condition on one that is misspelt
//! never holds, and no error would ever say so.

use std::collections::BTreeMap;

use butler_plugin_api::kind;
use serde_json::Value;

use super::super::findings::{Findings, Verdict};
use super::super::progress::waiting;
use super::settings::{Mention, mentions};
use crate::config::{Rule, similar};
use crate::daemon::Setup;
use crate::pipeline::FieldPath;
use crate::qlik::Repository;

const PROPERTIES: &str = "custom properties";
const TAGS: &str = "tags";

/// A custom property or a tag, and who names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    mention: Mention,
    /// Of what it must be one: what QRS calls the kinds of such objects. Empty: of anything.
    of: &'static [&'static str],
    place: String,
    /// A plugin may treat upper and lower case alike.
    loose: bool,
}

/// What QRS has.
#[derive(Debug, Default)]
struct Known {
    properties: BTreeMap<String, Property>,
    tags: Vec<String>,
}

/// A definition of a custom property.
#[derive(Debug, Default)]
struct Property {
    /// Empty: any value, as far as is known.
    values: Vec<String>,
    /// Kinds of objects that may have it. Empty: not known.
    objects: Vec<String>,
}

const TASKS: &[&str] = &["ReloadTask", "ExternalProgramTask", "UserSyncTask"];
const APPS: &[&str] = &["App"];

/// Looks for all of them.
pub(in super::super) async fn check(setup: &Setup, repository: &Repository, findings: &mut Findings) {
    let named = named(setup);
    if named.is_empty() {
        return;
    }
    let is_tag = |named: &Named| matches!(named.mention, Mention::Tag(_));
    let (tags, properties): (Vec<Named>, Vec<Named>) = named.into_iter().partition(is_tag);
    for (link, path, wanted) in [(PROPERTIES, "custompropertydefinition/full", properties), (TAGS, "tag/full", tags)] {
        if wanted.is_empty() {
            continue;
        }
        let known = match waiting(&format!("the {link}"), repository.get_json(path, &[])).await {
            Ok(list) => Known::read(&list),
            Err(error) => {
                let detail = format!("whether those of the config are there cannot be told: {error}");
                findings.failed(link, &detail, "");
                continue;
            }
        };
        let faults: Vec<_> = wanted.iter().filter_map(|named| Some((named, known.fault(named)?))).collect();
        for (named, (verdict, detail, remedy)) in &faults {
            findings.add(*verdict, link, &format!("{} names {detail}", named.place), remedy);
        }
        if faults.is_empty() {
            let count = wanted.len();
            let mentions = if count == 1 {
                "the one that the config names is there"
            } else {
                "those that the config names are there"
            };
            findings.ok(link, mentions);
        }
    }
}

/// All that the config names.
fn named(setup: &Setup) -> Vec<Named> {
    let config = &setup.loaded.config;
    let mut all = Vec::new();
    for entry in &config.plugins {
        let instance = entry.instance();
        for (index, rule) in entry.on.iter().flatten().enumerate() {
            all.extend(of_rule(rule, &format!("instance {instance}, rule {} of its `on:`,", index + 1)));
        }
        let Some(opened) = setup.libraries.get(&entry.plugin) else { continue };
        let found = mentions(&opened.library.manifest().settings_schema, &entry.settings);
        all.extend(found.into_iter().map(|(place, mention)| {
            let place = format!("instance {instance}, `settings.{place}`,");
            Named { mention, of: &[], place, loose: true }
        }));
    }
    if let Some(filter) = config.qlik.as_ref().and_then(|qlik| qlik.start_task_filter.as_ref()) {
        let place = || "`qlik.startTaskFilter`".to_owned();
        all.extend(filter.tags.iter().map(|tag| Named {
            mention: Mention::Tag(tag.clone()),
            of: &[],
            place: place(),
            loose: false,
        }));
        all.extend(filter.custom_properties.iter().map(|property| {
            let mention = Mention::Property { name: property.name.clone(), value: Some(property.value.clone()) };
            Named { mention, of: TASKS, place: place(), loose: false }
        }));
    }
    all
}

/// Those in the conditions of a rule.
fn of_rule(rule: &Rule, place: &str) -> Vec<Named> {
    // Apps of Qlik Cloud have tags of their tenant.
    let of_sense = |kind: &&&str| !kind.starts_with("cloud-");
    let sense = |pattern: &String| kind::ALL.iter().filter(of_sense).any(|kind| kind::matches(pattern, kind));
    let mut all = Vec::new();
    if !rule.events.iter().any(sense) {
        return all;
    }
    for (path, test) in &rule.conditions {
        // Validation has refused others.
        let Ok(path) = FieldPath::parse(path) else { continue };
        let parts: Vec<&str> = path.parts().iter().map(String::as_str).collect();
        let mut values = Vec::new();
        literals(test, &mut values);
        let add = |mention, of| Named { mention, of, place: place.to_owned(), loose: false };
        match parts.as_slice() {
            [subject @ ("task" | "app"), "customProperties", name] => {
                let of = if *subject == "task" { TASKS } else { APPS };
                let property = |value: Option<String>| Mention::Property { name: (*name).to_owned(), value };
                if values.is_empty() {
                    all.push(add(property(None), of));
                }
                all.extend(values.into_iter().map(|value| add(property(Some(value)), of)));
            }
            ["tags"] | ["task" | "app", "tags"] => {
                all.extend(values.into_iter().map(|tag| add(Mention::Tag(tag), &[])));
            }
            _ => {}
        }
    }
    all
}

/// The values of a condition that stand for themselves.
fn literals(test: &Value, found: &mut Vec<String>) {
    match test {
        Value::String(one) if !one.contains('*') && !one.starts_with(['<', '>']) => found.push(one.clone()),
        Value::Number(_) | Value::Bool(_) => found.push(test.to_string()),
        Value::Array(tests) => tests.iter().for_each(|test| literals(test, found)),
        Value::Object(entries) => entries.values().for_each(|test| literals(test, found)),
        _ => {}
    }
}

type Fault = (Verdict, String, String);

impl Known {
    /// From `custompropertydefinition/full` or `tag/full`.
    fn read(list: &Value) -> Self {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let mut known = Self::default();
        for item in list.as_array().into_iter().flatten() {
            let Some(name) = item["name"].as_str() else { continue };
            known.tags.push(name.to_owned());
            let property = Property { values: texts(&item["choiceValues"]), objects: texts(&item["objectTypes"]) };
            known.properties.insert(name.to_owned(), property);
        }
        known
    }

    /// What is wrong with a name.
    fn fault(&self, named: &Named) -> Option<Fault> {
        let (name, what, make) = match &named.mention {
            Mention::Property { name, .. } => (name, "custom property", "make it in the QMC (Custom properties)"),
            Mention::Tag(name) => (name, "tag", "make it in the QMC (Tags)"),
        };
        if self.tags.is_empty() {
            let detail = format!(
                "the {what} `{name}`, but Qlik Sense shows none at all: there are none, or `qlik.user` may not read them"
            );
            return Some((Verdict::Failed, detail, format!("{make}, or let `qlik.user` read it")));
        }
        if !self.tags.contains(name) {
            let meant = similar(name, self.tags.iter().map(String::as_str));
            let other_case = meant.filter(|meant| named.loose && meant.to_lowercase() == name.to_lowercase());
            if let Some(other) = other_case {
                let detail = format!("the {what} `{name}`, which is `{other}` in Qlik Sense");
                return Some((
                    Verdict::Note,
                    detail,
                    "write it as there, if the plugin tells upper and lower case apart".to_owned(),
                ));
            }
            let hint = meant.map(|meant| format!("did you mean `{meant}`? If not, ")).unwrap_or_default();
            return Some((
                Verdict::Failed,
                format!("the {what} `{name}`, which is not there"),
                format!("{hint}{make}"),
            ));
        }
        let Mention::Property { name, value } = &named.mention else { return None };
        let property = self.properties.get(name)?;
        let fits = |objects: &[String]| objects.iter().any(|object| named.of.contains(&object.as_str()));
        if !named.of.is_empty() && !property.objects.is_empty() && !fits(&property.objects) {
            let detail = format!("the custom property `{name}`, which is for {} only", property.objects.join(", "));
            let remedy = format!("let it be for {} in the QMC", named.of.join(", "));
            return Some((Verdict::Failed, detail, remedy));
        }
        let value = value.as_ref()?;
        if property.values.is_empty() || property.values.contains(value) {
            return None;
        }
        let same = property.values.iter().any(|other| other.to_lowercase() == value.to_lowercase());
        let verdict = if named.loose && same { Verdict::Note } else { Verdict::Failed };
        let detail =
            format!("the value `{value}` of the custom property `{name}`, which has only {}", some(&property.values));
        Some((verdict, detail, "write one of them, or add it in the QMC (Custom properties)".to_owned()))
    }
}

/// Some values, for people.
fn some(values: &[String]) -> String {
    const MOST: usize = 8;
    let quoted: Vec<String> = values.iter().take(MOST).map(|value| format!("`{value}`")).collect();
    let more = values.len().saturating_sub(MOST);
    if more > 0 { format!("{} and {more} more", quoted.join(", ")) } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Vec<Mention> {
        of_rule(&serde_json::from_value(value).unwrap(), "x").into_iter().map(|named| named.mention).collect()
    }

    fn property(name: &str, value: Option<&str>) -> Mention {
        Mention::Property { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn conditions_name_properties_with_their_values_and_tags() {
        let found = rule(json!({ "events": ["*"], "where": {
            "task.customProperties.Mail": ["Yes", { "not": "No" }, "May*"], "app.customProperties['a.b']": "*",
            "tags": "x", "task.tags": ["y", "z*"], "app.tags": { "not": "w" }, "task.name": "n", "execution.duration": "> 3s" } }));
        for expected in [
            property("Mail", Some("Yes")),
            property("Mail", Some("No")),
            property("a.b", None),
            Mention::Tag("x".into()),
            Mention::Tag("y".into()),
            Mention::Tag("w".into()),
        ] {
            assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
        }
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!(rule(json!({ "events": ["cloud-*"], "where": { "app.tags": "x" } })), []);
    }

    #[test]
    fn faults_say_what_is_meant() {
        let known = Known::read(&json!([
            { "name": "Butler_Mail", "choiceValues": ["Yes", "No"], "objectTypes": ["ReloadTask"] },
            { "name": "Team", "choiceValues": [], "objectTypes": ["App"] },
        ]));
        let fault = |mention, of, loose| {
            known
                .fault(&Named { mention, of, place: String::new(), loose })
                .map(|(verdict, detail, remedy)| (verdict, detail + "; " + &remedy))
        };
        assert_eq!(fault(property("Butler_Mail", Some("Yes")), TASKS, false), None);
        assert_eq!(fault(property("Team", Some("anything")), APPS, false), None);
        for (mention, of, loose, verdict, words) in [
            (property("Butler_Mial", None), TASKS, false, Verdict::Failed, "did you mean `Butler_Mail`?"),
            (property("butler_mail", None), TASKS, false, Verdict::Failed, "did you mean `Butler_Mail`?"),
            (property("butler_mail", None), TASKS, true, Verdict::Note, "is `Butler_Mail` in Qlik Sense"),
            (property("Butler_Mail", Some("yes")), TASKS, false, Verdict::Failed, "has only `Yes`, `No`"),
            (property("Butler_Mail", Some("yes")), &[], true, Verdict::Note, "has only `Yes`, `No`"),
            (property("Team", None), TASKS, false, Verdict::Failed, "is for App only"),
            (Mention::Tag("nightly".into()), &[], false, Verdict::Failed, "not there; make it in the QMC (Tags)"),
        ] {
            let (found, text) = fault(mention, of, loose).unwrap();
            assert!(found == verdict && text.contains(words), "{found:?}: {text}");
        }
        let none = Known::default();
        let named = Named { mention: Mention::Tag("x".into()), of: &[], place: String::new(), loose: false };
        assert!(none.fault(&named).unwrap().1.contains("may not read them"));
    }
}
