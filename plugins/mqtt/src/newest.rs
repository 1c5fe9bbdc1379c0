//! Counts of active users are about one thing, the site, but of no task by which the host could keep their order. The last
//! message on a topic tells how it is now: a count that is repeated after a newer one has been published is old news.

use std::sync::{Mutex, PoisonError};

use butler_plugin_api::{Event, kind};

/// The time of the newest count.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<String>);

impl Newest {
    /// Whether an event is still to be published.
    pub(crate) fn is_of_interest(&self, event: &Event) -> bool {
        if event.kind != kind::ACTIVE_USERS_COUNTED || event.source == Event::TEST {
            return true;
        }
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // RFC 3339 in UTC with milliseconds: as texts they are in order.
        if event.time < *newest {
            return false;
        }
        newest.clone_from(&event.time);
        true
    }
}
