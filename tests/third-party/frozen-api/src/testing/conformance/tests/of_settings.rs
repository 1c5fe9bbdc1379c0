//! Plugins that are nothing but their settings.

use super::*;

/// A plugin that is nothing but its settings.
struct With<S>(std::marker::PhantomData<fn() -> S>);

impl<S: serde::de::DeserializeOwned + JsonSchema + Send + 'static> Plugin for With<S> {
    type Settings = S;

    fn manifest() -> Manifest {
        Manifest::new("with", "Has settings").default_events(&["reload-task.*"])
    }

    async fn start(_: S, _: Host) -> Result<Self, StartError> {
        Ok(Self(std::marker::PhantomData))
    }

    async fn deliver(&self, _: &Delivery) -> Result<(), DeliveryError> {
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only read")]
struct Undescribed {
    #[serde(default)]
    proxy: Option<Proxy>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only read")]
struct Proxy {
    url: String,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read")]
struct Loose {
    /// A number.
    #[serde(default)]
    number: u8,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only read")]
struct Defaults {
    /// A text of its own form.
    #[serde(default)]
    #[schemars(extend("default" = "never"))]
    often: u8,
    /// Not optional, whatever the schema says.
    #[schemars(extend("default" = 1))]
    needed: u8,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("properties" = []))]
#[allow(dead_code, reason = "only read")]
struct Broken {
    /// A number.
    #[serde(default)]
    number: u8,
}

fn faults<S: serde::de::DeserializeOwned + JsonSchema + Send + 'static>(settings: Value) -> String {
    examine::<With<S>>(settings).to_string()
}

#[test]
fn every_setting_is_described() {
    let report = faults::<Undescribed>(json!({}));
    assert_eq!(
        report,
        "  fault: the setting `proxy` has no description: give the field a doc comment\n  \
         fault: the setting `proxy.url` has no description: give the field a doc comment\n"
    );
}

#[test]
fn an_unknown_setting_that_is_taken_is_a_hint() {
    let report = examine::<With<Loose>>(json!({}));
    assert!(report.faults.is_empty() && report.hints.len() == 1, "{report}");
    assert!(report.hints[0].contains("deny_unknown_fields"), "{report}");
}

#[test]
fn settings_fit_their_schema_and_are_read() {
    let report = faults::<Loose>(json!({ "number": 300 }));
    assert!(report.contains("do not fit their schema: number: is out of range"), "{report}");
    assert!(report.contains("cannot be read: invalid value: integer `300`"), "{report}");
    assert!(faults::<Loose>(json!([])).contains("are no object"));
}

#[test]
fn defaults_can_be_written_and_left_out() {
    let report = faults::<Defaults>(json!({ "needed": 2 }));
    for part in [
        "the default of the setting `often` does not fit its schema: the settings: must be of type integer",
        "the default of the setting `often` cannot be read: invalid type: string \"never\"",
        "the setting `needed` has a default, but cannot be left out: missing field `needed`",
    ] {
        assert!(report.contains(part), "{part}:\n{report}");
    }
    assert_eq!(report.lines().count(), 3, "{report}");
}

#[test]
fn a_broken_schema_is_named() {
    let report = faults::<Broken>(json!({}));
    assert_eq!(report, "  fault: the schema of the settings: the root: `properties` must be an object of schemas\n");
}
