//! Counts of active users are about one thing, the site, but of no task by which the host could keep their order. The last
//! message on a topic tells how it is now: a count that is repeated after a newer one has been published is old news.

use std::sync::{Mutex, PoisonError};

use butler_plugin_api::{Event, kind};

/// The newest count, by the store that its event is in and its number there. Times would not do: a clock may be set back.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<Option<(String, u64)>>);

impl Newest {
    /// Whether an event is still to be published.
    pub(crate) fn is_of_interest(&self, event: &Event) -> bool {
        if event.kind != kind::ACTIVE_USERS_COUNTED || event.source == Event::TEST {
            return true;
        }
        // The host numbers the events of its store: `9f3c-1234`. One that is named otherwise is published.
        let named =
            event.id.rsplit_once('-').and_then(|(store, number)| Some((store.to_owned(), number.parse().ok()?)));
        let Some((store, number)) = named else { return true };
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_some_and(|(known, latest)| *known == store && number < *latest) {
            return false;
        }
        *newest = Some((store, number));
        true
    }
}
