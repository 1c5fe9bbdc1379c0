//! The REST server: the same services as the daemon uses, driven from outside.
//!
//! A request passes, in this order: the check of `Host` and `Origin` (`origin`), the method override, the table of routes
//! (`routes`), the caller's name (`auth`, `guess`), the limit of requests (`rate`), the caller's scope, body and query
//! (`request`, `coerce`), and the handler: one of the host's own (`v4`, `v5`, `metrics`, `documentation`) or an endpoint of a
//! plugin (`endpoints`). Writes are taken down on the way back (`audit`). `api` is that way; `server` is the sockets below
//! it, and `cors` says which web pages may read the answers.
//!
//! ```text
//! Server::bind -> Server::write_run_file -> Server::with_routes -> Serving::run
//! ```
//!
//! Routes are kept in a table of our own: methods that are not served answer as unknown paths do, a path parameter may be
//! empty, and plugins may name parameters of the same place differently. None of that the usual routers allow.

mod answer;
mod api;
mod audit;
mod auth;
mod clients;
mod coerce;
mod context;
mod cors;
mod documentation;
mod endpoints;
mod guess;
mod metrics;
mod openapi;
mod origin;
mod own;
mod rate;
mod request;
mod room;
mod routes;
mod run_file;
mod server;
mod switches;
mod v4;
mod v5;

#[cfg(test)]
mod tests;

pub use context::{Context, ContextParts, Reload};
pub use endpoints::check_manifests;
pub use routes::RouteError;
pub use run_file::{RunFile, RunFileError, RunInfo};
pub use server::{BindError, Remount, Server, Serving, Tls};
pub use switches::Known;
pub(crate) use switches::OF_BUTLER_16 as SWITCHES_OF_BUTLER_16;
