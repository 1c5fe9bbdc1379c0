//! Looks at the licence of the server, by dates.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use butler_plugin_api::ServiceError;
use butler_plugin_api::testing::{FakeHost, block_on};
use jiff::civil::Date;
use proptest::prelude::*;

use super::license::{ValidTo, days_until, valid_to};
use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn license(expired: bool, valid_to: &str) -> Value {
    json!({ "isExpired": expired, "keyDetails": format!("Product: Qlik Sense\r\nValid To: {valid_to}\r\nCores: 8\r\n") })
}

/// The last part of the kind, and the days left.
type Alert = (String, Option<i64>);

/// Looks, and returns what came of it and the alerts.
fn looked(fake: &FakeHost, license: Value, now: &str) -> (Result<(), Trouble>, Vec<Alert>) {
    let fake = fake.clone().qlik("license", license);
    let before = fake.emitted().len();
    let result = block_on(look(&fake.host(), &ServerLicense::default(), now, at(now)));
    let alerts = fake.emitted().split_off(before).into_iter().filter(|(kind, _)| kind != kind::SERVER_LICENSE_STATUS);
    let alerts = alerts.map(|(kind, data)| {
        (kind.trim_start_matches("server-license.").to_owned(), data["serverLicense"]["daysUntilExpiry"].as_i64())
    });
    (result, alerts.collect())
}

fn alerts(fake: &FakeHost, expired: bool, valid_to: &str, now: &str) -> Vec<(String, Option<i64>)> {
    let (result, alerts) = looked(fake, license(expired, valid_to), now);
    assert_eq!(result, Ok(()));
    alerts
}

fn expiring(days: i64) -> Vec<(String, Option<i64>)> {
    vec![("expiring".to_owned(), Some(days))]
}

