//! The console of Windows: what it shows, and the keys that stop.

use std::net::UdpSocket;

use e2e::{Butler, Fields, Terminal, failure, fields, wait_for};
use serde_json::Value;

use super::{folder, wine};

/// What a terminal shows after the movements and colours of a console are taken out.
fn plain(screen: &str) -> String {
    let mut text = String::new();
    // A step to the right is a blank.
    let mut rest = screen.replace("\u{1b}[1C", " ");
    while let Some(at) = rest.find('\u{1b}') {
        text.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |end| at + end + 1);
        rest = rest[end..].to_owned();
    }
    text + &rest
}

#[tokio::test]
async fn letters_of_all_languages_are_shown_and_ctrl_c_stops() {
    let (wine, folder) = (wine(), folder());
    Butler::prepare(&folder, "plugins:\n  - use: console\n");
    let mut terminal = Terminal::wide(&wine.command("butler.exe"), folder.path(), &["run", "-c", "butler.yaml"]);
    let run = folder.path().join("butler.db.run.json");
    let run: Value = wait_for("the daemon", || async { serde_json::from_slice(&std::fs::read(&run).ok()?).ok() }).await;
    let name = "Übersicht łódź Ελλάδα";
    let message = failure(&Fields { task_name: name.to_owned(), ..fields() });
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(message.as_bytes(), run["udp"].as_str().unwrap()).unwrap();
    wait_for("the alert in the console", || async { plain(&terminal.screen()).contains(name).then_some(()) }).await;
    terminal.press("\u{3}");
    let status = terminal.end().await;
    assert_eq!(status.code(), Some(0), "{}", terminal.screen());
    // The console is a process of its own, and shows the last lines when Butler has ended.
    wait_for("the end in the console", || async { plain(&terminal.screen()).contains("stopped").then_some(()) }).await;
    assert!(plain(&terminal.screen()).contains("Ctrl-C"), "{}", terminal.screen());
    assert!(!folder.path().join("butler.db.run.json").exists());
}
