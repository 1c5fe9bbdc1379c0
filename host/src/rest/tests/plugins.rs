//! Endpoints of plugins.

use std::sync::Arc;

use butler_plugin_api::{Endpoint, Manifest, Response as PluginResponse, Scope};
use futures_util::FutureExt;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::super::endpoints::{Mount, check_manifests};
use super::super::server::Limits;
use super::super::{Context, ContextParts, Server};
use super::{ADMIN, Options, Site, answer, echo, text, wire};
use crate::cloud::CloudEvents;
use crate::config::Rest;
use crate::delivery::Queues;
use crate::qlik::Cloud;
use crate::store::Store;

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

    // A connector may call JSON text, or begin it with a mark; the plugin gets JSON.
    for (content_type, before) in
        [("text/plain; charset=utf-8", ""), ("Text/Plain", " \r\n"), ("application/json", "\u{feff}")]
    {
        let sent = format!(r#"{before}{{"fromFile":"a"}}"#);
        let request = site.request(Method::PUT, "/v4/filecopy/x?key=k").header("content-type", content_type).body(sent);
        let (status, seen) = answer(request).await;
        assert_eq!(status, 201, "{content_type}: {seen}");
        let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({ "fromFile": "a" }), "{content_type}");
    }

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
            site.request(Method::PUT, "/v4/filecopy/x?key=1").header("content-type", "text/plain").body("fromFile: a"),
            400,
            "FST_ERR_VALIDATION",
            "body must be object",
        ),
        (
            site.request(Method::PUT, "/v4/filecopy/x?key=1").header("content-type", "text/plain").body("{}"),
            400,
            "FST_ERR_VALIDATION",
            "body must have required property 'fromFile'",
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
        fixed("/x/headers", || {
            PluginResponse::status(200)
                .header("X-Own", "1")
                .header("Content-Length", "999")
                .header("Transfer-Encoding", "chunked")
                .header("bad name", "x")
                .header("x-bad", "a\nb")
                .body("hello")
        }),
        fixed("/x/none", || PluginResponse::status(204).body("ignored")),
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
        accepted: Arc::default(),
        router: Arc::default(),
        instances: Arc::default(),
        udp: None,
        lookups: None,
        task_starter: None,
        scheduler: None,
        cloud: Cloud::new(&Options::default().config).unwrap(),
        cloud_events: CloudEvents::new(None, site.store.clone(), Arc::default()),
        engine: None,
        tasks: site.tasks.clone(),
        roads: Arc::default(),
        call_back: None,
        untold: Arc::default(),
        metrics: Arc::default(),
        secrets: Arc::default(),
        tls: None,
        queues: Queues::default(),
        reload: Box::new(|| unreachable!("not called")),
    }));
    let mounts = vec![echo("one", copy_endpoint()), echo("two", copy_endpoint())];
    let error =
        Server::bind(&rest).unwrap().with_mounts(context, ADMIN, mounts, Limits::default()).err().unwrap().to_string();
    assert!(error.contains("`one`") && error.contains("`two`") && error.contains("PUT /v4/filecopy/{area}"), "{error}");
}

#[test]
fn a_shared_endpoint_is_no_fault_of_a_second_instance() {
    let put = || Endpoint::new("PUT", "/v4/post", Scope::Messages, "");
    let own = Manifest::new("chat", "Chats").endpoint(put());
    let shared = Manifest::new("chat", "Chats").endpoint(put().shared());
    assert_eq!(check_manifests([(0, "one", &shared), (1, "two", &shared)]), []);
    assert_eq!(check_manifests([(0, "one", &own), (1, "two", &own)])[0].0, 1);
}

#[test]
fn items_of_requests_to_start_tasks_belong_to_one_instance() {
    let offers = |schema: Value| Manifest::new("notes", "Keeps notes").start_task_item("note", schema);
    let (sound, broken) = (offers(Value::Null), offers(json!({ "type": "nonsense" })));
    let other = Manifest::new("other", "Keeps others").start_task_item("other", Value::Null);
    assert_eq!(check_manifests([(0, "one", &sound), (1, "two", &other)]), []);
    let faults = check_manifests([(0, "one", &sound), (1, "two", &other), (2, "three", &sound)]);
    let both = "the instance `one` and the instance `three` both take items `note` of requests to start tasks";
    assert!(faults.len() == 1 && faults[0].0 == 2 && faults[0].1.starts_with(both), "{faults:?}");
    let faults = check_manifests([(0, "one", &broken)]);
    assert!(faults.len() == 1 && faults[0].1.contains("that is a fault of its plugin"), "{faults:?}");
}
