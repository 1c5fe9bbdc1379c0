//! HTTP/2: many requests at once on a connection.

use std::sync::Arc;
use std::time::Instant;

use e2e::{Butler, peak, tls_trusting};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{PROMPT, address, secured};

/// A connection with HTTP/2.
pub async fn h2_over(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> h2::client::SendRequest<axum::body::Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// The same; only the heads of answers can come.
async fn taking_nothing(stream: TcpStream) -> h2::client::SendRequest<axum::body::Bytes> {
    let (client, connection) = h2::client::Builder::new().initial_window_size(0).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

pub type Head = axum::http::request::Builder;

pub fn head(method: &str, uri: &str, butler: &Butler) -> Head {
    axum::http::Request::builder()
        .method(method)
        .uri(uri)
        .version(axum::http::Version::HTTP_2)
        .header("authorization", format!("Bearer {}", butler.token()))
}

/// Status and body of a request without a body.
pub async fn h2_ask(client: &mut h2::client::SendRequest<axum::body::Bytes>, head: Head) -> (u16, String) {
    let (answer, _) = client.send_request(head.body(()).unwrap(), true).unwrap();
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        text.extend_from_slice(&chunk);
    }
    (status, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn http2_by_alpn_and_by_prior_knowledge() {
    let (butler, certificate) = secured().await;
    let mut config = tls_trusting(Some(&certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address(&butler)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let mut client = h2_over(stream).await;
    let (status, body) = h2_ask(&mut client, head("GET", "https://localhost/v5/events", &butler)).await;
    assert_eq!(status, 200, "{body}");

    let plain = Butler::start("").await;
    let mut client = h2_over(TcpStream::connect(address(&plain)).await.unwrap()).await;
    let good = "http://localhost/v5/events";
    assert_eq!(h2_ask(&mut client, head("GET", good, &plain)).await.0, 200);
    let foreign = h2_ask(&mut client, head("GET", "http://evil.example/v5/events", &plain)).await;
    assert!(foreign.0 == 403 && foreign.1.contains("`evil.example`"), "{foreign:?}");
    assert_eq!(h2_ask(&mut client, head("GET", good, &plain).header("host", "127.0.0.1")).await.0, 400);
    let origin = head("GET", good, &plain).header("origin", "https://evil.example");
    assert_eq!(h2_ask(&mut client, origin).await.0, 403);
    let stranger = axum::http::Request::builder().uri(good).header("authorization", "Bearer none");
    let (status, _) = h2_ask(&mut client, stranger).await;
    assert_eq!(status, 200, "without tokens in the config this machine may do everything");
    // A list of headers that is too long, and then a sound one.
    for length in [5_000, 20_000] {
        let long = head("GET", good, &plain).header("x-long", "x".repeat(12_000)).header("x-long", "y".repeat(length));
        assert_eq!(h2_ask(&mut client, long).await.0, 431);
    }
    assert_eq!(h2_ask(&mut client, head("GET", good, &plain)).await.0, 200);
    let mut many = JoinSet::new();
    for _ in 0..300 {
        let (mut client, head) = (client.clone(), head("GET", good, &plain));
        many.spawn(async move {
            client = client.ready().await.unwrap();
            h2_ask(&mut client, head).await.0
        });
    }
    assert_eq!(many.join_all().await, [200; 300], "no more at once than allowed");
    let (ended, log) = plain.stop().await;
    assert_eq!(ended.code(), Some(0), "{log}");
}

#[tokio::test]
async fn resets_without_end_do_not_hurt() {
    let butler = Butler::start("").await;
    let url = "http://localhost/v5/events";
    for _ in 0..20 {
        let mut client = h2_over(TcpStream::connect(address(&butler)).await.unwrap()).await;
        for _ in 0..2_000 {
            let Ok(mut ready) = client.ready().await else { break };
            let Ok((_, mut stream)) = ready.send_request(head("GET", url, &butler).body(()).unwrap(), false) else {
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
            client = ready;
        }
    }
    let asked = Instant::now();
    assert_eq!(butler.get("/v5/events").await.0, 200);
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_none_of_many_answers_fills_no_memory_and_keeps_nobody_out() {
    const CONNECTIONS: usize = 60;
    let butler = Butler::start("").await;
    let bundle = "http://localhost/documentation/static/swagger-ui-bundle.js";
    let before = peak(butler.pid());
    let (mut held, mut served, mut refused) = (Vec::new(), 0, 0);
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address(&butler)).await.unwrap();
        let mut client = taking_nothing(stream).await;
        let mut answers = Vec::new();
        for _ in 0..32 {
            client = client.ready().await.unwrap();
            answers.push(client.send_request(head("GET", bundle, &butler).body(()).unwrap(), true).unwrap().0);
        }
        for answer in answers {
            let answer = answer.await.unwrap();
            match answer.status().as_u16() {
                200 => served += 1,
                503 if answer.headers()["retry-after"] == "1" => refused += 1,
                other => panic!("{other}"),
            }
            held.push(answer);
        }
    }
    println!("{served} answers, {refused} refused");
    // The first of each connection, and a quarter of 1,024 more.
    assert!(refused > 0 && served <= CONNECTIONS + 256, "{served} {refused}");
    let asked = Instant::now();
    assert_eq!(butler.get("/v5/events").await.0, 200);
    // Another client with many at once: the first ones wait for it to take their answers.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.5:0".parse().unwrap()).unwrap();
    let stream = socket.connect(address(&butler)).await.unwrap();
    let mut client = taking_nothing(stream).await;
    for _ in 0..10 {
        client = client.ready().await.unwrap();
        let answer = client.send_request(head("GET", bundle, &butler).body(()).unwrap(), true).unwrap().0;
        held.push(answer.await.unwrap());
        assert_eq!(held.last().unwrap().status(), 200);
    }
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    assert!(butler.metric("butler_rest_requests_refused_total").await.unwrap() > 0.0);
    let grown = peak(butler.pid()) - before;
    println!("the peak of memory grew by {} kB", grown >> 10);
    assert!(grown < 150 << 20, "{} MB", grown >> 20);
    drop(held);
}
