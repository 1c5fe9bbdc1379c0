//! What an event says of a user.

use butler_plugin_api::{Event, kind};
use jiff::Timestamp;

use crate::presence::{Deed, Mark, Moment};

/// Kinds that tell of users.
pub(crate) const KINDS: [&str; 4] = [
    kind::USER_SESSION_STARTED,
    kind::USER_SESSION_STOPPED,
    kind::USER_CONNECTION_OPENED,
    kind::USER_CONNECTION_CLOSED,
];

/// A user who did something on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// `DIRECTORY\id`, as the event has it.
    pub(crate) user: String,
    /// Empty: not known.
    pub(crate) node: String,
    pub(crate) mark: Mark,
}

impl Sighting {
    /// None for events that tell of no user, and for tests: nothing has happened.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let deed = match event.kind.as_str() {
            kind::USER_SESSION_STARTED => Deed::Started,
            kind::USER_SESSION_STOPPED => Deed::Stopped,
            kind::USER_CONNECTION_OPENED => Deed::Opened,
            kind::USER_CONNECTION_CLOSED => Deed::Closed,
            _ => return None,
        };
        let user = event.data.user.clone().filter(|user| !user.trim().is_empty() && event.source != Event::TEST)?;
        let time = [&event.time, &event.received_at].into_iter().find_map(|text| text.parse::<Timestamp>().ok());
        // An event without a time: now is the best that is known.
        let ms = time.unwrap_or_else(Timestamp::now).as_millisecond();
        let node = event.data.node.clone().unwrap_or_default();
        Some(Self { user, node, mark: Mark(Moment(ms, event.id.clone()), deed) })
    }
}
