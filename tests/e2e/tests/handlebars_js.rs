//! Templates give what the original's engine gives, npm's `handlebars` 4.7, byte for byte, but for what is named here.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use butler_plugin_api::message::{Cut, Facts, Format, Presentation, Template, TemplateError};
use butler_plugin_api::{CustomLink, Delivery, Instance, Links, kind, sample_delivery};
use serde_json::{Value, json};

/// The original's engine.
struct Node {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/handlebars_js.js");
        let mut child = Command::new("node")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`node` is in the packages that tests/run.sh installs");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, input, output }
    }

    /// The text, or the error.
    fn render(&mut self, template: &str, context: &Value, format: Format) -> Result<String, String> {
        let escape = matches!(format, Format::Html);
        let request = json!({ "template": template, "context": context, "escape": escape });
        writeln!(self.input.as_mut().expect("it is open until the end"), "{request}").expect("node runs");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("node answers each line");
        let answer: Value = serde_json::from_str(&line).expect("handlebars is where tests/run.sh installs it");
        answer["text"].as_str().map(str::to_owned).ok_or_else(|| answer["error"].to_string())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn ours(template: &Result<Template, TemplateError>, context: &Value) -> Result<String, String> {
    let text = template.as_ref().map_err(ToString::to_string)?.text(context);
    text.map_err(|error| error.to_string())
}

/// What of these differs from the original, as `template: ours | theirs`, and how many are the same.
fn differences<'a>(
    node: &mut Node,
    templates: impl Iterator<Item = &'a &'a str>,
    contexts: &[Value],
) -> (Vec<String>, usize) {
    let (mut found, mut same) = (Vec::new(), 0);
    for source in templates {
        for format in [Format::Html, Format::Text] {
            let template = Template::new("t", source, format);
            for context in contexts {
                let (ours, theirs) = (ours(&template, context), node.render(source, context, format));
                match (&ours, &theirs) {
                    (Ok(ours), Ok(theirs)) if ours == theirs => same += 1,
                    (Err(_), Err(_)) => same += 1,
                    _ => found.push(format!("{source}: {} | {}", show(&ours), show(&theirs))),
                }
            }
        }
    }
    (found, same)
}

fn show(result: &Result<String, String>) -> String {
    result.as_ref().map_or_else(|error| format!("error {error}"), |text| format!("{text:?}"))
}

const NASTY: &str = "R&D \"x\" <b>'q'</b> `t` = {{heading}} \\ C:\\new\r\n\tשלום \u{202e}abc\u{202c} \u{1F600} \u{1}";

/// Values of all kinds.
fn values() -> Value {
    json!({
        "text": "a<b & \"c\" = 'd' `e`", "nasty": NASTY, "empty": "", "yes": true, "no": false, "zero": 0, "one": 1,
        "float": 1.5, "whole": 4.0, "negative": -3, "large": 9_007_199_254_740_991_i64, "tiny": 0.000_000_1, "huge": 1e21,
        "back": "ACME\\anna", "quoted": "a\"b",
        "null": null, "list": ["a", "b", "c"], "none": [], "mixed": [null, false, 0, "", "x", [1, [2, null]], true],
        "object": { "first": 1, "second": "<2>", "third": { "deep": "d" } }, "bare": {},
        "named": { "id": "7", "name": "Finance & more" }, "with space": "s", "dash-ed": "d", "ünïcode": "u", "key": "second",
        "links": [{ "id": "k1", "text": "One", "url": "https://a.test/?a=b&c=d" }, { "id": "k2", "text": "Two", "url": "u" }],
        "rows": [{ "name": "r1", "cells": ["x", "y"] }, { "name": "r2", "cells": [] }, { "name": "r3", "cells": ["z"] }]
    })
}

