//! The HTTP client that plugins and the road from Qlik Cloud share: one pool for each TLS profile of the config.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use butler_plugin_api::HttpError;
use butler_plugin_api::abi::{WireRequest, WireResponse};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use serde::Deserialize;

use crate::config::TlsProfile;
use crate::qlik;

/// Longest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

/// HTTP clients by TLS profile.
#[derive(Debug)]
pub struct HttpClients {
    profiles: BTreeMap<String, TlsProfile>,
    /// Made when first used; the empty name is the system's roots.
    clients: Mutex<BTreeMap<String, Client>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    timeout_ms: Option<u64>,
    tls: Option<String>,
}

impl HttpClients {
    /// For the profiles of the config.
    pub fn new(profiles: BTreeMap<String, TlsProfile>) -> Arc<Self> {
        Arc::new(Self { profiles, clients: Mutex::default() })
    }

    fn client(&self, profile: &str) -> Result<Client, HttpError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(profile) {
            return Ok(client.clone());
        }
        let standard = TlsProfile::default();
        let settings = if profile.is_empty() { Some(&standard) } else { self.profiles.get(profile) };
        // Nothing is wrong with the request: once the profile is mended, what waits arrives.
        let settings = settings.ok_or_else(|| {
            HttpError::Connection(format!("there is no TLS profile `{profile}`: add it under `tls:` of the config"))
        })?;
        let config = qlik::profile(settings).map_err(|error| HttpError::Connection(error.to_string()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(8)
            .user_agent(concat!("butler/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HttpError::Connection(chain(&error)))?;
        clients.insert(profile.to_owned(), client.clone());
        Ok(client)
    }

    /// Makes the client of a profile, to see that its files can be used. The empty name is the system's authorities.
    pub(crate) fn prepare(&self, profile: &str) -> Result<(), HttpError> {
        self.client(profile).map(drop)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: WireRequest) -> Result<WireResponse, HttpError> {
        let mut answer = self.open(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let chunk = chunk.as_ref();
            if body.len() + chunk.len() > MAX_ANSWER {
                let origin = answer.origin;
                return Err(HttpError::TooLarge(format!("{origin} answered with more than {} MB", MAX_ANSWER >> 20)));
            }
            body.extend_from_slice(chunk);
        }
        Ok(WireResponse { status: answer.status, headers: answer.headers, body, options: String::new() })
    }

    /// Sends a request and waits for the beginning of the answer. The time limit is that of the whole answer.
    pub(crate) async fn open(&self, request: WireRequest) -> Result<Incoming, HttpError> {
        let invalid = |message: String| HttpError::Invalid(message);
        let options: Options = if request.options.is_empty() {
            Options::default()
        } else {
            serde_json::from_str(&request.options).map_err(|error| invalid(error.to_string()))?
        };
        let url: Url = request.url.parse().map_err(|error| invalid(format!("the address is no URL: {error}")))?;
        // Without what may stand before the host: a password.
        let origin = url.origin().ascii_serialization();
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let bad = |what: &str| invalid(format!("the header `{name}` has {what}"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a name that HTTP does not allow"))?;
            let value = HeaderValue::from_str(value).map_err(|_| bad("a value that HTTP does not allow"))?;
            headers.append(name, value);
        }
        let timeout = options.timeout_ms.map_or(TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT);
        let client = self.client(options.tls.as_deref().unwrap_or_default())?;
        let answer = client.request(method, url).headers(headers).body(request.body).timeout(timeout).send().await;
        let response = answer.map_err(|error| failure(&origin, timeout, &error))?;
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                let value = if *name == RETRY_AFTER { seconds(&value, SystemTime::now()) } else { value.into_owned() };
                (name.as_str().to_owned(), value)
            })
            .collect();
        Ok(Incoming { status: response.status().as_u16(), headers, response, origin, timeout })
    }
}

/// An answer whose body is still coming.
pub(crate) struct Incoming {
    pub(crate) status: u16,
    /// Names in lower case; `retry-after` in seconds.
    pub(crate) headers: Vec<(String, String)>,
    response: reqwest::Response,
    origin: String,
    timeout: Duration,
}

impl Incoming {
    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, HttpError> {
        self.response.chunk().await.map_err(|error| failure(&self.origin, self.timeout, &error))
    }
}

fn failure(origin: &str, timeout: Duration, error: &reqwest::Error) -> HttpError {
    if error.is_builder() {
        HttpError::Invalid(chain(error))
    } else if error.is_timeout() && !error.is_connect() {
        HttpError::Timeout(format!(
            "{origin} did not answer within {} s (is it overloaded, or does something on the way keep the answer? See its log)",
            timeout.as_secs_f32()
        ))
    } else {
        let remedy = remedy(error, origin, proxy(origin)).map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        HttpError::Connection(format!("{origin} cannot be reached: {}{remedy}", chain(error)))
    }
}

/// What is likely behind a connection that cannot be made or has broken, and what helps. `proxy`: the variable that names one.
fn remedy(error: &reqwest::Error, origin: &str, proxy: Option<&str>) -> Option<String> {
    if let Some(error) = qlik::find::<rustls::Error>(error) {
        return tls_remedy(error).map(str::to_owned);
    }
    let is_plain = origin.starts_with("http:");
    Some(with_proxy(connection_remedy(error, is_plain)?, is_plain, proxy))
}

fn with_proxy(remedy: &str, is_plain: bool, proxy: Option<&str>) -> String {
    match proxy {
        Some(name) => format!("{remedy} Or is it the proxy of `{name}`?"),
        None if remedy == PACKETS || remedy == NETWORK => {
            let name = if is_plain { "HTTP_PROXY" } else { "HTTPS_PROXY" };
            format!("{remedy} Or is a proxy needed (environment variable `{name}`)?")
        }
        None => remedy.to_owned(),
    }
}

/// Remedies where there is no way without a proxy, perhaps.
const PACKETS: &str = "does a firewall drop packets?";
const NETWORK: &str = "is the network there?";

fn tls_remedy(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    Some(match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "this machine does not know the authority of its certificate: name that as `ca` of a profile under `tls:` of the \
             config, and the profile where this address stands, as its `tls`"
        }
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired: have it renewed there"
        }
        Tls::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet: compare the clocks"
        }
        Tls::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
            "its certificate is for another name: use that in the address"
        }
        Tls::AlertReceived(
            Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => {
            "it refuses the handshake: it may want a client certificate, or another one: `client` and `key` of a profile under \
             `tls:` of the config"
        }
        Tls::AlertReceived(Alert::HandshakeFailure) => {
            "it refuses the handshake: it may want a client certificate, `client` and `key` of a profile under `tls:` of the \
             config, or knows no cipher of TLS 1.2 or 1.3"
        }
        Tls::AlertReceived(Alert::ProtocolVersion | Alert::InsufficientSecurity) | Tls::PeerIncompatible(_) => {
            "no common TLS version or cipher: it must speak TLS 1.2 or 1.3"
        }
        Tls::AlertReceived(Alert::UnrecognisedName) => {
            "it does not know the name in the address: use the one that its certificate is for"
        }
        Tls::InvalidMessage(_) => "it does not speak TLS on this port: `http` or another port may be right",
        _ => return None,
    })
}

