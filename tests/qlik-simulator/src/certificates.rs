//! The authority, the server certificate and the client certificate of one simulated site.

mod export;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use crate::ids;

pub use export::WindowsFiles;

/// Why certificates could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A key or certificate could not be generated.
    #[error("cannot generate certificates")]
    Generate(#[from] rcgen::Error),
    /// rustls does not accept what was generated.
    #[error("cannot set up TLS with the generated certificates")]
    Tls(#[from] rustls::Error),
    /// The check of client certificates could not be set up.
    #[error("cannot set up the check of client certificates")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// Where [`Certificates::write_to`] put the exported files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The client certificate, `client.pem`.
    pub client: PathBuf,
    /// The client's unencrypted PKCS#8 key, `client_key.pem`.
    pub client_key: PathBuf,
    /// The certificate of the authority, `root.pem`.
    pub root: PathBuf,
}

/// One authority with a server and a client certificate. Clones share the same keys.
///
/// Two values made by separate calls have nothing in common, so the second one serves as "the wrong authority" in a
/// test.
#[derive(Clone)]
pub struct Certificates(Arc<Material>);

/// When certificates end to be valid. What is absent stays valid for centuries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the certificate of that name")]
pub struct Ends {
    pub root: Option<SystemTime>,
    pub server: Option<SystemTime>,
    pub client: Option<SystemTime>,
}

struct Material {
    root: Arc<CertifiedIssuer<'static, KeyPair>>,
    client: CertificateDer<'static>,
    client_pem: String,
    client_key: KeyPair,
    server: CertificateDer<'static>,
    server_key: Arc<KeyPair>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Certificates whose server part names `localhost`, `127.0.0.1` and `::1`.
    pub fn generate() -> Result<Self, CertificateError> {
        Self::ending(Ends::default())
    }

    /// The same with ends of their own, which may be past.
    pub fn ending(ends: Ends) -> Result<Self, CertificateError> {
        let names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        Self::with_names(names, ends)
    }

    /// Certificates whose server part has a common name only, as old Qlik Sense servers made them. Clients that check
    /// host names by today's rules refuse it.
    pub fn without_subject_alt_name() -> Result<Self, CertificateError> {
        Self::with_names(Vec::new(), Ends::default())
    }

    fn with_names(names: Vec<SanType>, ends: Ends) -> Result<Self, CertificateError> {
        // The authority's name must differ per site: clients look issuers up by name.
        let mut params = named(&format!("sense1-{}.lab.local-CA", &ids::random()[..8]), ends.root);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut params = named("localhost", ends.server);
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate()?;
        let server = params.signed_by(&server_key, &root)?.der().clone();
        Self::with_client(Arc::new(root), server, Arc::new(server_key), &client_params(ends.client))
    }

    /// A new client certificate with a new key, of the same authority; the server's stays.
    pub fn renew_client(&self, end: Option<SystemTime>) -> Result<Self, CertificateError> {
        self.client_by(&client_params(end))
    }

    /// The same with a client certificate that says something else of itself than usual.
    pub fn odd_client(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Self, CertificateError> {
        let mut params = client_params(None);
        change(&mut params);
        self.client_by(&params)
    }

    fn client_by(&self, params: &CertificateParams) -> Result<Self, CertificateError> {
        Self::with_client(self.0.root.clone(), self.0.server.clone(), self.0.server_key.clone(), params)
    }

    fn with_client(
        root: Arc<CertifiedIssuer<'static, KeyPair>>,
        server: CertificateDer<'static>,
        server_key: Arc<KeyPair>,
        params: &CertificateParams,
    ) -> Result<Self, CertificateError> {
        let client_key = KeyPair::generate()?;
        let client = params.signed_by(&client_key, &*root)?;
        let (client_pem, client) = (client.pem(), client.der().clone());
        Ok(Self(Arc::new(Material { root, client, client_pem, client_key, server, server_key })))
    }

    /// The authority's certificate as PEM text.
    pub fn root_pem(&self) -> String {
        self.0.root.pem()
    }

    /// The client certificate as PEM text.
    pub fn client_pem(&self) -> &str {
        &self.0.client_pem
    }

    /// The client's key as PEM text (PKCS#8, unencrypted).
    pub fn client_key_pem(&self) -> String {
        self.0.client_key.serialize_pem()
    }

    /// Writes `client.pem`, `client_key.pem` and `root.pem` into `folder`, which is created if needed.
    pub fn write_to(&self, folder: impl AsRef<Path>) -> io::Result<CertificateFiles> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder)?;
        let files = CertificateFiles {
            client: folder.join("client.pem"),
            client_key: folder.join("client_key.pem"),
            root: folder.join("root.pem"),
        };
        fs::write(&files.client, self.client_pem())?;
        fs::write(&files.client_key, self.client_key_pem())?;
        fs::write(&files.root, self.root_pem())?;
        Ok(files)
    }

    /// TLS settings for a client that shows the client certificate and trusts this authority only.
    pub fn client_config(&self) -> Result<ClientConfig, CertificateError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        Ok(builder.with_client_auth_cert(vec![self.0.client.clone()], key(&self.0.client_key))?)
    }

    /// TLS settings for a client that trusts this authority but shows no certificate.
    pub fn anonymous_client_config(&self) -> Result<ClientConfig, CertificateError> {
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth())
    }

    /// TLS settings of the server: a client certificate of this authority is required.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider())
            .build()
            .map_err(CertificateError::Verifier)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.0.server.clone()], key(&self.0.server_key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// TLS settings of a server that asks nobody for a certificate.
    pub(crate) fn open_server_config(&self) -> Result<ServerConfig, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.0.server.clone()], key(&self.0.server_key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, CertificateError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.root.der().clone())?;
        Ok(roots)
    }
}

/// The process-wide default is left alone: several crates of one test binary may want different ones.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client_params(end: Option<SystemTime>) -> CertificateParams {
    let mut params = named("QlikClient", end);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(common_name: &str, end: Option<SystemTime>) -> CertificateParams {
    let mut params = CertificateParams::default();
    if let Some(end) = end {
        params.not_after = end.into();
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn key(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
}
