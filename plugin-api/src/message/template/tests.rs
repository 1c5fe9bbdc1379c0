//! What templates of the original rely on, and what is better than there.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text(template: &str, context: &Value) -> String {
    Template::new("t", template, Format::Text).unwrap().text(context).unwrap()
}

fn json(template: &str, context: &Value) -> Result<Value, TemplateError> {
    Template::new("cards/mine.json", template, Format::Json)?.json(context)
}

#[test]
fn values_print_as_in_the_original() {
    let context = json!({
        "no": false, "zero": 0, "whole": 4.0, "null": null, "tags": ["a", "b"], "deep": { "hours": 1 },
        "stream": { "id": "1", "name": "Finance & more" }
    });
    for (template, result) in [
        ("{{no}} {{zero}} {{null}}{{nothing.here}}{{{nothing}}}", "false 0 "),
        ("{{tags}} {{{tags}}} {{tags.[1]}}", "a,b a,b b"),
        ("{{stream}} {{stream.name}} {{stream.id}}", "Finance & more Finance & more 1"),
        ("{{#with stream}}{{name}}{{/with}}{{#if (eq stream \"Finance & more\")}}!{{/if}}", "Finance & more!"),
        ("{{deep}} {{deep.hours}}", "{\"hours\":1} 1"),
        ("{{#each tags}}{{@index}}{{this}}{{#unless @last}}, {{/unless}}{{/each}}", "0a, 1b"),
        ("{{#if nothing}}x{{else if zero}}y{{else}}{{no}}{{/if}}", "false"),
        ("{{!-- {{#if (eq id \"k\")}} --}}A{{!-- {{/if}} --}}", "A"),
        ("{{& stream}} {{log}}", "Finance & more "),
        ("{{eq zero 0}} {{eq zero \"0\"}} {{eq no null}}", "true false false"),
        ("{{#eq zero 0}}yes{{else}}no{{/eq}}", "yes"),
        ("{{default nothing \"-\"}} {{default zero 1}} {{default tags 1}}", "- 0 a,b"),
        (
            "{{tags.length}} {{#if tags.length}}some{{/if}} {{stream.name.length}}{{tags.name}}{{tags.name.deep}}",
            "2 some 14",
        ),
        ("{{#each tags}}{{.}}{{{.}}}{{/each}} {{whole}} {{lookup tags 1}}{{lookup deep \"hours\"}}", "aabb 4 b1"),
        ("{{lines tags 1}}|{{lines tags -1}}|{{lines tags}}|{{lines nothing}}", "a|b|a\nb|"),
    ] {
        assert_eq!(text(template, &context), result, "{template}");
    }
    let links = json!({ "links": [{ "id": "k1", "text": "One" }, { "id": "k2", "text": "Two" }] });
    assert_eq!(text("{{#each links}}{{#if (eq id \"k2\")}}{{text}}{{/if}}{{/each}}", &links), "Two");
}

#[test]
fn both_kinds_of_braces_survive_nasty_texts() {
    let nasty = "R&D \"x\"; C:\\new\\file\r\n\ta = 'b' <c> \u{1F600} \u{7}";
    let context = json!({ "x": nasty, "list": [nasty] });
    let template = r#"{"two": "{{x}}", "three": "{{{x}}}", "amp": "{{&x}}", "in": "{{#each list}}{{{this}}}{{/each}}",
                       "help": "{{{default y x}}}"}"#;
    let result = json(template, &context).unwrap();
    for name in ["two", "three", "amp", "in", "help"] {
        assert_eq!(result[name], nasty, "{name}");
    }
    assert_eq!(text("{{x}}|{{{x}}}", &context), format!("{nasty}|{nasty}"), "no escaping in text");
}

