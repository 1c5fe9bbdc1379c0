//! The HTTP client for Qlik Sense, which is made anew when the certificate files are renewed.
//!
//! Qlik Sense may replace its certificates by itself, and they expire; who then exports them again should not have to
//! restart Butler. Files that cannot be used, half written ones for instance, leave the former client in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::redirect;
use rustls::ClientConfig;
use tokio::sync::Mutex;

use super::certificates::{CertificateFacts, CertificateRole};
use super::error::QlikError;
use super::files::Files;
use super::repository::Limits;
use super::tls::TlsError;
use super::verify::Shown;
use crate::config::{self, Certificates, Verify};
use crate::current::Current;

/// The client in use, and how to make the next.
#[derive(Debug)]
pub(super) struct Connection {
    paths: Certificates,
    verify: Verify,
    limits: Limits,
    made: Current<Made>,
    shown: Arc<Shown>,
    look: Mutex<Look>,
}

/// A client and what it was made of.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) client: reqwest::Client,
    /// For what is no HTTP.
    pub(super) tls: Arc<ClientConfig>,
    certificates: Vec<CertificateFacts>,
    hash: [u8; 32],
}

/// What is known of the last look at the files.
#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// Why they could not be used, if that was so.
    trouble: Option<String>,
}

impl Connection {
    /// Reads the files.
    pub(super) fn new(config: &config::Qlik, limits: Limits) -> Result<Self, QlikError> {
        let (paths, verify, shown) = (config.certificates.clone(), config.verify, Arc::default());
        let setup = |error: TlsError| QlikError::Setup(error.to_string());
        let made = make(&Files::read(&paths, verify).map_err(setup)?, verify, limits, &shown)?;
        Ok(Self { paths, verify, limits, made: Current::new(made), shown, look: Mutex::default() })
    }

    /// The client in use.
    pub(super) fn made(&self) -> Arc<Made> {
        self.made.get()
    }

    /// The certificates whose end matters: those in the files, and the server's once it has shown it.
    pub(super) fn certificates(&self) -> Vec<CertificateFacts> {
        self.made().certificates.iter().cloned().chain(self.shown.get()).collect()
    }

    /// Looks whether the files have changed, at most once in `apart`; whether another client than `used` is in use now.
    pub(super) async fn renew(&self, used: &Made, apart: Duration) -> bool {
        let mut look = self.look.lock().await;
        if self.made().hash != used.hash {
            return true;
        }
        if look.at.is_some_and(|at| at.elapsed() < apart) {
            return false;
        }
        let (paths, verify, limits, shown) = (self.paths.clone(), self.verify, self.limits, self.shown.clone());
        let hash = used.hash;
        let found = tokio::task::spawn_blocking(move || changed(&paths, verify, limits, &shown, hash)).await;
        look.at = Some(Instant::now());
        match found {
            Ok(Ok(Some(made))) => {
                tracing::info!("the certificates for Qlik Sense were renewed: new connections use them");
                look.trouble = None;
                self.made.set(made);
                true
            }
            Ok(Ok(None)) => {
                look.trouble = None;
                false
            }
            Ok(Err(error)) => {
                let trouble = error.to_string();
                if look.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        "the certificates for Qlik Sense have changed, but the former ones stay in use: {trouble}"
                    );
                    look.trouble = Some(trouble);
                }
                false
            }
            // A panic, which was logged.
            Err(_) => false,
        }
    }
}

/// A client of the files as they are now; absent if they are those with this hash.
fn changed(
    paths: &Certificates,
    verify: Verify,
    limits: Limits,
    shown: &Arc<Shown>,
    hash: [u8; 32],
) -> Result<Option<Made>, QlikError> {
    let setup = |error: TlsError| QlikError::Setup(error.to_string());
    let files = Files::read(paths, verify).map_err(setup)?;
    if files.hash() == hash {
        return Ok(None);
    }
    let now = Timestamp::now().as_millisecond();
    let is_over = |facts: &&CertificateFacts| facts.role == CertificateRole::Client && facts.has_expired(now);
    if let Some(expired) = files.certificates().iter().find(is_over) {
        return Err(setup(TlsError::Expired { path: paths.client.clone(), on: expired.end_day() }));
    }
    make(&files, verify, limits, shown).map(Some)
}

fn make(files: &Files, verify: Verify, limits: Limits, shown: &Arc<Shown>) -> Result<Made, QlikError> {
    let tls = files.tls(verify, shown).map_err(|error| QlikError::Setup(error.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .https_only(true)
        // QRS answers by HTTP/1.1; some front ends of Windows ask for client certificates only there.
        .http1_only()
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .pool_idle_timeout(Duration::from_secs(90))
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        .user_agent(concat!("Butler/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| QlikError::Setup(format!("the client for Qlik Sense cannot be set up: {error}")))?;
    let certificates = files.certificates();
    if certificates.is_empty() {
        tracing::warn!("the client certificate for Qlik Sense is of an odd form: when it expires cannot be told");
    }
    Ok(Made { client, tls: Arc::new(tls), certificates, hash: files.hash() })
}
