//! What schemas cannot say: addresses, names that must differ, values that depend on each other.
//!
//! Each section is looked at for itself if it can be read, so that a fault in one does not hide those in another.

mod cloud;
mod links;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::certificates::ClientFiles;
use super::document::Document;
use super::heard::{AppReload, Udp};
use super::patterns::Patterns;
use super::report::{Problem, join, unescape};
use super::rest::{Grant, Rest, ServerTls, Token, network};
use super::secrets::Resolved;
use super::types::{Enrich, Qlik, Reconcile, Retry, Rule, ScriptLog, Store, TlsProfile, Verify};
use super::units::{Size, Span};
use super::validate::{Checks, RuleRemark};

/// Longest span of time: a hundred years. Beyond that, dates cannot be reckoned with.
const LONGEST: Span = Span::days(36_500);
/// Qlik Sense is not asked more often for what has ended, and not less far back than results may be late.
const SHORTEST_ROUND: Span = Span::seconds(1);
const SHORTEST_LOOK_BACK: Span = Span::minutes(10);
/// Shortest time for a stop.
const SHORTEST_STOP: Span = Span::seconds(1);
/// No time at all.
const NONE: Span = Span::seconds(0);

/// The checks of a document whose placeholders were put in.
pub(super) struct Semantics<'a> {
    resolved: &'a Resolved,
    /// The document without unknown keys, so that they do not keep a section from being read.
    value: Value,
    /// Whether `rest` has unknown keys: one could be a misspelt `tokens`.
    rest_unclear: bool,
    checks: &'a dyn Checks,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// JSON pointers and what an administrator should know about the value there.
    pub warnings: Vec<(String, String)>,
}

