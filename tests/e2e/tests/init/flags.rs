//! Everything by flags: nothing is asked.

use e2e::qlik::{Endpoint, Fault, Node};
use e2e::{Sink, provide_test_plugins, run, run_in};

use super::{APPENDERS, SITE, files, init, sense, text};

#[tokio::test]
async fn all_that_a_new_site_needs_is_written_and_it_works() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let url = format!("url={}", sink.url("/hook"));
    let destination = ["--use", "webhook", "--set", &url, "--set", "signature.secret=geheim ${x} 123"];
    let output = init(&sense, &[&SITE[..], &destination].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("answers; its nodes: localhost\n"), "{output:?}");
    let key = "certificates/client_key.pem can be read by every user of this machine: chmod 640 ";
    assert_eq!(output.stderr.contains(key), cfg!(unix), "{output:?}");
    let folder = sense.folder().join("new");
    let secret = "secrets/webhook-signature-secret";
    assert_eq!(files(&folder), ["butler.schema.json", "butler.yaml", APPENDERS, secret]);
    for file in files(&folder) {
        assert!(output.stdout.contains(&format!("written  {file}\n")), "{output:?}");
    }

    let config = text(&folder.join("butler.yaml"));
    assert!(config.starts_with("# yaml-language-server: $schema=butler.schema.json\n"), "{config}");
    assert!(config.contains("allowFrom:\n    - localhost\n    - 127.0.0.1\n"), "{config}");
    assert!(config.contains(&format!("secret: '${{file:{secret}}}'\n")) && !config.contains("geheim"), "{config}");
    assert!(config.contains("qmc: https://127.0.0.1/qmc\n"), "{config}");
    let client = sense.folder().canonicalize().unwrap().join("certificates/client.pem");
    assert!(config.contains(&format!("client: {}\n", client.display())), "{config}");
    assert!(config.lines().count() < 60 && config.contains("# on:\n"), "{config}");
    assert_eq!(text(&folder.join(secret)), "geheim ${x} 123\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &str| folder.join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode(secret)), (0o700, 0o600));
    }

    let schema = run_in(&folder, &["schema", "-c", "butler.yaml"]);
    assert_eq!(text(&folder.join("butler.schema.json")), schema.stdout);
    let appenders = run(&["log-appender", "--service", "scheduler", "--to", "127.0.0.1:9998"]);
    assert_eq!(text(&folder.join(APPENDERS)), appenders.stdout);

    // The config is one that the daemon takes, with the right secret: the other side can check the signature.
    let check = e2e::command(&["check", "-c", folder.join("butler.yaml").to_str().unwrap()]).await;
    assert!(check.stdout.starts_with("ok      config"), "{check:?}");
    assert!(check.stdout.contains("answers, version 14.187.4.0"), "{check:?}");
    assert!(!format!("{check:?}{output:?}").contains("geheim"), "{check:?}");
}

#[tokio::test]
async fn what_is_to_be_copied_and_opened_is_said_node_by_node() {
    let sense = sense().await;
    let failover = Node { scheduler: true, ..Node::consumer("sense3.lab.local") };
    let central = Node::central("sense1.lab.local");
    sense.site().set_nodes([Node::consumer("sense2.lab.local"), central, failover]);
    let flags =
        ["--host", "127.0.0.1", "--certificates", "../certificates", "--udp", "butler.lab.local", "--use", "console"];
    let output = init(&sense, &flags).await;
    assert_eq!(output.code, 0, "{output:?}");
    let place = r"C:\ProgramData\Qlik\Sense\Scheduler\LocalLogConfig.xml";
    for line in [
        format!("     sense1.lab.local  {place}\n     sense3.lab.local  {place}\n   If a node"),
        "butler log-appender --service scheduler --to butler.lab.local:9998 --merge LocalLogConfig.xml".to_owned(),
        "UDP 9998  from sense1.lab.local, sense3.lab.local to butler.lab.local\n".to_owned(),
        format!("TCP {}  from butler.lab.local to 127.0.0.1\n", sense.addr().port()),
        "butler doctor -c butler.yaml\n".to_owned(),
        "butler test-alert -c butler.yaml --instance console\n".to_owned(),
    ] {
        assert!(output.stdout.contains(&line), "`{line}` is not in {}", output.stdout);
    }
    let config = text(&sense.folder().join("new/butler.yaml"));
    let nodes = "allowFrom:\n    - sense1.lab.local\n    - sense2.lab.local\n    - sense3.lab.local\n    - 127.0.0.1\n";
    assert!(config.contains(nodes) && config.contains("listen: 0.0.0.0:9998\n"), "{config}");
}

#[tokio::test]
async fn without_an_answer_of_qlik_sense_it_goes_on_with_the_central_node() {
    let sense = sense().await;
    let with = |folder: &'static str| [&SITE[..], &["--use", "console", "--out", folder]].concat();
    sense.faults().add(Fault::status(403).on(Endpoint::ServerNodeConfigurationFull));
    let output = init(&sense, &with("forbidden")).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("answers 403 to `servernodeconfiguration/full`"), "{output:?}");
    sense.faults().clear();
    sense.site().set_nodes([]);
    let output = init(&sense, &with("hidden")).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains(r"shows no node to INTERNAL\sa_repository"), "{output:?}");
    sense.stop().await;
    let output = init(&sense, &with("away")).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("gives no answer: ") && output.stderr.contains("Going on with 127.0.0.1 alone"),
        "{output:?}"
    );
    assert!(output.stdout.contains("every other node that runs the scheduler"), "{output:?}");
    for folder in ["forbidden", "hidden", "away"] {
        let config = text(&sense.folder().join("new").join(folder).join("butler.yaml"));
        assert!(config.contains("allowFrom:\n    - 127.0.0.1\n\n"), "{config}");
    }
}

