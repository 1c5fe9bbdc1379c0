//! Windows, what is held back, what is given back.

use butler_plugin_api::testing::{FakeHost, block_on};
use butler_plugin_api::{kind, sample_event};

use super::*;

const SECOND: u64 = 1000;
const EVERY: Duration = Duration::from_mins(5);
/// Some time.
const T0: u64 = 1_700_000_000_000;

fn ann() -> Address {
    "ann@x.io".parse().unwrap()
}

fn bo() -> Address {
    "bo@x.io".parse().unwrap()
}

/// Whether a delivery is let through, with what it tells of held back mails.
fn granted(record: &mut Record, address: &Address, delivery: &str, second: u64) -> Option<u64> {
    let claim = claim(record, std::slice::from_ref(address), delivery, T0 + second * SECOND, EVERY);
    assert_eq!(claim.granted.len() + claim.held.len(), 1);
    claim.granted.first().map(|(_, held)| *held)
}

#[test]
fn one_mail_in_a_window_and_the_next_one_tells_how_many_were_held_back() {
    let mut record = Record::new();
    assert_eq!(granted(&mut record, &ann(), "d1", 0), Some(0));
    assert_eq!(granted(&mut record, &ann(), "d2", 200), None);
    assert_eq!(granted(&mut record, &bo(), "d2", 210), Some(0), "another recipient has a window of their own");
    assert_eq!(granted(&mut record, &ann(), "d3", 299), None, "what is held back does not extend the window");
    assert_eq!(granted(&mut record, &ann(), "d4", 301), Some(2));
    assert_eq!(granted(&mut record, &ann(), "d5", 602), Some(0), "told once");
}

#[test]
fn a_delivery_that_is_repeated_finds_its_own_claim() {
    let mut record = Record::new();
    granted(&mut record, &ann(), "d1", 0);
    granted(&mut record, &ann(), "d2", 1);
    assert_eq!(granted(&mut record, &ann(), "d3", 400), Some(1));
    assert_eq!(granted(&mut record, &ann(), "d3", 401), Some(1), "after a crash it tells the same");
    assert_eq!(granted(&mut record, &ann(), "d4", 402), None);
    // Repeated after its window it begins a new one.
    assert_eq!(granted(&mut record, &ann(), "d5", 800), Some(1));
    assert_eq!(granted(&mut record, &ann(), "d5", 1200), Some(0));
    assert_eq!(granted(&mut record, &ann(), "d6", 1300), None);
}

#[test]
fn what_failed_is_given_back_with_its_count() {
    let mut record = Record::new();
    granted(&mut record, &ann(), "d1", 0);
    granted(&mut record, &ann(), "d2", 1);
    assert_eq!(granted(&mut record, &ann(), "d3", 301), Some(1));
    give_back(&mut record, &[ann()], "d2");
    assert_eq!(granted(&mut record, &ann(), "d4", 302), None, "not by a delivery that does not hold it");
    give_back(&mut record, &[ann(), bo()], "d3");
    assert_eq!(granted(&mut record, &ann(), "d5", 303), Some(2));
    give_back(&mut record, &[ann()], "d5");
    assert_eq!(record.len(), 1, "kept for its count");
    let mut record = Record::new();
    granted(&mut record, &ann(), "d1", 0);
    give_back(&mut record, &[ann()], "d1");
    assert!(record.is_empty());
}

#[test]
fn records_do_not_grow_and_a_clock_that_was_set_back_locks_nobody_out() {
    let mut record = Record::new();
    for second in 0..1000 {
        let address = format!("user{second}@x.io").parse().unwrap();
        granted(&mut record, &address, "d1", second);
    }
    assert!(record.len() <= 301, "{}", record.len());
    let mut record = Record::new();
    granted(&mut record, &ann(), "d1", 100_000);
    assert_eq!(granted(&mut record, &ann(), "d2", 0), Some(0));
}

