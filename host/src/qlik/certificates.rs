//! The certificates that the connection to Qlik Sense and the REST server depend on, and when they end to be valid.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::error::excerpt;
use super::own_server::fingerprint;
use super::tls_error::TlsError;

const DAY_MS: i64 = 24 * 3_600_000;

/// Days before the end at which it is said; 0: it is over.
const THRESHOLDS: [i64; 4] = [0, 7, 30, 60];

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRole {
    /// It proves who Butler is.
    Client,
    /// It is the site's authority.
    Authority,
    /// It proves who Qlik Sense is.
    Server,
    /// It proves who Butler's REST server is.
    Rest,
}

impl CertificateRole {
    /// `client`, `ca`, `server` or `rest`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Authority => "ca",
            Self::Server => "server",
            Self::Rest => "rest",
        }
    }
}

/// A certificate and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// What it is for.
    pub role: CertificateRole,
    /// Its file; absent for the server's.
    pub file: Option<PathBuf>,
    /// Whom it names.
    pub subject: String,
    /// When it ends to be valid, milliseconds of the Unix epoch.
    pub ends_ms: i64,
    /// SHA-256 of it in hexadecimal digits.
    pub fingerprint: String,
}

impl CertificateFacts {
    /// From the certificate itself in DER; absent if it has no proper form.
    pub(super) fn read(role: CertificateRole, file: Option<&Path>, der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            role,
            file: file.map(Path::to_owned),
            subject: excerpt(certificate.subject().to_string().as_bytes()),
            ends_ms: certificate.validity().not_after.timestamp().saturating_mul(1000),
            fingerprint: fingerprint(der),
        })
    }

    /// Days until its end, rounded up; 0 and less: it is over.
    pub fn days_left(&self, now_ms: i64) -> i64 {
        let (left, day) = (self.ends_ms.saturating_sub(now_ms), DAY_MS);
        left.div_euclid(day) + i64::from(left.rem_euclid(day) > 0)
    }

    /// Whether its end is past.
    pub fn has_expired(&self, now_ms: i64) -> bool {
        self.ends_ms <= now_ms
    }

    /// If its end is near, the number of days of the warning that is due: 60, 30, 7, or 0 when it is past.
    pub fn due(&self, now_ms: i64) -> Option<i64> {
        let left = self.days_left(now_ms);
        THRESHOLDS.into_iter().find(|days| left <= *days)
    }

    /// Its end, in the form of an event's time.
    pub fn end(&self) -> String {
        Timestamp::from_millisecond(self.ends_ms).map_or_else(|_| "never".to_owned(), |end| format!("{end:.3}"))
    }

    /// The day of its end.
    pub fn end_day(&self) -> String {
        self.end().chars().take_while(|c| *c != 'T').collect()
    }

    /// What to say about its end, and what to do about it; `server` is Qlik Sense's.
    pub fn message(&self, server: &str, now_ms: i64) -> String {
        let file = self.file.as_deref().unwrap_or(Path::new("")).display();
        let (name, remedy) = match self.role {
            CertificateRole::Client => {
                (format!("the client certificate {file}"), "export the certificates again from the QMC")
            }
            CertificateRole::Authority => (
                format!("the certificate of the authority in {file}"),
                "renew the certificates of Qlik Sense, then export them again from the QMC",
            ),
            CertificateRole::Server => {
                (format!("the certificate of Qlik Sense at {server}"), "renew it on the Sense server")
            }
            CertificateRole::Rest => (
                format!("the certificate of Butler's REST server, {file},"),
                "put a new one and its key in place of the files of `rest.tls`",
            ),
        };
        format!("{name} {}: {remedy}", self.validity(now_ms))
    }

    /// What to say behind its name: `has expired (2026-03-04)`, or for how many days it is valid.
    pub fn validity(&self, now_ms: i64) -> String {
        let (day, left) = (self.end_day(), self.days_left(now_ms));
        if self.has_expired(now_ms) {
            return format!("has expired ({day})");
        }
        let days = if left == 1 { "day" } else { "days" };
        format!("is valid for {left} more {days} ({day})")
    }
}

/// What a certificate says about its use by a client.
#[derive(Debug)]
pub(super) struct ClientUse {
    /// Whether it is for clients: its extended key usage says so, or says nothing (RFC 5280, 4.2.1.12).
    pub(super) allowed: bool,
    /// When it ends to be valid, milliseconds of the Unix epoch.
    pub(super) ends_ms: i64,
    subject: String,
}

impl ClientUse {
    /// From the certificate itself in DER. One of an odd form is taken as it is: the other side judges it.
    pub(super) fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self { allowed: true, ends_ms: i64::MIN, subject: String::new() };
        };
        let usage = certificate.extended_key_usage().ok().flatten();
        Self {
            allowed: usage.is_none_or(|usage| usage.value.any || usage.value.client_auth),
            ends_ms: certificate.validity().not_after.timestamp().saturating_mul(1000),
            subject: excerpt(certificate.subject().to_string().as_bytes()),
        }
    }

    /// Refuses one that is for other uses.
    pub(super) fn check(self, file: &Path) -> Result<(), TlsError> {
        if self.allowed {
            return Ok(());
        }
        Err(TlsError::NotForClients { path: file.to_owned(), subject: self.subject })
    }
}

