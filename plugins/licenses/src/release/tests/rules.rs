//! What is released: each rule alone, and all together against the simplest model.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::access::{Access, AccessType, User};
use super::super::rules::{Verdict, cut_off, full_days, judge, protected_by_name, protected_by_user};
use super::{NOW, Settings, access, now, settings, user, with};

/// What becomes of a licence: released, left alone since it is in use, or the word for why it is kept.
fn verdict(settings: &Settings, access: &Value, user: &Value) -> String {
    let access = Access::read(AccessType::Professional, access).expect("it has an id");
    match judge(&access, i64::from(settings.professional.unused_days), settings.never_used, now()) {
        Verdict::InUse => return "in use".to_owned(),
        Verdict::Keep(kept) => return kept.reason.word().to_owned(),
        Verdict::Due(_) => {}
    }
    let by_name = protected_by_name(&access, &settings.never_release);
    let (_, user) = User::read(user).expect("it has an id");
    let kept = by_name.or_else(|| protected_by_user(&user, &settings.never_release));
    kept.map_or_else(|| "released".to_owned(), |kept| kept.reason.word().to_owned())
}

#[test]
fn n_full_days_are_n_times_24_hours_whatever_the_zone() {
    let mut settings = settings(json!({}));
    for (last_used, expected) in [
        ("2026-03-01T10:00:00.000Z", "released"),
        ("2026-03-01T10:00:00.001Z", "in use"),
        // Butler 16 released these in some zones: the day of the threshold counted whole.
        ("2026-03-01T23:59:59.999Z", "in use"),
        ("2026-03-01T12:00:00+02:00", "released"),
        ("2026-03-01T12:00:00.001+02:00", "in use"),
        ("2026-03-31T10:00:00.000Z", "in use"),
        ("2027-01-01T00:00:00.000Z", "in use"),
        ("1900-01-01T00:00:00.000Z", "released"),
        ("1754-01-01T00:00:00.000Z", "released"),
        ("1753-12-31T23:59:59.999Z", "never used"),
        ("1753-01-01T00:00:00.000Z", "never used"),
        ("yesterday", "unreadable"),
        ("", "unreadable"),
        ("2026-03-01T10:00:00", "unreadable"),
    ] {
        let access = with(access(1, 0), "/lastUsed", json!(last_used));
        assert_eq!(verdict(&settings, &access, &user(1)), expected, "{last_used}");
    }
    for (last_used, expected) in [(json!(null), "never used"), (json!(17), "unreadable")] {
        assert_eq!(verdict(&settings, &with(access(1, 0), "/lastUsed", last_used), &user(1)), expected);
    }
    settings.professional.unused_days = 31;
    assert_eq!(verdict(&settings, &access(1, 30), &user(1)), "in use");
    assert_eq!(verdict(&settings, &access(1, 31), &user(1)), "released");
    let time = |text: &str| text.parse().unwrap();
    assert_eq!(full_days(time("2026-03-01T10:00:00.001Z"), now()), 29);
    assert_eq!(full_days(time("2026-03-01T10:00:00Z"), now()), 30);
    assert_eq!(cut_off(30, time(NOW)), time("2026-03-01T10:00:00Z"));
}

#[test]
fn never_used_licences_are_released_only_if_asked_and_given_long_ago() {
    let never = |created: Value| with(with(access(1, 0), "/lastUsed", json!(null)), "/createdDate", created);
    let (keep, release) = (settings(json!({})), settings(json!({ "neverUsed": "release" })));
    for (created, expected) in [
        (json!("2026-03-01T10:00:00.000Z"), "released"),
        (json!("2026-03-01T10:00:00.001Z"), "never used"),
        (json!("2026-03-31T09:59:00.000Z"), "never used"),
        (json!(null), "never used"),
    ] {
        assert_eq!(verdict(&release, &never(created.clone()), &user(1)), expected, "{created}");
        assert_eq!(verdict(&keep, &never(created), &user(1)), "never used");
    }
}

