//! Who calls, and what they may do.
//!
//! * A token (`Authorization: Bearer …`) has the scopes that the config gives it, in the networks that it names. The config
//!   holds its SHA-256 only, and hashes are compared without telling by time how much of them is right.
//! * A grant gives scopes to a network. Those of a token and of the caller's network add up.
//! * Without tokens in the config, callers on this machine may do everything.
//! * The token of the run file may do everything: who can read that file could change the config as well.
//!
//! A wrong token and one that is right elsewhere have one and the same answer: who tries tokens does not learn which it was.
//! Both count against who sends them (`guess`); the log and the metrics tell them apart.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};
use butler_plugin_api::Scope;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::answer::Failure;
use super::guess::Guesses;
use crate::config::{Grant, Rest, Token, network};
use crate::observe::exposition::Exposition;

type Hash = [u8; 32];
type Scopes = BTreeSet<Scope>;

/// Words of a path that are shorter are no tokens.
const SHORTEST: usize = 8;

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// For logs and plugins: the token's name, or where the caller is.
    pub(super) name: String,
    scopes: Scopes,
    /// It has the token of the run file.
    pub(super) is_own: bool,
}

impl Caller {
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Fails when the scope is missing, and says which one.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Failure> {
        if self.may(scope) {
            return Ok(());
        }
        let message = format!(
            "{} lacks the scope `{}` that this request needs: add it under `rest` of Butler's config",
            self.name,
            scope_name(scope)
        );
        Err(Failure::new(StatusCode::FORBIDDEN, message))
    }
}

/// The rules of the config.
pub(super) struct Auth {
    tokens: Vec<KnownToken>,
    grants: Vec<(String, IpNet, Scopes)>,
    admin: Hash,
    /// Callers on this machine need nothing.
    open_here: bool,
    /// Nobody needs anything.
    open: bool,
    guesses: Guesses,
}

struct KnownToken {
    name: String,
    hash: Hash,
    scopes: Scopes,
    /// `None`: from everywhere.
    networks: Option<Vec<IpNet>>,
}

/// What a token is worth at an address.
enum Worth {
    Right(Caller),
    /// The place in the config of a token that is right from elsewhere.
    Elsewhere(usize),
    Nothing,
}

impl Auth {
    /// `admin` is the token of the run file.
    pub(super) fn new(rest: &Rest, admin: &str) -> Self {
        Self {
            // The config's schema has checked the form; what is no hash is no token.
            tokens: rest.tokens.iter().filter_map(KnownToken::new).collect(),
            grants: rest.grants.iter().filter_map(grant).collect(),
            admin: hash(admin),
            open_here: rest.tokens.is_empty(),
            open: rest.insecure && rest.tokens.is_empty() && rest.grants.is_empty(),
            guesses: Guesses::default(),
        }
    }

