//! Destinations that are away, refuse, or do not speak as they should.

use std::fmt::Write as _;

use e2e::{Answer, Butler, Sense, Sink, failure, fields, wait_for};
use tempfile::TempDir;

use super::{SECRET, check, closed, is_clean, line, says, write};

/// Each destination at a host and port, with `${env:WORD}` wherever it has a secret.
fn everywhere(host: &str, port: u16) -> String {
    let at = format!("http://{host}:{port}");
    format!(
        r#"plugins:
  - use: teams
    settings: {{ webhookUrl: "{at}/${{env:WORD}}" }}
  - use: slack
    settings: {{ webhookUrl: "{at}/services/${{env:WORD}}" }}
  - use: signl4
    settings: {{ url: "{at}/webhook/${{env:WORD}}" }}
  - use: webhook
    settings: {{ url: "{at}/?key=${{env:WORD}}" }}
  - use: heartbeat
    settings: {{ url: "{at}/ping/${{env:WORD}}" }}
  - use: new-relic
    settings:
      urls: {{ event: "{at}", log: "{at}/log/v1", metric: "{at}/metric/v1" }}
      accounts: [{{ name: A, accountId: 101, apiKey: "${{env:WORD}}" }}]
  - use: influxdb
    settings: {{ url: "{at}", version: 2, org: lab, bucket: butler, token: "${{env:WORD}}" }}
  - use: alertmanager
    settings: {{ urls: ["{at}"] }}
  - use: apprise
    settings: {{ url: "{at}", key: bi }}
  - use: email
    settings:
      smtp:
        host: {host}
        port: {port}
        tls: none
        timeout: 5s
        auth: {{ user: butler, password: "${{env:WORD}}", allowPlainText: true }}
      from: butler@acme.test
      recipients: [ann@acme.test]
  - use: mqtt
    settings: {{ url: "mqtt://{host}:{port}", user: butler, password: "${{env:WORD}}" }}
"#
    )
}

/// The instances of [`everywhere`], and what each says helps when nobody listens at its address.
const REMEDIES: [(&str, &str); 11] = [
    ("teams", "does the server run there, and is the port right?"),
    ("slack", "does the server run there, and is the port right?"),
    ("signl4", "does the server run there, and is the port right?"),
    ("webhook", "does the server run there, and is the port right?"),
    ("heartbeat", "does the server run there, and is the port right?"),
    ("new-relic", "does the server run there, and is the port right?"),
    ("influxdb", "does the server run there, and is the port right?"),
    ("alertmanager", "does the server run there, and is the port right?"),
    ("apprise", "does the server run there, and is the port right?"),
    ("email", "is `smtp.port` right?"),
    ("mqtt", "does the broker run there, and is the port of `url` right?"),
];

#[tokio::test]
async fn who_is_away_is_named_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let port = closed();
    let config = everywhere("127.0.0.1", port);
    let output = check(folder.path(), &config).await;
    assert_eq!(output.code, 1, "{output:?}");
    for (instance, remedy) in REMEDIES {
        let said = line(&output, &format!("instance {instance}"));
        assert!(said.starts_with("failed"), "{said}");
        says(said, &[&format!("127.0.0.1:{port}"), "cannot be reached", "refused", remedy]);
    }

    // And the same in the log of the daemon.
    let butler = Butler::start_with(&config, &[("WORD", SECRET)]).await;
    butler.send(&[failure(&fields())]);
    for (instance, remedy) in REMEDIES {
        let said = wait_for(&format!("{instance} in the log:\n{}", butler.log()), || async {
            let log = butler.log();
            let about = |line: &&str| line.contains(instance) && line.contains("cannot be reached");
            log.lines().find(about).map(str::to_owned)
        })
        .await;
        says(&said, &[&format!("127.0.0.1:{port}"), remedy]);
    }
    is_clean(&butler.log());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_as_such() {
    let folder = TempDir::new().unwrap();
    let host = "no-such-host.invalid";
    let all = everywhere(host, 1234);
    // One for each way of connecting.
    let entries: Vec<&str> = all.trim_start_matches("plugins:\n").split("  - use: ").collect();
    let mut config = "plugins:\n".to_owned();
    for entry in entries.iter().filter(|entry| ["webhook", "email", "mqtt"].iter().any(|name| entry.starts_with(name)))
    {
        let _ = write!(config, "  - use: {entry}");
    }
    let output = check(folder.path(), &config).await;
    for (instance, remedy) in [
        ("webhook", "is the name in the address right, and does the DNS of this machine know it?"),
        ("email", "is `smtp.host` right, and does the DNS of this machine know it?"),
        ("mqtt", "is the host of `url` right, and does the DNS of this machine know it?"),
    ] {
        says(line(&output, &format!("instance {instance}")), &[host, remedy]);
    }
}

