//! What QRS says of access licences and of the users that have them.
//!
//! Forms: `license/professionalaccesstype/full`, `license/analyzeraccesstype/full` and `user/full` of the repository
//! service. A fact that is not of the known form is missing, and what it would have decided is decided for the user.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Before this time nothing was ever used: QRS writes 1753 for "never".
pub(super) const NEVER_UNTIL: &str = "1754-01-01T00:00:00.000Z";

/// A type of access licences that are given to users by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AccessType {
    /// May make apps.
    Professional,
    /// May use apps.
    Analyzer,
}

impl AccessType {
    /// Below `/qrs/`.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Professional => "license/professionalaccesstype",
            Self::Analyzer => "license/analyzeraccesstype",
        }
    }
}

impl fmt::Display for AccessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Professional => "professional",
            Self::Analyzer => "analyzer",
        })
    }
}

/// An access licence of a user.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_field_names, reason = "a type of access is what Qlik Sense calls it")]
pub(super) struct Access {
    /// Identifier, a GUID.
    pub(super) id: String,
    pub(super) access_type: AccessType,
    /// Identifier of the user, a GUID; absent: not told.
    pub(super) user: Option<String>,
    /// Absent: not told; so is [`Access::user_id`].
    pub(super) directory: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) last_used: LastUsed,
    /// When it was given.
    pub(super) created: Option<Timestamp>,
    pub(super) quarantined: bool,
}

/// When an access licence was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastUsed {
    At(Timestamp),
    Never,
    /// It is said in a form that is not known.
    Unknown,
}

impl LastUsed {
    /// ISO 8601, if it is known.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::At(time) => Some(format!("{time:.3}")),
            Self::Never | Self::Unknown => None,
        }
    }
}

impl Access {
    /// Absent: it has no identifier that could be part of a path.
    pub(super) fn read(access_type: AccessType, json: &Value) -> Option<Self> {
        let user = &json["user"];
        Some(Self {
            id: guid(&json["id"])?,
            access_type,
            user: guid(&user["id"]),
            directory: text(&user["userDirectory"]),
            user_id: text(&user["userId"]),
            last_used: last_used(&json["lastUsed"]),
            created: json["createdDate"].as_str().and_then(|text| text.parse().ok()),
            quarantined: !matches!(&json["quarantined"], Value::Null | Value::Bool(false)),
        })
    }

    /// `DIRECTORY\id`, with `?` for what is not told.
    pub(super) fn name(&self) -> String {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        format!("{}\\{}", known(&self.directory), known(&self.user_id))
    }

    /// Below `/qrs/`.
    pub(super) fn path(&self) -> String {
        path_of(self.access_type, &self.id)
    }
}

/// Below `/qrs/`.
pub(super) fn path_of(access_type: AccessType, id: &str) -> String {
    format!("{}/{id}", access_type.path())
}

fn last_used(json: &Value) -> LastUsed {
    let text = match json {
        Value::Null => return LastUsed::Never,
        Value::String(text) => text.as_str(),
        _ => return LastUsed::Unknown,
    };
    match text.parse::<Timestamp>() {
        Ok(time) if NEVER_UNTIL.parse().is_ok_and(|never: Timestamp| time < never) => LastUsed::Never,
        Ok(time) => LastUsed::At(time),
        Err(_) => LastUsed::Unknown,
    }
}

/// A user, as far as rules look. What is absent was not told, or not in the known form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) tags: Option<Vec<String>>,
    /// Names and values.
    pub(super) custom_properties: Option<Vec<(String, String)>>,
    pub(super) inactive: Option<bool>,
    pub(super) blocked: Option<bool>,
    pub(super) removed_externally: Option<bool>,
}

impl User {
    /// With the identifier. Absent: this is no user.
    pub(super) fn read(json: &Value) -> Option<(String, Self)> {
        let list = |name: &str| json[name].as_array();
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        let property = |one: &Value| Some((owned(&one["definition"]["name"])?, owned(&one["value"])?));
        let user = Self {
            tags: list("tags").and_then(|tags| tags.iter().map(|tag| owned(&tag["name"])).collect()),
            custom_properties: list("customProperties").and_then(|all| all.iter().map(property).collect()),
            inactive: json["inactive"].as_bool(),
            blocked: json["blacklisted"].as_bool(),
            removed_externally: json["removedExternally"].as_bool(),
        };
        Some((guid(&json["id"])?, user))
    }
}

/// In lower case. What is no GUID could lead elsewhere as part of a path or a filter.
fn guid(json: &Value) -> Option<String> {
    let text = json.as_str()?;
    let fits = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    fits.then(|| text.to_ascii_lowercase())
}

fn text(json: &Value) -> Option<String> {
    json.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
