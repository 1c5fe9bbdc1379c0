//! What mails say, at its largest and its strangest.

use butler_plugin_api::sample_delivery;
use butler_plugin_api::testing::{FakeHost, block_on};
use serde_json::json;

use super::*;
use crate::settings::Settings;

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn compose(delivery: &Delivery, more: Value) -> Composed {
    let fake = FakeHost::new("email");
    let mut settings = json!({ "smtp": { "host": "m.test" }, "from": "q@acme.test", "recipients": ["a@x.io"] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let checked = serde_json::from_value::<Settings>(settings).unwrap().check("/").unwrap().0;
    let plan = checked.who.of(&delivery.event);
    block_on(checked.compose(delivery, &plan, &fake.host(), &checked.html))
}

#[test]
fn nasty_texts_are_text_and_nothing_else() {
    let nasty = "R&D <script>alert('x')</script> \"q\" \u{1F600} \u{5e9}\u{5dc}\u{5d5}\u{5dd}";
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.task.as_mut().unwrap().name = nasty.to_owned();
    delivery.event.data.log.as_mut().unwrap().message = nasty.to_owned();
    delivery.event.data.script_log.as_mut().unwrap().tail[0] = nasty.to_owned();
    let composed = compose(&delivery, json!({}));
    let html = composed.content.html.unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(&#x27;x&#x27;)"), "{html}");
    assert!(html.contains("\u{1F600} \u{5e9}\u{5dc}\u{5d5}\u{5dd}"));
    assert!(
        composed.content.text.contains(nasty) && composed.content.subject.contains(nasty),
        "{:?}",
        composed.content.text
    );
    assert_eq!(composed.trouble, None);
}

#[test]
fn a_log_of_megabytes_is_shortened() {
    let mut delivery = sample_delivery("reload-task.failed");
    let log = delivery.event.data.script_log.as_mut().unwrap();
    (log.head, log.tail) = (vec!["x".repeat(2 << 20)], vec!["<".repeat(1 << 17); 3]);
    let lines = json!({ "headScriptLogLines": 1, "tailScriptLogLines": 3 });
    let content = compose(&delivery, lines).content;
    let html = content.html.unwrap();
    assert!(html.len() <= LARGEST && content.text.len() <= LARGEST);
    assert!(html.contains("&lt;&lt;") && html.contains("xxx"), "lines are cut, not left out");

    // Where not even that helps: the plain form.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.handlebars");
    std::fs::write(&path, format!("{{{{#each task.tags}}}}{}{{{{/each}}}}", "y".repeat(LARGEST / 2 + 100))).unwrap();
    let composed = compose(&delivery, json!({ "templateFile": path }));
    assert_eq!((composed.content.html, composed.trouble), (None, None));
    let text = composed.content.text;
    assert!(text.len() < 10_000 && text.contains("larger than 1 MB, even when shortened"), "{text}");
    assert!(text.contains("Happened at: ") && text.contains("Sales nightly"), "{text}");
}

#[test]
fn subjects_have_all_that_bodies_have() {
    let subject = json!({ "subject": "{{emailRecipients.common.[0]}} {{scriptLogTail}}" });
    let composed = compose(&sample_delivery("reload-task.failed"), subject);
    assert!(composed.content.subject.starts_with("a@x.io 2026-"), "{}", composed.content.subject);
}

#[test]
fn templates_without_a_place_for_notes_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.handlebars");
    let html = |template: &str, suppressed: u64| {
        std::fs::write(&path, template).unwrap();
        let mut delivery = sample_delivery("reload-task.failed");
        delivery.suppressed = suppressed;
        compose(&delivery, json!({ "templateFile": path })).content.html.unwrap()
    };
    let shown = html("<body><b>{{taskName}}</b></body>", 3);
    assert!(shown.starts_with("<body><p style") && shown.contains("3 more suppressed"), "{shown}");
    assert_eq!(html("<body>{{taskName}}</body>", 0), "<body>Sales nightly</body>", "nothing to say");
    assert_eq!(html("<body>{{note}}</body>", 3).matches("3 more suppressed").count(), 1, "it is there already");
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.suppressed = 3;
    let built_in = compose(&delivery, json!({})).content.html.unwrap();
    assert_eq!(built_in.matches("3 more suppressed").count(), 1);
}

#[test]
fn a_template_that_loops_over_nothing_prints_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.handlebars");
    std::fs::write(&path, "a{{#each nothing}}x{{/each}}{{#each task.tags.0}}y{{/each}}b").unwrap();
    let composed = compose(&sample_delivery("node.silent"), json!({ "templateFile": path }));
    assert_eq!((composed.content.html.as_deref(), composed.trouble), (Some("ab"), None));
}

#[test]
fn first_and_last_lines_as_the_settings_say() {
    let mut delivery = sample_delivery("reload-task.failed");
    let log = delivery.event.data.script_log.as_mut().unwrap();
    let all: Vec<String> = ["one", "two", "three"].map(str::to_owned).to_vec();
    (log.head, log.tail, log.rows) = (all.clone(), all, 3);
    let shown = |head: usize, tail: usize| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.handlebars");
        std::fs::write(&path, "{{scriptLogHead}}|{{scriptLogTail}}").unwrap();
        let lines = json!({ "templateFile": path, "headScriptLogLines": head, "tailScriptLogLines": tail });
        compose(&delivery, lines).content.html.unwrap()
    };
    assert_eq!(shown(10, 2), "one\ntwo\nthree|two\nthree");
    assert_eq!(shown(0, 1), "|three");
}

#[test]
fn every_kind_has_a_mail() {
    for kind in butler_plugin_api::kind::ALL {
        let composed = compose(&sample_delivery(kind), json!({ "redirectTo": "me@x.io" }));
        assert_eq!(composed.trouble, None, "{kind}");
        let html = composed.content.html.unwrap();
        assert!(!composed.content.subject.is_empty() && html.contains("</html>"), "{kind}");
        let note = html.find("redirectTo").unwrap();
        let first = html.find("<table").unwrap();
        assert!(html.find("<body").unwrap() < note && note < first, "{kind}: {html}");
    }
}

#[test]
fn plain_mails_say_what_is_known() {
    let delivery = sample_delivery("reload-task.failed");
    let composed = compose(&delivery, json!({ "subject": "{{nosuch taskName}}" }));
    insta::assert_snapshot!("plain", composed.content.text);
    assert!(composed.trouble.unwrap().contains("`subject`") && composed.content.html.is_none());
    for kind in ["moon.risen", ""] {
        let mut delivery = sample_delivery(kind);
        delivery.event.data = butler_plugin_api::Data::default();
        assert!(compose(&delivery, json!({ "subject": "{{#if}}" })).content.text.contains("Happened at"));
    }
}

#[test]
fn notes_are_put_where_the_page_begins() {
    assert!(with_note("<html><BODY class=\"x\"><p>", "a<b").starts_with("<html><BODY class=\"x\"><p style"));
    assert!(with_note("<p>x</p>", "n").ends_with("n</p><p>x</p>"));
    assert!(with_note("<body", "n").ends_with("</p><body") && with_note("İ<body>ß", "n").ends_with("ß"));
}
