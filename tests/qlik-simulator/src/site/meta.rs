//! Tags and custom properties.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY, state::State, table::Identified};
use crate::ids;

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Identifier, a GUID.
    pub id: String,
    /// What people see.
    pub name: String,
}

impl Tag {
    /// A tag with a new identifier.
    pub fn new(name: impl Into<String>) -> Self {
        Self { id: ids::random(), name: name.into() }
    }

    pub(crate) fn condensed(&self) -> Value {
        json!({ "id": self.id, "name": self.name, "privileges": null })
    }

    pub(crate) fn full(&self) -> Value {
        json!({
            "id": self.id,
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "name": self.name,
            "privileges": null,
            "schemaPath": "Tag",
        })
    }
}

impl Identified for Tag {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The definition of a custom property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomPropertyDefinition {
    /// Identifier, a GUID.
    pub id: String,
    /// What people see.
    pub name: String,
    /// The values that can be chosen.
    pub choice_values: Vec<String>,
    /// Kinds of objects that can have it, such as `ReloadTask` or `App`.
    pub object_types: Vec<String>,
}

impl CustomPropertyDefinition {
    /// A custom property with a new identifier, for reload tasks.
    pub fn new<'a>(name: impl Into<String>, choice_values: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            id: ids::random(),
            name: name.into(),
            choice_values: choice_values.into_iter().map(str::to_owned).collect(),
            object_types: vec!["ReloadTask".to_owned()],
        }
    }

    /// Replaces the kinds of objects that can have it.
    #[must_use]
    pub fn object_types<'a>(mut self, object_types: impl IntoIterator<Item = &'a str>) -> Self {
        self.object_types = object_types.into_iter().map(str::to_owned).collect();
        self
    }

    fn condensed(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "valueType": "Text",
            "choiceValues": self.choice_values,
            "privileges": null,
        })
    }

    pub(crate) fn full(&self) -> Value {
        json!({
            "id": self.id,
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "name": self.name,
            "valueType": "Text",
            "choiceValues": self.choice_values,
            "objectTypes": self.object_types,
            "description": "",
            "privileges": null,
            "schemaPath": "CustomPropertyDefinition",
        })
    }
}

impl Identified for CustomPropertyDefinition {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The `tags` of an object.
pub(super) fn tags(names: &[String], state: &State) -> Value {
    names.iter().filter_map(|name| state.tag_named(name)).map(Tag::condensed).collect()
}

/// The `customProperties` of the object `owner`.
pub(super) fn custom_properties(values: &[(String, String)], owner: &str, state: &State) -> Value {
    values
        .iter()
        .filter_map(|(name, value)| state.custom_property_named(name).map(|definition| (definition, value)))
        .map(|(definition, value)| {
            json!({
                "id": ids::derived(owner, &format!("{}={value}", definition.name)),
                "createdDate": CREATED,
                "modifiedDate": CREATED,
                "modifiedByUserName": MODIFIED_BY,
                "value": value,
                "definition": definition.condensed(),
                "schemaPath": "CustomPropertyValue",
            })
        })
        .collect()
}
