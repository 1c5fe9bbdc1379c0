//! The config file: from text to validated values.
//!
//! 1. [`Document::read`] takes the YAML apart and remembers the place of each value.
//! 2. [`Document::uses`] and [`Document::plugin_dirs`] tell which plugins have to be opened for their schemas, however
//!    faulty the rest is.
//! 3. [`Document::validate`] puts the placeholders in (`secrets`), holds everything against the schemas (`schema`, with
//!    `explain` for the words) and against what schemas cannot say (`semantics`), and answers with a [`Loaded`] or with a
//!    [`Report`] of all faults by line.
//!
//! [`Secrets`] goes on to wherever texts come back from plugins. [`compose`] and [`published`] make the schemas for
//! editors out of the same parts.

mod acting;
mod certificates;
mod cloud;
mod document;
mod explain;
mod heard;
mod log;
mod patterns;
mod pin;
mod redact;
mod relax;
mod report;
mod rest;
mod scheduler;
mod schema;
pub(crate) mod schema_nodes;
mod secrets;
mod semantics;
mod setting;
mod types;
mod units;
mod validate;
pub(crate) mod yaml;
pub(crate) mod yaml_text;

#[cfg(test)]
mod tests;

pub use acting::{CustomPropertyValue, StartTaskFilter};
pub use certificates::{Certificates, ClientFiles, Passphrase};
pub use cloud::{CloudLinks, CloudTenant, QlikCloud};
pub use document::{Document, Use};
pub(crate) use document::{parse_mapping, read_bytes};
pub use heard::{AppReload, Sessions, Udp};
pub use log::{Level, Log, LogFile, LogFormat};
pub use patterns::Patterns;
pub use pin::PinError;
pub use redact::Secrets;
pub use report::{ConfigError, Report};
pub(crate) use report::{escape, push_key, similar};
pub use rest::{Grant, Rest, ServerTls, Token, network};
pub use scheduler::SchedulerConfig;
pub use schema::{compose, published};
pub(crate) use secrets::named;
pub use secrets::{placeholders, text_of_secret_file};
pub(crate) use semantics::is_sender;
pub use setting::setting_faults;
pub use types::*;
pub use units::{Size, Span, UnitError};
pub use validate::{Checks, Loaded, PluginSchema, RuleRemark};
