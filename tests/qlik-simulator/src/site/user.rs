//! Users.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY, NO_REFERENCE, meta, state::State, table::Identified};
use crate::ids;

/// There is no such user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no user {0}")]
pub struct UnknownUser(pub String);

/// A user. Mail addresses are attributes that come from the user directory, so there may be none or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Identifier, a GUID.
    pub id: String,
    /// User directory, such as a domain.
    pub directory: String,
    /// Login name.
    pub user_id: String,
    /// Full name.
    pub name: String,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// Roles, such as `RootAdmin`.
    pub roles: Vec<String>,
    /// Names of tags.
    pub tags: Vec<String>,
    /// Names and values of custom properties.
    pub custom_properties: Vec<(String, String)>,
    /// Not allowed to log in.
    pub inactive: bool,
    /// Gone from the user directory.
    pub removed_externally: bool,
    /// Shut out.
    pub blacklisted: bool,
}

impl User {
    /// A user with a new identifier and without mail address.
    pub fn new(directory: impl Into<String>, user_id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: ids::random(),
            directory: directory.into(),
            user_id: user_id.into(),
            name: name.into(),
            emails: Vec::new(),
            roles: Vec::new(),
            tags: Vec::new(),
            custom_properties: Vec::new(),
            inactive: false,
            removed_externally: false,
            blacklisted: false,
        }
    }

    /// Replaces the identifier.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Adds a mail address.
    #[must_use]
    pub fn email(mut self, address: impl Into<String>) -> Self {
        self.emails.push(address.into());
        self
    }

    /// Adds a tag.
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

    pub(crate) fn condensed(&self) -> Value {
        json!({
            "id": self.id,
            "userId": self.user_id,
            "userDirectory": self.directory,
            "userDirectoryConnectorName": self.directory,
            "name": self.name,
            "privileges": null,
        })
    }

    pub(crate) fn full(&self, state: &State) -> Value {
        let attributes: Value = self
            .emails
            .iter()
            .map(|address| {
                json!({
                    "id": ids::derived(&self.id, address),
                    "createdDate": CREATED,
                    "modifiedDate": CREATED,
                    "modifiedByUserName": MODIFIED_BY,
                    "attributeType": "email",
                    "attributeValue": address,
                    "externalId": NO_REFERENCE,
                    "schemaPath": "UserAttribute",
                })
            })
            .collect();
        json!({
            "id": self.id,
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": meta::custom_properties(&self.custom_properties, &self.id, state),
            "userId": self.user_id,
            "userDirectory": self.directory,
            "userDirectoryConnectorName": self.directory,
            "name": self.name,
            "roles": self.roles,
            "attributes": attributes,
            "inactive": self.inactive,
            "removedExternally": self.removed_externally,
            "blacklisted": self.blacklisted,
            "deleteProhibited": false,
            "tags": meta::tags(&self.tags, state),
            "privileges": null,
            "schemaPath": "User",
        })
    }
}

impl Identified for User {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The `owner` of something. An owner who is gone is only an identifier.
pub(super) fn owner(id: &str, state: &State) -> Value {
    match state.users.get(id) {
        Some(user) => user.condensed(),
        None => User::new("", "", "").id(id).condensed(),
    }
}
