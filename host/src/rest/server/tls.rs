//! The certificate of the server: read at the start, and again when its files change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::config::ServerTls;
use crate::current::Current;
use crate::qlik::{CertificateFacts, ServerFiles, ServerIdentity, TlsError};
use crate::stop::stopping;

/// The files are looked at so often.
const LOOK: Duration = Duration::from_secs(2);

/// The certificate in use.
pub struct Tls {
    files: ServerTls,
    identity: Current<ServerIdentity>,
    seen: Mutex<Seen>,
}

/// What the files were at the last look.
struct Seen {
    /// Hash of what is in use, or cannot be used.
    hash: [u8; 32],
    /// Why what is there now cannot be used. Said at the second look: one file may be replaced after the other.
    fault: Option<(String, bool)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(files: &ServerTls) -> Result<Arc<Self>, TlsError> {
        let read = ServerFiles::read(&files.certificate, &files.key)?;
        let hash = read.hash();
        let identity = Current::new(read.open()?);
        let seen = Mutex::new(Seen { hash, fault: None });
        Ok(Arc::new(Self { files: files.clone(), identity, seen }))
    }

    /// The settings for the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.identity.get().config.clone()
    }

    /// The certificate and its end.
    pub fn certificate(&self) -> Option<CertificateFacts> {
        self.identity.get().facts.clone()
    }

    /// SHA-256 of the certificate in hexadecimal digits.
    pub(super) fn fingerprint(&self) -> String {
        self.identity.get().fingerprint.clone()
    }

    /// Looks at the files until `stop`. `renewed` gets the fingerprint of each new certificate, and again at each look until it
    /// is true.
    pub(super) async fn watch(
        self: Arc<Self>,
        renewed: impl Fn(&str) -> bool + Send + Sync + 'static,
        mut stop: watch::Receiver<bool>,
    ) {
        let renewed = Arc::new(renewed);
        let work = async {
            let mut told = true;
            loop {
                tokio::time::sleep(LOOK).await;
                let (own, renewed) = (self.clone(), renewed.clone());
                // A folder on the network may make one wait.
                let look = move || !own.look() && told || renewed(&own.fingerprint());
                told = tokio::task::spawn_blocking(look).await.unwrap_or(false);
            }
        };
        tokio::select! {
            () = stopping(&mut stop) => {}
            () = work => {}
        }
    }

    /// Uses what is in the files, if it is new and can be used; whether it does.
    fn look(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match ServerFiles::read(&self.files.certificate, &self.files.key) {
            Ok(read) if seen.hash == read.hash() && seen.fault.as_ref().is_none_or(|(_, said)| *said) => return false,
            Ok(read) => {
                let hash = read.hash();
                let opened = read.open();
                let known = std::mem::replace(&mut seen.hash, hash) == hash;
                match opened {
                    Ok(identity) => {
                        seen.fault = None;
                        // What is in use was moved away and came back.
                        if known && identity.fingerprint == self.fingerprint() {
                            return false;
                        }
                        let end = identity.facts.as_ref().map(CertificateFacts::end_day);
                        tracing::info!(
                            certificate = %self.files.certificate.display(),
                            valid_until = end,
                            "the REST server uses a renewed certificate"
                        );
                        self.identity.set(identity);
                        return true;
                    }
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => {
                // Whatever is there next is new.
                seen.hash = [0; 32];
                error.to_string()
            }
        };
        match &mut seen.fault {
            Some((known, said)) if *known == error => {
                if !std::mem::replace(said, true) {
                    tracing::warn!("the REST server keeps its former certificate (`rest.tls`): {error}");
                }
            }
            fault => *fault = Some((error, false)),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use qlik_simulator::Certificates;

    use super::*;

    fn write(folder: &Path) -> ServerTls {
        let files = Certificates::generate().unwrap().write_to(folder).unwrap();
        ServerTls { certificate: files.client, key: files.client_key }
    }

    #[tokio::test]
    async fn what_could_not_be_done_at_a_renewal_is_done_later() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (files, renewed) = (write(folder.path()), write(other.path()));
        let tls = Tls::open(&files).unwrap();
        fs::copy(&renewed.certificate, &files.certificate).unwrap();
        fs::copy(&renewed.key, &files.key).unwrap();
        let (calls, mut called) = tokio::sync::mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let works = AtomicBool::new(false);
        let watching = tokio::spawn(tls.clone().watch(
            move |fingerprint| {
                let _ = calls.send(fingerprint.to_owned());
                works.fetch_not(Ordering::Relaxed)
            },
            stopping,
        ));
        for _ in 0..2 {
            let fingerprint = tokio::time::timeout(LOOK * 10, called.recv()).await;
            assert_eq!(fingerprint.ok().flatten(), Some(tls.fingerprint()));
        }
        // The second call was all right.
        assert!(tokio::time::timeout(LOOK * 2, called.recv()).await.is_err());
        stop.send(true).unwrap();
        watching.await.unwrap();
    }

    #[test]
    fn renewed_files_are_used_and_broken_ones_are_not() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (files, renewed) = (write(folder.path()), write(other.path()));
        let tls = Tls::open(&files).unwrap();
        let first = tls.fingerprint();
        assert!(!tls.look());
        let fault = || tls.seen.lock().unwrap().fault.clone();

        // One after the other.
        fs::copy(&renewed.certificate, &files.certificate).unwrap();
        assert!(!tls.look());
        assert_eq!(fault().map(|(_, said)| said), Some(false));
        fs::copy(&renewed.key, &files.key).unwrap();
        assert!(tls.look() && fault().is_none());
        let second = tls.fingerprint();
        assert_ne!(first, second);

        // Said once, at the second look.
        fs::write(&files.key, "nothing").unwrap();
        let said = [tls.look(), tls.look(), tls.look()].map(|used| (used, fault().unwrap().1));
        assert_eq!(said[2], (false, true));
        fs::remove_file(&files.key).unwrap();
        assert!(!tls.look());
        assert!(fault().unwrap().0.contains("cannot be read"), "{:?}", fault());
        assert_eq!(tls.fingerprint(), second);
        // What was in use comes back.
        fs::copy(&renewed.key, &files.key).unwrap();
        tls.look();
        assert_eq!((tls.fingerprint(), fault()), (second, None));
        assert!(!tls.look());
    }
}
