//! The certificate files of the connection to Qlik Sense.
//!
//! They are read first and compared by their hash; only what is new is opened, since decrypting is slow on purpose.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::certificates::{self, CertificateFacts, CertificateRole, ClientUse};
use super::keys;
use super::pfx::Pfx;
use super::read_file::{AUTHORITIES, CERTIFICATE, KEY, PFX, ReadFile};
use super::tls;
use super::tls_error::TlsError;
use super::verify::Shown;
use crate::config::{Certificates, ClientFiles, Passphrase, TlsProfile, Verify};

/// Opening the files takes at most so long, whatever they ask for. It takes a second at most if nobody means harm.
const LONGEST: Duration = Duration::from_secs(30);

/// The files, read at one time.
#[derive(Debug)]
pub(super) struct Files {
    client: ReadClient,
    /// Absent when nothing is checked against it.
    ca: Option<ReadFile>,
    passphrase: Option<Passphrase>,
    verify: Verify,
}

#[derive(Debug)]
enum ReadClient {
    Pem { certificate: ReadFile, key: ReadFile },
    Pfx(ReadFile),
}

impl Files {
    /// Reads them.
    pub(super) fn read(config: &Certificates, verify: Verify) -> Result<Self, TlsError> {
        let client = match &config.client {
            ClientFiles::Pem { certificate, key } => ReadClient::Pem {
                certificate: ReadFile::read(CERTIFICATE, certificate)?,
                key: ReadFile::read(KEY, key)?,
            },
            ClientFiles::Pfx(file) => ReadClient::Pfx(ReadFile::read(PFX, file)?),
        };
        let ca = config.ca.as_deref().filter(|_| verify != Verify::None);
        let ca = ca.map(|ca| ReadFile::read(AUTHORITIES, ca)).transpose()?;
        Ok(Self { client, ca, passphrase: config.passphrase.clone(), verify })
    }

    /// Tells one content from another.
    pub(super) fn hash(&self) -> [u8; 32] {
        let client = match &self.client {
            ReadClient::Pem { certificate, key } => [Some(certificate), Some(key)],
            ReadClient::Pfx(file) => [Some(file), None],
        };
        let mut hash = Sha256::new();
        for file in client.into_iter().chain([self.ca.as_ref()]).flatten() {
            // Each by itself, so that what moves from one to the next makes a difference.
            hash.update(Sha256::digest(file.content()));
        }
        hash.finalize().into()
    }

    /// Takes out what is in them.
    pub(super) fn open(self) -> Result<Opened, TlsError> {
        self.open_within(LONGEST)
    }

    pub(super) fn open_within(self, longest: Duration) -> Result<Opened, TlsError> {
        let (ReadClient::Pem { key: file, .. } | ReadClient::Pfx(file)) = &self.client;
        let (what, path) = (file.what(), file.path().to_owned());
        let (done, opened) = mpsc::channel();
        // A thread of its own can be left behind.
        let work = thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            // Nobody waits for it any more.
            let _ = done.send(self.open_here());
        });
        work.map_err(|error| TlsError::Unreadable { what, path: path.clone(), error })?;
        match opened.recv_timeout(longest) {
            Ok(opened) => opened,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(TlsError::TooCostly { what, path, cost: format!("more than {} s", longest.as_secs()) })
            }
            // It panicked, which was logged.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(TlsError::Damaged { what, path, reason: "its form is odd".to_owned() })
            }
        }
    }

    fn open_here(self) -> Result<Opened, TlsError> {
        let passphrase = self.passphrase.as_ref();
        let mut own = None;
        let (client, encrypted) = match &self.client {
            ReadClient::Pem { certificate, key } => {
                let key_file = key.path().to_owned();
                let (chain, key) = (certificate.certificates()?, keys::load(key, passphrase)?);
                let client = Client { chain, key: key.der, file: certificate.path().to_owned(), key_file };
                (client, key.encrypted)
            }
            ReadClient::Pfx(file) => {
                let Pfx { chain, key, authorities, encrypted } = Pfx::open(file, passphrase)?;
                let path = file.path().to_owned();
                if let Some(first) = chain.first() {
                    ClientUse::of(first).check(&path)?;
                }
                own = Some(Authorities { certificates: authorities, what: PFX, file: path.clone() });
                (Client { chain, key, file: path.clone(), key_file: path }, encrypted)
            }
        };
        let authorities = match &self.ca {
            _ if self.verify == Verify::None => None,
            Some(ca) => Some(Authorities::of(ca)?),
            None => own,
        };
        if let Some(none) = authorities.as_ref().filter(|known| known.certificates.is_empty()) {
            return Err(TlsError::PfxWithoutAuthority(none.file.clone()));
        }
        Ok(Opened { client, authorities, unused_passphrase: passphrase.is_some() && !encrypted, verify: self.verify })
    }
}

