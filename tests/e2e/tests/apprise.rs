//! Notifications by an Apprise API server: some services reached and some not, servers without services, away, lying.

use e2e::qlik::Site;
use e2e::{Apprise, AppriseService, Butler, Sense, command, failure, fields, wait_for};

fn config(apprise: &Apprise, more: &str) -> String {
    format!(
        "plugins:\n  - use: apprise\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: {}{more} }}\n",
        apprise.url()
    )
}

async fn wait_error(butler: &Butler, part: &str) {
    wait_for(&format!("a delivery with the error `{part}`; log:\n{}", butler.log()), || async {
        let deliveries = butler.deliveries("instance=apprise").await;
        deliveries
            .iter()
            .any(|delivery| delivery["error"].as_str().is_some_and(|error| error.contains(part)))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failed_reload_reaches_the_services_with_the_tag_with_all_facts() {
    let (sense, apprise) = (Sense::start().await, Apprise::start().await);
    let services = [("mail", &["ops", "night"][..]), ("chat", &["ops"]), ("boss", &["day"]), ("plain", &[])];
    apprise.keep("bi", services.map(|(name, tags)| AppriseService::new(name, tags)));
    let links = "links: { qmc: \"https://sense.test/qmc\" }\n";
    let more = ", key: bi, tag: ops, format: markdown";
    let butler = sense.butler(&format!("{links}{}", config(&apprise, more))).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let got = apprise.wait("bi", "mail", 1).await.remove(0);
    assert_eq!(got["title"], "Reload task failed: Reload order analysis");
    assert_eq!((&got["type"], &got["format"]), (&"failure".into(), &"markdown".into()));
    for part in
        ["Order analysis", "Ann Berg", "relation \"sales.order_lines\" does not exist", "https://sense.test/qmc"]
    {
        assert!(got["body"].as_str().unwrap().contains(part), "{part:?} is not in {got:#}");
    }
    butler.wait_delivery("delivered", "apprise").await;
    let counts = ["chat", "boss", "plain"].map(|name| apprise.got("bi", name).len());
    assert_eq!(counts, [1, 0, 0]);
}

#[tokio::test]
async fn both_tags_are_meant_where_a_blank_is_between_them() {
    let apprise = Apprise::start().await;
    let services = [("mail", &["ops", "night"][..]), ("chat", &["ops"]), ("pager", &["boss"])];
    apprise.keep("bi", services.map(|(name, tags)| AppriseService::new(name, tags)));
    let butler = Butler::start(&config(&apprise, ", key: bi, tag: \"ops night, boss\"")).await;
    butler.send(&[failure(&fields())]);
    butler.wait_delivery("delivered", "apprise").await;
    let counts = ["mail", "chat", "pager"].map(|name| apprise.got("bi", name).len());
    assert_eq!(counts, [1, 0, 1]);
}

#[tokio::test]
async fn where_a_service_is_not_reached_the_delivery_says_so_and_can_be_sent_again() {
    let apprise = Apprise::start().await;
    apprise.keep("bi", [AppriseService::new("mail", &[]), AppriseService::new("chat", &[])]);
    apprise.set_failing("bi", "chat", true);
    let butler = Butler::start(&config(&apprise, ", key: bi")).await;
    butler.send(&[failure(&fields())]);
    wait_error(&butler, "Failed to send chat notification").await;
    // The first wait is a minute: the retries of the config would be many by now.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(apprise.statuses(), [424], "nobody is flooded");
    drop(butler);

    let butler = Butler::start(&config(&apprise, ", key: bi, partialRetries: 0")).await;
    butler.send(&[failure(&fields())]);
    let dead = butler.wait_delivery("dead", "apprise").await;
    assert!(dead["error"].as_str().unwrap().contains("given up after 1 attempts"), "{dead}");
    apprise.set_failing("bi", "chat", false);
    let id = dead["id"].as_str().unwrap();
    let config = butler.config().to_str().unwrap().to_owned();
    let retried = command(&["deliveries", "retry", id, "-c", &config]).await;
    assert_eq!(retried.code, 0, "{retried:?}");
    apprise.wait("bi", "chat", 1).await;
    butler.wait_delivery("delivered", "apprise").await;
}

#[tokio::test]
async fn a_server_without_services_or_away_or_lying_delays_the_alert() {
    let apprise = Apprise::start().await;
    let butler = Butler::start(&config(&apprise, ", key: bi, tag: ops")).await;
    butler.send(&[failure(&fields())]);
    wait_error(&butler, "keeps no configuration under the `key` bi").await;
    apprise.keep("bi", [AppriseService::new("mail", &["day"])]);
    wait_error(&butler, "has the `tag` ops").await;
    apprise.set_away(Some((200, "<html><title>Please sign in</title></html>")));
    wait_error(&butler, "not by Apprise: <html><title>Please sign in").await;
    apprise.set_away(Some((500, "{\"error\":\"could not be loaded\"}")));
    wait_error(&butler, "could not be loaded").await;
    apprise.keep("bi", [AppriseService::new("mail", &["ops"])]);
    let butler = butler.kill_and_start().await;
    apprise.set_away(None);
    apprise.wait("bi", "mail", 1).await;
    butler.wait_delivery("delivered", "apprise").await;
    assert_eq!(apprise.got("bi", "mail").len(), 1);
}

#[tokio::test]
async fn a_server_that_keeps_nothing_is_told_the_services_which_are_secrets() {
    let apprise = Apprise::start().await;
    let config = config(&apprise, ", services: [\"${env:SERVICE}\", \"json://other.test\"]");
    let butler = Butler::start_with(&config, &[("SERVICE", "json://geheim.test/x")]).await;
    butler.send(&[failure(&fields())]);
    apprise.wait("", "json://geheim.test/x", 1).await;
    apprise.wait("", "json://other.test", 1).await;
    butler.wait_delivery("delivered", "apprise").await;
    // The server's own words name the service.
    apprise.set_failing("", "json://geheim.test/x", true);
    butler.send(&[failure(&fields())]);
    wait_error(&butler, "Failed to send").await;
    let all = format!("{:?}{}", butler.deliveries("instance=apprise").await, butler.log());
    assert!(!all.contains("geheim.test/x"), "{all}");
}

#[tokio::test]
async fn it_is_checked_rendered_and_tried() {
    let apprise = Apprise::start().await;
    apprise.keep("bi", [AppriseService::new("mail", &["ops"])]);
    let folder = tempfile::TempDir::new().unwrap();
    let path = Butler::prepare(&folder, &config(&apprise, ", key: bi"));
    let path = path.to_str().unwrap();
    let check = command(&["check", "-c", path]).await;
    assert!(check.code != 0 && format!("{check:?}").contains("no service without a tag"), "{check:?}");
    Butler::prepare(&folder, &config(&apprise, ", key: bi, tag: ops, templateFile: mine.txt"));
    std::fs::write(folder.path().join("mine.txt"), "{{taskName}}!").unwrap();
    let check = command(&["check", "-c", path]).await;
    assert!(check.code == 0 && format!("{check:?}").contains("would notify 1 service"), "{check:?}");
    let shown = command(&["render", "-c", path, "--instance", "apprise"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("Sales nightly!"), "{shown:?}");
    assert_eq!(apprise.statuses(), [0; 0]);
    let tried = command(&["test-alert", "-c", path, "--instance", "apprise"]).await;
    assert_eq!(tried.code, 0, "{tried:?}");
    assert_eq!(apprise.got("bi", "mail").len(), 1);
}
