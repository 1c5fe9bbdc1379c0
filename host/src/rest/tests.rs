//! The server as callers see it, over loopback.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use butler_plugin_api::abi::{WireRequest, WireResponse};
use butler_plugin_api::{Endpoint, Event, Response as PluginResponse, Scope};
use futures_util::FutureExt;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::endpoints::Mount;
use super::server::Limits;
use super::{Context, ContextParts, Server};
use crate::config::{Grant, Rest, Secrets, TlsProfile, Token};
use crate::observe::TaskStates;
use crate::plugins::{HttpClients, PluginMetrics, Shared};
use crate::qlik;
use crate::store::{NewDelivery, NewEvent, Routed, Settled, Settlement, Store, now_ms};

/// A running server over a store of its own.
struct Site {
    store: Store,
    shared: Arc<Shared>,
    tasks: Arc<TaskStates>,
    woken: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    client: Client,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Options {
    rest: Rest,
    mounts: Vec<Mount>,
    limits: Limits,
    secrets: Vec<String>,
}

const ADMIN: &str = "token-of-the-run-file";

impl Site {
    async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
        let shared = Arc::new(Shared {
            runtime: tokio::runtime::Handle::current(),
            store: store.clone(),
            accepted: Arc::new(Notify::new()),
            http: HttpClients::new(BTreeMap::new()),
            qlik: None,
            metrics: PluginMetrics::default(),
            secrets: Arc::new(Secrets::new(options.secrets)),
        });
        let (tasks, woken) = (Arc::new(TaskStates::default()), Arc::new(Mutex::new(Vec::new())));
        let context = Context::new(ContextParts {
            store: store.clone(),
            instances: Vec::new(),
            udp: None,
            lookups: None,
            tasks: tasks.clone(),
            shared: shared.clone(),
            wake: {
                let woken = woken.clone();
                Box::new(move |instance| woken.lock().unwrap().push(instance.to_owned()))
            },
        });
        let rest = Rest { listen: "127.0.0.1:0".parse().unwrap(), ..options.rest };
        let server = Server::bind(&rest).unwrap();
        let address = server.local_addr();
        let server = server.with_mounts(Arc::new(context), ADMIN, options.mounts, options.limits).unwrap();
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(server.run(stopping));
        let client = Client::builder()
            .tls_backend_preconfigured(qlik::profile(&TlsProfile::default()).unwrap())
            .no_proxy()
            .build()
            .unwrap();
        Self { store, shared, tasks, woken, address, client, stop, running, _folder: folder }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Accepts events of a task; answers their ids.
    async fn accept(&self, kinds: &[&str]) -> Vec<i64> {
        let event = |(n, kind): (usize, &&str)| NewEvent {
            kind: (*kind).to_owned(),
            time: 1000 + n as i64,
            received: now_ms(),
            source: "test".to_owned(),
            keys: Vec::new(),
            data: serde_json::from_value(json!({ "task": { "id": format!("t{}", n % 2), "name": "Sales" } })).unwrap(),
        };
        let accepted = self.store.accept(kinds.iter().enumerate().map(event).collect()).await.unwrap();
        accepted.into_iter().map(crate::store::Accepted::seq).collect()
    }

    /// Makes a delivery of an event.
    async fn deliver(&self, seq: i64, instance: &str) -> i64 {
        let row = self.store.event(seq).await.unwrap().unwrap();
        let delivery = NewDelivery { instance: instance.to_owned(), order_key: None, throttle: None, unknown: None };
        let routed = Routed {
            seq,
            kind: row.event.kind,
            time: 1000,
            task: row.event.data.task.as_ref().map(|task| task.id.clone()),
            data: serde_json::to_string(&row.event.data).unwrap(),
            keys: Vec::new(),
            deliveries: vec![delivery],
            script_log: None,
        };
        self.store.route(vec![routed]).await.unwrap()[0].as_ref().unwrap()[0].id
    }

