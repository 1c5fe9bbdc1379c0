//! The simulator as a client sees it, over real connections.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;

mod access;
mod access_types;
mod behaviour;
mod cheap;
mod contents;
mod engine;
