//! InfluxDB 2 and 3 as far as a writer sees them: their addresses, who may do what, and their answers in the forms that their
//! documentation and sources have.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Most bytes of a body, before it is decompressed.
const LARGEST: usize = 1 << 20;

/// What has come.
#[derive(Default)]
struct Inside {
    version: u8,
    /// The token that may do everything.
    token: String,
    /// May write, but neither see nor create anything.
    writer: String,
    /// Buckets or databases, with the request that created them.
    places: BTreeMap<String, Value>,
    /// Lines by measurement, tags and time.
    lines: BTreeMap<String, String>,
    /// The type of each field, by measurement and name.
    types: BTreeMap<(String, String), char>,
    writes: usize,
    compressed: usize,
    /// The next writes are answered so.
    next: Vec<(u16, &'static str)>,
}

/// The server. It ends when it is dropped.
pub struct Influx {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    task: tokio::task::JoinHandle<()>,
}

impl Influx {
    /// Organisation of version 2.
    pub const ORG: &str = "lab";
    /// Token of an administrator.
    pub const TOKEN: &str = "influx-admin-token";
    /// Token that may write, and no more.
    pub const WRITER: &str = "influx-writer-token";

    /// With this text for [`next`](Self::next) a short write is stored, whatever the status says.
    pub const STORED: &str = "stored";

    /// Starts one of version 2 or 3, without buckets.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start(version: u8) -> Self {
        let (token, writer) = (Self::TOKEN.to_owned(), Self::WRITER.to_owned());
        let inside = Arc::new(Mutex::new(Inside { version, token, writer, ..Inside::default() }));
        let router = Router::new().fallback(answer).with_state(inside.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, inside, task }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a bucket or database.
    pub fn create(&self, name: &str) {
        self.inside().places.insert(name.to_owned(), Value::Null);
    }

    /// Buckets or databases, with the requests that created them.
    pub fn places(&self) -> BTreeMap<String, Value> {
        self.inside().places.clone()
    }

    /// Removes a bucket or database with all that is in it.
    pub fn remove(&self, name: &str) {
        let mut inside = self.inside();
        inside.places.remove(name);
        inside.lines.clear();
        inside.types.clear();
    }

    /// What is stored, a line for each point.
    pub fn lines(&self) -> Vec<String> {
        self.inside().lines.values().cloned().collect()
    }

    /// How many writes of points came, and how many of them were compressed.
    pub fn writes(&self) -> (usize, usize) {
        let inside = self.inside();
        (inside.writes, inside.compressed)
    }

    /// Stores a point, as somebody else would have.
    ///
    /// # Panics
    /// When it contradicts what is stored.
    pub fn put(&self, line: &str) {
        self.inside().store(line).expect("it fits to what is stored");
    }

