//! The path of a new user, from an empty folder to a proven alert, as it stands on the screen.

use std::path::Path;
use std::sync::Arc;

use e2e::qlik::{Node, Options, QlikSimulator};
use e2e::{Butler, Sink, run_in};
use tempfile::TempDir;

use super::text;

/// What is typed and what is printed. Ports, times and ids differ each time and are replaced.
struct Transcript {
    text: String,
    steady: Vec<(String, &'static str)>,
}

impl Transcript {
    /// Runs a command in a folder; it must end well.
    async fn run(&mut self, folder: &Path, command: &[&str]) {
        let (place, arguments) = (folder.to_owned(), command.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let run = move || run_in(&place, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(output.code, 0, "{output:?}");
        self.note(&format!("$ butler {}\n{}{}", command.join(" "), output.stderr, output.stdout));
    }

    fn note(&mut self, text: &str) {
        let text = self.steady.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        self.text += &steady(&text);
        self.text.push('\n');
    }
}

/// Without numbers that are others each time.
fn steady(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']).collect::<Vec<_>>();
    let mut result = String::new();
    for (n, word) in words.iter().enumerate() {
        let unit = words.get(n + 1).map_or("", |next| next.trim_end_matches([' ', '\n', ':', ',', ';', '.']));
        let number = word.trim_end();
        if unit == "ms" && number.parse::<u64>().is_ok() {
            result += &word.replace(number, "N");
        } else {
            result += word;
        }
    }
    result
}

#[tokio::test]
async fn from_an_empty_folder_to_a_proven_alert() {
    let (simulator, sink) = (QlikSimulator::start(Options::default()).await.unwrap(), Sink::start().await);
    simulator.site().set_nodes([Node::central("localhost")]);
    let folder = Arc::new(TempDir::new().unwrap());
    let place = folder.path();
    simulator.certificates().write_to(place.join("certs")).unwrap();
    let (port, desk) = (simulator.addr().port().to_string(), sink.address().to_string());
    let mut transcript = Transcript {
        text: String::new(),
        steady: vec![
            (place.to_str().unwrap().to_owned(), "FOLDER"),
            (desk, "DESK"),
            (format!("--repository-port {port}"), "--repository-port QRS"),
            (format!("TCP {port}"), "TCP QRS"),
            (format!("127.0.0.1:{port}"), "127.0.0.1:QRS"),
        ],
    };
    let url = format!("url={}", sink.url("/hook"));
    let site = ["init", "--host", "127.0.0.1", "--repository-port", &port, "--certificates", "certs"];
    let rest = ["--udp", "127.0.0.1:9998", "--use", "webhook", "--set", &url];
    transcript.run(place, &[&site[..], &rest].concat()).await;

    // Another Butler may listen on this machine: the system chooses the ports.
    let config = text(&place.join("butler.yaml"));
    let free = config.replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0");
    let free = free.replace("listen: 127.0.0.1:9998", "listen: 127.0.0.1:0");
    std::fs::write(place.join("butler.yaml"), free).unwrap();
    let butler = Butler::run_config(folder.clone(), "butler.yaml").await;
    transcript.note(&format!("$ butler run -c butler.yaml\n{}", butler.stdout()));

    transcript.run(place, &["doctor", "-c", "butler.yaml", "--end-to-end"]).await;
    transcript.run(place, &["test-alert", "-c", "butler.yaml", "--instance", "webhook"]).await;
    let alert = sink.wait_where("the test alert", |request| request.method == "POST").await;
    assert!(alert.body.contains("reload-task") || !alert.body.is_empty(), "{alert:?}");

    // And a real one, from a node that Qlik Sense names.
    let before = sink.received().len();
    butler.send(&[e2e::failure(&e2e::fields())]);
    butler.wait_delivery("delivered", "webhook").await;
    assert!(sink.received().len() > before);

    insta::assert_snapshot!("path", transcript.text);
    insta::assert_snapshot!("config", transcript_of_config(&config, &port, &sink.address().to_string()));
}

/// The config with its ports replaced.
fn transcript_of_config(config: &str, port: &str, desk: &str) -> String {
    config.replace(&format!("repository: {port}"), "repository: QRS").replace(desk, "DESK")
}