#[tokio::test]
async fn a_status_is_told_with_its_likely_cause() {
    let cases = [
        (302, "not followed"),
        (400, "`butler render` shows what is sent"),
        (401, "check the credentials, or the address if that holds the secret"),
        (403, "check the credentials, or the address if that holds the secret"),
        (404, "there is nothing at this address"),
        (407, "wants a login"),
        (413, "too large"),
        (429, "too many requests"),
        (500, "in trouble itself"),
        (503, "in trouble itself"),
    ];
    let sink = Sink::start().await;
    sink.choose(|request| {
        let status = request.target.trim_start_matches('/').split('/').next().and_then(|part| part.parse().ok());
        Answer::Status(status.unwrap_or(500))
    });
    let mut config = "plugins:\n".to_owned();
    for (status, _) in cases {
        let _ = write!(
            config,
            "  - use: webhook\n    name: w{status}\n    retry: {{ initial: 1h }}\n    settings: {{ url: \"{}/${{env:WORD}}\" }}\n",
            sink.url(&format!("/{status}"))
        );
    }
    let config = config.replace("initial: 1h", "initial: 1h, max: 1h");
    let butler = Butler::start_with(&config, &[("WORD", SECRET)]).await;
    butler.send(&[failure(&fields())]);
    for (status, remedy) in cases {
        let what = format!("the destination answered {status}");
        let said = wait_for(&format!("{what}; log:\n{}", butler.log()), || async {
            butler.log().lines().find(|line| line.contains(&what)).map(str::to_owned)
        })
        .await;
        says(&said, &[&format!("w{status}"), &format!("http://{}", sink.address()), remedy]);
    }
    is_clean(&butler.log());
}

#[tokio::test]
async fn tls_that_fails_is_told_with_a_remedy() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let config = format!(
        "plugins:\n  - use: webhook\n    name: unknown-authority\n    settings: {{ url: \"https://{}/\" }}\n  - use: webhook\n    \
         name: no-tls\n    settings: {{ url: \"https://{}/\" }}\n  - use: webhook\n    name: only-tls\n    settings: {{ url: \
         \"http://{}/\" }}\n",
        sense.addr(),
        sink.address(),
        sense.addr()
    );
    let output = check(sense.folder(), &config).await;
    let authority = ["does not know the authority of its certificate", "`ca` of a profile under `tls:`"];
    says(line(&output, "instance unknown-authority"), &authority);
    says(line(&output, "instance no-tls"), &["it does not speak TLS on this port"]);
    says(line(&output, "instance only-tls"), &["cannot be reached", "`https` is right"]);
}

#[tokio::test]
async fn files_that_are_not_there_end_the_start() {
    let folder = TempDir::new().unwrap();
    for (tls, setting) in [
        ("{ ca: nowhere/ca.pem }", "`tls.ca`"),
        ("{ certificate: nowhere/client.pem, key: nowhere/client.key }", "`tls.certificate`"),
    ] {
        let config = format!(
            "rest: {{ listen: \"127.0.0.1:0\" }}\nplugins:\n  - use: mqtt\n    settings: {{ url: \"mqtts://127.0.0.1:1\", tls: {tls} }}\n"
        );
        let path = write(folder.path(), &config);
        let output = e2e::command(&["run", "-c", path.to_str().unwrap()]).await;
        assert_eq!(output.code, 2, "{output:?}");
        says(&output.stderr, &["mqtt", setting, "nowhere/", "No such file"]);
    }
}

#[tokio::test]
async fn retired_addresses_of_teams_are_told() {
    for (host, part) in [
        ("prod-1.westeurope.logic.azure.com", "were to stop at the end of November 2025: copy the flow's new address"),
        ("acme.webhook.office.com", "connectors of Office 365 are retired: make a workflow"),
    ] {
        let config =
            format!("plugins:\n  - use: teams\n    settings: {{ webhookUrl: \"https://{host}/${{env:WORD}}\" }}\n");
        let butler = Butler::start_with(&config, &[("WORD", SECRET)]).await;
        wait_for(&format!("`{part}` in the log:\n{}", butler.log()), || async {
            butler.log().lines().any(|line| line.contains("`webhookUrl`") && line.contains(part)).then_some(())
        })
        .await;
        is_clean(&butler.log());
    }
}