/// One construct each, on [`values`].
const LANGUAGE: &[&str] = &[
    // Escaping.
    "{{text}}|{{{text}}}|{{&text}}|{{& text }}|{{{ text }}}",
    "{{nasty}}|{{{nasty}}}",
    "<a href=\"{{links.[0].url}}\">{{links.0.text}}</a>",
    // Values.
    "{{yes}} {{no}} {{zero}} {{one}} {{null}} {{nothing}} {{nothing.at.all}} {{empty}}|",
    "{{float}} {{whole}} {{negative}} {{large}} {{tiny}} {{huge}}",
    "{{list}} {{{list}}} {{none}} {{mixed}}",
    "{{list.length}} {{none.length}} {{text.length}}{{#if list.length}}some{{/if}}{{#if none.length}}some{{else}}none{{/if}}",
    "{{#if rows.length}}{{#each rows}}{{cells.length}}{{#if cells.length}}!{{/if}}{{/each}}{{/if}}{{object.length}}",
    "{{[with space]}} {{dash-ed}} {{[dash-ed]}} {{ünïcode}} {{object.[second]}} {{list.[1]}} {{list.[7]}}",
    "{{this.text}} {{./text}} {{this/text}} {{object/first}} {{object.third.deep}}",
    // Conditions.
    "{{#if yes}}1{{/if}}{{#if no}}2{{/if}}{{#if zero}}3{{/if}}{{#if empty}}4{{/if}}{{#if none}}5{{/if}}{{#if null}}6{{/if}}",
    "{{#if object}}3{{/if}}{{#if list}}4{{/if}}{{#if nothing.x}}5{{else}}6{{/if}}",
    "{{#if zero}}a{{else if no}}b{{else if one}}c{{else}}d{{/if}}{{#if zero includeZero=true}}z{{/if}}",
    "{{#unless no}}1{{else}}2{{/unless}}{{#unless list}}3{{else}}4{{/unless}}{{#if no}}7{{^}}8{{/if}}",
    "{{#if (eq one 1)}}1{{/if}}{{#if (eq one \"1\")}}2{{/if}}{{#if (eq text 'x')}}3{{else}}4{{/if}}{{#if (eq no false)}}5{{/if}}",
    "{{#if (eq null null)}}1{{/if}}{{#if (eq (eq one 1) true)}}2{{/if}}{{eq one 1}}{{eq one 2}}{{#eq one 1}}y{{else}}n{{/eq}}",
    "{{#if (eq whole 4)}}1{{/if}}{{#if (eq object object)}}2{{/if}}{{#if (eq nothing undefined)}}3{{/if}}",
    // Loops.
    "{{#each list}}{{@index}}{{this}}{{@first}}{{@last}}{{#unless @last}},{{/unless}}{{/each}}",
    "{{#each none}}x{{else}}none{{/each}}{{#each nothing}}x{{else}}nothing{{/each}}{{#each null}}x{{else}}null{{/each}}",
    "{{#each object}}{{@key}}{{#if @first}}={{this}}{{/if}};{{/each}}",
    "{{#each rows}}{{name}}:{{#each cells}}{{../name}}/{{@../index}}/{{@index}}/{{this}}{{#if ../cells}}!{{/if}};{{else}}-{{/each}}{{/each}}",
    "{{#each rows}}{{#each cells}}{{../../text}}{{@root.one}}{{@root.links.0.id}}{{/each}}{{/each}}",
    "{{#each rows}}{{#if cells}}{{../one}}{{name}}{{#if @first}}{{../../one}}{{/if}}{{/if}}{{/each}}",
    "{{#each list as |item at|}}{{at}}{{item}}{{../one}}{{/each}}{{#each object as |value key|}}{{key}}{{#if @first}}{{value}}{{/if}}{{/each}}",
    "{{#each links}}{{#if (eq id \"k2\")}}{{text}}{{/if}}{{/each}}{{#each links}} {{this.text}} {{this.url}}{{/each}}",
    "{{#each links}}{{#if (eq this.id @root.links.1.id)}}{{#with (lookup ../links @index)}}{{text}}{{/with}}{{/if}}{{/each}}",
    "{{#each links}}{{lookup this \"text\"}}{{lookup ../list @index}}{{/each}}",
    "{{#each mixed}}[{{this}}]{{/each}}",
    "{{#each this}}{{@key}} {{/each}}",
    "{{#each list}}{{.}}{{{.}}}{{/each}}",
    "{{list.name}}{{#if list.name}}x{{/if}}{{#each rows}}{{this.cells.length}} {{name.length}}{{/each}} {{text.name.deep}}{{list.name.deep}}{{object.third.deep.length}}",
    "{{#each rows}}{{@root.rows.length}} {{../rows.length}}{{#unless cells.length}}-{{/unless}}{{/each}}",
    "{{#if (eq list.length 3)}}3{{/if}}{{#if (eq object.third.deep \"d\")}}d{{/if}}",
    "{{lookup list}}{{lookup mixed 6}} {{lookup object \"first\"}}",
    // Blocks of other kinds.
    "{{#with object}}{{first}} {{../one}}{{#with third}}{{deep}} {{../first}} {{../../one}}{{/with}}{{/with}}",
    "{{#with nothing}}x{{else}}none{{/with}}{{#with named as |it|}}{{it.id}}{{/with}}",
    "{{lookup object key}} {{lookup list 1}} {{lookup list 9}} {{lookup nothing \"x\"}} {{#with (lookup links 1)}}{{text}}{{/with}}",
    "{{lookup (lookup links 0) \"url\"}} {{{lookup (lookup links 0) 'url'}}}",
    "{{log text}}{{log \"x\" level=\"debug\"}}|",
    "\\{{text}} \\\\{{one}} {{[text]}}",
    // Sections.
    "{{#list}}<{{this}}{{@index}}{{../one}}>{{else}}none{{/list}}{{#none}}x{{else}}none{{/none}}{{#nothing}}x{{else}}y{{/nothing}}",
    "{{#named}}{{id}}{{../one}}{{/named}}{{#text}}[{{this}}]{{/text}}{{#null}}x{{else}}e{{/null}}{{#no}}x{{else}}n{{/no}}",
    "{{#yes}}{{text}}{{#one}}{{this}}{{/one}}{{/yes}}{{#rows}}{{name}}{{#cells}}{{this}}{{../name}}{{/cells}}{{/rows}}",
    "a\n{{#yes}}\nb\n{{else}}\nc\n{{/yes}}\n{{#list}}\n{{this}}\n{{/list}}\nd",
    // Names that stand for themselves.
    "{{#each list}}{{#if (eq . \"b\")}}!{{/if}}{{ . }}{{~.~}} {{&.}}{{/each}}{{#each rows}}{{lookup . \"name\"}}{{/each}}",
    "{{#each rows}}{{#with ..}}{{one}}{{/with}}{{lookup .. \"text\"}}{{/each}}",
    "{{#with @root}}{{text}}{{/with}}{{#each list}}{{lookup @root \"one\"}} {{#with @root}}{{text}}{{/with}}{{/each}}",
    // Backslashes in texts.
    "{{#if (eq back \"ACME\\anna\")}}1{{/if}}{{#if (eq back 'ACME\\anna')}}2{{/if}}{{#if (eq back \"ACME\\\\anna\")}}3{{/if}}",
    "{{#if (eq quoted \"a\\\"b\")}}1{{/if}}{{#if (eq quoted 'a\"b')}}2{{/if}}{{#if (eq back \"ACME\\nils\")}}3{{/if}}",
    // Errors of both.
    "{{upper text}}",
    "{{#if yes}}",
    "{{#if yes}}{{/unless}}",
    "{{#nobody text}}x{{/nobody}}",
    "{{> partial}}",
    "{{text",
    // Comments.
    "{{!-- {{#if (eq id \"k\")}} --}}A{{!-- {{/if}} --}}B{{! short }}C{{!-- a } }} --}}D{{!}}E{{!----}}F",
    "a\n{{! alone }}\nb\n  {{!-- alone\n on two {{lines}} --}}  \nc {{! not alone }}\nd\n{{!-- x --}}{{! y }}\ne",
    "{{! -- a -- }}<h1>{{one}}</h1>{{!-- b --}}END {{!-- c --~}}  x --}} a {{~! comment ~}} b {{~!-- d --}} e",
    // White space.
    "a {{~one}} b {{one~}} c {{~one~}} d\n {{~#if yes~}} \n e \n {{~else~}} f {{~/if~}} \n g h",
    "a\n{{#if yes}}\nb\n{{/if}}\nc\n  {{#if no}}\nd\n  {{else}}\n  e\n  {{/if}}  \nf\n",
    "a\r\n{{#if yes}}\r\nb\r\n{{/if}}\r\nc\r\n\t{{#each list}}\r\n{{this}}\r\n\t{{/each}}\r\nd",
    "{{#if yes}}\na\n{{/if}}",
    "{{#if yes}}a\n{{/if}}\nb",
    "{{#if yes}}\n{{#if one}}\na\n{{/if}}\n{{/if}}\nb",
    "a {{#if yes}}\nb\n{{/if}} c\n{{#if yes}} d {{/if}}\ne",
    "{{#each list}}\n  {{this}}\n{{/each}}\n{{#each none}}\n{{else}}\n none\n{{/each}}\n",
    "{{#if no}}\na\n{{else if zero}}\nb\n{{else if one}}\nc\n{{else}}\nd\n{{/if}}\ne",
    "{{#if\n  yes\n}}a{{/if}}{{  one  }}{{#if  (eq  one  1)  }}b{{/if  }}",
    "{{#unless no}}\n\n  a\n\n{{/unless}}\n\nb",
    "{{#if yes}}  \n  a  \n  {{/if}}\n\n\n{{#with object}}\n{{first}}\n{{/with}}",
    "  {{one}}\n  {{#each list}}{{this}}{{/each}}\n  {{one}}  \n",
    "{{#each rows}}\n  {{name}}\n  {{#each cells}}\n    - {{this}}\n  {{else}}\n    nothing\n  {{/each}}\n{{/each}}\nend",
];

