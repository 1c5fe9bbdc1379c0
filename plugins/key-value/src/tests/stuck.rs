//! A storage that takes no writes, and a loop that is gone.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::KeyValue;
use crate::records::{place_of_key, place_of_namespace, record};
use crate::settings::Settings;
use crate::store::{PATIENCE_AT_START, PATIENCE_AT_STOP, Store};

#[test]
fn what_is_stored_is_read_though_earlier_writes_are_not_made_and_again_when_they_are() {
    let fake = FakeHost::new("key-value")
        .manual_time()
        .store(&place_of_namespace(0), json!("ns"))
        .store(&place_of_key(0, 0), record("k", "before"));
    let limits = serde_json::from_value::<Settings>(json!({})).unwrap().check().unwrap();
    let host = fake.host();
    let opening =
        std::thread::spawn(move || block_on(Store::open_behind(std::future::pending(), host, limits)).unwrap());
    fake.wait_until("the patience", |fake| fake.slept().contains(&PATIENCE_AT_START));
    fake.advance(PATIENCE_AT_START);
    let store = Arc::new(opening.join().unwrap());
    let keys = || store.read(|data, _| data.keys());
    assert_eq!(keys(), 1);
    // It comes after all.
    block_on(fake.host().storage().set(&place_of_key(0, 1), &record("late", "v"), None)).unwrap();
    let running = store.clone();
    std::thread::spawn(move || block_on(running.run()));
    fake.wait_until("what came to be read", |_| keys() == 2);
}

/// An instance whose loop the test has in its hand.
fn started(fake: &FakeHost) -> Arc<KeyValue> {
    Arc::new(block_on(fake.start::<KeyValue>(Value::from(serde_json::Map::new()))).unwrap())
}

/// Tells when it has stopped.
fn stop(plugin: &Arc<KeyValue>) -> mpsc::Receiver<()> {
    let (tell, stopped) = mpsc::channel();
    let plugin = plugin.clone();
    std::thread::spawn(move || {
        block_on(plugin.store.stop());
        let _ = tell.send(());
    });
    stopped
}

#[test]
fn a_stop_does_not_wait_for_a_loop_that_broke_off() {
    let fake = FakeHost::new("key-value").manual_time();
    let plugin = started(&fake);
    assert_eq!(plugin.store.run().now_or_never(), None);
    stop(&plugin).recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_stop_waits_for_the_disk_only_so_long() {
    let fake = FakeHost::new("key-value").manual_time();
    let plugin = started(&fake);
    // Held up, as by a write.
    let mut run = Box::pin(plugin.store.run());
    assert_eq!(run.as_mut().now_or_never(), None);
    let stopped = stop(&plugin);
    fake.wait_until("the patience", |fake| fake.slept().contains(&PATIENCE_AT_STOP));
    assert!(stopped.try_recv().is_err());
    fake.advance(PATIENCE_AT_STOP);
    stopped.recv_timeout(Duration::from_secs(20)).unwrap();
}
