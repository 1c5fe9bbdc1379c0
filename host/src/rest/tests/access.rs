//! Who is let in, and what they are told of paths.

use butler_plugin_api::Scope;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{ADMIN, Options, Site, answer, text, token};
use crate::config::{Grant, Rest};

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
    let process =
        async |token: &str| answer(site.get("/v5/health/ready").bearer_auth(token)).await.1["process"].clone();
    assert_eq!((process("reader-secret").await, process("kv-secret").await), (json!(std::process::id()), json!(null)));
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
async fn apps_need_the_scope_for_tasks() {
    let rest = Rest {
        tokens: vec![token("reader", "reader-secret", &[Scope::Read]), token("tasks", "tasks-secret", &[Scope::Tasks])],
        ..Rest::default()
    };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    let calls = [
        (Method::GET, "/v4/senselistapps"),
        (Method::GET, "/v4/apps/list"),
        (Method::GET, "/v4/senseappdump/a"),
        (Method::GET, "/v4/app/a/dump"),
        (Method::PUT, "/v4/app/a/reload"),
    ];
    for (method, path) in calls {
        let call = |token: &str| site.request(method.clone(), path).bearer_auth(token).body("{}");
        let (status, body) = answer(call("reader-secret")).await;
        assert_eq!(status, 403, "{path}: {body}");
        assert!(body["message"].as_str().unwrap().contains("lacks the scope `tasks`"), "{body}");
        // There is no Qlik Sense here.
        assert_eq!(answer(call("tasks-secret")).await.0, 503, "{path}");
    }
    assert_eq!(answer(site.get("/v5/apps/reloads").bearer_auth("reader-secret")).await.0, 200);
    assert_eq!(answer(site.get("/v5/apps/reloads").bearer_auth("tasks-secret")).await.0, 403);
}
