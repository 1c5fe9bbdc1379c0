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
        // How much room there is says nothing about Butler.
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" disk space ")).collect();
        self.text += &steady(&lines.join("\n"));
        self.text.push('\n');
        self.text.push('\n');
    }
}

/// Without what is another each time: ports by the system, ids, times and sizes.
fn steady(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words: Vec<&str> = text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let (mut result, mut rest) = (String::new(), text);
    for (n, word) in words.iter().enumerate() {
        let (before, after) = rest.split_once(word).unwrap();
        let (last, next) =
            (n.checked_sub(1).map_or("", |last| words[last]), words.get(n + 1).copied().unwrap_or_default());
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let number = digits == word.len();
        let replaced = match *word {
            _ if number && (["ms", "MB"].contains(&next) || last == "process") => "N",
            _ if number && digits == 5 => "PORT",
            word if word.contains('-') && digits >= 10 => "ID",
            word if word.starts_with("sense1-") => "sense1-ID",
            word => word,
        };
        result += before;
        result += replaced;
        rest = after;
    }
    result + rest
}

#[tokio::test]
async fn from_an_empty_folder_to_a_proven_alert() {
    let (simulator, sink) = (QlikSimulator::start(Options::default()).await.unwrap(), Sink::start().await);
    simulator.site().set_nodes([Node::central("localhost")]);
    let folder = Arc::new(TempDir::new().unwrap());
    let place = folder.path();
    simulator.certificates().write_to(place.join("certs")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As `init` asks for when it is not so.
        let key = place.join("certs/client_key.pem");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
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
    let alerts = || sink.received().into_iter().filter(|request| request.method == "POST");
    assert_eq!(alerts().count(), 2, "the sample of the doctor and the test alert: {:?}", sink.received());

    // And a real one, from an address that the config lets in.
    let fields = e2e::fields();
    butler.send(&[e2e::failure(&fields)]);
    sink.wait_where("the real alert", |request| request.body.contains(&fields.task_id)).await;

    insta::assert_snapshot!("path", transcript.text);
    insta::assert_snapshot!("config", transcript_of_config(&config, &port, &sink.address().to_string()));
}

/// The config with its ports replaced.
fn transcript_of_config(config: &str, port: &str, desk: &str) -> String {
    config.replace(&format!("repository: {port}"), "repository: QRS").replace(desk, "DESK")
}
