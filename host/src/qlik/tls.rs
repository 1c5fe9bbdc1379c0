//! TLS settings from certificate files.
//!
//! Used for Qlik Sense and for the TLS profiles of plugins. The crypto provider is given explicitly everywhere, since
//! the process-wide default may belong to somebody else.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::files::{Authorities, Client, Opened};
use super::read_file::{AUTHORITIES, CERTIFICATE, ReadFile};
use super::tls_error::TlsError;
use super::verify::{Accepts, Shown, Watch};
use crate::config::{TlsProfile, Verify};

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

/// TLS settings for the connection to Qlik Sense. Authorities are needed unless nothing is checked. `shown` learns of the
/// server's certificates that are checked.
pub(super) fn qlik(opened: &Opened, verify: Verify, shown: &Arc<Shown>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match (verify, &opened.authorities) {
        (Verify::Full, Some(ca)) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(store(ca)?, provider.clone()).build();
            Watch::over(verifier.map_err(|error| ca.damaged(&error))?, shown)
        }
        (Verify::Chain, Some(ca)) => Watch::over(Accepts::chain(store(ca)?, algorithms), shown),
        (Verify::Full | Verify::Chain, None) => return Err(TlsError::NoAuthority),
        (Verify::None, _) => Accepts::any(algorithms),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    with_client(builder.dangerous().with_custom_certificate_verifier(verifier), &opened.client)
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

/// TLS settings of a client that accepts one certificate alone, whatever its name and age; its SHA-256 in hexadecimal digits.
pub fn pinned(fingerprint: &str) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Accepts::one(fingerprint, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// TLS settings of a client. With [`Verify::None`] the roots are not read.
pub fn client_config(
    roots: Roots<'_>,
    identity: Option<Identity<'_>>,
    verify: Verify,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match verify {
        Verify::Full => builder.with_root_certificates(trusted(roots)?),
        Verify::Chain => {
            let verifier = Accepts::chain(trusted(roots)?, algorithms);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Verify::None => builder.dangerous().with_custom_certificate_verifier(Accepts::any(algorithms)),
    };
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { certificate, key }) => with_client(builder, &Client::plain(certificate, key)?),
    }
}

fn with_client(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    client: &Client,
) -> Result<ClientConfig, TlsError> {
    builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).map_err(|error| refused(client, error))
}

/// Why the library does not take a certificate with its key.
pub(super) fn refused(own: &Client, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: own.file.clone(), key: own.key_file.clone() }
        }
        rustls::Error::InvalidCertificate(_) => {
            TlsError::Damaged { what: CERTIFICATE, path: own.file.clone(), reason: error.to_string() }
        }
        other => TlsError::Library(other),
    }
}

fn trusted(roots: Roots<'_>) -> Result<Arc<RootCertStore>, TlsError> {
    match roots {
        Roots::System => Ok(system_roots().store.clone()),
        Roots::File(path) => store(&Authorities::of(&ReadFile::read(AUTHORITIES, path)?)?),
    }
}

pub(super) fn store(authorities: &Authorities) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    let mut refused = None;
    for certificate in &authorities.certificates {
        if let Err(error) = store.add(certificate.clone()) {
            refused = Some(error);
        }
    }
    match refused {
        // One good authority is enough: bundles may hold some of an odd form.
        Some(reason) if store.is_empty() => Err(authorities.damaged(&reason)),
        _ => Ok(Arc::new(store)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use qlik_simulator::{CertificateFiles, Certificates as Generated};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use tempfile::TempDir;

    use super::*;
    use crate::config::Certificates;
    use crate::qlik::files::Files;

    /// A self-signed RSA certificate and its key in PKCS#1, made for this test only.
    const RSA: (&str, &str) = (include_str!("testdata/rsa_client.pem"), include_str!("testdata/rsa_client_key.pem"));

    fn files() -> (TempDir, CertificateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = Generated::generate().unwrap().write_to(folder.path()).unwrap();
        (folder, files)
    }

    fn config(files: &CertificateFiles, verify: Verify) -> Result<ClientConfig, TlsError> {
        let certificates = Certificates::pem(&files.client, &files.client_key, &files.root);
        Files::read(&certificates, verify)?.open()?.tls(&Arc::default())
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
    fn swapped_empty_and_huge_files_are_told_apart() {
        let (_folder, good) = files();
        let swapped =
            CertificateFiles { client: good.client_key.clone(), client_key: good.client.clone(), ..good.clone() };
        assert!(text(&swapped).contains("client_key.pem has no certificate in it"));
        let twice = CertificateFiles { client_key: good.client.clone(), ..good.clone() };
        assert!(text(&twice).contains("client.pem has no private key in it"));
        let empty = good.root.with_file_name("empty.pem");
        fs::write(&empty, "").unwrap();
        let without_root = CertificateFiles { root: empty, ..good.clone() };
        assert!(text(&without_root).contains("empty.pem has no certificate in it"));
        let huge = good.root.with_file_name("huge.pem");
        fs::write(&huge, fs::read(&good.root).unwrap().repeat(2_000)).unwrap();
        let with_huge = CertificateFiles { root: huge, ..good };
        assert!(text(&with_huge).contains("huge.pem cannot be read: it is larger than 1 MB"), "{}", text(&with_huge));
    }

    #[test]
    fn keys_that_cannot_be_used_say_why() {
        let (_folder, good) = files();
        let (_other_folder, other) = files();
        let mixed = CertificateFiles { client_key: other.client_key, ..good.clone() };
        assert!(text(&mixed).contains("does not belong to the certificate"), "{}", text(&mixed));

        let begin_end = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (content, expected) in [
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
        let whole = TlsProfile { key: Some(files.client_key.clone()), verify: Verify::Chain, ..half };
        profile(&whole).unwrap();
        // Passphrases are Qlik Sense's alone; an authority in DER does no harm.
        let generated = Generated::generate().unwrap();
        fs::write(&files.root, generated.root_der()).unwrap();
        profile(&TlsProfile { ca: Some(files.root), ..TlsProfile::default() }).unwrap();
        fs::write(&files.client_key, generated.encrypted_client_key_pem("pass")).unwrap();
        let text = profile(&whole).unwrap_err().to_string();
        assert!(text.contains("any other export without one"), "{text}");
    }
}
