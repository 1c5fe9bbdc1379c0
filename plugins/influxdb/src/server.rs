//! InfluxDB by HTTP: where and how points are written, what is created, what is checked, for its versions 1, 2 and 3.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use butler_plugin_api::{Host, HttpReply, HttpRequest};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::answer::{Answer, Later, reason};

/// Bodies beyond it are compressed.
const PLAIN: usize = 1000;

/// Who writes what where.
#[derive(Debug)]
pub(crate) enum Access {
    V1 { database: String, user: Option<(String, String)>, policy: Option<String> },
    V2 { org: String, bucket: String, token: String },
    V3 { database: String, token: String },
}

/// For how long points are kept: `10d` and 240 hours; `inf` without hours.
pub(crate) type Retention = (String, Option<u64>);

/// An InfluxDB.
#[derive(Debug)]
pub(crate) struct Server {
    base: String,
    access: Access,
    create: bool,
    /// As it is written, and in hours, without which it is for ever; none: InfluxDB's own.
    retention: Option<Retention>,
    timeout: Duration,
    tls: Option<String>,
    /// A database was made whose retention policy is not there yet.
    without_policy: Mutex<bool>,
}

/// What became of creating a database or bucket.
#[derive(Debug, PartialEq)]
pub(crate) enum Made {
    /// It is there now.
    There,
    /// Butler may not, or cannot, create it: why.
    Denied(String),
}

impl Server {
    pub(crate) fn new(
        base: String,
        access: Access,
        create: bool,
        retention: Option<Retention>,
        timeout: Duration,
        tls: Option<String>,
    ) -> Self {
        Self { base, access, create, retention, timeout, tls, without_policy: Mutex::new(false) }
    }

    pub(crate) fn creates(&self) -> bool {
        self.create
    }

    /// What is written to, for people: ``database `butler` ``.
    pub(crate) fn place(&self) -> String {
        match &self.access {
            Access::V1 { database, .. } | Access::V3 { database, .. } => format!("database `{database}`"),
            Access::V2 { bucket, org, .. } => format!("bucket `{bucket}` of `{org}`"),
        }
    }

    pub(crate) fn write_url(&self) -> String {
        match &self.access {
            Access::V1 { database, .. } => self.url("/write", &[("db", database), ("precision", "ns")]),
            Access::V2 { org, bucket, .. } => {
                self.url("/api/v2/write", &[("org", org), ("bucket", bucket), ("precision", "ns")])
            }
            Access::V3 { database, .. } => self.url("/api/v2/write", &[("bucket", database), ("precision", "ns")]),
        }
    }

    /// Writes lines.
    pub(crate) async fn write(&self, host: &Host, body: String) -> Result<HttpReply, Later> {
        let request = self.request(host, "POST", &self.write_url()).header("content-type", "text/plain; charset=utf-8");
        let request = match compressed(body.as_bytes()) {
            Some(bytes) => request.header("content-encoding", "gzip").body(bytes),
            None => request.body(body),
        };
        Ok(request.send().await?)
    }

    /// Creates the database or bucket if it is missing.
    pub(crate) async fn make(&self, host: &Host) -> Result<Made, Later> {
        match &self.access {
            Access::V1 { database, policy, .. } => self.make_v1(host, database, policy.as_deref()).await,
            Access::V2 { org, bucket, .. } => self.make_v2(host, org, bucket).await,
            Access::V3 { database, .. } => self.make_v3(host, database).await,
        }
    }

    async fn make_v1(&self, host: &Host, database: &str, policy: Option<&str>) -> Result<Made, Later> {
        let is_there = match self.databases(host).await? {
            Ok(databases) => databases.iter().any(|name| name == database),
            Err(denied) => return Ok(Made::Denied(denied)),
        };
        let without_policy = || self.without_policy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if is_there && !*without_policy() {
            return Ok(Made::There);
        }
        let quoted = quoted(database);
        if !is_there {
            if let Err(denied) = self.query(host, &format!("create database {quoted}")).await? {
                return Ok(Made::Denied(denied));
            }
            *without_policy() = true;
            tracing::info!(database, "a database was created in InfluxDB");
        }
        if let Some((duration, _)) = &self.retention {
            let name = self::quoted(policy.unwrap_or(duration));
            let policy =
                format!("create retention policy {name} on {quoted} duration {duration} replication 1 default");
            if let Err(denied) = self.query(host, &policy).await? {
                tracing::warn!(database, "points are kept for ever: the retention policy was not created: {denied}");
            }
        }
        *without_policy() = false;
        Ok(Made::There)
    }

