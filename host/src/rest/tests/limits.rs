//! Limits of size, time and number; binding and stopping.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::{Endpoint, Response as PluginResponse, Scope};
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Notify;

use super::super::Server;
use super::super::endpoints::Mount;
use super::super::server::Limits;
use super::{Options, Site, answer, echo, text, wire};
use crate::config::Rest;

#[tokio::test]
async fn bodies_have_a_limit() {
    let mounts = vec![echo("a", Endpoint::new("POST", "/v4/any", Scope::Read, ""))];
    let site = Site::start(Options { mounts, ..Options::default() }).await;
    let post = |length: usize| site.request(Method::POST, "/v4/any").body(" ".repeat(length));
    assert_eq!(answer(post(1 << 20)).await.0, 201);
    let too_large = json!({ "statusCode": 413, "code": "FST_ERR_CTP_BODY_TOO_LARGE", "error": "Payload Too Large",
        "message": "Request body is too large" });
    assert_eq!(answer(post((1 << 20) + 1)).await, (413, too_large.clone()));
    // Not announced; what the server does not want to read it throws away.
    let chunk = [b"80001\r\n".as_slice(), &vec![b' '; 0x80001], b"\r\n"].concat();
    let head = b"POST /v4/any HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = [head.as_slice(), &chunk, &chunk, b"0\r\n\r\n"].concat();
    let address = site.address;
    let answer = tokio::task::spawn_blocking(move || raw(address, &request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("FST_ERR_CTP_BODY_TOO_LARGE"), "{answer}");
}

/// Sends bytes and reads until the server closes.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have answered and closed before it read everything.
    let _ = stream.write_all(bytes);
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
        answer: Duration::from_secs(30),
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

/// An endpoint that says when a request has arrived, and answers when it may.
fn held(method: &str, arrived: &Arc<Notify>, go: &Arc<Notify>) -> Mount {
    let (arrived, go) = (arrived.clone(), go.clone());
    Mount::fake("a", Endpoint::new(method, "/v4/slow", Scope::Read, ""), move |_| {
        let (arrived, go) = (arrived.clone(), go.clone());
        async move {
            arrived.notify_one();
            go.notified().await;
            wire(PluginResponse::json(200, &"done"))
        }
        .boxed()
    })
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_end() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = held("GET", &arrived, &go);
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

/// An endpoint that answers with so many bytes.
fn large(length: usize) -> Mount {
    Mount::fake("a", Endpoint::new("GET", "/v4/large", Scope::Read, ""), move |_| {
        let mut answer = wire(PluginResponse::json(200, &()));
        answer.body = vec![b'x'; length];
        std::future::ready(answer).boxed()
    })
}

const GET_LARGE: &[u8] = b"GET /v4/large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const LARGE: usize = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_the_answer_is_cut_off_and_who_takes_it_slowly_is_not() {
    let limits = Limits { answer: Duration::from_millis(400), ..Limits::default() };
    let site = Site::start(Options { mounts: vec![large(LARGE)], limits, ..Options::default() }).await;
    let address = site.address;
    let idle = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(GET_LARGE).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let mut seen = 0;
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            seen += length;
        }
        seen
    });
    let slow = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(GET_LARGE).unwrap();
        let mut seen = 0;
        let mut buffer = vec![0; 1 << 20];
        while let length @ 1.. = stream.read(&mut buffer).unwrap() {
            seen += length;
            std::thread::sleep(Duration::from_millis(40));
        }
        seen
    });
    assert!(idle.await.unwrap() < LARGE);
    assert!(slow.await.unwrap() > LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_request_is_at_work_is_not_closed_for_another() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = held("POST", &arrived, &go);
    let limits = Limits { connections: 2, head: Duration::from_millis(100), ..Limits::default() };
    let site = Site::start(Options { mounts: vec![slow], limits, ..Options::default() }).await;
    let request = site.request(Method::POST, "/v4/slow").header("content-type", "application/json").body("{}");
    let request = tokio::spawn(answer(request));
    arrived.notified().await;
    // Each of these takes the only other place from the last.
    let address = site.address;
    let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let answered = tokio::task::spawn_blocking(move || {
        raw(address, b"GET /v4/butlerping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    });
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 200"));
    drop(waiting);
    // One that says nothing is cut off after the time for a head; the request has been at work for longer.
    assert!(tokio::task::spawn_blocking(move || raw(address, b"")).await.unwrap().is_empty());
    go.notify_one();
    assert_eq!(request.await.unwrap(), (200, json!("done")));
}

/// A POST that means a GET, with a body that does not come: the handler has been called, and nobody closes the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_read_makes_nobody_wait() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = held("GET", &arrived, &go);
    let limits = Limits { connections: 2, ..Limits::default() };
    let site = Site::start(Options { mounts: vec![slow], limits, ..Options::default() }).await;
    let address = site.address;
    let request = b"POST /v4/slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        X-HTTP-Method-Override: GET\r\nContent-Length: 10\r\n\r\n{";
    let request = tokio::task::spawn_blocking(move || raw(address, request));
    arrived.notified().await;
    let answered = tokio::task::spawn_blocking(move || {
        let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let answer = raw(address, b"GET /v4/butlerping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        drop(waiting);
        answer
    });
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 200"));
    go.notify_one();
    let answer = request.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"done\""), "{answer}");
}

#[tokio::test]
async fn strangers_are_told_no_before_their_bodies_are_read() {
    let site = Site::start(Options::default()).await;
    let address = site.address;
    let ask = async |path: &str, more: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000\r\n{more}\r\nx"
        );
        let asked = Instant::now();
        let answer = tokio::task::spawn_blocking(move || raw(address, request.as_bytes())).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        answer[9..12].to_owned()
    };
    assert_eq!(ask("/v5/qlik/notifications/x", "").await, "404");
    for more in ["", "Qlik-Signature: 00\r\n"] {
        assert_eq!(ask("/v5/qlik-cloud/events", more).await, "401");
    }
    let tenants =
        json!([{ "id": "acme-id", "url": "https://acme.test", "token": "none", "webhookSecret": "s3cret-value" }]);
    let config = serde_json::from_value(json!({ "version": 1, "qlikCloud": { "tenants": tenants } })).unwrap();
    let site = Site::start(Options { config, ..Options::default() }).await;
    let address = site.address;
    let unsigned =
        b"POST /v5/qlik-cloud/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9\r\n\r\nx";
    let answer = tokio::task::spawn_blocking(move || raw(address, unsigned)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let (_, page) = text(site.get("/metrics")).await;
    assert!(page.contains("\nbutler_qlik_cloud_events_total{outcome=\"no-signature\"} 1\n"), "{page}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let site = Site::start(Options { limits, ..Options::default() }).await;
    let address = site.address;
    let ping = b"GET /v4/butlerping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = tokio::task::spawn_blocking(move || raw(address, ping)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
