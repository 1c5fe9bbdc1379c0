//! What Butler may change in Qlik Sense.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tasks may be started through Butler, whoever asks. A task may be when one of the lists has it. Requests by tag or
/// custom property need that very tag or value in its list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StartTaskFilter {
    /// Tasks by their ids.
    #[schemars(extend("items" = {
        "type": "string",
        "pattern": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
        "patternErrorMessage": "must be the id of a task, a GUID",
    }))]
    pub task_ids: Vec<String>,
    /// Tasks with one of these tags.
    pub tags: Vec<String>,
    /// Tasks with one of these values of custom properties.
    pub custom_properties: Vec<CustomPropertyValue>,
}

/// A value of a custom property.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomPropertyValue {
    /// Name of the custom property.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The value.
    #[schemars(length(min = 1))]
    pub value: String,
}
