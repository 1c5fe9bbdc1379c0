//! Ingestion: from a UDP datagram of a Qlik Sense log appender to facts with the keys that identify them.
//!
//! The server has a socket or two (`server`, `socket`). A thread named `udp` for each does nothing but receive (`reader`,
//! `receive`): it checks source and rate (`guard`) and copies datagrams into a buffer bounded by bytes (`buffer`).
//! Everything slower happens behind the buffer: the pipeline takes batches, parses them (`wire`) and claims their keys
//! (`keys`). What is lost on the way is counted by reason (`counters`), how long it takes is
//! measured (`timing`), and a socket that cannot be read is told (`faults`). [`sample`] writes messages as Qlik Sense would,
//! for tests and for `butler udp-send`.

mod buffer;
mod counters;
mod faults;
mod guard;
mod keys;
mod reader;
mod receive;
pub mod sample;
mod seal;
mod server;
mod socket;
mod timing;
mod wire;

pub use buffer::{Buffer, CAPACITY, Datagram, Usage};
pub use counters::{Counter, Counters, DropReason, LogLimiter, Snapshot};
pub use faults::Faults;
pub use guard::{AllowFromError, Guard, RateLimit};
pub use keys::{KeyBase, Outcome, Subject, keys};
pub use seal::Seal;
pub use server::{Running, Taking, UdpServer};
pub use socket::BindError;
pub use timing::{Timing, Together, Took, note};
pub use wire::{DISTRIBUTE_PENDING, Heard, Reject, parse};
