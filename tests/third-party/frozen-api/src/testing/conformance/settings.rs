//! The rules for settings.

use serde_json::{Map, Value};

use super::Report;
use crate::Plugin;
use crate::testing::schema;

/// A field that no plugin has.
const UNKNOWN: &str = "aFieldOfTheConformanceTest";

/// Looks at schema and settings; whether the plugin can be started with them.
pub(super) fn examine<P: Plugin>(root: &Value, settings: &Value, report: &mut Report) -> bool {
    let broken = schema::faults(root);
    let sound = broken.is_empty();
    report.faults.extend(broken.into_iter().map(|fault| format!("the schema of the settings: {fault}")));
    for (path, property) in schema::properties(root) {
        if !schema::is_described(root, property) {
            report.fault(format!("the setting `{path}` has no description: give the field a doc comment"));
        }
    }
    let Value::Object(given) = settings else {
        report.fault("the settings of this test are no object: settings are names with values");
        return false;
    };
    if sound {
        let misfits = schema::misfits(root, root, settings).into_iter();
        report
            .faults
            .extend(misfits.map(|misfit| format!("the settings of this test do not fit their schema: {misfit}")));
    }
    if let Err(error) = read::<P>(given.clone()) {
        report.fault(format!("the settings of this test cannot be read: {error}"));
        return false;
    }
    defaults::<P>(root, given, report);
    let mut misspelt = given.clone();
    misspelt.insert(UNKNOWN.to_owned(), true.into());
    if read::<P>(misspelt).is_ok() {
        let hint = "an unknown setting is taken without a word, so a misspelt one goes unnoticed: put \
                    `#[serde(deny_unknown_fields)]` on the settings";
        report.hints.push(hint.to_owned());
    }
    true
}

fn read<P: Plugin>(settings: Map<String, Value>) -> Result<(), String> {
    serde_json::from_value::<P::Settings>(settings.into()).map(drop).map_err(|error| error.to_string())
}

/// A default of the schema is what a left out field means, so it must be possible to write it.
fn defaults<P: Plugin>(root: &Value, given: &Map<String, Value>, report: &mut Report) {
    for (name, property) in root.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let Some(default) = property.get("default") else { continue };
        let mut without = given.clone();
        without.remove(name);
        if let Err(error) = read::<P>(without.clone()) {
            report.fault(format!("the setting `{name}` has a default, but cannot be left out: {error}"));
        }
        for misfit in schema::misfits(root, property, default) {
            report.fault(format!("the default of the setting `{name}` does not fit its schema: {misfit}"));
        }
        without.insert(name.clone(), default.clone());
        if let Err(error) = read::<P>(without) {
            report.fault(format!("the default of the setting `{name}` cannot be read: {error}"));
        }
    }
}
