//! The plugin against a fake host. `model`: random writes against the simplest store that could be right.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

mod model;
mod stuck;

use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on, conformance};
use butler_plugin_api::{Health, Plugin, Request, Response, ServiceError, StartError};
use serde_json::{Value, json};

use crate::KeyValue;

/// An instance that runs. Its sleeps end when the test says so.
struct Fixture {
    fake: FakeHost,
    plugin: Arc<KeyValue>,
}

impl Fixture {
    fn new(settings: Value) -> Self {
        Self::on(FakeHost::new("key-value").manual_time(), settings)
    }

    fn on(fake: FakeHost, settings: Value) -> Self {
        let plugin = block_on(fake.run::<KeyValue>(settings)).unwrap();
        Self { fake, plugin }
    }

    /// The same storage under another instance.
    fn restart(self, settings: Value) -> Self {
        Self::on(self.fake, settings)
    }

    fn send(&self, mut request: Request, params: &[(&str, &str)]) -> Answer {
        request.params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer::of(&block_on(self.plugin.call(request)))
    }

    fn v4(&self, method: &str, route: &str, params: &[(&str, &str)], body: Value) -> Answer {
        let mut request = Request::new(method, route);
        if method == "GET" {
            request.query = body.as_object().cloned().unwrap_or_default();
        } else if !body.is_null() {
            request.body = body.to_string().into_bytes();
        }
        self.send(request, params)
    }

    fn set(&self, namespace: &str, body: Value) -> Answer {
        self.v4("POST", "/v4/keyvalues/{namespace}", &[("namespace", namespace)], body)
    }

    fn get(&self, namespace: &str, key: &str) -> Answer {
        self.v4("GET", "/v4/keyvalues/{namespace}", &[("namespace", namespace)], json!({ "key": key }))
    }

    fn delete(&self, namespace: &str, key: &str) -> Answer {
        let params = [("namespace", namespace), ("key", key)];
        self.v4("DELETE", "/v4/keyvalues/{namespace}/{key}", &params, Value::Null)
    }

    fn list(&self, namespace: &str) -> Answer {
        self.v4("GET", "/v4/keylist/{namespace}", &[("namespace", namespace)], Value::Null)
    }

    fn namespaces(&self) -> Answer {
        self.v4("GET", "/v4/keyvaluesnamespaces", &[], Value::Null)
    }

    fn item(&self, payload: Value) -> Result<Value, String> {
        let input = json!({ "type": "keyvaluestore", "payload": payload, "caller": "this machine" });
        block_on(self.plugin.invoke("startTaskItem", input)).map_err(|error| error.to_string())
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn of(response: &Response) -> Self {
        let body = String::from_utf8(response.body.clone()).unwrap();
        let json = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
        assert_eq!(response.headers, if body.is_empty() { vec![] } else { vec![json] });
        Self { status: response.status, body }
    }

    fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["statusCode"], self.status);
        body["message"].as_str().unwrap().to_owned()
    }
}

fn is(status: u16, body: &str) -> Answer {
    Answer { status, body: body.to_owned() }
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<KeyValue>(json!({}));
    conformance::<KeyValue>(json!({ "maxKeysPerNamespace": 5, "maxNamespaces": 2, "maxValueSize": "4kB" }));
}

