//! What comes from the broker.

use e2e::qlik::{Site, Task};
use e2e::{Mosquitto, Sense, Sink, Tenants, cloud_failure, wait_for};

use super::config;

#[tokio::test]
async fn messages_start_tasks_as_far_as_the_filter_allows() {
    let (sense, mut broker) = (Sense::start().await, Mosquitto::start().await);
    let other = sense.site().add_task(Task::reload("Other", Site::SAMPLE_APP).tag("daily"));
    let topic = "qliksense/start_task";
    // One that the broker has kept would start the task at each connection.
    broker.publish(topic, Site::SAMPLE_RELOAD_TASK, true).await;
    let settings = format!("      startTask: {{ topic: {topic} }}\n");
    let filter = "startTaskFilter: { tags: [], taskIds: [\"FIRST\"] }".replace("FIRST", Site::SAMPLE_RELOAD_TASK);
    let butler = sense.butler_with(&filter, &config(&broker, &settings)).await;
    let wait_log = async |part: &str| {
        wait_for(&format!("`{part}` in the log:\n{}", butler.log()), || async {
            butler.log().contains(part).then_some(())
        })
        .await;
    };
    wait_log("the broker kept the message").await;
    assert_eq!(sense.site().starts().len(), 0);
    for payload in ["start me", "5c6d7e8f-1a2b-0c3d-8e4f-0123456789ab", &format!("{other}\n")] {
        broker.publish(topic, payload, false).await;
    }
    broker.publish(topic, &other, false).await;
    wait_log("`qlik.startTaskFilter` does not allow it").await;
    broker.publish(topic, Site::SAMPLE_RELOAD_TASK, false).await;
    wait_log("is started (message on").await;
    assert_eq!(sense.site().starts().len(), 1, "{}", butler.log());
    assert_eq!(butler.log().matches("is no task id").count(), 3);

    // After the broker was away it is subscribed to again.
    broker.restart().await;
    wait_for("the second start", || async {
        broker.publish(topic, Site::SAMPLE_RELOAD_TASK, false).await;
        (sense.site().starts().len() > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_of_qlik_cloud_come_by_mqtt_too() {
    let (tenants, sink, broker) = (Tenants::start(&["acme-id"]).await, Sink::start().await, Mosquitto::start().await);
    let mut plugins = config(&broker, "      cloud: { topic: qscloud/app/reload }\n");
    let webhook = format!("  - use: webhook\n    settings: {{ url: {}, format: event }}\n", sink.url("/"));
    plugins.push_str(&webhook);
    let butler = tenants.butler(&plugins).await;
    wait_for("a connection", || async { butler.log().contains("connected to the broker").then_some(()) }).await;
    let told = broker.subscribe("qliksense/#").await;
    let reload = tenants[0].fail_reload("Orders");
    let event = cloud_failure(&reload);
    wait_for("the event", || async {
        broker.publish("qscloud/app/reload/finished", &event, false).await;
        (!sink.received().is_empty()).then_some(())
    })
    .await;
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["kind"], "cloud-app-reload.failed", "{event}");
    for _ in 0..3 {
        broker.publish("qscloud/app/reload", "{}", false).await;
    }
    wait_for("the error", || async { butler.log().contains("leads to no event of Qlik Cloud").then_some(()) }).await;
    assert_eq!(butler.log().matches("leads to no event of Qlik Cloud").count(), 1, "{}", butler.log());
    assert_eq!(sink.received().len(), 1, "a repeated event is known");
    drop(told);
}
