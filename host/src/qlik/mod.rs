//! Qlik Sense: everything that Butler asks it.
//!
//! From below to above: `tls` turns certificate `files` (`keys` in PEM form, `pfx`) into TLS settings, `connection` does so again when they are
//! renewed, [`Repository`] asks the repository service (QRS) over kept connections and stops asking while it is down
//! (`gate`), `facts` reads its answers, `batched` puts questions together, `kept` remembers answers for some seconds, and
//! [`Lookups`] finds out the facts of an event with as few calls as possible. Nothing here retries for long: that is the
//! caller's, who knows how old the event is. `engine` is the other service of Qlik Sense: lists, dumps and reloads of apps.
//! [`Cloud`] asks tenants of Qlik Cloud (`cloud`).

mod batched;
mod certificates;
mod chain;
mod cloud;
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
mod keys;
mod lookups;
mod nodes;
mod own_server;
mod pfx;
mod read_file;
mod repository;
mod script_log;
mod tasks;
mod tls;
mod tls_error;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

pub use certificates::{CertificateFacts, CertificateRole};
pub use chain::{ClientChain, client_chain};
pub use cloud::{Cloud, CloudError, TenantState};
pub(crate) use cloud::{cloud_app_url, short};
pub use ended::Ended;
pub use engine::{
    Dump, Engine, EngineError, EngineLimits, FollowUp, ListedApp, Place, ReloadOrder, ReloadRow, ReloadState,
};
pub use enrich::Enriched;
pub use error::{Cause, QlikError};
pub(crate) use explain::{find, without_manual};
pub use facts::{AppFacts, ResultFacts, TaskFacts, is_final, is_guid, millis, status_text, task_subject};
pub use files::{check_files, profile_certificates};
pub use gate::GateState;
pub use lookups::{AppFound, Found, Lookups, Outcome};
pub use nodes::Node;
pub use own_server::{ServerFiles, ServerIdentity};
pub use repository::{Limits, Reply, Repository};
pub use script_log::{Log, ScriptLogs};
pub use tasks::{Start, has_property, refusal};
pub use tls::{Identity, Roots, SystemRoots, client_config, pinned, profile, system_roots};
pub use tls_error::TlsError;
pub use wire::quote;