#[test]
fn each_rule_protects_whom_it_names_and_nobody_else() {
    let tagged = with(user(1), "/tags", json!([{ "id": "t", "name": "other" }, { "id": "u", "name": "Keep" }]));
    let property = json!([{ "value": "no", "definition": { "name": "Release" } }]);
    let with_property = with(user(1), "/customProperties", property);
    let plain = user(1);
    let of_other = with(access(1, 50), "/user/userDirectory", json!("OTHER"));
    for (rules, access, user, expected) in [
        (json!({}), access(1, 50), &tagged, "released"),
        (json!({ "users": [{ "directory": "lab", "userId": "USER1" }] }), access(1, 50), &plain, "user"),
        (json!({ "users": [{ "directory": "LAB", "userId": "user1" }] }), of_other.clone(), &plain, "released"),
        (json!({ "users": [{ "directory": "LAB", "userId": "user2" }] }), access(1, 50), &plain, "released"),
        (json!({ "userDirectories": ["ADMIN", "Lab"] }), access(1, 50), &plain, "user directory"),
        (json!({ "userDirectories": ["LAB"] }), of_other, &plain, "released"),
        (json!({ "userDirectories": ["LA", "LABS"] }), access(1, 50), &plain, "released"),
        (json!({ "tags": ["keep"] }), access(1, 50), &tagged, "tag"),
        (json!({ "tags": ["keep"] }), access(1, 50), &plain, "released"),
        (
            json!({ "customProperties": [{ "name": "release", "value": "No" }] }),
            access(1, 50),
            &with_property,
            "custom property",
        ),
        (
            json!({ "customProperties": [{ "name": "release", "value": "yes" }] }),
            access(1, 50),
            &with_property,
            "released",
        ),
        (
            json!({ "customProperties": [{ "name": "no", "value": "Release" }] }),
            access(1, 50),
            &with_property,
            "released",
        ),
    ] {
        let settings = settings(json!({ "neverRelease": rules }));
        assert_eq!(verdict(&settings, &access, user), expected, "{rules}");
    }
    let quarantined = with(access(1, 50), "/quarantined", json!(true));
    assert_eq!(verdict(&settings(json!({})), &quarantined, &plain), "quarantined");
}

#[test]
fn states_protect_those_who_are_in_them_or_those_who_are_not() {
    for (setting, field, word) in [
        ("inactive", "/inactive", "inactive"),
        ("blocked", "/blacklisted", "blocked"),
        ("removedExternally", "/removedExternally", "removed externally"),
    ] {
        for (value, is, expected) in [
            ("No", json!(false), word),
            ("Yes", json!(false), "released"),
            ("Ignore", json!(false), "released"),
            ("no", json!(true), "released"),
            ("yes", json!(true), word),
            ("ignore", json!(true), "released"),
            // What cannot be read protects, if a rule asks for it.
            ("yes", json!("true"), "unreadable"),
            ("no", json!(null), "unreadable"),
            ("ignore", json!(null), "released"),
        ] {
            let settings = settings(json!({ "neverRelease": { setting: value } }));
            let user = with(user(1), field, is.clone());
            assert_eq!(verdict(&settings, &access(1, 50), &user), expected, "{setting} {value} {is}");
        }
    }
}

#[test]
fn a_user_of_another_form_is_protected_by_the_rules_that_ask_for_it() {
    let rules = json!({ "tags": ["a"], "customProperties": [{ "name": "a", "value": "b" }] });
    let strict = settings(json!({ "neverRelease": rules }));
    for (field, odd) in [
        ("/tags", json!("a")),
        ("/tags", json!([{ "label": "a" }])),
        ("/customProperties", json!(null)),
        ("/customProperties", json!([{ "value": "b" }])),
    ] {
        let user = with(user(1), field, odd.clone());
        assert_eq!(verdict(&strict, &access(1, 50), &user), "unreadable", "{odd}");
        assert_eq!(verdict(&settings(json!({})), &access(1, 50), &user), "released");
    }
    for odd in [json!(null), json!("../user"), json!("00000000-0000-4000-8000-00000000000/")] {
        assert_eq!(Access::read(AccessType::Analyzer, &with(access(1, 50), "/id", odd.clone())), None);
        assert_eq!(User::read(&with(user(1), "/id", odd)), None);
    }
}