#[tokio::test]
async fn exports_for_windows_do_as_well_and_the_passphrase_goes_into_a_file() {
    let sense = sense().await;
    let certificates = sense.folder().join("new/certs");
    sense.certificates().write_windows_to(&certificates, "long passphrase").unwrap();
    let site = ["--host", "127.0.0.1", "--certificates", "certs", "--udp", "127.0.0.1", "--use", "console"];
    let output = init(&sense, &[&site[..], &["--passphrase", "long passphrase"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    let folder = sense.folder().join("new");
    let config = text(&folder.join("butler.yaml"));
    assert!(config.contains("pfx: certs/client.pfx\n    ca: certs/root.cer\n"), "{config}");
    assert!(config.contains("passphrase: '${file:secrets/qlik-passphrase}'\n"), "{config}");
    assert_eq!(text(&folder.join("secrets/qlik-passphrase")), "long passphrase\n");
    let check = e2e::command(&["check", "-c", folder.join("butler.yaml").to_str().unwrap()]).await;
    assert!(check.stdout.contains("answers, version 14.187.4.0"), "{check:?}");
}

#[tokio::test]
async fn secrets_in_mappings_go_into_files_and_none_comes_back_from_a_plugin() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let url = format!("url={}", sink.url("/hook"));
    let header = ["--use", "webhook", "--set", &url, "--set", "headers.Authorization=geheim geheim"];
    let output = init(&sense, &[&SITE[..], &header].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    let folder = sense.folder().join("new");
    let secret = "secrets/webhook-headers-Authorization";
    let config = text(&folder.join("butler.yaml"));
    assert!(config.contains(&format!("${{file:{secret}}}")) && !config.contains("geheim"), "{config}");
    assert_eq!(text(&folder.join(secret)), "geheim geheim\n");

    provide_test_plugins(sense.folder(), "use: rogue");
    let rogue = ["--plugin-dir", "../plugins", "--use", "rogue", "--out", "rogue", "--set", "secret=geheim geheim"];
    let tells = ["--set", "fault=tellSecret", "--set", "at=start"];
    let output = init(&sense, &[&SITE[..], &rogue, &tells].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("it is not there: [redacted]"), "{output:?}");
    assert!(!format!("{output:?}").contains("geheim"), "{output:?}");
}

#[tokio::test]
async fn the_store_is_where_it_is_wanted() {
    let sense = sense().await;
    let folder = sense.folder().canonicalize().unwrap();
    let state = folder.join("state");
    std::fs::create_dir(&state).unwrap();
    let console = ["--use", "console", "--out", "etc", "--store"];
    let output = init(&sense, &[&SITE[..], &console, &["../state/butler.db"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    let config = folder.join("new/etc/butler.yaml");
    let store = state.join("butler.db");
    assert!(text(&config).contains(&format!("store:\n  path: {}\n", store.display())), "{}", text(&config));
    // Whoever looks for the daemon looks there.
    let health = e2e::command(&["health", "-c", config.to_str().unwrap()]).await;
    assert!(health.stderr.contains(&format!("{}.run.json", store.display())), "{health:?}");

    let within = ["--use", "console", "--out", "other", "--store", "other/state/x.db"];
    let output = init(&sense, &[&SITE[..], &within].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    let config = text(&folder.join("new/other/butler.yaml"));
    assert!(config.contains("store:\n  path: state/x.db\n"), "{config}");
}

#[tokio::test]
async fn a_mailbox_may_be_opened_by_oauth() {
    let sense = sense().await;
    let mail = ["--use", "email", "--set", "smtp.host=127.0.0.1", "--set", "from=butler@example.com"];
    let to = ["--set", "recipients=ops@example.com", "--set", "smtp.auth.user=butler@example.com"];
    let oauth =
        ["tokenUrl=https://127.0.0.1:1/token", "clientId=id", "clientSecret=geheim", "scope=https://x/.default"];
    let oauth = oauth.map(|text| format!("smtp.auth.oauth.{text}"));
    let oauth: Vec<&str> = oauth.iter().flat_map(|text| ["--set", text]).collect();
    let output = init(&sense, &[&SITE[..], &mail, &to, &oauth].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    let folder = sense.folder().join("new");
    let secret = "secrets/email-smtp-auth-oauth-clientSecret";
    assert_eq!(text(&folder.join(secret)), "geheim\n");
    let config = text(&folder.join("butler.yaml"));
    for part in ["tokenUrl: https://127.0.0.1:1/token\n", "scope: https://x/.default\n", secret] {
        assert!(config.contains(part), "`{part}` is not in {config}");
    }
    assert!(!config.contains("password") && !config.contains("geheim"), "{config}");
}

#[test]
fn the_help_names_no_plugin_s_setting() {
    let help = run(&["init", "--help"]).stdout;
    assert!(help.contains("butler plugins settings"), "{help}");
    for plugin in ["email", "influxdb", "mqtt", "webhook"] {
        let table = run(&["plugins", "settings", plugin]).stdout;
        let names = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        let parts: Vec<&str> = names.filter(|name| name.contains('.')).collect();
        assert!(!parts.is_empty(), "{table}");
        assert_eq!(parts.iter().find(|name| help.contains(**name)), None, "{help}");
    }
}
