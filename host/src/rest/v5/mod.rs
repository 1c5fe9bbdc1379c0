//! The API of this Butler: health, instances, events, deliveries.

mod deliveries;
mod events;
mod health;
mod instances;
mod query;

pub(super) use deliveries::{deliveries, delivery, retry};
pub(super) use events::{event, events};
pub(super) use health::{live, ready};
pub(super) use instances::plugins;
