//! TLS settings from certificate files.
//!
//! Used for Qlik Sense and for the TLS profiles of plugins. The crypto provider is given explicitly everywhere, since
//! the process-wide default may belong to somebody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::verify::Lenient;
use crate::config::{Certificates, TlsProfile, Verify};

/// Why there are no TLS settings. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the {what} {} cannot be read: {error}", .path.display())]
    Unreadable {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is no proper PEM.
    #[error("the {what} {} is damaged: {reason} (export it again in PEM form)", .path.display())]
    Damaged {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file has no certificate in it.
    #[error(
        "the {what} {} has no certificate in it: a PEM file with `-----BEGIN CERTIFICATE-----` is needed",
        .path.display()
    )]
    NoCertificate {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file has no private key in it.
    #[error(
        "the key file {} has no private key in it: a PEM file with `-----BEGIN PRIVATE KEY-----` or \
         `-----BEGIN RSA PRIVATE KEY-----` is needed",
        .0.display()
    )]
    NoKey(PathBuf),
    /// A private key is encrypted.
    #[error("the private key in {} is encrypted: export it without a password", .0.display())]
    EncryptedKey(PathBuf),
    /// A private key cannot be used.
    #[error(
        "the private key in {} cannot be used: {reason} (RSA of 2048 bits or more, P-256, P-384 or Ed25519 can)",
        .path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the private key in {} does not belong to the certificate in {}: take both from the same export",
        .key.display(), .certificate.display()
    )]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// A profile has a certificate without its key, or the other way round.
    #[error("a client certificate needs both `client` and `key`; only `{0}` is given")]
    Incomplete(&'static str),
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// The authorities that the system trusts.
    System,
    /// Those in a PEM file.
    File(&'a Path),
}

/// Who we are: two PEM files.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Client certificate, followed by those that lead to its authority.
    pub certificate: &'a Path,
    /// Private key: PKCS#1, PKCS#8 or SEC1, not encrypted.
    pub key: &'a Path,
}

/// The authorities that the system trusts.
#[derive(Debug)]
pub struct SystemRoots {
    /// Their certificates; may be none, for instance in a minimal container.
    pub store: Arc<RootCertStore>,
    /// How many certificates or files could not be read.
    pub unreadable: usize,
}

/// The authorities that the system trusts, read at the first call.
pub fn system_roots() -> &'static SystemRoots {
    static ROOTS: OnceLock<SystemRoots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (usable, unusable) = store.add_parsable_certificates(found.certs);
        let unreadable = unusable + found.errors.len();
        for error in &found.errors {
            tracing::debug!("an authority of the system cannot be read: {error}");
        }
        if usable == 0 {
            tracing::warn!("the system has no certificate authorities: connections need a `ca` of their own");
        }
        SystemRoots { store: Arc::new(store), unreadable }
    })
}

/// TLS settings for the connection to Qlik Sense.
pub(super) fn qlik(certificates: &Certificates, verify: Verify) -> Result<ClientConfig, TlsError> {
    let identity = Identity { certificate: &certificates.client, key: &certificates.key };
    client_config(Roots::File(&certificates.ca), Some(identity), verify)
}

/// TLS settings for a profile under `tls:` of the config.
pub fn profile(profile: &TlsProfile) -> Result<ClientConfig, TlsError> {
    let identity = match (&profile.client, &profile.key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return Err(TlsError::Incomplete("client")),
        (None, Some(_)) => return Err(TlsError::Incomplete("key")),
    };
    client_config(profile.ca.as_deref().map_or(Roots::System, Roots::File), identity, profile.verify)
}

/// TLS settings of a client. With [`Verify::None`] the roots are not read.
pub fn client_config(
    roots: Roots<'_>,
    identity: Option<Identity<'_>>,
    verify: Verify,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match verify {
        Verify::Full => builder.with_root_certificates(load_roots(roots)?),
        Verify::Chain => {
            let verifier = Lenient::chain(load_roots(roots)?, algorithms);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Verify::None => builder.dangerous().with_custom_certificate_verifier(Lenient::any(algorithms)),
    };
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = load_certificates("certificate file", identity.certificate)?;
    let key = load_key(identity.key, &provider)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: identity.certificate.to_owned(), key: identity.key.to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => TlsError::Damaged {
            what: "certificate file",
            path: identity.certificate.to_owned(),
            reason: error.to_string(),
        },
        other => TlsError::Library(other),
    })
}

fn load_roots(roots: Roots<'_>) -> Result<Arc<RootCertStore>, TlsError> {
    const WHAT: &str = "file of certificate authorities";
    let path = match roots {
        Roots::System => return Ok(system_roots().store.clone()),
        Roots::File(path) => path,
    };
    let mut store = RootCertStore::empty();
    let mut refused = None;
    for certificate in load_certificates(WHAT, path)? {
        if let Err(error) = store.add(certificate) {
            refused = Some(error.to_string());
        }
    }
    match refused {
        // One good authority is enough: bundles may hold some of an odd form.
        Some(reason) if store.is_empty() => Err(TlsError::Damaged { what: WHAT, path: path.to_owned(), reason }),
        _ => Ok(Arc::new(store)),
    }
}

fn load_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::NoCertificate { what, path: path.to_owned() }),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Damaged { what, path: path.to_owned(), reason: error.to_string() }),
    }
}

