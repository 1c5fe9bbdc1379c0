//! PFX files (PKCS#12, RFC 7292), in which Windows keeps a certificate together with its key.

use p12_keystore::error::Error;
use p12_keystore::{Pkcs12Archive, PrivateKeyBag};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::certificates::ClientUse;
use super::read_file::ReadFile;
use super::tls_error::TlsError;
use crate::config::Passphrase;

/// What is in a PFX file.
pub(super) struct Pfx {
    /// The client certificate, and those that lead to its authority.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(super) key: PrivateKeyDer<'static>,
    /// Certificates of authorities.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Whether the passphrase was needed.
    pub(super) encrypted: bool,
}

impl Pfx {
    /// Opens it.
    pub(super) fn open(file: &ReadFile, passphrase: Option<&Passphrase>) -> Result<Self, TlsError> {
        check_kind(file)?;
        let (archive, encrypted) = decrypt(file, passphrase)?;
        let all: Vec<CertificateDer<'static>> =
            archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
        let (own, key) = client(file, &archive.keys, &all)?;
        let authorities = all.iter().filter(|other| **other != own && is_authority(other)).cloned().collect();
        Ok(Self { chain: chain(own, &all), key, authorities, encrypted })
    }
}

fn check_kind(file: &ReadFile) -> Result<(), TlsError> {
    let (found, remedy) = if file.is_pem() {
        ("PEM text", "name certificate and key as `client` and `key` in place of `pfx`")
    } else if file.is_certificate() {
        ("a certificate without key", "take `client.pfx` of the export")
    } else if file.is_pfx() {
        return Ok(());
    } else if file.content().starts_with(&[0x30, 0x80]) {
        // A sequence of open length, as Java and browsers write it.
        ("in the form BER", "write it anew, in DER (`openssl pkcs12` into PEM, then `openssl pkcs12 -export`)")
    } else {
        ("of another kind", "take `client.pfx` of an export from the QMC")
    };
    Err(TlsError::NoPfx { path: file.path().to_owned(), found, remedy })
}

/// The content, and whether the passphrase was needed for it.
fn decrypt(file: &ReadFile, passphrase: Option<&Passphrase>) -> Result<(Pkcs12Archive, bool), TlsError> {
    let (what, path) = (file.what(), file.path().to_owned());
    let open = |passphrase: &str| Pkcs12Archive::from_pkcs12(file.content(), passphrase);
    let given = passphrase.map_or("", Passphrase::reveal);
    // Such files use the 16 bits of a character for the key.
    if given.chars().any(|c| u32::from(c) > 0xffff) {
        return Err(TlsError::UnknownEncryption {
            what,
            path,
            found: "a passphrase with emoji or the like".to_owned(),
        });
    }
    match open(given) {
        Ok(archive) => Ok((archive, passphrase.is_some())),
        Err(Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_)) => match passphrase {
            None => Err(TlsError::NoPassphrase { what, path }),
            // A file without a passphrase has the empty one.
            Some(_) => match open("") {
                Ok(archive) => Ok((archive, false)),
                Err(_) => Err(TlsError::WrongPassphrase { what, path }),
            },
        },
        Err(Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm) => {
            Err(TlsError::UnknownEncryption { what, path, found: "neither AES, 3DES nor RC2 with 40 bits".to_owned() })
        }
        Err(Error::InvalidParameters) => Err(TlsError::TooCostly {
            what,
            path,
            cost: "more than 1,000,000 rounds, or memory without end (if not, it is damaged)".to_owned(),
        }),
        Err(error) => Err(file.damaged(&error)),
    }
}

/// The client certificate with its key. If several have their keys here, of those for clients the one that is valid longest.
fn client(
    file: &ReadFile,
    keys: &[PrivateKeyBag],
    certificates: &[CertificateDer<'static>],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
    let mut pairs = Vec::new();
    let mut bad = None;
    for bag in keys {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()));
        let usable = match any_supported_type(&key) {
            Ok(usable) => usable,
            Err(error) => {
                bad = Some(TlsError::BadKey { path: file.path().to_owned(), reason: error.to_string() });
                continue;
            }
        };
        for own in certificates {
            if CertifiedKey::new(vec![own.clone()], usable.clone()).keys_match().is_ok() {
                pairs.push((own, key.clone_key(), ClientUse::of(own)));
            }
        }
    }
    if keys.is_empty() {
        return Err(TlsError::PfxWithoutKey(file.path().to_owned()));
    }
    let longest = pairs.into_iter().max_by_key(|(.., usage)| (usage.allowed, usage.ends_ms));
    let Some((own, key, usage)) = longest else {
        return Err(bad.unwrap_or_else(|| TlsError::PfxWithoutCertificate(file.path().to_owned())));
    };
    usage.check(file.path())?;
    Ok((own.clone(), key))
}

/// A certificate followed by those that lead to its authority, which itself is left out: the other side has it.
fn chain(own: CertificateDer<'static>, all: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![own];
    while let Some(next) = all.iter().find(|next| !chain.contains(next) && issued(next, &chain[chain.len() - 1])) {
        chain.push(next.clone());
    }
    chain
}

/// Whether a certificate is that of the issuer of another, and in between: not issued by itself.
fn issued(issuer: &[u8], other: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, other))) = (X509Certificate::from_der(issuer), X509Certificate::from_der(other))
    else {
        return false;
    };
    let subject = issuer.subject().as_raw();
    subject == other.issuer().as_raw() && subject != issuer.issuer().as_raw()
}

/// Whether it may issue others; old ones do not say so but have issued themselves.
fn is_authority(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, it)| it.is_ca() || it.subject().as_raw() == it.issuer().as_raw())
}
