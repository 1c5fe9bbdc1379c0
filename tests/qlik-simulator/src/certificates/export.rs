//! The exported files in their other forms: as Windows wants them, and with encrypted keys.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use pkcs8::{LineEnding, PrivateKeyInfoRef, pkcs5::pbes2::Parameters};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;

use super::{CertificateFiles, Certificates};
use crate::ids;

/// Rounds of the key derivation. Real exports have thousands more; here the passphrase protects nothing.
const ROUNDS: u32 = 1_000;

/// Where [`Certificates::write_windows_to`] put the exported files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsFiles {
    /// Client certificate and key, with the authority: `client.pfx`.
    pub client: PathBuf,
    /// The same of the server: `server.pfx`.
    pub server: PathBuf,
    /// The certificate of the authority in DER: `root.cer`.
    pub root: PathBuf,
}

impl Certificates {
    /// The client certificate with its key and its authority as PFX (PKCS#12).
    ///
    /// # Panics
    /// When an own certificate cannot be written, which is a fault of the simulator.
    pub fn client_pfx(&self, passphrase: &str) -> Vec<u8> {
        pfx(&[(&self.0.client_key, &self.0.client)], self.0.root.der(), passphrase)
    }

    /// The server certificate with its key and its authority as PFX.
    ///
    /// # Panics
    /// As [`client_pfx`](Self::client_pfx).
    pub fn server_pfx(&self, passphrase: &str) -> Vec<u8> {
        pfx(&[(&self.0.server_key, &self.0.server)], self.0.root.der(), passphrase)
    }

    /// Both in one PFX.
    ///
    /// # Panics
    /// As [`client_pfx`](Self::client_pfx).
    pub fn both_pfx(&self, passphrase: &str) -> Vec<u8> {
        let both = [(&self.0.client_key, &self.0.client), (&*self.0.server_key, &self.0.server)];
        pfx(&both, self.0.root.der(), passphrase)
    }

    /// The authority's certificate in DER.
    pub fn root_der(&self) -> Vec<u8> {
        self.0.root.der().to_vec()
    }

    /// The client's key as PEM text, PKCS#8 encrypted with AES-256.
    ///
    /// # Panics
    /// When it cannot be encrypted, which is a fault of the simulator.
    pub fn encrypted_client_key_pem(&self, passphrase: &str) -> String {
        let key = self.0.client_key.serialize_der();
        let random = format!("{}{}", ids::random(), ids::random()).replace('-', "");
        let iv = random.as_bytes()[16..32].try_into().expect("these are 16 bytes");
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &random.as_bytes()[..16], iv);
        let parameters = parameters.expect("rounds and salt are in their limits");
        let key = PrivateKeyInfoRef::try_from(key.as_slice()).expect("the key is written in this form");
        let encrypted = key.encrypt_with_params(parameters, passphrase).expect("the parameters are sound");
        encrypted.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("it fits into memory").to_string()
    }

    /// Writes `client.pfx`, `server.pfx` and `root.cer` into `folder`, which is created if needed.
    pub fn write_windows_to(&self, folder: impl AsRef<Path>, passphrase: &str) -> io::Result<WindowsFiles> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder)?;
        let files = WindowsFiles {
            client: folder.join("client.pfx"),
            server: folder.join("server.pfx"),
            root: folder.join("root.cer"),
        };
        fs::write(&files.client, self.client_pfx(passphrase))?;
        fs::write(&files.server, self.server_pfx(passphrase))?;
        fs::write(&files.root, self.root_der())?;
        Ok(files)
    }

    /// Writes the same files as [`write_to`](Self::write_to), the key encrypted.
    pub fn write_encrypted_to(&self, folder: impl AsRef<Path>, passphrase: &str) -> io::Result<CertificateFiles> {
        let files = self.write_to(folder)?;
        fs::write(&files.client_key, self.encrypted_client_key_pem(passphrase))?;
        Ok(files)
    }
}

fn pfx(pairs: &[(&KeyPair, &CertificateDer<'_>)], root: &CertificateDer<'_>, passphrase: &str) -> Vec<u8> {
    let read = |der: &[u8]| Certificate::from_der(der).expect("it was made by ourselves");
    let mut store = KeyStore::new();
    for (number, (key, certificate)) in (1_u8..).zip(pairs) {
        let key = PrivateKey::from_der(&key.serialize_der()).expect("it was made by ourselves");
        let chain = PrivateKeyChain::new([number].as_slice(), key, [read(certificate), read(root)]);
        store.add_entry(&format!("key {number}"), KeyStoreEntry::PrivateKeyChain(chain));
    }
    let writer = store.writer(passphrase).encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
    writer.write().expect("what was read can be written")
}
