//! PFX files, and authorities in DER.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use qlik_simulator::{Certificates as Generated, Ends, Options, QlikSimulator};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::renewal::answers;
use super::{Lab, lab};
use crate::config::{Certificates, ClientFiles, Passphrase, Verify};
use crate::qlik::certificates::CertificateRole;
use crate::qlik::files::{Files, Opened};
use crate::qlik::pfx::Pfx;
use crate::qlik::read_file::{PFX, ReadFile};
use crate::qlik::tls_error::TlsError;
use crate::qlik::{Limits, QlikError, Repository};

const PASSPHRASE: &str = "correct horse";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/qlik/testdata/encrypted").join(name)
}

fn config(file: impl Into<PathBuf>, passphrase: Option<&str>) -> Certificates {
    Certificates { client: ClientFiles::Pfx(file.into()), ca: None, passphrase: passphrase.map(Passphrase::new) }
}

fn open(config: &Certificates) -> Result<Opened, TlsError> {
    Files::read(config, Verify::Full)?.open()
}

fn refusal(config: &Certificates) -> String {
    let text = open(config).err().unwrap().to_string();
    assert!(!text.contains(PASSPHRASE), "{text}");
    text
}

fn names<D: AsRef<[u8]>>(certificates: &[D]) -> Vec<String> {
    let name = |der: &D| X509Certificate::from_der(der.as_ref()).unwrap().1.subject().to_string();
    certificates.iter().map(name).collect()
}

