//! Runs that are cut off: by the end of the process at any moment, by a storage that fails, by changed settings.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on};
use butler_plugin_api::{Health, Plugin, ServiceError};
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

/// Runs to its end; `change` is called after each step.
fn go_while(fake: &FakeHost, settings: Value, change: impl Fn(&FakeHost)) -> Result<(), Trouble> {
    let (host, settings) = (fake.host(), super::settings(settings));
    let mut future = pin!(run(&host, &settings, now(), PLANNED));
    block_on(std::future::poll_fn(|context| {
        change(fake);
        future.as_mut().poll(context)
    }))
}

/// The looks at what there was no answer about, after the lists were read.
fn late_looks(fake: &FakeHost) -> usize {
    fake.slept().into_iter().filter(|slept| *slept == Duration::from_secs(5)).count()
}

#[test]
fn what_is_gone_after_the_run_went_on_was_released_by_it() {
    // Still there at first; when the list is read it is gone.
    let fake =
        begun(many(2), &[(0, json!("open"))]).qlik("license/professionalaccesstype/full", json!([access(1, 40)]));
    let fake = fake.qlik(&path(1), access(1, 40));
    let late = |fake: &FakeHost| {
        if deleted(fake) == [1] {
            drop(fake.clone().qlik_status(&path(0), 404));
        }
    };
    assert_eq!(go_while(&fake, json!({ "release": true }), late), Ok(()));
    assert_eq!((released(&event(&fake)), deleted(&fake)), (vec![0, 1], vec![1]));
    assert!(is_tidy(&fake));
}

#[test]
fn what_is_in_quarantine_after_the_run_went_on_was_released_by_it() {
    let quarantined = with(access(0, 40), "/quarantined", json!(true));
    // In the list, or not before the second look.
    let by_list =
        begun(many(1), &[(0, json!("open"))]).qlik("license/professionalaccesstype/full", json!([quarantined]));
    assert_eq!(go(&by_list, &settings(json!({ "release": true }))), Ok(()));
    let by_look = begun(many(1), &[(0, json!("open"))]);
    let late = |fake: &FakeHost| {
        if !fake.slept().is_empty() {
            drop(fake.clone().qlik(&path(0), with(access(0, 40), "/quarantined", json!(true))));
        }
    };
    assert_eq!(go_while(&by_look, json!({ "release": true, "requestsPerSecond": 1 }), late), Ok(()));
    for fake in [by_list, by_look] {
        let event = event(&fake);
        assert_eq!((released(&event), deleted(&fake)), (vec![0], vec![]));
        assert_eq!(event["licenseRelease"]["kept"], json!([]));
    }
}

#[test]
fn a_release_without_an_answer_may_take_effect_late() {
    for looks in [0, 3] {
        let fake = many(2).qlik_status(&delete(0), 502);
        let late = |fake: &FakeHost| {
            if deleted(fake) == [0, 1] && late_looks(fake) >= looks {
                drop(fake.clone().qlik_status(&path(0), 404));
            }
        };
        assert_eq!(go_while(&fake, json!({ "release": true }), late), Ok(()));
        assert_eq!((released(&event(&fake)), deleted(&fake)), (vec![0, 1], vec![0, 1]), "{looks}");
    }
    // Never.
    let fake = many(2).qlik_status(&delete(0), 502);
    assert!(matches!(go(&fake, &settings(json!({ "release": true }))), Err(Trouble::Noted(_))));
    let (reason, detail) = kept(&event(&fake), 0);
    assert!(
        reason == "failed" && detail.contains("502") && detail.ends_with("; the licence is still there"),
        "{detail}"
    );
    assert_eq!(late_looks(&fake), 6);
}

#[test]
fn what_was_begun_counts_for_the_cap_and_is_kept_by_a_rule_that_fits_by_now() {
    let release = settings(
        json!({ "release": true, "maxPerRun": 1, "neverRelease": { "users": [{ "directory": "LAB", "userId": "user0" }] } }),
    );
    let fake = begun(many(2), &[(0, json!("open"))]);
    assert_eq!(go(&fake, &release), Ok(()));
    let event = event(&fake);
    assert_eq!((released(&event), deleted(&fake)), (vec![], vec![]));
    assert_eq!((kept(&event, 0).0, kept(&event, 1).0), ("user".to_owned(), "cap".to_owned()));
    assert!(is_tidy(&fake));
}

