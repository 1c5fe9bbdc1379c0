//! Questions at a terminal.

use std::fs;

use e2e::qlik::Node;
use e2e::{Sink, Terminal, provide_test_plugins};

use super::{files, sense, text};

#[tokio::test(flavor = "multi_thread")]
async fn six_questions_are_answered_and_wrong_answers_asked_again() {
    let (sense, sink) = (sense().await, Sink::start().await);
    sense.certificates().write_windows_to(sense.folder().join("new/certs"), "long passphrase").unwrap();
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let mut terminal = Terminal::start(&folder, &["init", "--repository-port", &port]);
    terminal.answer("\nhost: ", "https://127.0.0.1").await;
    terminal.answer("without `https://`, port or path\nhost: ", "").await;
    terminal.answer("an answer is needed\nhost: ", " 127.0.0.1 ").await;
    // The folder that has the files in it is the default.
    terminal.answer("certificates [certs]: ", "elsewhere").await;
    terminal.answer("there is no folder elsewhere\ncertificates [certs]: ", "").await;
    terminal.answer("passphrase (is not shown): ", "wrong one").await;
    terminal.answer("the passphrase does not open", "long passphrase").await;
    terminal.answer(r"user [INTERNAL\sa_repository]: ", "butler").await;
    terminal.answer(r"user [INTERNAL\sa_repository]: ", r"LAB\butler").await;
    terminal.shows("Asking Qlik Sense at 127.0.0.1, port").await;
    terminal.shows("answers; its nodes: localhost").await;
    terminal.answer("udp [127.0.0.1:9998]: ", "0.0.0.0").await;
    terminal.answer("stands for all addresses", "").await;
    terminal.shows("  1  alertmanager").await;
    terminal.answer("\nuse: ", "0").await;
    terminal.answer("there is no destination `0`", "slck").await;
    terminal.answer("did you mean `slack`?", "slack").await;
    terminal.shows("  1  webhookUrl (Address of an incoming webhook)\n  2  token (Bot token of a Slack app").await;
    terminal.answer("number [1]: ", "3").await;
    terminal.answer("write a number from 1 to 2", "1").await;
    terminal.answer("webhookUrl (is not shown): ", "nonsense").await;
    terminal.shows("must be a URL").await;
    // The plugin itself refuses this, so all of its settings are asked again.
    terminal.answer("webhookUrl (is not shown): ", "mailto:geheim@example.com").await;
    terminal.shows("These settings cannot work: `webhookUrl` begins with `mailto:`").await;
    terminal.answer("number [1]: ", "").await;
    terminal.shows("webhookUrl (is not shown): ").await;
    let url = sink.url("/geheim");
    terminal.press(&format!("{url}\n"));
    let status = terminal.end().await;
    let screen = terminal.screen();
    assert!(status.success(), "{screen}");
    assert!(terminal.echoes() && !screen.contains("geheim") && !screen.contains("long passphrase"), "{screen}");
    let config = text(&folder.join("butler.yaml"));
    assert!(config.contains("user: LAB\\butler\n") && config.contains("- use: slack\n"), "{config}");
    assert_eq!(text(&folder.join("secrets/slack-webhookUrl")), format!("{url}\n"));
    assert!(sink.received().is_empty(), "nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flags_say_is_not_asked() {
    let sense = sense().await;
    sense.site().set_nodes([Node::central("sense1.lab.local"), Node::consumer("sense2.lab.local")]);
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let flags = ["init", "--repository-port", &port, "--host", "127.0.0.1", "--certificates", "../certificates"];
    let mut terminal = Terminal::start(&folder, &[&flags[..], &["--use", "console"]].concat());
    terminal.answer("user [", "").await;
    // Of several nodes none reaches a loopback address, so it is no default.
    terminal.answer("udp: ", "localhost").await;
    terminal.answer("`localhost` means this machine alone", "butler.lab.local:9000").await;
    assert!(terminal.end().await.success(), "{}", terminal.screen());
    assert!(text(&folder.join("butler.yaml")).contains("listen: 0.0.0.0:9000"));

    let all = [&flags[..], &["--udp", "butler.lab.local", "--use", "console", "--out", "second"]].concat();
    let mut terminal = Terminal::start(&folder, &all);
    assert!(terminal.end().await.success(), "{}", terminal.screen());
    assert!(!terminal.screen().contains("user ["), "{}", terminal.screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_leaves_nothing_behind() {
    let sense = sense().await;
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let flags = ["init", "--repository-port", &port, "--host", "127.0.0.1", "--certificates", "../certificates"];
    let all = [&flags[..], &["--udp", "127.0.0.1", "--use", "teams"]].concat();
    let mut terminal = Terminal::start(&folder, &all);
    terminal.shows("webhookUrl (is not shown): ").await;
    assert!(!terminal.echoes(), "what is typed is hidden");
    terminal.press("https://gehe\u{3}");
    let status = terminal.end().await;
    assert_eq!(status.code(), Some(1), "{}", terminal.screen());
    terminal.shows("interrupted: nothing was written").await;
    assert!(terminal.echoes(), "what is typed is shown again");
    assert!(!terminal.screen().contains("gehe"), "{}", terminal.screen());
    assert_eq!(files(&folder), [""; 0]);

    let mut terminal = Terminal::start(&folder, &flags);
    terminal.shows("user [").await;
    terminal.press("\u{4}");
    assert_eq!(terminal.end().await.code(), Some(1), "{}", terminal.screen());
    terminal.shows("the input has ended: nothing was written").await;
    assert_eq!(files(&folder), [""; 0]);

    // What is in the way is told before anything is asked.
    fs::write(folder.join("butler.yaml"), "mine").unwrap();
    let mut terminal = Terminal::start(&folder, &["init"]);
    terminal.shows("is there already and is kept").await;
    assert_eq!(terminal.end().await.code(), Some(1), "{}", terminal.screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_asks_again_for_what_no_flag_has_said() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let flags = ["init", "--repository-port", &port, "--host", "127.0.0.1", "--certificates", "../certificates"];
    let more = ["--udp", "127.0.0.1", "--use", "webhook", "--set", "signature.secret=geheim geheim geheim"];
    let mut terminal = Terminal::start(&folder, &[&flags[..], &more].concat());
    terminal.answer("\nurl", "mailto:somebody@example.com").await;
    terminal.shows("These settings cannot work: `url` begins with `mailto:`").await;
    terminal.shows("Once more:").await;
    terminal.answer("\nurl", &sink.url("/hook")).await;
    let status = terminal.end().await;
    let screen = terminal.screen();
    assert!(status.success() && !screen.contains("geheim"), "{screen}");
    let config = text(&folder.join("butler.yaml"));
    assert!(config.contains(&sink.url("/hook")) && config.contains("webhook-signature-secret}"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_starts_slowly_is_waited_for_in_sight() {
    let sense = sense().await;
    provide_test_plugins(sense.folder(), "use: rogue");
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let flags = ["init", "--repository-port", &port, "--host", "127.0.0.1", "--certificates", "../certificates"];
    let rogue = ["--udp", "127.0.0.1", "--plugin-dir", "../plugins", "--use", "rogue", "--set", "secret=geheim geheim"];
    let hangs = ["--set", "fault=hang", "--set", "at=start"];
    let mut terminal = Terminal::start(&folder, &[&flags[..], &rogue, &hangs].concat());
    terminal.shows("waiting for the start of rogue: 2 s").await;
    terminal.press("\u{3}");
    assert_eq!(terminal.end().await.code(), Some(1), "{}", terminal.screen());
    assert_eq!(files(&folder), [""; 0]);
}