/// A folder with a file `client.pfx`.
fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("client.pfx");
    fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn files_of_openssl_and_windows_are_opened() {
    let key = PrivateKeyDer::from_pem_file(testdata("ec_key.pem")).unwrap();
    for (name, passphrase) in [
        ("modern.pfx", Some(PASSPHRASE)),
        ("windows.pfx", Some(PASSPHRASE)),
        ("no_mac.pfx", Some(PASSPHRASE)),
        ("empty.pfx", None),
        ("open.pfx", None),
    ] {
        let opened = open(&config(testdata(name), passphrase)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(names(&opened.client.chain), ["CN=QlikClient", "CN=middle"], "{name}");
        let known = opened.authorities.as_ref().unwrap();
        let mut known = names(&known.certificates);
        known.sort();
        assert_eq!(known, ["CN=middle", "CN=root"], "{name}");
        assert!(!opened.unused_passphrase, "{name}");
        let PrivateKeyDer::Sec1(plain) = &key else { panic!() };
        let private = &plain.secret_sec1_der()[7..39];
        assert!(opened.client.key.secret_der().windows(32).any(|part| part == private), "{name}");
        opened.tls(&std::sync::Arc::default()).unwrap();
        let facts = opened.certificates();
        assert_eq!((facts[0].role, facts[0].subject.as_str()), (CertificateRole::Client, "CN=QlikClient"));
        assert_eq!((facts[1].role, facts[1].subject.as_str()), (CertificateRole::Authority, "CN=middle"));
        assert!(facts.iter().all(|facts| facts.file.as_deref() == Some(&testdata(name))), "{name}");
    }
}

#[test]
fn a_passphrase_that_nothing_needs_is_no_hindrance() {
    for name in ["empty.pfx", "open.pfx"] {
        let opened = open(&config(testdata(name), Some(PASSPHRASE))).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Of a file in which nothing is encrypted and nothing signed, nobody can tell.
        assert_eq!(opened.unused_passphrase, name == "empty.pfx", "{name}");
    }
    let folder = TempDir::new().unwrap();
    let files = Generated::generate().unwrap().write_to(folder.path()).unwrap();
    let passphrase = Some(Passphrase::new(PASSPHRASE));
    let pem = Certificates { passphrase, ..Certificates::pem(files.client, files.client_key, files.root) };
    assert!(open(&pem).unwrap().unused_passphrase);
}

#[test]
fn each_fault_has_its_words() {
    let generated = Generated::generate().unwrap();
    let folder = TempDir::new().unwrap();
    let windows = generated.write_windows_to(folder.path(), "pass").unwrap();
    let pem = generated.write_to(folder.path()).unwrap();
    let cut = |length: usize| fs::write(folder.path().join("cut.pfx"), &generated.client_pfx("pass")[..length]);
    cut(400).unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text.pfx"), "certainly not").unwrap();
    fs::write(at("nothing.pfx"), "").unwrap();
    fs::write(at("ber.pfx"), [0x30, 0x80, 2, 1, 3, 0x30, 0x80]).unwrap();
    for (file, passphrase, expected) in [
        (testdata("modern.pfx"), None, "is encrypted, and there is no passphrase"),
        (testdata("windows.pfx"), None, "is encrypted, and there is no passphrase"),
        (testdata("no_mac.pfx"), None, "is encrypted, and there is no passphrase"),
        (testdata("modern.pfx"), Some("correct horsf"), "the passphrase does not open the PFX file"),
        (testdata("windows.pfx"), Some("correct horsf"), "the passphrase does not open the PFX file"),
        (testdata("no_mac.pfx"), Some("correct horsf"), "the passphrase does not open the PFX file"),
        (testdata("modern.pfx"), Some("🦄"), "a passphrase with emoji"),
        (testdata("rc2_128.pfx"), Some(PASSPHRASE), "a way that Butler does not know, neither AES, 3DES nor RC2"),
        (testdata("no_key.pfx"), Some(PASSPHRASE), "has no private key in it: export it again from the QMC"),
        (testdata("no_certificate.pfx"), Some(PASSPHRASE), "has no certificate for its private key in it"),
        (windows.server, Some("pass"), "(CN=localhost) is not for clients but for other uses: take the client's files"),
        (windows.root, Some("pass"), "cannot be used, it is a certificate without key: take `client.pfx`"),
        (
            pem.client.clone(),
            Some("pass"),
            "cannot be used, it is PEM text: name certificate and key as `client` and `key`",
        ),
        (at("cut.pfx"), Some("pass"), "is damaged"),
        (at("text.pfx"), Some("pass"), "cannot be used, it is of another kind"),
        (at("nothing.pfx"), Some("pass"), "cannot be used, it is of another kind"),
        (at("ber.pfx"), Some("pass"), "it is in the form BER: write it anew"),
        (at("missing.pfx"), Some("pass"), "the PFX file"),
        (folder.path().to_owned(), Some("pass"), "cannot be read"),
    ] {
        let text = refusal(&config(&file, passphrase));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
    // The other way round.
    for (certificates, what) in [
        (Certificates::pem(&windows.client, &pem.client_key, &pem.root), "the certificate file"),
        (Certificates::pem(&pem.client, &windows.client, &pem.root), "the key file"),
        (Certificates::pem(&pem.client, &pem.client_key, &windows.client), "the file of certificate authorities"),
    ] {
        let text = refusal(&certificates);
        assert!(text.starts_with(what) && text.contains("client.pfx is a PFX file: give Qlik Sense's as"), "{text}");
    }
}

#[test]
fn of_several_keys_the_client_s_counts() {
    let generated = Generated::generate().unwrap();
    let (_folder, path) = file(generated.both_pfx("pass"));
    let opened = open(&config(path, Some("pass"))).unwrap();
    assert_eq!(names(&opened.client.chain), ["CN=QlikClient"], "the authority itself is not sent");
    let client = rustls::pki_types::CertificateDer::from_pem_slice(generated.client_pem().as_bytes()).unwrap();
    assert_eq!(opened.client.chain[0], client);
    opened.tls(&std::sync::Arc::default()).unwrap();
}

#[test]
fn an_authority_is_needed_unless_nothing_is_checked() {
    let generated = Generated::generate().unwrap();
    let (folder, path) = file(without_authority(&generated, 1000));
    let text = refusal(&config(&path, Some("pass")));
    assert!(text.contains("client.pfx has no certificate authority in it") && text.contains("`root.cer`"), "{text}");
    let opened = Files::read(&config(&path, Some("pass")), Verify::None).unwrap().open().unwrap();
    assert!(opened.authorities.is_none());
    let pem = generated.write_to(folder.path()).unwrap();
    let windows = generated.write_windows_to(folder.path().join("windows"), "pass").unwrap();
    for ca in [pem.root, windows.root] {
        let opened = open(&Certificates { ca: Some(ca), ..config(&path, Some("pass")) }).unwrap();
        assert_eq!(opened.authorities.unwrap().certificates.len(), 1);
    }
    let none = Certificates { ca: None, ..Certificates::pem(pem.client, pem.client_key, "") };
    let text = open(&none).unwrap().tls(&std::sync::Arc::default()).unwrap_err().to_string();
    assert!(text.contains("`certificates.ca` is missing"), "{text}");
}

/// A PFX file with nothing but the client certificate and its key.
fn without_authority(generated: &Generated, rounds: u32) -> Vec<u8> {
    use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
    let key = PrivateKeyDer::from_pem_slice(generated.client_key_pem().as_bytes()).unwrap();
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(generated.client_pem().as_bytes()).unwrap();
    let key = PrivateKey::from_der(key.secret_der()).unwrap();
    let chain = PrivateKeyChain::new([1].as_slice(), key, [Certificate::from_der(&certificate).unwrap()]);
    let mut store = KeyStore::new();
    store.add_entry("client", KeyStoreEntry::PrivateKeyChain(chain));
    store.writer("pass").mac_iterations(rounds).encryption_iterations(1000).write().unwrap()
}

#[test]
fn what_takes_too_long_is_left() {
    let (_folder, path) = file(without_authority(&Generated::generate().unwrap(), 300_000));
    let files = Files::read(&config(&path, Some("pass")), Verify::Full).unwrap();
    let text = files.open_within(Duration::ZERO).err().unwrap().to_string();
    assert!(text.contains("client.pfx takes more work") && text.contains("more than 0 s"), "{text}");
}

#[test]
fn what_says_that_it_would_take_too_long_is_not_tried() {
    let mut pfx = fs::read(testdata("modern.pfx")).unwrap();
    // The last number of the file is that of the rounds of its MAC: 2048.
    let end = pfx.len();
    assert_eq!(pfx[end - 4..], [2, 2, 8, 0]);
    pfx[end - 2..].copy_from_slice(&[0x7f, 0xff]);
    let (_folder, path) = file(&pfx);
    assert!(refusal(&config(&path, Some(PASSPHRASE))).contains("does not open"));
    // One of four bytes; the lengths around it grow by two.
    pfx.truncate(end - 4);
    pfx.extend([2, 4, 0x7f, 0xff, 0xff, 0xff]);
    for at in [3, mac_length_at(&pfx)] {
        pfx[at] += 2;
    }
    let (_folder, path) = file(&pfx);
    let begin = Instant::now();
    let text = refusal(&config(&path, Some(PASSPHRASE)));
    assert!(text.contains("more than 1,000,000 rounds"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// Where the length of the last but one sequence of a PFX file stands, that of its MAC.
fn mac_length_at(pfx: &[u8]) -> usize {
    (0..pfx.len()).rev().find(|at| pfx[*at] == 0x30 && usize::from(pfx[at + 1]) + at + 4 == pfx.len()).unwrap() + 1
}

impl Lab {
    /// A client with the files that Windows gets.
    fn windows(&self, passphrase: &str) -> (Repository, PathBuf) {
        let files = self.simulator.certificates().write_windows_to(self.folder.path(), passphrase).unwrap();
        let mut qlik = self.config.clone();
        qlik.certificates = config(&files.client, Some(passphrase));
        let limits = Limits { pause: Duration::from_millis(1), ..Limits::default() };
        (Repository::with_limits(&qlik, limits).unwrap(), files.client)
    }
}

#[tokio::test]
async fn qlik_sense_is_asked_by_a_pfx_file_also_after_its_renewal() {
    let lab = lab(Options::default()).await;
    let (repository, path) = lab.windows("pass phrase");
    repository.probe().await.unwrap();
    let before = repository.certificates();
    assert_eq!(before[0].file.as_deref(), Some(&*path));

    // Others that cannot be used leave the former ones in use, and are looked at once.
    let fresh = Generated::generate().unwrap();
    let expired =
        lab.simulator.certificates().renew_client(Some(SystemTime::now() - Duration::from_hours(24))).unwrap();
    for bad in [
        fresh.client_pfx("another"),
        fresh.server_pfx("pass phrase"),
        expired.client_pfx("pass phrase"),
        fresh.client_pfx("pass phrase")[..500].to_vec(),
        Vec::new(),
    ] {
        fs::write(&path, bad).unwrap();
        repository.renew().await;
        assert_eq!(repository.certificates()[..2], before[..2]);
    }
    lab.simulator.set_certificates(fresh.clone()).unwrap();
    lab.simulator.restart().await.unwrap();
    assert!(repository.probe().await.is_err());
    fs::write(&path, fresh.client_pfx("pass phrase")).unwrap();
    repository.renew().await;
    assert_ne!(repository.certificates()[..2], before[..2]);
    answers(&repository).await;
}

#[tokio::test]
async fn encrypted_keys_are_renewed_too() {
    let lab = lab(Options::default()).await;
    let files = lab.simulator.certificates().write_encrypted_to(lab.folder.path(), "pass phrase").unwrap();
    let mut qlik = lab.config.clone();
    qlik.certificates.passphrase = Some(Passphrase::new("pass phrase"));
    let repository = Repository::new(&qlik).unwrap();
    repository.probe().await.unwrap();
    let before = repository.certificates();
    let renewed = lab.simulator.certificates().renew_client(None).unwrap();
    renewed.write_encrypted_to(lab.folder.path(), "another").unwrap();
    repository.renew().await;
    assert_eq!(repository.certificates()[..2], before[..2]);
    fs::write(&files.client_key, renewed.encrypted_client_key_pem("pass phrase")).unwrap();
    repository.renew().await;
    assert_ne!(repository.certificates()[..2], before[..2]);
    lab.simulator.restart().await.unwrap();
    repository.probe().await.unwrap();

    qlik.certificates.passphrase = None;
    let Err(QlikError::Setup(text)) = Repository::new(&qlik) else { panic!() };
    assert!(text.contains("client_key.pem is encrypted, and there is no passphrase"), "{text}");
}

#[tokio::test]
async fn the_authority_of_a_pfx_file_is_that_which_is_trusted() {
    let ends = Ends { root: Some(SystemTime::now() + Duration::from_hours(24 * 20)), ..Ends::default() };
    let options = Options::default().certificates(Generated::ending(ends).unwrap());
    let lab = lab(options).await;
    let (repository, path) = lab.windows("pass phrase");
    repository.probe().await.unwrap();
    let ca = repository.certificates().into_iter().find(|facts| facts.role == CertificateRole::Authority).unwrap();
    let message = ca.message("sense:4242", super::now());
    assert!(message.contains(path.to_str().unwrap()) && message.contains("20 more days"), "{message}");

    let foreign = QlikSimulator::start(Options::default()).await.unwrap();
    let mut qlik = lab.config.clone();
    qlik.ports.repository = foreign.addr().port();
    qlik.certificates = config(&path, Some("pass phrase"));
    let error = Repository::new(&qlik).unwrap().probe().await.unwrap_err().to_string();
    assert!(error.contains("not from the authority in `certificates.ca`, or in the PFX file"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_too_odd(
        name in prop::sample::select(vec!["modern.pfx", "windows.pfx", "no_mac.pfx", "open.pfx", "no_key.pfx"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut content = fs::read(testdata(name)).unwrap();
        for (at, byte) in changes {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if cut {
            content.truncate(length.index(content.len()));
        }
        let (_folder, path) = file(&content);
        let _ = Pfx::open(&ReadFile::read(PFX, &path).unwrap(), Some(&Passphrase::new(PASSPHRASE)));
    }

    #[test]
    fn nor_are_random_ones(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = [0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x03];
        for content in [content.clone(), [&head[..], &content].concat()] {
            let (_folder, path) = file(&content);
            prop_assert!(open(&config(&path, Some(PASSPHRASE))).is_err());
        }
    }
}