#[test]
fn what_was_begun_and_is_used_by_now_is_kept_as_used() {
    // Its release was noted, and never asked for. As Qlik Sense lists it, and as if it were listed still.
    let used = with(access(0, 40), "/lastUsed", json!("2026-03-31T09:00:00.000Z"));
    for list in [vec![access(1, 40)], vec![used.clone(), access(1, 40)]] {
        let fake = begun(many(2), &[(0, json!("open"))]).qlik("license/professionalaccesstype/full", json!(list));
        let fake = fake.qlik(&path(0), used.clone()).qlik(&path(1), access(1, 40));
        assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
        let event = event(&fake);
        assert_eq!((released(&event), deleted(&fake)), (vec![1], vec![1]));
        assert_eq!(event["licenseRelease"]["keptByReason"], json!({ "used meanwhile": 1 }));
        assert!(is_tidy(&fake));
    }
    // Not used, as far as it can be read: nobody knows why it is still there.
    for idle in [access(0, 40), with(access(0, 40), "/lastUsed", json!("soon"))] {
        let fake = begun(many(1), &[(0, json!("open"))]).qlik("license/professionalaccesstype/full", json!([]));
        let fake = fake.qlik(&path(0), idle);
        assert!(matches!(go(&fake, &settings(json!({ "release": true }))), Err(Trouble::Noted(_))));
        assert_eq!(kept(&event(&fake), 0).0, "failed");
    }
    // This run has asked for it, and was told why not.
    let fake = many(1).qlik_status(&delete(0), 502);
    let late = |fake: &FakeHost| {
        if deleted(fake) == [0] {
            drop(fake.clone().qlik(&path(0), used.clone()));
        }
    };
    assert!(matches!(go_while(&fake, json!({ "release": true }), late), Err(Trouble::Noted(_))));
    assert!(kept(&event(&fake), 0).1.contains("502"));
}

#[test]
fn a_refusal_of_the_second_request_says_nothing_about_the_first() {
    let fake = begun(many(1), &[(0, json!("open"))]).qlik_status(&delete(0), 403);
    let late = |fake: &FakeHost| {
        if late_looks(fake) >= 1 {
            drop(fake.clone().qlik_status(&path(0), 404));
        }
    };
    assert_eq!(go_while(&fake, json!({ "release": true }), late), Ok(()));
    assert_eq!(released(&event(&fake)), [0]);
}

#[test]
fn a_run_whose_section_was_removed_is_told() {
    let fake = begun(many(4), &[(0, json!("released")), (1, json!("open"))]).qlik_status(&path(1), 404).manual_time();
    let plugin = block_on(fake.run::<crate::Licenses>(json!({ "serverLicense": {} }))).unwrap();
    fake.wait_until("the event", |fake| !fake.emitted().is_empty() && is_tidy(fake));
    let event = event(&fake);
    assert_eq!((released(&event), deleted(&fake)), (vec![0, 1], vec![]));
    assert!(
        event["message"].as_str().unwrap().ends_with("; the run ended early: the section `unusedLicenses` was removed")
    );
    assert_eq!(block_on(plugin.health()), Health::Good);
    fake.stop();
    let report = json!({ "planned": PLANNED, "data": { "message": "told" } });
    let fake = many(1).store("release/report", report).manual_time();
    let _plugin = block_on(fake.run::<crate::Licenses>(json!({ "serverLicense": {} }))).unwrap();
    fake.wait_until("the event", |fake| fake.emitted().len() == 1 && is_tidy(fake));
    fake.stop();
}

#[test]
fn what_another_version_has_stored_is_told_with_a_remedy() {
    let fake = begun(many(1), &[(0, json!("half"))]);
    let Err(Trouble::Failed(text)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not failed") };
    assert!(text.contains("`release/item/") && text.contains("give the instance another `name`"), "{text}");
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
