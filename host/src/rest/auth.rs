//! Who calls, and what they may do.
//!
//! * A token (`Authorization: Bearer …`) has the scopes that the config gives it. The config holds its SHA-256 only, and
//!   hashes are compared without telling by time how much of them is right.
//! * A grant gives scopes to a network. Those of a token and of the caller's network add up.
//! * Without tokens in the config, callers on this machine may do everything.
//! * The token of the run file may do everything: who can read that file could change the config as well.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};
use butler_plugin_api::Scope;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::answer::Failure;
use crate::config::{Grant, Rest};

type Hash = [u8; 32];
type Scopes = BTreeSet<Scope>;

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// For logs and plugins: the token's name, or where the caller is.
    pub(super) name: String,
    scopes: Scopes,
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
    tokens: Vec<(String, Hash, Scopes)>,
    grants: Vec<(String, IpNet, Scopes)>,
    admin: Hash,
    /// Callers on this machine need nothing.
    open_here: bool,
    /// Nobody needs anything.
    open: bool,
}

impl Auth {
    /// `admin` is the token of the run file.
    pub(super) fn new(rest: &Rest, admin: &str) -> Self {
        let tokens: Vec<_> = rest
            .tokens
            .iter()
            // The config's schema has checked the form; what is no hash is no token.
            .filter_map(|token| {
                Some((token.name.clone(), from_hex(&token.sha256)?, token.scopes.iter().copied().collect()))
            })
            .collect();
        let grants: Vec<_> = rest.grants.iter().filter_map(grant).collect();
        Self {
            tokens,
            grants,
            admin: Sha256::digest(admin).into(),
            open_here: rest.tokens.is_empty(),
            open: rest.insecure && rest.tokens.is_empty() && rest.grants.is_empty(),
        }
    }

    /// The caller at this address. The error is what they are told if the request needs a scope.
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
        match (self.by_token(token), by_network) {
            (Some(mut caller), network) => {
                caller.scopes.extend(network.into_iter().flat_map(|network| network.scopes));
                Ok(caller)
            }
            // Without tokens in the config, one that was sent all the same means nothing.
            (None, Some(network)) if self.tokens.is_empty() => Ok(network),
            (None, _) => Err(unauthorized("the token is not one of `rest.tokens` of Butler's config")),
        }
    }

    fn by_token(&self, token: &str) -> Option<Caller> {
        let hash: Hash = Sha256::digest(token).into();
        let mut found = None;
        // All are compared, whichever fits.
        for (name, other, scopes) in &self.tokens {
            if same(&hash, other) && found.is_none() {
                found = Some(Caller { name: format!("token `{name}`"), scopes: scopes.clone() });
            }
        }
        if same(&hash, &self.admin) {
            found = Some(Caller { name: "the run file's token".to_owned(), scopes: all() });
        }
        found
    }

    fn by_network(&self, peer: IpAddr) -> Option<Caller> {
        if self.open {
            return Some(Caller { name: peer.to_string(), scopes: all() });
        }
        if self.open_here && peer.is_loopback() {
            return Some(Caller { name: "this machine".to_owned(), scopes: all() });
        }
        let mut names = Vec::new();
        let mut scopes = Scopes::new();
        for (network, _, more) in self.grants.iter().filter(|(_, network, _)| network.contains(&peer)) {
            names.push(network.as_str());
            scopes.extend(more);
        }
        (!names.is_empty()).then(|| Caller { name: format!("grant `{}`", names.join("`, `")), scopes })
    }
}

fn all() -> Scopes {
    Scope::ALL.iter().copied().collect()
}

fn grant(grant: &Grant) -> Option<(String, IpNet, Scopes)> {
    let network = grant.network.parse().or_else(|_| grant.network.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some((grant.network.clone(), network, grant.scopes.iter().copied().collect()))
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
            (&bare, "127.0.0.9", None, Scope::Admin, 0),
            (&bare, "127.0.0.1", Some("Bearer left-over"), Scope::Admin, 0),
            (&bare, "10.0.0.1", None, Scope::Read, 401),
            (&bare, "10.0.0.1", Some("Bearer x"), Scope::Read, 401),
            (&bare, "10.0.0.1", Some("Bearer admin"), Scope::Read, 0),
            (&insecure, "10.0.0.1", None, Scope::Admin, 0),
        ];
        for (n, (rest, peer, authorization, scope, expected)) in table.into_iter().enumerate() {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            let result = Auth::new(rest, "admin")
                .caller(peer.parse().unwrap(), &headers)
                .and_then(|caller| caller.require(scope));
            let status = result.err().map_or(0, |failure| failure.status.as_u16());
            assert_eq!(status, expected, "row {n}");
        }
    }

    #[test]
    fn a_missing_scope_is_named() {
        let caller = Caller { name: "token `script`".to_owned(), scopes: Scopes::from([Scope::Kv]) };
        let failure = caller.require(Scope::Deliveries).unwrap_err();
        assert!(failure.message.starts_with("token `script` lacks the scope `deliveries`"), "{}", failure.message);
    }
}
