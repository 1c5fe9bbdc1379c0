//! The key-value store as load scripts and other callers see it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lasting;

use std::time::{Duration, Instant};

use e2e::{Butler, PATIENCE, http, run, wait_for};
use serde_json::{Value, json};

const CONFIG: &str = "plugins:\n  - use: key-value\n";

fn config(settings: &str) -> String {
    format!("plugins:\n  - use: key-value\n    settings: {{ {settings} }}\n")
}

/// An answer, with its body as it came.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request as Qlik's REST connector does: only GET and POST, the method that is meant in a header. `None`: nobody
/// answered.
async fn try_send(rest: &str, method: &str, path: &str, body: Option<String>) -> Option<Answer> {
    let mut request = match method {
        "GET" => http().get(format!("{rest}{path}")),
        other => http().post(format!("{rest}{path}")).header("X-HTTP-Method-Override", other),
    };
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    let answer = request.timeout(PATIENCE).send().await.ok()?;
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = answer.text().await.ok()?;
    let json = (!text.is_empty()).then(|| "application/json; charset=utf-8".to_owned());
    assert_eq!(content_type, json, "{method} {path}: {text}");
    Some(Answer { status, text })
}

async fn send(butler: &Butler, method: &str, path: &str, body: Value) -> Answer {
    let body = (!body.is_null()).then(|| body.to_string());
    try_send(butler.rest(), method, path, body).await.expect("the daemon answers")
}

async fn get(butler: &Butler, path: &str) -> Answer {
    send(butler, "GET", path, Value::Null).await
}

async fn set(butler: &Butler, namespace: &str, body: Value) -> Answer {
    send(butler, "POST", &format!("/v4/keyvalues/{namespace}"), body).await
}

fn is(status: u16, text: &str) -> Answer {
    Answer { status, text: text.to_owned() }
}

async fn running(butler: &Butler) {
    wait_for("the instance to run", || async {
        (get(butler, "/v4/keyvaluesnamespaces").await.status == 200).then_some(())
    })
    .await;
}

async fn start(config: &str) -> Butler {
    let butler = Butler::start(config).await;
    running(&butler).await;
    butler
}

async fn start_again(butler: Butler) -> Butler {
    let butler = butler.kill_and_start().await;
    running(&butler).await;
    butler
}

