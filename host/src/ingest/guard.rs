//! Who may send, and how much.
//!
//! The allow list holds addresses, networks and names. Names are resolved by the system's resolver, in the background
//! and again every minute; while a name does not resolve, its last answer stays good for ten minutes. A list closes:
//! what is not on it is refused, and a list of which nothing resolves refuses everybody.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_mins(1);
/// How long the last answer for a name stays good while resolving it fails.
const KEEP_ANSWER: Duration = Duration::from_mins(10);
/// Most addresses taken from one answer.
const MAX_ANSWER: usize = 256;

/// An entry of `udp.allowFrom` that is no address, no network and no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{entry}` in `udp.allowFrom` is no {what}: write an address (10.1.2.3), a network (10.1.0.0/16) or a host name"
)]
pub struct AllowFromError {
    entry: String,
    what: &'static str,
}

/// The allow list.
#[derive(Debug)]
pub struct Guard {
    everybody: bool,
    networks: Vec<IpNet>,
    names: Mutex<Vec<Name>>,
    /// `None` until the first round of look-ups is over.
    resolved: RwLock<Option<HashSet<IpAddr>>>,
}

#[derive(Debug)]
struct Name {
    text: String,
    addresses: Vec<IpAddr>,
    answered: Option<Instant>,
    failing: bool,
}

impl Guard {
    /// A guard of these entries; without a list, everybody may send. Names are not resolved yet and allow nobody.
    pub fn new(allow_from: Option<&[String]>) -> Result<Self, AllowFromError> {
        let mut guard = Self {
            everybody: allow_from.is_none(),
            networks: Vec::new(),
            names: Mutex::default(),
            resolved: RwLock::default(),
        };
        let mut names = Vec::new();
        for entry in allow_from.unwrap_or_default() {
            match Entry::from_str(entry)? {
                Entry::Network(network) => guard.networks.push(network),
                Entry::Name(name) => {
                    names.push(Name { text: name, addresses: Vec::new(), answered: None, failing: false });
                }
            }
        }
        guard.names = Mutex::new(names);
        Ok(guard)
    }

    /// Whether there is no list.
    pub fn allows_everybody(&self) -> bool {
        self.everybody
    }

    /// Whether this sender may send. IPv4 addresses in IPv6 form count as IPv4.
    pub fn allows(&self, sender: IpAddr) -> bool {
        if self.everybody {
            return true;
        }
        let sender = sender.to_canonical();
        self.networks.iter().any(|network| network.contains(&sender))
            || self.resolved().as_ref().is_some_and(|resolved| resolved.contains(&sender))
    }

    /// Why nobody may send, although the list has entries.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let is_deaf = self.networks.is_empty() && self.resolved().as_ref().is_some_and(HashSet::is_empty);
        is_deaf.then_some("no entry of `udp.allowFrom` resolves: every UDP message is refused until one does")
    }

    fn resolved(&self) -> RwLockReadGuard<'_, Option<HashSet<IpAddr>>> {
        self.resolved.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the names resolved on a thread of its own, until the handle is dropped. `None` when there are no names.
    pub(super) fn keep_resolved(self: &Arc<Self>) -> io::Result<Option<Resolving>> {
        if self.names.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(None);
        }
        let guard = Arc::clone(self);
        let (stop, stopped) = mpsc::channel::<()>();
        let first_round = Arc::new(FirstRound::default());
        let first = Arc::clone(&first_round);
        // Nobody waits for this thread: the system's resolver may hang for a long time.
        std::thread::Builder::new().name("udp-names".into()).spawn(move || {
            loop {
                guard.resolve(Instant::now(), lookup);
                first.is_over();
                if stopped.recv_timeout(RESOLVE_EVERY) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        })?;
        Ok(Some(Resolving { _stop: stop, first_round }))
    }

    /// Resolves the names once, for who does not receive. Blocks for as long as the system's resolver takes.
    pub fn resolve_now(&self) {
        self.resolve(Instant::now(), lookup);
    }

    /// Resolves all names once.
    fn resolve(&self, now: Instant, lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>>) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names.iter_mut() {
            name.resolve(now, &lookup);
        }
        let resolved: HashSet<_> = names.iter().flat_map(|name| &name.addresses).copied().collect();
        *self.resolved.write().unwrap_or_else(PoisonError::into_inner) = Some(resolved);
        if let Some(trouble) = self.trouble() {
            tracing::warn!("{trouble}");
        }
    }
}

