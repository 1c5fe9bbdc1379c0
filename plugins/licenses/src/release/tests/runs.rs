//! Whole runs against a fake host.

use std::time::Duration;

use butler_plugin_api::abi::WireLogRecord;
use butler_plugin_api::testing::{FakeHost, block_on, conformance};
use butler_plugin_api::{Health, Host, Manifest, Plugin, ServiceError, StartError};
use serde_json::json;

use super::{
    access, ago, delete, deleted, event, go, go_at, id, is_tidy, kept, many, now, path, released, sense, settings,
    user, user_id, with,
};
use crate::part::Trouble;
use crate::release::{WRITES, allowed, describe};

#[test]
fn a_dry_run_releases_nothing_and_tells_what_it_would() {
    let fake = many(3);
    assert_eq!(go(&fake, &settings(json!({}))), Ok(()));
    assert!(fake.qlik_writes().is_empty());
    let event = event(&fake);
    assert_eq!(event["licenseRelease"]["dryRun"], true);
    assert_eq!(released(&event), [0, 1, 2]);
    let first = &event["licenseRelease"]["released"][0];
    assert_eq!(
        first,
        &json!({ "id": id(0), "type": "professional", "user": "LAB\\user0", "lastUsed": "2026-02-19T10:00:00.000Z",
                 "daysSinceLastUse": 40 })
    );
    assert_eq!(
        event["message"],
        "dry run, nothing was released: 3 unused access licences would be (3 professional, 0 analyzer), 0 were kept"
    );
    assert!(is_tidy(&fake));
}

#[test]
fn a_release_releases_and_the_cap_leaves_the_rest_for_later() {
    let fake = many(5);
    assert_eq!(go(&fake, &settings(json!({ "release": true, "maxPerRun": 2 }))), Ok(()));
    assert_eq!(deleted(&fake), [0, 1]);
    let event = event(&fake);
    assert_eq!(event["licenseRelease"]["dryRun"], false);
    assert_eq!(released(&event), [0, 1]);
    assert_eq!(event["licenseRelease"]["keptByReason"], json!({ "cap": 3 }));
    assert!(kept(&event, 4).1.contains("`maxPerRun` is 2"));
    assert!(is_tidy(&fake));
}

#[test]
fn where_nothing_is_due_nothing_is_told() {
    let in_use = sense(&[access(1, 29)], &[user(1)]);
    assert_eq!(go(&in_use, &settings(json!({ "release": true }))), Ok(()));
    let protected = sense(&[access(1, 90)], &[user(1)]);
    let rules = json!({ "release": true, "neverRelease": { "userDirectories": ["LAB"] } });
    assert_eq!(go(&protected, &settings(rules)), Ok(()));
    assert!(in_use.emitted().is_empty());
    assert!(in_use.records().iter().any(|record| record.message == "no unused licence was found"));
    let told = event(&protected);
    assert_eq!(kept(&told, 1).0, "user directory", "somebody wants to know why nothing is released");
    assert_eq!(told["message"], "0 unused access licences were released (0 professional, 0 analyzer), 1 was kept");
    let logged = |record: &WireLogRecord| record.message.ends_with(", 1 was kept (user directory 1)");
    assert!(protected.records().iter().any(logged), "{:?}", protected.records());
    // Each site has such ones: nothing has become unused since the last run.
    let never =
        |number, given| with(with(access(number, 0), "/lastUsed", json!(null)), "/createdDate", json!(ago(given)));
    let usual = |given| {
        let in_quarantine = with(access(2, 40), "/quarantined", json!(true));
        sense(&[never(1, given), in_quarantine], &[user(1), user(2)])
    };
    for never_used in ["keep", "release"] {
        let fake = usual(2);
        assert_eq!(go(&fake, &settings(json!({ "release": true, "neverUsed": never_used }))), Ok(()));
        assert_eq!(fake.emitted(), [], "{never_used}");
        assert!(is_tidy(&fake));
    }
    let long = usual(30);
    assert_eq!(go(&long, &settings(json!({ "release": true }))), Ok(()));
    assert_eq!(event(&long)["licenseRelease"]["keptByReason"], json!({ "never used": 1, "quarantined": 1 }));
    for fake in [in_use, protected] {
        assert!(fake.qlik_writes().is_empty());
        assert!(is_tidy(&fake));
    }
}

