//! The watchdog: told while the main loop goes round and the store answers, or is in trouble that no restart would mend.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Butler, Disk, Filler, PATIENCE, failure, fields, wait_for};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::notify::Manager;

const CONFIG: &str = "plugins:\n  - use: probe\n";
const ALIVE: &str = "WATCHDOG=1";
const TROUBLE: &str = "STATUS=1 of 1 instance runs; the store cannot be written: ";
/// Of a watchdog that wants to hear something every second.
const WATCHED: (&str, &str) = ("WATCHDOG_USEC", "1000000");
/// So many rounds of a daemon that is well go by.
const SILENCE: Duration = Duration::from_secs(4);

/// Nothing of a daemon is heard any more, for longer than the watchdog would wait. What is on its way may still come: a store is silent
/// only when it has something to write.
fn is_silent(manager: &Manager) {
    let until = Instant::now() + PATIENCE;
    while let Some(message) = manager.next_within(SILENCE) {
        assert!(Instant::now() < until, "it goes on telling: {message}");
    }
}

/// Waits until the main thread of a process sleeps: stopped in the middle of something it might hold what others need.
async fn sleeps(main_thread: Pid) {
    wait_for("the main thread to sleep", || async {
        let stat = std::fs::read_to_string(format!("/proc/{main_thread}/task/{main_thread}/stat")).unwrap();
        // The state follows the name, which is in parentheses.
        stat.rsplit_once(") ").unwrap().1.starts_with('S').then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_main_loop_that_hangs_is_not_alive() {
    let manager = Manager::at_a_path();
    let butler = Butler::start_with(CONFIG, &[("NOTIFY_SOCKET", manager.name()), WATCHED]).await;
    manager.until("READY=1");
    for _ in 0..3 {
        assert_eq!(manager.until(ALIVE), [ALIVE]);
    }
    // Stops this one thread, as a debugger does.
    let main_thread = Pid::from_raw(butler.pid().cast_signed());
    sleeps(main_thread).await;
    ptrace::seize(main_thread, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(main_thread).unwrap();
    nix::sys::wait::waitpid(main_thread, None).unwrap();
    is_silent(&manager);
    // All others go on.
    assert_eq!(butler.get("/v5/health/ready").await.0, 200);
    ptrace::detach(main_thread, None).unwrap();
    manager.until(ALIVE);
}

/// A file system that lets nobody write until it is dropped.
struct Frozen<'a>(&'a Disk);

impl<'a> Frozen<'a> {
    fn new(disk: &'a Disk) -> Self {
        assert!(Command::new("fsfreeze").arg("-f").arg(disk.path()).status().unwrap().success());
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        assert!(Command::new("fsfreeze").arg("-u").arg(self.0.path()).status().unwrap().success());
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_not_alive() {
    let (manager, disk) = (Manager::at_a_path(), Disk::in_file(64));
    let environment = [("NOTIFY_SOCKET", manager.name()), WATCHED];
    let butler = Butler::start_in(disk.folder(), CONFIG, &environment).await;
    manager.until("READY=1");
    manager.until(ALIVE);
    let frozen = Frozen::new(&disk);
    butler.send(&[failure(&fields())]);
    is_silent(&manager);
    assert_eq!(butler.get("/v5/health/live").await.0, 200);
    drop(frozen);
    manager.until(ALIVE);
    butler.wait_delivery("delivered", "probe").await;
}

#[tokio::test]
async fn a_full_disk_is_no_reason_to_be_started_anew() {
    let (manager, disk) = (Manager::at_a_path(), Disk::in_memory(16));
    let environment = [("NOTIFY_SOCKET", manager.name()), WATCHED];
    let butler = Butler::start_in(disk.folder(), CONFIG, &environment).await;
    manager.until("READY=1");
    let filler = Filler::start(&disk);
    // Until it is told: the room that the store had set aside may let a first trouble pass.
    wait_for("trouble of the store", || async {
        butler.send(&[failure(&fields())]);
        let told = manager.waiting();
        let status = told.iter().rfind(|told| told.starts_with("STATUS="));
        status.is_some_and(|status| status.starts_with(TROUBLE)).then_some(())
    })
    .await;
    for _ in 0..4 {
        let told = manager.until(ALIVE);
        // The words for the trouble may change.
        assert!(told[..told.len() - 1].iter().all(|told| told.starts_with(TROUBLE)), "{told:?}");
    }
    drop(filler);
    manager.until_whole("STATUS=1 of 1 instance runs");
    butler.wait_delivery("delivered", "probe").await;
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_not_answered() {
    let manager = Manager::at_a_path();
    let environment = [("NOTIFY_SOCKET", manager.name()), ("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let butler = Butler::start_with(CONFIG, &environment).await;
    let mut told = manager.until("READY=1");
    told.extend(manager.next_within(Duration::from_secs(1)));
    butler.stop().await;
    told.extend(manager.waiting());
    assert!(told.iter().all(|message| !message.contains("WATCHDOG")), "{told:?}");
}

#[tokio::test]
async fn a_stop_that_takes_its_time_is_alive() {
    let manager = Manager::at_a_path();
    let config = "shutdownTimeout: 8s\nplugins:\n  - use: probe\n    settings: { fault: hang }\n";
    let environment = [("NOTIFY_SOCKET", manager.name()), ("WATCHDOG_USEC", "500000")];
    let butler = Butler::start_with(config, &environment).await;
    manager.until("READY=1");
    butler.send(&[failure(&fields())]);
    wait_for("a delivery that hangs", || async {
        let open = butler.deliveries("state=leased").await;
        (!open.is_empty()).then_some(())
    })
    .await;
    kill(Pid::from_raw(butler.pid().cast_signed()), Signal::SIGTERM).unwrap();
    manager.until("STOPPING=1");
    assert_eq!(manager.until(ALIVE), [ALIVE]);
}
