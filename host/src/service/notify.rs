//! The notification protocol of systemd (`sd_notify(3)`): a datagram with lines `NAME=VALUE` to the socket in `NOTIFY_SOCKET`,
//! and the watchdog (`sd_watchdog_enabled(3)`), which is to hear something in every `WATCHDOG_USEC`.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Manager, State};
use crate::observe;

/// Without a watchdog the line about how Butler is may be so old.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// A manager that does not read its socket holds nothing up for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket of a service manager.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// It wants to hear something within this time.
    watchdog: Option<Duration>,
    /// That it cannot be told has been said.
    failed: AtomicBool,
}

impl Notify {
    /// The one that this process was started with, if any.
    pub(super) fn from_env() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let made = address(&name).and_then(|manager| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok((socket, manager))
        });
        match made {
            Ok((socket, manager)) => {
                let watchdog = watchdog(|name| std::env::var_os(name), std::process::id());
                Some(Self { socket, manager, watchdog, failed: AtomicBool::new(false) })
            }
            Err(error) => {
                // The log is installed later.
                observe::say(&format!(
                    "the service manager is told nothing: `NOTIFY_SOCKET` names no socket that Butler can send to ({error}); \
                     leave it to systemd to set it"
                ));
                None
            }
        }
    }
}

/// The address of a socket: a path, or after `@` a name in the abstract namespace of Linux.
fn address(name: &OsString) -> std::io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

/// The time within which the watchdog wants to hear something, if it watches this process.
fn watchdog(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    let other = variable("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(u64::from(pid));
    number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !other).map(Duration::from_micros)
}

impl Manager for Notify {
    fn tell(&self, state: State<'_>) {
        let lines = match state {
            State::Starting(more) => format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()),
            State::Ready => "READY=1".to_owned(),
            State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()),
            State::Status(line) => format!("STATUS={}", line.replace(['\n', '\r'], " ")),
            // It sees that the process ends, and how.
            State::Ended(_) => return,
            State::Alive if self.watchdog.is_none() => return,
            State::Alive => "WATCHDOG=1".to_owned(),
            State::Stopping(limit) => format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", limit.as_micros()),
        };
        match self.socket.send_to_addr(lines.as_bytes(), &self.manager) {
            Ok(_) => self.failed.store(false, Ordering::Relaxed),
            Err(error) if !self.failed.swap(true, Ordering::Relaxed) => {
                tracing::warn!("the service manager cannot be told how Butler is: {error}; it may end Butler for that");
            }
            Err(_) => {}
        }
    }

    fn every(&self) -> Option<Duration> {
        Some(self.watchdog.map_or(STATUS_EVERY, |within| within / 2))
    }
}

/// The clock by which systemd tells a reload that it asked for from an earlier one, in microseconds.
fn monotonic_micros() -> i64 {
    // Every Linux has this clock.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> (UnixDatagram, Notify) {
        let manager = address(&name.into()).unwrap();
        let receiver = UnixDatagram::bind_addr(&manager).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        (receiver, Notify { socket, manager, watchdog: Some(Duration::from_secs(9)), failed: AtomicBool::new(false) })
    }

    fn received(receiver: &UnixDatagram) -> String {
        let mut text = [0; 512];
        let length = receiver.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn states_are_told_at_a_path_and_at_a_name_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("@butler-test-{}", std::process::id());
        for name in [path.to_str().unwrap(), abstract_name.as_str()] {
            let (receiver, notify) = socket(name);
            assert_eq!(notify.every(), Some(Duration::from_millis(4500)));
            notify.tell(State::Starting(Duration::from_secs(2)));
            assert_eq!(received(&receiver), "EXTEND_TIMEOUT_USEC=2000000");
            notify.tell(State::Status("two\nlines"));
            assert_eq!(received(&receiver), "STATUS=two lines");
            let before = monotonic_micros();
            notify.tell(State::Reloading);
            let reloading = received(&receiver);
            let micros: i64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((before..=monotonic_micros()).contains(&micros));
            notify.tell(State::Stopping(Duration::from_millis(1500)));
            assert_eq!(received(&receiver), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_holds_nothing_up() {
        let name = format!("@butler-test-deaf-{}", std::process::id());
        let (receiver, notify) = socket(&name);
        notify.socket.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        while !notify.failed.load(Ordering::Relaxed) {
            notify.tell(State::Alive);
        }
        drop(receiver);
        notify.tell(State::Ready);
        assert!(notify.failed.load(Ordering::Relaxed));
    }

    #[test]
    fn a_watchdog_watches_one_process() {
        let set = |usec: Option<&'static str>, pid: Option<&'static str>| {
            watchdog(move |name| if name == "WATCHDOG_USEC" { usec } else { pid }.map(OsString::from), 7)
        };
        assert_eq!(set(Some("3000000"), None), Some(Duration::from_secs(3)));
        assert_eq!(set(Some("3000000"), Some("7")), Some(Duration::from_secs(3)));
        assert_eq!(set(Some("3000000"), Some("8")), None);
        assert_eq!(set(Some("3000000"), Some("x")), None);
        assert_eq!(set(Some("0"), None), None);
        assert_eq!(set(Some("soon"), None), None);
        assert_eq!(set(None, Some("7")), None);
    }
}
