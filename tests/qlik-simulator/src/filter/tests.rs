//! Tests of the filter language.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn task() -> Value {
    json!({
        "id": "11111111-2222-4333-8444-555555555555",
        "name": "Ann's night run",
        "taskType": 0,
        "enabled": true,
        "stream": null,
        "tags": [{ "name": "nightly" }, { "name": "sales" }],
        "customProperties": [
            { "value": "x", "definition": { "name": "A" } },
            { "value": "y", "definition": { "name": "B" } }
        ],
        "objectTypes": ["ReloadTask", "App"],
        "operational": { "lastExecutionResult": { "status": 8, "stopTime": "2025-03-09T14:05:07.310Z" } }
    })
}

fn matches(filter: &str) -> bool {
    filter.parse::<Filter>().unwrap_or_else(|error| panic!("{filter}: {error}")).matches(&task())
}

#[test]
fn comparisons_by_type() {
    assert!(matches("id eq 11111111-2222-4333-8444-555555555555"));
    assert!(matches("ID EQ 11111111-2222-4333-8444-555555555555"));
    assert!(!matches("id ne 11111111-2222-4333-8444-555555555555"));
    assert!(matches("name eq 'Ann''s night run'"));
    assert!(!matches("name eq 'ann''s night run'"));
    assert!(matches("taskType eq 0 and taskType lt 1 and taskType ge -0.5"));
    assert!(matches("enabled eq true and stream eq null"));
    assert!(!matches("taskType eq '0'"));
    assert!(matches("taskType ne '0'"));
    assert!(!matches("missing eq 1"));
    assert!(!matches("missing ne 1"));
}

#[test]
fn fields_lead_through_arrays() {
    assert!(matches("tags.name eq 'sales'"));
    assert!(!matches("tags.name eq 'other'"));
    assert!(matches("objectTypes eq 'ReloadTask'"));
    assert!(matches("operational.lastExecutionResult.status eq 8"));
    // Name and value are looked for independently, in QRS as here.
    assert!(matches("(customProperties.definition.name eq 'A') and (customProperties.value eq 'y')"));
}

#[test]
fn times_compare_as_times() {
    let field = "operational.lastExecutionResult.stopTime";
    assert!(matches(&format!("{field} gt '2025-03-09T14:05:07Z'")));
    assert!(matches(&format!("{field} ge '2025-03-09T15:05:07.31+01:00'")));
    assert!(matches(&format!("{field} le '2025-03-09T14:05:07.310Z'")));
    assert!(!matches(&format!("{field} lt '2025-03-09T14:05:07.310Z'")));
}

#[test]
fn and_binds_closer_than_or() {
    assert!(matches("taskType eq 0 or taskType eq 1 and taskType eq 2"));
    assert!(!matches("(taskType eq 0 or taskType eq 1) and taskType eq 2"));
    assert!(matches("((taskType eq 0))and(enabled eq true)"));
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        " ",
        "id",
        "id eq",
        "id eq abc",
        "id is 1",
        "id eq 1 and",
        "id eq 1 id eq 2",
        "(id eq 1",
        "id eq 1)",
        "name eq 'open",
        "name eq 'a'b'",
        "tags..name eq 1",
        ".a eq 1",
        "1a eq 1",
        "a eq inf",
        "a eq NaN",
        "ä eq 1",
    ] {
        assert!(text.parse::<Filter>().is_err(), "{text:?} was accepted");
    }
    assert!(format!("{}a eq 1", "(".repeat(100_000)).parse::<Filter>().is_err());
    assert_eq!(
        "id eq 'ä".parse::<Filter>().unwrap_err().to_string(),
        "invalid filter at character 6: text without an end"
    );
}

#[test]
fn demanded_guids_are_known() {
    const A: &str = "aaaaaaaa-2222-4333-8444-555555555555";
    const B: &str = "bbbbbbbb-2222-4333-8444-555555555555";
    let guids = |text: String| {
        let filter: Filter = text.parse().unwrap();
        filter.guids("id").map(|guids| guids.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let one = Some(vec![A.to_owned()]);
    assert_eq!(guids(format!("id eq {A}")), one);
    assert_eq!(guids(format!("name eq 'x' and (id eq {A})")), one);
    assert_eq!(guids(format!("id eq {B} or id eq {A} or id eq {B}")), Some(vec![A.to_owned(), B.to_owned()]));
    assert_eq!(guids(format!("id eq {A} or name eq 'x'")), None);
    assert_eq!(guids(format!("id ne {A}")), None);

    let only = |text: String, fields: &[&str]| text.parse::<Filter>().unwrap().only_compares_guids(fields);
    assert!(only(format!("id eq {A}"), &["id"]));
    assert!(only(format!("id eq {A} or id eq {B}"), &["id"]));
    assert!(!only(format!("id eq {A} and id eq {B}"), &["id"]));
    assert!(!only(format!("id eq {A} and name eq 'x'"), &["id"]));
    assert!(only(format!("taskID eq {A} and executionID eq {B}"), &["executionID", "taskID"]));
    assert!(!only(format!("executionID eq {B}"), &["executionID", "taskID"]));
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_panic(text in ".*") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn texts_near_the_language_are_parsed_without_panic(
        words in prop::collection::vec(
            prop::sample::select(vec!["id", "eq", "le", "and", "or", "(", ")", "'", "''", "'a'", "1", "-", "é", " ", "true", "a.b"]),
            0..20,
        ),
    ) {
        if let Ok(filter) = words.concat().parse::<Filter>() {
            filter.matches(&task());
        }
        if let Ok(filter) = words.join(" ").parse::<Filter>() {
            filter.matches(&task());
        }
    }

    #[test]
    fn any_quoted_text_finds_itself(text in ".*") {
        let filter: Filter = format!("name eq '{}'", text.replace('\'', "''")).parse().unwrap();
        let object = json!({ "name": text });
        prop_assert!(filter.matches(&object));
    }
}