#[test]
fn answers_are_those_of_butler_16() {
    let store = Fixture::new(json!({}));
    assert_eq!(store.namespaces(), is(200, "[]"));
    assert_eq!(
        store.set("ns1", json!({ "key": "k", "value": "v", "ttl": 250 })),
        is(201, r#"{"namespace":"ns1","key":"k","value":"v","ttl":250}"#)
    );
    assert_eq!(
        store.set("ns1", json!({ "key": "é/:", "value": "", "ttl": -7.5 })),
        is(201, r#"{"namespace":"ns1","key":"é/:","value":"","ttl":-7}"#)
    );
    assert_eq!(
        store.set("x:y", json!({ "value": "1", "key": "k", "more": [] })),
        is(201, r#"{"namespace":"x:y","key":"k","value":"1","ttl":0}"#)
    );
    assert_eq!(store.namespaces(), is(200, r#"["ns1","x:y"]"#));
    assert_eq!(store.list("ns1"), is(200, r#"{"namespace":"ns1","keys":[{"key":"k"},{"key":"é/:"}]}"#));
    assert_eq!(store.list("x:y"), is(200, r#"{"namespace":"x:y","keys":[{"key":"k"}]}"#));
    assert_eq!(store.get("ns1", "é/:"), is(200, r#"{"namespace":"ns1","key":"é/:","value":""}"#));
    let exists = |key: &str| {
        let route = "/v4/keyvalues/{namespace}/keyexists";
        store.v4("GET", route, &[("namespace", "x:y")], json!({ "key": key }))
    };
    assert_eq!(exists("k"), is(200, r#"{"keyExists":true,"keyValue":{"namespace":"x:y","key":"k","value":"1"}}"#));
    assert_eq!(exists("other"), is(200, r#"{"keyExists":false,"keyValue":{}}"#));

    assert_eq!(store.delete("x:y", "k"), is(204, ""));
    let again = store.delete("x:y", "k");
    assert_eq!((again.status, again.message()), (400, "Key 'k' not found in namespace: x:y".to_owned()));
    assert_eq!(store.list("x:y"), is(200, r#"{"namespace":"x:y","keys":[]}"#), "it stays when it is empty");
    let clear = |namespace| store.v4("DELETE", "/v4/keyvalues/{namespace}", &[("namespace", namespace)], Value::Null);
    assert_eq!(clear("ns1"), is(204, ""));
    let unknown = "Namespace not found: ns1";
    let long = "n".repeat(5_000);
    for (answer, status, message) in [
        (clear("ns1"), 400, unknown),
        (store.get("ns1", "k"), 400, unknown),
        (store.list("ns1"), 400, unknown),
        (store.delete("ns1", "k"), 400, unknown),
        (store.get("x:y", "k"), 400, "Key 'k' not found in namespace: x:y"),
        (store.delete("x:y", ""), 400, "Required parameter is missing"),
        (store.set("x:y", json!({ "value": "v" })), 400, "Required parameter is missing"),
        (store.set("x:y", json!({ "key": "", "value": "v" })), 400, "Required parameter is missing"),
        (store.set("x:y", json!({ "key": "k" })), 400, "Required parameter is missing"),
        (store.set("", json!({ "key": "k", "value": "v" })), 400, "Required parameter is missing"),
        (store.set("x:y", Value::Null), 400, "Required parameter is missing"),
        (
            store.set(&long, json!({ "key": "k", "value": "v" })),
            400,
            "The name of the namespace has 5000 bytes, at most 4096 are taken",
        ),
        (
            store.set("x:y", json!({ "key": long, "value": "v" })),
            400,
            "The name of the key has 5000 bytes, at most 4096 are taken",
        ),
        (store.delete("x:y", &long), 400, &format!("Key '{long}' not found in namespace: x:y")),
    ] {
        assert_eq!((answer.status, answer.message().as_str()), (status, message));
    }
    assert_eq!(store.namespaces(), is(200, r#"["x:y"]"#), "what is refused leaves nothing behind");
}

#[test]
fn version_5_tells_not_found_from_wrong_and_the_time_that_is_left() {
    let store = Fixture::new(json!({}));
    let call = |method: &str, namespace: Option<&str>, key: Option<&str>, body: Value| {
        let mut params = Vec::new();
        params.extend(namespace.map(|namespace| ("namespace", namespace)));
        params.extend(key.map(|key| ("key", key)));
        let route = ["/v5/key-value", "/v5/key-value/{namespace}", "/v5/key-value/{namespace}/{key}"][params.len()];
        store.v4(method, route, &params, body)
    };
    let value = |method: &str, key: &str, body: Value| call(method, Some("a b"), Some(key), body);
    assert_eq!(value("PUT", "k", json!({ "value": "1" })), is(201, r#"{"namespace":"a b","key":"k","value":"1"}"#));
    assert_eq!(
        value("PUT", "k", json!({ "value": "2", "ttl": 3_600_000 })),
        is(200, r#"{"namespace":"a b","key":"k","value":"2","ttl":3600000}"#)
    );
    let body: Value = serde_json::from_str(&value("GET", "k", Value::Null).body).unwrap();
    let left = body["ttl"].as_u64().unwrap();
    assert!(body["value"] == "2" && (3_500_000..=3_600_000).contains(&left), "{body}");
    for n in 0..5 {
        value("PUT", &format!("n{n}"), json!({ "value": "x" }));
    }
    assert_eq!(call("GET", None, None, Value::Null), is(200, r#"{"namespaces":[{"namespace":"a b","keys":6}]}"#));
    let (mut read, mut query, mut pages) = (Vec::new(), json!({ "limit": 2 }), 0);
    loop {
        let page: Value = serde_json::from_str(&call("GET", Some("a b"), None, query.clone()).body).unwrap();
        read.extend(page["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap().to_owned()));
        pages += 1;
        match page.get("next") {
            Some(next) => query["after"] = next.clone(),
            None => break,
        }
    }
    assert_eq!((read.join(" ").as_str(), pages), ("k n0 n1 n2 n3 n4", 3));
    assert_eq!(value("DELETE", "k", Value::Null), is(204, ""));
    for (answer, status, message) in [
        (value("GET", "k", Value::Null), 404, "There is no key `k` in the namespace `a b`"),
        (value("DELETE", "k", Value::Null), 404, "There is no key `k` in the namespace `a b`"),
        (call("GET", Some("c"), Some("k"), Value::Null), 404, "There is no namespace `c`"),
        (call("GET", Some("c"), None, Value::Null), 404, "There is no namespace `c`"),
        (call("DELETE", Some("c"), None, Value::Null), 404, "There is no namespace `c`"),
        (call("DELETE", Some(""), None, Value::Null), 404, "There is no namespace ``"),
        (call("DELETE", Some("c"), Some("k"), Value::Null), 404, "There is no namespace `c`"),
        (call("GET", Some("a b"), None, json!({ "after": "x" })), 400, "`after` must be the `next` of the page before"),
        (value("PUT", "", json!({ "value": "x" })), 400, "Namespace and key must not be empty"),
    ] {
        assert_eq!((answer.status, answer.message().as_str()), (status, message));
    }
    assert_eq!(call("DELETE", Some("a b"), None, Value::Null), is(204, ""));
    assert_eq!(call("GET", None, None, Value::Null), is(200, r#"{"namespaces":[]}"#));
}

#[test]
fn limits_are_kept_and_say_what_to_do() {
    let settings = json!({ "maxKeysPerNamespace": 2, "maxNamespaces": 2, "maxValueSize": "1kB" });
    let store = Fixture::new(settings.clone());
    let pair = |key: &str| json!({ "key": key, "value": "v" });
    for key in ["a", "b", "a"] {
        assert_eq!(store.set("one", pair(key)).status, 201);
    }
    let full = store.set("one", pair("c"));
    assert_eq!(full.status, 409);
    assert!(full.message().contains("has 2 keys") && full.message().contains("maxKeysPerNamespace"), "{full:?}");
    assert_eq!((store.delete("one", "a").status, store.set("one", pair("c")).status), (204, 201));
    assert_eq!((store.set("two", pair("a")).status, store.set("three", pair("a")).status), (201, 409));
    assert!(store.set("three", pair("a")).message().contains("2 namespaces"));
    let long = |length| json!({ "key": "a", "value": "é".repeat(length) });
    assert_eq!((store.set("two", long(512)).status, store.set("two", long(513)).status), (201, 413));
    // One whose time is over is none.
    store.delete("one", "b");
    assert_eq!(store.set("one", json!({ "key": "short", "value": "v", "ttl": 1 })).status, 201);
    std::thread::sleep(Duration::from_millis(5));
    store.fake.advance(Duration::from_millis(5));
    assert_eq!(store.set("one", pair("d")).status, 201);
    // What is there already stays, whatever the limits are now.
    let store = store.restart(json!({ "maxKeysPerNamespace": 1, "maxNamespaces": 1 }));
    assert_eq!(store.list("one"), is(200, r#"{"namespace":"one","keys":[{"key":"c"},{"key":"d"}]}"#));
    assert_eq!((store.set("one", pair("c")).status, store.set("one", pair("e")).status), (201, 409));
    assert_eq!(store.set("two", pair("a")).status, 201);
}

#[test]
fn everything_is_there_after_a_restart_in_its_order_and_with_the_time_that_is_left() {
    let odd = ["b", "a", "\0", "x/y:z", "..", "☃", "keys/0000000000/"];
    let long = "k".repeat(4_096);
    let store = Fixture::new(json!({}));
    for name in odd.into_iter().chain([long.as_str()]) {
        for key in ["2", "1", "2"] {
            assert_eq!(store.set(name, json!({ "key": key, "value": name })).status, 201);
        }
        assert_eq!(store.set("all", json!({ "key": name, "value": "v\0", "ttl": 60_000 })).status, 201);
    }
    store.v4("DELETE", "/v4/keyvalues/{namespace}", &[("namespace", "a")], Value::Null);
    store.set("a", json!({ "key": "new", "value": "v" }));
    let (names, lists) = (store.namespaces(), [store.list("all"), store.list("\0"), store.list("a")]);
    assert_eq!(lists[2], is(200, r#"{"namespace":"a","keys":[{"key":"new"}]}"#));
    store.fake.advance(Duration::from_secs(50));
    let store = store.restart(json!({}));
    assert_eq!((store.namespaces(), [store.list("all"), store.list("\0"), store.list("a")]), (names, lists));
    for name in odd.into_iter().filter(|name| *name != "a") {
        let body: Value = serde_json::from_str(&store.get(name, "1").body).unwrap();
        assert_eq!(body, json!({ "namespace": name, "key": "1", "value": name }));
    }
    let route = "/v5/key-value/{namespace}/{key}";
    let body = store.v4("GET", route, &[("namespace", "all"), ("key", &long)], Value::Null).body;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!((9_000..=10_000).contains(&body["ttl"].as_u64().unwrap()), "{body}");
    store.fake.advance(Duration::from_secs(10));
    let store = store.restart(json!({}));
    assert_eq!(store.list("all"), is(200, r#"{"namespace":"all","keys":[]}"#));
    // Numbers go on behind those that are there.
    store.set("later", json!({ "key": "k", "value": "v" }));
    assert!(store.namespaces().body.ends_with(r#","a","later"]"#), "{:?}", store.namespaces());
}

#[test]
fn more_than_a_page_of_records_is_read() {
    let settings = json!({ "maxKeysPerNamespace": 5_000, "maxNamespaces": 5_000 });
    let store = Fixture::new(settings.clone());
    for n in 0..2_100 {
        store.set("all", json!({ "key": n.to_string(), "value": "v" }));
        store.set(&n.to_string(), json!({ "key": "k", "value": "v" }));
    }
    let before = (store.namespaces(), store.list("all"));
    assert!(before.1.body.ends_with(r#"{"key":"2099"}]}"#), "{:?}", before.1);
    let store = store.restart(settings);
    assert_eq!((store.namespaces(), store.list("all")), before);
}

#[test]
fn items_of_requests_to_start_tasks_are_stored_as_text() {
    let store = Fixture::new(json!({ "maxValueSize": "1kB" }));
    let pair = |key: &str, value: Value| json!({ "namespace": "p", "key": key, "value": value, "ttl": "" });
    for (value, expected) in [
        (json!("1"), "1"),
        (json!(5), "5"),
        (json!(0), "0"),
        (json!(false), "false"),
        (json!({ "b": [1], "a": null }), r#"{"a":null,"b":[1]}"#),
    ] {
        assert_eq!(store.item(pair("a", value)), Ok(Value::Null));
        let body: Value = serde_json::from_str(&store.get("p", "a").body).unwrap();
        assert_eq!(body["value"], expected);
    }
    let passed_over = [
        json!({}),
        pair("b", json!("")),
        pair("b", Value::Null),
        pair("", json!("v")),
        json!({ "namespace": {}, "key": "b", "value": "v" }),
        json!({ "key": "b", "value": "v" }),
    ];
    let count = passed_over.len();
    for payload in passed_over {
        assert_eq!(store.item(payload), Ok(Value::Null));
    }
    let warnings = store.fake.records().into_iter().filter(|record| record.level == 2).count();
    assert_eq!((store.list("p"), warnings), (is(200, r#"{"namespace":"p","keys":[{"key":"a"}]}"#), count));
    let refused = store.item(pair("b", json!("v".repeat(1_025)))).unwrap_err();
    assert!(refused.contains("at most 1024 are taken"), "{refused}");
    for ttl in
        [json!("nonsense"), json!(0), json!("0"), json!("-5"), json!(null), json!([]), json!("1e400"), json!("NaN")]
    {
        store.item(json!({ "namespace": 7, "key": true, "value": "v", "ttl": ttl })).unwrap();
        assert_eq!(store.get("7", "true").status, 200, "{ttl}");
    }
    for ttl in [json!(1), json!("1"), json!(" 1.5 ")] {
        store.item(json!({ "namespace": 7, "key": true, "value": "v", "ttl": ttl })).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(store.get("7", "true").status, 400, "{ttl}");
    }
}

#[test]
fn a_storage_that_refuses_changes_nothing_and_is_told() {
    let store = Fixture::new(json!({}));
    assert_eq!(store.set("a", json!({ "key": "k", "value": "1" })).status, 201);
    let store = Fixture {
        fake: store.fake.fail_service("storage", ServiceError::Failed("the store refused it".to_owned())),
        ..store
    };
    let failed = store.set("a", json!({ "key": "k", "value": "2" }));
    assert_eq!(
        (failed.status, failed.message()),
        (500, "Failed adding key-value to namespace: the store refused it".to_owned())
    );
    assert_eq!(store.delete("a", "k").message(), "Failed deleting key-value data: the store refused it");
    assert!(matches!(block_on(store.plugin.health()), Health::Degraded(text) if text.contains("refused it")));
    let failed = block_on(store.plugin.invoke("check", Value::Null)).unwrap_err();
    assert!(failed.to_string().contains("does not take writes"), "{failed}");
    let store = Fixture { fake: store.fake.fail_service("storage", ServiceError::Quota("64 MB".to_owned())), ..store };
    let full = store.set("a", json!({ "key": "k", "value": "2" }));
    assert_eq!((full.status, full.message()), (409, "64 MB".to_owned()));
    assert_eq!(store.get("a", "k"), is(200, r#"{"namespace":"a","key":"k","value":"1"}"#));
    store.fake.stop();
    assert_eq!(store.set("a", json!({ "key": "k", "value": "2" })).status, 503);
}

#[test]
fn it_does_not_start_on_a_host_without_pages_and_waits_for_one_that_fails() {
    let start = |error| {
        let fake = FakeHost::new("key-value").fail_service("storage", error);
        block_on(fake.start::<KeyValue>(json!({}))).err().unwrap()
    };
    let old = start(ServiceError::Unsupported("no operation `entries`".to_owned()));
    assert!(matches!(&old, StartError::Config(text) if text.contains("newer Butler")), "{old}");
    assert!(matches!(start(ServiceError::Failed("x".to_owned())), StartError::Unavailable(_)));
    let fake = FakeHost::new("key-value");
    let wrong = block_on(fake.start::<KeyValue>(json!({ "maxNamespaces": 0 }))).err().unwrap();
    assert!(matches!(wrong, StartError::Config(_)), "{wrong}");
}

#[test]
fn what_the_check_and_the_metrics_say() {
    let store = Fixture::new(json!({}));
    for key in ["a", "b"] {
        store.set("one", json!({ "key": key, "value": "v" }));
    }
    store.set("two", json!({ "key": "a", "value": "v", "ttl": 1 }));
    store.delete("one", "a");
    std::thread::sleep(Duration::from_millis(5));
    let said = block_on(store.plugin.invoke("check", Value::Null)).unwrap();
    assert_eq!(said, "the storage takes writes; namespaces: 2, keys: 1");
    assert_eq!(store.fake.stored(crate::records::PROBE), None);
    store.fake.wait_until("the loop to sleep", |fake| fake.sleeping() == 1);
    store.fake.advance(Duration::from_secs(10));
    let seen = |fake: &FakeHost, name: &str, value: f64| fake.metric(name) == Some(value);
    store.fake.wait_until("what has expired to be taken out", |fake| {
        seen(fake, "keys", 1.0) && seen(fake, "namespaces", 2.0)
    });
    assert_eq!(store.fake.metric("writes_total{operation=\"set\"}"), Some(3.0));
    assert_eq!(store.fake.metric("writes_total{operation=\"delete\"}"), Some(1.0));
}

#[test]
fn writes_from_many_threads_end_as_memory_and_storage_agree() {
    let store = Fixture::new(json!({}));
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let store = &store;
            threads.spawn(move || {
                for n in 0..200 {
                    let key = format!("k{}", n % 5);
                    match (n + thread) % 7 {
                        0 => drop(store.delete("ns", &key)),
                        1 => drop(store.v4("DELETE", "/v4/keyvalues/{namespace}", &[("namespace", "ns")], Value::Null)),
                        _ => {
                            let value = format!("{thread}/{n}");
                            assert_eq!(store.set("ns", json!({ "key": key, "value": value })).status, 201);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(store.set("ns", json!({ "key": "last", "value": "v" })).status, 201);
    let read = |store: &Fixture| {
        let list = store.list("ns");
        let keys: Value = serde_json::from_str(&list.body).unwrap();
        let values = keys["keys"].as_array().unwrap().iter().map(|key| store.get("ns", key["key"].as_str().unwrap()));
        (values.collect::<Vec<_>>(), list)
    };
    let before = read(&store);
    assert_eq!(read(&store.restart(json!({}))), before);
}

#[test]
fn a_stop_takes_no_more_writes() {
    let store = Fixture::new(json!({}));
    assert_eq!(store.set("one", json!({ "key": "a", "value": "v" })).status, 201);
    block_on(store.plugin.stop());
    let refused = store.set("one", json!({ "key": "b", "value": "v" }));
    assert_eq!((refused.status, refused.message().as_str()), (503, "The instance is being stopped"));
    assert_eq!(store.get("one", "a").status, 200);
}

#[test]
fn numbers_of_keys_that_nobody_knows_are_not_given_again() {
    let stray = json!({ "key": "stray", "value": "v" });
    let fake = FakeHost::new("key-value").manual_time().store(&crate::records::place_of_key(0, 7), stray.clone());
    let store = Fixture::on(fake, json!({}));
    store.set("one", json!({ "key": "a", "value": "v" }));
    let store = store.restart(json!({}));
    assert_eq!(store.list("one").body, r#"{"namespace":"one","keys":[{"key":"a"}]}"#);
    assert_eq!(store.fake.stored(&crate::records::place_of_key(0, 7)), Some(stray));
}
