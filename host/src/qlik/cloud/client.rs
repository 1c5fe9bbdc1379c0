//! Calls to one tenant.
//!
//! Each tenant has its own places, its own gate and its own pauses, so that one that is down, slow or has had enough holds up
//! no other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::HttpError;
use butler_plugin_api::abi::WireRequest;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::error::CloudError;
use crate::config::CloudTenant;
use crate::http::{HttpClients, Incoming};
use crate::ingest::LogLimiter;
use crate::qlik::error::{QlikError, excerpt};
use crate::qlik::gate::{Gate, GateState};

/// Longest answer in JSON, in bytes.
const MAX_JSON: usize = 4 << 20;
/// Longest time for an answer in JSON, and for a script log, in milliseconds.
const TIMEOUT_MS: u64 = 15_000;
const LOG_TIMEOUT_MS: u64 = 60_000;
/// How long a tenant is left alone after a failure; doubles with each further one, up to 10 s.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The same after 429 without a time, and the longest time that is kept to.
const LIMITED: Duration = Duration::from_secs(10);
const LONGEST_LIMITED: Duration = Duration::from_hours(1);
/// After 401 the tenant is left alone for so long.
const REFUSED: Duration = Duration::from_secs(3);
/// A token that was refused for so long will not be taken soon.
const FRESH: Duration = Duration::from_secs(8);

/// One tenant.
pub(super) struct Client {
    tenant: String,
    base: Url,
    authorization: String,
    tls: Option<String>,
    http: Arc<HttpClients>,
    /// Calls that may be under way.
    places: Semaphore,
    gate: Gate,
    hold: Mutex<Hold>,
    /// Answers 401 and 403.
    refusals: AtomicU64,
    limiter: LogLimiter,
}

/// What keeps an answering tenant from being asked.
#[derive(Default)]
struct Hold {
    /// It has had too many requests until then.
    limited: Option<Instant>,
    /// Since when it refuses the token, and until when it is not asked.
    refused: Option<(Instant, Instant)>,
}

/// How a tenant is doing, for health and metrics.
#[derive(Debug, Clone)]
pub struct TenantState {
    /// Its id.
    pub id: String,
    /// Whether it answers.
    pub gate: GateState,
    /// It refuses the token: what to do.
    pub refused: Option<String>,
    /// How often it has answered 401 and 403 since the start.
    pub refusals: u64,
}

impl Client {
    pub(super) fn new(config: &CloudTenant, http: Arc<HttpClients>, concurrency: u32) -> Result<Self, QlikError> {
        let setup = |reason: String| CloudError::Setup { tenant: config.id.clone(), reason };
        // Validation has looked at it before.
        let base = Url::parse(&config.url).map_err(|error| setup(format!("`url` is none: {error}")))?;
        http.prepare(config.tls.as_deref().unwrap_or_default()).map_err(|error| setup(error.to_string()))?;
        Ok(Self {
            tenant: config.id.clone(),
            base,
            authorization: format!("Bearer {}", config.token),
            tls: config.tls.clone(),
            http,
            places: Semaphore::new(concurrency as usize),
            gate: Gate::of(format!("the tenant {} of Qlik Cloud", config.id), FIRST_PAUSE),
            hold: Mutex::default(),
            refusals: AtomicU64::new(0),
            limiter: LogLimiter::default(),
        })
    }

