use proptest::prelude::*;
use serde_json::json;

use super::*;

fn apply(schema: &Value, mut value: Value) -> Result<Value, String> {
    Shape::new(schema).unwrap().unwrap().apply("body", &mut value).map(|()| value)
}

#[test]
fn single_values() {
    // Type, what is sent, what it becomes (`None`: refused).
    let table = [
        ("string", json!(5), Some(json!("5"))),
        ("string", json!(5.0), Some(json!("5"))),
        ("string", json!(1.5), Some(json!("1.5"))),
        ("string", json!(true), Some(json!("true"))),
        ("string", json!(null), Some(json!(""))),
        ("string", json!(["x"]), Some(json!("x"))),
        ("string", json!([7]), Some(json!("7"))),
        ("string", json!(["x", "y"]), None),
        ("string", json!({}), None),
        ("number", json!("250"), Some(json!(250))),
        ("number", json!(" 2.50 "), Some(json!(2.5))),
        ("number", json!("1e3"), Some(json!(1000))),
        ("number", json!("-7"), Some(json!(-7))),
        ("number", json!(true), Some(json!(1))),
        ("number", json!(null), Some(json!(0))),
        ("number", json!(""), None),
        ("number", json!(" "), None),
        ("number", json!("abc"), None),
        ("number", json!("inf"), None),
        ("number", json!("1e999"), None),
        ("integer", json!("5"), Some(json!(5))),
        ("integer", json!("5.0"), Some(json!(5))),
        ("integer", json!("5.5"), None),
        ("integer", json!(5.5), None),
        ("integer", json!(false), Some(json!(0))),
        ("boolean", json!("true"), Some(json!(true))),
        ("boolean", json!("false"), Some(json!(false))),
        ("boolean", json!(1), Some(json!(true))),
        ("boolean", json!(0), Some(json!(false))),
        ("boolean", json!(null), Some(json!(false))),
        ("boolean", json!(""), None),
        ("boolean", json!("1"), None),
        ("boolean", json!("yes"), None),
        ("boolean", json!("TRUE"), None),
        ("boolean", json!(2), None),
        ("array", json!("a"), Some(json!(["a"]))),
        ("array", json!(1), Some(json!([1]))),
        ("array", json!(null), Some(json!([null]))),
        ("array", json!({}), None),
        ("object", json!(null), None),
        ("object", json!("x"), None),
        ("object", json!([]), None),
    ];
    for (name, sent, expected) in table {
        let got = apply(&json!({ "type": name }), sent.clone());
        assert_eq!(got, expected.ok_or(format!("body must be {name}")), "{name} from {sent}");
    }
}

#[test]
fn messages() {
    let schema = json!({
        "type": "object",
        "required": ["key", "type"],
        "properties": {
            "key": { "type": "string", "minLength": 1 },
            "type": { "type": "string", "enum": ["a", "b"] },
            "overwrite": { "type": "boolean", "default": false },
            "eventType": { "type": "string", "maxLength": 3 },
            "ttl": { "type": "number", "minimum": 0 },
            "tags": { "type": "array", "items": { "type": "string" }, "maxItems": 2 },
            "color": { "type": "string", "pattern": "^#" },
            "a/b": { "type": ["integer", "null"] },
        },
    });
    let table = [
        (json!(null), "body must be object"),
        (json!("text"), "body must be object"),
        (json!({}), "body must have required property 'key'"),
        (json!({ "key": "k" }), "body must have required property 'type'"),
        (json!({ "key": "k", "type": "c" }), "body/type must be equal to one of the allowed values"),
        (json!({ "key": "", "type": "a" }), "body/key must NOT have fewer than 1 characters"),
        (json!({ "key": "k", "type": "a", "overwrite": "yes" }), "body/overwrite must be boolean"),
        (
            json!({ "key": "k", "type": "a", "eventType": "äöüß" }),
            "body/eventType must NOT have more than 3 characters",
        ),
        (json!({ "key": "k", "type": "a", "ttl": "" }), "body/ttl must be number"),
        (json!({ "key": "k", "type": "a", "ttl": "-1" }), "body/ttl must be >= 0"),
        (json!({ "key": "k", "type": "a", "tags": [{}] }), "body/tags/0 must be string"),
        (json!({ "key": "k", "type": "a", "tags": [1, 2, 3] }), "body/tags must NOT have more than 2 items"),
        (json!({ "key": "k", "type": "a", "color": "red" }), "body/color must match pattern \"^#\""),
        (json!({ "key": "k", "type": "a", "a/b": "x" }), "body/a~1b must be integer,null"),
    ];
    for (sent, expected) in table {
        assert_eq!(apply(&schema, sent.clone()), Err(expected.to_owned()), "{sent}");
    }
    let good = json!({ "key": 5, "type": "a", "tags": "t", "other": { "kept": true } });
    let made = json!({ "key": "5", "type": "a", "tags": ["t"], "overwrite": false, "other": { "kept": true } });
    assert_eq!(apply(&schema, good), Ok(made));
}

