//! Holds a plugin against the rules of the house.
//!
//! The manifest and the settings are looked at first (`settings`). Then the plugin is run as the host runs it (`run`):
//! behind the boundary, with its panics caught, on a thread of its own, with a fake host whose time passes when nothing
//! else happens.

mod run;
mod settings;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use run::add_unknown;
use serde_json::Value;

use super::{fake, manifest_of, schema};
use crate::{Manifest, Plugin, panics};

/// What [`examine`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What breaks a rule.
    pub faults: Vec<String>,
    /// What could be better.
    pub hints: Vec<String>,
}

impl Report {
    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for fault in &self.faults {
            writeln!(f, "  fault: {fault}")?;
        }
        for hint in &self.hints {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Holds a plugin against the rules of the house; `settings` are ones that it can start with.
///
/// * The manifest is sound: name, numbers, kinds, operations, endpoints with their schemas.
/// * The settings have a sound schema with a description of every field; the given ones and the defaults fit it and are
///   read; a hint says when a misspelt field would go unnoticed.
/// * A sample of every kind, kinds and fields of later versions, an event without facts and a repeated delivery are
///   taken: each gets an outcome within the deadline of the manifest, and nothing panics.
/// * `check`, `render` and `import` answer if they are offered, and `render` sends nothing.
/// * `stop` ends within 5 s, deliveries under way then still get their outcome, nothing goes on afterwards, and the plugin
///   can be started again.
///
/// HTTP requests are answered `200`; sleeps cost no time. A plugin that talks to other servers by itself needs settings
/// with servers that the test has started.
///
/// # Panics
///
/// With a list of all that is wrong. Hints are printed only.
pub fn conformance<P: Plugin>(settings: Value) {
    let report = examine::<P>(settings);
    assert!(report.faults.is_empty(), "the plugin breaks rules of the house:\n{report}");
    print!("{report}");
}

/// The same, as data.
#[allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]
pub fn examine<P: Plugin>(settings: Value) -> Report {
    fake::prepare();
    let mut report = Report::default();
    let manifest = match panics::catch(manifest_of::<P>) {
        Ok(manifest) => manifest,
        Err(panic) => {
            report.fault(format!("`manifest` panicked: {panic}"));
            return report;
        }
    };
    report.faults.extend(manifest.faults());
    endpoint_schemas(&manifest, &mut report);
    if settings::examine::<P>(&manifest.settings_schema, &settings, &mut report) {
        run::examine::<P>(&manifest, &settings, &mut report);
    }
    report
}

fn endpoint_schemas(manifest: &Manifest, report: &mut Report) {
    for endpoint in &manifest.endpoints {
        for (part, schema) in [("body", &endpoint.body), ("query", &endpoint.query)] {
            let faults = if schema.is_null() { Vec::new() } else { schema::faults(schema) };
            for fault in faults {
                report.fault(format!("the schema of the {part} of `{} {}`: {fault}", endpoint.method, endpoint.path));
            }
        }
    }
}
