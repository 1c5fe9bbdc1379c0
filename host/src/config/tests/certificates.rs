//! `qlik.certificates`: two files or one, and its passphrase.

use std::path::PathBuf;

use super::*;
use crate::config::{ClientFiles, Passphrase, compose, schema::validator};

fn qlik(more: &str) -> String {
    format!("version: 1\nqlik:\n  host: a\n  user: A\\b\n  {more}\n")
}

fn certificates(content: &str) -> String {
    qlik(&format!("certificates: {{ {content} }}"))
}

const GOOD: &[&str] = &[
    "client: c, key: k, ca: r",
    "client: c, key: k, ca: r, passphrase: '${env:WORD}'",
    "pfx: p",
    "pfx: p, ca: r",
    "pfx: '${env:WORD}', passphrase: '${env:WORD}'",
    "client: '${env:WORD}', key: '${env:WORD}', ca: '${env:WORD}'",
];

/// What is written, the key that the fault is about, and what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    ("", "qlik.certificates", "`client` is missing"),
    ("", "qlik.certificates", "`key` is missing"),
    ("client: c, ca: r", "qlik.certificates", "`key` is missing"),
    ("key: k, ca: r", "qlik.certificates", "`client` is missing"),
    ("ca: r, passphrase: secret", "qlik.certificates", "`client` is missing"),
    ("pfx: p, client: c", "qlik.certificates.client", "does not go with `pfx`"),
    ("pfx: p, client: c, key: k", "qlik.certificates.key", "does not go with `pfx`"),
    ("pxf: p, ca: r", "qlik.certificates.pxf", "unknown key"),
    ("pfx: p, pasphrase: secret", "qlik.certificates.pasphrase", "unknown key"),
    ("pfx: [p]", "qlik.certificates.pfx", "must be a text, not a list"),
    ("pfx: p, passphrase: ''", "qlik.certificates.passphrase", "must not be empty"),
    ("pfx: p, passphrase: '${env:EMPTY}'", "qlik.certificates.passphrase", "must not be empty"),
    ("pfx: p, passphrase: 271828", "qlik.certificates.passphrase", "must be a text, not a number"),
    ("pfx: p, passphrase: '${env:NOWHERE}'", "qlik.certificates.passphrase", "is not set"),
];

#[test]
fn faults_are_told_where_they_are() {
    for (text, key, message) in BAD {
        let report = load(&certificates(text)).unwrap_err();
        let found = report.errors.iter().any(|error| error.path == *key && error.message.contains(message));
        assert!(found && report.errors.iter().all(|error| error.line == 5), "{text}: {report}");
        assert!(!report.to_string().contains("271828"), "{report}");
    }
}

#[test]
fn faults_are_told_with_what_would_be_right() {
    let told = |text: &str| load(&certificates(text)).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            told("client: c"),
            told("pfx: p, client: c"),
            told("pxf: p"),
            told("pfx: p, passphrase: 7"),
            told("pfx: p, pass: x"),
            told("client: c, key: k")
        ]
        .join("\n")
    );
}

