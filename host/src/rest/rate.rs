//! How many requests a client may send in a minute (`rest.maxPerMinute`).
//!
//! A minute begins with the first request of a client, and each client has its own. Headers and body are those of Butler 16,
//! which had one allowance for all clients together.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::Failure;
use super::clients::Clients;
use crate::observe::exposition::{Exposition, Kind};

const WINDOW: Duration = Duration::from_mins(1);
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(super) struct RateLimit {
    /// 0: no limit.
    per_minute: u32,
    clients: Clients<Window>,
    /// The same of what was refused for its `Host` or `Origin`: a page of another site must not use up what the scripts of
    /// its visitor's machine may send.
    foreign: Clients<Window>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Window {
    ends: Option<Instant>,
    used: u32,
}

/// A request that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    limit: u32,
    remaining: u32,
    /// Seconds until the minute is over: 1 to 60.
    reset: u64,
    over: Option<Over>,
}

/// A request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over {
    /// The first in its minute.
    first: bool,
}

impl RateLimit {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, clients: Clients::default(), foreign: Clients::default(), refused: AtomicU64::new(0) }
    }

    /// Counts a request, `foreign` ones apart. `None` without a limit.
    pub(super) fn count(&self, peer: IpAddr, foreign: bool, now: Instant) -> Option<Counted> {
        if self.per_minute == 0 {
            return None;
        }
        let clients = if foreign { &self.foreign } else { &self.clients };
        let counted = clients.with(peer, |window| window.count(self.per_minute, now));
        if counted.over.is_some() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Some(counted)
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let help = "Requests that were more than `rest.maxPerMinute` and were refused";
        page.single("butler_rest_rate_limited_total", Kind::Counter, help, self.refused.load(Ordering::Relaxed));
    }
}

impl Window {
    fn count(&mut self, limit: u32, now: Instant) -> Counted {
        let ends = if let Some(ends) = self.ends.filter(|ends| now < *ends) {
            ends
        } else {
            self.used = 0;
            *self.ends.insert(now + WINDOW)
        };
        let over = (self.used >= limit).then_some(Over { first: self.used == limit });
        self.used = self.used.saturating_add(1);
        let left = ends.duration_since(now);
        let reset = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Counted { limit, remaining: limit.saturating_sub(self.used), reset, over }
    }
}

impl Counted {
    /// Fails for a request too many.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.over.is_none() {
            return Ok(());
        }
        let wait = match self.reset {
            60 => "1 minute".to_owned(),
            1 => "1 second".to_owned(),
            seconds => format!("{seconds} seconds"),
        };
        let message = format!("Rate limit exceeded, retry in {wait}");
        Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, message))
    }

    /// Whether the log is to be told: once in a minute of a client.
    pub(super) fn is_news(&self) -> bool {
        self.over.is_some_and(|over| over.first)
    }

    /// Tells the client where it stands.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
        if self.over.is_some() {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.reset));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn each_client_has_its_minute() {
        let (rate, start) = (RateLimit::new(2), Instant::now());
        let count = |peer, ms| {
            let counted = rate.count(peer, false, start + Duration::from_millis(ms)).unwrap();
            (counted.remaining, counted.reset, counted.over.map(|over| over.first))
        };
        assert_eq!(count(ONE, 0), (1, 60, None));
        assert_eq!(count(ONE, 500), (0, 60, None));
        assert_eq!(count(ONE, 1000), (0, 59, Some(true)));
        assert_eq!(count(ONE, 59_500), (0, 1, Some(false)));
        // Another one, and its minute begins when it comes.
        assert_eq!(count(TWO, 59_500), (1, 60, None));
        assert_eq!(count(ONE, 60_000), (1, 60, None));
        assert_eq!(count(TWO, 60_000), (0, 60, None));
        assert_eq!(count(TWO, 60_001), (0, 60, Some(true)));
        assert_eq!(count(ONE, 60_002), (0, 60, None));
        assert_eq!(count(ONE, 60_003), (0, 60, Some(true)));
        assert_eq!(rate.refused.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn no_limit_counts_nothing() {
        let rate = RateLimit::new(0);
        assert_eq!(rate.count(ONE, false, Instant::now()), None);
    }

    #[test]
    fn who_sent_too_many_is_told_when_to_come_again() {
        for (reset, expected) in [(60, "1 minute"), (59, "59 seconds"), (2, "2 seconds"), (1, "1 second")] {
            let counted = Counted { limit: 5, remaining: 0, reset, over: Some(Over { first: false }) };
            let failure = counted.check().unwrap_err();
            assert_eq!(failure.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(failure.message, format!("Rate limit exceeded, retry in {expected}"));
            let mut headers = HeaderMap::new();
            counted.write(&mut headers);
            let number = |name: &str| headers[name].to_str().unwrap().parse::<u64>().unwrap();
            assert_eq!(
                (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), number("x-ratelimit-reset")),
                (5, 0, reset)
            );
            assert_eq!(number("retry-after"), reset);
        }
        let mut headers = HeaderMap::new();
        let counted = Counted { limit: 5, remaining: 4, reset: 60, over: None };
        assert!(counted.check().is_ok() && !counted.is_news());
        counted.write(&mut headers);
        assert!(!headers.contains_key("retry-after") && headers.len() == 3);
    }
}
