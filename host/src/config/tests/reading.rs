//! YAML, its oddities, and what is asked of a faulty document.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::config::Use;

#[test]
fn oddities_of_yaml_are_understood() {
    let raw = |text: &str| parse(text).unwrap().raw().clone();
    assert_eq!(
        raw("\u{feff}version: 1\r\nlog:\r\n  level: info\r\n"),
        json!({ "version": 1, "log": { "level": "info" } })
    );
    assert_eq!(
        raw("a: yes\nb: no\non: off\nc: ~\nd: 0x10\ne: 1e3\nf: 1.5\n"),
        json!({
            "a": "yes", "b": "no", "on": "off", "c": null, "d": 16, "e": 1000, "f": 1.5
        })
    );
    assert_eq!(
        raw("a: 18446744073709551615\nb: -1\nc: '5'\nd: !!str 5\n"),
        json!({
            "a": 18_446_744_073_709_551_615_u64, "b": -1, "c": "5", "d": "5"
        })
    );
    assert_eq!(
        raw("a: |\n  x\n  y\nb: >-\n  x\n  y\nc:\n- 1\n- 2\n"),
        json!({ "a": "x\ny\n", "b": "x y", "c": [1, 2] })
    );
    assert_eq!(
        raw("---\na: &x { b: [1] }\nc: *x\nd: [*x, *x]\n...\n"),
        json!({
            "a": { "b": [1] }, "c": { "b": [1] }, "d": [{ "b": [1] }, { "b": [1] }]
        })
    );
    assert_eq!(raw("\"a/b~c\": { x: 1 }\n"), json!({ "a/b~c": { "x": 1 } }));
}

#[test]
fn faults_behind_an_alias_are_told_at_the_alias() {
    let text = "version: 1\nplugins:\n  - { use: chat, settings: &s { url: 5 } }\n  - use: chat\n    name: b\n    settings: *s\n";
    let report = load(text).unwrap_err();
    let places: Vec<_> = report.errors.iter().map(|error| (error.line, error.path.as_str())).collect();
    assert_eq!(places, [(3, "plugins[0].settings.url"), (6, "plugins[1].settings.url")]);
}

#[test]
fn aliases_cannot_blow_a_document_up() {
    let mut lists = "a0: &a0 [x]\n".to_owned();
    let mut texts = format!("a0: &a0 {}\n", "x".repeat(1_000_000));
    let mut deep = "a0: &a0 []\n".to_owned();
    for n in 1..100 {
        let before = n - 1;
        writeln!(lists, "a{n}: &a{n} [*a{before}, *a{before}]").unwrap();
        writeln!(texts, "a{n}: *a0").unwrap();
        writeln!(deep, "a{n}: &a{n} [*a{before}]").unwrap();
    }
    for (text, message) in [(lists, "too many values"), (texts, "too many values"), (deep, "nested more than 64 deep")]
    {
        let report = parse(&text).unwrap_err();
        assert!(report.to_string().contains(message), "{report}");
    }
    for text in ["[".repeat(100), "- ".repeat(100_000), "{a: ".repeat(100), "? ".repeat(100_000)] {
        assert!(parse(&text).and_then(|_| load(&text)).is_err());
    }
}

#[test]
fn files_that_are_no_text_are_refused_with_a_reason() {
    let parse = |bytes: &[u8]| Document::parse(Path::new("b"), bytes).unwrap_err().to_string();
    assert!(parse(&[0xff, 0xfe, b'v', 0]).contains("UTF-16"));
    assert!(parse(b"a: b\nc: \xe4\n").contains("b:2:4 a byte here is not UTF-8"));
    assert!(parse(&vec![b'#'; (4 << 20) + 1]).contains("larger than 4 MB"));
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path| Document::read(path).unwrap_err().to_string();
    assert!(read(folder.path()).contains("is a folder"));
    assert!(read(&folder.path().join("none.yaml")).contains("cannot be read"));
}

#[test]
fn uses_and_folders_are_found_in_faulty_documents() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pin"), "ab12\n").unwrap();
    let path = folder.path().join("butler.yaml");
    let text = "nonsense: 1\npluginDirs: [plugins, /opt/x, 5]\nplugins:\n  - use: chat\n    sha256: ${file:pin}\n  - 7\n  \
                - { use: 3 }\n  - { use: b, sha256: 12 }\n  - { use: c, sha256: \"${env:NO SUCH}\" }\n";
    std::fs::write(&path, text).unwrap();
    let document = Document::read(&path).unwrap();
    assert_eq!(document.path(), path);
    assert_eq!(document.base_dir(), folder.path());
    assert_eq!(document.plugin_dirs(), [folder.path().join("plugins"), "/opt/x".into()]);
    let used = |index, plugin: &str, pin: &str| Use {
        index,
        plugin: plugin.into(),
        instance: plugin.into(),
        sha256: Some(pin.into()),
    };
    assert_eq!(document.uses(), [used(0, "chat", "ab12"), used(3, "b", "12"), used(4, "c", "${env:NO SUCH}")]);
    assert!(parse("plugins: 5\npluginDirs: x\n").unwrap().uses().is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_a_config_or_a_report(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let document = Document::parse(Path::new("b"), &bytes);
        if let Ok(document) = document {
            let _ = document.validate(&plugins(), Vec::new(), &());
        }
    }

    #[test]
    fn anything_like_yaml_is_a_config_or_a_report(
        text in "([a-z\"'${}:\\[\\],&*!|>?%@`#~<\t -]|\n|: |- |\n  |\r\n|use|plugins|settings|version|env|é){0,60}"
    ) {
        if let Ok(document) = parse(&text) {
            let _ = document.validate(&plugins(), vec![(0, "gone".to_owned())], &NoBad).map_err(|report| report.to_string());
            let _ = (document.uses(), document.plugin_dirs());
        }
    }

    #[test]
    fn any_value_in_any_place_is_a_config_or_a_report(
        key in prop_oneof![
            Just("version"), Just("qlik"), Just("udp"), Just("rest"), Just("store"), Just("pluginDirs"), Just("plugins"),
            Just("enrich"), Just("scriptLog"), Just("log"), Just("links"), Just("tls"), Just("shutdownTimeout"),
        ],
        inner in prop_oneof![
            Just("listen"), Just("use"), Just("on"), Just("settings"), Just("url"), Just("keep"), Just("tokens"),
            Just("retry"), Just("auth"), Just("where"), Just("custom"),
        ],
        value in prop_oneof![
            Just("5"), Just("~"), Just("[]"), Just("{}"), Just("x"), Just("[[{}]]"), Just("'${env:PORT}'"), Just("10d"),
            Just("'${env:NO}'"), Just("chat"), Just("{ type: 5 }"), Just("-1.5"), Just("true"), Just("[{ use: chat }]"),
        ],
        list in any::<bool>(),
    ) {
        let inner = format!("{{ {inner}: {value}, use: chat }}");
        let inner = if list { format!("[{inner}]") } else { inner };
        let _ = load(&format!("version: 1\n{key}: {inner}\n"));
        let _ = load(&format!("{key}: {value}\n"));
    }

    #[test]
    fn what_json_says_yaml_says_too(value in json_values()) {
        let text = json!({ "root": value }).to_string();
        let document = parse(&text).unwrap();
        prop_assert_eq!(&document.raw()["root"], &value, "{}", text);
    }
}

/// JSON that YAML reads alike: no floating point numbers without a fraction, which become whole.
fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[ -~]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
