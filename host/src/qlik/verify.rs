//! Checks of a server's certificate: those that are weaker than the usual one, for sites whose certificates demand it,
//! one that takes a single certificate, and one that notes what it saw.
//!
//! All still verify the handshake's signatures: the other side must hold the key of the certificate that it shows.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificates::{CertificateFacts, CertificateRole};
use super::own_server::fingerprint;

/// The certificate that the server showed last.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<Option<CertificateFacts>>);

impl Shown {
    pub(super) fn get(&self) -> Option<CertificateFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Leaves the check to another, and notes the certificate if it was accepted or is refused for its age only.
#[derive(Debug)]
pub(super) struct Watch {
    check: Arc<dyn ServerCertVerifier>,
    shown: Arc<Shown>,
}

impl Watch {
    pub(super) fn over(check: Arc<dyn ServerCertVerifier>, shown: &Arc<Shown>) -> Arc<Self> {
        Arc::new(Self { check, shown: shown.clone() })
    }
}

impl ServerCertVerifier for Watch {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{Expired, ExpiredContext};
        let verdict = self.check.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if matches!(verdict, Ok(_) | Err(Error::InvalidCertificate(Expired | ExpiredContext { .. })))
            && let Some(facts) = CertificateFacts::read(CertificateRole::Server, None, end_entity)
        {
            *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.supported_verify_schemes()
    }
}

/// A check other than the usual one. None looks at names.
#[derive(Debug)]
pub(super) struct Accepts {
    what: What,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum What {
    /// Certificates that lead to one of the roots.
    Chain(Arc<RootCertStore>),
    /// The certificate with this SHA-256, in hexadecimal digits.
    One(String),
    Any,
}

impl Accepts {
    /// Checks the chain, not the name.
    pub(super) fn chain(roots: Arc<RootCertStore>, algorithms: WebPkiSupportedAlgorithms) -> Arc<Self> {
        Arc::new(Self { what: What::Chain(roots), algorithms })
    }

    /// Accepts the certificate with this SHA-256, in hexadecimal digits, alone.
    pub(super) fn one(fingerprint: &str, algorithms: WebPkiSupportedAlgorithms) -> Arc<Self> {
        Arc::new(Self { what: What::One(fingerprint.to_owned()), algorithms })
    }

    /// Accepts any certificate.
    pub(super) fn any(algorithms: WebPkiSupportedAlgorithms) -> Arc<Self> {
        Arc::new(Self { what: What::Any, algorithms })
    }
}

impl ServerCertVerifier for Accepts {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.what {
            What::Chain(roots) => {
                // Does not look at names, so a certificate without a subject alternative name passes.
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_cert_signed_by_trust_anchor(
                    &certificate,
                    roots,
                    intermediates,
                    now,
                    self.algorithms.all,
                )?;
            }
            What::One(accepted) if fingerprint(end_entity) != *accepted => {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
            What::One(_) | What::Any => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