fn messages(fake: &FakeHost) -> Vec<String> {
    fake.emitted().iter().map(|(_, data)| data["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_look_tells_the_state_and_a_threshold() {
    let fake = FakeHost::new("licenses").qlik("license", license(false, "2025-06-30"));
    block_on(look(&fake.host(), &ServerLicense::default(), "p", at("2025-06-01T12:00:00Z"))).unwrap();
    let section = json!({ "expired": false, "expiryDate": "2025-06-30", "daysUntilExpiry": 29 });
    let [(status, status_data), (alert, alert_data)] = &fake.emitted()[..] else { panic!("{:?}", fake.emitted()) };
    assert_eq!((status.as_str(), alert.as_str()), (kind::SERVER_LICENSE_STATUS, kind::SERVER_LICENSE_EXPIRING));
    assert_eq!((&status_data["serverLicense"], &alert_data["serverLicense"]), (&section, &section));
    assert_eq!(
        messages(&fake),
        [
            "the server licence is valid to 2025-06-30, 29 days left",
            "the server licence is valid to 2025-06-30, 29 days left: enter the next one before that (QMC, License management)",
        ]
    );
    assert_eq!(
        (fake.metric("server_license_days_left"), fake.metric("server_license_expired")),
        (Some(29.0), Some(0.0))
    );
}

#[test]
fn each_threshold_is_told_once_and_of_several_that_were_passed_the_lowest() {
    let fake = FakeHost::new("licenses");
    let told = |now: &str| alerts(&fake, false, "2025-06-30", now);
    assert_eq!(told("2025-04-30T00:00:00Z"), [], "61 days");
    assert_eq!(told("2025-05-01T00:00:00Z"), expiring(60));
    assert_eq!(told("2025-05-01T23:59:59Z"), []);
    assert_eq!(told("2025-05-30T12:00:00Z"), []);
    assert_eq!(told("2025-05-31T12:00:00Z"), expiring(30));
    // Butler was down for 14 and 7.
    assert_eq!(told("2025-06-25T12:00:00Z"), expiring(5));
    assert_eq!(told("2025-06-29T12:00:00Z"), expiring(1));
    assert_eq!(told("2025-06-30T23:59:59Z"), [], "valid to the end of the day");
    assert_eq!(told("2025-07-01T00:00:00Z"), [("expired".to_owned(), Some(-1))], "over, whatever Qlik Sense says");
    assert!(messages(&fake).last().unwrap().contains("though Qlik Sense does not say that it has expired"));
    assert_eq!(alerts(&fake, true, "2025-06-30", "2025-07-02T00:00:00Z"), [], "told already");
    assert_eq!(alerts(&fake, true, "2025-06-30", "2025-12-02T00:00:00Z"), []);
}

#[test]
fn a_renewed_licence_ends_the_alerts_and_begins_anew() {
    let fake = FakeHost::new("licenses");
    assert_eq!(alerts(&fake, true, "2025-06-30", "2025-07-03T10:00:00Z"), [("expired".to_owned(), Some(-3))]);
    assert_eq!(fake.metric("server_license_expired"), Some(1.0));
    assert_eq!(alerts(&fake, false, "2026-06-30", "2025-07-04T10:00:00Z"), []);
    assert_eq!(fake.metric("server_license_expired"), Some(0.0));
    assert!(fake.records().iter().any(|record| record.message.contains("it has been renewed")), "{:?}", fake.records());
    assert_eq!(alerts(&fake, false, "2026-06-30", "2026-06-25T10:00:00Z"), expiring(5));
    assert_eq!(alerts(&fake, true, "2026-06-30", "2026-07-01T10:00:00Z"), [("expired".to_owned(), Some(-1))]);
    // For good, and for a day that is sooner: a licence like any other.
    assert_eq!(alerts(&fake, false, "9999-12-31", "2026-07-02T10:00:00Z"), []);
    assert_eq!(alerts(&fake, false, "2026-07-05", "2026-07-03T10:00:00Z"), expiring(2));
}

#[test]
fn a_look_that_is_repeated_after_a_crash_emits_nothing_twice() {
    let fake = FakeHost::new("licenses");
    assert_eq!(alerts(&fake, false, "2025-06-30", "2025-06-01T12:00:00Z"), expiring(29));
    let after = fake.stored(TOLD).unwrap();
    // As if the process had ended between the event and what is remembered of it.
    let fake = fake.store(TOLD, Value::Null);
    assert_eq!(alerts(&fake, false, "2025-06-30", "2025-06-01T12:00:00Z"), []);
    assert_eq!((fake.emitted().len(), fake.stored(TOLD).unwrap()), (2, after), "and it is remembered");
}

#[test]
fn without_a_known_day_nobody_is_alarmed_and_the_trouble_is_told() {
    let fake = FakeHost::new("licenses");
    for (details, part) in [
        (json!("Product: Qlik Sense"), "its details name no last day (`Valid To`)"),
        (json!("Valid To: \nProduct: x"), "given as \"\""),
        (json!("Valid To: 31/12/2025"), "given as \"31/12/2025\", which is no date"),
        (json!("Valid To: 1753-01-01T00:00:00.000Z"), "which is no date"),
        (json!(null), "no text with its details (`keyDetails`)"),
        (json!(["Valid To: 2025-06-30"]), "(`keyDetails`)"),
    ] {
        let (result, alerts) =
            looked(&fake, json!({ "isExpired": false, "keyDetails": details }), "2025-06-25T12:00:00Z");
        let Err(Trouble::Noted(text)) = result else { panic!("{details}: {result:?}") };
        assert!(text.contains(part) && text.contains("nobody is told before it ends"), "{text}");
        assert_eq!(alerts, []);
    }
    let (_, status) = fake.emitted().pop().unwrap();
    assert_eq!(status["serverLicense"], json!({ "expired": false }));
    assert_eq!(status["message"], "the server licence has no known last day");
    assert_eq!(fake.metric("server_license_days_left"), None);
}

#[test]
fn an_expired_licence_without_a_known_day_is_told_once_each_time() {
    let fake = FakeHost::new("licenses");
    let told = |expired: bool, now: &str| {
        looked(&fake, json!({ "isExpired": expired, "expiredReason": "LEF \r\n gone", "keyDetails": "" }), now).1
    };
    assert_eq!(told(true, "2025-06-25T12:00:00Z"), [("expired".to_owned(), None)]);
    assert!(
        messages(&fake)[1].starts_with("the server licence: Qlik Sense says that it has expired (LEF gone): enter")
    );
    assert_eq!(told(true, "2025-06-26T12:00:00Z"), []);
    assert_eq!(told(false, "2025-06-27T12:00:00Z"), []);
    assert_eq!(told(true, "2025-06-28T12:00:00Z"), [("expired".to_owned(), None)]);
    // Now its day is known: of the same licence, as far as anybody can tell.
    assert_eq!(alerts(&fake, true, "2025-06-24", "2025-06-29T12:00:00Z"), [("expired".to_owned(), Some(-5))]);
    // And for a look it is not.
    assert_eq!(told(true, "2025-06-30T12:00:00Z"), []);
    assert_eq!(alerts(&fake, true, "2025-06-24", "2025-07-01T12:00:00Z"), []);
}

#[test]
fn the_end_is_told_once_though_no_day_is_known_for_a_look() {
    let fake = FakeHost::new("licenses");
    assert_eq!(alerts(&fake, true, "2025-06-24", "2025-06-29T12:00:00Z"), [("expired".to_owned(), Some(-5))]);
    for odd in [json!({ "isExpired": false, "keyDetails": "" }), json!({ "keyDetails": "" })] {
        assert_eq!(looked(&fake, odd, "2025-06-30T12:00:00Z").1, []);
        assert_eq!(alerts(&fake, true, "2025-06-24", "2025-07-01T12:00:00Z"), []);
    }
}

#[test]
fn the_end_of_a_licence_without_a_day_is_told_after_one_that_had_a_day() {
    let fake = FakeHost::new("licenses");
    let told = |expired: bool, day: u8| {
        let body = json!({ "isExpired": expired, "keyDetails": "Valid To: for good" });
        looked(&fake, body, &format!("2025-07-{day:02}T12:00:00Z")).1
    };
    let ended = vec![("expired".to_owned(), Some(-7))];
    assert_eq!(alerts(&fake, true, "2025-06-24", "2025-07-01T12:00:00Z"), ended);
    // Two odd looks, but not in a row.
    assert_eq!(told(false, 2), []);
    assert_eq!(alerts(&fake, true, "2025-06-24", "2025-07-03T12:00:00Z"), []);
    assert_eq!(told(false, 4), []);
    assert_eq!(looked(&fake, json!({ "keyDetails": "" }), "2025-07-05T12:00:00Z").1, []);
    assert_eq!(told(false, 6), []);
    assert_eq!(told(true, 7), [], "by one look it is still that which has ended");
    // Two in a row: the successor has no day.
    assert_eq!(told(false, 8), []);
    assert_eq!(told(false, 9), []);
    assert_eq!(told(true, 10), [("expired".to_owned(), None)]);
    assert_eq!(told(true, 11), []);
}

#[test]
fn a_clock_that_was_wrong_costs_no_later_alert() {
    let fake = FakeHost::new("licenses");
    let told = |now: &str| alerts(&fake, false, "2025-06-30", now);
    assert_eq!(told("2025-05-01T00:00:00Z"), expiring(60));
    assert_eq!(told("2025-06-29T12:00:00Z"), expiring(1), "by a wrong clock");
    assert_eq!(told("2025-05-02T00:00:00Z"), [], "59 days, told before");
    assert_eq!(told("2025-05-31T00:00:00Z"), expiring(30));
    assert_eq!(told("2025-06-29T13:00:00Z"), expiring(1), "now in truth");
}

#[test]
fn what_qlik_sense_says_counts_before_the_day() {
    let fake = FakeHost::new("licenses");
    assert_eq!(alerts(&fake, true, "2025-06-30", "2025-06-10T12:00:00Z"), [("expired".to_owned(), Some(20))]);
    assert!(
        messages(&fake)[0].ends_with("20 days left, but Qlik Sense says that it has expired"),
        "{:?}",
        messages(&fake)
    );
    let odd = json!({ "isExpired": "no", "keyDetails": "Valid To: 2025-06-30" });
    let (result, told) = looked(&FakeHost::new("licenses"), odd, "2025-06-10T12:00:00Z");
    assert_eq!(told, expiring(20));
    assert!(matches!(result, Err(Trouble::Noted(text)) if text.contains("`isExpired`") && !text.contains("nobody")));
}

#[test]
fn an_answer_of_no_use_is_a_failure_with_a_remedy() {
    let (result, alerts) = looked(&FakeHost::new("licenses"), json!([]), "2025-06-10T12:00:00Z");
    assert!(
        matches!(&result, Err(Trouble::Failed(text)) if text.contains("should be an object but begins with \"[]\"")),
        "{result:?}"
    );
    assert_eq!(alerts, []);
    let none = FakeHost::new("licenses");
    let result = block_on(look(&none.host(), &ServerLicense::default(), "p", at("2025-06-10T12:00:00Z")));
    assert!(matches!(&result, Err(Trouble::Failed(text)) if text.contains("answers 404 to `license`")), "{result:?}");
    let away = FakeHost::new("licenses").fail_service("qlik", ServiceError::Unavailable("no answer".to_owned()));
    let result = block_on(look(&away.host(), &ServerLicense::default(), "p", at("2025-06-10T12:00:00Z")));
    assert_eq!(result, Err(Trouble::Failed("no answer".to_owned())));
}

#[test]
fn the_last_day_is_found_in_many_forms() {
    let day = ValidTo::Day(Date::constant(2025, 6, 30));
    for text in [
        "Valid To: 2025-06-30",
        "a: b\r\nValid To: 2025-06-30\r\nc: d",
        "a\rVALID TO :2025-06-30",
        "  valid to:\t2025/6/30 ",
        "Valid To: 2025-06-30T23:59:59Z",
        "Valid To: 2025-06-30 00:00:00 UTC",
        "Valid To: 2025.06.30, Cores: 4",
        "Valid To: 2024-01-01\nValid To: 2025-06-30",
        "Valid To: 2025-06-30\nValid To: never",
        "Licence is Valid To: 2025-06-30",
    ] {
        assert_eq!(valid_to(text), day, "{text:?}");
    }
    for (text, quoted) in [
        ("Valid To: 2025-02-29", "2025-02-29"),
        ("Valid To: 20250630", "20250630"),
        ("Valid To: 2025-06-300", "2025-06-300"),
        ("Valid To: 2025-06-30th", "2025-06-30th"),
        ("Valid To: 2025-06/30", "2025-06/30"),
        ("Valid To: 2025-06-30-1", "2025-06-30-1"),
        ("Valid To: 0001-01-01", "0001-01-01"),
    ] {
        assert_eq!(valid_to(text), ValidTo::Unreadable(quoted.to_owned()));
    }
    for text in ["", "Valid From: 2025-06-30", "Valid To 2025-06-30", "Valid Until: 2025-06-30"] {
        assert_eq!(valid_to(text), ValidTo::Absent, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_of_a_licence_is_a_panic(text in ".*", tail in "[0-9/.:TZ é-]{0,14}") {
        valid_to(&text);
        valid_to(&format!("{text}\nValid To:{tail}\n{text}"));
    }

    #[test]
    fn days_are_the_time_to_midnight_rounded_up(days in 0_i32..40_000, now in 0_i64..3_000_000_000) {
        let date = Date::constant(1970, 1, 1) + jiff::Span::new().days(days);
        let seconds = i64::from(days) * 86_400 - now;
        let up = seconds.div_euclid(86_400) + i64::from(seconds.rem_euclid(86_400) > 0);
        prop_assert_eq!(i64::from(days_until(date, Timestamp::from_second(now).unwrap())), up);
        let found = valid_to(&format!("x: y\r\nValid To: {date}T12:30\r\n"));
        prop_assert_eq!(found, ValidTo::Day(date));
    }
}
