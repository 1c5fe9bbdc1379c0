//! Durable delivery: a queue for each instance, so that a slow destination delays only itself.

mod backoff;
mod queue;
mod queues;

pub use queue::Queue;
pub use queues::{Queues, Ticket};
