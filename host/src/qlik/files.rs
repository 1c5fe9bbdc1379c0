//! The certificate files of the connection to Qlik Sense.

use std::sync::Arc;

use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

use super::certificates::{self, CertificateFacts, CertificateRole};
use super::tls::{self, AUTHORITIES, CERTIFICATE, KEY, Pem, TlsError};
use super::verify::Shown;
use crate::config::{Certificates, Verify};

/// The three files, read at one time.
#[derive(Debug)]
pub(super) struct Files {
    client: Pem,
    key: Pem,
    /// Absent when nothing is checked against it.
    ca: Option<Pem>,
}

impl Files {
    /// Reads them.
    pub(super) fn read(paths: &Certificates, verify: Verify) -> Result<Self, TlsError> {
        Ok(Self {
            client: Pem::read(CERTIFICATE, &paths.client)?,
            key: Pem::read(KEY, &paths.key)?,
            ca: if verify == Verify::None { None } else { Some(Pem::read(AUTHORITIES, &paths.ca)?) },
        })
    }

    /// Tells one content from another.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for file in [Some(&self.client), Some(&self.key), self.ca.as_ref()].into_iter().flatten() {
            // Each by itself, so that what moves from one to the next makes a difference.
            hash.update(Sha256::digest(file.content()));
        }
        hash.finalize().into()
    }

    /// TLS settings by them.
    pub(super) fn tls(&self, verify: Verify, shown: &Arc<Shown>) -> Result<ClientConfig, TlsError> {
        tls::qlik((&self.client, &self.key), self.ca.as_ref(), verify, shown)
    }

    /// The certificates in them whose end matters.
    pub(super) fn certificates(&self) -> Vec<CertificateFacts> {
        let chain = self.client.certificates().unwrap_or_default();
        let Some(own) = chain.first() else { return Vec::new() };
        let client = CertificateFacts::read(CertificateRole::Client, Some(self.client.path()), own);
        let ca = self.ca.as_ref().and_then(|file| {
            let known = file.certificates().unwrap_or_default();
            certificates::authority(file.path(), &known, own)
        });
        client.into_iter().chain(ca).collect()
    }
}
