//! Services of Windows hosts asked from Linux: a real Samba server answers Samba's real client.
#![cfg(unix)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use e2e::{Butler, Samba, Sink, command, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Samba, a Butler that asks it, and what Butler told.
struct Place {
    samba: Samba,
    folder: Arc<TempDir>,
    sink: Sink,
    /// What a destination gets that has no `on:` of its own.
    usual: Sink,
}

impl Place {
    async fn new() -> Self {
        let place = Self {
            samba: Samba::start().await,
            folder: Arc::new(TempDir::new().expect("a folder can be made")),
            sink: Sink::start().await,
            usual: Sink::start().await,
        };
        Samba::write_credentials(&place.credentials(), Samba::USER, Samba::PASSWORD);
        place
    }

    fn credentials(&self) -> PathBuf {
        self.folder.path().join("windows.cred")
    }

    /// Starts Butler; `hosts`: addresses with names of services.
    async fn butler(&self, hosts: &[(&str, &[&str])]) -> Butler {
        Butler::start_in(self.folder.clone(), &self.config(hosts), &[]).await
    }

    fn config(&self, hosts: &[(&str, &[&str])]) -> String {
        let (url, usual, port) = (self.sink.url("/"), self.usual.url("/"), self.samba.port());
        let hosts: Vec<Value> =
            hosts.iter().map(|(host, services)| json!({ "host": host, "services": services })).collect();
        let settings = json!({
            "when": { "every": "1s" },
            "hosts": hosts,
            "backend": { "rpc": { "credentials": "windows.cred", "port": port } },
            "timeouts": { "call": "10s" },
        });
        format!(
            "plugins:
  - use: windows-services
    settings: {settings}
  - use: webhook
    on: [{{ events: [\"service.*\"] }}]
    settings: {{ url: \"{url}\", format: event }}
  - use: webhook
    name: usual
    settings: {{ url: \"{usual}\", format: event }}
"
        )
    }

    /// Events of a kind of a service, oldest first.
    fn told(&self, kind: &str, service: &str) -> Vec<Value> {
        let events = self.sink.received().into_iter().map(|received| received.json());
        events.filter(|event| event["kind"] == kind && event["data"]["service"]["name"] == service).collect()
    }

    /// The first event of a kind of a service.
    async fn wait(&self, kind: &str, service: &str) -> Value {
        wait_for(&format!("{kind} of {service}"), || async { self.told(kind, service).into_iter().next() }).await
    }

    /// The cause that a service cannot be checked.
    async fn cause(&self, service: &str) -> String {
        let event = self.wait("service.unknown", service).await;
        event["data"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn write_open_to_all(file: &Path) {
    Samba::write_credentials(file, Samba::USER, Samba::PASSWORD);
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("the file is ours");
}

#[tokio::test]
async fn services_are_told_as_the_server_has_them() {
    let place = Place::new().await;
    place.samba.set("NETLOGON", "DisplayName", "Anmeldedienst für \"Müller\" = 1");
    let butler = place.butler(&[(Samba::ADDRESS, &["Spooler", "RemoteRegistry", "NETLOGON", "NoSuchService"])]).await;

    let spooler = place.wait("service.state", "Spooler").await["data"]["service"].clone();
    assert_eq!(
        (&spooler["host"], &spooler["state"], &spooler["displayName"], &spooler["startType"]),
        (&json!(Samba::ADDRESS), &json!("RUNNING"), &json!("Print Spooler"), &json!("Manual")),
        "{spooler}"
    );
    assert!(spooler["exePath"].as_str().is_some_and(|path| path.ends_with("/svcctl/smbd")), "{spooler}");
    assert_eq!(place.wait("service.state", "RemoteRegistry").await["data"]["service"]["state"], "RUNNING");
    let netlogon = place.wait("service.stopped", "NETLOGON").await["data"]["service"].clone();
    assert_eq!(
        (&netlogon["state"], &netlogon["startType"], &netlogon["displayName"]),
        (&json!("STOPPED"), &json!("Disabled"), &json!("Anmeldedienst für \"Müller\" = 1")),
        "{netlogon}"
    );
    let cause = place.cause("NoSuchService").await;
    assert!(cause.contains("no service of this name"), "{cause}");

    place.samba.control("stop", "Spooler").await;
    let stopped = place.wait("service.stopped", "Spooler").await;
    assert_eq!(stopped["data"]["service"]["previousState"], "RUNNING", "{stopped}");
    place.samba.control("start", "Spooler").await;
    let started = place.wait("service.started", "Spooler").await;
    assert_eq!(started["data"]["service"]["previousState"], "STOPPED", "{started}");
    for kind in ["service.stopped", "service.started"] {
        assert_eq!(place.told(kind, "Spooler").len(), 1, "{kind}");
    }
    assert_eq!(place.told("service.unknown", "Spooler"), [] as [Value; 0]);
    assert!(!butler.log().contains(Samba::PASSWORD));
}

#[tokio::test]
async fn a_refused_logon_is_told_with_its_cause_and_a_corrected_file_is_taken_at_once() {
    let place = Place::new().await;
    Samba::write_credentials(&place.credentials(), Samba::USER, "not-the-password");
    let butler = place.butler(&[(Samba::ADDRESS, &["Spooler", "NETLOGON"])]).await;
    for service in ["Spooler", "NETLOGON"] {
        let cause = place.cause(service).await;
        assert!(cause.contains("NT_STATUS_LOGON_FAILURE") && cause.contains("windows.cred"), "{cause}");
    }
    Samba::write_credentials(&place.credentials(), Samba::USER, Samba::PASSWORD);
    place.wait("service.state", "Spooler").await;
    place.wait("service.stopped", "NETLOGON").await;

    // One who gets in and may not ask.
    Samba::write_credentials(&place.credentials(), Samba::STRANGER, Samba::PASSWORD);
    wait_for("a refusal", || async {
        let told = place.told("service.unknown", "Spooler");
        told.iter().any(|event| event["data"]["message"].to_string().contains("NT_STATUS_ACCESS_DENIED")).then_some(())
    })
    .await;
    let log = butler.log();
    assert!(log.contains("make it an administrator of the host"), "{log}");
    assert!(!log.contains("not-the-password") && !log.contains(Samba::PASSWORD));
}

#[tokio::test]
async fn a_server_that_dies_is_told_and_so_is_what_it_says_when_it_is_back() {
    let mut place = Place::new().await;
    let _butler = place.butler(&[(Samba::ADDRESS, &["Spooler", "NETLOGON"])]).await;
    place.wait("service.state", "Spooler").await;
    place.wait("service.stopped", "NETLOGON").await;
    place.samba.kill();
    for service in ["Spooler", "NETLOGON"] {
        let cause = place.cause(service).await;
        assert!(cause.contains("does not answer at TCP port") && cause.contains("firewall"), "{cause}");
        let is_told = |event: Value| event["kind"] == "service.unknown" && event["data"]["service"]["name"] == service;
        place.usual.wait_where("an alert without `on:`", |received| is_told(received.json())).await;
    }
    place.sink.forget();
    place.samba.restart().await;
    assert_eq!(place.wait("service.state", "Spooler").await["data"]["service"]["state"], "RUNNING");
    assert_eq!(place.wait("service.state", "NETLOGON").await["data"]["service"]["state"], "STOPPED");
}

#[tokio::test]
async fn silent_and_closed_hosts_delay_nobody() {
    let place = Place::new().await;
    // Takes connections, and never says a word.
    let _silent = TcpListener::bind(("127.0.0.3", place.samba.port())).expect("the address is free");
    let services: &[&str] = &["Spooler", "NETLOGON"];
    let start = std::time::Instant::now();
    let _butler = place.butler(&[("127.0.0.3", services), ("127.0.0.4", services), (Samba::ADDRESS, services)]).await;
    let of = |event: &Value, host: &str| event["data"]["service"]["host"] == host;
    place.wait("service.state", "Spooler").await;
    place.wait("service.stopped", "NETLOGON").await;
    let unknown = place.told("service.unknown", "Spooler");
    assert!(
        !unknown.iter().any(|event| of(event, "127.0.0.3")),
        "told before the silent one's time is over: {unknown:?}"
    );
    let cause = async |host: &'static str| {
        wait_for(host, || async {
            let told = place.told("service.unknown", "NETLOGON").into_iter().find(|event| of(event, host))?;
            Some(told["data"]["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    };
    let closed = cause("127.0.0.4").await;
    assert!(closed.contains("NT_STATUS_CONNECTION_REFUSED"), "{closed}");
    let silent = cause("127.0.0.3").await;
    assert!(silent.contains("127.0.0.3 does not answer at TCP port"), "{silent}");
    assert!(start.elapsed() > Duration::from_secs(10), "the silent one had its time");
}

#[tokio::test]
async fn a_credentials_file_that_everybody_can_read_is_refused() {
    let place = Place::new().await;
    write_open_to_all(&place.credentials());
    let config = Butler::prepare(&place.folder, &place.config(&[(Samba::ADDRESS, &["Spooler"])]));
    let output = command(&["run", "-c", config.to_str().expect("the folder's name is text")]).await;
    assert_eq!(output.code, 2, "{output:?}");
    let remedy = format!("run `chmod o= {}`", place.credentials().display());
    assert!(output.stderr.contains("`windows-services` refuses its settings"), "{output:?}");
    assert!(output.stderr.contains(&remedy) && !output.stderr.contains(Samba::PASSWORD), "{output:?}");
}
