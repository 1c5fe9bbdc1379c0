//! A client that behaves as QRS demands.

use qlik_simulator::{Certificates, QlikSimulator};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

const KEY: &str = "0123456789abcdef";

pub struct Qlik {
    client: Client,
    base: String,
}

impl Qlik {
    pub fn new(simulator: &QlikSimulator) -> Self {
        Self::with(simulator, client(simulator.certificates().client_config().unwrap()))
    }

    /// Shows the certificate of another authority.
    pub fn of(simulator: &QlikSimulator, certificates: &Certificates) -> Self {
        Self::with(simulator, client(certificates.client_config().unwrap()))
    }

    pub fn with(simulator: &QlikSimulator, client: Client) -> Self {
        Self { client, base: simulator.base_url() }
    }

    /// A request with the cross-site keys and a user.
    pub fn request(&self, method: Method, endpoint: &str) -> RequestBuilder {
        let user = "UserDirectory=Internal; UserId=sa_repository";
        self.bare(method, &with_key(endpoint)).header("x-qlik-xrfkey", KEY).header("X-Qlik-User", user)
    }

    /// A request without anything.
    pub fn bare(&self, method: Method, endpoint: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{endpoint}", self.base))
    }

    pub async fn get(&self, endpoint: &str) -> Response {
        self.request(Method::GET, endpoint).send().await.unwrap()
    }

    pub async fn status(&self, endpoint: &str) -> StatusCode {
        self.get(endpoint).await.status()
    }

    pub async fn text(&self, endpoint: &str) -> String {
        let response = self.get(endpoint).await;
        assert_eq!(response.status(), StatusCode::OK, "{endpoint}");
        response.text().await.unwrap()
    }

    pub async fn json(&self, endpoint: &str) -> Value {
        serde_json::from_str(&self.text(endpoint).await).unwrap()
    }

    /// The values of one field in a list.
    pub async fn list(&self, endpoint: &str, field: &str) -> Vec<String> {
        let list = self.json(endpoint).await;
        list.as_array().unwrap().iter().map(|object| object[field].as_str().unwrap().to_owned()).collect()
    }
}

pub fn client(tls: rustls::ClientConfig) -> Client {
    Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap()
}

pub fn with_key(endpoint: &str) -> String {
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{separator}xrfkey={KEY}")
}
