//! A new connection: TCP, encryption, login.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::Host;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::pool::Idle;
use super::token::Tokens;
use super::wire::Wire;
use super::{Failure, Limits, StepError};
use crate::settings::{Auth, Method, Secret, Smtp, TlsMode};

/// How long a refused login is not tried again: with each event and each attempt it would lock the account.
const AFTER_REFUSAL: Duration = Duration::from_mins(1);

/// The mail server of an instance.
pub(crate) struct Server {
    pub(crate) settings: Smtp,
    pub(super) host: Host,
    /// Connections that wait for the next mail.
    pub(super) idle: Mutex<Vec<Idle>>,
    /// The system's authorities are read once: there are many of them.
    system: Mutex<Option<TlsParameters>>,
    tokens: Option<Tokens>,
    /// When and with which words the login was refused for good.
    refused: Mutex<Option<(Instant, String)>>,
    pub(super) name: ClientId,
}

/// What is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) encrypted: bool,
    /// None: without a login.
    pub(crate) login: Option<&'static str>,
}

impl Server {
    pub(crate) fn new(settings: Smtp, host: Host) -> Self {
        let tokens = match settings.auth.as_ref().map(|auth| &auth.secret) {
            Some(Secret::Oauth(oauth)) => Some(Tokens::new(oauth.clone(), host.clone())),
            _ => None,
        };
        let name = client_name(ClientId::default());
        Self {
            settings,
            host,
            idle: Mutex::default(),
            system: Mutex::default(),
            tokens,
            refused: Mutex::default(),
            name,
        }
    }

