//! Certificates that are renewed on disk.

use std::fs;
use std::time::{Duration, SystemTime};

use qlik_simulator::{CertificateFiles, Certificates, Ends, Fault, Options};

use super::{Lab, lab};
use crate::qlik::{Cause, Limits, QlikError, Repository};

const DAY: Duration = Duration::from_hours(24);

fn yesterday() -> SystemTime {
    SystemTime::now() - DAY
}

/// A client that looks at the files at each refusal.
fn watchful(lab: &Lab) -> Repository {
    lab.limited(Limits { pause: Duration::from_millis(1), ..Limits::default() })
}

impl Lab {
    fn write(&self, certificates: &Certificates) -> CertificateFiles {
        certificates.write_to(self.folder.path()).unwrap()
    }

    /// The certificates of server and site are other ones now, as after a new installation.
    async fn replace_all(&self) -> Certificates {
        let fresh = Certificates::generate().unwrap();
        self.simulator.set_certificates(fresh.clone()).unwrap();
        self.simulator.restart().await.unwrap();
        fresh
    }
}

async fn refusal(repository: &Repository) -> String {
    loop {
        match repository.probe().await.unwrap_err() {
            QlikError::Gated { .. } => tokio::time::sleep(Duration::from_millis(1)).await,
            QlikError::Unreachable { cause: Cause::Tls, reason, .. } => return reason,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn answers(repository: &Repository) {
    while let Err(error) = repository.probe().await {
        assert!(matches!(error, QlikError::Gated { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_expired_client_certificate_is_replaced_at_the_first_refusal_after_its_renewal() {
    let expired = Certificates::ending(Ends { client: Some(yesterday()), ..Ends::default() }).unwrap();
    let lab = lab(Options::default().certificates(expired.clone())).await;
    let repository = watchful(&lab);
    assert!(refusal(&repository).await.contains("refuses our client certificate"));
    assert_eq!(lab.requests(), 0);
    lab.write(&expired.renew_client(None).unwrap());
    answers(&repository).await;
    assert!(repository.state().reachable);
}

#[tokio::test]
async fn a_site_with_all_certificates_renewed_is_found_again() {
    let lab = lab(Options::default()).await;
    let repository = watchful(&lab);
    answers(&repository).await;
    let fresh = lab.replace_all().await;
    assert!(refusal(&repository).await.contains("`certificates.ca`"));
    lab.write(&fresh);
    answers(&repository).await;
}

#[tokio::test]
async fn renewed_files_are_used_without_a_refusal_and_in_flight_calls_end_well() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    answers(&repository).await;
    lab.simulator.faults().add(Fault::latency(Duration::from_millis(200)).first(1));
    let requests = lab.requests();
    let (slow, ()) = tokio::join!(repository.probe(), async {
        while lab.requests() == requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The server accepts from now on what the new files have only, but keeps its connections.
        let fresh = Certificates::generate().unwrap();
        lab.simulator.set_certificates(fresh.clone()).unwrap();
        lab.write(&fresh);
        repository.renew().await;
        repository.probe().await.unwrap();
    });
    slow.unwrap();
    let counts = lab.simulator.counts();
    assert_eq!((counts.handshakes, counts.handshakes_failed), (2, 0));
    repository.renew().await;
    repository.probe().await.unwrap();
    assert_eq!(lab.simulator.counts().handshakes, 2, "what has not changed is not made anew");
}

#[tokio::test]
async fn a_server_that_refuses_by_status_is_asked_again_with_new_certificates_only() {
    let lab = lab(Options::default()).await;
    let repository = watchful(&lab);
    lab.simulator.faults().add(Fault::status(403).first(2));
    assert_eq!(repository.probe().await.unwrap_err().status(), Some(403));
    assert_eq!(lab.requests(), 1, "nothing has changed");
    lab.write(&lab.simulator.certificates().renew_client(None).unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    repository.probe().await.unwrap();
    assert_eq!(lab.requests(), 3);
}

#[tokio::test]
async fn what_changes_something_is_sent_once_though_there_are_new_certificates() {
    let lab = lab(Options::default()).await;
    let repository = watchful(&lab);
    answers(&repository).await;
    for delete in [true, false] {
        lab.write(&lab.simulator.certificates().renew_client(None).unwrap());
        lab.simulator.faults().add(Fault::lost_answer().first(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let requests = lab.requests();
        let path = "tag/00000000-0000-4000-8000-000000000001";
        let answer = if delete {
            repository.delete(path, &[]).await
        } else {
            repository.post("tag", &[], &serde_json::json!({ "name": "a" })).await
        };
        assert!(matches!(answer, Err(QlikError::Unreachable { .. })), "{answer:?}");
        assert_eq!(lab.requests(), requests + 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
        answers(&repository).await;
    }
    // Refused by its status it has not arrived.
    lab.write(&lab.simulator.certificates().renew_client(None).unwrap());
    lab.simulator.faults().add(Fault::status(403).first(1));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(repository.post("tag", &[], &serde_json::json!({ "name": "b" })).await.unwrap().status, 201);
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_former_ones_in_use() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    let before = repository.certificates();
    let good = lab.simulator.certificates();
    let renewed = good.renew_client(None).unwrap();
    let files = lab.write(&good);
    let half = &renewed.client_pem()[..renewed.client_pem().len() / 2];
    let expired = good.renew_client(Some(yesterday())).unwrap();
    let broken: [&dyn Fn(); 6] = [
        &|| fs::write(&files.client, half).unwrap(),
        &|| fs::write(&files.client, "").unwrap(),
        &|| fs::write(&files.client, renewed.client_pem()).unwrap(),
        &|| fs::remove_file(&files.client_key).unwrap(),
        &|| fs::write(&files.root, vec![b'x'; 2 << 20]).unwrap(),
        &|| drop(lab.write(&expired)),
    ];
    for (n, make) in broken.into_iter().enumerate() {
        lab.write(&good);
        make();
        repository.renew().await;
        // A new connection, made with what was read at first.
        lab.simulator.restart().await.unwrap();
        repository.probe().await.unwrap_or_else(|error| panic!("{n}: {error}"));
        assert_eq!(repository.certificates()[..2], before[..2], "{n}");
    }
    lab.write(&renewed);
    repository.renew().await;
    assert_ne!(repository.certificates()[..2], before[..2]);
    repository.probe().await.unwrap();
}
