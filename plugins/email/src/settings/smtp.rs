//! The server: address, encryption, login.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::span;

/// Longest time limit of a step.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(2);

/// The SMTP server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["tls", "auth"], ["tls"]]))]
pub(super) struct SmtpSettings {
    /// Name or IP address of the server.
    #[schemars(length(min = 1))]
    host: String,
    /// Port. Absent: 587 with `tls: starttls`, 465 with `tls: implicit`, else 25.
    #[serde(default)]
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// `starttls`: the connection begins in clear text and is encrypted before anything is sent; a server that cannot do
    /// that gets no mail. `implicit`: encrypted from the first byte. `starttlsIfOffered`: encrypted if the server offers
    /// it; somebody on the way can prevent that. `none`: never encrypted.
    #[serde(default)]
    #[schemars(extend("default" = "starttls"))]
    tls: TlsMode,
    /// PEM file of the authorities that the server's certificate is checked with, instead of the system's; relative to
    /// the config file. It is read for each connection, so a new file needs no restart.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// The name in the server's certificate, if it is another one than `host`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    server_name: Option<String>,
    /// Whether the server's certificate is checked. Without it anybody on the way can read mails and password.
    #[serde(default = "yes")]
    verify: bool,
    /// How to log in. Absent: mails are sent without a login.
    #[serde(default)]
    auth: Option<AuthSettings>,
    /// How long the server may take for one step (connecting with its greeting, TLS, one command): a whole number and
    /// `ms`, `s` or `m`, at most `2m`. Each of several addresses of `host` gets half of it, the login twice as long,
    /// and a whole mail four times.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
}

fn yes() -> bool {
    true
}

fn default_timeout() -> String {
    "30s".to_owned()
}

/// How a connection is encrypted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TlsMode {
    None,
    #[default]
    Starttls,
    StarttlsIfOffered,
    Implicit,
}

/// The login.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["password"], ["oauth"]]))]
struct AuthSettings {
    /// Name of the user; with `oauth` the address of the mailbox.
    #[schemars(length(min = 1))]
    user: String,
    /// Password. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
    /// `auto`: what the server offers, in the order `plain`, `login`; with `oauth` it is `xoauth2`.
    #[serde(default)]
    method: Method,
    /// A token instead of a password, from the token endpoint of the mail provider (client credentials).
    #[serde(default)]
    oauth: Option<OauthSettings>,
    /// Log in even if the connection is not encrypted: everybody on the way can read the password then.
    #[serde(default)]
    allow_plain_text: bool,
}

/// How to log in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    #[default]
    Auto,
    Plain,
    Login,
    Xoauth2,
}

/// Where tokens come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["scope"], []]))]
struct OauthSettings {
    /// Token endpoint, for Microsoft 365: `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.
    token_url: Url,
    /// Id of the application that is registered there.
    #[schemars(length(min = 1))]
    client_id: String,
    /// Its secret: write it as `${env:NAME}` or `${file:path}`.
    #[schemars(extend("writeOnly" = true))]
    client_secret: String,
    /// What the token is for, for Microsoft 365: `https://outlook.office365.com/.default`.
    #[serde(default)]
    scope: Option<String>,
}

/// The server, checked.
#[derive(Debug)]
pub(crate) struct Smtp {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: TlsMode,
    pub(crate) ca: Option<PathBuf>,
    /// The name in the certificate.
    pub(crate) server_name: String,
    pub(crate) verify: bool,
    pub(crate) auth: Option<Auth>,
    pub(crate) timeout: Duration,
}

/// The login, checked.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) user: String,
    pub(crate) secret: Secret,
    pub(crate) method: Method,
    pub(crate) allow_plain_text: bool,
}

/// What proves who we are.
pub(crate) enum Secret {
    Password(String),
    Oauth(Oauth),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Oauth(_) => "Oauth",
        })
    }
}

/// Where tokens come from, checked.
#[derive(Clone)]
pub(crate) struct Oauth {
    pub(crate) token_url: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) scope: Option<String>,
}

impl SmtpSettings {
    /// An error says for people which setting is wrong, and what would be right. It never quotes a secret.
    pub(super) fn check(self, config_dir: &Path) -> Result<Smtp, String> {
        let host = self.host.trim();
        // As URLs write IPv6 addresses.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(format!("`smtp.host` is `{host}`: write the name or IP address of the server alone"));
        }
        if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`smtp.host` is `{host}`: the port belongs into `smtp.port`"));
        }
        if self.tls == TlsMode::None && (self.ca.is_some() || self.server_name.is_some()) {
            return Err("`smtp.ca` and `smtp.serverName` are of no use with `smtp.tls: none`: remove them".to_owned());
        }
        if !self.verify && (self.ca.is_some() || self.server_name.is_some()) {
            return Err(
                "`smtp.ca` and `smtp.serverName` are of no use with `smtp.verify: false`: remove them".to_owned()
            );
        }
        let port = self.port.unwrap_or(match self.tls {
            TlsMode::Starttls => 587,
            TlsMode::Implicit => 465,
            TlsMode::None | TlsMode::StarttlsIfOffered => 25,
        });
        let auth = self.auth.map(AuthSettings::check).transpose()?;
        if self.tls == TlsMode::None && auth.as_ref().is_some_and(|auth| !auth.allow_plain_text) {
            return Err(
                "`smtp.auth` with `smtp.tls: none` would send the password readable for everybody on the way: use \
                 `tls: starttls` or `implicit`, or say `smtp.auth.allowPlainText: true`"
                    .to_owned(),
            );
        }
        Ok(Smtp {
            server_name: self.server_name.unwrap_or_else(|| host.clone()),
            host,
            port,
            tls: self.tls,
            ca: self.ca.map(|path| config_dir.join(path)),
            verify: self.verify,
            auth,
            timeout: span("smtp.timeout", &self.timeout, LONGEST_TIMEOUT)?,
        })
    }
}

impl AuthSettings {
    fn check(self) -> Result<Auth, String> {
        let secret = match (self.password, self.oauth) {
            (Some(password), None) if !password.is_empty() => Secret::Password(password),
            (None, Some(oauth)) => Secret::Oauth(oauth.check()?),
            (Some(_), Some(_)) => return Err("`smtp.auth` has `password` and `oauth`: remove one of them".to_owned()),
            _ => return Err("`smtp.auth` needs a `password`, or `oauth`".to_owned()),
        };
        match (&secret, self.method) {
            (Secret::Password(_), Method::Xoauth2) => {
                return Err(
                    "`smtp.auth.method` is `xoauth2`, which needs `smtp.auth.oauth` instead of a password".to_owned()
                );
            }
            (Secret::Oauth(_), Method::Plain | Method::Login) => {
                return Err("`smtp.auth.oauth` goes with `method: xoauth2` only".to_owned());
            }
            _ => {}
        }
        let method = if matches!(secret, Secret::Oauth(_)) { Method::Xoauth2 } else { self.method };
        Ok(Auth { user: self.user, secret, method, allow_plain_text: self.allow_plain_text })
    }
}

impl OauthSettings {
    fn check(self) -> Result<Oauth, String> {
        let local = match self.token_url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match self.token_url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => {
                return Err(
                    "`smtp.auth.oauth.tokenUrl` must begin with `https:`: the client's secret is sent there".to_owned()
                );
            }
        }
        Ok(Oauth {
            token_url: self.token_url,
            client_id: self.client_id,
            client_secret: self.client_secret,
            scope: self.scope.filter(|scope| !scope.is_empty()),
        })
    }
}
