//! Who gets in, and who does not.

use std::time::Duration;

use qlik_simulator::{Certificates, Endpoint, Options, QlikSimulator};
use reqwest::{Method, StatusCode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::client::{self, Qlik, with_key};

#[tokio::test]
async fn a_client_certificate_is_enough_to_connect_and_one_connection_serves_many_requests() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    for _ in 0..5 {
        assert_eq!(qlik.json("about").await["schemaPath"], "About");
    }
    let counts = simulator.counts();
    assert_eq!((counts.connections, counts.handshakes, counts.handshakes_failed, counts.requests), (1, 1, 0, 5));
    assert_eq!((counts.requests_to(Endpoint::About), counts.responses_with(200)), (5, 5));
    simulator.reset_counts();
    assert_eq!(simulator.counts(), qlik_simulator::Counts::default());
}

#[tokio::test]
async fn the_exported_files_suffice_for_a_client() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = simulator.certificates().write_to(folder.path().join("new")).unwrap();
    let read = |path| std::fs::read(path).unwrap();
    let key = String::from_utf8(read(&files.client_key)).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8 has this label");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read(&files.root)).unwrap()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&read(&files.client)).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    assert_eq!(Qlik::with(&simulator, client::client(tls)).status("about").await, StatusCode::OK);
}

#[tokio::test]
async fn no_client_certificate_no_handshake() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let anonymous = client::client(simulator.certificates().anonymous_client_config().unwrap());
    let anonymous = Qlik::with(&simulator, anonymous);
    anonymous.request(Method::GET, "about").send().await.unwrap_err();
    // The client hears of the refusal a moment before it is counted.
    while simulator.counts().handshakes_failed == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((simulator.counts().handshakes, simulator.counts().requests), (0, 0));
}

#[tokio::test]
async fn another_authority_is_refused_by_both_sides() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let stranger = Qlik::of(&simulator, &Certificates::generate().unwrap());
    stranger.request(Method::GET, "about").send().await.unwrap_err();
    assert_eq!(simulator.counts().requests, 0);
}

#[tokio::test]
async fn old_server_certificates_fail_the_check_of_names() {
    let simulator = QlikSimulator::start(Options::default().without_subject_alt_name()).await.unwrap();
    let error = Qlik::new(&simulator).request(Method::GET, "about").send().await.unwrap_err();
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
}

#[tokio::test]
async fn keys_and_user_are_demanded() {
    const USER: &str = "UserDirectory=Internal;UserId=sa_api";
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    let about = with_key("about");
    let refused = [
        qlik.bare(Method::GET, "about"),
        qlik.bare(Method::GET, &about).header("X-Qlik-User", USER),
        qlik.bare(Method::GET, "about").header("X-Qlik-User", USER).header("X-Qlik-Xrfkey", "0123456789abcdef"),
        qlik.bare(Method::GET, &about).header("X-Qlik-User", USER).header("X-Qlik-Xrfkey", "0123456789abcdeF"),
        qlik.bare(Method::GET, "about?xrfkey=short").header("X-Qlik-User", USER).header("X-Qlik-Xrfkey", "short"),
        qlik.bare(Method::GET, &about).header("X-Qlik-Xrfkey", "0123456789abcdef"),
    ];
    for request in refused {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert!(!response.text().await.unwrap().is_empty());
    }
    let accepted = qlik.bare(Method::GET, "about?XrfKey=0123456789abcdef");
    let accepted = accepted.header("X-Qlik-User", USER).header("X-Qlik-Xrfkey", "0123456789abcdef");
    assert_eq!(accepted.send().await.unwrap().status(), StatusCode::OK);

    let seen = simulator.seen_requests();
    assert_eq!(seen.len(), 7);
    assert_eq!(seen[6].target, "/qrs/about?XrfKey=0123456789abcdef");
    assert_eq!(seen[6].header("x-qlik-user"), Some(USER));
}
