//! The way of an event: accepted, enriched, routed.
//!
//! ```text
//! datagrams -> accept -> store -> enrich (Qlik Sense) -> route -> deliveries in the store
//! ```
//!
//! From the commit of `accept` on an event survives; everything after it is done again after a crash.

mod accept;
mod app_reload;
mod condition;
mod enrich;
mod router;
mod vocabulary;

pub use accept::accept_datagrams;
pub use condition::FieldPath;
pub use enrich::{Enricher, EnricherParts};
pub use router::{Router, Ruling, check_rule};
pub use vocabulary::Vocabulary;
