//! How a section of facts is written.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// What is read and written by way of its text, by code that is there once: serde's own would be there once for each kind
/// of serializer and again in each crate that uses it, which was a third of a plugin's size.
pub(super) trait Section: Sized {
    fn read(json: &str) -> serde_json::Result<Self>;
    fn write(&self) -> serde_json::Result<String>;
}

macro_rules! sections {
    ($($section:ty),* $(,)?) => {
        $(
            impl $crate::event::section::Section for $section {
                #[inline(never)]
                fn read(json: &str) -> serde_json::Result<Self> {
                    serde_json::from_str(json)
                }

                #[inline(never)]
                fn write(&self) -> serde_json::Result<String> {
                    serde_json::to_string(self)
                }
            }
        )*
    };
}

impl<T: Section> Section for Box<T> {
    fn read(json: &str) -> serde_json::Result<Self> {
        T::read(json).map(Self::new)
    }

    fn write(&self) -> serde_json::Result<String> {
        (**self).write()
    }
}

/// Reads a section, or `null`.
pub(super) fn read<T: Section>(json: &str) -> serde_json::Result<Option<T>> {
    if json == "null" { Ok(None) } else { T::read(json).map(Some) }
}

/// Writes a section, or `null`.
#[allow(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn serialize_optional<T: Section, S: Serializer>(
    section: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(section) = section else { return serializer.serialize_none() };
    RawValue::from_string(section.write().map_err(S::Error::custom)?).map_err(S::Error::custom)?.serialize(serializer)
}

/// A section whose facts may each be absent: what could not be found out is left out.
///
/// A macro, so that thirty lines of serde attributes do not hide what a section holds.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }
    };
}

pub(super) use {section, sections};