fn load_key(path: &Path, provider: &CryptoProvider) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "key file";
    let text = read(WHAT, path)?;
    // Either form of encryption says so in plain text: as the label of the section, or in a header inside it.
    if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&text, b"4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey(path.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        other => TlsError::Damaged { what: WHAT, path: path.to_owned(), reason: other.to_string() },
    })?;
    match provider.key_provider.load_private_key(key.clone_key()) {
        Ok(_) => Ok(key),
        Err(error) => Err(TlsError::BadKey { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable { what, path: path.to_owned(), error })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use qlik_simulator::{CertificateFiles, Certificates as Generated};
    use tempfile::TempDir;

    use super::*;

    /// A self-signed RSA certificate and its key in PKCS#1, made for this test only.
    const RSA: (&str, &str) = (include_str!("testdata/rsa_client.pem"), include_str!("testdata/rsa_client_key.pem"));

    fn files() -> (TempDir, CertificateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = Generated::generate().unwrap().write_to(folder.path()).unwrap();
        (folder, files)
    }

    fn config(files: &CertificateFiles, verify: Verify) -> Result<ClientConfig, TlsError> {
        let certificates =
            Certificates { client: files.client.clone(), key: files.client_key.clone(), ca: files.root.clone() };
        qlik(&certificates, verify)
    }

    fn text(files: &CertificateFiles) -> String {
        config(files, Verify::Full).unwrap_err().to_string()
    }

    #[test]
    fn all_forms_of_keys_are_taken() {
        let (_folder, mut files) = files();
        for verify in [Verify::Full, Verify::Chain, Verify::None] {
            config(&files, verify).unwrap();
        }

        // PKCS#8 wraps SEC1: a sequence that begins with the number 1.
        let pkcs8 = PrivateKeyDer::from_pem_file(&files.client_key).unwrap();
        let der = pkcs8.secret_der();
        let at = der.windows(5).position(|w| w[0] == 0x30 && w[2..] == [0x02, 0x01, 0x01]).unwrap();
        let body = STANDARD.encode(&der[at..at + 2 + usize::from(der[at + 1])]);
        fs::write(&files.client_key, format!("-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n"))
            .unwrap();
        config(&files, Verify::Full).unwrap();

        // PKCS#1, with the attributes in front that some exports have.
        fs::write(&files.client, RSA.0).unwrap();
        files.client_key = files.client.with_file_name("rsa.pem");
        fs::write(&files.client_key, format!("Bag Attributes\n    friendlyName: x\n{}", RSA.1)).unwrap();
        assert!(RSA.1.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        config(&files, Verify::Full).unwrap();
    }

    #[test]
    fn unreadable_files_are_named() {
        let (_folder, good) = files();
        let missing = good.client.with_file_name("missing.pem");
        for (files, what) in [
            (CertificateFiles { client: missing.clone(), ..good.clone() }, "certificate file"),
            (CertificateFiles { client_key: missing.clone(), ..good.clone() }, "key file"),
            (CertificateFiles { root: missing.clone(), ..good.clone() }, "file of certificate authorities"),
        ] {
            let text = text(&files);
            assert!(text.contains(what) && text.contains("missing.pem"), "{text}");
        }
        // Nothing is checked against the authority then.
        config(&CertificateFiles { root: missing, ..good }, Verify::None).unwrap();
    }

    #[test]
    fn swapped_and_empty_files_are_told_apart() {
        let (_folder, good) = files();
        let swapped =
            CertificateFiles { client: good.client_key.clone(), client_key: good.client.clone(), ..good.clone() };
        assert!(text(&swapped).contains("client_key.pem has no certificate in it"));
        let twice = CertificateFiles { client_key: good.client.clone(), ..good.clone() };
        assert!(text(&twice).contains("client.pem has no private key in it"));
        let empty = good.root.with_file_name("empty.pem");
        fs::write(&empty, "").unwrap();
        let without_root = CertificateFiles { root: empty, ..good };
        assert!(text(&without_root).contains("empty.pem has no certificate in it"));
    }

    #[test]
    fn keys_that_cannot_be_used_say_why() {
        let (_folder, good) = files();
        let (_other_folder, other) = files();
        let mixed = CertificateFiles { client_key: other.client_key, ..good.clone() };
        assert!(text(&mixed).contains("does not belong to the certificate"), "{}", text(&mixed));

        let begin_end = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (content, expected) in [
            (begin_end("ENCRYPTED PRIVATE KEY", "AAAA"), "is encrypted"),
            (begin_end("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA"), "is encrypted"),
            (begin_end("RSA PRIVATE KEY", "AAAA"), "cannot be used"),
            (begin_end("PRIVATE KEY", "*not base64*"), "is damaged"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA".to_owned(), "is damaged"),
        ] {
            fs::write(&good.client_key, content).unwrap();
            assert!(text(&good).contains(expected), "{}", text(&good));
        }
    }

    #[test]
    fn profiles_take_the_system_s_authorities_or_their_own() {
        let (_folder, files) = files();
        profile(&TlsProfile::default()).unwrap();
        profile(&TlsProfile { ca: Some(files.root.clone()), ..TlsProfile::default() }).unwrap();
        let half = TlsProfile { client: Some(files.client.clone()), ..TlsProfile::default() };
        assert!(profile(&half).unwrap_err().to_string().contains("only `client`"));
        profile(&TlsProfile { key: Some(files.client_key), verify: Verify::Chain, ..half }).unwrap();
    }
}
