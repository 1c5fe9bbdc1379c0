//! The endpoints of Butler 16, with its statuses and messages: what is not there is a 400.

use butler_plugin_api::{Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::plan::{Done, Refusal, Write};
use crate::store::Store;
use crate::text::{Ttl, ttl};

#[derive(Serialize)]
struct Pair<'a> {
    namespace: &'a str,
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    pair: Pair<'a>,
    ttl: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Existence<'a> {
    key_exists: bool,
    key_value: Found<'a>,
}

/// An empty object, or the pair.
#[derive(Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Pair(Pair<'a>),
    Nothing {},
}

#[derive(Serialize)]
struct KeyList<'a> {
    namespace: &'a str,
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
}

/// Answers `GET /v4/keyvaluesnamespaces`.
pub(crate) fn namespaces(store: &Store) -> Response {
    store.read(|data, _| {
        let names: Vec<&str> = data.namespaces().map(|(name, _)| &**name).collect();
        Response::json(200, &names)
    })
}

/// Answers `GET /v4/keyvalues/{namespace}`.
pub(crate) fn value(store: &Store, namespace: &str, key: &str) -> Response {
    store.read(|data, now| {
        let Some(known) = data.namespace(namespace) else { return no_namespace(namespace) };
        match known.get(key, now) {
            Some(entry) => Response::json(200, &Pair { namespace, key, value: &entry.value }),
            None => no_key(namespace, key),
        }
    })
}

/// Answers `GET /v4/keyvalues/{namespace}/keyexists`.
pub(crate) fn exists(store: &Store, namespace: &str, key: &str) -> Response {
    store.read(|data, now| {
        let Some(known) = data.namespace(namespace) else { return no_namespace(namespace) };
        let entry = known.get(key, now);
        let key_value = match entry {
            Some(entry) => Found::Pair(Pair { namespace, key, value: &entry.value }),
            None => Found::Nothing {},
        };
        Response::json(200, &Existence { key_exists: entry.is_some(), key_value })
    })
}

/// Answers `GET /v4/keylist/{namespace}`.
pub(crate) fn keys(store: &Store, namespace: &str) -> Response {
    store.read(|data, now| {
        let Some(known) = data.namespace(namespace) else { return no_namespace(namespace) };
        let keys = known.keys(None, now).map(|(key, _)| Key { key }).collect();
        Response::json(200, &KeyList { namespace, keys })
    })
}

/// Answers `POST /v4/keyvalues/{namespace}`.
pub(crate) async fn set(store: &Store, namespace: &str, request: &Request) -> Response {
    // Checked by the host; of a key that stands there twice the last one counts.
    let body = request.json().unwrap_or_default();
    let (key, value) = (body["key"].as_str(), body["value"].as_str());
    let (Some(key), Some(value)) = (key, value) else { return refused(namespace, "", Refusal::Missing, SETTING) };
    let Ttl { sent, span } = body.get("ttl").map(ttl).unwrap_or_default();
    let written = match Write::set((namespace, key, value), span, &store.limits) {
        Ok(write) => store.write(write).await,
        Err(refusal) => Err(refusal),
    };
    match written {
        Ok(_) => Response::json(201, &Stored { pair: Pair { namespace, key, value }, ttl: sent }),
        Err(refusal) => refused(namespace, key, refusal, SETTING),
    }
}

/// Answers `DELETE /v4/keyvalues/{namespace}/{key}`.
pub(crate) async fn delete(store: &Store, namespace: &str, key: &str) -> Response {
    let write = Write::delete(namespace, key);
    gone(store, write, (namespace, key), "Failed deleting key-value data").await
}

/// Answers `DELETE /v4/keyvalues/{namespace}`.
pub(crate) async fn delete_namespace(store: &Store, namespace: &str) -> Response {
    gone(store, Write::delete_namespace(namespace), (namespace, ""), "Failed clearing namespace").await
}

const SETTING: &str = "Failed adding key-value to namespace";

async fn gone(store: &Store, write: Result<Write, Refusal>, (namespace, key): (&str, &str), failure: &str) -> Response {
    let written = match write {
        Ok(write) => store.write(write).await,
        // No such name can be there.
        Err(Refusal::Name(_)) => store.read(|data, _| match data.namespace(namespace) {
            Some(_) => Err(Refusal::NoKey),
            None => Err(Refusal::NoNamespace),
        }),
        Err(refusal) => Err(refusal),
    };
    match written {
        Ok(Done::Created | Done::Replaced | Done::Deleted) => Response::status(204),
        Err(refusal) => refused(namespace, key, refusal, failure),
    }
}

fn refused(namespace: &str, key: &str, refusal: Refusal, failure: &str) -> Response {
    match refusal {
        Refusal::NoNamespace => no_namespace(namespace),
        Refusal::NoKey => no_key(namespace, key),
        other => refused_alike(other, failure),
    }
}

/// The answer where both versions have the same.
pub(crate) fn refused_alike(refusal: Refusal, failure: &str) -> Response {
    match refusal {
        Refusal::Missing | Refusal::NoNamespace | Refusal::NoKey => {
            Response::error(400, "Required parameter is missing")
        }
        Refusal::Name(why) => Response::error(400, &why),
        Refusal::TooLarge(why) => Response::error(413, &why),
        Refusal::Full(why) => Response::error(409, &why),
        Refusal::Unavailable(why) => Response::error(503, &why),
        Refusal::Failed(why) => Response::error(500, &format!("{failure}: {why}")),
    }
}

fn no_namespace(namespace: &str) -> Response {
    Response::error(400, &format!("Namespace not found: {namespace}"))
}

fn no_key(namespace: &str, key: &str) -> Response {
    Response::error(400, &format!("Key '{key}' not found in namespace: {namespace}"))
}

/// A parameter of the query, which the host has checked.
pub(crate) fn query<'r>(request: &'r Request, name: &str) -> &'r str {
    request.query.get(name).and_then(Value::as_str).unwrap_or_default()
}