#[test]
fn each_format_has_its_own_escapes() {
    let context = json!({ "x": "a<b & \"c\" = 'd' `e`\n\\" });
    for (format, two, three) in [
        (
            Format::Html,
            "a&lt;b &amp; &quot;c&quot; &#x3D; &#x27;d&#x27; &#x60;e&#x60;\n\\",
            "a<b & \"c\" = 'd' `e`\n\\",
        ),
        (Format::SlackJson, "a&lt;b &amp; \\\"c\\\" = 'd' `e`\\n\\\\", "a&lt;b &amp; \\\"c\\\" = 'd' `e`\\n\\\\"),
        (Format::Url, "a%3Cb%20%26%20%22c%22%20%3D%20%27d%27%20%60e%60%0A%5C", "a<b & \"c\" = 'd' `e`\n\\"),
    ] {
        let text = |template: &str| Template::new("t", template, format).unwrap().text(&context).unwrap();
        assert_eq!((text("{{x}}").as_str(), text("{{{x}}}").as_str()), (two, three), "{format:?}");
        assert_eq!((text("{{default y x}}").as_str(), text("{{&x}}").as_str()), (two, three), "{format:?}");
    }
}

#[test]
fn helpers_that_people_expect() {
    let context = json!({
        "timeZone": "Europe/Stockholm", "at": "2026-03-04T05:06:07.890Z", "ms": 3_723_999, "size": 7_340_032,
        "parts": { "hours": 0, "minutes": 2, "seconds": 3 }, "name": "Sales nightly"
    });
    for (template, result) in [
        ("{{date at}}", "2026-03-04 06:06:07"),
        ("{{date at \"%d.%m.%Y %H:%M\"}}", "04.03.2026 06:06"),
        ("{{date at \"%H:%M %Z\" \"America/New_York\"}}", "00:06 EST"),
        ("{{date name}}{{date nothing}}{{date ms}}", "Sales nightly3723999"),
        (
            "{{duration ms}}, {{duration parts}}, {{duration name}}{{duration nothing}}",
            "1 h 2 min 3 s, 2 min 3 s, Sales nightly",
        ),
        ("{{truncate name 5}} {{truncate name 50}}{{truncate nothing 3}}", "Sales… Sales nightly"),
        ("{{number ms}} {{bytes size}} {{number name}}{{bytes nothing}}", "3,723,999 7.0 MB Sales nightly"),
        ("{{#if (eq (truncate name 5) \"Sales…\")}}yes{{/if}}", "yes"),
    ] {
        assert_eq!(text(template, &context), result, "{template}");
    }
    let fails =
        |template: &str| Template::new("t", template, Format::Text).unwrap().text(&context).unwrap_err().to_string();
    assert!(fails("{{date at \"%H\" \"Mars/Olympus\"}}").contains("`Mars/Olympus` is no time zone"));
    assert!(fails("{{date at \"%!\"}}").contains("`%!` is no pattern of strftime"));
    assert!(fails("\n{{truncate name}}").starts_with("template `t`, line 2: "));
    assert!(fails("{{truncate name name}}").contains("needs a number"));
}

