//! The dead man's switch: beats while all is well, and none while Qlik Sense, the store or UDP is not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use e2e::qlik::Fault;
use e2e::{Answer, Butler, Disk, Filler, Received, Sense, Sink, command, wait_for};
use tempfile::TempDir;

/// An instance that beats every second.
fn beats(name: &str, url: &str, more: &str) -> String {
    format!("  - use: heartbeat\n    name: {name}\n    settings: {{ url: \"{url}\", every: 1s, timeout: 2s{more} }}\n")
}

fn at<'a>(received: &'a [Received], path: &str) -> Vec<&'a Received> {
    received.iter().filter(|one| one.target == path).collect()
}

/// Waits for so many more calls of a path.
async fn wait_more(sink: &Sink, path: &str, count: usize) -> Vec<Received> {
    let before = at(&sink.received(), path).len();
    wait_for(&format!("{count} more calls of {path}"), || async {
        let received = sink.received();
        (at(&received, path).len() >= before + count).then_some(received)
    })
    .await
}

async fn wait_said(butler: &Butler, text: &str) {
    wait_for(&format!("the log to say `{text}`:\n{}", butler.log()), || async {
        butler.log().contains(text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_beats_at_once_and_while_qlik_sense_answers() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    // The second one is the clock of this test: it needs nothing but a Butler that runs.
    let config = format!(
        "plugins:\n{}{}",
        beats("heart", &sink.url("/heart?key=s3cret"), ""),
        beats("clock", &sink.url("/clock"), ", require: [], method: HEAD")
    );
    let butler = sense.butler(&config).await;
    let received = wait_more(&sink, "/heart?key=s3cret", 3).await;
    let first = at(&received, "/heart?key=s3cret")[0];
    assert_eq!((first.method.as_str(), first.body.as_str()), ("GET", ""));
    assert_eq!(at(&received, "/clock")[0].method, "HEAD");

    sense.stop().await;
    let healthy = "butler_plugin_heartbeat_healthy{instance=\"heart\"}";
    butler.wait_metric(healthy, 0.0).await;
    sink.forget();
    wait_more(&sink, "/clock", 4).await;
    assert!(at(&sink.received(), "/heart?key=s3cret").is_empty(), "{:?}", sink.received());
    assert!(
        butler.log().contains("the heartbeat stops, since not all is well: Qlik Sense at 127.0.0.1:"),
        "{}",
        butler.log()
    );
    assert_eq!(butler.log().matches("the heartbeat stops").count(), 1, "{}", butler.log());

    sense.restart().await.unwrap();
    wait_more(&sink, "/heart?key=s3cret", 2).await;
    wait_said(&butler, "all is well again, after ").await;
}

#[tokio::test]
async fn healthchecks_hears_of_the_start_and_of_failures_with_their_reason() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let config = format!("plugins:\n{}", beats("heart", &sink.url("/ping/abc"), ", style: healthchecks"));
    let butler = sense.butler(&config).await;
    let received = wait_more(&sink, "/ping/abc", 2).await;
    assert_eq!(
        (received[0].method.as_str(), received[0].target.as_str(), received[0].body.as_str()),
        ("POST", "/ping/abc/start", "Butler starts")
    );
    assert_eq!(at(&received, "/ping/abc/start").len(), 1);
    assert_eq!(at(&received, "/ping/abc")[0].body, "all is well");

    // A Qlik Sense that hangs is not well either.
    sense.faults().add(Fault::hang());
    let failed = sink.wait_where("a failure", |one| one.target == "/ping/abc/fail").await;
    assert!(failed.body.starts_with("Qlik Sense gave no answer within 2 s"), "{}", failed.body);
    sense.stop().await;
    sink.wait_where("another reason", |one| one.target == "/ping/abc/fail" && one.body.contains("refused")).await;
    sense.faults().clear();
    sense.restart().await.unwrap();
    wait_more(&sink, "/ping/abc", 2).await;

    // A start again is told as one.
    sink.forget();
    let _butler = butler.kill_and_start().await;
    sink.wait_where("a start", |one| one.target == "/ping/abc/start").await;
}

#[tokio::test]
async fn a_full_disk_stops_it_although_nothing_happens() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let more = format!(", failUrl: \"{}\", method: POST", sink.url("/down"));
    let config = format!("plugins:\n{}", beats("heart", &sink.url("/up"), &more));
    let _butler = Butler::start_in(disk.folder(), &config, &[]).await;
    wait_more(&sink, "/up", 1).await;

    // What was set aside is used up already.
    wait_for("room to be set aside", || async { std::fs::remove_file(disk.path().join("butler.reserve")).ok() }).await;
    let filler = Filler::start(&disk);
    let failed = sink.wait_where("a failure", |one| one.target == "/down").await;
    assert!(failed.body.starts_with("the store "), "{}", failed.body);
    sink.wait_where("the reason", |one| one.target == "/down" && one.body.contains("the store cannot be written"))
        .await;
    sink.forget();
    wait_more(&sink, "/down", 3).await;
    assert!(at(&sink.received(), "/up").is_empty(), "{:?}", sink.received());

    drop(filler);
    wait_more(&sink, "/up", 2).await;
}

/// A library for LD_PRELOAD by which sockets fail while a file is there.
fn broken_sockets(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("broken.c"), folder.join("broken.so"));
    let code = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <stdlib.h>
        #include <sys/socket.h>
        #include <unistd.h>

        int recvmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags, struct timespec *wait) {
            const char *file = getenv("BROKEN_WHILE");
            if (file && access(file, F_OK) == 0) { errno = EIO; return -1; }
            int (*real)(int, struct mmsghdr *, unsigned int, int, struct timespec *) = dlsym(RTLD_NEXT, "recvmmsg");
            return real(fd, headers, count, flags, wait);
        }
    "#;
    std::fs::write(&source, code).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    let built = built.expect("a C compiler is installed (tests/packages.txt)");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[tokio::test]