impl Name {
    fn resolve(&mut self, now: Instant, lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>>) {
        let answer = lookup(&self.text).and_then(|addresses| {
            if addresses.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(addresses) }
        });
        match answer {
            Ok(addresses) => {
                if self.failing {
                    tracing::info!(name = self.text, "a name in `udp.allowFrom` resolves again");
                }
                self.failing = false;
                self.answered = Some(now);
                self.addresses = addresses.iter().take(MAX_ANSWER).map(IpAddr::to_canonical).collect();
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        name = self.text,
                        %error,
                        "a name in `udp.allowFrom` does not resolve; its last addresses stay allowed for ten minutes"
                    );
                }
                if self.answered.is_none_or(|at| now.saturating_duration_since(at) > KEEP_ANSWER) {
                    self.addresses.clear();
                }
            }
        }
    }
}

/// Names are kept resolved while this lives.
#[derive(Debug)]
pub(super) struct Resolving {
    _stop: mpsc::Sender<()>,
    first_round: Arc<FirstRound>,
}

impl Resolving {
    /// Waits for the first round of look-ups, at most so long. Answers whether it is over.
    pub(super) fn wait_first(&self, at_most: Duration) -> bool {
        let over = self.first_round.over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.first_round.told.wait_timeout_while(over, at_most, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Whether the first round of look-ups is over; the threads of several sockets wait for it.
#[derive(Debug, Default)]
struct FirstRound {
    over: Mutex<bool>,
    told: Condvar,
}

impl FirstRound {
    fn is_over(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }
}

/// An entry of the list.
enum Entry {
    Network(IpNet),
    Name(String),
}

impl FromStr for Entry {
    type Err = AllowFromError;

    fn from_str(entry: &str) -> Result<Self, AllowFromError> {
        let wrong = |what| AllowFromError { entry: entry.to_owned(), what };
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if entry.contains('/') {
            let network = entry.parse().map_err(|_| wrong("network"))?;
            return Ok(Self::Network(canonical(network)));
        }
        // The resolver would read `10.1` as 10.0.0.1.
        if entry.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(wrong("IPv4 address"));
        }
        let letters = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if entry.len() > 253 || !entry.chars().all(letters) {
            return Err(wrong("host name"));
        }
        Ok(Self::Name(entry.to_owned()))
    }
}

/// An IPv4 network written in IPv6 form as the IPv4 network that it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

/// Asks the system's resolver.
fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// So many a minute: fixed windows that begin with the first message after the last window's end.
#[derive(Debug)]
pub struct RateLimit {
    per_minute: NonZeroU32,
    window: Option<Instant>,
    used: u32,
    published: Arc<Mutex<Window>>,
}

/// What others see of a [`RateLimit`]: when its window began, and what was counted in it.
#[derive(Debug, Default)]
pub struct Window(Option<(Instant, u32)>);

impl Window {
    /// What the window that `now` belongs to has counted.
    pub fn used(&self, now: Instant) -> u32 {
        let current = self.0.filter(|(start, _)| now.saturating_duration_since(*start) < RateLimit::WINDOW);
        current.map_or(0, |(_, used)| used)
    }
}

impl RateLimit {
    const WINDOW: Duration = Duration::from_mins(1);

    /// At most `per_minute` messages in a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { per_minute, window: None, used: 0, published: Arc::default() }
    }

    /// Where [`publish`](Self::publish) shows its state.
    pub fn published(&self) -> Arc<Mutex<Window>> {
        self.published.clone()
    }

    /// Shows its state to others. Once for many messages, since it costs more than to count one.
    pub fn publish(&self) {
        let shown = self.window.map(|start| (start, self.used));
        self.published.lock().unwrap_or_else(PoisonError::into_inner).0 = shown;
    }

    /// Whether a message that comes now passes; counts it if so.
    pub fn admits(&mut self, now: Instant) -> bool {
        if self.window.is_none_or(|start| now.saturating_duration_since(start) >= Self::WINDOW) {
            self.window = Some(now);
            self.used = 0;
        }
        let admitted = self.used < self.per_minute.get();
        self.used += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(entries: &[&str]) -> Guard {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Guard::new(Some(&entries)).unwrap()
    }

    fn allows(guard: &Guard, address: &str) -> bool {
        guard.allows(address.parse().unwrap())
    }

    #[test]
    fn without_a_list_everybody_may_send_and_with_an_empty_one_nobody() {
        assert!(allows(&Guard::new(None).unwrap(), "203.0.113.9"));
        assert!(!allows(&guard(&[]), "127.0.0.1"));
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_known_in_either_form() {
        let guard = guard(&["10.0.0.5", "10.1.0.0/16", "2001:db8::/32", "::ffff:192.0.2.0/120", "::ffff:192.0.3.7"]);
        for allowed in
            ["10.0.0.5", "::ffff:10.0.0.5", "10.1.255.1", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.9", "192.0.3.7"]
        {
            assert!(allows(&guard, allowed), "{allowed}");
        }
        for refused in ["10.0.0.6", "10.2.0.1", "2001:db9::1", "192.0.3.9", "::1"] {
            assert!(!allows(&guard, refused), "{refused}");
        }
    }

    #[test]
    fn wrong_entries_are_named() {
        for wrong in ["10.1.0.0/33", "10.1", "300.1.1.1", "", "a b", "no/net", "*.example.com"] {
            let error = Guard::new(Some(&[wrong.to_owned()])).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` in `udp.allowFrom`")), "{error}");
        }
    }

    #[test]
    fn names_follow_the_resolver_and_survive_its_failure_for_ten_minutes() {
        let guard = guard(&["sense1"]);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let answer = |address: &'static str| move |_: &str| Ok(vec![address.parse().unwrap()]);
        let fail = |_: &str| Err(io::Error::other("no such host"));
        assert_eq!(guard.trouble(), None, "nobody knows yet");
        guard.resolve(at(0), fail);
        assert!(!allows(&guard, "10.0.0.1"), "closed while nothing resolves");
        assert!(guard.trouble().unwrap().starts_with("no entry of `udp.allowFrom` resolves"));
        guard.resolve(at(60), answer("10.0.0.1"));
        assert_eq!(guard.trouble(), None);
        assert!(allows(&guard, "10.0.0.1") && !allows(&guard, "10.0.0.2"));
        guard.resolve(at(120), answer("::ffff:10.0.0.2"));
        assert!(!allows(&guard, "10.0.0.1") && allows(&guard, "10.0.0.2"));
        guard.resolve(at(720), fail);
        assert!(allows(&guard, "10.0.0.2") && guard.trouble().is_none(), "the last answer is kept");
        guard.resolve(at(721), |_| Ok(Vec::new()));
        assert!(!allows(&guard, "10.0.0.2"), "but not for ever, and no address is no answer");
        assert!(guard.trouble().is_some());
        let mixed = self::guard(&["sense1", "10.0.0.0/8"]);
        mixed.resolve(at(0), fail);
        assert_eq!(mixed.trouble(), None, "some may send");
    }

    #[test]
    fn names_are_resolved_in_the_background() {
        let guard = Arc::new(guard(&["localhost"]));
        let resolving = guard.keep_resolved().unwrap().unwrap();
        assert!(resolving.wait_first(Duration::from_secs(30)));
        assert!(allows(&guard, "127.0.0.1") || allows(&guard, "::1"));
        assert!(Arc::new(self::guard(&["10.0.0.1"])).keep_resolved().unwrap().is_none());
    }

    #[test]
    fn a_window_passes_its_number_and_restarts_with_the_first_after_a_minute() {
        let mut limit = RateLimit::new(NonZeroU32::new(3).unwrap());
        let start = Instant::now();
        let mut passed = |millis| limit.admits(start + Duration::from_millis(millis));
        assert_eq!([0, 1, 2, 3, 59_999].map(&mut passed), [true, true, true, false, false]);
        assert_eq!([70_000, 80_000, 129_999, 129_999].map(&mut passed), [true, true, true, false]);
        assert!(passed(130_000));
    }

    #[test]
    fn others_see_what_a_window_has_counted_until_it_ends() {
        let mut limit = RateLimit::new(NonZeroU32::new(3).unwrap());
        let (start, published) = (Instant::now(), limit.published());
        let seen = |millis| published.lock().unwrap().used(start + Duration::from_millis(millis));
        assert_eq!(seen(0), 0);
        for _ in 0..5 {
            limit.admits(start);
        }
        assert_eq!(seen(0), 0, "not for each message");
        limit.publish();
        assert_eq!([seen(0), seen(59_999), seen(60_000)], [3, 3, 0]);
        limit.admits(start + Duration::from_mins(2));
        limit.publish();
        assert_eq!(seen(120_000), 1);
    }
}
