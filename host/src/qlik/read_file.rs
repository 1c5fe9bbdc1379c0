//! A file with certificates or a key: what is in it, before anything is decrypted.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{self, Decode as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::tls_error::TlsError;

/// A file that is larger is none of ours.
const MAX_FILE: u64 = 1 << 20;

/// What files are for, in messages.
pub(super) const CERTIFICATE: &str = "certificate file";
pub(super) const KEY: &str = "key file";
pub(super) const AUTHORITIES: &str = "file of certificate authorities";
pub(super) const PFX: &str = "PFX file";

/// A file that was read.
pub(super) struct ReadFile {
    what: &'static str,
    path: PathBuf,
    content: Vec<u8>,
}

impl fmt::Debug for ReadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content may be a private key.
        f.debug_struct("ReadFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ReadFile {
    /// Reads a file; `what` it is for.
    pub(super) fn read(what: &'static str, path: &Path) -> Result<Self, TlsError> {
        let unreadable = |error| TlsError::Unreadable { what, path: path.to_owned(), error };
        let mut content = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content)).map_err(unreadable)?;
        if content.len() as u64 > MAX_FILE {
            return Err(unreadable(io::Error::other("it is larger than 1 MB, so it is another file")));
        }
        Ok(Self { what, path: path.to_owned(), content })
    }

    /// What it is for.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The certificates in it, at least one: PEM, or for authorities one in DER.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.refuse_pfx()?;
        if self.what == AUTHORITIES && self.is_certificate() {
            return Ok(vec![CertificateDer::from(self.content.clone())]);
        }
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.content).collect();
        match found {
            Ok(found) if found.is_empty() => {
                Err(TlsError::NoCertificate { what: self.what, path: self.path.clone(), found: self.found() })
            }
            Ok(found) => Ok(found),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// A PFX file does not belong where PEM is wanted.
    pub(super) fn refuse_pfx(&self) -> Result<(), TlsError> {
        if self.is_pfx() {
            return Err(TlsError::Pfx { what: self.what, path: self.path.clone() });
        }
        Ok(())
    }

    /// Whether it is a PFX file (RFC 7292, 4): a sequence of the version 3 and a content with its type.
    pub(super) fn is_pfx(&self) -> bool {
        let head = der::SliceReader::new(&self.content).and_then(|mut reader| {
            let header = der::Header::decode(&mut reader)?;
            header.tag().assert_eq(der::Tag::Sequence)?;
            u8::decode(&mut reader)
        });
        head == Ok(3)
    }

    /// Whether it is text in PEM form.
    pub(super) fn is_pem(&self) -> bool {
        contains(&self.content, b"-----BEGIN ")
    }

    /// What is in it, in words: for who has looked for something else.
    pub(super) fn found(&self) -> &'static str {
        let has = |label: &str| contains(&self.content, format!("-----BEGIN {label}").as_bytes());
        if self.content.iter().all(u8::is_ascii_whitespace) {
            "it is empty (export it again)"
        } else if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") {
            "it is a request for a certificate (CSR), which an authority has yet to sign (take the files that the QMC exports)"
        } else if contains(&self.content, b"PRIVATE KEY-----") {
            "it is a private key (are certificate and key swapped?)"
        } else if has("CERTIFICATE") {
            "it is a certificate (are certificate and key swapped?)"
        } else if has("PUBLIC KEY") {
            "it is a public key (take the files that the QMC exports)"
        } else if self.is_pem() {
            "it is PEM text of another kind (take the files that the QMC exports)"
        } else if self.is_certificate() {
            "it is a certificate in DER, in binary form (turn it into PEM: `openssl x509 -inform der`)"
        } else if self.content.first() == Some(&0x30) && AnyRef::from_der(&self.content).is_ok() {
            "it is DER, in binary form (export it again in PEM form)"
        } else {
            "it is no PEM text (take the files that the QMC exports)"
        }
    }

    /// Whether it is one certificate in DER.
    pub(super) fn is_certificate(&self) -> bool {
        AnyRef::from_der(&self.content).is_ok() && X509Certificate::from_der(&self.content).is_ok()
    }

    pub(super) fn damaged(&self, reason: &impl ToString) -> TlsError {
        TlsError::Damaged { what: self.what, path: self.path.clone(), reason: reason.to_string() }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
