//! Calls of the far end.

use std::time::{Duration, Instant};

use butler_plugin_api::{Host, HttpError, HttpReply, HttpRequest};
use url::Url;

use crate::settings::{Method, Plan};

/// Pauses before further tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Longest reason that is sent, in bytes.
const LONGEST: usize = 2000;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Start,
    Success,
    Fail,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Fail => "fail",
        }
    }

    /// Where it is told; `None`: nowhere.
    pub(crate) fn url(self, plan: &Plan) -> Option<&Url> {
        match self {
            Self::Start => plan.start.as_ref(),
            Self::Success => Some(&plan.success),
            Self::Fail => plan.fail.as_ref(),
        }
    }
}

/// Why a call was not taken.
struct Refused {
    why: String,
    /// Another try may go better.
    passes: bool,
}

/// Calls an address, up to three times; further tries begin before `until` only, and end by then. Ok: it was taken.
pub(crate) async fn send(host: &Host, plan: &Plan, url: &Url, text: &str, until: Instant) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    let mut timeout = plan.timeout;
    loop {
        let refused = match call(host, plan, url, text, timeout).await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let left = || until.saturating_duration_since(Instant::now());
        match pauses.next() {
            Some(pause) if refused.passes && *pause < left() => {
                tracing::debug!("it is tried again: {}", refused.why);
                host.sleep(*pause).await;
                // A sleep may be long.
                timeout = plan.timeout.min(left()).max(Duration::from_millis(1));
            }
            _ => return Err(refused.why),
        }
    }
}

async fn call(host: &Host, plan: &Plan, url: &Url, text: &str, timeout: Duration) -> Result<(), Refused> {
    let mut request = request(host, plan, plan.method.name(), url).timeout(timeout);
    if plan.method == Method::Post {
        let text = &text[..text.floor_char_boundary(LONGEST)];
        request = request.header("content-type", "text/plain; charset=utf-8").body(text);
    }
    match request.send().await {
        Ok(reply) => taken(reply),
        // Without the time, which differs from try to try: a reason is said again when it changes.
        Err(HttpError::Timeout(_)) => {
            let why = format!("{} did not answer in time (`timeout`)", url.origin().ascii_serialization());
            Err(Refused { why, passes: true })
        }
        Err(error) => {
            let passes = matches!(error, HttpError::Connection(_));
            Err(Refused { why: error.to_string(), passes })
        }
    }
}

fn taken(reply: HttpReply) -> Result<(), Refused> {
    let status = reply.status();
    if (300..400).contains(&status) {
        let to = reply.header("location").unwrap_or("nowhere").to_owned();
        let why = format!("the address leads on with {status} to {to}: redirects are not followed, write that address");
        return Err(Refused { why, passes: false });
    }
    let passes = matches!(status, 408 | 429 | 500..);
    reply.error_for_status().map(drop).map_err(|error| Refused { why: error.to_string(), passes })
}

pub(crate) fn request(host: &Host, plan: &Plan, method: &str, url: &Url) -> HttpRequest {
    let request = host.http().request(method, url.as_str()).timeout(plan.timeout);
    match &plan.tls {
        Some(profile) => request.tls(profile),
        None => request,
    }
}