#[test]
fn lists_of_items_with_references_and_choices() {
    let schema = json!({
        "type": "array",
        "items": { "$ref": "#/$defs/item" },
        "$defs": { "item": { "type": "object", "properties": {
            "type": { "enum": ["starttaskid", "keyvaluestore"] },
            "ttl": { "anyOf": [{ "type": "null" }, { "type": "integer" }] },
            "self": { "$ref": "#/$defs/item" },
        } } },
    });
    assert_eq!(apply(&schema, json!({ "type": "x" })), Err("body must be array".to_owned()));
    assert_eq!(apply(&schema, json!(null)), Err("body/0 must be object".to_owned()));
    let wrong = json!([{ "self": { "type": "x" } }]);
    assert_eq!(apply(&schema, wrong), Err("body/0/self/type must be equal to one of the allowed values".to_owned()));
    assert_eq!(apply(&schema, json!([{ "ttl": "50" }, { "ttl": null }])), Ok(json!([{ "ttl": 50 }, { "ttl": null }])));
    let endless = json!({ "$ref": "#" });
    assert!(
        Shape::new(&endless).map(|shape| shape.map(|shape| shape.walk(&endless, &mut json!(1), "", 0).is_ok())).is_ok()
    );
}

#[test]
fn a_closed_object_names_what_is_too_much() {
    let schema = json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": false });
    assert_eq!(
        apply(&schema, json!({ "a": 1, "b": 2 })),
        Err("body must NOT have additional properties ('b'); known are a".to_owned())
    );
    assert!(!Shape::new(&schema).unwrap().unwrap().accepts_null());
    assert!(Shape::new(&json!({ "type": ["array", "null"] })).unwrap().unwrap().accepts_null());
    assert!(Shape::new(&json!({ "type": "nonsense" })).is_err());
    assert!(Shape::new(&Value::Null).unwrap().is_none());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.+eE -]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_let_through_fits_the_schema_and_is_left_alone_afterwards(value in values()) {
        let schema = json!({ "type": "object", "required": ["a"], "properties": {
            "a": { "type": "number", "maximum": 1000 },
            "b": { "type": "array", "items": { "type": "boolean" } },
            "c": { "type": ["string", "null"], "maxLength": 4 },
        } });
        let shape = Shape::new(&schema).unwrap().unwrap();
        let mut made = value.clone();
        if shape.apply("body", &mut made).is_ok() {
            prop_assert!(jsonschema::is_valid(&schema, &made));
            let once = made.clone();
            prop_assert!(shape.apply("body", &mut made).is_ok());
            prop_assert_eq!(once, made);
        } else {
            // What fits as it is is never refused.
            prop_assert!(!jsonschema::is_valid(&schema, &value));
        }
    }
}
