//! TLS, requests, faults.

use std::time::Duration;

use qlik_simulator::{Certificates as Generated, Fault, Options};

use super::{Lab, lab};
use crate::config::{self, ClientFiles};
use crate::qlik::{Cause, Limits, QlikError, Repository, quote};

#[tokio::test]
async fn one_kept_connection_serves_many_calls() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    for _ in 0..20 {
        assert!(!repository.probe().await.unwrap().is_empty());
    }
    let counts = lab.simulator.counts();
    assert_eq!((counts.connections, counts.handshakes, counts.requests), (1, 1, 20));
    assert!(repository.state().reachable);
}

#[tokio::test]
async fn requests_look_as_qrs_wants_them() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    let filter = format!("tags.name eq '{}'", quote("night's"));
    repository.get_json("task", &[("filter", &filter)]).await.unwrap();
    repository.get_json("task", &[("filter", &filter)]).await.unwrap();
    let seen = lab.simulator.seen_requests();
    let key = seen[0].header("x-qlik-xrfkey").unwrap();
    assert_eq!(seen[0].target, format!("/qrs/task?filter=tags.name%20eq%20%27night%27%27s%27&xrfkey={key}"));
    assert_eq!(seen[0].header("x-qlik-user"), Some("UserDirectory=INTERNAL; UserId=sa_repository"));
    assert_ne!(Some(key), seen[1].header("x-qlik-xrfkey"));
}

#[tokio::test]
async fn certificates_are_checked_as_far_as_the_config_says() {
    use config::Verify::{Chain, Full, None};
    let with_name = lab(Options::default()).await;
    let without_name = lab(Options::default().without_subject_alt_name()).await;
    let foreign = Generated::generate().unwrap().write_to(with_name.folder.path().join("foreign")).unwrap();
    let probe = async |lab: &Lab, verify, host: &str, foreign_ca| {
        let mut config = lab.config.clone();
        (config.verify, config.host) = (verify, host.to_owned());
        if foreign_ca {
            config.certificates.ca = Some(foreign.root.clone());
        }
        Repository::new(&config).unwrap().probe().await.map_err(|error| match error {
            QlikError::Unreachable { cause: Cause::Tls, reason, .. } => reason,
            other => panic!("{other:?}"),
        })
    };
    probe(&with_name, Full, "127.0.0.1", false).await.unwrap();
    probe(&with_name, Full, "localhost", false).await.unwrap();
    probe(&without_name, Chain, "localhost", false).await.unwrap();
    probe(&without_name, None, "127.0.0.1", true).await.unwrap();

    let reason = probe(&without_name, Full, "localhost", false).await.unwrap_err();
    assert!(reason.contains("another name") && reason.contains("`verify: chain`"), "{reason}");
    for verify in [Full, Chain] {
        let reason = probe(&with_name, verify, "localhost", true).await.unwrap_err();
        assert!(reason.contains("`certificates.ca`"), "{reason}");
    }
}

#[tokio::test]
async fn a_refused_client_certificate_is_named_as_the_reason() {
    let lab = lab(Options::default()).await;
    let foreign = Generated::generate().unwrap().write_to(lab.folder.path().join("foreign")).unwrap();
    let mut config = lab.config.clone();
    config.certificates.client = ClientFiles::Pem { certificate: foreign.client, key: foreign.client_key };
    let error = Repository::new(&config).unwrap().probe().await.unwrap_err();
    assert!(matches!(&error, QlikError::Unreachable { cause: Cause::Tls, .. }), "{error:?}");
    assert!(error.to_string().contains("refuses our client certificate"), "{error}");
}

