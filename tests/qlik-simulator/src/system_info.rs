//! The service that tells version and product: on a port of its own, by client certificate alone.

use std::{convert::Infallible, io, net::Ipv4Addr, net::SocketAddr, sync::Arc};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Ends when it is dropped.
pub(crate) struct SystemInfo {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for SystemInfo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl SystemInfo {
    pub(crate) async fn start(tls: TlsAcceptor) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let tls = Arc::new(tls);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    // What does not work is the client's trouble.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let answer = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Self { addr, accepting })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/systeminfo") => (StatusCode::OK, system_info().to_string()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

fn system_info() -> serde_json::Value {
    json!({
        "contentHash": "8a2f7c0e5b1d4936",
        "senseId": "qliksenseserver:14.187.4",
        "originalClassName": "Composition",
        "version": "14.187.4",
        "deploymentType": "QlikSenseServer",
        "releaseLabel": "May 2024",
        "deprecatedProductVersion": "4.0.X",
        "productName": "Qlik Sense",
        "copyrightYearRange": "1993-2024",
    })
}