async fn a_socket_that_cannot_be_read_stops_it() {
    let (sink, tools) = (Sink::start().await, TempDir::new().unwrap());
    let (library, file) = (broken_sockets(tools.path()), tools.path().join("broken"));
    let more = format!(", failUrl: \"{}\", method: POST", sink.url("/down"));
    let config = format!("plugins:\n{}", beats("heart", &sink.url("/up"), &more));
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("BROKEN_WHILE", file.to_str().unwrap())];
    let folder = Arc::new(TempDir::new().unwrap());
    let _butler = Butler::start_in(folder, &config, &environment).await;
    wait_more(&sink, "/up", 2).await;
    std::fs::write(&file, "").unwrap();
    let failed = sink.wait_where("a failure", |one| one.target == "/down").await;
    assert!(failed.body.starts_with("UDP: 127.0.0.1:") && failed.body.contains("cannot be read: "), "{}", failed.body);
    sink.forget();
    wait_more(&sink, "/down", 2).await;
    assert!(at(&sink.received(), "/up").is_empty(), "{:?}", sink.received());
    std::fs::remove_file(&file).unwrap();
    wait_more(&sink, "/up", 2).await;
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_said_once_and_the_next_beat_comes() {
    let sink = Sink::start().await;
    sink.always(Some(Answer::Status(500)));
    let config = format!("plugins:\n{}", beats("heart", &sink.url("/up"), ""));
    let butler = Butler::start(&config).await;
    sink.wait(4).await;
    wait_said(&butler, "the heartbeat is not taken: the destination answered 500").await;
    assert_eq!(butler.log().matches("the heartbeat is not taken").count(), 1, "{}", butler.log());
    // One that hangs holds up no other: the next comes when its time is over.
    sink.forget();
    sink.always(None);
    sink.next([Answer::Hang]);
    sink.wait(3).await;
    wait_said(&butler, "the heartbeat is taken again, after ").await;
    assert_eq!(sink.most_at_once(), 1, "never two at once");

    // With time until the next beat it is tried again soon: the next one is an hour away.
    let patient = Sink::start().await;
    patient.next([Answer::Status(503), Answer::Status(503)]);
    let url = patient.url("/up");
    let _butler =
        Butler::start(&format!("plugins:\n  - use: heartbeat\n    settings: {{ url: \"{url}\", every: 1h }}\n")).await;
    let received = patient.wait(3).await;
    assert_eq!(received.iter().map(|one| one.status.unwrap()).collect::<Vec<_>>(), [503, 503, 200]);
}

#[tokio::test]
async fn the_check_is_no_heartbeat_and_a_secret_is_not_shown() {
    let (sink, folder) = (Sink::start().await, TempDir::new().unwrap());
    std::fs::write(folder.path().join("id"), "hush-0815").unwrap();
    let url = sink.url("/ping/${file:id}");
    let path = Butler::prepare(&folder, &format!("plugins:\n{}", beats("heart", &url, "")));
    let check = command(&["check", "-c", path.to_str().unwrap()]).await;
    let said = format!("{check:?}");
    assert!(check.code == 0 && said.contains("127.0.0.1 is reachable: OPTIONS was answered with 200"), "{said}");
    let calls: Vec<_> = sink.received().into_iter().map(|one| (one.method, one.target)).collect();
    assert_eq!(calls, [("OPTIONS".to_owned(), "/".to_owned())]);

    sink.always(Some(Answer::Status(404)));
    let butler = Butler::start_in(Arc::new(folder), &format!("plugins:\n{}", beats("heart", &url, "")), &[]).await;
    wait_said(&butler, "the heartbeat is not taken").await;
    let (_, plugins) = butler.get("/v5/plugins").await;
    assert!(sink.received().iter().any(|one| one.target == "/ping/hush-0815"), "{:?}", sink.received());
    assert!(!butler.log().contains("hush-0815") && !plugins.to_string().contains("hush-0815"), "{}", butler.log());
}
