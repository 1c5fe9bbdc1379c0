//! The certificate of a server of Butler's own, from PEM files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use sha2::{Digest as _, Sha256};

use super::certificates::{CertificateFacts, CertificateRole};
use super::files::Client;
use super::read_file::{CERTIFICATE, KEY, ReadFile};
use super::tls;
use super::tls_error::TlsError;

/// The two files, read at one time.
#[derive(Debug)]
pub struct ServerFiles {
    certificate: ReadFile,
    key: ReadFile,
}

/// What a server shows, and settings that show it.
pub struct ServerIdentity {
    /// TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1 by ALPN.
    pub config: Arc<ServerConfig>,
    /// The certificate and its end; absent if it has an odd form.
    pub facts: Option<CertificateFacts>,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint: String,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl ServerFiles {
    /// Reads the certificate, followed by those that lead to its authority, and its private key: PKCS#8, PKCS#1 or SEC1, not
    /// encrypted.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: ReadFile::read(CERTIFICATE, certificate)?, key: ReadFile::read(KEY, key)? })
    }

    /// Tells one content from another.
    pub fn hash(&self) -> [u8; 32] {
        // Each by itself, so that what moves from one to the next makes a difference.
        let hashes = [&self.certificate, &self.key].map(|file| Sha256::digest(file.content()));
        Sha256::digest(hashes.concat()).into()
    }

    /// Takes out what is in them.
    pub fn open(self) -> Result<ServerIdentity, TlsError> {
        let own = Client::of(&self.certificate, &self.key)?;
        let leaf: &[u8] = own.chain.first().map_or(&[], AsRef::as_ref);
        let fingerprint = fingerprint(leaf);
        let facts = CertificateFacts::read(CertificateRole::Rest, Some(&own.file), leaf);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let config = builder.with_single_cert(own.chain.clone(), own.key.clone_key());
        let mut config = config.map_err(|error| tls::refused(&own, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(ServerIdentity { config: Arc::new(config), facts, fingerprint })
    }
}

/// SHA-256 of a certificate in hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    format!("{:x}", Sha256::digest(der))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use qlik_simulator::Certificates;

    use super::*;

    #[test]
    fn files_are_told_apart_and_faults_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::generate().unwrap().write_to(folder.path()).unwrap();
        let read = || ServerFiles::read(&files.client, &files.client_key);
        let hash = read().unwrap().hash();
        let identity = read().unwrap().open().unwrap();
        assert_eq!(identity.facts.unwrap().fingerprint, identity.fingerprint);
        let swapped = ServerFiles::read(&files.client_key, &files.client).unwrap();
        assert_ne!(swapped.hash(), hash);
        let text = |files: ServerFiles| files.open().unwrap_err().to_string();
        assert!(text(swapped).contains("client_key.pem has no certificate in it"));
        let foreign = Certificates::generate().unwrap();
        let encrypted = foreign.encrypted_client_key_pem("pass");
        for (key, fault) in [("", "has no private key in it"), (&encrypted, "is encrypted")] {
            fs::write(&files.client_key, key).unwrap();
            assert!(text(read().unwrap()).contains(fault), "{}", text(read().unwrap()));
        }
        let other = tempfile::tempdir().unwrap();
        let foreign = foreign.write_to(other.path()).unwrap();
        let mixed = ServerFiles::read(&files.client, &foreign.client_key).unwrap();
        assert!(text(mixed).contains("does not belong to the certificate"));
    }
}
