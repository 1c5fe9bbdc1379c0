//! Watches the certificates of the connection to Qlik Sense: uses renewed ones, and says in time that they expire. That of the
//! REST server, which renews its own, is one of those.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{Certificate, Data, kind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::qlik::{CertificateFacts, Repository};
use crate::rest::Tls;
use crate::stop::stopping;
use crate::store::{Accepted, NewEvent, Store, now_ms};

/// The files are looked at so often; at once when Qlik Sense refuses what was read from them.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_mins(1) };

/// What was said is said again in the log after this time. The store knows the event by then.
const DAY: Duration = Duration::from_hours(24);
const DAY_MS: i64 = 24 * 3_600_000;

/// Works until `stop`.
pub(super) async fn run(
    repository: Option<Arc<Repository>>,
    tls: Option<Arc<Tls>>,
    store: Store,
    accepted: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        let mut day = Instant::now();
        let mut said = HashSet::new();
        loop {
            if let Some(repository) = &repository {
                for facts in repository.certificates() {
                    say(&facts, repository.server(), &mut said, &store, &accepted).await;
                }
            }
            if let Some(facts) = tls.as_ref().and_then(|tls| tls.certificate()) {
                say(&facts, "", &mut said, &store, &accepted).await;
            }
            tokio::time::sleep(LOOK).await;
            if let Some(repository) = &repository {
                repository.renew().await;
                see(repository).await;
            }
            if day.elapsed() >= DAY {
                day = Instant::now();
                said.clear();
            }
        }
    };
    tokio::select! {
        () = stopping(&mut stop) => {}
        () = work => {}
    }
}

/// Lets the server show its certificate, if it has not for a day.
async fn see(repository: &Repository) {
    if repository.state().last_success_ms.is_none_or(|last| now_ms() - last >= DAY_MS)
        && let Err(error) = repository.probe().await
    {
        tracing::debug!("the certificate of Qlik Sense cannot be seen: {error}");
    }
}

