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

use super::certificates::{CertificateFacts, CertificateRole, ClientUse};
use super::error::QlikError;
use super::files::{Files, Opened};
use super::repository::Limits;
use super::tls_error::TlsError;
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
    /// The hash of files that could not be used: they are not opened a second time.
    refused: Option<[u8; 32]>,
}

impl Connection {
    /// Reads the files.
    pub(super) fn new(config: &config::Qlik, limits: Limits) -> Result<Self, QlikError> {
        let (paths, verify, shown) = (config.certificates.clone(), config.verify, Arc::default());
        let files = Files::read(&paths, verify).map_err(setup)?;
        let hash = files.hash();
        let made = make(&files.open().map_err(setup)?, hash, limits, &shown)?;
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
        let (hash, refused) = (used.hash, look.refused);
        let found = tokio::task::spawn_blocking(move || changed(&paths, verify, limits, &shown, hash, refused)).await;
        look.at = Some(Instant::now());
        match found {
            Ok(Found::New(made)) => {
                tracing::info!("the certificates for Qlik Sense were renewed: new connections use them");
                (look.trouble, look.refused) = (None, None);
                self.made.set(made);
                true
            }
            Ok(Found::Former) => {
                (look.trouble, look.refused) = (None, None);
                false
            }
            Ok(Found::Unusable { error, hash }) => {
                look.refused = hash;
                let trouble = error.to_string();
                if look.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        "the certificates for Qlik Sense have changed, but the former ones stay in use: {trouble}"
                    );
                    look.trouble = Some(trouble);
                }
                false
            }
            // Said before; or a panic, which was logged.
            Ok(Found::Refused) | Err(_) => false,
        }
    }
}

/// What a look at the files finds.
enum Found {
    /// Those in use.
    Former,
    /// Those that could not be used the last time.
    Refused,
    /// New ones.
    New(Made),
    /// Others that cannot be used; with their hash, if they could be read.
    Unusable { error: QlikError, hash: Option<[u8; 32]> },
}

/// Looks at the files: whether they are those in use, or those that were refused, or others.
fn changed(
    paths: &Certificates,
    verify: Verify,
    limits: Limits,
    shown: &Arc<Shown>,
    used: [u8; 32],
    refused: Option<[u8; 32]>,
) -> Found {
    let files = match Files::read(paths, verify) {
        Ok(files) => files,
        Err(error) => return Found::Unusable { error: setup(error), hash: None },
    };
    let hash = files.hash();
    if hash == used {
        return Found::Former;
    }
    if Some(hash) == refused {
        return Found::Refused;
    }
    let opened = match files.open().and_then(valid) {
        Ok(opened) => opened,
        Err(error) => {
            // That the system had no thread for it says nothing about the files.
            let lasting = !matches!(error, TlsError::Unreadable { .. });
            return Found::Unusable { error: setup(error), hash: lasting.then_some(hash) };
        }
    };
    make(&opened, hash, limits, shown).map_or_else(|error| Found::Unusable { error, hash: Some(hash) }, Found::New)
}

/// New files with a client certificate that is over are of no use.
fn valid(opened: Opened) -> Result<Opened, TlsError> {
    let now = Timestamp::now().as_millisecond();
    let is_over = |facts: &&CertificateFacts| facts.role == CertificateRole::Client && facts.has_expired(now);
    match opened.certificates().iter().find(is_over) {
        Some(expired) => Err(TlsError::Expired { path: opened.client.file, on: expired.end_day() }),
        None => Ok(opened),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn setup(error: TlsError) -> QlikError {
    QlikError::Setup(error.to_string())
}

fn make(opened: &Opened, hash: [u8; 32], limits: Limits, shown: &Arc<Shown>) -> Result<Made, QlikError> {
    let tls = opened.tls(shown).map_err(setup)?;
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
    if opened.unused_passphrase {
        tracing::warn!(
            "`qlik.certificates.passphrase` is given, but {} is not encrypted: leave the passphrase out",
            opened.client.key_file.display()
        );
    }
    // Said, not refused: Qlik Sense may take it all the same.
    if let Some(own) = opened.client.chain.first()
        && let Err(odd) = ClientUse::of(own).check(&opened.client.file)
    {
        tracing::warn!("{odd}");
    }
    let certificates = opened.certificates();
    if certificates.is_empty() {
        tracing::warn!("the client certificate for Qlik Sense is of an odd form: when it expires cannot be told");
    }
    Ok(Made { client, tls: Arc::new(tls), certificates, hash })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{ClientFiles, Passphrase};

    #[test]
    fn files_that_were_refused_are_not_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.pfx");
        let generated = qlik_simulator::Certificates::generate().unwrap();
        let client = ClientFiles::Pfx(path.clone());
        let paths = Certificates { client, ca: None, passphrase: Some(Passphrase::new("pass")) };
        let look = |refused| changed(&paths, Verify::Full, Limits::default(), &Arc::default(), [0; 32], refused);
        fs::write(&path, generated.client_pfx("another")).unwrap();
        let Found::Unusable { error, hash: Some(hash) } = look(None) else { panic!() };
        assert!(error.to_string().contains("the passphrase does not open"), "{error}");
        assert!(matches!(look(Some(hash)), Found::Refused));
        fs::write(&path, generated.client_pfx("pass")).unwrap();
        let Found::New(made) = look(Some(hash)) else { panic!() };
        let again = changed(&paths, Verify::Full, Limits::default(), &Arc::default(), made.hash, Some(hash));
        assert!(matches!(again, Found::Former));
        fs::remove_file(&path).unwrap();
        assert!(matches!(look(Some(hash)), Found::Unusable { hash: None, .. }));
    }
}