    async fn make_v2(&self, host: &Host, org: &str, bucket: &str) -> Result<Made, Later> {
        match self.bucket(host, org, bucket).await? {
            Ok(true) => return Ok(Made::There),
            Ok(false) => {}
            Err(denied) => return Ok(Made::Denied(denied)),
        }
        let reply = self.request(host, "GET", &self.url("/api/v2/orgs", &[("org", org)])).send().await?;
        let Some(answer) = granted(&reply)? else { return Ok(Made::Denied(reason(&reply))) };
        let Some(org_id) = answer["orgs"][0]["id"].as_str() else {
            return Ok(Made::Denied(format!("there is no organisation `{org}` that the token may see")));
        };
        let rules = match &self.retention {
            Some((_, Some(hours))) => json!([{ "type": "expire", "everySeconds": hours.saturating_mul(3600) }]),
            _ => json!([]),
        };
        let body = json!({ "orgID": org_id, "name": bucket, "retentionRules": rules });
        let request = self.request(host, "POST", &self.url("/api/v2/buckets", &[]));
        self.made(&request.json(&body).send().await?)
    }

    async fn make_v3(&self, host: &Host, database: &str) -> Result<Made, Later> {
        let mut body = json!({ "db": database });
        if let Some((duration, Some(_))) = &self.retention {
            body["retention_period"] = duration.as_str().into();
        }
        let request = self.request(host, "POST", &self.url("/api/v3/configure/database", &[]));
        self.made(&request.json(&body).send().await?)
    }

    /// The answer to a creation. That it exists is as good: somebody else was faster.
    fn made(&self, reply: &HttpReply) -> Result<Made, Later> {
        let code = serde_json::from_slice::<Value>(reply.bytes()).unwrap_or_default()["code"] == "conflict";
        if reply.status() == 409 || (reply.status() == 422 && code) {
            return Ok(Made::There);
        }
        if granted(reply)?.is_none() {
            return Ok(Made::Denied(reason(reply)));
        }
        tracing::info!("the {} was created in InfluxDB", self.place());
        Ok(Made::There)
    }

    /// Names of the databases that the user may see (version 1), or why they cannot be asked for.
    async fn databases(&self, host: &Host) -> Result<Result<Vec<String>, String>, Later> {
        let answer = match self.query(host, "show databases").await? {
            Ok(answer) => answer,
            Err(denied) => return Ok(Err(denied)),
        };
        let rows = answer["results"][0]["series"][0]["values"].as_array();
        Ok(Ok(rows.into_iter().flatten().filter_map(|row| row[0].as_str().map(str::to_owned)).collect()))
    }

    /// A statement of InfluxQL (version 1); its answer, or why it was refused.
    async fn query(&self, host: &Host, statement: &str) -> Result<Result<Value, String>, Later> {
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("q", statement).finish();
        let request = self.request(host, "POST", &self.url("/query", &[]));
        let reply = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await?;
        let Some(answer) = granted(&reply)? else { return Ok(Err(reason(&reply))) };
        let error = answer["results"][0]["error"].as_str().or_else(|| answer["error"].as_str());
        Ok(error.map_or_else(|| Ok(answer.clone()), |error| Err(error.to_owned())))
    }

    /// Whether the token sees the bucket (version 2), or why it cannot be asked for.
    async fn bucket(&self, host: &Host, org: &str, bucket: &str) -> Result<Result<bool, String>, Later> {
        let url = self.url("/api/v2/buckets", &[("org", org), ("name", bucket)]);
        let reply = self.request(host, "GET", &url).send().await?;
        if reply.status() == 404 {
            return Ok(Ok(false));
        }
        Ok(granted(&reply)?.map(|answer| answer["buckets"][0].is_object()).ok_or_else(|| reason(&reply)))
    }

