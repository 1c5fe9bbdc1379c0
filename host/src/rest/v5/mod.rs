//! The API of this Butler: health, instances, events, deliveries, messages, Sense nodes.

mod app_reloads;
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

use butler_plugin_api::{Endpoint, Scope};

use super::own::{Declared, Own};

pub(super) use app_reloads::app_reloads;
pub(super) use deliveries::{deliveries, delivery, move_deliveries, retry};
pub(super) use events::{event, events};
pub(super) use health::{live, ready};
pub(super) use instances::plugins;
pub(super) use messages::post_message;
pub(super) use nodes::nodes;
pub(super) use notifications::{qlik_notification, without_secret};
pub(super) use qlik_cloud::qlik_cloud_events;
pub(super) use reload::reload;
pub(super) use schedules::{Schedules, schedules};

/// What is declared of them.
pub(super) fn endpoints() -> Vec<Declared> {
    let of = |method: &str, path: &str, scope, own, summary: &str| {
        Declared::new(Endpoint::new(method, path, scope, summary), own)
    };
    let (read, deliveries) = (Scope::Read, Scope::Deliveries);
    let mut all = vec![
        of("GET", "/v5/health/live", read, Own::Live, "Whether the process answers").open(),
        of("GET", "/v5/health/ready", read, Own::Ready, "Whether Butler can do its work").open(),
        of("GET", "/v5/plugins", read, Own::Plugins, "The instances and how they are"),
        of("GET", "/v5/nodes", read, Own::Nodes, "The Sense nodes that were heard of"),
        of("POST", "/v5/qlik/notifications/{secret}", read, Own::QlikNotification, "For Qlik Sense alone").open(),
        of("POST", "/v5/qlik-cloud/events", read, Own::QlikCloudEvents, "For webhooks of Qlik Cloud").open(),
        of("GET", "/v5/events", read, Own::Events, "The history of events"),
        of("GET", "/v5/events/{id}", read, Own::Event, "An event and its deliveries"),
        of("GET", "/v5/deliveries", deliveries, Own::Deliveries, "Deliveries"),
        of("GET", "/v5/deliveries/{id}", deliveries, Own::Delivery, "A delivery"),
        of("POST", "/v5/deliveries/{id}/retry", deliveries, Own::Retry, "Tries a dead delivery again"),
        of("POST", "/v5/deliveries/move", deliveries, Own::Move, "Gives deliveries of one instance to another"),
        of(
            "POST",
            "/v5/messages",
            Scope::Messages,
            Own::PostMessage,
            "Posts a message to the instances that want such",
        ),
        of("POST", "/v5/reload", Scope::Admin, Own::Reload, "Reads the config anew"),
        of("GET", "/v5/apps/reloads", read, Own::AppReloads, "Reloads of apps through Butler"),
    ];
    all.extend(schedules::endpoints());
    all
}
