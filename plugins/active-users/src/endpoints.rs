//! What the plugin serves: the answers of Butler 4 to 6, and one with nodes and times.

use butler_plugin_api::{Endpoint, Manifest, Request, Response, Scope};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::presence::Presence;
use crate::settings::Rules;
use crate::users::Users;

/// Paths, and the names of their switches: those of Butler 4 to 6.
pub(crate) const COUNT: &str = "/v4/activeusercount";
pub(crate) const NAMES: &str = "/v4/activeusers";
pub(crate) const USERS: &str = "/v5/active-users";
const COUNT_SWITCH: &str = "activeUserCount";
const NAMES_SWITCH: &str = "activeUsers";

/// Users of a page, where the caller does not say.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Adds all of them.
pub(crate) fn declare(manifest: Manifest) -> Manifest {
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    let (text, count) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let list = |items: Value| json!({ "type": "array", "items": items });
    let at = json!({ "type": "string", "format": "date-time" });
    let on_node = object(json!({ "node": text, "sessions": count, "lastEvent": at, "expires": at }));
    let user = object(json!({ "user": text, "nodes": list(on_node) }));
    let node = object(json!({ "node": text, "users": count, "lastEvent": at }));
    let mut page = object(json!({ "count": count, "nodes": list(node), "users": list(user) }));
    page["properties"]["next"] =
        json!({ "type": "string", "description": "`after` of the next page; absent: this is the last one" });
    let query = json!({
        "type": "object",
        "properties": {
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT, "description": "Most users" },
            "after": { "type": "string", "description": "`next` of the page before" },
        },
        "additionalProperties": false,
    });
    let as_text = json!({ "type": "string", "description": "A JSON array of ids, as a text" });
    manifest
        .endpoint(Endpoint::new("GET", COUNT, Scope::Read, "How many users are active").named(COUNT_SWITCH).answer(
            200,
            "Their number",
            object(json!({ "response": count })),
        ))
        .endpoint(
            Endpoint::new("GET", NAMES, Scope::Read, "Ids of the active users, without their directories")
                .named(NAMES_SWITCH)
                .answer(200, "The ids", object(json!({ "response": as_text }))),
        )
        .endpoint(
            Endpoint::new("GET", USERS, Scope::Read, "The active users with their nodes and times")
                .named(NAMES_SWITCH)
                .query(query)
                .answer(200, "A page of users, by name", page),
        )
}

/// Answers `GET /v4/activeusercount`.
pub(crate) fn count(users: &Users, now_ms: i64, rules: &Rules) -> Response {
    Response::json(200, &json!({ "response": users.active(None, now_ms, rules).count() }))
}

/// Answers `GET /v4/activeusers`.
pub(crate) fn names(users: &Users, now_ms: i64, rules: &Rules) -> Response {
    let ids: Vec<&str> = users.active(None, now_ms, rules).map(|(user, _)| id(&user.name)).collect();
    Response::json(200, &json!({ "response": json!(ids).to_string() }))
}

/// The id of a user, without the directory.
pub(crate) fn id(user: &str) -> &str {
    user.split_once('\\').map_or(user, |(_, id)| id)
}

#[derive(Serialize)]
struct Page<'a> {
    count: usize,
    nodes: Vec<Node<'a>>,
    users: Vec<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    #[serde(rename = "node")]
    name: &'a str,
    users: u64,
    last_event: String,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "user")]
    name: &'a str,
    nodes: Vec<OnNode<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OnNode<'a> {
    node: &'a str,
    sessions: u32,
    last_event: String,
    expires: String,
}

/// Answers `GET /v5/active-users`.
pub(crate) fn page(users: &mut Users, request: &Request, now_ms: i64, rules: &Rules) -> Response {
    let limit = request.query.get("limit").and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let after = request.query.get("after").and_then(Value::as_str);
    let counted = users.count(now_ms, rules);
    let users = &*users;
    let last = |node: &str| time(users.nodes().get(node).copied().unwrap_or_default());
    let nodes =
        counted.nodes.iter().map(|(node, count)| Node { name: node, users: *count, last_event: last(node) }).collect();
    let mut behind = users.active(after, now_ms, rules);
    let (mut shown, mut next) = (Vec::new(), None);
    for (user, sessions) in behind.by_ref().take(limit) {
        let nodes = sessions.into_iter().map(|(node, sessions)| {
            let last_ms = user.nodes.get(node).map_or(0, Presence::last_ms);
            let expires = time(last_ms.saturating_add(rules.expire_ms));
            OnNode { node, sessions, last_event: time(last_ms), expires }
        });
        shown.push(User { name: &user.name, nodes: nodes.collect() });
        next = Some(user.name.to_lowercase());
    }
    let next = next.filter(|_| behind.next().is_some());
    Response::json(200, &Page { count: counted.users.len(), nodes, users: shown, next })
}

/// RFC 3339 in UTC with milliseconds.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}