    /// Answers the next writes so, and stores nothing (but see [`STORED`](Self::STORED)).
    pub fn next(&self, answers: &[(u16, &'static str)]) {
        self.inside().next.extend_from_slice(answers);
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Influx {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reply(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

async fn answer(
    State(inside): State<Arc<Mutex<Inside>>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.strip_prefix("Token ").or_else(|| given.strip_prefix("Bearer ").filter(|_| inside.version == 3));
    let (admin, writer) = (given == Some(&inside.token), given == Some(&inside.writer));
    if !admin && !writer {
        return match inside.version {
            2 => reply(401, &json!({ "code": "unauthorized", "message": "unauthorized access" })),
            _ => reply(401, &json!({ "error": "the request was not authenticated" })),
        };
    }
    let body_json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    match (inside.version, method.as_str(), uri.path()) {
        (_, "POST", "/api/v2/write") => inside.write(of("org"), of("bucket"), of("precision"), &headers, &body),
        (2, "GET", "/api/v2/buckets") => {
            let seen = admin && of("org") == Influx::ORG && inside.places.contains_key(of("name"));
            let buckets =
                if seen { json!([{ "id": "0b", "name": of("name"), "retentionRules": [] }]) } else { json!([]) };
            reply(200, &json!({ "buckets": buckets }))
        }
        (2, "GET", "/api/v2/orgs") if admin && of("org") == Influx::ORG => {
            reply(200, &json!({ "orgs": [{ "id": "0c0ffee", "name": Influx::ORG }] }))
        }
        (2, "GET", "/api/v2/orgs") => {
            reply(404, &json!({ "code": "not found", "message": "organization name not found" }))
        }
        (2, "POST", "/api/v2/buckets") if !admin => {
            reply(403, &json!({ "code": "forbidden", "message": "write:orgs/0c0ffee/buckets is unauthorized" }))
        }
        (2, "POST", "/api/v2/buckets") => {
            let name = body_json["name"].as_str().unwrap_or_default().to_owned();
            if body_json["orgID"] != "0c0ffee" {
                return reply(400, &json!({ "code": "invalid", "message": "id must have a length of 16 bytes" }));
            }
            if inside.places.contains_key(&name) {
                return reply(
                    422,
                    &json!({ "code": "conflict", "message": format!("bucket with name {name} already exists") }),
                );
            }
            inside.places.insert(name, body_json.clone());
            reply(201, &body_json)
        }
        (3, _, "/api/v3/configure/database") if !admin => reply(403, &json!({ "error": "forbidden" })),
        (3, "GET", "/api/v3/configure/database") if of("format") == "json" => {
            reply(200, &inside.places.keys().map(|name| json!({ "iox::database": name })).collect())
        }
        (3, "POST", "/api/v3/configure/database") => {
            let Some(name) = body_json["db"].as_str() else {
                return reply(400, &json!({ "error": "missing field `db`" }));
            };
            if inside.places.contains_key(name) {
                return reply(409, &json!({ "error": "the requested resource already exists" }));
            }
            inside.places.insert(name.to_owned(), body_json.clone());
            StatusCode::OK.into_response()
        }
        _ => reply(404, &json!({ "code": "not found", "message": "path not found" })),
    }
}

impl Inside {
    fn write(&mut self, org: &str, place: &str, precision: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        if !body.is_empty() {
            self.writes += 1;
        }
        if !self.next.is_empty() {
            let (status, text) = self.next.remove(0);
            // It has arrived, and the answer is lost on its way.
            if text == Influx::STORED {
                for line in String::from_utf8_lossy(body).lines() {
                    let _ = self.store(line);
                }
            }
            return (StatusCode::from_u16(status).unwrap_or_default(), [("retry-after", "1")], text).into_response();
        }
        if body.len() > LARGEST {
            return reply(
                413,
                &json!({ "code": "request too large", "message": "cannot read data: points batch is too large" }),
            );
        }
        let mut text = String::new();
        let read = if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
            self.compressed += 1;
            flate2::read::GzDecoder::new(body).read_to_string(&mut text)
        } else {
            (&mut &*body).read_to_string(&mut text)
        };
        let is_long = text.len() > 1000 && !headers.contains_key("content-encoding");
        if read.is_err() || precision != "ns" || is_long {
            return reply(
                400,
                &json!({ "code": "invalid", "message": "the test expects ns, and gzip beyond 1000 bytes" }),
            );
        }
        if self.version == 2 && (org != Influx::ORG || !self.places.contains_key(place)) {
            return reply(404, &json!({ "code": "not found", "message": format!("bucket {place:?} not found") }));
        }
        if self.version == 2 && body.is_empty() {
            return reply(400, &json!({ "code": "invalid", "message": "writing requires points" }));
        }
        // Version 3 creates what is missing.
        self.places.entry(place.to_owned()).or_default();
        let mut refused = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if let Err(why) = self.store(line) {
                refused.push(json!({ "original_line": line, "line_number": number + 1, "error_message": why }));
            }
        }
        match (refused.first(), self.version) {
            (None, _) => StatusCode::NO_CONTENT.into_response(),
            (Some(first), 2) => {
                let message = format!(
                    "failure writing points to database: partial write: field type conflict: {} dropped={}",
                    first["error_message"].as_str().unwrap_or_default(),
                    refused.len()
                );
                reply(422, &json!({ "code": "unprocessable entity", "message": message }))
            }
            _ => reply(400, &json!({ "error": "partial write of line protocol occurred", "data": refused })),
        }
    }

    /// A line whose texts have neither blanks nor line breaks outside of what is escaped: enough for the tests.
    fn store(&mut self, line: &str) -> Result<(), String> {
        let (rest, time) = line.rsplit_once(' ').ok_or("no time")?;
        let (series, fields) = rest.split_once(' ').ok_or("no fields")?;
        let measurement = series.split(',').next().unwrap_or_default().to_owned();
        for field in fields.split(',') {
            let Some((name, value)) = field.split_once('=') else { continue };
            let kind = match value.chars().next() {
                Some('"') => 's',
                Some('t' | 'f') => 'b',
                _ => 'n',
            };
            let known = *self.types.entry((measurement.clone(), name.to_owned())).or_insert(kind);
            if known != kind {
                return Err(format!(
                    "input field \"{name}\" on measurement \"{measurement}\" is type {kind}, already {known}"
                ));
            }
        }
        self.lines.insert(format!("{series} {time}"), line.to_owned());
        Ok(())
    }
}