impl<'a> Semantics<'a> {
    /// Nothing checked yet. `known`: what is wrong so far.
    pub fn new(resolved: &'a Resolved, known: &[Problem], checks: &'a dyn Checks) -> Self {
        let mut value = resolved.value.clone();
        let mut rest_unclear = false;
        for (parent, key) in known.iter().filter(|it| it.on_key).filter_map(|it| it.pointer.rsplit_once('/')) {
            rest_unclear |= parent == "/rest";
            if let Some(Value::Object(entries)) = value.pointer_mut(parent) {
                entries.remove(&unescape(key));
            }
        }
        Self { resolved, value, rest_unclear, checks, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Checks all sections.
    pub fn check(&mut self) {
        self.qlik();
        self.qlik_cloud();
        self.udp();
        self.app_reload();
        self.rest();
        self.times();
        self.log();
        self.tls();
        self.links();
        self.plugins();
    }

    /// A section, if it is there and sound.
    fn section<T: DeserializeOwned>(&self, pointer: &str) -> Option<T> {
        let value = self.value.pointer(pointer)?;
        let open = self.resolved.unresolved.range(pointer.to_owned()..).next();
        // A placeholder without a value has been reported; what depends on it cannot be told.
        if open
            .is_some_and(|open| open.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        {
            return None;
        }
        serde_json::from_value(value.clone()).ok()
    }

    fn problem(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(pointer, message));
    }

    fn suggest(&mut self, pointer: impl Into<String>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.problems.push(Problem::new(pointer, message).suggest(suggestion));
    }

    fn warn(&mut self, pointer: &str, message: &str) {
        self.warnings.push((pointer.to_owned(), message.to_owned()));
    }

    /// `words, not `value``, or only the words if the value is a secret.
    fn with_value(&self, pointer: &str, words: &str, value: &str) -> String {
        if self.resolved.tainted.contains_key(pointer) || value.len() > 60 {
            words.to_owned()
        } else {
            format!("{words}, not `{value}`")
        }
    }

    fn qlik(&mut self) {
        let Some(qlik) = self.section::<Qlik>("/qlik") else { return };
        if qlik.host.contains(['/', ' ']) || (qlik.host.contains(':') && qlik.host.parse::<IpAddr>().is_err()) {
            let message = self.with_value("/qlik/host", "must be the name or address of a host alone", &qlik.host);
            self.suggest("/qlik/host", message, "leave out scheme, port and path; ports stand under `qlik.ports`");
        }
        if let Some(notifications) = &qlik.notifications {
            let callback = &notifications.callback;
            let secured = self.value.pointer("/rest/tls").is_some_and(|tls| !tls.is_null());
            let scheme = if secured { "https" } else { "http" };
            let sound = callback.parse::<url::Url>().ok().filter(|url| url.scheme() == scheme && url.has_host());
            if sound.is_none_or(|url| url.path() != "/" || url.query().is_some()) {
                let with = if secured { ", which has a certificate (`rest.tls`)" } else { "" };
                let words = &format!(
                    "must be how Qlik Sense reaches Butler's REST server{with}, such as `{scheme}://butler.example.com:8080`"
                );
                let message = self.with_value("/qlik/notifications/callback", words, callback);
                self.problem("/qlik/notifications/callback", message);
            }
        }
        let certificates = &qlik.certificates;
        if matches!(certificates.client, ClientFiles::Pem { .. })
            && certificates.ca.is_none()
            && qlik.verify != Verify::None
        {
            self.suggest(
                "/qlik/certificates",
                "`ca` is missing",
                "add `ca:` (certificate authority of the site, such as `root.pem`): without it nothing can be checked",
            );
        }
        if qlik.verify == Verify::None {
            self.warn(
                "/qlik/verify",
                "Qlik Sense's certificates are not checked: anyone on the way can read the traffic",
            );
        }
    }

    /// An address to listen on.
    fn listen(&mut self, pointer: &str) {
        let Some(text) = self.section::<String>(pointer) else { return };
        if text.parse::<SocketAddr>().is_ok() {
            return;
        }
        let message = self.with_value(pointer, "must be an IP address with a port, such as `0.0.0.0:9998`", &text);
        let right = match text.rsplit_once(':') {
            Some(("localhost", port)) => Some(format!("127.0.0.1:{port}")),
            Some(("" | "*", port)) => Some(format!("0.0.0.0:{port}")),
            _ => None,
        };
        let right = right.filter(|right| right.parse::<SocketAddr>().is_ok());
        match right.filter(|_| !self.resolved.tainted.contains_key(pointer)) {
            Some(right) => self.suggest(pointer, message, format!("write {right}")),
            None => self.problem(pointer, message),
        }
    }

    fn udp(&mut self) {
        self.listen("/udp/listen");
        self.listen("/udp/sessions/listen");
        let Some(udp) = self.section::<Udp>("/udp") else { return };
        let second = udp.sessions.listen;
        match &udp.allow_from {
            None => {
                let all = [("/udp/listen", Some(udp.listen)), ("/udp/sessions/listen", second)];
                for (pointer, _) in all.iter().filter(|(_, at)| at.is_some_and(|at| !at.ip().is_loopback())) {
                    self.warn(
                        pointer,
                        "everybody who reaches this port may send events: name the senders in `udp.allowFrom`",
                    );
                }
            }
            Some(senders) if senders.is_empty() => self.warn("/udp/allowFrom", "nobody may send events"),
            Some(_) => {}
        }
        if second == Some(udp.listen) && udp.listen.port() != 0 {
            self.suggest(
                "/udp/sessions/listen",
                "must be another port than that of `udp.listen`",
                "leave it out if sessions are sent to the same port as all else",
            );
        }
        self.users("/udp/sessions/excludeUsers", &udp.sessions.exclude_users);
        for (index, sender) in udp.allow_from.iter().flatten().enumerate() {
            let pointer = join("/udp/allowFrom", index);
            if !is_sender(sender) {
                let words = "must be an address, a network such as `10.1.0.0/16`, or the name of a host";
                let message = self.with_value(&pointer, words, sender);
                self.problem(pointer, message);
            }
        }
        self.size("/udp/maxSize", udp.max_size);
    }

    fn app_reload(&mut self) {
        let Some(lists) = self.section::<AppReload>("/appReload") else { return };
        self.users("/appReload/users", &lists.users);
        self.users("/appReload/exceptUsers", &lists.except_users);
        for (pointer, list) in [("/appReload/apps", &lists.apps), ("/appReload/streams", &lists.streams)] {
            for (index, _) in list.iter().enumerate().filter(|(_, pattern)| pattern.trim().is_empty()) {
                self.problem(join(pointer, index), "must not be empty: write a name, an id, or `*` for all");
            }
        }
    }

    /// Patterns of users: one without a directory would fit nobody.
    fn users(&mut self, pointer: &str, patterns: &Patterns) {
        for (index, pattern) in patterns.iter().enumerate() {
            if !pattern.contains(['\\', '*']) {
                let pointer = join(pointer, index);
                let words = r"must be directory and user id, such as `INTERNAL\sa_api` or `INTERNAL\*`";
                let message = self.with_value(&pointer, words, pattern);
                self.problem(pointer, message);
            }
        }
    }

    fn rest(&mut self) {
        self.listen("/rest/listen");
        for (index, token) in self.entries::<Token>("/rest/tokens") {
            let pointer = join("/rest/tokens", index);
            if token.name.trim().is_empty() {
                self.problem(join(&pointer, "name"), "must not be empty");
            }
            self.scopes(&pointer, token.scopes.is_empty());
            let pointer = join(&pointer, "networks");
            if token.networks.as_ref().is_some_and(Vec::is_empty) {
                let message = "must have at least one address or network: without one nobody may use the token";
                self.suggest(pointer.as_str(), message, "leave `networks` out if it may be used from everywhere");
            }
            for (index, text) in token.networks.iter().flatten().enumerate() {
                self.network(join(&pointer, index), text);
            }
        }
        for (index, grant) in self.entries::<Grant>("/rest/grants") {
            let pointer = join("/rest/grants", index);
            self.network(join(&pointer, "network"), &grant.network);
            self.scopes(&pointer, grant.scopes.is_empty());
        }
        if let Some(tls) = self.section::<ServerTls>("/rest/tls") {
            match self.checks.server_tls(&tls) {
                Ok(remark) => remark.iter().for_each(|remark| self.warn("/rest/tls", remark)),
                Err(fault) => self.problem("/rest/tls", fault),
            }
        }
        let Some(rest) = self.section::<Rest>("/rest") else { return };
        self.distinct("/rest/tokens", rest.tokens.iter().map(|token| token.name.as_str()), "name");
        if !rest.listen.ip().is_loopback() && rest.tokens.is_empty() && rest.grants.is_empty() && !self.rest_unclear {
            if rest.insecure {
                self.warn("/rest/insecure", "everybody who reaches the REST server may do everything");
            } else {
                self.suggest(
                    "/rest/listen",
                    "beyond loopback the REST server needs `tokens` or `grants`",
                    "make a token with `butler token new`, or allow a network under `rest.grants`",
                );
            }
        }
        self.disabled_endpoints(&rest.disabled_endpoints);
        for (index, host) in rest.hosts.iter().enumerate() {
            let pointer = join("/rest/hosts", index);
            if !is_host_name(host) && host.parse::<IpAddr>().is_err() {
                let message = self.with_value(&pointer, "must be the name of a host, without scheme and port", host);
                self.problem(pointer, message);
            }
        }
        for (index, origin) in rest.origins.iter().enumerate() {
            let pointer = join("/rest/origins", index);
            let sound = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
            if !sound {
                let words = "must be an origin: scheme, host and port alone, such as `https://sense.example.com`";
                let message = self.with_value(&pointer, words, origin);
                self.problem(pointer, message);
            }
        }
    }

    /// `entries`: of `rest.disabledEndpoints`.
    fn disabled_endpoints(&mut self, entries: &[String]) {
        for (index, entry) in entries.iter().enumerate() {
            let Err(meant) = self.checks.endpoint(entry) else { continue };
            let pointer = join("/rest/disabledEndpoints", index);
            let words = "must be an endpoint of Butler or of a plugin of this config, by its name (such as `fileDelete`) \
                         or by method and path (such as `POST /v5/reload`)";
            let message = self.with_value(&pointer, words, entry);
            match meant {
                Some(meant) => self.suggest(pointer, message, format!("did you mean `{meant}`?")),
                None => self.problem(pointer, message),
            }
        }
    }

    /// An address or a network.
    fn network(&mut self, pointer: String, text: &str) {
        if !is_network(text) {
            let words = "must be an address or a network, such as `10.1.2.3` or `10.1.0.0/16`";
            let message = self.with_value(&pointer, words, text);
            self.problem(pointer, message);
        }
    }

    fn scopes(&mut self, pointer: &str, empty: bool) {
        if empty {
            self.problem(join(pointer, "scopes"), "must have at least one scope: without one nothing is allowed");
        }
    }

    fn times(&mut self) {
        if let Some(store) = self.section::<Store>("/store") {
            self.positive("/store/keep", store.keep);
            self.size("/store/maxSize", store.max_size);
            if store.path.as_os_str().is_empty() {
                self.problem("/store/path", "must not be empty");
            }
            if store.path.to_string_lossy().ends_with(std::path::is_separator) {
                let within = store.path.join("butler.db");
                self.problem("/store/path", format!("must be a file, not a folder: such as `{}`", within.display()));
            }
        }
        if let Some(enrich) = self.section::<Enrich>("/enrich") {
            self.span("/enrich/giveUpAfter", enrich.give_up_after, NONE);
            self.span("/enrich/distributionLimit", enrich.distribution_limit, NONE);
        }
        if let Some(reconcile) = self.section::<Reconcile>("/qlik/reconcile") {
            self.span("/qlik/reconcile/every", reconcile.every, SHORTEST_ROUND);
            self.span("/qlik/reconcile/lookBack", reconcile.look_back, SHORTEST_LOOK_BACK);
        }
        if let Some(log) = self.section::<ScriptLog>("/scriptLog") {
            self.span("/scriptLog/keep", log.keep, NONE);
            self.size("/scriptLog/maxSize", log.max_size);
        }
        if let Some(timeout) = self.section::<Span>("/shutdownTimeout") {
            self.span("/shutdownTimeout", timeout, SHORTEST_STOP);
        }
    }

    fn span(&mut self, pointer: &str, span: Span, least: Span) {
        if span < least {
            let message = self.with_value(pointer, &format!("must be at least {least}"), &span.to_string());
            self.problem(pointer, message);
        } else if span > LONGEST {
            let message = self.with_value(pointer, &format!("must be at most {LONGEST}"), &span.to_string());
            self.problem(pointer, message);
        }
    }

    fn positive(&mut self, pointer: &str, span: Span) {
        if span == NONE {
            self.problem(pointer, "must be more than no time");
        } else {
            self.span(pointer, span, NONE);
        }
    }

    fn size(&mut self, pointer: &str, size: Size) {
        if size.as_bytes() == 0 {
            self.problem(pointer, "must be more than nothing");
        }
    }

    fn tls(&mut self) {
        let profiles = self.section::<BTreeMap<String, Value>>("/tls").unwrap_or_default();
        for name in profiles.keys() {
            let pointer = join("/tls", name);
            let Some(profile) = self.section::<TlsProfile>(&pointer) else { continue };
            if profile.client.is_some() != profile.key.is_some() {
                self.problem(&pointer, "`client` and `key` belong together: give both or none");
            }
            if profile.verify == Verify::None {
                self.warn(&pointer, "certificates are not checked: anyone on the way can read and change the traffic");
            }
        }
    }

    fn plugins(&mut self) {
        let entries: Vec<(String, Option<String>, Option<String>)> = Document::plugin_entries(&self.value)
            .map(|(_, pointer, entry)| {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                (pointer, text("name"), text("use"))
            })
            .collect();
        let mut names: HashMap<String, usize> = HashMap::new();
        for (index, (pointer, own, plugin)) in entries.into_iter().enumerate() {
            let at = join(&pointer, if own.is_some() { "name" } else { "use" });
            if let Some(name) = own.or(plugin).filter(|_| !self.resolved.unresolved.contains(&at)) {
                if let Some(first) = names.get(&name) {
                    let words = format!("plugins[{first}] has the same instance name");
                    let secret = self.resolved.tainted.contains_key(&at);
                    let message = if secret { words } else { format!("{words}, `{name}`") };
                    self.suggest(at, message, "give one of them another `name`");
                } else {
                    names.insert(name, index);
                }
            }
            self.retry(&join(&pointer, "retry"));
            self.rules(&join(&pointer, "on"));
        }
    }

    fn retry(&mut self, pointer: &str) {
        let Some(retry) = self.section::<Retry>(pointer) else { return };
        self.positive(&join(pointer, "initial"), retry.initial);
        self.span(&join(pointer, "maxAge"), retry.max_age, NONE);
        self.span(&join(pointer, "max"), retry.max, NONE);
        if retry.max < retry.initial {
            self.problem(pointer, "`max` must not be shorter than `initial`");
        }
    }

    fn rules(&mut self, pointer: &str) {
        if self.value.pointer(pointer).and_then(Value::as_array).is_some_and(Vec::is_empty) {
            self.warn(pointer, "no event reaches this instance; leave `on` out for the plugin's default kinds");
        }
        for (index, rule) in self.entries::<Rule>(pointer) {
            let pointer = join(pointer, index);
            if let Some(throttle) = &rule.throttle {
                self.positive(&format!("{pointer}/throttle/every"), throttle.every);
            }
            for RuleRemark { at, message, suggestion, is_fault } in self.checks.rule(&rule) {
                let at = format!("{pointer}/{at}");
                match (is_fault, suggestion) {
                    (true, suggestion) => self.problems.push(Problem { suggestion, ..Problem::new(at, message) }),
                    (false, Some(suggestion)) => self.warn(&at, &format!("{message}; {suggestion}")),
                    (false, None) => self.warn(&at, &message),
                }
            }
        }
    }

    /// The sound entries of a list with their indexes.
    fn entries<T: DeserializeOwned>(&self, pointer: &str) -> Vec<(usize, T)> {
        let length = self.value.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
        (0..length).filter_map(|index| Some((index, self.section(&join(pointer, index))?))).collect()
    }

    fn distinct<'n>(&mut self, pointer: &str, names: impl Iterator<Item = &'n str>, field: &str) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, name) in names.enumerate() {
            if let Some(first) = seen.insert(name, index) {
                let at = join(&join(pointer, index), field);
                let message = format!("entry {} of this list has the same `{field}`", first + 1);
                self.problem(at, message);
            }
        }
    }
}

/// An address, a network, or what may be the name of a host.
pub(crate) fn is_sender(text: &str) -> bool {
    is_network(text) || is_host_name(text)
}

/// An address or a network.
fn is_network(text: &str) -> bool {
    network(text).is_some()
}

/// What may be the name of a host: letters, digits, `-`, `_` and dots; and not a mistyped address.
fn is_host_name(text: &str) -> bool {
    let sound = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.len() <= 253 && !numeric && text.strip_suffix('.').unwrap_or(text).split('.').all(sound)
}
