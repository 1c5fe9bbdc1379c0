//! The API of this Butler: health, instances, events, deliveries, messages, Sense nodes.

mod app_reloads;
mod audit;
mod deliveries;
mod events;
mod health;
mod instances;
mod messages;
mod nodes;
mod notifications;
mod qlik_cloud;
mod query;
mod reload;
mod schedules;

use super::own::Declared;

pub(super) use app_reloads::app_reloads;
pub(super) use audit::audit;
pub(super) use deliveries::{deliveries, delivery, move_deliveries, retry};
pub(super) use events::{event, events};
pub(super) use health::{health, health_endpoint, live, ready};
pub(super) use instances::plugins;
pub(super) use messages::post_message;
pub(super) use nodes::nodes;
pub(super) use notifications::{before_notification, qlik_notification, without_secret};
pub(super) use qlik_cloud::{before_cloud_event, qlik_cloud_events};
pub(super) use reload::reload;
pub(super) use schedules::{Schedules, schedules};

/// What is declared of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let mut all = Vec::from(health::endpoints());
    all.extend([instances::endpoint(), nodes::endpoint(), notifications::endpoint(), qlik_cloud::endpoint()]);
    all.extend(events::endpoints());
    all.extend(deliveries::endpoints());
    all.extend([messages::endpoint(), reload::endpoint(), audit::endpoint(), app_reloads::endpoint()]);
    all.extend(schedules::endpoints());
    all
}
