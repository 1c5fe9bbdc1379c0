use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::backend::State;
use crate::tests::fixture::Fixture;
use crate::tests::{Once as _, block_on};
use crate::watch::Watch;

/// A folder with an account, and what the played `net` noted.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        fs::write(place.account(), "username=ann\npassword=top-secret\ndomain=EXAMPLE\n").unwrap();
        fs::set_permissions(place.account(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn account(&self) -> PathBuf {
        self.0.path().join("account")
    }

    fn rpc(&self, call: Duration) -> Rpc {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rpc/testdata/net.sh");
        self.rpc_by(program, call)
    }

    fn rpc_by(&self, program: &str, call: Duration) -> Rpc {
        let settings = json!({ "credentials": "account", "port": 4450, "program": program });
        new(settings, self.0.path(), call).unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

fn new(settings: Value, config_dir: &Path, call: Duration) -> Result<Rpc, String> {
    Rpc::new(&serde_json::from_value(settings).unwrap(), config_dir.to_str().unwrap(), Limits::new(call, 8))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn one_call_for_each_service_with_the_account_in_its_file() {
    let place = Place::new();
    let asked = names(&["Spooler", "Nope", "NETLOGON", "Secret"]);
    let looked = place.rpc(LONG).once("sense1", &asked).await.unwrap();
    let states: Vec<_> = looked.iter().map(|found| found.as_ref().map(|found| found.state)).collect();
    assert_eq!((states[0], states[2]), (Ok(State::Running), Ok(State::Stopped)));
    assert_eq!(states[1], Err(&Failure::Missing));
    assert!(matches!(states[3], Err(Failure::Service(text)) if text.contains("WERR_ACCESS_DENIED")), "{states:?}");

    let mut calls = place.calls();
    let account = place.account();
    let call = |service: &str| {
        let (account, order) = (account.display(), "--option=name resolve order=host");
        format!("C --configfile=/dev/null {order} -S sense1 -p 4450 -A {account} rpc service status -- {service}")
    };
    assert_eq!(calls.remove(0), call("Spooler"), "the first one alone");
    calls.sort();
    let mut others = [call("NETLOGON"), call("Nope"), call("Secret")];
    others.sort();
    assert_eq!(calls, others);
    assert!(!calls.concat().contains("top-secret"));
    assert_eq!(place.rpc(LONG).once("sense1", &[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_host_that_is_silent_costs_one_call_and_one_time_out() {
    let place = Place::new();
    let start = Instant::now();
    let looked = place.rpc(Duration::from_secs(1)).once("silent", &names(&["Spooler", "NETLOGON", "WINS"])).await;
    assert!(
        matches!(&looked, Err(Failure::Host(text)) if text.contains("silent does not answer at TCP port 4450 within 1s"))
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(place.calls().len(), 1);

    let looked = place.rpc(LONG).once("closed", &names(&["Spooler", "NETLOGON"])).await;
    assert!(matches!(&looked, Err(Failure::Host(text)) if text.contains("NT_STATUS_CONNECTION_REFUSED")), "{looked:?}");
    assert_eq!(place.calls().len(), 2);
}

#[tokio::test]
async fn a_service_that_gets_no_answer_leaves_the_others_theirs() {
    let place = Place::new();
    let looked =
        place.rpc(Duration::from_secs(2)).once("sense1", &names(&["Spooler", "Stuck", "NETLOGON"])).await.unwrap();
    assert!(matches!(&looked[1], Err(Failure::Service(text)) if text.contains("within 2s")), "{looked:?}");
    assert!(looked[0].is_ok() && looked[2].is_ok(), "{looked:?}");
}

#[tokio::test]
async fn a_refused_logon_is_not_repeated_until_the_file_has_changed() {
    let place = Place::new();
    fs::write(place.account(), "username=ann\npassword=top-secret\n").unwrap();
    let rpc = place.rpc(LONG);
    let services = names(&["Spooler", "NETLOGON"]);
    let refused = rpc.once("stranger", &services).await;
    assert!(matches!(&refused, Err(Failure::Host(text)) if text.contains("NT_STATUS_LOGON_FAILURE")), "{refused:?}");
    assert_eq!(rpc.once("stranger", &services).await, refused, "the same words, so that nothing looks new");
    assert_eq!(place.calls().len(), 1);
    assert!(rpc.once("sense1", &services).await.is_ok());
    assert_eq!(place.calls().len(), 3);

    let file = fs::File::options().write(true).open(place.account()).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert_eq!(rpc.once("stranger", &services).await, refused);
    assert_eq!(place.calls().len(), 4);
}

#[tokio::test]
async fn hosts_that_refuse_an_account_of_a_domain_cost_one_logon_together() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    let services = names(&["Spooler", "NETLOGON"]);
    let hosts = ["stranger1", "stranger2", "stranger3", "sense1", "stranger4"];
    let looked = join_all(hosts.map(|host| rpc.once(host, &services))).await;
    assert_eq!(place.calls().len(), 1, "{:?}", place.calls());
    for looked in &looked {
        let Err(Failure::Host(text)) = looked else { panic!("{looked:?}") };
        assert!(text.contains("NT_STATUS_LOGON_FAILURE") && text.contains("no host is asked"), "{text}");
    }
    assert_eq!(join_all(hosts.map(|host| rpc.once(host, &services))).await, looked);
    assert_eq!(place.calls().len(), 1);

    let file = fs::File::options().write(true).open(place.account()).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    let hosts = ["sense1", "stranger1", "sense2", "stranger2"];
    let looked = join_all(hosts.map(|host| rpc.once(host, &services))).await;
    let refused: Vec<_> = looked.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, true, false, true], "what one accepts another one alone refuses: {looked:?}");
}

#[tokio::test]
async fn a_logon_that_is_refused_after_the_first_is_noted_too() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    let services = names(&["Spooler", "Changed", "NETLOGON"]);
    let looked = rpc.once("sense1", &services).await.unwrap();
    assert!(
        matches!(&looked[1], Err(Failure::Service(text)) if text.contains("NT_STATUS_LOGON_FAILURE")),
        "{looked:?}"
    );
    let calls = place.calls().len();
    for host in ["sense1", "sense2"] {
        let looked = rpc.once(host, &services).await;
        assert!(matches!(&looked, Err(Failure::Host(text)) if text.contains("NT_STATUS_LOGON_FAILURE")), "{looked:?}");
    }
    assert_eq!(place.calls().len(), calls);
}

#[tokio::test]
async fn hosts_that_hang_do_not_keep_others_from_their_logon() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    let services = names(&["Spooler"]);
    let hang = rpc.once("silent", &services);
    let other = async {
        while place.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rpc.once("sense1", &services).await
    };
    tokio::select! {
        looked = hang => panic!("{looked:?}"),
        looked = other => assert!(looked.is_ok(), "{looked:?}"),
    }
}

/// What is told, with the host.
fn told(fixture: &Fixture) -> Vec<String> {
    let emitted = fixture.fake.emitted().into_iter();
    emitted.map(|(kind, data)| format!("{kind} {}", data["node"].as_str().unwrap())).collect()
}

#[test]
fn a_host_that_waits_for_its_logon_behind_those_that_hang_is_not_told_as_one_that_cannot_be_checked() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    let hosts = ["silent1", "silent2", "sense1"].map(|host| json!({ "host": host, "services": ["Spooler"] }));
    let fixture = Fixture::new(json!({ "hosts": hosts, "states": false, "timeouts": { "round": "3s" } }));
    block_on(async {
        let host = fixture.fake.host();
        let watch = Watch { host: &host, plan: &fixture.plan, backend: &rpc, troubles: &fixture.troubles };
        let mut hosts = watch.load().await.unwrap();
        watch.round(&mut hosts).await;
        assert_eq!(told(&fixture), ["service.unknown silent1"], "the second had a second, the third none");
        watch.round(&mut hosts).await;
    });
    assert_eq!(told(&fixture), ["service.unknown silent1", "service.unknown silent2"]);
    assert_eq!(fixture.fake.metric(r#"state{host="sense1",service="Spooler"}"#), Some(4.0));
}

#[tokio::test]
async fn a_logon_that_waits_for_a_place_keeps_its_turn() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    let places = join_all((0..8).map(|_| rpc.limits.place())).await;
    let free = async {
        tokio::time::sleep(HOLD + Duration::from_secs(1)).await;
        drop(places);
    };
    let services = names(&["Spooler"]);
    let looks = join_all(["stranger1", "stranger2", "stranger3"].map(|host| rpc.once(host, &services)));
    let (looked, ()) = futures_util::join!(looks, free);
    assert!(looked.iter().all(Result::is_err), "{looked:?}");
    assert_eq!(place.calls().len(), 1, "the first one is refused for all: {:?}", place.calls());
}

#[tokio::test]
async fn a_host_that_hangs_after_its_first_answer_does_not_take_all_programs() {
    let place = Place::new();
    let limit = Duration::from_secs(5);
    let (rpc, start) = (place.rpc(limit), Instant::now());
    let mut services = names(&["Spooler"]);
    services.extend((0..20).map(|number| format!("Stuck{number}")));
    let mut stuck = Box::pin(rpc.once("sense1", &services));
    let other = async {
        while place.calls().len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rpc.once("sense2", &names(&["Spooler", "NETLOGON"])).await
    };
    tokio::select! {
        looked = &mut stuck => panic!("{looked:?}"),
        looked = other => assert!(looked.is_ok(), "{looked:?}"),
    }
    assert!(start.elapsed() < limit, "the other host waited for the one that hangs: {:?}", start.elapsed());
    let looked = stuck.await.unwrap();
    let is_told = |answer: &Result<_, _>| matches!(answer, Err(Failure::Service(text)) if text.contains("within 5s"));
    assert!(looked[0].is_ok() && looked[1..].iter().all(is_told), "{looked:?}");
    let stuck = place.calls().iter().filter(|call| call.contains("Stuck")).count();
    assert_eq!(stuck, AT_ONCE, "it is not asked again and again");
}

#[tokio::test]
async fn a_file_that_became_useless_is_told_and_no_host_is_asked() {
    let place = Place::new();
    let rpc = place.rpc(LONG);
    fs::write(place.account(), "username=ann\n").unwrap();
    let looked = rpc.once("sense1", &names(&["Spooler"])).await;
    assert!(matches!(&looked, Err(Failure::Host(text)) if text.contains("no line `password=…`")), "{looked:?}");
    assert_eq!(place.calls().len(), 0);
}

#[tokio::test]
async fn without_samba_it_says_what_to_install() {
    let place = Place::new();
    let looked = place.rpc_by("/nowhere/net", LONG).once("sense1", &names(&["Spooler"])).await;
    let Err(Failure::Host(text)) = looked else { panic!("{looked:?}") };
    assert!(text.contains("/nowhere/net") && text.contains("samba-common-bin") && text.contains("`program`"), "{text}");
}

#[test]
fn the_account_is_checked_at_the_start() {
    let folder = TempDir::new().unwrap();
    let fault = new(json!({ "credentials": "account" }), folder.path(), LONG).err().unwrap();
    let path = folder.path().join("account").display().to_string();
    assert!(fault.contains(&path), "relative to the folder of the config: {fault}");

    let place = Place::new();
    let absolute = json!({ "credentials": place.account() });
    let rpc = new(absolute, folder.path(), LONG).unwrap();
    assert_eq!((rpc.credentials, rpc.port, rpc.program), (place.account(), 445, "net".to_owned()));
}
