//! Commands beside a daemon and without one, as they end in a script of Windows.

use e2e::qlik::Node;
use e2e::{Sense, Wine, failure, fields};

use super::{folder, text, wine};

#[tokio::test]
async fn a_faulty_config_ends_with_2_and_says_the_line() {
    let (wine, folder) = (wine(), folder());
    let config = folder.path().join("butler.yaml");
    let path = Wine::path(&config);
    std::fs::write(&config, "version: 1\r\nudp:\r\n  listen: nowhere\r\nplugins:\r\n  - use: consol\r\n").unwrap();
    for command in ["check", "run"] {
        let output = wine.ask(&[command, "-c", &path]).await;
        assert_eq!(output.code, 2, "{output:?}");
        for part in [format!("{path}:3:"), format!("{path}:5:"), "did you mean `console`?".to_owned()] {
            assert!(output.stderr.contains(&part), "`{part}` is not in {output:?}");
        }
        assert!(!folder.path().join("butler.db").exists());
    }
    let output = wine.ask(&["check", "-c", &Wine::path(&folder.path().join("no.yaml"))]).await;
    assert!(output.code == 2 && output.stderr.contains("no.yaml"), "{output:?}");
}

#[tokio::test]
async fn a_new_config_has_secrets_in_files_and_says_how_to_keep_others_out() {
    let (wine, sense) = (wine(), Sense::start().await);
    sense.site().set_nodes([Node::central("localhost")]);
    let new = sense.folder().join("neu größe");
    std::fs::create_dir(&new).unwrap();
    let port = sense.addr().port().to_string();
    let arguments = [
        "init",
        "--repository-port",
        &port,
        "--host",
        "127.0.0.1",
        "--certificates",
        r"..\certificates",
        "--udp",
        "127.0.0.1:9998",
        "--use",
        "webhook",
        "--set",
        "url=http://127.0.0.1:1/",
        "--set",
        "headers.Authorization=geheim",
    ];
    let (at, arguments) = (new.clone(), arguments.map(str::to_owned));
    let wine_too = wine.clone();
    let run = move || wine_too.run_in(&at, &arguments.each_ref().map(String::as_str), &[]);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(output.code, 0, "{output:?}");
    for icacls in [
        r#"icacls "secrets" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F""#,
        r#"client_key.pem" /inheritance:r /grant:r "*S-1-5-18:F""#,
    ] {
        assert!(output.stdout.contains(icacls), "`{icacls}` is not in {}", output.stdout);
    }
    assert!(!output.stdout.contains("chmod"), "{}", output.stdout);
    let config = text(&new.join("butler.yaml"));
    assert!(config.contains("${file:secrets/webhook-headers-Authorization}") && !config.contains("geheim"), "{config}");
    let certificate = Wine::path(&sense.folder().join("certificates/client.pem"));
    assert!(config.contains(&format!("client: {certificate}\n")), "{config}");
    let check = wine.ask(&["check", "-c", &Wine::path(&new.join("butler.yaml"))]).await;
    assert!(check.stdout.contains("answers, version 14.187.4.0"), "{check:?}");
}

#[tokio::test]
async fn a_daemon_is_found_by_its_config_and_a_second_one_keeps_off() {
    let (wine, folder) = (wine(), folder());
    let butler = wine.butler(&folder, "plugins:\n  - use: console\n").await;
    butler.send(&[failure(&fields())]);
    butler.wait_delivery("delivered", "console").await;
    let path = Wine::path(butler.config());
    let list = wine.ask(&["deliveries", "list", "-c", &path]).await;
    assert!(list.code == 0 && list.stdout.contains("delivered"), "{list:?}");
    let second = wine.ask(&["run", "-c", &path]).await;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("is in use by") && second.stderr.contains("butler.db"), "{second:?}");
    assert!(second.stderr.contains("another Butler (process "), "{second:?}");
    assert_eq!(butler.get("/v5/health/live").await.0, 200);
    // A crash leaves the run file and the lock behind.
    let killed = butler.kill();
    let list = wine.ask(&["deliveries", "list", "-c", &path]).await;
    assert_eq!(list.code, 1, "{list:?}");
    let butler = killed.start().await;
    super::stops(butler).await;
}
