//! `rest`: the REST server, and who may do what.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use butler_plugin_api::Scope;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// REST server.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rest {
    /// Address and port to listen on. Port 0: chosen by the system and written to the run file.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Tokens (`butler token new`). With at least one, every caller needs a token or a grant.
    pub tokens: Vec<Token>,
    /// Networks that need no token.
    pub grants: Vec<Grant>,
    /// Allows a listener beyond loopback without tokens and grants.
    pub insecure: bool,
    /// Its own certificate. Absent: HTTP without encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Requests that one address may send in a minute; more get 429. 0: any number. Those with the run file's token do not
    /// count.
    pub max_per_minute: u32,
    /// Endpoints that are not served, by their names (`fileDelete`) or by method and path (`POST /v5/reload`).
    pub disabled_endpoints: Vec<String>,
    /// Further names under which this server is called; requests with another `Host` are refused.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call this server from a browser (CORS); requests with another `Origin` are refused.
    pub origins: Vec<String>,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tokens: Vec::new(),
            grants: Vec::new(),
            insecure: false,
            tls: None,
            max_per_minute: 6000,
            disabled_endpoints: Vec::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
        }
    }
}

/// The certificate of the REST server. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file of the certificate, followed by those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// PEM file of its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// A token for REST callers, stored as its hash.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// Who uses it; shown in logs.
    pub name: String,
    /// SHA-256 of the token, 64 hexadecimal digits.
    #[schemars(
        regex(pattern = "^[0-9a-f]{64}$"),
        extend("patternErrorMessage" = "must be 64 hexadecimal digits in lower case")
    )]
    pub sha256: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Addresses and networks from which it may be used: `10.1.2.3`, `10.1.0.0/16`. Absent: from everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
}

/// A network whose callers need no token.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Address or network: `10.1.2.3`, `10.1.0.0/16`.
    pub network: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

/// A network, or an address as a network of its own; `None` when the text is neither. Addresses of IPv4 in the form of IPv6
/// (`::ffff:10.1.2.3`) are meant as those of IPv4.
pub fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.map_or(Some(network), |(address, length)| IpNet::new(address.into(), length).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (text, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.3/16", Some("10.1.2.3/16")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.0.0/112", Some("10.1.0.0/16")),
            ("::ffff:0.0.0.0/64", Some("::ffff:0.0.0.0/64")),
            ("10.1.2.3/33", None),
            ("10.1.2", None),
            ("sense", None),
            ("", None),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()).as_deref(), expected, "{text}");
        }
    }
}