/// What differs, what it gives here (`error` for none), and why that is better or does no harm.
const WANTED: &[(&str, &str, &str)] = &[
    ("{{named}}", "Finance & more", "an object with a name prints it, where the original prints `[object Object]`"),
    ("{{#each object}}{{this}} {{/each}}", "1 <2> {\"deep\":\"d\"} ", "other objects print as JSON"),
    ("{{lookup rows 0}}", "r1", "and so does what helpers find"),
    ("{{#if (eq named \"Finance & more\")}}yes{{/if}}", "yes", "an object with a name compares by it"),
    ("{{#if bare}}1{{else}}2{{/if}}", "2", "an object without fields is nothing, as a list without elements is"),
    ("{{list.1}}", "b", "the original wants brackets around the number"),
    ("{{one}}{{one}}", "11", "without escaping the original adds numbers that stand side by side"),
    ("{{{{raw}}}}{{text}}{{{{/raw}}}}", "{{text}}", "the original has no such helper, and prints nothing"),
    ("{{#empty}}x{{else}}y{{/empty}}{{#zero}}x{{else}}y{{/zero}}", "yy", "what is false for `if` makes no section"),
    ("{{^no}}y{{/no}}", "error", "the same: `unless`"),
    ("{{^if no}}y{{/if}}", "error", "the same"),
    ("{{\"text\"}}", "error", "a variable in quotes: they are needed for nothing"),
];

