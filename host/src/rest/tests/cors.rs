//! Web pages that may call the server.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};

use super::{ADMIN, Options, Site, token};
use crate::config::Rest;

const PAGE: &str = "https://hub.example.com";

async fn site() -> Site {
    let tokens = vec![token("page", "secret", &[butler_plugin_api::Scope::Read])];
    let rest = Rest { origins: vec![PAGE.to_owned(), "http://localhost:3000".to_owned()], tokens, ..Rest::default() };
    Site::start(Options { rest, ..Options::default() }).await
}

async fn heads(request: RequestBuilder) -> (u16, HeaderMap) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_listed_page_may_ask_first_without_a_token() {
    let site = site().await;
    let preflight = |origin: &str| {
        let request = site.request(Method::OPTIONS, "/v5/messages").header("origin", origin);
        request.header("access-control-request-method", "POST").header("sec-fetch-site", "cross-site")
    };
    let (status, headers) =
        heads(preflight(PAGE).header("access-control-request-headers", "authorization,x-own")).await;
    assert_eq!(status, 204);
    assert_eq!(text(&headers, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(text(&headers, "access-control-allow-headers"), Some("authorization,x-own"));
    assert!(text(&headers, "access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!((text(&headers, "access-control-max-age"), text(&headers, "vary")), (Some("600"), Some("Origin")));
    assert!(!headers.contains_key("access-control-allow-private-network"));
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let (_, headers) = heads(preflight(PAGE).header("access-control-request-private-network", "true")).await;
    assert_eq!(text(&headers, "access-control-allow-private-network"), Some("true"));
    assert!(text(&headers, "access-control-allow-headers").unwrap().contains("authorization"));

    let (status, headers) = heads(preflight("https://evil.example")).await;
    assert_eq!((status, text(&headers, "access-control-allow-origin")), (403, None));
    // Not from a page, or not the question of a browser.
    let plain = || site.request(Method::OPTIONS, "/v5/messages");
    assert_eq!(heads(plain().header("access-control-request-method", "POST")).await.0, 404);
    assert_eq!(heads(plain().header("origin", PAGE)).await.0, 404);
}

#[tokio::test]
async fn a_listed_page_may_read_answers_also_refusals() {
    let site = site().await;
    let get = |origin: Option<&str>, token: Option<&str>| {
        let mut request = site.get("/v5/events");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(token) = token { request.bearer_auth(token) } else { request }
    };
    for (token, expected) in [(Some(ADMIN), 200), (None, 401)] {
        let (status, headers) = heads(get(Some(PAGE), token)).await;
        assert_eq!((status, text(&headers, "access-control-allow-origin")), (expected, Some(PAGE)));
        let exposed = text(&headers, "access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-ratelimit-remaining") && exposed.contains("retry-after"), "{exposed}");
    }
    for (origin, expected) in [(None, 200), (Some("https://evil.example"), 403)] {
        let (status, headers) = heads(get(origin, Some(ADMIN))).await;
        assert_eq!((status, text(&headers, "access-control-allow-origin")), (expected, None));
        assert_eq!(text(&headers, "vary"), Some("Origin"), "caches must not mix them up");
    }
    let closed = Site::start(Options::default()).await;
    let (_, headers) = heads(closed.get("/v4/butlerping")).await;
    assert!(!headers.contains_key("vary") && !headers.contains_key("access-control-allow-origin"));
}