    /// Address of the tenant.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn state(&self) -> TenantState {
        let refused = self.lock().refused.map(|_| self.token(false).to_string());
        let refusals = self.refusals.load(Ordering::Relaxed);
        TenantState { id: self.tenant.clone(), gate: self.gate.state(), refused, refusals }
    }

    /// `GET`: the JSON of the answer; absent: there is no such thing. The parts of the path are encoded here.
    pub(super) async fn json(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Option<Value>, QlikError> {
        let call = path.join("/");
        // The place is held until the body is read: it is what takes memory.
        let Some((mut answer, _place)) = self.get(path, query, TIMEOUT_MS).await? else { return Ok(None) };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.as_ref().len() > MAX_JSON {
                let tenant = self.tenant.clone();
                return Err(CloudError::TooLarge { tenant, call, limit: MAX_JSON }.into());
            }
            body.extend_from_slice(chunk.as_ref());
        }
        let read = serde_json::from_slice(&body);
        read.map(Some).map_err(|_| self.odd(call, format!("is not JSON but begins with \"{}\"", excerpt(&body))))
    }

    /// `GET` of a text, piece by piece; false: there is no such thing.
    pub(super) async fn text(&self, path: &[&str], mut take: impl FnMut(&[u8])) -> Result<bool, QlikError> {
        let Some((mut answer, _place)) = self.get(path, &[], LOG_TIMEOUT_MS).await? else { return Ok(false) };
        let kind = answer.headers.iter().find(|(name, _)| name == "content-type");
        if kind.is_some_and(|(_, kind)| kind.to_ascii_lowercase().starts_with("text/html")) {
            return Err(self.odd(path.join("/"), "is a web page".to_owned()));
        }
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(error))? {
            take(chunk.as_ref());
        }
        Ok(true)
    }

    /// A successful answer with the place of its call; absent: there is no such thing.
    async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        timeout_ms: u64,
    ) -> Result<Option<(Incoming, Option<SemaphorePermit<'_>>)>, QlikError> {
        let Some(url) = address(&self.base, path, query) else { return Ok(None) };
        self.admit()?;
        // Never closed; without a place the call is made all the same.
        let place = self.places.acquire().await.ok();
        // Much may have happened while it waited.
        self.admit()?;
        let pass = self.gate.admit()?;
        let mut headers = vec![("accept".to_owned(), "application/json, text/plain".to_owned())];
        headers.push(("authorization".to_owned(), self.authorization.clone()));
        let options = json!({ "timeoutMs": timeout_ms, "tls": self.tls });
        let request = WireRequest {
            method: "GET".to_owned(),
            url: url.into(),
            headers,
            body: Vec::new(),
            options: options.to_string(),
        };
        let answer = match self.http.open(request).await {
            Ok(answer) => answer,
            Err(HttpError::Invalid(reason)) => {
                return Err(CloudError::Setup { tenant: self.tenant.clone(), reason }.into());
            }
            Err(error) => {
                let error = self.broken(error);
                pass.failed(&error.to_string());
                return Err(error);
            }
        };
        // The service is not there, though something in front of it answers.
        if matches!(answer.status, 502..=504) && wait(&answer).is_none() {
            pass.failed(&format!("the tenant {} of Qlik Cloud answers {}", self.tenant, answer.status));
        } else {
            pass.succeeded();
        }
        Ok(self.look_at(path, answer).await?.map(|answer| (answer, place)))
    }

    /// Whether the tenant may be asked.
    fn admit(&self) -> Result<(), CloudError> {
        let now = Instant::now();
        let mut hold = self.lock();
        if let Some(until) = hold.limited {
            if now < until {
                return Err(CloudError::Limited { tenant: self.tenant.clone(), wait: until - now });
            }
            hold.limited = None;
        }
        match hold.refused {
            Some((since, until)) if now < until => Err(self.token(now - since < FRESH)),
            _ => Ok(()),
        }
    }

    async fn look_at(&self, path: &[&str], answer: Incoming) -> Result<Option<Incoming>, QlikError> {
        let now = Instant::now();
        let tenant = || self.tenant.clone();
        match (answer.status, wait(&answer)) {
            (200..=299, _) => {
                if self.lock().refused.take().is_some() {
                    tracing::info!(tenant = self.tenant, "the tenant of Qlik Cloud takes the token again");
                }
                Ok(Some(answer))
            }
            (404 | 410, _) => Ok(None),
            (401, _) => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                let since = {
                    let mut hold = self.lock();
                    let since = hold.refused.map_or(now, |(since, _)| since);
                    hold.refused = Some((since, now + REFUSED));
                    since
                };
                let error = self.token(now - since < FRESH);
                self.tell("401", &error);
                Err(error.into())
            }
            (429, wait) | (503, wait @ Some(_)) => {
                let wait = wait.unwrap_or(LIMITED).min(LONGEST_LIMITED);
                {
                    let mut hold = self.lock();
                    hold.limited = Some(hold.limited.map_or(now + wait, |until| until.max(now + wait)));
                }
                let error = CloudError::Limited { tenant: tenant(), wait };
                self.tell("429", &error);
                Err(error.into())
            }
            (status, _) => {
                let error = CloudError::Status {
                    tenant: tenant(),
                    status,
                    call: path.join("/"),
                    body: beginning(answer).await,
                };
                if status == 403 {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                    self.tell("403", &error);
                }
                Err(error.into())
            }
        }
    }

    fn tell(&self, reason: &'static str, error: &CloudError) {
        if let Some(suppressed) = self.limiter.admit(reason) {
            tracing::warn!(suppressed, "{error}");
        }
    }

    fn token(&self, fresh: bool) -> CloudError {
        CloudError::Token { tenant: self.tenant.clone(), fresh }
    }

    #[allow(clippy::needless_pass_by_value, reason = "it comes from `map_err`")]
    fn broken(&self, error: HttpError) -> QlikError {
        CloudError::Unreachable { tenant: self.tenant.clone(), reason: error.to_string() }.into()
    }

    fn odd(&self, call: String, fault: String) -> QlikError {
        CloudError::Answer { tenant: self.tenant.clone(), call, fault }.into()
    }

    fn lock(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an answer asks to wait.
fn wait(answer: &Incoming) -> Option<Duration> {
    let (_, seconds) = answer.headers.iter().find(|(name, _)| name == "retry-after")?;
    // A date has been turned into seconds. A second more, since both are cut to whole ones.
    seconds.trim().parse().ok().map(|seconds: u64| Duration::from_secs(seconds.saturating_add(1)))
}

async fn beginning(mut answer: Incoming) -> String {
    let mut body = Vec::new();
    while body.len() < 1_024
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(chunk.as_ref());
    }
    excerpt(&body)
}