#[test]
fn a_name_that_is_not_told_is_protected_by_the_rules_that_ask_for_it() {
    let users = json!({ "users": [{ "directory": "LAB", "userId": "ann" }] });
    let directories = json!({ "userDirectories": ["INTERNAL"] });
    for (rules, field, expected) in [
        (&users, "/user/userDirectory", "unreadable"),
        (&users, "/user/userId", "unreadable"),
        (&directories, "/user/userDirectory", "unreadable"),
        (&directories, "/user/userId", "released"),
        (&json!({}), "/user/userDirectory", "released"),
    ] {
        let settings = settings(json!({ "neverRelease": rules }));
        for absent in [json!(null), json!(""), json!(7)] {
            let access = with(access(1, 50), field, absent);
            assert_eq!(verdict(&settings, &access, &user(1)), expected, "{rules} {field}");
        }
    }
    let nameless = Access::read(AccessType::Analyzer, &with(access(1, 50), "/user/userDirectory", json!(null)));
    assert_eq!(nameless.unwrap().name(), "?\\user1");
}

/// A few words, so that rules and users meet.
fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(vec!["a", "B", "c"]).prop_map(str::to_owned), 0..3)
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    let word = || prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    prop::collection::vec((word(), word()), 0..3)
}

fn matters() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["yes", "no", "ignore"])
}

proptest! {
    /// The model: a licence is released if it is due and none of a flat list of conditions holds.
    #[test]
    fn rules_together_are_as_the_simplest_model(
        days in 0_i64..60,
        never in any::<bool>(),
        given in 0_i64..60,
        never_used in prop::sample::select(vec!["keep", "release"]),
        quarantined in any::<bool>(),
        (directory, name) in (prop::sample::select(vec!["LAB", "X"]), prop::sample::select(vec!["ann", "bo"])),
        (tags, properties) in (words(), pairs()),
        states in any::<[bool; 3]>(),
        (rule_users, rule_directories) in (prop::collection::vec(prop::sample::select(vec![("LAB", "ann"), ("x", "BO")]), 0..2), words()),
        (rule_tags, rule_properties) in (words(), pairs()),
        rule_states in [matters(), matters(), matters()],
    ) {
        let last_used = if never { json!("1753-01-01T00:00:00.000Z") } else { json!(super::ago(days)) };
        let mut access = with(access(1, 0), "/lastUsed", last_used);
        access = with(access, "/createdDate", json!(super::ago(given)));
        access = with(access, "/quarantined", json!(quarantined));
        access = with(access, "/user/userDirectory", json!(directory));
        access = with(access, "/user/userId", json!(name));
        let tag_objects: Vec<Value> = tags.iter().map(|tag| json!({ "name": tag })).collect();
        let property_objects: Vec<Value> =
            properties.iter().map(|(name, value)| json!({ "value": value, "definition": { "name": name } })).collect();
        let mut user = with(user(1), "/tags", json!(tag_objects));
        user = with(user, "/customProperties", json!(property_objects));
        for (field, state) in ["/inactive", "/blacklisted", "/removedExternally"].into_iter().zip(states) {
            user = with(user, field, json!(state));
        }
        let settings = settings(json!({ "neverUsed": never_used, "neverRelease": {
            "users": rule_users.iter().map(|(directory, id)| json!({ "directory": directory, "userId": id })).collect::<Vec<_>>(),
            "userDirectories": rule_directories,
            "tags": rule_tags,
            "customProperties": rule_properties.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
            "inactive": rule_states[0], "blocked": rule_states[1], "removedExternally": rule_states[2],
        } }));

        let state = |at: usize| (rule_states[at] == "yes" && states[at]) || (rule_states[at] == "no" && !states[at]);
        let conditions = [
            ("quarantined", quarantined),
            ("never used", never && (never_used == "keep" || given < 30)),
            ("user", rule_users.iter().any(|rule| (rule.0.to_lowercase(), rule.1.to_lowercase()) == (directory.to_lowercase(), name.to_lowercase()))),
            ("user directory", rule_directories.iter().any(|rule| rule.eq_ignore_ascii_case(directory))),
            ("tag", rule_tags.iter().any(|rule| tags.contains(rule))),
            ("custom property", rule_properties.iter().any(|rule| properties.contains(rule))),
            ("inactive", state(0)),
            ("blocked", state(1)),
            ("removed externally", state(2)),
        ];
        let expected = if !never && days < 30 {
            "in use"
        } else {
            conditions.iter().find(|(_, holds)| *holds).map_or("released", |(word, _)| *word)
        };
        prop_assert_eq!(verdict(&settings, &access, &user), expected);
    }
}