    /// Its name for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// Connects, encrypts and logs in, as the settings say; not soon after a login that was refused.
    pub(super) async fn connect(&self, limits: &Limits) -> Result<(AsyncSmtpConnection, Facts), Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, words)) = refused.filter(|(at, _)| at.elapsed() < AFTER_REFUSAL) {
            return Err(Failure::NoConnection(words));
        }
        self.connect_anyway(limits).await
    }

    /// Connects even where the login was refused just now.
    pub(super) async fn connect_anyway(&self, limits: &Limits) -> Result<(AsyncSmtpConnection, Facts), Failure> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (mut connection, error) = match self.log_in_once(limits, false).await? {
            (connection, facts, None) => return Ok((connection, facts)),
            (connection, _, Some(error)) => (connection, error),
        };
        // A token may have been withdrawn before its time.
        let renewed = self.tokens.is_some() && error.code() == Some(535);
        let error = if renewed {
            let _ = limits.step(1, connection.quit()).await;
            match self.log_in_once(limits, true).await? {
                (connection, facts, None) => return Ok((connection, facts)),
                (again, _, Some(error)) => {
                    connection = again;
                    error
                }
            }
        } else {
            error
        };
        let _ = limits.step(1, connection.quit()).await;
        if matches!(error, StepError::OutOfTime) {
            return Err(Failure::OutOfTime);
        }
        let words = format!("{} refuses the login: {error}{}", self.shown(), self.hint(&error));
        if error.code().is_some_and(|code| code >= 500) {
            let refused = (Instant::now(), words.clone());
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        }
        Err(Failure::NoConnection(words))
    }

    /// The error is that of the login, with the connection that it failed on.
    async fn log_in_once(
        &self,
        limits: &Limits,
        new_token: bool,
    ) -> Result<(AsyncSmtpConnection, Facts, Option<StepError>), Failure> {
        let (mut connection, encrypted) = Box::pin(self.open(limits)).await?;
        let mut facts = Facts { encrypted, login: None };
        let Some(auth) = &self.settings.auth else { return Ok((connection, facts, None)) };
        let mechanism = match self.mechanism(auth, &connection, encrypted) {
            Ok(mechanism) => mechanism,
            Err(text) => {
                let _ = limits.step(1, connection.quit()).await;
                return Err(Failure::NoConnection(text));
            }
        };
        facts.login = Some(shown(mechanism));
        let secret = match (&auth.secret, &self.tokens) {
            (Secret::Password(password), _) => password.clone(),
            (Secret::Oauth(_), None) => String::new(),
            (Secret::Oauth(_), Some(tokens)) => match tokens.get(new_token, limits).await {
                Ok(token) => token,
                Err(text) => {
                    let _ = limits.step(1, connection.quit()).await;
                    return Err(Failure::NoConnection(text));
                }
            },
        };
        let credentials = Credentials::new(auth.user.clone(), secret);
        let answer = limits.step(2, async {
            match connection.auth(&[mechanism], &credentials).await {
                // The server gives its reasons as a challenge, and says 535 when it gets an empty answer.
                Err(error) if mechanism == Mechanism::Xoauth2 && error.is_client() => connection.command("\r\n").await,
                other => other,
            }
        });
        let error = answer.await.err();
        Ok((connection, facts, error))
    }

    /// A connection, encrypted as the settings say, and whether it is.
    async fn open(&self, limits: &Limits) -> Result<(AsyncSmtpConnection, bool), Failure> {
        let smtp = &self.settings;
        let tls = match smtp.tls {
            TlsMode::None => None,
            _ => Some(self.tls().map_err(Failure::NoConnection)?),
        };
        let wrapped = tls.clone().filter(|_| smtp.tls == TlsMode::Implicit);
        let address = (smtp.host.as_str(), smtp.port);
        // A name may have several addresses: the first one must not use up the time. Greeting and EHLO are part of the step.
        let connect = async {
            let wire = Wire::connect(address, limits.step / 2, wrapped).await?;
            let connection = wire.greet(&self.name).await?;
            Ok((wire, connection))
        };
        let (wire, mut connection) = limits.step(1, connect).await.map_err(|error| self.no_connection(&error))?;
        self.host.metrics().count("connections_total", &[], 1);
        match (smtp.tls, tls) {
            (TlsMode::Starttls | TlsMode::StarttlsIfOffered, Some(tls)) if connection.can_starttls() => {
                let encrypt = wire.starttls(connection, tls, &self.name);
                connection = limits.step(1, encrypt).await.map_err(|error| self.no_connection(&error))?;
                Ok((connection, true))
            }
            (TlsMode::Starttls, _) => {
                let _ = limits.step(1, connection.quit()).await;
                Err(Failure::NoConnection(format!(
                    "{} does not offer STARTTLS, which `smtp.tls: starttls` needs: correct host and port, or say \
                     `implicit`, `starttlsIfOffered` or `none`",
                    self.shown()
                )))
            }
            (mode, _) => Ok((connection, mode == TlsMode::Implicit)),
        }
    }

    fn no_connection(&self, error: &StepError) -> Failure {
        if matches!(error, StepError::OutOfTime) {
            return Failure::OutOfTime;
        }
        let words = error.to_string();
        let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        let hint = match error {
            StepError::Smtp(error) if error.to_string().contains("certificate") => {
                "; if the server has a certificate of your own authority, name that in `smtp.ca`"
            }
            StepError::Smtp(error) if error.to_string().contains("corrupt message") => {
                "; the server does not speak TLS on this port: `smtp.tls: starttls` may be right"
            }
            // The system's words: they are in no form that tells them apart.
            StepError::Smtp(_) if error.code().is_none() && has(&["refused"]) => {
                "; does the mail server run there, and is `smtp.port` right?"
            }
            StepError::Smtp(_) if error.code().is_none() && has(&["lookup", "No such host"]) => {
                "; is `smtp.host` right, and does the DNS of this machine know it?"
            }
            StepError::Slow(_) => {
                "; does a firewall drop packets, or is the port one for TLS from the first byte (`smtp.tls: implicit`)?"
            }
            _ => "",
        };
        Failure::NoConnection(format!("{} cannot be reached: {words}{hint}", self.shown()))
    }

    fn mechanism(&self, auth: &Auth, connection: &AsyncSmtpConnection, encrypted: bool) -> Result<Mechanism, String> {
        if !encrypted && !auth.allow_plain_text {
            return Err(format!(
                "the connection to {} is not encrypted, so there is no login: `smtp.tls: starttls` insists on encryption, \
                 `smtp.auth.allowPlainText: true` goes without",
                self.shown()
            ));
        }
        let wanted: &[Mechanism] = match auth.method {
            Method::Auto => &[Mechanism::Plain, Mechanism::Login],
            Method::Plain => &[Mechanism::Plain],
            Method::Login => &[Mechanism::Login],
            Method::Xoauth2 => &[Mechanism::Xoauth2],
        };
        let offered = connection.server_info();
        offered.get_auth_mechanism(wanted).ok_or_else(|| {
            let names: Vec<_> = wanted.iter().map(|mechanism| shown(*mechanism)).collect();
            let others: Vec<_> = [Mechanism::Plain, Mechanism::Login, Mechanism::Xoauth2]
                .into_iter()
                .filter(|mechanism| offered.supports_auth_mechanism(*mechanism))
                .map(shown)
                .collect();
            let has = if others.is_empty() { "no login that is known here".to_owned() } else { others.join(", ") };
            format!(
                "{} does not offer {}, but {has}: correct `smtp.auth.method`, or remove `smtp.auth` if the server takes \
                 mails without a login",
                self.shown(),
                names.join(" or ")
            )
        })
    }

    fn tls(&self) -> Result<TlsParameters, String> {
        let smtp = &self.settings;
        if let Some(file) = &smtp.ca {
            return own_authority(file, &smtp.server_name);
        }
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = &*system {
            return Ok(tls.clone());
        }
        let mut builder = TlsParameters::builder(smtp.server_name.clone());
        if !smtp.verify {
            builder = builder
                .certificate_store(CertificateStore::None)
                .dangerous_accept_invalid_certs(true)
                .dangerous_accept_invalid_hostnames(true);
        }
        let tls =
            builder.build().map_err(|error| format!("the system's certificate authorities cannot be read: {error}"))?;
        *system = Some(tls.clone());
        Ok(tls)
    }

    /// What helps, where it is known.
    fn hint(&self, error: &StepError) -> &'static str {
        let host = self.settings.host.to_ascii_lowercase();
        let microsoft = [".office365.com", ".outlook.com", ".office.com"].iter().any(|end| host.ends_with(end));
        match (error.code(), &self.settings.auth) {
            (Some(535), Some(Auth { secret: Secret::Password(_), .. })) if microsoft => {
                "; Microsoft 365 takes passwords only where the tenant and the mailbox allow SMTP AUTH, and gives that up \
                 for good: `smtp.auth.oauth` is what lasts"
            }
            (Some(535), Some(Auth { secret: Secret::Oauth(_), .. })) if microsoft => {
                "; the application needs the permission SMTP.SendAsApp, its service principal access to the mailbox in \
                 Exchange, and the mailbox SMTP AUTH switched on"
            }
            _ => "",
        }
    }
}