/// Of the certificates in a file of authorities the one that counts: that of the client certificate's authority if there
/// are any, and of several the one that is valid longest.
pub(super) fn authority(file: &Path, certificates: &[impl AsRef<[u8]>], client: &[u8]) -> Option<CertificateFacts> {
    let issuer = X509Certificate::from_der(client).ok().map(|(_, client)| client.issuer().as_raw().to_vec());
    let known = certificates.iter().filter_map(|der| {
        let der = der.as_ref();
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let ours = issuer.as_deref() == Some(certificate.subject().as_raw());
        Some((ours, CertificateFacts::read(CertificateRole::Authority, Some(file), der)?))
    });
    known.max_by_key(|(ours, facts)| (*ours, facts.ends_ms)).map(|(_, facts)| facts)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use qlik_simulator::{Certificates, Ends};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    const NOW: i64 = 1_750_000_000_000;

    fn ending(ends_ms: i64) -> CertificateFacts {
        let (file, subject) = (Some(PathBuf::from("/c/client.pem")), "CN=QlikClient".to_owned());
        CertificateFacts { role: CertificateRole::Client, file, subject, ends_ms, fingerprint: String::new() }
    }

    #[test]
    fn the_end_is_said_at_its_thresholds() {
        const HOUR: i64 = 3_600_000;
        for (left, days, due) in [
            (61 * DAY_MS, 61, None),
            (60 * DAY_MS + 1, 61, None),
            (60 * DAY_MS, 60, Some(60)),
            (30 * DAY_MS + 1, 31, Some(60)),
            (30 * DAY_MS, 30, Some(30)),
            (7 * DAY_MS, 7, Some(7)),
            (HOUR, 1, Some(7)),
            (0, 0, Some(0)),
            (-HOUR, 0, Some(0)),
            (-DAY_MS, -1, Some(0)),
            (i64::MAX, 106_751_970_913, None),
        ] {
            let facts = ending(NOW.saturating_add(left));
            assert_eq!((facts.days_left(NOW), facts.due(NOW)), (days, due), "{left}");
        }
    }

    #[test]
    fn messages_name_file_day_and_remedy() {
        let mut facts = ending(NOW + 12 * DAY_MS);
        assert_eq!(
            facts.message("sense:4242", NOW),
            "the client certificate /c/client.pem is valid for 12 more days (2025-06-27): export the certificates again \
             from the QMC"
        );
        (facts.role, facts.file) = (CertificateRole::Server, None);
        assert_eq!(
            facts.message("sense:4242", NOW + 13 * DAY_MS),
            "the certificate of Qlik Sense at sense:4242 has expired (2025-06-27): renew it on the Sense server"
        );
        (facts.role, facts.file) = (CertificateRole::Rest, Some(PathBuf::from("/c/butler.pem")));
        assert_eq!(
            facts.message("", NOW + 13 * DAY_MS),
            "the certificate of Butler's REST server, /c/butler.pem, has expired (2025-06-27): put a new one and its key in \
             place of the files of `rest.tls`"
        );
    }

    #[test]
    fn certificates_are_read() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.unsigned_abs());
        let generated = Certificates::ending(Ends { client: Some(end), ..Ends::default() }).unwrap();
        let der = CertificateDer::from_pem_slice(generated.client_pem().as_bytes()).unwrap();
        let facts = CertificateFacts::read(CertificateRole::Client, None, &der).unwrap();
        assert_eq!((facts.subject.as_str(), facts.ends_ms, facts.fingerprint.len()), ("CN=QlikClient", NOW, 64));
        assert_eq!(facts.end(), "2025-06-15T15:06:40.000Z");
        assert_eq!(CertificateFacts::read(CertificateRole::Client, None, &der[1..]), None);
    }

    #[test]
    fn of_several_authorities_the_client_s_own_counts() {
        let root = |days: u64| {
            let end = SystemTime::now() + Duration::from_hours(24 * days);
            let generated = Certificates::ending(Ends { root: Some(end), ..Ends::default() }).unwrap();
            let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            (der(&generated.root_pem()), der(generated.client_pem()))
        };
        let ((ours, client), (other, foreign)) = (root(5), root(50));
        let end = |client: &CertificateDer<'_>| {
            let facts = authority(Path::new("r"), &[ours.clone(), other.clone()], client).unwrap();
            facts.days_left(Timestamp::now().as_millisecond())
        };
        assert_eq!((end(&client), end(&foreign)), (5, 50));
        assert_eq!(authority(Path::new("r"), &[b"nothing"], &client), None);
    }
    proptest! {
        #[test]
        fn no_certificate_is_too_odd(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let pem = include_bytes!("testdata/rsa_client.pem");
            let mut der = CertificateDer::from_pem_slice(pem).unwrap().to_vec();
            for (at, byte) in changes {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if let Some(facts) = CertificateFacts::read(CertificateRole::Server, None, &der) {
                prop_assert_eq!(facts.due(facts.ends_ms), Some(0));
                prop_assert!(!facts.end_day().contains('T') && !facts.message("s", NOW).contains('\n'));
            }
        }
    }
}