#[tokio::test]
async fn the_calls_of_butler_16_have_its_answers() {
    let butler = start(CONFIG).await;
    // 5 and 6: a time to live, sent as text as load scripts do, and one that is taken back.
    let sent = Instant::now();
    assert_eq!(
        set(&butler, "ns1", json!({ "key": "k", "value": "v", "ttl": "1500" })).await,
        is(201, r#"{"namespace":"ns1","key":"k","value":"v","ttl":1500}"#)
    );
    set(&butler, "ns1", json!({ "key": "stays", "value": "v", "ttl": 100 })).await;
    set(&butler, "ns1", json!({ "key": "stays", "value": "v" })).await;
    assert_eq!(get(&butler, "/v4/keyvalues/ns1?key=k").await, is(200, r#"{"namespace":"ns1","key":"k","value":"v"}"#));
    let gone = wait_for("the end of the key", || async {
        let answer = get(&butler, "/v4/keyvalues/ns1?key=k").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert!(sent.elapsed() >= Duration::from_millis(1500));
    assert_eq!((gone.status, gone.message().as_str()), (400, "Key 'k' not found in namespace: ns1"));
    assert_eq!(get(&butler, "/v4/keyvaluesnamespaces").await, is(200, r#"["ns1"]"#));
    assert_eq!(get(&butler, "/v4/keylist/ns1").await, is(200, r#"{"namespace":"ns1","keys":[{"key":"stays"}]}"#));
    // 7: what is no text becomes one.
    assert_eq!(
        set(&butler, "ns1", json!({ "key": "n", "value": 5 })).await,
        is(201, r#"{"namespace":"ns1","key":"n","value":"5","ttl":0}"#)
    );
    // 8
    let unknown = get(&butler, "/v4/keyvalues/nope/keyexists?key=a").await;
    assert_eq!(unknown, is(400, r#"{"statusCode":400,"error":"Bad Request","message":"Namespace not found: nope"}"#));
    assert_eq!(
        get(&butler, "/v4/keyvalues/ns1/keyexists?key=a").await,
        is(200, r#"{"keyExists":false,"keyValue":{}}"#)
    );
    // 9
    for key in ["a", "b"] {
        set(&butler, "ns2", json!({ "key": key, "value": "v" })).await;
    }
    assert_eq!(
        get(&butler, "/v4/keylist/ns2").await,
        is(200, r#"{"namespace":"ns2","keys":[{"key":"a"},{"key":"b"}]}"#)
    );
    set(&butler, "x:y", json!({ "key": "k", "value": "v" })).await;
    assert_eq!(get(&butler, "/v4/keylist/x:y").await, is(200, r#"{"namespace":"x:y","keys":[{"key":"k"}]}"#));
    // 10
    assert_eq!(send(&butler, "DELETE", "/v4/keyvalues/ns2/a", Value::Null).await, is(204, ""));
    let again = send(&butler, "DELETE", "/v4/keyvalues/ns2/a", Value::Null).await;
    assert_eq!((again.status, again.message().as_str()), (400, "Key 'a' not found in namespace: ns2"));
    // The stored body of a connection means nothing to a DELETE.
    assert_eq!(send(&butler, "DELETE", "/v4/keyvalues/ns2", json!({ "key": "x" })).await, is(204, ""));

    for (method, path, body, message) in [
        ("GET", "/v4/keyvalues/nope", Value::Null, "querystring must have required property 'key'"),
        ("GET", "/v4/keyvalues/nope/keyexists", Value::Null, "querystring must have required property 'key'"),
        ("GET", "/v4/keylist/nope", Value::Null, "Namespace not found: nope"),
        ("DELETE", "/v4/keyvalues/nope", Value::Null, "Namespace not found: nope"),
        ("DELETE", "/v4/keyvalues/ns1/", Value::Null, "Required parameter is missing"),
        ("POST", "/v4/keyvalues/ns1", Value::Null, "body must be object"),
        ("POST", "/v4/keyvalues/ns1", json!({ "key": "", "value": "v" }), "Required parameter is missing"),
        ("POST", "/v4/keyvalues/ns1", json!({ "value": "v" }), "Required parameter is missing"),
        ("POST", "/v4/keyvalues/ns1", json!({ "key": "k" }), "Required parameter is missing"),
        ("POST", "/v4/keyvalues/ns1", json!({ "key": "k", "value": "v", "ttl": "" }), "body/ttl must be number"),
        ("POST", "/v4/keyvalues/ns1", json!({ "key": "k", "value": {} }), "body/value must be string"),
    ] {
        let answer = send(&butler, method, path, body).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, message), "{method} {path}");
    }
}

#[tokio::test]
async fn odd_names_and_bodies_come_back_as_they_were() {
    let butler = start(CONFIG).await;
    let names =
        [("%2E%2Ea", "..a"), ("a%2Fb", "a/b"), ("%00", "\0"), ("%C3%A9%20%25", "é %"), ("+", "+"), ("a:b:c", "a:b:c")];
    for (encoded, name) in names {
        let value = format!("\"{name}\u{1}\n");
        assert_eq!(set(&butler, encoded, json!({ "key": name, "value": value })).await.status, 201, "{encoded}");
        let query = encoded.replace('+', "%2B");
        let pair = json!({ "namespace": name, "key": name, "value": value });
        assert_eq!(get(&butler, &format!("/v4/keyvalues/{encoded}?key={query}")).await.json(), pair);
        let path = format!("/v5/key-value/{encoded}/{encoded}");
        assert_eq!(get(&butler, &path).await.json(), pair);
        assert_eq!(send(&butler, "DELETE", &path, Value::Null).await, is(204, ""));
    }
    // Of a key that stands there twice the last one counts; a byte order mark is none of the body.
    for body in [r#"{"key":"x","key":"k","value":"v"}"#, "\u{feff}{\"key\":\"k\",\"value\":\"v\"}"] {
        let answer = try_send(butler.rest(), "POST", "/v4/keyvalues/odd", Some(body.to_owned())).await.unwrap();
        assert_eq!(answer, is(201, r#"{"namespace":"odd","key":"k","value":"v","ttl":0}"#), "{body}");
    }
    let butler = start_again(butler).await;
    let names: Vec<&str> = names.iter().map(|(_, name)| *name).chain(["odd"]).collect();
    assert_eq!(get(&butler, "/v4/keyvaluesnamespaces").await.json(), json!(names));
}

#[tokio::test]
async fn an_item_of_a_request_to_start_tasks_is_stored() {
    let butler = start(&config("maxValueSize: 1kB")).await;
    let item = |value: Value, ttl: Value| json!([{ "type": "keyvaluestore", "payload": { "namespace": "p", "key": "a", "value": value, "ttl": ttl } }]);
    let start = async |body: Value| send(&butler, "PUT", "/v4/reloadtask/-/start", body).await;
    assert_eq!(start(item(json!("1"), json!(""))).await.status, 200);
    assert_eq!(get(&butler, "/v4/keyvalues/p?key=a").await.json()["value"], "1");
    assert_eq!(start(item(json!({ "n": 1 }), json!("3600000"))).await.status, 200);
    let stored = get(&butler, "/v5/key-value/p/a").await.json();
    assert_eq!(stored["value"], r#"{"n":1}"#);
    assert!((3_500_000..=3_600_000).contains(&stored["ttl"].as_u64().unwrap()), "{stored}");
    assert_eq!(start(item(json!(""), json!(0))).await.status, 200);
    assert_eq!(get(&butler, "/v4/keyvalues/p?key=a").await.json()["value"], r#"{"n":1}"#, "passed over");
    assert!(butler.log().contains("is passed over"), "{}", butler.log());
    let refused = start(item(json!("v".repeat(1_025)), json!(0))).await;
    assert_eq!(refused.status, 500);
    assert!(refused.message().contains("at most 1024 are taken"), "{refused:?}");
}

/// A new token: itself, and its entry of the config.
fn token(scopes: &str) -> (String, String) {
    let output = run(&["token", "new", "--name", scopes, "--scopes", scopes]);
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    (secret, output.stdout.split_once("tokens:\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn who_may_only_start_tasks_stores_nothing() {
    let ((tasks, one), (both, other)) = (token("tasks"), token("tasks,kv"));
    let butler = Butler::start(&format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{one}{other}\n{CONFIG}")).await;
    let start = async |token: &str, body: Value| {
        let request = http().put(format!("{}/v4/reloadtask/-/start", butler.rest())).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let exists = async || {
        let request = http().get(format!("{}/v4/keyvalues/p/keyexists?key=a", butler.rest())).bearer_auth(&both);
        request.send().await.unwrap().text().await.unwrap().contains("true")
    };
    let item = json!([{ "type": "keyvaluestore", "payload": { "namespace": "p", "key": "a", "value": "1" } }]);
    let (status, answer) = start(&tasks, item.clone()).await;
    assert!(status == 403 && answer.contains("lacks the scope `kv`"), "{status} {answer}");
    assert!(!exists().await);
    assert_eq!(start(&tasks, json!([])).await.0, 200);
    wait_for("the instance to run", || async { (start(&both, item.clone()).await.0 == 200).then_some(()) }).await;
    assert!(exists().await);
}

#[tokio::test]
async fn where_the_endpoints_are_off_items_are_passed_over_and_the_call_goes_on() {
    let off = "rest:\n  listen: 127.0.0.1:0\n  disabledEndpoints: [keyValueStore]\n";
    let butler = Butler::start(&format!("{off}{CONFIG}")).await;
    let body = json!([{ "type": "keyvaluestore", "payload": { "namespace": "p", "key": "a", "value": "1" } }]);
    let answer = send(&butler, "PUT", "/v4/reloadtask/-/start", body).await;
    assert_eq!((answer.status, answer.json()["tasksId"]["invalid"].clone()), (200, json!([])), "{answer:?}");
    assert!(butler.log().contains("is passed over: it is in `rest.disabledEndpoints`"), "{}", butler.log());
    let file = butler.config();
    let config = std::fs::read_to_string(file).unwrap().replace("  disabledEndpoints: [keyValueStore]\n", "");
    std::fs::write(file, config).unwrap();
    assert_eq!(send(&butler, "POST", "/v5/reload", Value::Null).await.status, 200);
    running(&butler).await;
    assert_eq!(get(&butler, "/v4/keyvaluesnamespaces").await.json(), json!([]));
}

#[tokio::test]
async fn limits_are_told_with_the_setting_that_they_are() {
    let butler = start(&config("maxKeysPerNamespace: 2, maxNamespaces: 1, maxValueSize: 2kB")).await;
    let put = async |path: &str, value: String| {
        send(&butler, "PUT", &format!("/v5/key-value/{path}"), json!({ "value": value })).await
    };
    let small = || "v".to_owned();
    assert_eq!((put("ns/a", small()).await.status, put("ns/b", small()).await.status), (201, 201));
    let long = "n".repeat(4_097);
    for (path, value, status, word) in [
        ("ns/c", small(), 409, "maxKeysPerNamespace"),
        ("other/a", small(), 409, "maxNamespaces"),
        ("ns/a", "v".repeat(2_049), 413, "maxValueSize"),
        (&format!("ns/{long}"), small(), 400, "4097 bytes, at most 4096"),
        (&format!("{long}/a"), small(), 400, "4097 bytes, at most 4096"),
        ("ns/", small(), 400, "must not be empty"),
    ] {
        let answer = put(path, value.clone()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.message().contains(word), "{answer:?}");
        let (namespace, key) = path.split_once('/').unwrap();
        let answer = set(&butler, namespace, json!({ "key": key, "value": value })).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(put("ns/a", "v".repeat(2_048)).await.status, 200);
    assert_eq!(get(&butler, "/v5/key-value").await.json(), json!({ "namespaces": [{ "namespace": "ns", "keys": 2 }] }));
    let page = get(&butler, "/v5/key-value/ns?limit=1").await.json();
    assert_eq!(page["keys"], json!([{ "key": "a" }]));
    let rest = get(&butler, &format!("/v5/key-value/ns?after={}", page["next"].as_str().unwrap())).await.json();
    assert_eq!(rest, json!({ "namespace": "ns", "keys": [{ "key": "b" }] }));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "before=1"] {
        assert_eq!(get(&butler, &format!("/v5/key-value/ns?{query}")).await.status, 400, "{query}");
    }

    // The whole of a request, and a byte more.
    let butler = start(CONFIG).await;
    let frame = r#"{"key":"k","value":""}"#.len();
    for (length, status) in [((1 << 20) - frame, 201), ((1 << 20) - frame + 1, 413)] {
        let answer = set(&butler, "ns", json!({ "key": "k", "value": "v".repeat(length) })).await;
        assert_eq!(answer.status, status, "{}", answer.message());
    }
    let butler = start_again(butler).await;
    let value = get(&butler, "/v4/keyvalues/ns?key=k").await.json();
    assert_eq!(value["value"].as_str().map(str::len), Some((1 << 20) - frame));
}

#[tokio::test]
async fn the_storage_of_an_instance_that_is_full_is_told_and_room_can_be_made() {
    let butler = start(CONFIG).await;
    let value = "v".repeat(1_000_000);
    let mut stored = 0;
    let full = loop {
        let answer = set(&butler, "big", json!({ "key": format!("k{stored}"), "value": value })).await;
        if answer.status != 201 {
            break answer;
        }
        stored += 1;
        assert!(stored < 100);
    };
    assert_eq!(full.status, 409);
    assert!(full.message().contains("full (64 MB)"), "{full:?}");
    // Those that come together with one that does not fit are stored all the same.
    let large = json!({ "key": "large", "value": value });
    let (one, two, three) = tokio::join!(
        set(&butler, "small", json!({ "key": "a", "value": "v" })),
        set(&butler, "big", large.clone()),
        set(&butler, "small", json!({ "key": "b", "value": "v" })),
    );
    assert_eq!((one.status, two.status, three.status), (201, 409, 201));
    assert_eq!(send(&butler, "DELETE", "/v4/keyvalues/big/k0", Value::Null).await.status, 204);
    assert_eq!(set(&butler, "big", large).await.status, 201);
    assert_eq!(send(&butler, "DELETE", "/v4/keyvalues/big", Value::Null).await.status, 204);
    let butler = start_again(butler).await;
    assert_eq!(get(&butler, "/v4/keyvaluesnamespaces").await, is(200, r#"["small"]"#));
}

#[tokio::test]
async fn it_serves_who_may_where_it_is_configured_and_once() {
    let absent = Butler::start("plugins:\n  - use: console\n").await;
    assert_eq!(
        get(&absent, "/v4/keyvaluesnamespaces").await,
        is(404, r#"{"message":"Route GET:/v4/keyvaluesnamespaces not found","error":"Not Found","statusCode":404}"#)
    );
    let ((kv, kv_entry), (read, read_entry)) = (token("kv"), token("read"));
    let rest = format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{kv_entry}{read_entry}\n");
    let butler = Butler::start(&(rest + CONFIG)).await;
    let status = async |path: &str, token: &str| {
        let request = http().get(format!("{}{path}", butler.rest())).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/v4/keyvaluesnamespaces", "/v5/key-value"] {
        wait_for("the instance to run", || async { (status(path, &kv).await == 200).then_some(()) }).await;
        assert_eq!((status(path, &read).await, status(path, "other").await), (403, 401), "{path}");
    }
    let place = e2e::place::Place::new();
    let twice = format!("{}{CONFIG}  - use: key-value\n    name: second\n", e2e::place::PRIVATE);
    let output = tokio::task::spawn_blocking(move || place.start(&twice)).await.unwrap();
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`key-value` and the instance `second` both serve"), "{output:?}");
}
