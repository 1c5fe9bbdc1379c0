//! The version of Qlik Sense: told, remembered over kills, and said to be unknown.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use e2e::{Butler, Influxd, Received, Sense, Sink, command, wait_for};
use serde_json::{Value, json};

fn config(sink: &Sink, settings: &str) -> String {
    format!(
        "plugins:\n  - use: server-version\n    settings: {{ {settings} }}\n  - use: webhook\n    on: [{{ events: \
         [qlik-version.checked] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

fn messages(received: &[Received]) -> Vec<String> {
    received.iter().map(|one| one.json()["data"]["message"].as_str().unwrap().to_owned()).collect()
}

fn november() -> Value {
    json!({
        "contentHash": "1f0e", "senseId": "qliksenseserver:14.212.13", "version": "14.212.13",
        "deploymentType": "QlikSenseServer", "releaseLabel": "November 2024", "deprecatedProductVersion": "4.0.X",
        "productName": "Qlik Sense", "copyrightYearRange": "1993-2024",
    })
}

const CHANGE: &str = "Qlik Sense was changed from May 2024, version 14.187.4, to November 2024, version 14.212.13";

async fn wait_said(butler: &Butler, text: &str) {
    wait_for(&format!("the log to say `{text}`:\n{}", butler.log()), || async {
        butler.log().contains(text).then_some(())
    })
    .await;
}

/// Alerts-systems 6.6: all fields, as texts.
#[tokio::test]
async fn each_start_tells_and_influxdb_has_all_of_it() {
    let (sense, store) = (Sense::start().await, Influxd::start().await);
    let (url, user, password) = (store.url(), Influxd::USER, Influxd::PASSWORD);
    let config = format!(
        "plugins:\n  - use: server-version\n  - use: influxdb\n    on: [{{ events: [qlik-version.checked] }}]\n    settings: {{ \
         url: \"{url}\", version: 1, username: {user}, password: {password} }}\n"
    );
    let butler = sense.butler(&config).await;
    let mut point = store.wait_points("butler", "qlik_sense_version", 1).await.remove(0);
    point.as_object_mut().unwrap().remove("time");
    let expected = json!({
        "content_hash": "8a2f7c0e5b1d4936", "sense_id": "qliksenseserver:14.187.4", "version": "14.187.4",
        "deployment_type": "QlikSenseServer", "release_label": "May 2024", "deprecated_product_version": "4.0.X",
        "product_name": "Qlik Sense", "copyright_year_range": "1993-2024",
    });
    assert_eq!(point, expected);
    let series = "butler_plugin_server_version_info{deployment=\"QlikSenseServer\",instance=\"server-version\",product=\"Qlik \
                  Sense\",release=\"May 2024\",version=\"14.187.4\"}";
    assert_eq!(butler.metric(series).await, Some(1.0));
    // The day is not over, but it has been started again.
    let _butler = butler.kill_and_start().await;
    store.wait_points("butler", "qlik_sense_version", 2).await;
}

#[tokio::test]
async fn only_a_change_is_told_once_also_if_butler_was_away() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink, "onlyChanges: true, when: { every: 1s }")).await;
    let info = |version: &str, release: &str| {
        format!(
            "butler_plugin_server_version_info{{deployment=\"QlikSenseServer\",instance=\"server-version\",product=\"Qlik \
             Sense\",release=\"{release}\",version=\"{version}\"}}"
        )
    };
    butler.wait_metric(&info("14.187.4", "May 2024"), 1.0).await;
    // Two looks at least, and nothing to tell.
    let looks = "butler_plugin_server_version_looks_total{instance=\"server-version\",result=\"ok\"}";
    wait_for("three looks", || async { butler.metric(looks).await.filter(|count| *count >= 3.0) }).await;
    assert!(sink.received().is_empty(), "{:?}", sink.received());

    let killed = butler.kill();
    sense.set_system_info(Some(november()));
    let butler = killed.start().await;
    let told = sink.wait(1).await;
    assert_eq!(
        (messages(&told), &told[0].json()["data"]["qlikVersion"]["contentHash"]),
        (vec![CHANGE.to_owned()], &json!("1f0e"))
    );
    wait_for("further looks", || async { butler.metric(looks).await.filter(|count| *count >= 3.0) }).await;
    let butler = butler.kill_and_start().await;
    wait_for("further looks", || async { butler.metric(looks).await.filter(|count| *count >= 3.0) }).await;
    assert_eq!(messages(&sink.received()), [CHANGE], "once");

    // It changes while it is looked at.
    let mut patched = november();
    patched["contentHash"] = json!("2e1d");
    sense.set_system_info(Some(patched));
    let told = messages(&sink.wait(2).await);
    assert_eq!(told[1], "Qlik Sense November 2024, version 14.212.13 was changed: content hash 1f0e became 2e1d");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_once_and_tried_again() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.set_system_info(None);
    let config = config(&sink, "when: { every: 1s }");
    let butler = sense.butler(&config).await;
    wait_said(&butler, "the version of Qlik Sense cannot be read: ").await;
    let looks = "butler_plugin_server_version_looks_total{instance=\"server-version\",result=\"failed\"}";
    wait_for("three looks", || async { butler.metric(looks).await.filter(|count| *count >= 3.0) }).await;
    assert_eq!(butler.log().matches("cannot be read").count(), 1, "{}", butler.log());
    assert!(sink.received().is_empty());
    // It calls the address of the webhook, too.
    let check = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(format!("{check:?}").contains("the version of Qlik Sense cannot be read: "), "{check:?}");

    sink.forget();
    sense.set_system_info(Some(november()));
    let told = sink.wait(1).await;
    assert_eq!(messages(&told)[0], "Qlik Sense November 2024, version 14.212.13 (QlikSenseServer)");
    wait_said(&butler, "can be read and told again").await;
    let check = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(format!("{check:?}").contains("November 2024, version 14.212.13"), "{check:?}");
}
