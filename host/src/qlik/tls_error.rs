//! Why certificate files cannot be used.

use std::io;
use std::path::PathBuf;

/// Why there are no TLS settings. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the {what} {} cannot be read: {error} (is the path right, and may Butler read the file?)", .path.display())]
    Unreadable {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not have its form.
    #[error("the {what} {} is damaged: {reason} (export it again)", .path.display())]
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
        "the {what} {} has no certificate in it: {found}; a PEM file with `-----BEGIN CERTIFICATE-----` is needed",
        .path.display()
    )]
    NoCertificate {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is in it, and what to do.
        found: &'static str,
    },
    /// A file has no private key in it.
    #[error(
        "the key file {} has no private key in it: {found}; a PEM file with `-----BEGIN PRIVATE KEY-----` or \
         `-----BEGIN RSA PRIVATE KEY-----` is needed",
        .path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is in it, and what to do.
        found: &'static str,
    },
    /// A file is encrypted, and there is no passphrase for it.
    #[error(
        "the {what} {} is encrypted, and there is no passphrase: give Qlik Sense's as `certificates.passphrase` \
         (`${{env:NAME}}` or `${{file:PATH}}`); any other export without one",
        .path.display()
    )]
    NoPassphrase {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is another one.
    #[error(
        "the passphrase does not open the {what} {}: is `certificates.passphrase` the one of this export, and the file \
         whole?",
        .path.display()
    )]
    WrongPassphrase {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Encryption that is not known.
    #[error(
        "the {what} {} is encrypted in a way that Butler does not know, {found}: export it again, or turn it into PEM \
         with AES (`openssl pkcs8 -topk8 -v2 aes256`, `openssl pkcs12 -aes256`)",
        .path.display()
    )]
    UnknownEncryption {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its name or number.
        found: String,
    },
    /// Opening a file would take too long.
    #[error(
        "opening the {what} {} takes more work than any usual export asks for ({cost}): export it again",
        .path.display()
    )]
    TooCostly {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// How much.
        cost: String,
    },
    /// A PFX file stands in place of another one.
    #[error(
        "the {what} {} is a PFX file: give Qlik Sense's as `certificates.pfx` in place of `client` and `key`; elsewhere a \
         PEM file is needed",
        .path.display()
    )]
    Pfx {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Something else stands in place of a PFX file.
    #[error("the PFX file {} cannot be used, it is {found}: {remedy}", .path.display())]
    NoPfx {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A PFX file has no private key in it.
    #[error("the PFX file {} has no private key in it: export it again from the QMC, with the secret key", .0.display())]
    PfxWithoutKey(PathBuf),
    /// A PFX file has no certificate for its key in it.
    #[error(
        "the PFX file {} has no certificate for its private key in it: take `client.pfx` of an export from the QMC",
        .0.display()
    )]
    PfxWithoutCertificate(PathBuf),
    /// Nobody is known who could vouch for Qlik Sense.
    #[error(
        "the PFX file {} has no certificate authority in it: give the one of the same export as `certificates.ca` \
         (`root.cer` or `root.pem`)",
        .0.display()
    )]
    PfxWithoutAuthority(PathBuf),
    /// The same without a PFX file.
    #[error("`certificates.ca` is missing: without it nothing can be checked")]
    NoAuthority,
    /// A certificate is not for clients.
    #[error(
        "the certificate in {} ({subject}) is not for clients but for other uses: take the client's files of the export \
         (`client.pfx`, `client.pem`), not the server's",
        .path.display()
    )]
    NotForClients {
        /// Its file.
        path: PathBuf,
        /// Whom it names.
        subject: String,
    },
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
    /// A client certificate is not valid any more.
    #[error("the certificate in {} has expired ({on}): export a new one from the QMC", .path.display())]
    Expired {
        /// Its file.
        path: PathBuf,
        /// The day.
        on: String,
    },
    /// A profile has a certificate without its key, or the other way round.
    #[error("a client certificate needs both `client` and `key`; only `{0}` is given")]
    Incomplete(&'static str),
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}
