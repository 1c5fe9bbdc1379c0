//! Active users, in the form of Butler 2 to 6.

use butler_plugin_api::{ActiveUsers, Event};

use super::Payload;
use crate::settings::Content;

/// How often a message is published about an event: once (`None`), for each of its nodes, or never if the event does not have
/// what it tells.
pub(crate) fn occasions<'e>(content: &Content, event: &'e Event) -> Vec<Option<&'e str>> {
    let users = of(event);
    match content {
        Content::UserCount => users.and_then(|users| users.count).map(|_| None).into_iter().collect(),
        Content::UserIds => users.and_then(|users| users.users.as_ref()).map(|_| None).into_iter().collect(),
        Content::UserCountByNode => {
            let nodes = users.and_then(|users| users.nodes.as_ref()).into_iter().flatten();
            nodes.map(|(node, _)| Some(node.as_str())).collect()
        }
        _ => vec![None],
    }
}

/// How many users there are.
pub(crate) fn user_count(event: &Event) -> Payload {
    Payload::text(of(event).and_then(|users| users.count).unwrap_or_default().to_string())
}

/// How many a node has.
pub(crate) fn user_count_of(event: &Event, node: &str) -> Payload {
    let count = of(event).and_then(|users| users.nodes.as_ref()?.get(node).copied());
    Payload::text(count.unwrap_or_default().to_string())
}

/// The ids of the users, one for each, without their directories: who are called alike in two of them stand there twice, so that
/// there are as many as are counted.
pub(crate) fn user_ids(event: &Event) -> Payload {
    let users = of(event).and_then(|users| users.users.as_deref()).unwrap_or_default();
    let id = |user: &String| user.split_once('\\').map_or(user.clone(), |(_, id)| id.to_owned());
    Payload::json(&users.iter().map(id).collect::<Vec<_>>())
}

fn of(event: &Event) -> Option<&ActiveUsers> {
    event.data.active_users.as_deref()
}
