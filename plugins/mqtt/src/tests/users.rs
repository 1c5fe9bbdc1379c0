//! Counts of active users.

use std::collections::BTreeMap;

use butler_plugin_api::ActiveUsers;

use super::messages::rendered;
use super::*;

fn counted(users: &[&str], nodes: &[(&str, u64)]) -> Delivery {
    let mut delivery = sample_delivery(kind::ACTIVE_USERS_COUNTED);
    let nodes: BTreeMap<String, u64> = nodes.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect();
    delivery.event.data.active_users = Some(Box::new(ActiveUsers {
        count: Some(users.len() as u64),
        users: Some(users.iter().map(ToString::to_string).collect()),
        nodes: Some(nodes),
    }));
    delivery
}

fn text(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

#[test]
fn they_have_the_topics_and_payloads_of_versions_2_to_6() {
    let delivery = counted(&["LAB\\ann", "LAB\\bo", "OTHER\\ann", "cy"], &[("n/1", 3), ("n2", 0)]);
    let expected = [
        text("qliksense/users/activeperserver/n_1/count", "3"),
        text("qliksense/users/activeperserver/n2/count", "0"),
        text("qliksense/users/active/count", "4"),
        text("qliksense/users/active/usernames", r#"["ann","bo","ann","cy"]"#),
    ];
    assert_eq!(rendered(&FakeHost::new("mqtt"), json!({}), &delivery).unwrap(), expected);
    let root = rendered(&FakeHost::new("mqtt"), json!({ "rootTopic": "site" }), &delivery).unwrap();
    assert_eq!(root[2], text("site/users/active/count", "4"));
    let none = rendered(&FakeHost::new("mqtt"), json!({}), &counted(&[], &[])).unwrap();
    assert_eq!(none, [text("qliksense/users/active/count", "0"), text("qliksense/users/active/usernames", "[]")]);
    // What is not known is not said.
    let mut unknown = delivery;
    unknown.event.data.active_users = None;
    assert_eq!(rendered(&FakeHost::new("mqtt"), json!({}), &unknown).unwrap(), []);
}

#[test]
fn topics_of_ones_own_may_have_the_node() {
    let publish = json!([
        { "topic": "s/{{activeNode}}/{{event.outcome}}", "payload": "userCountByNode" },
        { "topic": "s/all", "payload": "userCount" },
        { "topic": "s/ids", "payload": "userIds" },
        { "topic": "s/old", "payload": "butler16" },
        { "topic": "s/text", "text": "{{activeUsers.count}} users" },
    ]);
    let settings = json!({ "topics": [{ "events": ["active-users.*"], "publish": publish }] });
    let delivery = counted(&["LAB\\ann"], &[("a b", 1), ("c/d", 0)]);
    let expected = [
        text("s/a b/counted", "1"),
        text("s/c_d/counted", "0"),
        text("s/all", "1"),
        text("s/ids", r#"["ann"]"#),
        text("s/old", "1"),
        text("s/text", "1 users"),
    ];
    assert_eq!(rendered(&FakeHost::new("mqtt"), settings, &delivery).unwrap(), expected);
}

#[test]
fn topics_of_nodes_have_no_lists_which_each_would_take_a_copy_of() {
    let topic = "{{activeNode}}/{{activeUsers.count}}/{{activeUsers.users.[0]}}{{activeUsers.nodes.n1}}";
    let publish = json!([{ "topic": topic, "payload": "userCountByNode" }, { "topic": "all/{{activeUsers.users.[0]}}{{activeNode}}" }]);
    let settings = json!({ "topics": [{ "events": ["active-users.*"], "publish": publish }] });
    let messages =
        rendered(&FakeHost::new("mqtt"), settings, &counted(&["ann", "bo"], &[("n1", 2), ("n2", 1)])).unwrap();
    assert_eq!(messages[..2], [text("n1/2/", "2"), text("n2/2/", "1")]);
    assert_eq!(messages[2].0, "all/ann");
}

#[test]
fn a_count_that_comes_after_a_newer_one_is_left_out() {
    let broker = Broker::start();
    let running = Running::start(FakeHost::new("mqtt"), settings(&broker, json!({})));
    running.fake.wait_until("a connection", |_| running.deliver(&failure()).is_ok());
    let of = |id: &str, time: &str, count: &[&str]| {
        let mut delivery = counted(count, &[]);
        id.clone_into(&mut delivery.event.id);
        time.clone_into(&mut delivery.event.time);
        delivery
    };
    let newer = of("store-10", "2026-03-04T05:06:08.000Z", &["b", "c"]);
    running.deliver(&newer).unwrap();
    running.deliver(&of("store-9", "2026-03-04T05:06:07.999Z", &["a"])).unwrap();
    running.deliver(&newer).unwrap();
    // The clock was set back; another store begins anew.
    running.deliver(&of("store-11", "2026-03-03T05:06:08.000Z", &["b", "c", "d"])).unwrap();
    running.deliver(&of("other-1", "2026-03-03T05:06:09.000Z", &["a"])).unwrap();
    let counts: Vec<String> = broker.on("active/count").iter().map(broker::Published::text).collect();
    assert_eq!(counts, ["2", "2", "3", "1"]);
    running.stop();
}

#[test]
fn progress_stays_within_what_the_host_keeps() {
    let names: Vec<String> = (0..1000).map(|number| format!("{number}:{}\"", "x".repeat(190))).collect();
    let progress = crate::plan::progress(names.iter().map(String::as_str)).to_string();
    assert!(progress.len() > 14_000 && progress.len() <= 16 << 10, "{}", progress.len());
}
