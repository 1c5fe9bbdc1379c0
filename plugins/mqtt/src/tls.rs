//! TLS of the connection to the broker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What TLS is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) verify: Verify,
    /// Files with certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// Whose brokers are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verify {
    System,
    Ca(PathBuf),
    Nothing,
}

impl Tls {
    /// Reads the files: they may have been renewed. Blocks. The error names the setting.
    pub(crate) fn read(&self) -> Result<Arc<ClientConfig>, String> {
        // Never the default of the process, which belongs to the host.
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match &self.verify {
            Verify::Ca(file) => builder.with_root_certificates(authority(file)?),
            Verify::System => builder.with_root_certificates(system()?),
            Verify::Nothing => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("tls.certificate", certificate)?;
                let read = std::fs::read(key).map_err(|error| in_file("tls.key", key, &error.to_string()))?;
                let private = PrivateKeyDer::from_pem_slice(&read)
                    .map_err(|_| in_file("tls.key", key, "there is no key in PEM form in it that is not encrypted"))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| format!("`tls.certificate` and `tls.key` do not go together: {error}"))?
            }
        };
        Ok(Arc::new(config))
    }
}

fn in_file(setting: &str, file: &Path, why: &str) -> String {
    format!("`{setting}`: {}: {why}", file.display())
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(file).map_err(|error| in_file(setting, file, &error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => {
            Err(in_file(setting, file, "there is no certificate in PEM form in it (`-----BEGIN CERTIFICATE-----`)"))
        }
        Err(error) => Err(in_file(setting, file, &error.to_string())),
    }
}

fn authority(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.ca", file)? {
        roots.add(certificate).map_err(|error| in_file("tls.ca", file, &error.to_string()))?;
    }
    Ok(roots)
}

fn system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| io::ErrorKind::NotFound.to_string(), ToString::to_string);
        return Err(format!(
            "the system's certificate authorities cannot be read: {why}; name the broker's in `tls.ca`"
        ));
    }
    Ok(roots)
}

/// Takes every certificate: `tls.verify: none`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
