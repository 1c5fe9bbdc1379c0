//! The road from Qlik Cloud: events of its tenants, sent by their webhooks to the REST server or handed over by plugins,
//! become stored events.
//!
//! Nothing that a webhook sends is believed before its signature was checked with the secret of the tenant that it names.
//! What can be found out beyond the message, the pipeline asks the tenant for (`qlik::cloud`).

mod message;
mod signature;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::kind;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Notify;

pub use message::Malformed;
pub use signature::HEADER as SIGNATURE_HEADER;

use crate::config::{CloudTenant, QlikCloud};
use crate::ingest::{Counter, LogLimiter};
use crate::qlik::{cloud_app_url, short};
use crate::store::{Accepted, NewEvent, Store, StoreError, now_ms};
use message::{About, Failure, Message};

/// What the source of these events is called.
pub const SOURCE: &str = "qlik-cloud";

/// An older event is none that a webhook sends: it gives up long before.
const OLDEST: Duration = Duration::from_hours(24);

/// What can become of a message, in order of [`Outcome`].
const OUTCOMES: [&str; 10] = [
    "accepted",
    "duplicate",
    "ignored",
    "no-signature",
    "wrong-signature",
    "unknown-tenant",
    "no-secret",
    "malformed",
    "replay",
    "not-stored",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Duplicate,
    Ignored,
    NoSignature,
    WrongSignature,
    UnknownTenant,
    NoSecret,
    Malformed,
    Replay,
    NotStored,
}

impl Outcome {
    fn label(self) -> &'static str {
        OUTCOMES[self as usize]
    }
}

/// What became of a message that is an event of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedOver {
    /// It is stored under this id, and survives from here on.
    Accepted(String),
    /// It is known under this id.
    Duplicate(String),
    /// It is not told, for this reason.
    Ignored(String),
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It has no signature, or none that shows that it is from a tenant whose secret is known. Which of the two, a stranger
    /// is not told.
    #[error("the message has no signature of a tenant that is known here")]
    Signature,
    /// The config does not have its tenant. Only said to who need not sign.
    #[error("there is no tenant with the id `{0}` under `qlikCloud.tenants` of Butler's config")]
    Tenant(String),
    /// It is no event.
    #[error("the message is no event of Qlik Cloud: {0}")]
    Malformed(#[from] Malformed),
    /// It is too old to be sent for the first time.
    #[error("the event happened more than {} h ago: it is not taken any more", OLDEST.as_secs() / 3600)]
    Replay,
    /// The store does not take it now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A tenant, as far as its events are concerned.
struct Tenant {
    config: CloudTenant,
    key: Option<hmac::Key>,
}

/// Takes events of Qlik Cloud. Shared by the REST server and all who hand events over.
pub struct CloudEvents {
    tenants: BTreeMap<String, Tenant>,
    /// Fits nothing: so an unknown tenant takes as long as a known one.
    nobody: hmac::Key,
    store: Store,
    accepted: Arc<Notify>,
    counts: [Counter; OUTCOMES.len()],
    limiter: LogLimiter,
}

impl fmt::Debug for CloudEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEvents").field("tenants", &self.tenants.keys()).finish_non_exhaustive()
    }
}

impl CloudEvents {
    /// For the tenants of the config; `accepted` is told when an event was stored.
    pub fn new(config: Option<&QlikCloud>, store: Store, accepted: Arc<Notify>) -> Arc<Self> {
        let tenant = |config: &CloudTenant| {
            let key = config.webhook_secret.as_ref().map(|secret| signature::key(secret.as_bytes()));
            (config.id.clone(), Tenant { config: config.clone(), key })
        };
        let mut nobody = [0; 32];
        // Without random numbers nothing of it is lost but the equal time.
        let _ = SystemRandom::new().fill(&mut nobody);
        Arc::new(Self {
            tenants: config.into_iter().flat_map(|config| &config.tenants).map(tenant).collect(),
            nobody: signature::key(&nobody),
            store,
            accepted,
            counts: std::array::from_fn(|_| Counter::default()),
            limiter: LogLimiter::default(),
        })
    }

    /// Whether the config has tenants.
    pub fn is_used(&self) -> bool {
        !self.tenants.is_empty()
    }