#[test]
fn without_the_right_to_read_users_it_is_said_what_is_missing() {
    let fake = many(3);
    let fake = (0..3).fold(fake, |fake, number| fake.qlik_status(&format!("user/{}", user_id(number)), 404));
    let fake = fake.qlik("user/full", json!([]));
    for release in [false, true] {
        let planned = if release { "2026-03-31T10:00:00Z" } else { "2026-03-30T10:00:00Z" };
        let result = go_at(&fake, &settings(json!({ "release": release })), planned);
        let Err(Trouble::Noted(text)) = result else { panic!("{result:?}") };
        assert!(text.starts_with("3 licences are kept, since") && text.ends_with("Read on `User_*`"), "{text}");
    }
    assert_eq!(fake.emitted().len(), 2);
    assert_eq!(fake.emitted()[1].1["licenseRelease"]["keptByReason"], json!({ "unreadable": 3 }));
    let refused = many(1).qlik_status("user/full", 403).qlik_status(&format!("user/{}", user_id(0)), 401);
    let result = go(&refused, &settings(json!({})));
    assert!(matches!(&result, Err(Trouble::Noted(text)) if text.contains("`User_*`")), "{result:?}");
}

/// One user of several cannot be read: it is no right that is missing for all.
fn assert_others_are_read(result: &Result<(), Trouble>) {
    let Err(Trouble::Noted(text)) = result else { panic!("{result:?}") };
    assert!(text.starts_with("1 licence is kept, since Qlik Sense does not tell of their users, though"), "{text}");
    assert!(!text.contains("`User_*`"), "{text}");
}

#[test]
fn a_licence_without_a_user_is_no_sign_of_a_missing_right() {
    let nobody = with(access(1, 40), "/user", json!(null));
    for (accesses, others) in [(vec![nobody.clone()], vec![]), (vec![nobody, access(2, 40)], vec![2])] {
        let fake = sense(&accesses, &[user(2)]);
        assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
        assert_eq!(deleted(&fake), others);
        assert_eq!(
            kept(&event(&fake), 1),
            ("unreadable".to_owned(), "Qlik Sense does not tell who the user is".to_owned())
        );
    }
}

#[test]
fn the_health_says_which_right_is_missing() {
    let access = with(access(1, 40), "/lastUsed", json!("2020-01-01T00:00:00.000Z"));
    let fake = sense(&[access], &[]);
    let plugin = block_on(fake.run::<crate::Licenses>(json!({ "unusedLicenses": {} }))).unwrap();
    fake.wait_until("the run", |fake| fake.awaits_tick("unused-licenses"));
    fake.tick("unused-licenses");
    fake.wait_until("the health", |_| block_on(plugin.health()) != Health::Good);
    let Health::Degraded(said) = block_on(plugin.health()) else { panic!("{:?}", block_on(plugin.health())) };
    assert!(said.contains("1 licence is kept, since the user of `qlik.user` cannot read their users"), "{said}");
    assert!(said.ends_with("Read on `User_*`"), "{said}");
    assert!(fake.records().iter().any(|record| record.message == said), "{:?}", fake.records());
    fake.stop();
}

