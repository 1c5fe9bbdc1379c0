//! The notification protocol: the executable's own messages at a socket of the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::place::{PRIVATE, Place};
use e2e::{Butler, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

/// The socket of a service manager.
pub struct Manager {
    socket: UnixDatagram,
    name: String,
    _folder: TempDir,
}

impl Manager {
    /// At a path.
    pub fn at_a_path() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let name = path.to_str().unwrap().to_owned();
        Self { socket: UnixDatagram::bind(path).unwrap(), name, _folder: folder }
    }

    /// In the abstract namespace.
    pub fn without_a_file() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("butler-e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self { socket, name: format!("@{name}"), _folder: TempDir::new().unwrap() }
    }

    /// What a daemon is started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next message within this time.
    pub fn next_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8(text[..length].to_vec()).unwrap())
    }

    /// What has come and was not looked at yet.
    pub fn waiting(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next_within(Duration::from_millis(1))).collect()
    }

    /// Waits for a message that begins so; with those before it.
    pub fn until(&self, begin: &str) -> Vec<String> {
        self.until_one(begin, |message| message.starts_with(begin))
    }

    /// Waits for this message; with those before it.
    pub fn until_whole(&self, whole: &str) -> Vec<String> {
        self.until_one(whole, |message| message == whole)
    }

    /// However many others come: a watchdog is told something all the time.
    fn until_one(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut all, until) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let message = self.next_within(left).filter(|_| Instant::now() < until);
            let Some(message) = message else { panic!("no `{what}` comes after {all:?}") };
            let found = is_it(&message);
            all.push(message);
            if found {
                return all;
            }
        }
    }
}

/// A destination that answers when the test lets it.
struct Gate(TcpListener);

impl Gate {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn config(&self) -> String {
        let url = format!("http://{}/", self.0.local_addr().unwrap());
        format!("plugins:\n  - use: probe\n    settings: {{ fault: waitInStart, url: '{url}' }}\n")
    }

    /// Waits until an instance asks; what ends its waiting.
    fn asked(&self) -> impl FnOnce() + use<> {
        let (mut connection, _) = self.0.accept().unwrap();
        let _ = connection.read(&mut [0; 1024]).unwrap();
        move || connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap()
    }
}

fn hang_up(butler: &Butler) {
    kill(Pid::from_raw(butler.pid().cast_signed()), Signal::SIGHUP).unwrap();
}

#[tokio::test]
async fn ready_is_told_when_the_instances_have_started_and_not_before() {
    for manager in [Manager::at_a_path(), Manager::without_a_file()] {
        let gate = Gate::new();
        let butler = Butler::start_with(&gate.config(), &[("NOTIFY_SOCKET", manager.name())]).await;
        let answer = gate.asked();
        // The instance is in its start, and everything else is there.
        assert_eq!(butler.get("/v5/health/live").await.0, 200);
        let before = manager.waiting();
        assert!(!before.is_empty() && before.iter().all(|told| told.starts_with("EXTEND_TIMEOUT_USEC=")), "{before:?}");
        answer();
        let told = manager.until("READY=1");
        assert_eq!(told, ["STATUS=1 of 1 instance runs", "READY=1"]);
        let (status, _) = butler.stop().await;
        assert!(status.success());
        assert_eq!(manager.waiting().last().unwrap(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000");
    }
}

#[test]
fn a_start_that_an_instance_refuses_is_never_ready() {
    let (manager, place) = (Manager::at_a_path(), Place::new());
    let config = format!("{PRIVATE}plugins:\n  - use: console\n  - use: probe\n    settings: {{ fault: config }}\n");
    let output = place.start_with(&config, &[("NOTIFY_SOCKET", manager.name())]);
    assert!(output.code == 2 && output.stderr.contains("`probe` refuses its settings"), "{output:?}");
    let told = manager.waiting();
    assert!(told.last().is_some_and(|last| last.starts_with("STOPPING=1\n")), "{told:?}");
    assert!(!told.iter().any(|told| told == "READY=1"), "{told:?}");
}

#[tokio::test]
async fn an_instance_that_hangs_in_its_start_does_not_hold_up_the_others_for_ever() {
    let (manager, gate) = (Manager::at_a_path(), Gate::new());
    let butler = Butler::start_with(&gate.config(), &[("NOTIFY_SOCKET", manager.name())]).await;
    let _answer = gate.asked();
    let told = manager.until("READY=1");
    assert_eq!(told[told.len() - 2..], ["STATUS=0 of 1 instance runs; not probe", "READY=1"]);
    // Long before the host gives it up.
    let (_, plugins) = butler.get("/v5/plugins").await;
    assert!(plugins.to_string().contains(r#""state":"starting""#), "{plugins}");
}

#[tokio::test]
async fn a_reload_is_told_from_its_begin_to_its_end_whatever_comes_of_it() {
    let manager = Manager::without_a_file();
    let config = "plugins:\n  - use: probe\n";
    let butler = Butler::start_with(config, &[("NOTIFY_SOCKET", manager.name())]).await;
    manager.until("READY=1");
    hang_up(&butler);
    let told = manager.until("READY=1");
    let micros = told[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told:?}"));
    assert!(micros.parse::<u64>().unwrap() > 0 && told.len() == 2, "{told:?}");
    // An answer comes when the end has been told, as systemd wants it of a command for reloads.
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    let told = manager.waiting();
    assert!(told[0].starts_with("RELOADING=1\n") && told[1] == "READY=1", "{told:?}");
    // What cannot work changes nothing.
    butler.rewrite("plugins:\n  - use: probe\n    nonsense: 1\n");
    assert_ne!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    let told = manager.waiting();
    assert!(told[0].starts_with("RELOADING=1\n") && told[1] == "READY=1", "{told:?}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_holds_nothing_up() {
    let config = "plugins:\n  - use: probe\n";
    let butler = Butler::start_with(config, &[("NOTIFY_SOCKET", "/nowhere/notify")]).await;
    let (status, log) = butler.stop().await;
    assert!(status.success());
    assert_eq!(log.matches("the service manager cannot be told how Butler is").count(), 1, "{log}");
}