    async fn bury(&self, instance: &str, error: &str) {
        let settled = self.store.claim(instance, 10, false, 60_000).await.unwrap().into_iter().map(|claimed| Settled {
            id: claimed.id,
            token: claimed.token,
            settlement: Settlement::Dead { error: error.to_owned() },
        });
        self.store.settle(settled.collect()).await.unwrap();
    }
}

/// Status and body.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

async fn text(request: RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// Answers with what the plugin would see.
fn echo(instance: &str, endpoint: Endpoint) -> Mount {
    Mount::fake(instance, endpoint, |request: WireRequest| {
        let seen = json!({
            "method": request.method,
            "url": request.url,
            "headers": request.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            "body": String::from_utf8(request.body).unwrap(),
            "options": serde_json::from_str::<Value>(&request.options).unwrap(),
        });
        std::future::ready(wire(PluginResponse::json(201, &seen))).boxed()
    })
}

fn wire(response: PluginResponse) -> WireResponse {
    WireResponse { status: response.status, headers: response.headers, body: response.body, options: String::new() }
}

fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
    let sha256 = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    Token { name: name.to_owned(), sha256, scopes: scopes.to_vec() }
}

#[tokio::test]
async fn ping_head_override_and_unknown_routes() {
    let site = Site::start(Options::default()).await;
    let (status, body) = text(site.get("/v4/butlerping")).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(body, format!(r#"{{"response":"Butler reporting for duty","butlerVersion":"{version}"}}"#));
    assert_eq!(status, 200);

    let head = site.request(Method::HEAD, "/v4/butlerping").send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()),
        (200, body.len().to_string().as_str())
    );
    assert_eq!(head.headers()["content-type"], "application/json; charset=utf-8");
    assert!(head.bytes().await.unwrap().is_empty());

    // As the REST connector does it; the body is ignored.
    let post = |path: &str, method: &str| {
        site.request(Method::POST, path)
            .header("X-HTTP-Method-Override", method)
            .header("content-type", "application/json")
    };
    assert_eq!(answer(post("/v4/butlerping", "get").body("{")).await.0, 200);
    assert_eq!(text(post("/v4/butlerping", "HEAD").body("{}")).await, (StatusCode::OK, String::new()));
    let (status, body) = text(post("/v4/butlerping?a=1", "PATCH")).await;
    assert_eq!(body, r#"{"message":"Route PATCH:/v4/butlerping?a=1 not found","error":"Not Found","statusCode":404}"#);
    assert_eq!(status, 404);
    // Only on POST.
    let get = site.get("/v4/butlerping").header("X-HTTP-Method-Override", "DELETE");
    assert_eq!(answer(get).await.0, 200);

    for (method, path) in [
        (Method::GET, "/v4/butlerping/"),
        (Method::PUT, "/v4/butlerping"),
        (Method::OPTIONS, "/v4/butlerping"),
        (Method::GET, "/v5/nothing?x=%20"),
        (Method::GET, "/"),
    ] {
        let (status, body) = answer(site.request(method.clone(), path)).await;
        let message = format!("Route {method}:{path} not found");
        assert_eq!((status, body), (404, json!({ "message": message, "error": "Not Found", "statusCode": 404 })));
    }
}

#[tokio::test]
async fn tokens_and_scopes() {
    let rest = Rest {
        tokens: vec![token("reader", "reader-secret", &[Scope::Read]), token("kv", "kv-secret", &[Scope::Kv])],
        ..Rest::default()
    };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    let refused = site.get("/v4/butlerping").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    let (status, body) = answer(site.get("/v4/butlerping").bearer_auth("wrong-secret")).await;
    assert_eq!((status, &body["error"], &body["statusCode"]), (401, &json!("Unauthorized"), &json!(401)));
    assert!(!body.to_string().contains("wrong-secret"));
    assert_eq!(answer(site.get("/v4/butlerping").bearer_auth("reader-secret")).await.0, 200);
    let (status, body) = answer(site.get("/v4/butlerping").bearer_auth("kv-secret")).await;
    assert_eq!(status, 403);
    assert!(body["message"].as_str().unwrap().starts_with("token `kv` lacks the scope `read`"), "{body}");
    let (status, body) = answer(site.get("/v5/deliveries").bearer_auth("reader-secret")).await;
    assert_eq!((status, body["message"].as_str().unwrap().contains("`deliveries`")), (403, true));
    assert_eq!(answer(site.get("/v5/deliveries").bearer_auth(ADMIN)).await.0, 200);
    // Health is for everybody, as is learning that there is no such route.
    assert_eq!(answer(site.get("/v5/health/live")).await, (200, json!({ "status": "live" })));
    assert_eq!(
        answer(site.get("/v5/health/ready")).await,
        (200, json!({ "status": "ready", "reasons": [], "notes": [] }))
    );
    assert_eq!(answer(site.get("/v5/nothing")).await.0, 404);
}

#[tokio::test]
async fn a_grant_needs_no_token_and_has_its_scopes_only() {
    let rest = Rest {
        tokens: vec![token("kv", "kv-secret", &[Scope::Kv])],
        grants: vec![Grant { network: "127.0.0.0/8".to_owned(), scopes: vec![Scope::Read] }],
        ..Rest::default()
    };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    assert_eq!(answer(site.get("/v4/butlerping")).await.0, 200);
    let (status, body) = answer(site.get("/v5/deliveries")).await;
    assert_eq!(status, 403);
    assert!(
        body["message"].as_str().unwrap().starts_with("grant `127.0.0.0/8` lacks the scope `deliveries`"),
        "{body}"
    );
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_before_anything_else() {
    let rest = Rest { hosts: vec!["butler.example.com".to_owned()], ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    for path in ["/v4/butlerping", "/v5/health/live", "/nothing"] {
        let (status, body) = answer(site.get(path).header("host", "evil.example")).await;
        assert_eq!(status, 403);
        assert!(body["message"].as_str().unwrap().contains("`rest.hosts`"), "{body}");
    }
    assert_eq!(answer(site.get("/v4/butlerping").header("host", "butler.example.com:8080")).await.0, 200);
    for origin in ["http://evil.example", "null"] {
        let (status, body) = answer(site.get("/v4/butlerping").header("origin", origin)).await;
        assert_eq!(status, 403);
        assert!(body["message"].as_str().unwrap().contains("`rest.origins`"), "{body}");
    }
    let own = site.get("/v4/butlerping").header("origin", format!("http://{}", site.address));
    assert_eq!(answer(own).await.0, 200);
    assert_eq!(answer(site.get("/v4/butlerping").header("sec-fetch-site", "cross-site")).await.0, 403);
}

#[tokio::test]
async fn pages_of_events() {
    let site = Site::start(Options::default()).await;
    let seqs =
        site.accept(&["reload-task.failed", "reload-task.aborted", "node.silent", "reload-task.failed", "x.y"]).await;
    let ids: Vec<String> = seqs.iter().rev().map(|seq| site.store.event_id(*seq)).collect();

    let mut seen = Vec::new();
    let mut path = "/v5/events?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let (status, body) = answer(site.get(&path)).await;
        assert_eq!(status, 200);
        pages += 1;
        seen.extend(body["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        match body["next"].as_str() {
            Some(next) => path = format!("/v5/events?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (ids.clone(), 3));
    // A page that is just full is the last one.
    assert_eq!(answer(site.get("/v5/events?limit=5")).await.1["next"], Value::Null);

    let count =
        async |query: &str| answer(site.get(&format!("/v5/events?{query}"))).await.1["events"].as_array().map(Vec::len);
    assert_eq!(count("kind=reload-task.failed").await, Some(2));
    assert_eq!(count("kind=reload-task.*").await, Some(3));
    assert_eq!(count("task=t0").await, Some(3));
    assert_eq!(count("since=1h").await, Some(5));
    assert_eq!(count("until=1h").await, Some(0));
    assert_eq!(count("since=2099-01-01T00:00:00Z").await, Some(0));

    for (query, words) in [
        ("limit=0", "`limit` must be a number from 1 to 500"),
        ("limit=501", "`limit` must be"),
        ("since=soon", "`since` must be a date"),
        ("before=other-1", "`before` is no id of an event"),
        ("knid=x", "there is no query parameter `knid`"),
    ] {
        let (status, body) = answer(site.get(&format!("/v5/events?{query}"))).await;
        assert_eq!((status, &body["statusCode"], &body["error"]), (400, &json!(400), &json!("Bad Request")), "{query}");
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }

    let delivery = site.deliver(seqs[0], "mail").await;
    let (status, body) = answer(site.get(&format!("/v5/events/{}", ids[4]))).await;
    assert_eq!((status, &body["kind"], &body["state"]), (200, &json!("reload-task.failed"), &json!("routed")));
    assert_eq!(body["deliveries"][0]["id"], json!(site.store.delivery_id(delivery)));
    assert_eq!(body["deliveries"][0]["taskName"], "Sales");
    for id in ["nonsense", &site.store.event_id(999)] {
        let (status, body) = answer(site.get(&format!("/v5/events/{id}"))).await;
        assert_eq!((status, &body["error"]), (404, &json!("Not Found")));
    }
}

#[tokio::test]
async fn deliveries_are_listed_and_what_cannot_be_retried_says_why() {
    let site = Site::start(Options { secrets: vec!["hunter2-password".to_owned()], ..Options::default() }).await;
    let seqs = site.accept(&["reload-task.failed", "reload-task.aborted", "node.silent"]).await;
    let mut ids = Vec::new();
    for seq in &seqs[..2] {
        ids.push(site.store.delivery_id(site.deliver(*seq, "mail").await));
    }
    ids.push(site.store.delivery_id(site.deliver(seqs[2], "chat").await));
    site.bury("mail", "535 for hunter2-password").await;

    let (status, page) = answer(site.get("/v5/deliveries?limit=2")).await;
    assert_eq!((status, page["deliveries"].as_array().unwrap().len(), &page["next"]), (200, 2, &json!(ids[1])));
    let (_, page) = answer(site.get(&format!("/v5/deliveries?limit=2&before={}", ids[1]))).await;
    assert_eq!((&page["deliveries"][0]["id"], &page["next"]), (&json!(ids[0]), &Value::Null));

    let list = async |query: &str| answer(site.get(&format!("/v5/deliveries?{query}"))).await;
    let (_, dead) = list("state=dead").await;
    assert_eq!(dead["deliveries"].as_array().unwrap().len(), 2);
    let row = &dead["deliveries"][1];
    assert_eq!((&row["id"], &row["kind"], &row["attempt"]), (&json!(ids[0]), &json!("reload-task.failed"), &json!(1)));
    assert_eq!(row["error"], "535 for [redacted]");
    assert_eq!(row["event"], json!(site.store.event_id(seqs[0])));
    assert_eq!(list("instance=chat").await.1["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(list("task=t1").await.1["deliveries"].as_array().unwrap().len(), 1);
    let query = format!("event={}", site.store.event_id(seqs[2]));
    assert_eq!(list(&query).await.1["deliveries"][0]["instance"], "chat");
    assert_eq!(list("state=done").await.0, 400);
    assert_eq!(answer(site.get(&format!("/v5/deliveries/{}", ids[0]))).await.1["state"], "dead");

    let retry = async |id: &str| answer(site.request(Method::POST, &format!("/v5/deliveries/{id}/retry"))).await;
    let (status, body) = retry(&site.store.delivery_id(999)).await;
    assert_eq!((status, &body["error"]), (404, &json!("Not Found")));
    assert_eq!(retry("nonsense").await.0, 404);
    let (status, body) = retry(&ids[2]).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("still open (pending)"), "{body}");
    // This site has no instances.
    let (status, body) = retry(&ids[0]).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("`mail`, which is not in the config"), "{body}");
    assert!(site.woken.lock().unwrap().is_empty());
    assert_eq!(answer(site.get("/v5/plugins")).await, (200, json!({ "plugins": [] })));
}

/// Names with their samples; fails where the page is not what Prometheus reads.
fn parse_metrics(page: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            current = name.to_owned();
            assert!(names.insert(current.clone(), 0).is_none(), "twice: {name}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!((name, name.ends_with("_total")), (current.as_str(), kind == "counter"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next().unwrap(), current, "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            *names.get_mut(&current).unwrap() += 1;
        }
    }
    names
}

#[tokio::test]
async fn metrics() {
    let site = Site::start(Options::default()).await;
    let seqs = site.accept(&["reload-task.failed", "reload-task.aborted"]).await;
    site.deliver(seqs[0], "mail").await;
    site.shared.metrics.count("mail", "sent", BTreeMap::new(), 2.0).unwrap();
    let event: Event = serde_json::from_value(json!({ "id": "x-1", "kind": "reload-task.failed", "time": "", "receivedAt": "",
        "source": "udp", "data": { "task": { "id": "t", "name": "Sales \"x\"\\" }, "execution": { "durationMs": 2500 } } }))
    .unwrap();
    site.tasks.note(&event, 1_700_000_000_000);
    let response = site.get("/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = response.text().await.unwrap();
    let names = parse_metrics(&page);
    assert_eq!(names["butler_task_state"], 3);
    for line in [
        "butler_events_waiting 1".to_owned(),
        "butler_deliveries_open{instance=\"mail\"} 1".to_owned(),
        "butler_deliveries_dead{instance=\"mail\"} 0".to_owned(),
        "butler_plugin_sent_total{instance=\"mail\"} 2".to_owned(),
        "butler_store_trouble 0".to_owned(),
        format!("butler_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        "butler_task_last_run_duration_seconds{task_id=\"t\",task_name=\"Sales \\\"x\\\"\\\\\"} 2.5".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

fn copy_endpoint() -> Endpoint {
    let mut endpoint = Endpoint::new("PUT", "/v4/filecopy/{area}", Scope::Files, "");
    endpoint.body = json!({
        "type": "object",
        "required": ["fromFile"],
        "properties": { "fromFile": { "type": "string" }, "overwrite": { "type": "boolean" } },
    });
    endpoint.query = json!({
        "type": "object",
        "required": ["key"],
        "properties": { "key": { "type": "string" }, "all": { "type": "boolean" }, "n": { "type": "array" } },
    });
    endpoint
}

#[tokio::test]
async fn an_endpoint_of_a_plugin_gets_what_it_declared() {
    let site = Site::start(Options { mounts: vec![echo("files", copy_endpoint())], ..Options::default() }).await;
    let put = |query: &str| {
        site.request(Method::PUT, &format!("/v4/filecopy/a%20b?{query}"))
            .header("content-type", "application/json; charset=utf-8")
            .bearer_auth(ADMIN)
            .header("cookie", "session=1")
            .header("x-own", "1")
    };
    let (status, seen) =
        answer(put("key=k+1&all=true&n=1&other=x").body(r#"{"fromFile":5,"overwrite":"true","z":{}}"#)).await;
    assert_eq!(status, 201);
    assert_eq!(
        (&seen["method"], &seen["url"]),
        (&json!("PUT"), &json!("/v4/filecopy/a%20b?key=k+1&all=true&n=1&other=x"))
    );
    let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({ "fromFile": "5", "overwrite": true, "z": {} }));
    let options = json!({ "route": "/v4/filecopy/{area}", "params": { "area": "a b" }, "caller": "the run file's token",
        "query": { "key": "k 1", "all": true, "n": ["1"], "other": "x" } });
    assert_eq!(seen["options"], options);
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!("x-own")));
    assert!(!headers.contains(&json!("authorization")) && !headers.contains(&json!("cookie")), "{headers:?}");

    // What fits comes as it was sent, with the order of its keys.
    let sent = r#"{ "z": 1, "fromFile": "a" }"#;
    assert_eq!(answer(put("key=k").body(sent)).await.1["body"], sent);
    // Without a content type, and by POST.
    let post = site.request(Method::POST, "/v4/filecopy/x?key=k").header("x-http-method-override", "put").body(sent);
    assert_eq!(answer(post).await.1["body"], sent);

    let error = async |request: RequestBuilder| {
        let (status, body) = answer(request).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned(), body["message"].as_str().unwrap().to_owned())
    };
    let table = [
        (put("").body(sent), 400, "FST_ERR_VALIDATION", "querystring must have required property 'key'"),
        (put("key=1&all=yes").body(sent), 400, "FST_ERR_VALIDATION", "querystring/all must be boolean"),
        (put("key=1").body("{}"), 400, "FST_ERR_VALIDATION", "body must have required property 'fromFile'"),
        (
            put("key=1").body(r#"{"fromFile":"a","overwrite":"yes"}"#),
            400,
            "FST_ERR_VALIDATION",
            "body/overwrite must be boolean",
        ),
        (put("key=1").body("[1,2]"), 400, "FST_ERR_VALIDATION", "body must be object"),
        (
            put("key=1").body("{"),
            400,
            "FST_ERR_CTP_INVALID_JSON_BODY",
            "Body is not valid JSON but content-type is set to 'application/json'",
        ),
        (
            put("key=1"),
            400,
            "FST_ERR_CTP_EMPTY_JSON_BODY",
            "Body cannot be empty when content-type is set to 'application/json'",
        ),
        (site.request(Method::PUT, "/v4/filecopy/x?key=1"), 400, "FST_ERR_VALIDATION", "body must be object"),
        (
            site.request(Method::PUT, "/v4/filecopy/x?key=1").header("content-type", "text/plain").body(sent),
            400,
            "FST_ERR_VALIDATION",
            "body must be object",
        ),
        (
            site.request(Method::PUT, "/v4/filecopy/x?key=1").header("content-type", "application/xml").body(sent),
            415,
            "FST_ERR_CTP_INVALID_MEDIA_TYPE",
            "Unsupported Media Type",
        ),
        (
            site.request(Method::PUT, "/v4/filecopy/%zz?key=1").body(sent),
            400,
            "",
            "the part `%zz` of the path is not percent-encoded UTF-8",
        ),
    ];
    for (request, status, code, message) in table {
        assert_eq!(error(request).await, (status, code.to_owned(), message.to_owned()));
    }
}

#[tokio::test]
async fn a_delete_with_a_content_type_and_no_body_has_no_body() {
    let mut with_body = Endpoint::new("DELETE", "/v4/filedelete", Scope::Files, "");
    with_body.body = json!({ "type": "object" });
    let mounts = vec![echo("a", with_body), echo("a", Endpoint::new("DELETE", "/v4/keyvalues/{ns}", Scope::Kv, ""))];
    let site = Site::start(Options { mounts, ..Options::default() }).await;
    let delete = |path: &str| site.request(Method::DELETE, path).header("content-type", "application/json");
    assert_eq!(answer(delete("/v4/keyvalues/x")).await.0, 201);
    assert_eq!(answer(delete("/v4/filedelete")).await.1["message"], "body must be object");
}

#[tokio::test]
async fn answers_of_plugins_pass_without_what_belongs_to_the_connection() {
    let endpoint = |path: &str| Endpoint::new("GET", path, Scope::Read, "");
    let fixed = |path: &str, response: fn() -> PluginResponse| {
        Mount::fake("a", endpoint(path), move |_| std::future::ready(wire(response())).boxed())
    };
    let mounts = vec![
        fixed("/x/headers", || PluginResponse {
            status: 200,
            headers: [
                ("X-Own", "1"),
                ("Content-Length", "999"),
                ("Transfer-Encoding", "chunked"),
                ("bad name", "x"),
                ("x-bad", "a\nb"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: b"hello".to_vec(),
        }),
        fixed("/x/none", || PluginResponse { status: 204, headers: Vec::new(), body: b"ignored".to_vec() }),
        fixed("/x/odd", || PluginResponse::status(7)),
        fixed("/x/early", || PluginResponse::status(101)),
        Mount::fake("a", endpoint("/x/panic"), |_| async { panic!("a handler's mistake") }.boxed()),
    ];
    let site = Site::start(Options { mounts, ..Options::default() }).await;
    let response = site.get("/x/headers").send().await.unwrap();
    assert_eq!((response.headers()["x-own"].to_str().unwrap(), response.content_length()), ("1", Some(5)));
    assert_eq!(response.text().await.unwrap(), "hello");
    assert_eq!(text(site.get("/x/none")).await, (StatusCode::NO_CONTENT, String::new()));
    assert_eq!(answer(site.get("/x/odd")).await.0, 502);
    assert_eq!(answer(site.get("/x/early")).await.0, 502);
    let (status, body) = answer(site.get("/x/panic")).await;
    assert_eq!((status, &body["error"]), (500, &json!("Internal Server Error")));
    assert!(!body.to_string().contains("a handler's mistake"));
    assert_eq!(answer(site.get("/v4/butlerping")).await.0, 200);
}

#[tokio::test]
async fn two_instances_with_one_route_are_refused() {
    let rest = Rest { listen: "127.0.0.1:0".parse().unwrap(), ..Rest::default() };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
    let site = Site::start(Options::default()).await;
    let context = Arc::new(Context::new(ContextParts {
        store,
        instances: Vec::new(),
        udp: None,
        lookups: None,
        tasks: site.tasks.clone(),
        shared: site.shared.clone(),
        wake: Box::new(|_| {}),
    }));
    let mounts = vec![echo("one", copy_endpoint()), echo("two", copy_endpoint())];
    let error =
        Server::bind(&rest).unwrap().with_mounts(context, ADMIN, mounts, Limits::default()).err().unwrap().to_string();
    assert!(error.contains("`one`") && error.contains("`two`") && error.contains("PUT /v4/filecopy/{area}"), "{error}");
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let mounts = vec![echo("a", Endpoint::new("POST", "/v4/any", Scope::Read, ""))];
    let site = Site::start(Options { mounts, ..Options::default() }).await;
    let post = |length: usize| site.request(Method::POST, "/v4/any").body(" ".repeat(length));
    assert_eq!(answer(post(1 << 20)).await.0, 201);
    let too_large = json!({ "statusCode": 413, "code": "FST_ERR_CTP_BODY_TOO_LARGE", "error": "Payload Too Large",
        "message": "Request body is too large" });
    assert_eq!(answer(post((1 << 20) + 1)).await, (413, too_large.clone()));
    // Announced or not.
    let chunks = futures_util::stream::iter((0..2).map(|_| Ok::<_, std::io::Error>(vec![b' '; 600 << 10])));
    let chunked = site.request(Method::POST, "/v4/any").body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(answer(chunked).await, (413, too_large));
}

/// Sends bytes and reads until the server closes.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_cut_off_and_others_get_their_place() {
    let limits = Limits {
        connections: 1,
        head: Duration::from_millis(200),
        body: Duration::from_millis(200),
        ..Limits::default()
    };
    let mounts = vec![echo("a", Endpoint::new("POST", "/v4/any", Scope::Read, ""))];
    let site = Site::start(Options { mounts, limits, ..Options::default() }).await;
    let address = site.address;
    let raw = async |bytes: &'static [u8]| tokio::task::spawn_blocking(move || raw(address, bytes)).await.unwrap();
    // Nothing at all, and half a head.
    raw(b"").await;
    let answer = raw(b"GET /v4/butlerping HTTP/1.1\r\nHost: loc").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    // Half a body.
    let answer = raw(b"POST /v4/any HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // A head that is too long.
    let answer = raw(Box::leak(
        [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".as_slice(), &vec![b'x'; 100_000]].concat().into_boxed_slice(),
    ))
    .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // The only place is free again; an old client needs no `Host`.
    let answer = raw(b"GET /v4/butlerping HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_end() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (arrived, go) = (arrived.clone(), go.clone());
        Mount::fake("a", Endpoint::new("GET", "/v4/slow", Scope::Read, ""), move |_| {
            let (arrived, go) = (arrived.clone(), go.clone());
            async move {
                arrived.notify_one();
                go.notified().await;
                wire(PluginResponse::json(200, &"done"))
            }
            .boxed()
        })
    };
    let site = Site::start(Options { mounts: vec![slow], ..Options::default() }).await;
    // An idle connection does not hold up the stop.
    assert_eq!(answer(site.get("/v4/butlerping")).await.0, 200);
    let request = tokio::spawn(answer(site.get("/v4/slow")));
    arrived.notified().await;
    site.stop.send(true).unwrap();
    while TcpStream::connect(site.address).is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!site.running.is_finished());
    go.notify_one();
    assert_eq!(request.await.unwrap(), (200, json!("done")));
    site.running.await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let arrived = Arc::new(Notify::new());
    let endless = {
        let arrived = arrived.clone();
        Mount::fake("a", Endpoint::new("GET", "/v4/endless", Scope::Read, ""), move |_| {
            arrived.notify_one();
            std::future::pending().boxed()
        })
    };
    let limits = Limits { stop: Duration::from_millis(50), ..Limits::default() };
    let site = Site::start(Options { mounts: vec![endless], limits, ..Options::default() }).await;
    let request = tokio::spawn(site.get("/v4/endless").send());
    arrived.notified().await;
    site.stop.send(true).unwrap();
    site.running.await.unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_explained() {
    let site = Site::start(Options::default()).await;
    let error = Server::bind(&Rest { listen: site.address, ..Rest::default() }).unwrap_err().to_string();
    assert!(
        error.contains(&site.address.to_string()) && error.contains("`rest.listen`") && error.contains("another port"),
        "{error}"
    );
    let foreign = Rest { listen: "192.0.2.1:0".parse().unwrap(), ..Rest::default() };
    let error = Server::bind(&foreign).unwrap_err().to_string();
    assert!(error.contains("this machine has no such address"), "{error}");
}
