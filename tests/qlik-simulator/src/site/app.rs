//! Apps and streams.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY, NO_REFERENCE, NO_TIME, meta, state::State, table::Identified, user};
use crate::ids;

const PRODUCT_VERSION: &str = "14.187.4";
const MIGRATION_HASH: &str = "504d4e39a7133ea5d8a8b6ef2e5bbe7f5d3a2b1c";

/// A stream, where apps are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Identifier, a GUID.
    pub id: String,
    /// What people see.
    pub name: String,
}

impl Stream {
    /// A stream with a new identifier.
    pub fn new(name: impl Into<String>) -> Self {
        Self { id: ids::random(), name: name.into() }
    }

    fn condensed(&self) -> Value {
        json!({ "id": self.id, "name": self.name, "privileges": null })
    }
}

impl Identified for Stream {
    fn id(&self) -> &str {
        &self.id
    }
}

/// An app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Identifier, a GUID.
    pub id: String,
    /// What people see.
    pub name: String,
    /// Description, may be empty.
    pub description: String,
    /// Identifier of the user who owns it.
    pub owner_id: String,
    /// Identifier of the stream, if published.
    pub stream_id: Option<String>,
    /// Names of tags.
    pub tags: Vec<String>,
    /// Names and values of custom properties.
    pub custom_properties: Vec<(String, String)>,
    /// Size in bytes.
    pub file_size: u64,
    /// Time of the last successful reload, [`NO_TIME`] if never.
    pub last_reload_time: String,
}

impl App {
    /// An unpublished app with a new identifier.
    pub fn new(name: impl Into<String>, owner_id: impl Into<String>) -> Self {
        Self {
            id: ids::random(),
            name: name.into(),
            description: String::new(),
            owner_id: owner_id.into(),
            stream_id: None,
            tags: Vec::new(),
            custom_properties: Vec::new(),
            file_size: 1_638_400,
            last_reload_time: NO_TIME.to_owned(),
        }
    }

    /// Replaces the identifier.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Publishes the app to a stream.
    #[must_use]
    pub fn stream(mut self, stream_id: impl Into<String>) -> Self {
        self.stream_id = Some(stream_id.into());
        self
    }

    /// Adds a tag by name.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// Adds a value of a custom property.
    #[must_use]
    pub fn custom_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom_properties.push((name.into(), value.into()));
        self
    }

    /// Replaces the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    fn stream_json(&self, state: &State) -> Value {
        let stream = self.stream_id.as_ref().and_then(|id| state.streams.get(id));
        stream.map_or(Value::Null, Stream::condensed)
    }

    fn publish_time(&self) -> &'static str {
        if self.stream_id.is_some() { CREATED } else { NO_TIME }
    }

    pub(crate) fn full(&self, state: &State) -> Value {
        json!({
            "id": self.id,
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": meta::custom_properties(&self.custom_properties, &self.id, state),
            "owner": user::owner(&self.owner_id, state),
            "name": self.name,
            "appId": "",
            "sourceAppId": NO_REFERENCE,
            "targetAppId": NO_REFERENCE,
            "publishTime": self.publish_time(),
            "published": self.stream_id.is_some(),
            "tags": meta::tags(&self.tags, state),
            "description": self.description,
            "stream": self.stream_json(state),
            "fileSize": self.file_size,
            "lastReloadTime": self.last_reload_time,
            "thumbnail": "",
            "savedInProductVersion": PRODUCT_VERSION,
            "migrationHash": MIGRATION_HASH,
            "dynamicColor": "",
            "availabilityStatus": 0,
            "privileges": null,
            "schemaPath": "App",
        })
    }
}

impl Identified for App {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The `app` of a task. An app that is gone has no name.
pub(super) fn app_of_task(id: &str, state: &State) -> Value {
    let app = state.apps.get(id);
    json!({
        "id": id,
        "appId": "",
        "name": app.map(|app| app.name.as_str()).unwrap_or_default(),
        "publishTime": app.map_or(NO_TIME, App::publish_time),
        "published": app.is_some_and(|app| app.stream_id.is_some()),
        "stream": app.map_or(Value::Null, |app| app.stream_json(state)),
        "savedInProductVersion": PRODUCT_VERSION,
        "migrationHash": MIGRATION_HASH,
        "availabilityStatus": 0,
        "privileges": null,
    })
}