#[test]
fn the_language_is_that_of_the_original() {
    let values = [values()];
    let mut node = Node::start();
    let (found, same) = differences(&mut node, LANGUAGE.iter(), &values);
    assert!(found.is_empty(), "{} differences:\n{found:#?}", found.len());
    assert_eq!(same, LANGUAGE.len() * 2);
    for (template, expected, why) in WANTED {
        let text = ours(&Template::new("t", template, Format::Text), &values[0]).unwrap_or_else(|_| "error".to_owned());
        assert_eq!(&text, expected, "{template}");
        let (found, _) = differences(&mut node, std::iter::once(template), &values);
        assert!(!found.is_empty(), "{template} is as in the original, and not {why}");
    }
}

/// The mails that are built in.
const MAILS: [&str; 4] = [
    include_str!("../../../config/templates/email/event.html.handlebars"),
    include_str!("../../../config/templates/email/event.txt.handlebars"),
    include_str!("../../../config/templates/email/message.html.handlebars"),
    include_str!("../../../config/templates/email/message.txt.handlebars"),
];

/// Mails, subjects and cards as users of the original have them.
const USERS: &[&str] = &[
    "Qlik Sense reload failed: {{taskName}}",
    "Reload of \"{{{appName}}}\" ended {{executionStopTime.startTimeLocal1}}{{executionStopTime.stopTimeLocal1}}",
    "<h2>{{taskName}}</h2>\n<table>\n  <tr><td>Id</td><td>{{taskId}}</td></tr>\n  <tr>\n    <td>Tags</td>\n    <td>\n      \
     <ul>\n        {{#each taskTags}}\n        <li>{{this}}</li>\n        {{else}}\n        <li>none</li>\n        \
     {{/each}}\n      </ul>\n    </td>\n  </tr>\n</table>\n",
    "{{#each appCustomProperties}}{{this.name}} = {{this.value}}{{#unless @last}}; {{/unless}}{{/each}}",
    "{{executionDuration.hours}} h, {{executionDuration.minutes}} m, {{executionDuration.seconds}} s",
    "{{executionStartTime.startTimeUTC}} {{executionStartTime.startTimeLocal1}} {{executionStartTime.startTimeLocal5}}",
    "{{#if scriptLogSizeRows}}{{scriptLogSizeRows}} rows, {{scriptLogSizeCharacters}} characters{{else}}no log{{/if}}",
    "<pre>{{scriptLogHead}}</pre>\n<pre>{{{scriptLogTail}}}</pre>",
    "{{#if executionDetails.length}}<table>{{#each executionDetails}}<tr><td>{{timestampLocal1}}</td><td>{{message}}</td>\
     </tr>{{/each}}</table>{{/if}}",
    "{{#each genericUrls}} <a href=\"{{this.url}}\" title=\"{{this.comment}}\">{{this.linkText}}</a>{{/each}}",
    "{{!-- {{#if (eq id \"wiki\")}} --}}{{#each genericUrls}}{{#if (eq id \"wiki\")}}{{linkText}}: {{url}}{{/if}}{{/each}}{{!-- \
     {{/if}} --}}",
    "<a href=\"{{qlikSenseQMC}}\">QMC</a> <a href=\"{{qlikSenseHub}}\">Hub</a> <a href=\"{{appUrl}}\">{{appName}}</a>",
    "{{appStreamName.name}} {{appOwnerName}} ({{appOwnerUserDirectory}}/{{appOwnerUserId}}) {{appOwnerEmail}}",
    "{{taskIsManuallyTriggered}} {{taskIsPartialReload}} {{taskMaxRetries}} {{taskNextExecution}} {{appPublished}} {{user}}",
    "{{#if (eq serviceStatus \"STOPPED\")}}Stopped{{else if (eq serviceStatus 'RUNNING')}}Running{{/if}}: \
     {{serviceDisplayName}} on {{host}} ({{servicePrevStatus}}, {{serviceStartType}}, {{serviceExePath}})",
    "{{peakMemoryBytes}} {{appFileSize}} {{endedWithMemoryConstraint}} {{errorCode}}: {{errorMessage}}\n{{logMessage}}",
    "{{#each statements}}{{this}}\n{{/each}}{{#with executionStartTime}}{{startTimeLocal2}} {{../taskName}}{{/with}}",
    "{\n  \"title\": \"{{{heading}}}\",\n  \"rows\": [\n    {{#each facts}}\n    {\"k\": \"{{title}}\", \"v\": \"{{value}}\"}\
     {{#unless @last}},{{/unless}}\n    {{/each}}\n  ]\n}\n",
];

