//! What goes wrong at a tenant on purpose. A fault is decided after a request was counted and before its token is looked at.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::CloudCall;

/// One thing that goes wrong, for all requests unless narrowed down.
#[derive(Clone, Debug)]
pub struct CloudFault {
    pub(super) outcome: CloudOutcome,
    retry_after: Option<RetryAfter>,
    call: Option<CloudCall>,
    remaining: Option<u32>,
}

#[derive(Clone, Debug)]
enum RetryAfter {
    Text(String),
    In(Duration),
}

/// How a faulty request ends.
#[derive(Clone, Debug)]
pub(super) enum CloudOutcome {
    Latency(Duration),
    Status(u16),
    Hang,
    Reset,
    Nonsense,
    Redirect(String),
    Cut(usize),
    Endless,
}

impl CloudFault {
    /// Answers come this much later, and are proper.
    pub fn latency(delay: Duration) -> Self {
        Self::new(CloudOutcome::Latency(delay))
    }

    /// This status with a short text.
    pub fn status(status: u16) -> Self {
        Self::new(CloudOutcome::Status(status))
    }

    /// No answer, ever.
    pub fn hang() -> Self {
        Self::new(CloudOutcome::Hang)
    }

    /// The connection is reset.
    pub fn reset() -> Self {
        Self::new(CloudOutcome::Reset)
    }

    /// A page with status 200, as a proxy in between might send.
    pub fn nonsense() -> Self {
        Self::new(CloudOutcome::Nonsense)
    }

    /// A redirection (302) to this address.
    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(CloudOutcome::Redirect(to.into()))
    }

    /// The connection breaks after so many bytes of the proper body.
    pub fn cut(after: usize) -> Self {
        Self::new(CloudOutcome::Cut(after))
    }

    /// An answer without end.
    pub fn endless() -> Self {
        Self::new(CloudOutcome::Endless)
    }

    /// With this header `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = Some(RetryAfter::Text(value.into()));
        self
    }

    /// With a header `Retry-After` that is a date, so long after the answer.
    #[must_use]
    pub fn retry_at(mut self, after: Duration) -> Self {
        self.retry_after = Some(RetryAfter::In(after));
        self
    }

    /// The header `Retry-After` of an answer that is sent now.
    pub(super) fn retry_header(&self) -> Option<String> {
        Some(match self.retry_after.as_ref()? {
            RetryAfter::Text(text) => text.clone(),
            RetryAfter::In(after) => {
                let at = Timestamp::now() + SignedDuration::try_from(*after).unwrap_or_default();
                at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
            }
        })
    }

    /// Only for this call.
    #[must_use]
    pub fn on(mut self, call: CloudCall) -> Self {
        self.call = Some(call);
        self
    }

    /// Only for the first `count` requests that it applies to.
    #[must_use]
    pub fn first(mut self, count: u32) -> Self {
        self.remaining = Some(count);
        self
    }

    fn new(outcome: CloudOutcome) -> Self {
        Self { outcome, retry_after: None, call: None, remaining: None }
    }

    /// The fault that a request meets; one of its uses is gone.
    pub(super) fn meet(faults: &mut Vec<Self>, call: CloudCall) -> Option<Self> {
        let at = faults.iter().position(|fault| fault.call.is_none_or(|only| only == call))?;
        let met = faults[at].clone();
        if let Some(remaining) = &mut faults[at].remaining {
            *remaining -= 1;
            if *remaining == 0 {
                faults.remove(at);
            }
        }
        Some(met)
    }
}