    /// The caller at this address; a wrong token is counted. The error is what they are told if the request needs a scope.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Caller, Failure> {
        let peer = peer.to_canonical();
        let by_network = self.by_network(peer);
        let Some(token) = bearer(headers) else {
            return by_network.ok_or_else(|| {
                unauthorized(
                    "this request needs a token: send `Authorization: Bearer <token>` (`butler token new` makes one)",
                )
            });
        };
        let elsewhere = match (self.by_token(token, peer), by_network) {
            (Worth::Right(mut caller), network) => {
                caller.scopes.extend(network.into_iter().flat_map(|network| network.scopes));
                return Ok(caller);
            }
            // Without tokens in the config, one that was sent all the same means nothing.
            (_, Some(network)) if self.tokens.is_empty() => return Ok(network),
            (Worth::Elsewhere(place), _) => Some(place),
            (Worth::Nothing, _) => None,
        };
        Err(self.wrong(peer, elsewhere))
    }

    /// What the sender of a wrong token is told.
    fn wrong(&self, peer: IpAddr, elsewhere: Option<usize>) -> Failure {
        let verdict = self.guesses.wrong(peer, elsewhere, Instant::now());
        if let Some(token) = elsewhere.filter(|_| verdict.elsewhere).and_then(|place| self.tokens.get(place)) {
            tracing::warn!(
                address = %peer,
                "the token `{}` was used from outside its `networks` and is refused there: add the address in the config, or \
                 replace the token if it is in wrong hands",
                token.name
            );
        }
        if verdict.too_many {
            tracing::warn!(
                address = %peer,
                "too many wrong tokens: further ones from this address are answered 429; look there for a script with an old \
                 token, or for somebody who tries tokens"
            );
        }
        match verdict.wait {
            None => unauthorized(
                "the token is not one of `rest.tokens` of Butler's config, or may not be used from this address",
            ),
            Some(wait) => Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "too many wrong tokens came from this address: send the right one, or wait {} s",
                    wait.as_secs()
                ),
            )
            .retry_after(wait),
        }
    }

    /// Whether a text is a token of this Butler.
    pub(super) fn is_token(&self, text: &str) -> bool {
        let hash = hash(text);
        let known = self.tokens.iter().fold(false, |known, token| known | same(&hash, &token.hash));
        known | same(&hash, &self.admin)
    }

    /// A path as it may be shown: a token that was put there by mistake is hidden.
    pub(super) fn without_token(&self, path: &str) -> String {
        let hide = |segment: &str| {
            let decoded = percent_decode_str(segment).decode_utf8_lossy();
            let mut words = decoded.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_');
            self.is_token(&decoded) || words.any(|word| word.len() >= SHORTEST && self.is_token(word))
        };
        let segments: Vec<&str> = path.split('/').map(|part| if hide(part) { "[redacted]" } else { part }).collect();
        segments.join("/")
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        self.guesses.expose(page);
    }

    fn by_token(&self, token: &str, peer: IpAddr) -> Worth {
        let hash = hash(token);
        let (mut found, mut elsewhere) = (None, None);
        // All are compared, whichever fits.
        for (place, known) in self.tokens.iter().enumerate() {
            let (right, here) = (same(&hash, &known.hash), known.may_be_used_from(peer));
            if right && here && found.is_none() {
                let (name, scopes) = (format!("token `{}`", known.name), known.scopes.clone());
                found = Some(Caller { name, scopes, is_own: false });
            } else if right && !here {
                elsewhere = Some(place);
            }
        }
        if same(&hash, &self.admin) {
            found = Some(Caller { name: "the run file's token".to_owned(), scopes: all(), is_own: true });
        }
        match (found, elsewhere) {
            (Some(caller), _) => Worth::Right(caller),
            (None, Some(place)) => Worth::Elsewhere(place),
            (None, None) => Worth::Nothing,
        }
    }

    fn by_network(&self, peer: IpAddr) -> Option<Caller> {
        if self.open {
            return Some(Caller { name: peer.to_string(), scopes: all(), is_own: false });
        }
        if self.open_here && peer.is_loopback() {
            return Some(Caller { name: "this machine".to_owned(), scopes: all(), is_own: false });
        }
        let mut names = Vec::new();
        let mut scopes = Scopes::new();
        for (network, _, more) in self.grants.iter().filter(|(_, network, _)| network.contains(&peer)) {
            names.push(network.as_str());
            scopes.extend(more);
        }
        let name = || format!("grant `{}`", names.join("`, `"));
        (!names.is_empty()).then(|| Caller { name: name(), scopes, is_own: false })
    }
}

impl KnownToken {
    fn new(token: &Token) -> Option<Self> {
        // What is no network lets nobody in.
        let networks = |list: &Vec<String>| list.iter().filter_map(|text| network(text)).collect();
        Some(Self {
            name: token.name.clone(),
            hash: from_hex(&token.sha256)?,
            scopes: token.scopes.iter().copied().collect(),
            networks: token.networks.as_ref().map(networks),
        })
    }

    fn may_be_used_from(&self, peer: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&peer)))
    }
}

fn all() -> Scopes {
    Scope::ALL.iter().copied().collect()
}

fn grant(grant: &Grant) -> Option<(String, IpNet, Scopes)> {
    Some((grant.network.clone(), network(&grant.network)?, grant.scopes.iter().copied().collect()))
}

fn unauthorized(message: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, message)
}

