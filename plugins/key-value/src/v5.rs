//! The API that is not bound to Butler 16: what is not there is a 404, and the time that is left is told.

use butler_plugin_api::{Request, Response};
use serde::Serialize;

use crate::plan::{Done, Refusal, Write};
use crate::store::Store;
use crate::text::ttl;
use crate::v4::{query, refused_alike};

/// Keys of a page, where the caller does not say.
pub(crate) const LIMIT: usize = 100;
pub(crate) const MAX_LIMIT: usize = 1_000;

#[derive(Serialize)]
struct Namespaces<'a> {
    namespaces: Vec<Counted<'a>>,
}

#[derive(Serialize)]
struct Counted<'a> {
    namespace: &'a str,
    keys: usize,
}

#[derive(Serialize)]
struct KeyPage<'a> {
    namespace: &'a str,
    keys: Vec<Key<'a>>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

#[derive(Serialize)]
struct Pair<'a> {
    namespace: &'a str,
    key: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

/// Answers `GET /v5/key-value`.
pub(crate) fn namespaces(store: &Store) -> Response {
    store.read(|data, now| {
        let counted =
            data.namespaces().map(|(name, namespace)| Counted { namespace: name, keys: namespace.count(now) });
        Response::json(200, &Namespaces { namespaces: counted.collect() })
    })
}

/// Answers `GET /v5/key-value/{namespace}`.
pub(crate) fn keys(store: &Store, namespace: &str, request: &Request) -> Response {
    let limit = request.query.get("limit").and_then(serde_json::Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let after = query(request, "after");
    let after = match after.parse::<u64>() {
        Ok(after) => Some(after),
        Err(_) if after.is_empty() => None,
        Err(_) => return Response::error(400, "`after` must be the `next` of the page before"),
    };
    store.read(|data, now| {
        let Some(known) = data.namespace(namespace) else { return no_namespace(namespace) };
        let mut behind = known.keys(after, now);
        let (mut keys, mut last) = (Vec::new(), None);
        for (key, entry) in behind.by_ref().take(limit) {
            keys.push(Key { key, ttl: entry.ttl_ms(now) });
            last = Some(entry.number);
        }
        let next = last.filter(|_| behind.next().is_some()).map(|last| last.to_string());
        Response::json(200, &KeyPage { namespace, keys, next })
    })
}

/// Answers `GET /v5/key-value/{namespace}/{key}`.
pub(crate) fn value(store: &Store, namespace: &str, key: &str) -> Response {
    store.read(|data, now| {
        let Some(known) = data.namespace(namespace) else { return no_namespace(namespace) };
        match known.get(key, now) {
            Some(entry) => Response::json(200, &Pair { namespace, key, value: &entry.value, ttl: entry.ttl_ms(now) }),
            None => no_key(namespace, key),
        }
    })
}

/// Answers `PUT /v5/key-value/{namespace}/{key}`.
pub(crate) async fn put(store: &Store, namespace: &str, key: &str, request: &Request) -> Response {
    let body = request.json().unwrap_or_default();
    let value = body["value"].as_str().unwrap_or_default();
    let span = body.get("ttl").map(ttl).unwrap_or_default().span;
    let written = match Write::set((namespace, key, value), span, &store.limits) {
        Ok(write) => store.write(write).await,
        Err(refusal) => Err(refusal),
    };
    let status = match written {
        Ok(Done::Created) => 201,
        Ok(Done::Replaced | Done::Deleted) => 200,
        Err(refusal) => return refused(namespace, key, refusal),
    };
    let ttl = span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    Response::json(status, &Pair { namespace, key, value, ttl })
}

/// Answers `DELETE /v5/key-value/{namespace}/{key}`.
pub(crate) async fn delete(store: &Store, namespace: &str, key: &str) -> Response {
    gone(store, Write::delete(namespace, key), namespace, key).await
}

/// Answers `DELETE /v5/key-value/{namespace}`.
pub(crate) async fn delete_namespace(store: &Store, namespace: &str) -> Response {
    gone(store, Write::delete_namespace(namespace), namespace, "").await
}

async fn gone(store: &Store, write: Result<Write, Refusal>, namespace: &str, key: &str) -> Response {
    let written = match write {
        Ok(write) => store.write(write).await,
        // No such name can be there.
        Err(_) => store.read(|data, _| match data.namespace(namespace) {
            Some(_) => Err(Refusal::NoKey),
            None => Err(Refusal::NoNamespace),
        }),
    };
    match written {
        Ok(_) => Response::status(204),
        Err(refusal) => refused(namespace, key, refusal),
    }
}

fn refused(namespace: &str, key: &str, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Missing => Response::error(400, "Namespace and key must not be empty"),
        Refusal::NoNamespace => no_namespace(namespace),
        Refusal::NoKey => no_key(namespace, key),
        other => refused_alike(other, "The storage failed"),
    }
}

fn no_namespace(namespace: &str) -> Response {
    Response::error(404, &format!("There is no namespace `{namespace}`"))
}

fn no_key(namespace: &str, key: &str) -> Response {
    Response::error(404, &format!("There is no key `{key}` in the namespace `{namespace}`"))
}
