use serde_json::json;

use super::*;

/// A schema as those of plugins are derived.
fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["smtp", "from"],
        "x-ask": [["recipients"]],
        "properties": {
            "from": { "type": "string", "minLength": 1, "description": "The sender." },
            "smtp": { "$ref": "#/$defs/Smtp", "description": "The mail server." },
            "recipients": { "type": "array", "items": { "type": "string" }, "description": "Who gets\nmails." },
            "priority": { "$ref": "#/$defs/Priority" },
            "accounts": { "type": "array", "items": { "$ref": "#/$defs/Account" } },
        },
        "$defs": {
            "Smtp": {
                "type": "object",
                "required": ["host"],
                "x-ask": [["auth"], []],
                "properties": {
                    "host": { "type": "string", "description": "Name of the server." },
                    "port": { "type": ["integer", "null"], "format": "uint16", "minimum": 1, "default": null },
                    "auth": { "anyOf": [{ "$ref": "#/$defs/Auth" }, { "type": "null" }], "default": null },
                },
            },
            "Auth": {
                "type": "object",
                "required": ["user"],
                "x-ask": [["password"]],
                "properties": {
                    "user": { "type": "string" },
                    "password": { "type": ["string", "null"], "writeOnly": true, "description": "Password. It is a secret: write it so." },
                },
            },
            "Account": {
                "type": "object",
                "required": ["id", "key"],
                "properties": {
                    "id": { "anyOf": [{ "type": "integer" }, { "type": "string" }] },
                    "key": { "type": "string", "writeOnly": true },
                },
            },
            "Priority": { "oneOf": [{ "const": "high", "description": "Loud." }, { "enum": ["normal", "low"] }] },
        },
    })
}

fn filled(schema: &Value, given: &[&str]) -> Result<Filled, Lacking> {
    let given: Vec<Given> = given.iter().map(|text| text.parse().unwrap()).collect();
    fill(schema, &given, None).unwrap()
}

fn faults(given: &[&str]) -> Vec<String> {
    filled(&schema(), given).unwrap_err().faults
}

#[test]
fn what_is_required_is_filled_in_to_the_last_part() {
    let basic = ["smtp.host=mail", "from=a@b.test", "recipients=x@b.test, y@b.test"];
    let settings = filled(&schema(), &basic).unwrap();
    assert_eq!(
        settings.value,
        json!({ "smtp": { "host": "mail" }, "from": "a@b.test", "recipients": ["x@b.test", "y@b.test"] })
    );
    assert!(settings.secrets.is_empty());
    let all = [
        &basic[..2],
        &["recipients=x", "recipients=y", "smtp.auth.user=u", "smtp.auth.password=geheim${x"],
        &["smtp.port=587", "priority=HIGH", "accounts.id=17", "accounts.key=${env:KEY}"],
    ]
    .concat();
    let settings = filled(&schema(), &all).unwrap();
    assert_eq!(
        settings.value,
        json!({
            "smtp": { "host": "mail", "port": 587, "auth": { "user": "u", "password": "geheim$${x" } },
            "from": "a@b.test", "recipients": ["x", "y"], "priority": "high",
            "accounts": [{ "id": 17, "key": "${env:KEY}" }],
        })
    );
    let secrets: Vec<_> = settings.secrets.iter().map(|(at, text)| (at.as_str(), text.as_str())).collect();
    assert_eq!(secrets, [("/smtp/auth/password", "geheim${x")], "what names a place is no secret");
}

#[test]
fn what_is_missing_is_told_at_once_with_what_it_is() {
    let lacking = filled(&schema(), &["smtp.auth.user=u"]).unwrap_err();
    let flags: Vec<&str> = lacking.missing.iter().map(|(flag, _)| flag.as_str()).collect();
    assert_eq!(
        flags,
        ["--set smtp.host=TEXT", "--set smtp.auth.password=TEXT", "--set from=TEXT", "--set recipients=TEXT,TEXT"]
    );
    assert_eq!(lacking.missing[1].1, "Password.", "advice that is followed anyway is left out");
    assert_eq!(lacking.missing[3].1, "Who gets mails. Several with commas between.");
}