/// The token of a request. Other schemes are none of ours.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The name of a scope as in the config.
pub(super) fn scope_name(scope: Scope) -> String {
    format!("{scope:?}").to_lowercase()
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = Hash::default();
    for (n, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(hash)
}

/// Takes the same time whether they differ early, late or not at all.
fn same(one: &Hash, other: &Hash) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Token;

    fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
        let sha256 = Sha256::digest(secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Token { name: name.to_owned(), sha256, scopes: scopes.to_vec(), networks: None }
    }

    fn bound(name: &str, secret: &str, scopes: &[Scope], networks: &[&str]) -> Token {
        let networks = Some(networks.iter().map(|network| (*network).to_owned()).collect());
        Token { networks, ..token(name, secret, scopes) }
    }

    fn headers(authorization: Option<&str>) -> HeaderMap {
        authorization.map(|value| (header::AUTHORIZATION, value.parse().unwrap())).into_iter().collect()
    }

    fn grant(network: &str, scopes: &[Scope]) -> Grant {
        Grant { network: network.to_owned(), scopes: scopes.to_vec() }
    }

    #[test]
    fn who_may_do_what() {
        let with_tokens = Rest {
            tokens: vec![token("script", "tok-1", &[Scope::Kv]), token("ops", "tok-2", Scope::ALL)],
            grants: vec![grant("10.1.0.0/16", &[Scope::Read]), grant("10.1.2.3", &[Scope::Tasks])],
            ..Rest::default()
        };
        let only_grants = Rest { grants: vec![grant("10.1.0.0/16", &[Scope::Read])], ..Rest::default() };
        let bound = Rest {
            tokens: vec![
                bound("sense", "tok-1", &[Scope::Tasks], &["10.1.2.0/24", "192.168.7.7", "fd00::/8"]),
                bound("nobody's", "tok-2", Scope::ALL, &[]),
                // The same text in another place.
                bound("again", "tok-1", &[Scope::Kv], &["10.9.9.9"]),
            ],
            grants: vec![grant("10.3.0.0/16", &[Scope::Read])],
            ..Rest::default()
        };
        let bare = Rest::default();
        let insecure = Rest { insecure: true, ..Rest::default() };
        // config, address, Authorization, scope: 0 may, 401, 403
        let table = [
            (&with_tokens, "127.0.0.1", None, Scope::Read, 401),
            (&with_tokens, "127.0.0.1", Some("Bearer tok-1"), Scope::Kv, 0),
            (&with_tokens, "192.168.7.7", Some("bearer  tok-1"), Scope::Kv, 0),
            (&with_tokens, "127.0.0.1", Some("Bearer tok-1"), Scope::Read, 403),
            (&with_tokens, "10.1.9.9", Some("Bearer tok-1"), Scope::Read, 0),
            (&with_tokens, "127.0.0.1", Some("Bearer tok-2"), Scope::Admin, 0),
            (&with_tokens, "127.0.0.1", Some("Bearer tok-3"), Scope::Read, 401),
            (&with_tokens, "10.1.9.9", Some("Bearer tok-3"), Scope::Read, 401),
            (&with_tokens, "127.0.0.1", Some("Bearer "), Scope::Read, 401),
            (&with_tokens, "127.0.0.1", Some("Basic tok-1"), Scope::Kv, 401),
            (&with_tokens, "127.0.0.1", Some("Bearer admin"), Scope::Admin, 0),
            (&with_tokens, "10.1.9.9", None, Scope::Read, 0),
            (&with_tokens, "::ffff:10.1.9.9", None, Scope::Read, 0),
            (&with_tokens, "10.1.9.9", None, Scope::Tasks, 403),
            (&with_tokens, "10.1.2.3", None, Scope::Tasks, 0),
            (&with_tokens, "10.1.2.3", None, Scope::Read, 0),
            (&with_tokens, "10.2.0.1", None, Scope::Read, 401),
            (&only_grants, "127.0.0.1", None, Scope::Admin, 0),
            (&only_grants, "::1", None, Scope::Admin, 0),
            (&only_grants, "10.1.0.1", None, Scope::Kv, 403),
            (&only_grants, "10.2.0.1", None, Scope::Kv, 401),
            (&bound, "10.1.2.3", Some("Bearer tok-1"), Scope::Tasks, 0),
            (&bound, "::ffff:10.1.2.3", Some("Bearer tok-1"), Scope::Tasks, 0),
            (&bound, "192.168.7.7", Some("Bearer tok-1"), Scope::Tasks, 0),
            (&bound, "fd00::1", Some("Bearer tok-1"), Scope::Tasks, 0),
            (&bound, "10.9.9.9", Some("Bearer tok-1"), Scope::Kv, 0),
            (&bound, "10.9.9.9", Some("Bearer tok-1"), Scope::Tasks, 403),
            (&bound, "10.1.3.3", Some("Bearer tok-1"), Scope::Tasks, 401),
            (&bound, "192.168.7.8", Some("Bearer tok-1"), Scope::Tasks, 401),
            (&bound, "127.0.0.1", Some("Bearer tok-1"), Scope::Tasks, 401),
            (&bound, "fc00::1", Some("Bearer tok-1"), Scope::Tasks, 401),
            (&bound, "10.1.2.3", Some("Bearer tok-2"), Scope::Tasks, 401),
            // A token that does not hold there is no better than none, and does not fall back to the grant.
            (&bound, "10.3.0.1", Some("Bearer tok-1"), Scope::Read, 401),
            (&bound, "10.3.0.1", None, Scope::Read, 0),
            (&bound, "10.3.0.1", Some("Bearer admin"), Scope::Tasks, 0),
            (&bare, "127.0.0.9", None, Scope::Admin, 0),
            (&bare, "127.0.0.1", Some("Bearer left-over"), Scope::Admin, 0),
            (&bare, "10.0.0.1", None, Scope::Read, 401),
            (&bare, "10.0.0.1", Some("Bearer x"), Scope::Read, 401),
            (&bare, "10.0.0.1", Some("Bearer admin"), Scope::Read, 0),
            (&insecure, "10.0.0.1", None, Scope::Admin, 0),
        ];
        for (n, (rest, peer, authorization, scope, expected)) in table.into_iter().enumerate() {
            let result = Auth::new(rest, "admin")
                .caller(peer.parse().unwrap(), &headers(authorization))
                .and_then(|caller| caller.require(scope));
            let status = result.err().map_or(0, |failure| failure.status.as_u16());
            assert_eq!(status, expected, "row {n}");
        }
    }

    #[test]
    fn a_missing_scope_is_named() {
        let caller = Caller { name: "token `script`".to_owned(), scopes: Scopes::from([Scope::Kv]), is_own: false };
        let failure = caller.require(Scope::Deliveries).unwrap_err();
        assert!(failure.message.starts_with("token `script` lacks the scope `deliveries`"), "{}", failure.message);
    }

    #[test]
    fn who_tries_tokens_learns_nothing_and_harms_nobody() {
        let rest = Rest {
            tokens: vec![bound("sense", "tok-1", &[Scope::Tasks], &["10.1.2.3"]), token("ops", "tok-2", Scope::ALL)],
            ..Rest::default()
        };
        let auth = Auth::new(&rest, "admin");
        let call = |peer: &str, token: &str| {
            auth.caller(peer.parse().unwrap(), &headers(Some(&format!("Bearer {token}")))).map(|caller| caller.name)
        };
        let unknown = call("10.0.0.1", "tok-3").unwrap_err();
        assert_eq!(call("10.0.0.2", "tok-1").unwrap_err(), unknown);
        assert_eq!((unknown.status.as_u16(), unknown.retry_after), (401, None));
        for n in 1..10 {
            assert_eq!(call("10.0.0.1", &format!("x{n}")), Err(unknown.clone()));
        }
        for wait in [1, 2, 4] {
            let failure = call("10.0.0.1", "x").unwrap_err();
            assert_eq!((failure.status.as_u16(), failure.retry_after), (429, Some(wait)));
            assert!(failure.message.ends_with(&format!("wait {wait} s")), "{}", failure.message);
        }
        // Also the one that is right elsewhere.
        assert_eq!(call("10.0.0.1", "tok-1").unwrap_err().status, 429);
        // A right one passes, there and elsewhere, and others are as they were.
        assert_eq!(call("10.0.0.1", "tok-2"), Ok("token `ops`".to_owned()));
        assert_eq!(call("10.1.2.3", "tok-1"), Ok("token `sense`".to_owned()));
        assert_eq!(call("10.0.0.3", "x"), Err(unknown));
    }

    #[test]
    fn tokens_in_paths_are_hidden() {
        let rest =
            Rest { tokens: vec![token("a", "tok-12345_x", &[]), token("b", "a b/c+d=ef", &[])], ..Rest::default() };
        let auth = Auth::new(&rest, "admin-token");
        for (path, expected) in [
            ("/v4/keyvalues/ns/key", "/v4/keyvalues/ns/key"),
            ("/v4/keyvalues/tok-12345_x/key", "/v4/keyvalues/[redacted]/key"),
            ("/v4/x/Bearer%20tok-12345_x", "/v4/x/[redacted]"),
            ("/v4/x/token=tok-12345_x;y", "/v4/x/[redacted]"),
            ("/admin%2Dtoken", "/[redacted]"),
            ("/v4/a%20b%2Fc%2Bd=ef/x", "/v4/[redacted]/x"),
            ("/v4/tok-12345_", "/v4/tok-12345_"),
            ("", ""),
        ] {
            assert_eq!(auth.without_token(path), expected, "{path}");
        }
    }
}