    /// Asks whether all is there and right, and writes nothing: a line for people, or what is wrong.
    pub(crate) async fn check(&self, host: &Host) -> Result<String, String> {
        let away = |later: Later| format!("{}: {}", self.base, later.message);
        let place = self.place();
        let absent = || {
            if self.create {
                return Ok(format!("InfluxDB answers; the {place} is not there and will be created"));
            }
            Err(format!(
                "InfluxDB has no {place} that may be seen here: create it, put the name right, or set `create: true`"
            ))
        };
        let writable = Ok(format!("the {place} is there and may be written to; nothing was written"));
        match &self.access {
            Access::V1 { database, .. } => {
                let databases = self.databases(host).await.map_err(away)??;
                if databases.contains(database) && self.takes_points(host).await? { writable } else { absent() }
            }
            // A token that may only write sees no buckets.
            Access::V2 { .. } => {
                if self.takes_points(host).await? {
                    writable
                } else {
                    absent()
                }
            }
            Access::V3 { database, .. } => {
                let unseen = || Ok(format!("InfluxDB answers, but does not tell whether the {place} is there"));
                let url = self.url("/api/v3/configure/database", &[("format", "json")]);
                let reply = self.request(host, "GET", &url).send().await.map_err(|error| away(error.into()))?;
                match reply.status() {
                    200 => {}
                    // A token for one database may not list them; InfluxDB 3 beyond Core and Enterprise has no such address.
                    403 | 405 => return unseen(),
                    404 if is_influxdb(&reply) => return unseen(),
                    _ => return Err(reason(&reply)),
                }
                let databases = reply.json::<Vec<Value>>().unwrap_or_default();
                if databases.iter().any(|row| row["iox::database"] == database.as_str()) {
                    return Ok(format!("the {place} is there; nothing was written"));
                }
                Ok(format!("InfluxDB answers; the {place} is not there and will be created by the first write"))
            }
        }
    }

    /// Whether points may be written (versions 1 and 2); false if the database or bucket is not there. Asked by a write without any:
    /// who it is and what they may do comes before what they write.
    async fn takes_points(&self, host: &Host) -> Result<bool, String> {
        let reply = self.write(host, String::new()).await.map_err(|away| format!("{}: {}", self.base, away.message))?;
        match Answer::from(&reply) {
            Answer::Written => Ok(true),
            Answer::Refused { message, .. } if message.contains("writing requires points") => Ok(true),
            Answer::Missing(_) if is_influxdb(&reply) => Ok(false),
            Answer::Refused { message, .. } | Answer::TooLarge(message) => Err(message),
            Answer::Missing(later) | Answer::Later(later) => Err(later.message),
        }
    }

    fn request(&self, host: &Host, method: &str, url: &str) -> HttpRequest {
        let request = host.http().request(method, url).timeout(self.timeout);
        let request = match &self.tls {
            Some(profile) => request.tls(profile),
            None => request,
        };
        match &self.access {
            Access::V1 { user: None, .. } => request,
            Access::V1 { user: Some((name, password)), .. } => {
                request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
            // Version 3 takes both words, at its own addresses too.
            Access::V2 { token, .. } | Access::V3 { token, .. } => {
                request.header("authorization", format!("Token {token}"))
            }
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        if query.is_empty() {
            return format!("{}{path}", self.base);
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        format!("{}{path}?{query}", self.base)
    }
}

/// The JSON of a success; none if it is refused; later, if that may change by itself.
fn granted(reply: &HttpReply) -> Result<Option<Value>, Later> {
    match reply.status() {
        200..300 => Ok(Some(reply.json().unwrap_or_default())),
        408 | 425 | 429 | 500.. => Err(Later::from_reply(reply)),
        _ => Ok(None),
    }
}

/// Whether InfluxDB itself says that something is not there, and no server at a wrong address.
fn is_influxdb(reply: &HttpReply) -> bool {
    let has = |name: &str| reply.header(name).is_some();
    has("x-influxdb-version") || has("x-influxdb-build") || reply.json::<Map<String, Value>>().is_ok()
}

/// An identifier of InfluxQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// None if it is too short for that.
fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() <= PLAIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quoted("a\"b\\c; drop database x"), "\"a\\\"b\\\\c; drop database x\"");
    }

    #[test]
    fn only_long_bodies_are_compressed() {
        assert_eq!(compressed(&[b'a'; PLAIN]), None);
        let bytes = compressed(&[b'a'; PLAIN + 1]).unwrap();
        assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 100, "{bytes:?}");
    }
}