#[test]
fn licences_that_cannot_be_looked_at_again_are_no_good_health() {
    let fake = many(2).qlik_status(&path(0), 403).qlik_status(&path(1), 403);
    let Err(Trouble::Noted(text)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(text.starts_with("a licence could not be looked at again: Qlik Sense answers 403"), "{text}");
    assert!(text.contains("Read on `License*`"), "{text}");
    let fake = many(1).qlik_status(&format!("user/{}", user_id(0)), 403);
    let Err(Trouble::Noted(text)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(text.contains("Read on `User_*`"), "{text}");
}

#[test]
fn each_licence_is_told_with_the_reason_why_it_is_kept() {
    let tagged = with(user(1), "/tags", json!([{ "name": "Keep" }]));
    let accesses = [
        access(1, 40),
        with(access(2, 40), "/quarantined", json!(true)),
        with(access(3, 40), "/lastUsed", json!("soon")),
        access(4, 40),
        with(access(5, 40), "/lastUsed", json!(null)),
        access(6, 40),
        access(7, 2),
        with(access(8, 40), "/id", json!("../../user")),
    ];
    let fake = sense(&accesses, &[tagged, user(6), user(7)]);
    let rules = json!({ "release": true, "neverRelease": { "tags": ["Keep"] } });
    assert_others_are_read(&go(&fake, &settings(rules)));
    assert_eq!(deleted(&fake), [6]);
    let event = event(&fake);
    for (number, reason, detail) in [
        (1, "tag", "the user has the tag `Keep`"),
        (2, "quarantined", "taken back already"),
        (3, "unreadable", "used last cannot be read"),
        (4, "unreadable", "does not tell who the user is"),
        (5, "never used", "`neverUsed` is `keep`"),
    ] {
        let (said, said_detail) = kept(&event, number);
        assert!(said == reason && said_detail.contains(detail), "{number}: {said}, {said_detail}");
    }
    assert_eq!(
        event["licenseRelease"]["keptByReason"],
        json!({ "tag": 1, "quarantined": 1, "unreadable": 2, "never used": 1 })
    );
    assert_eq!(event["message"], "1 unused access licence was released (1 professional, 0 analyzer), 5 were kept");
}

#[test]
fn what_has_changed_since_the_list_was_read_is_kept() {
    let accesses: Vec<_> = (1..=7).map(|number| access(number, 40)).collect();
    let fake = sense(&accesses, &(1..=7).map(user).collect::<Vec<_>>())
        .qlik(&path(1), access(1, 0))
        .qlik(&path(2), access(2, 35))
        .qlik(&path(3), with(access(3, 40), "/quarantined", json!(true)))
        .qlik_status(&path(4), 404)
        .qlik(&format!("user/{}", user_id(5)), with(user(5), "/inactive", json!(true)))
        .qlik_status(&format!("user/{}", user_id(6)), 404);
    let rules = json!({ "release": true, "neverRelease": { "inactive": "yes" } });
    assert_others_are_read(&go(&fake, &settings(rules)));
    assert_eq!(deleted(&fake), [7]);
    let event = event(&fake);
    for (number, reason) in [
        (1, "used meanwhile"),
        (2, "used meanwhile"),
        (3, "quarantined"),
        (4, "gone"),
        (5, "inactive"),
        (6, "unreadable"),
    ] {
        assert_eq!(kept(&event, number).0, reason, "{number}");
    }
}

#[test]
fn users_that_cannot_be_read_together_are_read_alone() {
    let fake = many(3).qlik_status("user/full", 500).qlik_status(&format!("user/{}", user_id(1)), 500);
    assert_others_are_read(&go(&fake, &settings(json!({ "release": true }))));
    assert_eq!(deleted(&fake), [0, 2]);
    assert_eq!(kept(&event(&fake), 1).0, "unreadable");
}

#[test]
fn a_release_that_fails_is_told_and_stops_no_other() {
    let fake = many(6)
        .qlik_status(&delete(0), 403)
        .qlik_status(&delete(1), 404)
        .qlik_status(&delete(2), 500)
        .qlik_status(&delete(3), 200);
    let Err(Trouble::Noted(trouble)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(trouble.contains("a licence could not be released: Qlik Sense answers 403"), "{trouble}");
    let event = event(&fake);
    assert_eq!(released(&event), [4, 5]);
    for (number, detail) in [
        (0, "no right to delete professional access; in the QMC"),
        (1, "answers 404: somebody else has taken it back"),
        (2, "answers 500"),
        // It is still there.
        (3, "answers 200"),
    ] {
        let (reason, said) = kept(&event, number);
        assert!(reason == "failed" && said.contains(detail), "{number}: {reason}, {said}");
    }
    assert!(event["message"].as_str().unwrap().contains("4 were kept, among them 4 that could not be released"));
}

#[test]
fn what_is_gone_after_an_answer_that_was_none_was_released() {
    let fake = many(2).qlik_status(&delete(0), 502).qlik_status(&delete(1), 502);
    // When it is looked up: gone, and in quarantine.
    let host = fake.host();
    let gone = fake.clone();
    let settings = settings(json!({ "release": true }));
    let run = crate::release::run(&host, &settings, now(), super::PLANNED);
    let mut run = std::pin::pin!(run);
    block_on(std::future::poll_fn(|cx| {
        if gone.qlik_writes().iter().any(|(call, _)| *call == delete(0)) {
            drop(gone.clone().qlik_status(&path(0), 404));
        }
        if gone.qlik_writes().iter().any(|(call, _)| *call == delete(1)) {
            drop(gone.clone().qlik(&path(1), with(access(1, 41), "/quarantined", json!(true))));
        }
        run.as_mut().poll(cx)
    }))
    .unwrap();
    assert_eq!((released(&event(&fake)), deleted(&fake)), (vec![0, 1], vec![0, 1]));
}

#[test]
fn five_failures_in_a_row_end_the_run() {
    let mut fake = many(9);
    for number in [0, 2, 3, 4, 5, 6] {
        fake = fake.qlik_status(&delete(number), 403);
    }
    let Err(Trouble::Noted(trouble)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(
        trouble.starts_with("the run ended early: 5 releases in a row have failed, the last one: Qlik"),
        "{trouble}"
    );
    assert_eq!(deleted(&fake), [0, 1, 2, 3, 4, 5, 6], "one that works in between counts");
    let event = event(&fake);
    assert_eq!(released(&event), [1]);
    assert_eq!(event["licenseRelease"]["keptByReason"], json!({ "failed": 6, "not reached": 2 }));
    assert!(event["message"].as_str().unwrap().contains("; the run ended early: 5 releases in a row"));
    assert!(is_tidy(&fake));
}

#[test]
fn a_list_that_cannot_be_read_is_no_run() {
    for (status, part) in [(500, "answers 500"), (403, "answers 403"), (404, "answers 404")] {
        let fake = many(1).qlik_status("license/professionalaccesstype/count", status);
        let Err(Trouble::Failed(text)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not failed") };
        assert!(text.contains(part), "{text}");
        assert!(fake.emitted().is_empty() && fake.qlik_writes().is_empty());
        // The same run is made up for.
        let fake = fake.qlik_status("license/professionalaccesstype/count", 200);
        assert_eq!(go(&fake, &settings(json!({ "release": true }))), Ok(()));
        assert_eq!(released(&event(&fake)), [0]);
    }
    let fake = many(1).qlik("license/professionalaccesstype/full", json!({ "odd": true }));
    let Err(Trouble::Failed(text)) = go(&fake, &settings(json!({}))) else { panic!("not failed") };
    assert!(text.contains("is no list"), "{text}");
}

#[test]
fn a_list_that_breaks_off_is_told_as_far_as_it_went() {
    let fake = many(2).qlik_status("license/analyzeraccesstype/count", 500);
    let Err(Trouble::Noted(trouble)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(trouble.contains("license/analyzeraccesstype/count"), "{trouble}");
    assert_eq!(released(&event(&fake)), [0, 1]);
    // A dry run has released nothing: it is done again.
    let fake = many(2).qlik_status("license/analyzeraccesstype/count", 500);
    assert!(matches!(go(&fake, &settings(json!({}))), Err(Trouble::Failed(_))));
    assert!(fake.emitted().is_empty());
}

#[test]
fn one_run_after_the_other_has_an_event_of_its_own() {
    let fake = many(3);
    let settings = settings(json!({ "release": true, "maxPerRun": 1 }));
    assert_eq!(go_at(&fake, &settings, "2026-03-31T10:00:00Z"), Ok(()));
    assert_eq!(go_at(&fake, &settings, "2026-03-31T10:00:00Z"), Ok(()), "known: it is not done twice");
    assert_eq!((fake.emitted().len(), deleted(&fake)), (1, vec![0]));
    assert_eq!(go_at(&fake, &settings, "2026-04-01T10:00:00Z"), Ok(()));
    assert_eq!(fake.emitted().len(), 2);
}

#[test]
fn requests_keep_their_distance() {
    let fake = many(4);
    go(&fake, &settings(json!({ "release": true, "requestsPerSecond": 2 }))).unwrap();
    // Of each type two numbers, a list (of none: no list) twice for professional; users, two looks and a release for each.
    let requests = 2 + 2 + 2 + 1 + 3 * 4;
    let slept: Duration = fake.slept().iter().sum();
    let least = Duration::from_millis(500) * (requests - 1);
    assert!(slept + Duration::from_secs(2) >= least, "{slept:?} for {requests} requests");
    assert!(fake.slept().iter().all(|one| *one <= Duration::from_millis(500) * requests), "{:?}", fake.slept());
}

#[test]
fn the_event_fits_however_many_are_kept_and_whatever_they_are_called() {
    let name = "\"ä\u{1F600}\n".repeat(200);
    let accesses: Vec<_> = (0..2_500).map(|number| with(access(number, 40), "/user/userId", json!(name))).collect();
    let users: Vec<_> = (0..2_500).map(user).collect();
    let fake = sense(&accesses, &users);
    // One window, for the fake host takes no filters.
    let fake = fake.qlik("license/professionalaccesstype/count", json!({ "value": 1 }));
    go(&fake, &settings(json!({ "release": true, "maxPerRun": 1_000, "requestsPerSecond": 100 }))).unwrap();
    let event = event(&fake);
    let size = event.to_string().len();
    assert!(size < 1 << 20, "{size} bytes");
    assert_eq!(released(&event).len(), 1_000, "all that were released are told");
    assert_eq!(event["licenseRelease"]["keptByReason"], json!({ "cap": 1_500 }));
}

#[test]
fn the_config_is_asked_before_whether_licences_may_be_released() {
    let release = settings(json!({ "release": true }));
    let refused = |fake: &FakeHost| block_on(allowed(&fake.host(), &release)).unwrap_err();
    let denied = || ServiceError::Denied("add it to `qlik.writes`".to_owned());
    let fake = many(1).fail_service("qlik", denied());
    assert_eq!(
        refused(&fake),
        "`unusedLicenses.release` is true, but the config does not let plugins release licences: add \
         `writes: [\"license/professionalaccesstype/*\", \"license/analyzeraccesstype/*\"]` under `qlik:`, or take \
         `release` away for a dry run"
    );
    assert_eq!(block_on(allowed(&fake.host(), &settings(json!({})))), Ok(()), "a dry run needs none");
    let older = many(1).fail_service("qlik", ServiceError::Unsupported("older".to_owned()));
    assert_eq!(block_on(allowed(&older.host(), &release)), Ok(()));
    assert!(many(1).qlik_writes().is_empty() && WRITES.len() == 2);
}

#[test]
fn check_says_how_many_are_unused() {
    let said = block_on(describe(&many(3).host(), &settings(json!({})), now())).unwrap();
    assert_eq!(
        said,
        "3 professional licences not used for 30 days, 0 analyzer licences not used for 30 days (dry run)"
    );
    // Somebody waits for it.
    let fake = many(1).qlik_status("license/professionalaccesstype/count", 503);
    let result = block_on(describe(&fake.host(), &settings(json!({})), now()));
    assert!(matches!(&result, Err(Trouble::Failed(text)) if text.contains("answers 503")), "{result:?}");
    assert_eq!(fake.slept(), []);
}

#[test]
fn with_a_release_the_plugin_keeps_the_rules_of_the_house() {
    conformance::<crate::Licenses>(json!({ "unusedLicenses": {} }));
    conformance::<crate::Licenses>(
        json!({ "unusedLicenses": { "release": true, "neverRelease": { "inactive": "No" } } }),
    );
}

/// A plugin whose manifest names no writes, so that all are refused.
struct WritesNothing;

impl Plugin for WritesNothing {
    type Settings = serde_json::Value;

    fn manifest() -> Manifest {
        Manifest::new("licenses", "Writes nothing").emits(&["access-license.released"])
    }

    async fn start(_: serde_json::Value, _: Host) -> Result<Self, StartError> {
        Ok(Self)
    }
}

#[test]
fn what_the_config_forbids_ends_the_run_at_once() {
    let fake = many(3);
    block_on(fake.start::<WritesNothing>(json!({}))).unwrap();
    let Err(Trouble::Noted(trouble)) = go(&fake, &settings(json!({ "release": true }))) else { panic!("not noted") };
    assert!(trouble.contains("the run ended early") && trouble.contains("under `qlik:`"), "{trouble}");
    assert_eq!(event(&fake)["licenseRelease"]["keptByReason"], json!({ "failed": 1, "not reached": 2 }));
}