/// Says that the end of a certificate is near, if it is: in the log once a day, and as an event once for each certificate
/// and number of days.
async fn say(
    facts: &CertificateFacts,
    server: &str,
    said: &mut HashSet<(String, i64)>,
    store: &Store,
    accepted: &Notify,
) {
    let now = now_ms();
    let Some(due) = facts.due(now) else { return };
    let what = (facts.fingerprint.clone(), due);
    if said.contains(&what) {
        return;
    }
    let message = facts.message(server, now);
    let certificate = Certificate {
        file: facts.file.as_ref().map(|file| file.display().to_string()),
        subject: Some(facts.subject.clone()),
        expiry_date: Some(facts.end()),
        days_until_expiry: Some(facts.days_left(now)),
    };
    let event = NewEvent {
        kind: kind::CERTIFICATE_EXPIRING.to_owned(),
        time: now,
        received: now,
        source: "butler".to_owned(),
        keys: vec![format!("certificate:{}:{due}", facts.fingerprint)],
        data: Data { message: Some(message.clone()), certificate: Some(Box::new(certificate)), ..Data::default() },
    };
    match store.accept(vec![event]).await {
        Ok(answers) => {
            tracing::warn!("{message}");
            said.insert(what);
            if matches!(answers.first(), Some(Accepted::New(_))) {
                accepted.notify_one();
            }
        }
        // The next round tries again.
        Err(error) => tracing::error!(%error, "cannot be stored as an event: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use qlik_simulator::{Certificates, Counts, Ends, Options, QlikSimulator};
    use tempfile::TempDir;

    use super::*;
    use crate::config;

    fn in_days(days: u32) -> SystemTime {
        SystemTime::now() + DAY * days
    }

    struct Lab {
        simulator: QlikSimulator,
        repository: Arc<Repository>,
        store: Store,
        folder: TempDir,
    }

    async fn lab(ends: Ends, verify: config::Verify) -> Lab {
        let options = Options::default().certificates(Certificates::ending(ends).unwrap());
        let simulator = QlikSimulator::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = simulator.certificates().write_to(folder.path()).unwrap();
        let config = config::Qlik {
            host: "127.0.0.1".to_owned(),
            user: r"INTERNAL\sa_repository".to_owned(),
            certificates: config::Certificates::pem(files.client, files.client_key, files.root),
            verify,
            ports: config::QlikPorts { repository: simulator.addr().port(), ..config::QlikPorts::default() },
            reconcile: config::Reconcile::default(),
            alert_on: config::AlertOn::default(),
            notifications: None,
            start_task_filter: None,
            writes: Vec::new(),
        };
        let repository = Arc::new(Repository::new(&config).unwrap());
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        Lab { simulator, repository, store, folder }
    }

    impl Lab {
        /// Watches until so many events were accepted, and a while longer; days and subjects, sorted.
        async fn watch(&self, count: usize) -> Vec<(i64, String)> {
            let (stop, stopping) = watch::channel(false);
            let running =
                tokio::spawn(run(Some(self.repository.clone()), None, self.store.clone(), Arc::default(), stopping));
            let until = Instant::now() + Duration::from_secs(20);
            while self.events().await.len() < count {
                assert!(Instant::now() < until, "{:?}", self.events().await);
                tokio::time::sleep(LOOK).await;
            }
            // The server's is seen by then, and whatever is said twice would be.
            let met = |counts: Counts| counts.handshakes + counts.handshakes_failed > 0;
            while !met(self.simulator.counts()) {
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LOOK * 5).await;
            stop.send_replace(true);
            running.await.unwrap();
            self.events().await
        }

        async fn events(&self) -> Vec<(i64, String)> {
            let events = self.store.accepted_events(0, 100).await.unwrap();
            let mut found: Vec<_> = events
                .into_iter()
                .map(|row| {
                    assert_eq!(row.event.kind, kind::CERTIFICATE_EXPIRING);
                    let certificate = row.event.data.certificate.unwrap();
                    (certificate.days_until_expiry.unwrap(), certificate.subject.unwrap())
                })
                .collect();
            found.sort();
            found
        }
    }

    #[tokio::test]
    async fn each_end_is_said_once_also_after_a_restart_and_again_for_a_new_certificate() {
        let lab = lab(
            Ends { client: Some(in_days(5)), server: Some(in_days(20)), root: Some(in_days(50)) },
            config::Verify::Full,
        )
        .await;
        let said = lab.watch(3).await;
        assert_eq!(said.iter().map(|(days, _)| *days).collect::<Vec<_>>(), [5, 20, 50]);
        assert_eq!((said[0].1.as_str(), said[1].1.as_str()), ("CN=QlikClient", "CN=localhost"));
        assert!(said[2].1.ends_with("-CA"), "{said:?}");
        assert_eq!(lab.watch(3).await.len(), 3, "known from the last run");

        let renewed = lab.simulator.certificates().renew_client(Some(in_days(40))).unwrap();
        renewed.write_to(lab.folder.path()).unwrap();
        let days: Vec<_> = lab.watch(4).await.into_iter().map(|(days, _)| days).collect();
        assert_eq!(days, [5, 20, 40, 50]);
    }

    #[tokio::test]
    async fn an_expired_server_is_seen_though_it_is_refused() {
        let yesterday = Some(SystemTime::now() - DAY - DAY / 2);
        let lab = lab(Ends { server: yesterday, ..Ends::default() }, config::Verify::Full).await;
        assert_eq!(lab.watch(1).await, [(-1, "CN=localhost".to_owned())]);
        assert!(lab.repository.certificates().iter().any(|facts| facts.has_expired(now_ms())));
    }

    #[tokio::test]
    async fn what_is_not_checked_may_end() {
        let yesterday = Some(SystemTime::now() - DAY);
        let lab =
            lab(Ends { server: yesterday, root: yesterday, client: Some(in_days(1)) }, config::Verify::None).await;
        assert_eq!(lab.watch(1).await, [(1, "CN=QlikClient".to_owned())]);
    }
}