fn connection_remedy(error: &reqwest::Error, is_plain: bool) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    if error.is_dns() {
        return Some("is the name in the address right, and does the DNS of this machine know it?");
    }
    if error.is_timeout() {
        return Some(PACKETS);
    }
    let broke_off = if is_plain {
        "did the server or a proxy break off; or does it speak TLS on this port, so that `https` is right?"
    } else {
        "did the server or a proxy break off?"
    };
    let Some(system) = system(error) else {
        // Not by the system, but by what was read.
        let http = qlik::find::<hyper::Error>(error)?;
        return if http.is_incomplete_message() {
            Some(broke_off)
        } else if !http.is_parse() {
            None
        } else if is_plain {
            Some("it does not speak HTTP: if it is TLS, `https` is right")
        } else {
            Some("it does not speak HTTP: is the port right?")
        };
    };
    match system.kind() {
        Kind::ConnectionRefused => Some("does the server run there, and is the port right?"),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => Some(broke_off),
        Kind::NetworkUnreachable | Kind::HostUnreachable => Some(NETWORK),
        _ => None,
    }
}

/// The error of the system in a chain: libraries wrap it in others of its type.
fn system(error: &reqwest::Error) -> Option<&io::Error> {
    let mut found = qlik::find::<io::Error>(error)?;
    while let Some(inner) = found.get_ref().and_then(|inner| qlik::find(inner)) {
        found = inner;
    }
    Some(found)
}