/// The address of a call; none if a part of it would not stay one part of the path.
pub(super) fn address(base: &Url, path: &[&str], query: &[(&str, &str)]) -> Option<Url> {
    // What is nothing but dots leads elsewhere, also when it is encoded; line breaks and tabs would be left out.
    let odd = |part: &&str| part.bytes().all(|byte| byte == b'.') || part.chars().any(char::is_control);
    if path.iter().any(odd) {
        return None;
    }
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_nothing_but_dots_is_not_asked_for() {
        let base = Url::parse("https://t.test/").unwrap();
        for id in ["", ".", "..", "...", ".\t.", "a\n"] {
            assert_eq!(address(&base, &["api", "v1", "reloads", id], &[]), None, "{id}");
        }
        let url = address(&base, &["api", "v1", "reloads", "a/../b?c#d%2e"], &[("resourceId", "a&b=c")]).unwrap();
        assert_eq!(url.as_str(), "https://t.test/api/v1/reloads/a%2F..%2Fb%3Fc%23d%252e?resourceId=a%26b%3Dc");
    }

    proptest! {
        #[test]
        fn an_id_stays_one_part_of_the_path(id in "\\PC{1,40}|[./%\\\\?#\t\r\n a]{1,12}") {
            let base = Url::parse("https://t.test/").unwrap();
            if let Some(url) = address(&base, &["api", "v1", "reloads", &id], &[]) {
                // As the client reads it again.
                let url = Url::parse(url.as_str()).unwrap();
                let parts: Vec<&str> = url.path_segments().unwrap().collect();
                prop_assert_eq!((parts.len(), &parts[..3]), (4, &["api", "v1", "reloads"][..]));
                let back = percent_encoding::percent_decode_str(parts[3]).decode_utf8().unwrap();
                prop_assert_eq!((back.as_ref(), url.query(), url.fragment()), (id.as_str(), None, None));
            }
        }
    }
}
