use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Fate, Import, Imported, Remark, task_property};

#[allow(clippy::needless_pass_by_value, reason = "called with `json!`")]
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
    let mut import = import(json!({ "flag": "yes", "number": "5", "text": 5, "list": "a", "texts": ["a", 1] }), &[]);
    assert!(!import.flag("flag"));
    assert_eq!((import.number("number"), import.text("text"), import.len("list")), (None, None, 0));
    assert_eq!((import.text("texts[0]").as_deref(), import.text("texts[1]")), (Some("a"), None));
    import.dropped("absent", "it is not there");
    import.no_effect("absent", "it is not there");
    let keys: Vec<String> = answer(import).remarks.into_iter().map(|remark| remark.key).collect();
    assert_eq!(keys, ["flag", "number", "text", "list", "texts[1]"]);
}

#[test]
fn what_is_to_be_done_is_told_of_keys_that_are_not_there() {
    let mut import = import(json!({ "a": {} }), &[]);
    import.todo("a.absent", "write it");
    import.differs("b.absent", "it is another now");
    let expected = [remark("a.absent", Fate::ToDo, "write it"), remark("b.absent", Fate::Differs, "it is another now")];
    assert_eq!(answer(import).remarks, expected);
}

#[test]
fn pairs_have_texts_as_values() {
    let list = json!([
        { "name": "a", "value": 5 }, { "name": "b", "value": null }, { "name": "c", "value": "" }, { "name": "d", "value": "v" },
    ]);
    let mut import = import(json!({ "list": list }), &[]);
    let pairs = [("b", ""), ("c", ""), ("d", "v")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(import.pairs("list"), pairs);
    let told = "it should be a text, and is left out";
    assert_eq!(answer(import).remarks, [remark("list[0].value", Fate::ToDo, told)]);
}

#[test]
fn what_is_no_block_or_list_is_told_once_and_counts_as_read() {
    let old = json!({ "a": { "block": 5, "empty": null, "items": [{ "name": "n" }, 7], "list": [1], "text": "t", "none": {}, "number": 1 } });
    let mut import = import(old, &[]);
    assert_eq!((import.text("a.block.x"), import.number("a.block.y.z"), import.text("a.empty.x")), (None, None, None));
    assert_eq!((import.len("a.list.x"), import.text("a.text[0].y")), (0, None));
    assert_eq!(import.pairs("a.items"), [("n".to_owned(), String::new())]);
    // The whole config is no block of its own.
    assert_eq!((import.text("a.none.x.y"), import.text("b.x")), (None, None));
    import.off("a.number.x");
    let answer = answer(import);
    assert!(answer.used_keys.contains("a.items[1].value"), "though it has no name");
    for block in ["a.block", "a.empty", "a.items[1]", "a.list", "a.none", "a.number", "a.text"] {
        assert!(answer.used_keys.contains(block), "{block}");
    }
    let keys: Vec<String> = answer.remarks.into_iter().map(|remark| remark.key).collect();
    assert_eq!(keys, ["a.block", "a.list", "a.text", "a.items[1]", "a.number"]);
}

#[test]
fn settings_that_the_plugin_refuses_are_left_out_and_told() {
    #[derive(serde::Deserialize)]
    struct Settings {
        number: u8,
        secret: String,
    }
    let check = |settings: Settings| {
        assert_eq!(settings.secret, "p${w", "as the plugin will see it");
        if settings.number < 5 { Ok(()) } else { Err("`number` is too large".to_owned()) }
    };
    let mut import = import(json!({ "a": {}, "b": {}, "c": {}, "secret": "p${w" }), &[]);
    let secret = import.secret("secret");
    for (path, number) in [("a", json!(4)), ("b", json!(5)), ("c", json!("x"))] {
        import.checked(path, json!({ "settings": { "number": number, "secret": secret } }), check);
    }
    let answer = answer(import);
    assert_eq!(answer.instances, [json!({ "settings": { "number": 4, "secret": secret } })]);
    let told = "it is left out, since its settings would be refused: `number` is too large";
    assert_eq!(answer.remarks[0], remark("b", Fate::ToDo, told));
    assert!(answer.remarks[1].key == "c" && answer.remarks[1].text.contains("is left out"), "{:?}", answer.remarks);
}

#[test]
fn custom_properties_have_paths() {
    for (name, path) in [
        ("Butler_Alert", Some("task.customProperties.Butler_Alert")),
        ("Send alert", Some("task.customProperties.Send alert")),
        ("a.b", Some("task.customProperties['a.b']")),
        ("it's", Some("task.customProperties['it's']")),
        ("a']", None),
    ] {
        assert_eq!(task_property(name).as_deref(), path, "{name}");
    }
}

#[test]
fn secrets_go_into_files() {
    let mut import =
        import(json!({ "smtp": { "password": " p$${w " }, "blank": "  ", "hooks": [{ "url": "https://x" }] }), &[]);
    assert_eq!(import.secret("smtp.password").as_deref(), Some("${file:secrets/smtp.password}"));
    assert_eq!(import.secret("hooks[0].url").as_deref(), Some("${file:secrets/hooks.0.url}"));
    assert_eq!((import.secret("smtp.absent"), import.secret("blank")), (None, None));
    let secrets: Vec<(String, String)> = answer(import).secrets.into_iter().collect();
    let expected = [("secrets/hooks.0.url", "https://x"), ("secrets/smtp.password", " p$${w ")];
    assert_eq!(secrets, expected.map(|(file, secret)| (file.to_owned(), secret.to_owned())));
}

#[test]
fn tokens_have_no_blanks_around_them() {
    let mut import = import(json!({ "token": " eyJ${x}\n", "blank": " ", "number": 5 }), &[]);
    assert_eq!(import.token("token").as_deref(), Some("${file:secrets/token}"));
    assert_eq!((import.token("blank"), import.token("number"), import.token("absent")), (None, None, None));
    let answer = answer(import);
    assert_eq!(answer.secrets.into_iter().collect::<Vec<_>>(), [("secrets/token".to_owned(), "eyJ${x}".to_owned())]);
    assert_eq!(answer.remarks.len(), 1);
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
