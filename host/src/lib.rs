//! The host of Butler: hears of events of Qlik Sense, finds out the facts, and hands each event to the plugins that want it.
//!
//! ```text
//! ingest ----> pipeline (accept, enrich, route) -> delivery -> plugins  config, store, qlik: used by all of them
//! reconcile -^
//! cloud -----^  (by rest and plugins)
//! rest, cli: drive the same services from outside                      daemon: the only place that wires
//! start_tasks: what they and plugins have Qlik Sense do; schedule: at planned times
//! service: what starts and stops the daemon, and is told how it is
//! log4net: what makes Qlik Sense send; migrate: configs of Butler 16
//! ```

pub mod cli;
pub mod cloud;
pub mod config;
mod current;
pub mod daemon;
pub mod delivery;
mod file_rights;
mod free_room;
pub mod http;
pub mod ingest;
pub mod log4net;
pub mod migrate;
mod new_files;
pub mod observe;
pub mod pipeline;
pub mod plugins;
pub mod qlik;
pub mod reconcile;
pub mod rest;
pub mod schedule;
pub mod service;
pub mod start_tasks;
mod stop;
pub mod store;
