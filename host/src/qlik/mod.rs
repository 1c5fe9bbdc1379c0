//! Qlik Sense: everything that Butler asks it.
//!
//! From below to above: `tls` turns certificate `files` into TLS settings, `connection` does so again when they are
//! renewed, [`Repository`] asks the repository service (QRS) over kept connections and stops asking while it is down
//! (`gate`), `facts` reads its answers, `batched` puts questions together, `kept` remembers answers for some seconds, and
//! [`Lookups`] finds out the facts of an event with as few calls as possible. Nothing here retries for long: that is the
//! caller's, who knows how old the event is.
//!
//! `engine` is the other service: lists, dumps and reloads of apps.

mod batched;
mod certificates;
mod connection;
mod ended;
mod engine;
mod enrich;
mod error;
mod explain;
mod facts;
mod files;
mod gate;
mod kept;
mod lookups;
mod repository;
mod script_log;
mod tls;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

pub use certificates::{CertificateFacts, CertificateRole};
pub use ended::Ended;
pub use engine::{
    Dump, Engine, EngineError, EngineLimits, FollowUp, ListedApp, Place, ReloadOrder, ReloadRow, ReloadState,
};
pub use enrich::Enriched;
pub use error::{Cause, QlikError};
pub use facts::{AppFacts, ResultFacts, TaskFacts, is_final, is_guid, millis, status_text, task_subject};
pub use gate::GateState;
pub use lookups::{AppFound, Found, Lookups, Outcome};
pub use repository::{Limits, Reply, Repository};
pub use script_log::{Log, ScriptLogs};
pub use tls::{Identity, Roots, SystemRoots, TlsError, client_config, profile, system_roots};
pub use wire::quote;