/// Checks a file of authorities, for the start.
pub(crate) fn own_authority(file: &Path, server_name: &str) -> Result<TlsParameters, String> {
    let fail = |why: String| format!("`smtp.ca`: {}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| fail(error.to_string()))?;
    // What else a PEM file may hold is skipped without a word. `TRUSTED CERTIFICATE` is a form of OpenSSL alone.
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begin.len()).any(|text| text == begin) {
        return Err(fail("there is no certificate in PEM form in it (`-----BEGIN CERTIFICATE-----`)".to_owned()));
    }
    let certificate = Certificate::from_pem(&pem).map_err(|error| fail(error.to_string()))?;
    let builder = TlsParameters::builder(server_name.to_owned()).certificate_store(CertificateStore::None);
    builder.add_root_certificate(certificate).build().map_err(|error| fail(error.to_string()))
}

fn shown(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Login => "LOGIN",
        Mechanism::Xoauth2 => "XOAUTH2",
    }
}

/// What we call ourselves. Servers refuse names that are none by the rules, such as those of some Windows computers, and
/// many of them a name without a domain.
fn client_name(host: ClientId) -> ClientId {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    match host {
        ClientId::Domain(name) if name.trim_matches('.').contains('.') && name.chars().all(allowed) => {
            ClientId::Domain(name)
        }
        ClientId::Domain(_) => ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        for kind in ["PRIVATE KEY", "TRUSTED CERTIFICATE", "CERTIFICATE REQUEST"] {
            std::fs::write(&file, format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")).unwrap();
            let error = own_authority(&file, "mail.test").err().unwrap_or_else(|| panic!("{kind} is taken"));
            assert!(error.contains("`smtp.ca`") && error.contains("no certificate in PEM form"), "{error}");
        }
    }

    #[test]
    fn we_are_a_whole_name_or_an_address() {
        for (host, said) in [
            ("sense1.acme.test", "sense1.acme.test"),
            ("SENSE1", "[127.0.0.1]"),
            ("sense1.", "[127.0.0.1]"),
            ("sense_1.acme.test", "[127.0.0.1]"),
            ("", "[127.0.0.1]"),
        ] {
            assert_eq!(client_name(ClientId::Domain(host.to_owned())).to_string(), said, "{host}");
        }
    }
}