/// The variable of the environment that names a proxy for an address, if one does and `NO_PROXY` does not except it.
fn proxy(origin: &str) -> Option<&'static str> {
    let names = if origin.starts_with("http:") { ["HTTP_PROXY", "http_proxy"] } else { ["HTTPS_PROXY", "https_proxy"] };
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let name = names.into_iter().chain(["ALL_PROXY", "all_proxy"]).find(set)?;
    goes_by(origin, &Matcher::from_env()).then_some(name)
}

fn goes_by(origin: &str, proxies: &Matcher) -> bool {
    origin.parse::<axum::http::Uri>().is_ok_and(|uri| proxies.intercept(&uri).is_some())
}

/// A `Retry-After` in its form of seconds: plugins need to know one form only.
fn seconds(value: &str, now: SystemTime) -> String {
    match httpdate::parse_http_date(value) {
        Ok(date) => date.duration_since(now).unwrap_or_default().as_secs().to_string(),
        Err(_) => value.to_owned(),
    }
}

/// An error with its causes. The address is left out: it may hold a token.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = error.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { qlik::without_manual(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, options: &str) -> WireRequest {
        let options = options.to_owned();
        WireRequest { method: "GET".to_owned(), url: url.to_owned(), headers: Vec::new(), body: Vec::new(), options }
    }

    #[tokio::test]
    async fn a_profile_that_is_missing_or_broken_is_no_fault_of_the_request() {
        let broken: TlsProfile = serde_json::from_value(serde_json::json!({ "ca": "/nowhere/ca.pem" })).unwrap();
        let clients = HttpClients::new(BTreeMap::from([("broken".to_owned(), broken)]));
        for (profile, part) in [("absent", "`absent`"), ("broken", "/nowhere/ca.pem")] {
            let request = request("https://127.0.0.1:1/", &format!(r#"{{ "tls": "{profile}" }}"#));
            let error = clients.send(request).await.unwrap_err();
            assert!(matches!(&error, HttpError::Connection(text) if text.contains(part)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn errors_do_not_tell_what_stands_before_the_host() {
        let clients = HttpClients::new(BTreeMap::new());
        let error =
            clients.send(request("http://butler:geheim@127.0.0.1:1/x?key=y", "")).await.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1") && !error.contains("geheim"), "{error}");
    }

    /// Answers whoever connects with these bytes, and hangs up.
    async fn says(bytes: &'static [u8]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, bytes).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn errors_say_what_is_likely_behind_them() {
        let clients = HttpClients::new(BTreeMap::new());
        let (mail, nothing) = (says(b"220 mail.example.com ESMTP\r\n").await, says(b"").await);
        // As servers refuse what is not TLS: an alert.
        let tls = says(b"\x15\x03\x03\x00\x02\x02\x46").await;
        for (url, part) in [
            ("http://127.0.0.1:1/", "(does the server run there, and is the port right?)"),
            ("http://no-such-host.invalid/", "(is the name in the address right"),
            (&format!("https://127.0.0.1:{mail}/"), "(it does not speak TLS on this port"),
            (&format!("http://127.0.0.1:{nothing}/"), "(did the server or a proxy break off; or does it speak TLS"),
            (&format!("https://127.0.0.1:{nothing}/"), "(did the server or a proxy break off?)"),
            (&format!("http://127.0.0.1:{tls}/"), "(it does not speak HTTP: if it is TLS, `https` is right)"),
            (&format!("https://127.0.0.1:{tls}/"), "(no common TLS version or cipher"),
        ] {
            let error = clients.send(request(url, "")).await.unwrap_err();
            assert!(matches!(&error, HttpError::Connection(text) if text.contains(part)), "{url}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_may_be_what_is_away() {
        let client = HttpClients::new(BTreeMap::new()).client("").unwrap();
        let error = client.get("http://127.0.0.1:1/").send().await.unwrap_err();
        let said = remedy(&error, "http://127.0.0.1:1", Some("HTTP_PROXY")).unwrap();
        assert!(said.ends_with("is the port right? Or is it the proxy of `HTTP_PROXY`?"), "{said}");
        let proxies = Matcher::builder().all("http://proxy.example.com:3128").no("localhost,.example.com").build();
        for (origin, by_proxy) in [
            ("https://hooks.example.org", true),
            ("http://127.0.0.1:1", true),
            ("https://hooks.example.com:8443", false),
            ("http://localhost:1", false),
        ] {
            assert_eq!(goes_by(origin, &proxies), by_proxy, "{origin}");
        }
    }

    #[test]
    fn who_cannot_be_reached_may_need_the_proxy_of_its_scheme() {
        let (none, some) = (None, Some("HTTPS_PROXY"));
        for (remedy, is_plain, proxy, expected) in [
            (
                PACKETS,
                true,
                none,
                "does a firewall drop packets? Or is a proxy needed (environment variable `HTTP_PROXY`)?",
            ),
            (NETWORK, false, none, "is the network there? Or is a proxy needed (environment variable `HTTPS_PROXY`)?"),
            (NETWORK, false, some, "is the network there? Or is it the proxy of `HTTPS_PROXY`?"),
            ("is it up?", false, none, "is it up?"),
        ] {
            assert_eq!(with_proxy(remedy, is_plain, proxy), expected);
        }
    }

    #[test]
    fn each_trouble_of_tls_has_its_own_remedy() {
        use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls, PeerIncompatible};
        let cases = [
            (Tls::InvalidCertificate(Certificate::UnknownIssuer), "does not know the authority"),
            (Tls::InvalidCertificate(Certificate::BadSignature), "does not know the authority"),
            (Tls::InvalidCertificate(Certificate::Expired), "has expired"),
            (Tls::InvalidCertificate(Certificate::NotValidYet), "compare the clocks"),
            (Tls::InvalidCertificate(Certificate::NotValidForName), "is for another name"),
            (Tls::AlertReceived(Alert::CertificateRequired), "may want a client certificate, or another one"),
            (Tls::AlertReceived(Alert::BadCertificate), "may want a client certificate, or another one"),
            (Tls::AlertReceived(Alert::UnknownCA), "may want a client certificate, or another one"),
            (Tls::AlertReceived(Alert::HandshakeFailure), "or knows no cipher of TLS 1.2"),
            (Tls::AlertReceived(Alert::ProtocolVersion), "must speak TLS 1.2 or 1.3"),
            (Tls::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13), "must speak TLS 1.2 or 1.3"),
            (Tls::AlertReceived(Alert::UnrecognisedName), "does not know the name"),
        ];
        for (error, part) in cases {
            let remedy = tls_remedy(&error);
            assert!(remedy.is_some_and(|remedy| remedy.contains(part)), "{error}: {remedy:?}");
        }
        // Nothing that anybody could set would help.
        for error in [Tls::AlertReceived(Alert::InternalError), Tls::DecryptError] {
            assert_eq!(tls_remedy(&error), None);
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_seconds() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", now), "120");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT", now), "0");
        assert_eq!(seconds("17", now), "17");
    }
}