#[tokio::test]
async fn a_config_that_cannot_work_is_refused_at_once() {
    let lab = lab(Options::default()).await;
    for (host, user, named) in [
        ("https://sense", r"A\b", "`qlik.host`"),
        ("sense/qrs", r"A\b", "`qlik.host`"),
        ("a@sense", r"A\b", "`qlik.host`"),
        ("sense", "b", "`qlik.user`"),
    ] {
        let config = config::Qlik { host: host.to_owned(), user: user.to_owned(), ..lab.config.clone() };
        let error = Repository::new(&config).unwrap_err();
        assert!(matches!(error, QlikError::Setup(_)) && error.to_string().contains(named), "{error}");
    }
    let config = config::Qlik { host: "::1".to_owned(), ..lab.config.clone() };
    assert!(Repository::new(&config).unwrap().server().starts_with("[::1]:"));
}

#[tokio::test]
async fn statuses_are_answers_that_do_not_stop_further_calls() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    for status in [403, 404, 500] {
        lab.simulator.faults().add(Fault::status(status).first(1));
        let error = repository.probe().await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.is_transient(), status != 404);
    }
    lab.simulator.faults().add(Fault::status(404).first(1));
    assert_eq!(repository.get("about", &[]).await.unwrap().status, 404);
    repository.probe().await.unwrap();
    assert_eq!(lab.simulator.counts().handshakes, 1);
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_a_while() {
    let lab = lab(Options::default()).await;
    let repository = lab.limited(Limits { pause: Duration::from_mins(1), ..Limits::default() });
    lab.simulator.faults().add(Fault::status(503).first(1));
    assert_eq!(repository.probe().await.unwrap_err().status(), Some(503));
    let QlikError::Gated { retry_in, last_error } = repository.probe().await.unwrap_err() else { panic!() };
    assert!(last_error.contains("503") && retry_in > Duration::from_secs(1), "{last_error}");
    assert_eq!(lab.requests(), 1);
    assert!(!repository.state().reachable);
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let lab = lab(Options::default()).await;
    let limits = Limits { total: Duration::from_millis(300), pause: Duration::from_mins(1), ..Limits::default() };
    let repository = lab.limited(limits);
    lab.simulator.faults().add(Fault::hang());
    let error = repository.probe().await.unwrap_err();
    assert!(matches!(error, QlikError::Unreachable { cause: Cause::Timeout, .. }), "{error:?}");
    assert!(matches!(repository.probe().await, Err(QlikError::Gated { .. })));
}

#[tokio::test]
async fn a_broken_connection_is_tried_once_more() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    repository.probe().await.unwrap();
    lab.simulator.faults().add(Fault::reset().first(1));
    repository.probe().await.unwrap();
    lab.simulator.faults().add(Fault::reset());
    let error = repository.probe().await.unwrap_err();
    assert!(matches!(error, QlikError::Unreachable { cause: Cause::Broken, .. }), "{error:?}");
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let lab = lab(Options::default()).await;
    let pause = Duration::from_millis(1);
    let repository = lab.limited(Limits { pause, ..Limits::default() });
    repository.probe().await.unwrap();
    lab.simulator.stop().await;
    let error = repository.probe().await.unwrap_err();
    assert!(matches!(error, QlikError::Unreachable { cause: Cause::Connect, .. }), "{error:?}");
    assert!(error.to_string().contains("`ports.repository`"), "{error}");
    assert!(!repository.state().reachable);
    lab.simulator.restart().await.unwrap();
    tokio::time::sleep(pause).await;
    repository.probe().await.unwrap();
    assert!(repository.state().reachable && repository.state().last_error.is_none());
}

#[tokio::test]
async fn answers_that_are_nonsense_or_too_large_are_errors() {
    let lab = lab(Options::default()).await;
    lab.simulator.faults().add(Fault::nonsense().first(1));
    let error = lab.repository().get_json("task/full", &[]).await.unwrap_err();
    assert!(matches!(error, QlikError::NotJson { .. }) && error.is_transient(), "{error:?}");
    let small = lab.limited(Limits { body: 100, ..Limits::default() });
    let error = small.get_json("task/full", &[]).await.unwrap_err();
    assert!(matches!(error, QlikError::TooLarge { limit: 100, .. }), "{error:?}");
    let text = lab.repository().get_text("about", &[]).await.unwrap();
    assert!(text.contains("buildVersion"));
}
