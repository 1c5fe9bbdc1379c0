//! What the plugin serves, as its manifest declares it.

use butler_plugin_api::{Endpoint, Manifest, Scope};
use serde_json::{Map, Value, json};

use crate::v5::{LIMIT, MAX_LIMIT};

/// The switch of Butler 16 for all of them, and for the items of requests to start tasks.
pub(crate) const NAME: &str = "keyValueStore";
/// What keeps a write from being made, beside what is wrong with the request.
const FULL: &str = "A limit is reached: keys of the namespace, namespaces, or the storage of the instance";
const TOO_LARGE: &str = "The value, or the request, is too long";
const UNAVAILABLE: &str = "The disk does not take writes at present";

/// Adds all of them.
pub(crate) fn declare(manifest: Manifest) -> Manifest {
    v4().into_iter().chain(v5()).fold(manifest, Manifest::endpoint)
}

fn endpoint(method: &str, path: &str, summary: &str) -> Endpoint {
    Endpoint::new(method, path, Scope::Kv, summary).named(NAME)
}

/// An object; all of its properties are there but those in `optional`.
fn object(properties: &[(&str, Value)], optional: &[&str]) -> Value {
    let required: Vec<&str> =
        properties.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn pair() -> [(&'static str, Value); 3] {
    [("namespace", text()), ("key", text()), ("value", text())]
}

fn error() -> Value {
    object(&[("statusCode", json!({ "type": "integer" })), ("error", text()), ("message", text())], &[])
}

/// Adds the answers of a write that is not made.
fn write(endpoint: Endpoint) -> Endpoint {
    endpoint.answer(503, UNAVAILABLE, error())
}

fn v4() -> Vec<Endpoint> {
    let key = || json!({ "type": "object", "required": ["key"], "properties": { "key": text() } });
    let found = json!({ "type": "object", "properties": { "namespace": text(), "key": text(), "value": text() } });
    let ttl = json!({ "type": "number", "description": "Time to live in milliseconds; only above 0" });
    let body = json!({ "type": "object", "properties": { "key": text(), "value": text(), "ttl": ttl } });
    let mut stored = pair().to_vec();
    stored.push(("ttl", json!({ "type": "integer" })));
    let unknown = "No such namespace or key, or something is missing";
    vec![
        endpoint("GET", "/v4/keyvaluesnamespaces", "Names of all namespaces, in the order of their creation").answer(
            200,
            "The names",
            list(&text()),
        ),
        endpoint("GET", "/v4/keyvalues/{namespace}", "The value of a key")
            .query(key())
            .answer(200, "The value", object(&pair(), &[]))
            .answer(400, unknown, error()),
        endpoint("GET", "/v4/keyvalues/{namespace}/keyexists", "Whether a key is there, and its value")
            .query(key())
            .answer(
                200,
                "`keyValue` is empty if it is not",
                object(&[("keyExists", json!({ "type": "boolean" })), ("keyValue", found)], &[]),
            )
            .answer(400, "No such namespace, or no `key`", error()),
        write(
            endpoint("POST", "/v4/keyvalues/{namespace}", "Stores a value, in a new namespace if need be")
                .body(body)
                .answer(201, "Stored, on disk", object(&stored, &[]))
                .answer(400, "Key or value is missing, or a name is too long", error())
                .answer(409, FULL, error())
                .answer(413, TOO_LARGE, error()),
        ),
        write(
            endpoint("DELETE", "/v4/keyvalues/{namespace}/{key}", "Deletes a key")
                .answer(204, "Deleted", Value::Null)
                .answer(400, unknown, error()),
        ),
        write(
            endpoint("DELETE", "/v4/keyvalues/{namespace}", "Deletes a namespace with all its keys")
                .answer(204, "Deleted", Value::Null)
                .answer(400, "No such namespace", error()),
        ),
        endpoint("GET", "/v4/keylist/{namespace}", "The keys of a namespace, in the order of their insertion")
            .answer(
                200,
                "The keys",
                object(&[("namespace", text()), ("keys", list(&object(&[("key", text())], &[])))], &[]),
            )
            .answer(400, "No such namespace", error()),
    ]
}

fn v5() -> Vec<Endpoint> {
    let count = json!({ "type": "integer", "minimum": 0 });
    let left =
        json!({ "type": "integer", "minimum": 0, "description": "Milliseconds that are left; absent: for ever" });
    let mut stored = pair().to_vec();
    stored.push(("ttl", left.clone()));
    let stored = object(&stored, &["ttl"]);
    let key = object(&[("key", text()), ("ttl", left)], &["ttl"]);
    let counted = object(&[("namespace", text()), ("keys", count)], &[]);
    let next = json!({ "type": "string", "description": "`after` of the next page; absent: this is the last one" });
    let ttl = json!({ "type": "integer", "minimum": 0, "description": "Time to live in milliseconds; 0: for ever" });
    let page = json!({
        "type": "object",
        "properties": {
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT, "description": "Most keys" },
            "after": { "type": "string", "description": "`next` of the page before" },
        },
        "additionalProperties": false,
    });
    vec![
        endpoint("GET", "/v5/key-value", "All namespaces, in the order of their creation").answer(
            200,
            "The namespaces",
            object(&[("namespaces", list(&counted))], &[]),
        ),
        endpoint("GET", "/v5/key-value/{namespace}", "The keys of a namespace, in the order of their insertion")
            .query(page)
            .answer(
                200,
                "A page of keys",
                object(&[("namespace", text()), ("keys", list(&key)), ("next", next)], &["next"]),
            )
            .answer(400, "A parameter is wrong", error())
            .answer(404, "No such namespace", error()),
        write(
            endpoint("DELETE", "/v5/key-value/{namespace}", "Deletes a namespace with all its keys")
                .answer(204, "Deleted", Value::Null)
                .answer(404, "No such namespace", error()),
        ),
        endpoint("GET", "/v5/key-value/{namespace}/{key}", "The value of a key")
            .answer(200, "The value", stored.clone())
            .answer(404, "No such namespace or key", error()),
        write(
            endpoint("PUT", "/v5/key-value/{namespace}/{key}", "Stores a value, in a new namespace if need be")
                .body(object(&[("value", text()), ("ttl", ttl)], &["ttl"]))
                .answer(200, "Replaced, on disk", stored.clone())
                .answer(201, "Stored, on disk", stored)
                .answer(400, "The body does not fit, or a name is empty or too long", error())
                .answer(409, FULL, error())
                .answer(413, TOO_LARGE, error()),
        ),
        write(
            endpoint("DELETE", "/v5/key-value/{namespace}/{key}", "Deletes a key")
                .answer(204, "Deleted", Value::Null)
                .answer(404, "No such namespace or key", error()),
        ),
    ]
}
