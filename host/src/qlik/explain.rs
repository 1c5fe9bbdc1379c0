//! From an error of the HTTP client to words that help.
//!
//! The interesting part is often deep inside: TLS errors sit in an I/O error in a connection error in a request error.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use super::error::{Cause, QlikError};

/// A service of Qlik Sense, in words.
#[derive(Debug)]
pub(super) struct Service {
    /// The key of its port in the config.
    port: &'static str,
    name: &'static str,
}

pub(super) const REPOSITORY: Service = Service { port: "ports.repository", name: "the repository service" };
pub(super) const SYSTEM_INFO: Service = Service { port: "ports.systemInfo", name: "the service dispatcher" };

/// What it means that a request failed without an answer.
pub(super) fn unreachable(service: &Service, server: &str, error: &reqwest::Error) -> QlikError {
    let Service { port, name } = service;
    let (cause, reason) = if let Some(reason) = tls(error, port) {
        (Cause::Tls, reason)
    } else if error.is_timeout() {
        let what = if error.is_connect() { "no connection in time" } else { "no answer in time" };
        (Cause::Timeout, format!("{what} (is the server overloaded, or does a firewall drop packets?)"))
    } else if error.is_dns() {
        (Cause::Connect, format!("its name cannot be resolved: {} (check `qlik.host`)", innermost(error)))
    } else if error.is_connect() {
        let remedy = format!("check `qlik.host`, `{port}`, the firewall, and that {name} runs");
        (Cause::Connect, format!("{} ({remedy})", innermost(error)))
    } else {
        (Cause::Broken, format!("the connection broke: {} (did {name} restart?)", innermost(error)))
    };
    QlikError::Unreachable { server: server.to_owned(), cause, reason }
}

/// Whether a certificate or TLS itself is the trouble.
pub(super) fn is_tls(error: &reqwest::Error) -> bool {
    find::<rustls::Error>(error).is_some()
}

/// What is the matter with certificates or TLS, if they are the trouble. `port`: the key of the config.
pub(super) fn tls(error: &(dyn Error + 'static), port: &str) -> Option<String> {
    find::<rustls::Error>(error).map(|error| tls_reason(error, port))
}

fn tls_reason(error: &rustls::Error, port: &str) -> String {
    use CertificateError as C;
    let other_server = format!("its certificate is not one for servers: check `{port}`");
    let no_tls = format!("what listens there does not speak TLS: check `{port}`");
    let remedy = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                "its certificate is for another name: use that name as `qlik.host`, or set `verify: chain`"
            }
            C::UnknownIssuer | C::BadSignature => {
                "its certificate is not from the authority in `certificates.ca`, or in the PFX file: export the \
                 certificates again from the QMC of this site"
            }
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired: renew it on the Sense server",
            C::NotValidYet | C::NotValidYetContext { .. } => "its certificate is not valid yet: compare the clocks",
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => &other_server,
            _ => "its certificate is not accepted; `verify: none` would accept any",
        },
        rustls::Error::AlertReceived(_) => {
            "it refuses our client certificate: export the certificates again from the QMC of this site"
        }
        rustls::Error::InvalidMessage(_) => &no_tls,
        rustls::Error::PeerIncompatible(_) => "no common TLS version or cipher; TLS 1.2 or 1.3 is needed",
        _ => "TLS failed",
    };
    format!("{remedy} ({error})")
}

/// The text of the last error of the chain: the cause proper.
fn innermost(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = inner(error);
    }
    without_manual(text)
}

/// An error of TLS without the address of the manual that explains it to programmers.
pub(crate) fn without_manual(mut text: String) -> String {
    if let Some(at) = text.find(": https://docs.rs/") {
        text.truncate(at);
    }
    text
}

/// The first error of this type in a chain.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = inner(error);
    }
    None
}

/// The next error inside. An I/O error's `source` skips the error that it wraps.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError as C, Error, InvalidMessage, PeerIncompatible};

    #[test]
    fn each_trouble_of_tls_has_its_remedy() {
        for (error, remedy) in [
            (Error::InvalidCertificate(C::NotValidForName), "for another name: use that name as `qlik.host`"),
            (Error::InvalidCertificate(C::UnknownIssuer), "not from the authority in `certificates.ca`"),
            (Error::InvalidCertificate(C::BadSignature), "not from the authority in `certificates.ca`"),
            (Error::InvalidCertificate(C::Expired), "has expired: renew it on the Sense server"),
            (Error::InvalidCertificate(C::NotValidYet), "is not valid yet: compare the clocks"),
            (Error::InvalidCertificate(C::InvalidPurpose), "is not one for servers: check `ports.repository`"),
            (Error::InvalidCertificate(C::Revoked), "is not accepted; `verify: none` would accept any"),
            (Error::AlertReceived(AlertDescription::CertificateUnknown), "it refuses our client certificate"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS: check `ports.repository`"),
            (Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13), "TLS 1.2 or 1.3 is needed"),
        ] {
            let text = super::tls_reason(&error, "ports.repository");
            assert!(text.contains(remedy) && text.contains(&error.to_string()), "{remedy}: {text}");
        }
    }
}