#[test]
fn editors_take_and_refuse_the_same() {
    let validator = validator(&compose(&[])).unwrap();
    for text in GOOD {
        let text = certificates(text);
        load(&text).unwrap();
        let errors: Vec<_> =
            validator.iter_errors(parse(&text).unwrap().raw()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
    // What an environment has is not known to an editor.
    for (text, ..) in BAD.iter().filter(|(text, ..)| !text.contains("${env:")) {
        assert!(!validator.is_valid(parse(&certificates(text)).unwrap().raw()), "{text}");
    }
}

#[test]
fn an_authority_is_needed_if_something_is_checked() {
    for verify in ["full", "chain"] {
        let text = qlik(&format!("verify: {verify}\n  certificates: {{ client: c, key: k }}"));
        let report = load(&text).unwrap_err().to_string();
        assert!(report.contains("`ca` is missing") && report.contains("add `ca:`"), "{report}");
    }
    load(&qlik("verify: none\n  certificates: { client: c, key: k }")).unwrap();
    load(&qlik("verify: full\n  certificates: { pfx: p }")).unwrap();
}

#[test]
fn paths_are_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pass"), "correct horse\r\n").unwrap();
    let text = certificates("pfx: certs/client.pfx, ca: certs/root.cer, passphrase: '${file:pass}'");
    let document = Document::parse(&folder.path().join("butler.yaml"), text.as_bytes()).unwrap();
    let loaded = document.validate(&plugins(), Vec::new(), &()).unwrap();
    let found = loaded.config.qlik.unwrap().certificates;
    assert_eq!(found.client, ClientFiles::Pfx(folder.path().join("certs/client.pfx")));
    assert_eq!(found.ca, Some(folder.path().join("certs/root.cer")));
    assert_eq!(found.passphrase.as_ref().map(Passphrase::reveal), Some("correct horse"), "without the line's end");
    let absolute = certificates("pfx: /certs/client.pfx");
    let document = Document::parse(&folder.path().join("butler.yaml"), absolute.as_bytes()).unwrap();
    let found = document.validate(&plugins(), Vec::new(), &()).unwrap().config.qlik.unwrap().certificates;
    assert_eq!(found.client, ClientFiles::Pfx(PathBuf::from("/certs/client.pfx")));
}

#[test]
fn a_passphrase_is_a_secret_also_if_it_is_written_out() {
    for text in ["passphrase: correct horse", "passphrase: '${env:WORD}'", "passphrase: 'correct${env:EMPTY} horse'"] {
        let loaded = load(&certificates(&format!("pfx: p, {text}"))).unwrap();
        assert_eq!(loaded.secrets.redact("it is correct horse"), "it is [redacted]", "{text}");
        let shown = format!("{:?} {} {:?}", loaded.config, loaded.redacted(), loaded.warnings);
        assert!(!shown.contains("correct horse"), "{shown}");
        let read = loaded.config.qlik.unwrap().certificates.passphrase.unwrap();
        assert_eq!(read.reveal(), "correct horse", "{text}");
    }
    let loaded = load(&certificates("pfx: p, passphrase: '${env:PIN}'")).unwrap();
    assert!(loaded.warnings.iter().any(|text| text.contains("shorter than 6 bytes")), "{:?}", loaded.warnings);
    let report = load(&certificates("pfx: p, passphrase: [correct horse]")).unwrap_err();
    assert!(!format!("{report} {report:?}").contains("correct horse"), "{report}");
}

/// A reload finds out in this way that a restart is needed.
#[test]
fn a_changed_passphrase_is_a_change() {
    let written = |content: &str| json!(load(&certificates(content)).unwrap().config.qlik.unwrap().certificates);
    assert_eq!(written("pfx: p, passphrase: one")["passphrase"], "one");
    assert_ne!(written("pfx: p, passphrase: one"), written("pfx: p, passphrase: two"));
    assert_ne!(written("pfx: p, passphrase: one"), written("pfx: p"));
}

/// A config whose REST server has this certificate, if any, and is called at this address by Qlik Sense.
fn called(callback: &str, certificate: Option<&str>) -> String {
    let tls = certificate.map(|file| format!("rest:\n  tls: {{ certificate: {file}, key: key.pem }}\n"));
    format!(
        "version: 1\nqlik:\n  host: sense\n  user: I\\sa\n  certificates: {{ client: c, key: k, ca: r }}\n  \
         notifications: {{ callback: \"{callback}\" }}\n{}",
        tls.unwrap_or_default()
    )
}

#[test]
fn the_callback_of_qlik_sense_is_as_the_server_speaks() {
    for (callback, certificate) in [("http://butler:8080", None), ("https://butler:8080", Some("good.pem"))] {
        assert!(load(&called(callback, certificate)).is_ok(), "{callback} {certificate:?}");
    }
    for (callback, certificate, expected) in [
        ("https://butler:8080", None, "such as `http://butler.example.com:8080`"),
        ("http://butler:8080", Some("good.pem"), "which has a certificate (`rest.tls`), such as `https://"),
        ("https://butler:8080/path", Some("good.pem"), "must be how Qlik Sense reaches"),
    ] {
        let report = load(&called(callback, certificate)).unwrap_err().to_string();
        assert!(report.contains("qlik.notifications.callback") && report.contains(expected), "{report}");
    }
}

#[test]
fn the_certificate_of_the_rest_server_is_looked_at() {
    let report = load("version: 1\nrest:\n  tls: { certificate: bad.pem, key: key.pem }\n").unwrap_err().to_string();
    assert!(report.contains("rest.tls") && report.contains("no certificate in it"), "{report}");
    let old = load("version: 1\nrest:\n  tls: { certificate: old.pem, key: key.pem }\n").unwrap();
    assert_eq!(old.warnings, ["line 3, rest.tls: has expired"]);
}