#[test]
fn wrong_values_are_told_and_never_quoted_by_the_schema() {
    let right = ["smtp.host=mail", "from=a", "recipients=x"];
    let with = |more: &'static str| faults(&[&right[..], &[more]].concat());
    assert_eq!(with("smtp.port=0"), ["--set smtp.port: must be at least 1"]);
    assert_eq!(with("smtp.port=70000"), ["--set smtp.port: must be at most 65535"]);
    assert_eq!(with("smtp.port=x"), ["--set smtp.port: must be a whole number"]);
    assert_eq!(with("priority=loud"), ["--set priority: must be one of high, normal, low"]);
    assert_eq!(with("priorty=high"), ["--set priorty: the destination has no such setting; did you mean `priority`?"]);
    assert_eq!(with("smtp.hots=x"), ["--set smtp.hots: the destination has no such setting; did you mean `host`?"]);
    assert_eq!(with("from=b"), ["--set from: takes one value"]);
    for wrong in ["", "from", "=x", "from="] {
        assert!(wrong.parse::<Given>().is_err(), "{wrong}");
    }
}

#[test]
fn of_several_ways_the_one_that_is_begun_is_gone() {
    let ways = json!({
        "type": "object",
        "x-ask": [["url"], ["token", "channel"]],
        "properties": {
            "url": { "type": "string", "format": "uri", "description": "An address. It is a secret: hide it." },
            "token": { "type": "string", "description": "A token." }, "channel": { "type": "string" },
        },
    });
    assert_eq!(filled(&ways, &["url=https://a.test"]).unwrap().value, json!({ "url": "https://a.test" }));
    assert_eq!(filled(&ways, &["token=t", "channel=c"]).unwrap().value, json!({ "token": "t", "channel": "c" }));
    let begun = filled(&ways, &["token=t"]).unwrap_err();
    assert_eq!(begun.missing, [("--set channel=TEXT".to_owned(), String::new())]);
    let nothing = filled(&ways, &[]).unwrap_err();
    assert_eq!(
        nothing.missing,
        [(
            "--set url=…, or --set token=… --set channel=…".to_owned(),
            "url (An address), or token (A token); channel ()".to_owned()
        )]
    );
    let fault = filled(&ways, &["url=geheim"]).unwrap_err().faults;
    assert!(fault[0].starts_with("--set url: must be a URL") && !fault[0].contains("geheim"), "{fault:?}");
}

#[test]
fn schemas_that_go_round_end() {
    let round = json!({ "required": ["a"], "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "$ref": "#/$defs/A" } } });
    assert!(filled(&round, &["a=x"]).is_ok());
    assert_eq!(filled(&json!(true), &[]).unwrap().value, json!({}));
    assert_eq!(filled(&Value::Null, &[]).unwrap().value, json!({}));
}

#[test]
fn secrets_in_mappings_go_into_files_however_they_are_given() {
    let schema = json!({ "type": "object", "properties": {
        "headers": { "type": "object", "additionalProperties": { "type": "string" }, "writeOnly": true },
        "query": { "type": "object", "additionalProperties": { "type": "string" } },
    } });
    let secrets = |given: &[&str]| {
        let filled = filled(&schema, given).unwrap();
        let secrets: Vec<String> = filled.secrets.iter().map(|(at, text)| format!("{at} {text}")).collect();
        (filled.value, secrets)
    };
    let (value, found) = secrets(&["headers.Authorization=Bearer a${b", "headers.X.Y=${env:Y}", "query.a=b"]);
    let headers = json!({ "Authorization": "Bearer a$${b", "X.Y": "${env:Y}" });
    assert_eq!(value, json!({ "headers": headers, "query": { "a": "b" } }));
    assert_eq!(found, ["/headers/Authorization Bearer a${b"]);
    let (value, found) = secrets(&[r#"headers={"Authorization":"Bearer a","X/Y":"${env:Y}"}"#]);
    assert_eq!(value, json!({ "headers": { "Authorization": "Bearer a", "X/Y": "${env:Y}" } }));
    assert_eq!(found, ["/headers/Authorization Bearer a"]);
    let wrong = filled(&schema, &["headers=x"]).unwrap_err().faults;
    assert!(wrong[0].starts_with("--set headers: "), "{wrong:?}");
}