#[test]
fn json_of_any_kind_keeps_the_order_of_the_template() {
    let text = |template: &str| Template::new("t", template, Format::Json).unwrap().json_text(&json!({ "x": "a,]" }));
    for (template, expected) in [
        (r#"{ "z": 1, "a": "{{x}}" }"#, r#"{ "z": 1, "a": "a,]" }"#),
        (r#"[{ "z": 1, "a": "{{x}}", }, ]"#, r#"[{ "z": 1, "a": "a,]" } ]"#),
        (r#""{{x}}""#, r#""a,]""#),
    ] {
        assert_eq!(text(template).unwrap(), expected);
    }
    let error = text("[\n {{x}},\n]").unwrap_err().to_string();
    assert!(error.starts_with("template `t`, line 2: the result is not JSON"), "{error}");
}

#[test]
fn commas_before_the_end_of_a_list_do_no_harm() {
    // As templates of Butler 16 for services make them, where one of two links is not there (check 24).
    let template = r#"{"actions": [
        {{#each genericUrls}}{{#if (eq id "butler_docs")}}{"url": "{{url}}"},{{/if}}{{/each}}
        {{#each genericUrls}}{{#if (eq id "ptarmiganlabs_com")}}{"url": "{{url}}"}{{/if}}{{/each}}
    ]}"#;
    let link = |id: &str| json!({ "id": id, "url": format!("https://{id}.test/?a=b,]") });
    let actions =
        |links: Value| json(template, &json!({ "genericUrls": links })).unwrap()["actions"].as_array().unwrap().len();
    assert_eq!(actions(json!([])), 0);
    assert_eq!(actions(json!([link("butler_docs")])), 1);
    assert_eq!(actions(json!([link("butler_docs"), link("ptarmiganlabs_com")])), 2);
}

#[test]
fn no_template_takes_the_process_with_it() {
    let error = |template: &str, context: &Value| {
        let template = Template::new("mine", template, Format::Text);
        template.and_then(|template| template.text(context)).unwrap_err().to_string()
    };
    for template in [
        "{{#*inline \"p\"}}{{> p}}{{/inline}}{{> p}}",
        "{{#if x}}{{> mine}}{{/if}}",
        "{{#*inline \"p\"}}{{#if x}}{{> q}}{{/if}}{{/inline}}{{#*inline \"q\"}}{{> p}}{{/inline}}{{> p}}",
        "{{#> layout}}x{{/layout}}",
        "{{#*inline \"p\"}}{{> @partial-block}}{{/inline}}",
    ] {
        assert!(error(template, &json!({ "x": 1 })).contains("partial `"), "{template}");
    }
    assert_eq!(text("{{#*inline \"p\"}}<{{x}}>{{/inline}}{{> p}}{{> p}}", &json!({ "x": 1 })), "<1><1>");
    let lines = vec!["x".repeat(1000); 1000];
    let loops = "{{#each lines}}{{#each ../lines}}{{this}}{{/each}}{{/each}}";
    assert!(error(loops, &json!({ "lines": lines })).contains("more than 4 MB"));
}

proptest! {
    #[test]
    fn any_text_survives(x in any::<String>()) {
        let result = json(r#"{"a": "{{x}}", "b": "{{{x}}}"}"#, &json!({ "x": x })).unwrap();
        prop_assert_eq!(result, json!({ "a": x, "b": x }));
    }

    #[test]
    fn no_template_panics(source in "[{}#/!~& a-z\"\n]{0,60}") {
        let _ = json(&source, &json!({ "a": "b" }));
    }
}

#[test]
fn errors_name_template_line_and_culprit() {
    let error = |template: &str| json(template, &json!({ "name": "n" })).unwrap_err().to_string();

    let unknown = error("{\n \"a\": \"{{upper name}}\"\n}");
    assert_eq!(unknown, "template `cards/mine.json`, line 2: there is no helper `upper`");
    let block = error("{\n \"a\": \"{{#each2 name}}{{/each2}}\"\n}");
    assert_eq!(block, "template `cards/mine.json`, line 2: there is no helper `each2`");
    let open = error("{\n\n \"a\": \"{{#if name}}\"\n}");
    assert_eq!(
        open,
        "template `cards/mine.json`, line 4: this is not Handlebars, near `}`; is a block such as `{{#if …}}` not closed?"
    );
    let tag = error("{\n \"a\": \"{{name}\"\n}");
    assert_eq!(tag, "template `cards/mine.json`, line 2: this is not Handlebars, near `\"a\": \"{{name}\"`");
    let crossed = error("{\n \"a\": \"{{#if name}}{{/unless}}\"\n}");
    assert!(crossed.contains("line 2: helper \"if\" was opened, but \"unless\" is closing"), "{crossed}");

    let empty = error("{\n \"a\": \"{{name}}\",\n \"count\": {{rows}},\n \"b\": 1\n}");
    assert_eq!(
        empty,
        "template `cards/mine.json`, line 3: the result is not JSON: expected value at line 3 column 11 of the result; \
         `rows` printed nothing; the line is `\"count\": {{rows}},`"
    );
    let comma = error("{\n \"a\": [\n  1,,\n ]\n}");
    assert!(comma.starts_with("template `cards/mine.json`, line 3: the result is not JSON: expected value"), "{comma}");
    // Nothing of the result itself: it holds facts.
    let facts = json(
        r#"{"to": "{{name}}", "n": [{{#each list}}{{#unless @first}},{{/unless}} 1: {{no}}{{/each}}]}"#,
        &json!({ "name": "ann@lab.test", "list": [1, 2] }),
    );
    let facts = facts.unwrap_err().to_string();
    assert!(facts.contains("the line is `{") && !facts.contains("ann@lab.test"), "{facts}");
    let bare = error("{\n \"a\": {{name}}\n}");
    assert!(bare.contains("line 2: ") && bare.contains("variable before is `name`"), "{bare}");
}
