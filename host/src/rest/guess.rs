//! Slows who tries tokens: after some wrong ones each further one of the client is answered 429.
//!
//! Only wrong tokens count, and they never keep a right one out: a script with an old token must not lock out the others of
//! its machine. What a guess is worth is bounded by the length of tokens and by `rest.maxPerMinute`; this says no sooner, costs
//! less, and tells the administrator.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::clients::Clients;
use crate::observe::exposition::{Exposition, Kind};

/// So many wrong tokens in a minute are answered 401.
const FREE: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// Longest wait that is asked for. They double from a second on.
const LONGEST: Duration = Duration::from_mins(10);
/// The log is told so often of one client.
const REMINDER: Duration = Duration::from_mins(10);

#[derive(Default)]
pub(super) struct Guesses {
    clients: Clients<Tries>,
    unknown: AtomicU64,
    elsewhere: AtomicU64,
    refused: AtomicU64,
}

/// The wrong tokens of a client.
#[derive(Default)]
struct Tries {
    wrong: u32,
    /// From then on they do not count any more.
    forgotten: Option<Instant>,
    /// When the log was last told that there are too many.
    told: Option<Instant>,
    /// When the log was last told of a token that is right elsewhere, by the token's place in the config.
    told_elsewhere: BTreeMap<usize, Instant>,
}

/// What becomes of a wrong token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The client is to wait so long; `None`: a plain no.
    pub(super) wait: Option<Duration>,
    /// The log is to be told that there are too many.
    pub(super) too_many: bool,
    /// The log is to be told that the token is right elsewhere.
    pub(super) elsewhere: bool,
}

impl Guesses {
    /// Counts a wrong token. `elsewhere`: the place in the config of a token that is right, but not at this address.
    pub(super) fn wrong(&self, peer: IpAddr, elsewhere: Option<usize>, now: Instant) -> Verdict {
        let reason = if elsewhere.is_some() { &self.elsewhere } else { &self.unknown };
        reason.fetch_add(1, Ordering::Relaxed);
        let verdict = self.clients.with(peer, |tries| tries.add(elsewhere, now));
        if verdict.wait.is_some() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let help = "Wrong tokens of callers: in no config, or used from where they do not hold (`networks`)";
        page.metric("butler_rest_wrong_tokens_total", Kind::Counter, help);
        for (reason, count) in [("unknown", &self.unknown), ("network", &self.elsewhere)] {
            page.sample("butler_rest_wrong_tokens_total", &[("reason", reason)], count.load(Ordering::Relaxed));
        }
        let help = "Wrong tokens that were answered 429, since too many had come from the same address";
        page.single("butler_rest_guesses_refused_total", Kind::Counter, help, self.refused.load(Ordering::Relaxed));
    }
}

impl Tries {
    fn add(&mut self, elsewhere: Option<usize>, now: Instant) -> Verdict {
        if self.forgotten.is_none_or(|at| now >= at) {
            self.wrong = 0;
            self.forgotten = Some(now + WINDOW);
        }
        self.wrong = self.wrong.saturating_add(1);
        let wait = self.wrong.checked_sub(FREE + 1).map(|further| {
            let wait = LONGEST.min(Duration::from_secs(1 << further.min(10)));
            self.forgotten = Some(now + wait + WINDOW);
            wait
        });
        let old = |told: &Instant| now.duration_since(*told) >= REMINDER;
        let too_many = wait.is_some() && self.told.as_ref().is_none_or(old);
        if too_many {
            self.told = Some(now);
        }
        let news = elsewhere.filter(|place| self.told_elsewhere.get(place).is_none_or(old));
        self.told_elsewhere.extend(news.map(|place| (place, now)));
        Verdict { wait, too_many, elsewhere: news.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(guesses: &Guesses, peer: &str, now: Instant) -> (Option<u64>, bool) {
        let verdict = guesses.wrong(peer.parse().unwrap(), None, now);
        (verdict.wait.map(|wait| wait.as_secs()), verdict.too_many)
    }

    #[test]
    fn waits_grow_to_a_bound_and_the_log_is_told_once() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(at(&guesses, "10.0.0.1", start), (None, false));
        }
        let further: Vec<_> = (0..12).map(|_| at(&guesses, "10.0.0.1", start)).collect();
        let waits: Vec<u64> = further.iter().filter_map(|(wait, _)| *wait).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert!(further[0].1 && further[1..].iter().all(|(_, told)| !told), "{further:?}");
        // Nobody else is meant.
        assert_eq!(at(&guesses, "10.0.0.2", start), (None, false));
        // It goes on and on: the log is reminded.
        let later = start + REMINDER;
        assert_eq!(at(&guesses, "10.0.0.1", later), (Some(600), true));
        assert_eq!(at(&guesses, "10.0.0.1", later), (Some(600), false));
        // All is forgotten a minute after the wait.
        let almost = later + LONGEST + WINDOW;
        assert_eq!(at(&guesses, "10.0.0.1", almost), (None, false));
        assert_eq!(guesses.refused.load(Ordering::Relaxed), 14);
    }

    #[test]
    fn few_wrong_tokens_a_minute_are_only_wrong() {
        let (guesses, mut now) = (Guesses::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(at(&guesses, "10.0.0.1", now), (None, false));
            now += WINDOW / FREE;
        }
    }

    #[test]
    fn each_token_that_is_right_elsewhere_is_told_once_in_a_while() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let told = |token, now| guesses.wrong("10.0.0.1".parse().unwrap(), Some(token), now).elsewhere;
        assert!(told(0, start));
        assert!(!told(0, start));
        assert!(told(1, start));
        assert!(told(0, start + REMINDER));
        assert_eq!(guesses.elsewhere.load(Ordering::Relaxed), 4);
    }
}
