//! Whether the client certificate is one of the site's authority, as the files say: QRS would only refuse it.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error};

use super::files::Files;
use super::tls;
use super::tls_error::TlsError;
use crate::config;

/// What the authority says to the client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientChain {
    /// It has issued it.
    Issued,
    /// It has not.
    Foreign,
    /// It has, but something else is odd.
    Odd(String),
    /// There is no authority to ask (`verify: none`).
    Unchecked,
}

/// Reads the certificate files and holds the client's against the authority's, by the rules of TLS.
pub fn client_chain(config: &config::Qlik) -> Result<ClientChain, TlsError> {
    let opened = Files::read(&config.certificates, config.verify)?.open()?;
    let (Some(authorities), Some((own, between))) = (&opened.authorities, opened.client.chain.split_first()) else {
        return Ok(ClientChain::Unchecked);
    };
    let roots = tls::store(authorities)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider())).build();
    let verifier = verifier.map_err(|error| authorities.damaged(&error))?;
    Ok(match verifier.verify_client_cert(own, between, UnixTime::now()) {
        Ok(_) => ClientChain::Issued,
        Err(Error::InvalidCertificate(error)) => judge(&error),
        Err(error) => ClientChain::Odd(error.to_string()),
    })
}

fn judge(error: &CertificateError) -> ClientChain {
    use CertificateError as C;
    match error {
        C::UnknownIssuer | C::BadSignature => ClientChain::Foreign,
        // That is looked at by itself, with the day.
        C::Expired | C::ExpiredContext { .. } => ClientChain::Issued,
        C::NotValidYet | C::NotValidYetContext { .. } => {
            ClientChain::Odd("it is not valid yet: compare this machine's clock with the Sense server's".to_owned())
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => ClientChain::Odd(
            "it is not for clients: take the client's files of the export, not the server's".to_owned(),
        ),
        other => ClientChain::Odd(other.to_string()),
    }
}