/// Whether the files can be used: they are read, opened and put together as for a connection.
pub fn check_files(paths: &Certificates, verify: Verify) -> Result<(), TlsError> {
    Files::read(paths, verify)?.open()?.tls(&Arc::default()).map(|_| ())
}

/// The certificates of a profile under `tls:` whose end matters: its client certificate, and of its authorities the one that is
/// valid longest.
pub fn profile_certificates(profile: &TlsProfile) -> Result<Vec<CertificateFacts>, TlsError> {
    // All in it can be used.
    tls::profile(profile)?;
    let mut all = Vec::new();
    if let (Some(certificate), Some(key)) = (&profile.client, &profile.key) {
        let client = Client::plain(certificate, key)?;
        let own = client.chain.first();
        all.extend(own.and_then(|own| CertificateFacts::read(CertificateRole::Client, Some(certificate), own)));
    }
    if let Some(ca) = profile.ca.as_deref().filter(|_| profile.verify != Verify::None) {
        let known = ReadFile::read(AUTHORITIES, ca)?.certificates()?;
        all.extend(certificates::authority(ca, &known, &[]));
    }
    Ok(all)
}

/// A client certificate with its key.
pub(super) struct Client {
    /// The certificate, and those that lead to its authority; at least one.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub(super) key: PrivateKeyDer<'static>,
    /// The file of the certificate.
    pub(super) file: PathBuf,
    /// The file of the key, which may be the same.
    pub(super) key_file: PathBuf,
}

impl Client {
    /// From two PEM files, the key not encrypted.
    pub(super) fn plain(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::of(&ReadFile::read(CERTIFICATE, certificate)?, &ReadFile::read(KEY, key)?)
    }

    /// The same from files that were read.
    pub(super) fn of(certificate: &ReadFile, key: &ReadFile) -> Result<Self, TlsError> {
        let (chain, loaded) = (certificate.certificates()?, keys::load(key, None)?);
        Ok(Self { chain, key: loaded.der, file: certificate.path().to_owned(), key_file: key.path().to_owned() })
    }
}

/// Certificates of authorities.
#[derive(Debug)]
pub(super) struct Authorities {
    /// The certificates.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// What their file is for.
    pub(super) what: &'static str,
    /// Their file.
    pub(super) file: PathBuf,
}

impl Authorities {
    /// Those in a file, at least one.
    pub(super) fn of(file: &ReadFile) -> Result<Self, TlsError> {
        Ok(Self { certificates: file.certificates()?, what: file.what(), file: file.path().to_owned() })
    }

    pub(super) fn damaged(&self, reason: &impl ToString) -> TlsError {
        TlsError::Damaged { what: self.what, path: self.file.clone(), reason: reason.to_string() }
    }
}

/// What is in the files.
pub(super) struct Opened {
    /// Who Butler is.
    pub(super) client: Client,
    /// Who vouches for Qlik Sense; absent when nothing is checked.
    pub(super) authorities: Option<Authorities>,
    /// A passphrase is given, and nothing is encrypted.
    pub(super) unused_passphrase: bool,
    verify: Verify,
}

impl Opened {
    /// TLS settings by them.
    pub(super) fn tls(&self, shown: &Arc<Shown>) -> Result<ClientConfig, TlsError> {
        tls::qlik(self, self.verify, shown)
    }

    /// The certificates in them whose end matters.
    pub(super) fn certificates(&self) -> Vec<CertificateFacts> {
        let Some(own) = self.client.chain.first() else { return Vec::new() };
        let client = CertificateFacts::read(CertificateRole::Client, Some(&self.client.file), own);
        let known = self.authorities.as_ref();
        let ca = known.and_then(|known| certificates::authority(&known.file, &known.certificates, own));
        client.into_iter().chain(ca).collect()
    }
}
