//! The running daemon as the other commands see it: its address and token are in its run file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;

use super::ConfigFile;
use super::progress::waiting;
use crate::config::{Document, TlsProfile};
use crate::{qlik, rest, store};

/// The daemon is on this machine: what does not answer within this time hangs. Changes may take longer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
const READY: &str = "/v5/health/ready";

/// A running daemon.
pub(super) struct Daemon {
    client: reqwest::Client,
    run: rest::RunInfo,
}

/// What a daemon answers when it is asked whether it is ready.
pub(super) enum Ready {
    /// How it is.
    Said(Value),
    /// Something else, in words.
    Not(String),
}

impl Ready {
    /// How it is, if it says that.
    pub(super) fn said(self) -> Value {
        match self {
            Self::Said(answer) => answer,
            Self::Not(_) => Value::Null,
        }
    }
}

/// Whether a daemon is there, as far as can be seen.
pub(super) enum Presence {
    /// It answers.
    Runs(Daemon),
    /// None runs with this config.
    Stopped,
    /// Its run file cannot be read, or it does not answer although something is at its address.
    Unclear,
}

impl Presence {
    /// What an error of looking for a daemon, or of asking it, says.
    pub(super) fn without(error: &anyhow::Error) -> Self {
        let missing = matches!(error.downcast_ref(), Some(rest::RunFileError::NotRunning { .. }));
        let refused = |error: &reqwest::Error| error.is_connect() && !error.is_timeout();
        // Its run file is left behind.
        let killed = error.chain().filter_map(|cause| cause.downcast_ref::<reqwest::Error>()).any(refused);
        if missing || killed { Self::Stopped } else { Self::Unclear }
    }
}

impl Daemon {
    /// The daemon that runs with this config.
    pub(super) fn find(file: &ConfigFile) -> anyhow::Result<Self> {
        Self::find_by(&file.config)
    }

    /// The same by the path of the config.
    pub(super) fn find_by(config: &Path) -> anyhow::Result<Self> {
        Self::find_beside(&Document::read(config)?.store_path())
    }

    /// The daemon that uses this store.
    pub(super) fn find_beside(store: &Path) -> anyhow::Result<Self> {
        let run = rest::RunInfo::read(store).map_err(|error| match (&error, store::holder(store)) {
            // It is written at the end of a start, which takes a while where a large store is brought to a new version.
            (rest::RunFileError::NotRunning { .. }, Some(owner)) => {
                anyhow!("Butler does not work yet, or no more: {owner} has the store, and is starting or stopping; see its log")
            }
            _ => error.into(),
        })?;
        // With HTTPS it is known by its certificate alone: no name and no authority would say that it is this daemon.
        let tls = match &run.certificate {
            Some(certificate) => qlik::pinned(certificate)?,
            None => qlik::profile(&TlsProfile::default())?,
        };
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().connect_timeout(CONNECT).build()?;
        Ok(Self { client, run })
    }

    /// What its run file says.
    pub(super) fn run(&self) -> &rest::RunInfo {
        &self.run
    }

    /// Whether it is ready, in its own words. Without `limit` it may take as long as the caller waits.
    pub(super) async fn ready(&self, limit: Option<Duration>) -> anyhow::Result<Ready> {
        let mut request = self.client.get(self.url(READY)?);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let (status, bytes) = self.send(request).await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if answer["status"].is_string() {
            return Ok(Ready::Said(answer));
        }
        let message = answer["message"].as_str().unwrap_or_default();
        Ok(Ready::Not(if status == reqwest::StatusCode::NOT_FOUND {
            format!("`GET {READY}` is not there: has the config it in `rest.disabledEndpoints`?")
        } else {
            format!("`GET {READY}` is answered by {status} {message}").trim_end().to_owned()
        }))
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.ask(self.client.get(url).timeout(ANSWER)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let json = "application/json";
        self.ask(self.client.post(self.url(path)?).header("content-type", json).body(body.to_string())).await
    }

    /// GET of what is no JSON.
    pub(super) async fn get_text(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<String> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let bytes = self.bytes(self.client.get(url).timeout(ANSWER)).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// POST of a text.
    pub(super) async fn post_text(&self, path: &str, body: String) -> anyhow::Result<Value> {
        let request = self.client.post(self.url(path)?).header("content-type", "text/plain; charset=utf-8").body(body);
        self.ask(request).await
    }

    fn url(&self, path: &str) -> anyhow::Result<reqwest::Url> {
        Ok(format!("{}{path}", self.run.rest).parse()?)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.bytes(request).await?).unwrap_or_default())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(reqwest::StatusCode, Vec<u8>)> {
        let asking = async {
            let answer = request.bearer_auth(&self.run.token).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?.to_vec()))
        };
        let answer = waiting("the running daemon", asking).await;
        answer.with_context(|| format!("the daemon does not answer at {}", self.run.rest))
    }

    async fn bytes(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
        let (status, bytes) = self.send(request).await?;
        if !status.is_success() {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            bail!("{}", body["message"].as_str().unwrap_or("the daemon refused without a reason"));
        }
        Ok(bytes)
    }
}