#[test]
fn keys_are_kind_and_task_or_service_or_app() {
    let key_of = |kind: &str| key(&sample_event(kind));
    let keys = [
        kind::RELOAD_TASK_FAILED,
        kind::RELOAD_TASK_ABORTED,
        kind::SERVICE_STOPPED,
        kind::SERVICE_STARTED,
        kind::CLOUD_APP_RELOAD_FAILED,
    ];
    let keys: std::collections::BTreeSet<_> = keys.into_iter().map(key_of).collect();
    assert!(keys.len() == 5 && !keys.contains(&None), "each kind has its own: {keys:?}");
    let mut other = sample_event(kind::CLOUD_APP_RELOAD_FAILED);
    other.data.cloud.as_mut().unwrap().reload_id = Some("another".to_owned());
    assert_eq!(key(&other), key_of(kind::CLOUD_APP_RELOAD_FAILED), "the app, not the reload");
    other.data.app.as_mut().unwrap().id = "another".to_owned();
    assert_ne!(key(&other), key_of(kind::CLOUD_APP_RELOAD_FAILED));
    let mut long = sample_event(kind::SERVICE_STOPPED);
    long.data.service.as_mut().unwrap().host = Some("h".repeat(10_000));
    assert!(key(&long).unwrap().len() < 512);
    assert_eq!(key_of(kind::NODE_SILENT), None);
}

#[test]
fn the_storage_has_it_and_without_it_all_are_let_through() {
    let fake = FakeHost::new("email");
    let event = sample_event(kind::RELOAD_TASK_FAILED);
    let claim = |fake: &FakeHost, delivery: &str| {
        // Made anew each time, as after a restart.
        block_on(Throttle::new(EVERY, fake.host()).claim(&event, delivery, vec![ann(), bo()]))
    };
    let first = claim(&fake, "d1");
    assert_eq!((first.granted.len(), first.held.len()), (2, 0));
    assert_eq!(claim(&fake, "d2").held, [ann(), bo()]);
    block_on(Throttle::new(EVERY, fake.host()).give_back(&first, "d1", &[bo()]));
    let third = claim(&fake, "d3");
    assert_eq!((third.granted, third.held), (vec![(bo(), 1)], vec![ann()]));

    let broken = FakeHost::new("email").fail_service("storage", ServiceError::Unavailable("full".to_owned()));
    assert_eq!((claim(&broken, "d1").granted.len(), claim(&broken, "d2").granted.len()), (2, 2));
    assert!(broken.records().iter().any(|record| record.message.contains("not throttled")));
    block_on(Throttle::new(EVERY, fake.host()).give_back(&Claim::all(vec![ann()]), "d1", &[ann()]));
}

#[test]
fn records_are_kept_for_what_was_not_told_only() {
    let fake = FakeHost::new("email").manual_time();
    let throttle = Throttle::new(EVERY, fake.host());
    let event = sample_event(kind::RELOAD_TASK_FAILED);
    let key = key(&event).unwrap();
    block_on(throttle.claim(&event, "d1", vec![ann()]));
    assert!(fake.stored(&key).is_some());
    fake.advance(EVERY);
    assert!(fake.stored(&key).is_none());
    block_on(throttle.claim(&event, "d2", vec![ann()]));
    assert_eq!(block_on(throttle.claim(&event, "d3", vec![ann()])).held, [ann()]);
    fake.advance(MEMORY);
    assert!(fake.stored(&key).is_some());
    fake.advance(EVERY);
    assert!(fake.stored(&key).is_none());
}

#[test]
fn a_storage_that_does_not_work_is_told_once() {
    let fake = FakeHost::new("email").fail_service("storage", ServiceError::Unavailable("full".to_owned()));
    let throttle = Throttle::new(EVERY, fake.host());
    for delivery in ["d1", "d2", "d3"] {
        block_on(throttle.claim(&sample_event(kind::RELOAD_TASK_FAILED), delivery, vec![ann()]));
    }
    assert_eq!(fake.records().iter().filter(|record| record.message.contains("not throttled")).count(), 1);
}
