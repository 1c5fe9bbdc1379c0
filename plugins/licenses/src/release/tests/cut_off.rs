//! Runs that are cut off: by the end of the process at any moment, by a storage that fails, by changed settings.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use butler_plugin_api::ServiceError;
use butler_plugin_api::testing::FakeHost;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    PLANNED, access, delete, deleted, event, go, id, is_tidy, kept, many, now, path, released, settings, with,
};
use crate::part::Trouble;
use crate::release::run;

fn item(number: u64, outcome: Value) -> Value {
    json!({ "number": number, "type": "professional", "user": format!("LAB\\user{number}"),
            "lastUsed": "2026-02-19T10:00:00.000Z", "days": 40, "outcome": outcome })
}

/// A run that was cut off, with items.
fn begun(fake: FakeHost, items: &[(u64, Value)]) -> FakeHost {
    let run = json!({ "planned": PLANNED, "dryRun": false, "ended": null });
    items.iter().fold(fake.store("release/run", run), |fake, (number, outcome)| {
        fake.store(&format!("release/item/{}", id(*number)), item(*number, outcome.clone()))
    })
}

#[test]
fn what_was_begun_is_looked_up_and_the_run_goes_on() {
    // 0 was released; 1 was released without a note of it; 2 was not asked for; 3 had failed.
    let items = [(0, json!("released")), (1, json!("open")), (2, json!("open")), (3, json!({ "failed": "so it was" }))];
    let fake = begun(many(5), &items).qlik_status(&path(1), 404);
    assert!(matches!(go(&fake, &settings(json!({ "release": true, "maxPerRun": 4 }))), Err(Trouble::Noted(_))));
    assert_eq!(deleted(&fake), [2, 4], "nobody twice");
    let event = event(&fake);
    let mut all = released(&event);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 4]);
    assert_eq!(kept(&event, 3), ("failed".to_owned(), "so it was".to_owned()));
    assert!(is_tidy(&fake));
}

#[test]
fn the_cap_holds_for_a_run_and_its_continuation_together() {
    let fake = begun(many(5), &[(0, json!("released")), (1, json!("released"))]);
    assert_eq!(go(&fake, &settings(json!({ "release": true, "maxPerRun": 2 }))), Ok(()));
    assert!(deleted(&fake).is_empty());
    assert_eq!(released(&event(&fake)), [0, 1]);
}

#[test]
fn quarantine_counts_as_released() {
    let fake = begun(many(1), &[(0, json!("open"))]).qlik(&path(0), with(access(0, 40), "/quarantined", json!(true)));
    assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
    assert_eq!((released(&event(&fake)), deleted(&fake)), (vec![0], vec![]));
}

#[test]
fn a_release_that_arrived_late_is_ours() {
    // Still there when it was looked up, and gone when it was asked for again.
    let fake = begun(many(1), &[(0, json!("open"))]).qlik_status(&delete(0), 404);
    assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
    assert_eq!(released(&event(&fake)), [0]);
}

#[test]
fn what_cannot_be_looked_up_waits() {
    let fake = begun(many(2), &[(0, json!("open"))]).qlik_status(&path(0), 503);
    let release = settings(json!({ "release": true }));
    let Err(Trouble::Failed(text)) = go(&fake, &release) else { panic!("not failed") };
    assert!(text.starts_with("what became of a release is not known yet"), "{text}");
    assert!(fake.emitted().is_empty() && fake.qlik_writes().is_empty());
    let fake = fake.qlik_status(&path(0), 404);
    assert_eq!(go(&fake, &release), Ok(()));
    assert_eq!((released(&event(&fake)), deleted(&fake)), (vec![0, 1], vec![1]));
}

#[test]
fn a_report_that_was_left_is_told_once_and_its_run_is_over() {
    let data = json!({ "message": "told", "licenseRelease": { "dryRun": false } });
    let report = json!({ "planned": PLANNED, "data": data });
    let fake = many(2).store("release/report", report.clone());
    assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
    assert_eq!(event(&fake), data);
    assert!(fake.qlik_writes().is_empty() && is_tidy(&fake));
    // Cut off between the event and the note of it.
    let fake = fake.store("release/report", report);
    assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
    assert_eq!(fake.emitted().len(), 1);
}

#[test]
fn a_dry_run_that_the_settings_ask_for_meanwhile_releases_no_more() {
    let fake = begun(many(3), &[(0, json!("released"))]);
    assert!(matches!(go(&fake, &settings(json!({}))), Err(Trouble::Noted(_))));
    let event = event(&fake);
    assert_eq!((released(&event), deleted(&fake)), (vec![0], vec![]));
    assert_eq!(event["licenseRelease"]["dryRun"], false, "some were released");
    assert_eq!(event["licenseRelease"]["keptByReason"], json!({ "not reached": 2 }));
}

#[test]
fn nothing_is_released_that_cannot_be_noted() {
    let fake = many(2).fail_service("storage", ServiceError::Failed("the disk is full".to_owned()));
    let Err(Trouble::Failed(text)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not failed") };
    assert!(text.contains("the disk is full"), "{text}");
    assert!(fake.qlik_writes().is_empty());
    let fake = many(2).fail_service("emit", ServiceError::Failed("the disk is full".to_owned()));
    assert!(matches!(go(&fake, &settings(json!({ "release": true }))), Err(Trouble::Failed(_))));
    assert_eq!(deleted(&fake), [0, 1]);
    assert!(fake.stored("release/report").is_some(), "told later");
}

/// Runs until so many steps were taken; true when it is over.
fn steps(fake: &FakeHost, settings: &crate::release::Settings, steps: usize) -> bool {
    let host = fake.host();
    let mut future = pin!(run(&host, settings, now(), PLANNED));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..steps {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            result.unwrap();
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whenever a run is cut off, however often: nobody is released twice, and one event tells of all.
    #[test]
    fn cut_off_at_any_moment(cuts in prop::collection::vec(0_usize..40, 0..6)) {
        let fake = many(6);
        let release = settings(json!({ "release": true, "maxPerRun": 4, "requestsPerSecond": 1 }));
        let mut over = false;
        for cut in cuts.into_iter().map(Some).chain([None]) {
            over = steps(&fake, &release, cut.unwrap_or(100_000));
            // As the real one: what was released is gone.
            for number in deleted(&fake) {
                drop(fake.clone().qlik_status(&path(number), 404));
            }
        }
        prop_assert!(over);
        let event = event(&fake);
        let (mut told, mut asked) = (released(&event), deleted(&fake));
        told.sort_unstable();
        asked.sort_unstable();
        prop_assert_eq!(&told, &asked);
        asked.dedup();
        prop_assert_eq!(asked.len(), 4);
        prop_assert!(is_tidy(&fake));
    }
}
