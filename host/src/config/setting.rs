//! One setting of a plugin by itself, for those who ask for them one after the other.

use serde_json::Value;

use super::explain::Explainer;
use super::schema;

/// What a schema says against the value of a setting. `setting`: the part of `root` that describes it. Values are not
/// quoted, since any may be a secret. The schema of a plugin that is broken says nothing: that is told with the whole.
pub fn setting_faults(setting: &Value, root: &Value, value: &Value) -> Vec<String> {
    let mut own = setting.clone();
    for definitions in ["$defs", "definitions"] {
        if let (Some(own), Some(known)) = (own.as_object_mut(), root.get(definitions)) {
            own.insert(definitions.to_owned(), known.clone());
        }
    }
    let own = schema::settings(&own);
    let Ok(validator) = schema::validator(&own) else { return Vec::new() };
    let explainer = Explainer { schema: &own, prefix: "", quote: false, secret: &|_| true };
    let mut problems = Vec::new();
    for error in validator.iter_errors(value) {
        explainer.explain(&error, &mut problems);
    }
    let told = problems.into_iter().map(|problem| match problem.suggestion {
        Some(suggestion) => format!("{} ({suggestion})", problem.message),
        None => problem.message,
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_held_against_its_own_schema() {
        let root = json!({ "$defs": { "Port": { "type": "integer", "format": "uint16", "minimum": 1 } } });
        let faults = |schema: Value, value: Value| setting_faults(&schema, &root, &value);
        let port = json!({ "$ref": "#/$defs/Port" });
        assert_eq!(faults(port.clone(), json!(587)), [""; 0]);
        assert_eq!(faults(port, json!(0)), ["must be at least 1"]);
        assert_eq!(faults(json!({ "$ref": "#/$defs/Port" }), json!(70_000)), ["must be at most 65535"]);
        let [fault] = &faults(json!({ "type": "string", "format": "uri" }), json!("geheim"))[..] else { panic!() };
        assert!(fault.starts_with("must be a URL") && !fault.contains("geheim"), "{fault}");
    }
}
