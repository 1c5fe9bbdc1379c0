//! What Butler says of itself: the API's description and its page, what is switched off, conversions, health.

use axum::http::HeaderMap;
use butler_plugin_api::{Endpoint, Scope};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::super::documentation;
use super::super::request::Call;
use super::{Options, Site, answer, echo, text, token};
use crate::config::Rest;

fn disabled(entries: &[&str]) -> Rest {
    Rest { disabled_endpoints: entries.iter().map(ToString::to_string).collect(), ..Rest::default() }
}

#[tokio::test]
async fn the_page_loads_only_what_is_here() {
    let rest = Rest { tokens: vec![token("t", "secret", &[Scope::Read])], ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    for (path, base) in
        [("/documentation", "/documentation/static/"), ("/documentation/?x=1", "/documentation/static/")]
    {
        let response = site.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with("text/html"));
        let policy = header("content-security-policy");
        assert!(policy.contains("script-src 'self';") && policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let url = response.url().clone();
        let page = response.text().await.unwrap();
        assert!(!page.contains("://") && !page.contains("<style") && !page.contains("javascript:"), "{page}");
        let attributes = |name: &str| -> Vec<String> {
            let before = format!("{name}=\"");
            let parts = page.split(&before).skip(1);
            parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
        };
        let mut links = attributes("href");
        let files = url.join(&links.remove(0)).unwrap();
        assert_eq!(files.path(), base);
        links.extend(attributes("src"));
        assert_eq!(links.len(), 6, "{links:?}");
        for link in links {
            let file = site.get(files.join(&link).unwrap().path()).send().await.unwrap();
            assert_eq!(file.status(), 200, "{link}");
            assert!(file.headers().contains_key("content-security-policy"), "{link}");
            assert!(file.content_length().is_some_and(|length| length > 0), "{link}");
        }
        let initializer = text(site.get(files.join("swagger-initializer.js").unwrap().path())).await.1;
        assert!(initializer.contains(r#""url": "../json""#), "{initializer}");
        assert!(initializer.contains(r#""validatorUrl": "none""#), "{initializer}");
        // Links within the page go by its `<base>`, where nothing is.
        assert!(initializer.contains(r#""deepLinking": false"#), "{initializer}");
        assert_eq!(files.join("../json").unwrap().path(), "/documentation/json");
    }
    for path in ["/documentation/static/", "/documentation/static/nothing.js", "/documentation/static/..%2fjson"] {
        assert_eq!(answer(site.get(path)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn files_of_the_page_are_not_copied_for_each_request() {
    let file = async |name: &str| {
        let params = [("file".to_owned(), name.to_owned())].into();
        let (uri, headers, query) = (String::new(), HeaderMap::new(), Map::new());
        let call = Call { uri, headers, caller: None, params, query, body: Vec::new() };
        let body = documentation::file(&call).unwrap().into_body();
        let part = body.into_data_stream().next().await.unwrap().unwrap();
        assert!(!part.is_empty());
        part
    };
    for name in ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"] {
        let (one, other) = (file(name).await, file(name).await);
        assert_eq!(one.as_ptr(), other.as_ptr(), "{name}");
    }
}

#[tokio::test]
async fn json_and_yaml_are_the_same_and_know_the_plugins() {
    let room = Endpoint::new("PUT", "/v5/chat/{room}", Scope::Messages, "Says it: \"now\"").named("chatPost");
    let site = Site::start(Options { mounts: vec![echo("chat", room)], ..Options::default() }).await;
    let (status, document) = answer(site.get("/documentation/json")).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    assert_eq!(document["paths"]["/v5/chat/{room}"]["put"]["tags"], json!(["chat"]));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let response = site.get("/documentation/yaml").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/yaml");
    let text = response.text().await.unwrap();
    assert!(text.contains("/v5/chat/{room}") && text.contains("openapi: 3.1.0"), "{text}");
}

#[tokio::test]
async fn what_is_switched_off_is_nowhere() {
    let copy = || Endpoint::new("PUT", "/v4/filecopy", Scope::Files, "").named("fileCopy");
    let delete = || Endpoint::new("DELETE", "/v4/filedelete", Scope::Files, "").named("fileDelete");
    let mounts = || vec![echo("files", copy()), echo("files", delete())];
    let names = async |site: &Site| answer(site.get("/v4/configfile/endpointsenabled")).await.1;

    let site = Site::start(Options { mounts: mounts(), ..Options::default() }).await;
    let all = names(&site).await;
    let own = [
        "butlerping",
        "apiListEnabledEndpoints",
        "base62ToBase16",
        "base16ToBase62",
        "senseStartTask",
        "senseListApps",
        "senseAppDump",
        "senseAppReload",
    ];
    for name in own.iter().chain(&["fileCopy", "fileDelete"]) {
        assert_eq!(all.as_array().unwrap().iter().filter(|other| *other == name).count(), 1, "{name} in {all}");
    }

    let rest = disabled(&["butlerping", "fileCopy", "GET /v4/apps/list", "post /v5/deliveries/{any}/retry"]);
    let site = Site::start(Options { rest, mounts: mounts(), ..Options::default() }).await;
    let unknown = json!({ "message": "Route GET:/v4/butlerping not found", "error": "Not Found", "statusCode": 404 });
    assert_eq!(answer(site.get("/v4/butlerping")).await, (404, unknown));
    assert_eq!(answer(site.request(Method::PUT, "/v4/filecopy")).await.0, 404);
    assert_eq!(
        answer(site.request(Method::POST, "/v5/deliveries/1/retry")).await.1["message"],
        "Route POST:/v5/deliveries/1/retry not found"
    );
    assert_eq!(answer(site.get("/v4/apps/list")).await.0, 404);
    // The other path of the same name stays: no Qlik Sense is in this config.
    assert_eq!(answer(site.get("/v4/senselistapps")).await.0, 503);
    assert_eq!(answer(site.request(Method::DELETE, "/v4/filedelete")).await.0, 201);
    let left = names(&site).await;
    let left: Vec<&str> = left.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(!left.contains(&"butlerping") && !left.contains(&"fileCopy"), "{left:?}");
    assert!(left.contains(&"senseListApps") && left.contains(&"fileDelete"), "{left:?}");
    let document = answer(site.get("/documentation/json")).await.1;
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.contains_key("/v4/butlerping") && !paths.contains_key("/v4/filecopy"));
    assert!(!paths.contains_key("/v4/apps/list") && paths.contains_key("/v4/senselistapps"));
}

#[tokio::test]
async fn numbers_are_converted_and_faults_named() {
    let site = Site::start(Options::default()).await;
    let at = async |path: &str| answer(site.get(&format!("/v4/{path}"))).await;
    let number = |base62: &str, base16: &str| (200, json!({ "base62": base62, "base16": base16 }));
    assert_eq!(at("base62tobase16?base62=abc").await, number("abc", "98de"));
    assert_eq!(at("base16tobase62?base16=98DE").await, number("abc", "98DE"));
    assert_eq!(at("base16tobase62?base16=00ff").await, number("47", "00ff"));
    assert_eq!(at("base62tobase16?base62=").await, number("", "0"));
    let (_, text) = text(site.get("/v4/base16tobase62?base16=ff")).await;
    assert_eq!(text, r#"{"base62":"47","base16":"ff"}"#);
    let (status, refused) = at("base62tobase16").await;
    assert_eq!((status, &refused["code"]), (400, &json!("FST_ERR_VALIDATION")));
    assert_eq!(refused["message"], "querystring must have required property 'base62'");
    for (path, fault) in [("base16tobase62?base16=xyz", "`x`"), ("base62tobase16?base62=a-b", "`-`")] {
        let (status, refused) = at(path).await;
        assert_eq!(status, 400);
        assert!(refused["message"].as_str().unwrap().contains(&format!("{fault} is none of the digits")), "{refused}");
    }
    assert_eq!(at(&format!("base62tobase16?base62={}", "Z".repeat(20_000))).await.0, 200);
}

#[tokio::test]
async fn health_is_where_it_was_and_for_everybody() {
    let rest = Rest { tokens: vec![token("t", "secret", &[Scope::Read])], ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    assert_eq!(answer(site.get("/health")).await, (200, json!({ "statusCode": 200, "status": "ok" })));
    assert_eq!(answer(site.get("/v4/butlerping")).await.0, 401);
    for path in ["/documentation/json", "/documentation/yaml", "/documentation"] {
        assert_eq!(text(site.get(path)).await.0, 200, "{path}");
    }
}