    /// How many messages had which outcome.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.iter().zip(&self.counts).map(|(outcome, count)| (*outcome, count.get()))
    }

    /// A message of a webhook with the value of its header `Qlik-Signature`.
    pub async fn receive(&self, signature: Option<&str>, body: &[u8]) -> Result<HandedOver, Refused> {
        let result = self.receive_at(signature, body, now_ms()).await;
        self.noted("a message for `POST /v5/qlik-cloud/events` is not taken", result)
    }

    /// A message of a webhook that came by another road, from who is trusted: no signature, whatever its age.
    pub async fn accept_handed_over(&self, message: &[u8]) -> Result<HandedOver, Refused> {
        let result = async {
            let (tenant, _) = self.tenant_of(message)?;
            let Some(known) = self.tenants.get(&tenant) else {
                let text = format!("`{}`", short(&tenant, 100));
                return Err((Outcome::UnknownTenant, text, Refused::Tenant(short(&tenant, 100))));
            };
            let message = read(message)?;
            self.take(known, message, now_ms()).await
        };
        let result = result.await;
        self.noted("a message of Qlik Cloud that a plugin hands over is not taken", result)
    }

    async fn receive_at(&self, signature: Option<&str>, body: &[u8], now: i64) -> Result<HandedOver, Unfit> {
        let Some(signature) = signature else {
            return Err((Outcome::NoSignature, "no header `Qlik-Signature`".to_owned(), Refused::Signature));
        };
        let (tenant, known) = self.tenant_of(body)?;
        let key = known.and_then(|known| known.key.as_ref());
        let fits = signature::fits(key.unwrap_or(&self.nobody), body, signature);
        let (Some(known), true) = (known.filter(|_| key.is_some()), fits) else {
            let outcome = match (known, key) {
                (None, _) => Outcome::UnknownTenant,
                (Some(_), None) => Outcome::NoSecret,
                (Some(_), Some(_)) => Outcome::WrongSignature,
            };
            return Err((outcome, format!("`{}`", short(&tenant, 100)), Refused::Signature));
        };
        let message = read(body)?;
        let time = message.time_ms.ok_or_else(|| unfit(Malformed::Lacks("time")))?;
        // One of a time to come is taken: its signature is right, so a clock is wrong, and that must not cost an alert.
        if time < now.saturating_sub(ms(OLDEST)) {
            let hours = now.saturating_sub(time) / 3_600_000;
            return Err((Outcome::Replay, format!("of `{tenant}`, {hours} h old"), Refused::Replay));
        }
        self.take(known, message, now).await
    }

    fn tenant_of(&self, message: &[u8]) -> Result<(String, Option<&Tenant>), Unfit> {
        let tenant = message::tenant_of(message).map_err(unfit)?;
        let known = self.tenants.get(&tenant);
        Ok((tenant, known))
    }

    /// Stores an event that is trusted.
    async fn take(&self, tenant: &Tenant, message: Message, now: i64) -> Result<HandedOver, Unfit> {
        let Failure { identity, mut data } = match message.about {
            About::Other(why) => return Ok(HandedOver::Ignored(why)),
            About::Failure(failure) => *failure,
        };
        let config = &tenant.config;
        if let Some(cloud) = &mut data.cloud {
            cloud.tenant_id = Some(config.id.clone());
            cloud.tenant_comment.clone_from(&config.comment);
            cloud.tenant_url = Some(config.url.trim_end_matches('/').to_owned());
            cloud.qmc_url.clone_from(&config.links.qmc);
            cloud.hub_url.clone_from(&config.links.hub);
            cloud.app_url = data.app.as_ref().and_then(|app| cloud_app_url(&config.url, &app.id));
        }
        let event = NewEvent {
            kind: kind::CLOUD_APP_RELOAD_FAILED.to_owned(),
            time: message.time_ms.map_or(now, |time| time.min(now)),
            received: now,
            source: SOURCE.to_owned(),
            keys: vec![format!("cloud:{}:{identity}", config.id)],
            data,
        };
        let unstored = |error: StoreError| (Outcome::NotStored, error.to_string(), Refused::Store(error));
        let accepted = self.store.accept(vec![event]).await.map_err(unstored)?;
        let accepted = accepted.first().copied().ok_or_else(|| unstored(StoreError::Closed))?;
        self.accepted.notify_one();
        let id = self.store.event_id(accepted.seq());
        Ok(match accepted {
            Accepted::New(_) => HandedOver::Accepted(id),
            Accepted::Duplicate(_) => HandedOver::Duplicate(id),
        })
    }

    /// Counts the outcome, and tells of refusals, each sort at most once a minute.
    fn noted(&self, refusal: &str, result: Result<HandedOver, Unfit>) -> Result<HandedOver, Refused> {
        let outcome = match &result {
            Ok(HandedOver::Accepted(_)) => Outcome::Accepted,
            Ok(HandedOver::Duplicate(_)) => Outcome::Duplicate,
            Ok(HandedOver::Ignored(_)) => Outcome::Ignored,
            Err((outcome, ..)) => *outcome,
        };
        self.counts[outcome as usize].add(1);
        result.map_err(|(outcome, what, refused)| {
            if let Some(suppressed) = self.limiter.admit(outcome.label()) {
                tracing::warn!(outcome = outcome.label(), suppressed, "{refusal} ({what:?}): {}", remedy(outcome));
            }
            refused
        })
    }
}

/// A message that is not taken: what to count, what to say to the administrator, what to say to the sender.
type Unfit = (Outcome, String, Refused);

fn unfit(fault: Malformed) -> Unfit {
    (Outcome::Malformed, fault.to_string(), fault.into())
}

fn read(message: &[u8]) -> Result<Message, Unfit> {
    message::read(message).map_err(unfit)
}

/// What the administrator can do about a refusal.
fn remedy(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoSignature => {
            "if it is a webhook of yours, give it a secret in Qlik Cloud, and the same as `webhookSecret` here"
        }
        Outcome::WrongSignature => {
            "compare the webhook's secret in Qlik Cloud with the tenant's `webhookSecret`; a proxy in between must not change the body"
        }
        Outcome::UnknownTenant => {
            "no tenant under `qlikCloud.tenants` has this `id`; if it is yours, add it (it is `tenantId` in the tenant's events)"
        }
        Outcome::NoSecret => {
            "this tenant has no `webhookSecret` in the config: add the one that its webhook has in Qlik Cloud"
        }
        Outcome::Replay => {
            "it is older than a day: somebody sends an old event again, or this machine's clock is wrong"
        }
        Outcome::NotStored => "the store does not take it now; its sender is told to send it again",
        _ => "it should be an event as Qlik Cloud's webhooks send them",
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
