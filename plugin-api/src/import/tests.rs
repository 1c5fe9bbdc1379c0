use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Fate, Import, Imported, Remark};

fn import(butler: Value, folders: &[&str]) -> Import {
    Import::new(json!({ "butler": butler, "folders": folders })).unwrap()
}

fn answer(import: Import) -> Imported {
    serde_json::from_value(import.finish()).unwrap()
}

fn remark(key: &str, fate: Fate, text: &str) -> Remark {
    Remark { key: key.to_owned(), fate, text: text.to_owned() }
}

#[test]
fn what_is_read_counts_as_used() {
    let mut import = import(
        json!({ "a": { "on": true, "name": " x ${y} ", "none": null, "list": [{ "name": "n", "value": "v" }, { "name": "m" }], "number": 5.0 } }),
        &[],
    );
    assert!(import.flag("a.on"));
    assert_eq!(import.text("a.name").as_deref(), Some("x $${y}"));
    assert_eq!((import.text("a.none"), import.text("a.absent"), import.number("a.number")), (None, None, Some(5)));
    assert_eq!(import.pairs("a.list"), [("n".to_owned(), "v".to_owned()), ("m".to_owned(), String::new())]);
    assert!(import.has("a.on") && !import.has("a.none") && !import.has("a.list[2]"));
    let answer = answer(import);
    let used = [
        "a.absent",
        "a.list[0].name",
        "a.list[0].value",
        "a.list[1].name",
        "a.list[1].value",
        "a.name",
        "a.none",
        "a.number",
        "a.on",
    ];
    assert_eq!(answer.used_keys, BTreeSet::from(used.map(str::to_owned)));
    assert_eq!(answer.remarks, []);
}

#[test]
fn what_has_another_type_is_told() {
    let mut import =
        import(json!({ "flag": "yes", "number": "5", "text": 5, "list": "a", "texts": ["a", 1, null, ""] }), &[]);
    assert!(!import.flag("flag"));
    assert_eq!((import.number("number"), import.text("text"), import.len("list")), (None, None, 0));
    assert_eq!(import.texts("texts"), ["a"]);
    import.dropped("absent", "it is not there");
    let keys: Vec<String> = answer(import).remarks.into_iter().map(|remark| remark.key).collect();
    assert_eq!(keys, ["flag", "number", "text", "list", "texts[1]"]);
}

#[test]
fn secrets_go_into_files() {
    let mut import = import(json!({ "smtp": { "password": "p$${w" }, "hooks": [{ "url": "https://x" }] }), &[]);
    assert_eq!(import.secret("smtp.password").as_deref(), Some("${file:secrets/smtp.password}"));
    assert_eq!(import.secret("hooks[0].url").as_deref(), Some("${file:secrets/hooks.0.url}"));
    assert_eq!(import.secret("smtp.absent"), None);
    let secrets: Vec<(String, String)> = answer(import).secrets.into_iter().collect();
    let expected = [("secrets/hooks.0.url", "https://x"), ("secrets/smtp.password", "p$${w")];
    assert_eq!(secrets, expected.map(|(file, secret)| (file.to_owned(), secret.to_owned())));
}

#[test]
fn files_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_str().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("below/there"), "").unwrap();
    let old = json!({ "a": "there", "b": "gone", "c": r"C:\butler\gone.txt" });
    let below = format!("{base}/below");
    let mut import = import(old, &[base, &below]);
    assert_eq!(import.path("a"), Some(format!("{base}/below/there")));
    assert_eq!(import.path("b"), Some(format!("{base}/gone")));
    assert_eq!(import.path("c").as_deref(), Some(r"C:\butler\gone.txt"));
    assert_eq!(
        answer(import).remarks,
        [
            remark("b", Fate::ToDo, "`gone` is not found: Butler 16 looked from the folder it was started in"),
            remark("c", Fate::ToDo, r"`C:\butler\gone.txt` is not there on this machine"),
        ]
    );
}

#[test]
fn what_the_host_asks_with_is_checked() {
    assert!(Import::new(json!({})).is_err());
    assert!(Import::new(json!({ "butler": [] })).is_err());
}