/// The same delivery with nasty names, texts and lines.
fn nasty(delivery: &Delivery) -> Delivery {
    fn spoil(value: &mut Value) {
        match value {
            Value::String(text) if !text.starts_with("20") => *text = format!("{text} {NASTY}"),
            Value::Array(items) => items.iter_mut().for_each(spoil),
            Value::Object(fields) => fields.values_mut().for_each(spoil),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(&delivery.event.data).expect("facts are JSON");
    spoil(&mut json);
    let mut delivery = delivery.clone();
    delivery.event.data = serde_json::from_value(json).expect("facts are read whatever they are");
    (delivery.late_seconds, delivery.suppressed) = (Some(4000), 3);
    delivery
}

fn contexts() -> Vec<Value> {
    let mut wiki = CustomLink::new("Wiki", "https://wiki.test/?a=b&c={{taskName}}");
    (wiki.id, wiki.comment) = ("wiki".to_owned(), "What \"to\" do".to_owned());
    let links = Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        hub: Some("https://sense.test/hub?a=1&b=2".to_owned()),
        app_base_url: Some("https://sense.test/sense/app/".to_owned()),
        custom: vec![wiki],
    };
    let instance = Instance { host_version: "17.0.0".to_owned(), links, ..Instance::default() };
    let presentation = Presentation::new(Some("Europe/Stockholm"), 10, 20).expect("a known zone");
    let mut contexts = Vec::new();
    for kind in kind::ALL.iter().chain(&["moon.risen"]) {
        let sample = sample_delivery(kind);
        for delivery in [&sample, &nasty(&sample)] {
            let facts = Facts::of(delivery, &instance, &presentation);
            contexts.extend([facts.context(Cut::NONE), facts.context(Cut::last(facts.lines()))]);
        }
    }
    contexts
}

#[test]
fn mails_and_templates_of_users_come_out_as_in_the_original() {
    let contexts = contexts();
    let templates = MAILS.iter().chain(USERS);
    let (found, same) = differences(&mut Node::start(), templates.clone(), &contexts);
    assert!(found.is_empty(), "{} differences, the first:\n{}", found.len(), found[0]);
    assert_eq!(same, contexts.len() * templates.count() * 2);
}
