//! Ways to spoil a config, each of which is certainly a fault, or certainly none.

use std::fmt::Write as _;

use serde_json::json;

use super::base::{Document, Node, base};
use super::random::Random;

/// A spoilt config.
pub(crate) struct Mutant {
    pub(crate) kind: &'static str,
    /// Where, for whoever reads a failure.
    pub(crate) what: String,
    pub(crate) text: Vec<u8>,
    pub(crate) expected: Expected,
}

/// Where in the file a fault is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Line(usize),
    /// There or behind it: what has no end may be told where the file ends.
    From(usize),
    /// The file as a whole.
    File,
}

pub(crate) enum Expected {
    /// Exit code 2, and a line of the report about this place with all of these texts.
    Refused { place: Place, says: Vec<String> },
    /// As the base.
    Taken,
}

type Maker = fn(&Document, &mut Random) -> (String, Vec<u8>, Expected);

/// All ways.
pub(crate) const KINDS: [(&str, Maker); 20] = [
    ("wrong type", wrong_type),
    ("no value", no_value),
    ("misspelt key", misspelt_key),
    ("key is missing", missing_key),
    ("word or unit that is none", wrong_word),
    ("number out of range", wrong_number),
    ("tab", tab),
    ("key twice", twice),
    ("cut off in a text", cut),
    ("bytes that are no UTF-8", not_utf8),
    ("UTF-16", utf16),
    ("other encodings", other_encodings),
    ("binary", binary),
    ("nesting", nesting),
    ("anchors", anchors),
    ("large", large),
    ("structure of YAML", structure),
    ("no config", nothing),
    ("plugin", plugin),
    ("harmless", harmless),
];

pub(crate) fn make(base: &Document, n: usize, random: &mut Random) -> Mutant {
    let (kind, maker) = KINDS[n % KINDS.len()];
    let (what, text, expected) = maker(base, random);
    Mutant { kind, what, text, expected }
}

fn refused_at(place: Place, says: &[&str]) -> Expected {
    Expected::Refused { place, says: says.iter().map(|text| (*text).to_owned()).collect() }
}

fn refused(line: usize, says: &[&str]) -> Expected {
    refused_at(Place::Line(line), says)
}

/// The text with the lines of a node replaced; its own indentation is put before the first one.
fn instead(base: &Document, node: &Node, new: &[String]) -> Vec<u8> {
    let mut lines = base.lines();
    let at = node.line - 1;
    let pad = " ".repeat(lines[at].len() - lines[at].trim_start().len());
    lines.splice(at..at + node.lines, new.iter().map(|line| format!("{pad}{line}")));
    (lines.join("\n") + "\n").into_bytes()
}

fn with_value(base: &Document, node: &Node, value: &str) -> Vec<u8> {
    instead(base, node, &[format!("{}: {value}", node.key)])
}

fn wrong_type(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let nodes = base.nodes_where(|node| !node.is_free());
    let node = random.of(&nodes);
    let value = if node.is_plain() {
        *random.of(&["[1, 2]", "{ a: 1 }", "[]", "[[x]]"])
    } else {
        *random.of(&["text", "7", "true"])
    };
    (
        format!("{}: {value}", node.path),
        with_value(base, node, value),
        refused(node.line, &[&format!(" {}: ", node.path), "must be"]),
    )
}

fn no_value(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let nodes = base.nodes_where(|node| !node.is_free() && !node.path.contains(".settings."));
    let node = random.of(&nodes);
    let value = *random.in_turn(&["", "~", "null"]);
    let says = [&*format!(" {}: ", node.path), "has no value"];
    (format!("{}: {value}", node.path), with_value(base, node, value), refused(node.line, &says))
}

fn misspelt_key(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let nodes = base.nodes_where(|node| !node.is_free());
    let node = random.of(&nodes);
    let letters: Vec<char> = node.key.chars().collect();
    let at = random.below(letters.len());
    let mut new = letters.clone();
    match random.turn() % 3 {
        0 => new.insert(at, letters[at]),
        1 => new.insert(at, 'q'),
        _ => new[at] = if letters[at] == 'x' { 'y' } else { 'x' },
    }
    let new: String = new.into_iter().collect();
    let mut lines = base.lines();
    lines[node.line - 1] = lines[node.line - 1].replacen(&node.key, &new, 1);
    let path = format!("{}{new}", node.path.strip_suffix(&node.key).unwrap_or_default());
    let text = (lines.join("\n") + "\n").into_bytes();
    (format!("{} -> {new}", node.path), text, refused(node.line, &[&format!(" {path}: "), "unknown key"]))
}

fn missing_key(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let paths = [
        "version",
        "qlik.host",
        "qlik.user",
        "qlik.certificates",
        "udp.listen",
        "log.file.path",
        "plugins[0].use",
        "plugins[1].use",
        "plugins[1].settings.url",
        "plugins[1].on[0].events",
        "plugins[1].on[0].throttle.per",
        "plugins[1].on[0].throttle.every",
    ];
    let path = *random.in_turn(&paths);
    let node = base.node(path);
    let text = instead(base, node, &[]);
    // Told at the key of the section, or where an entry of a list begins.
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let of_entry = |node: &&Node| node.path.starts_with(&format!("{section}."));
    let line = match base.nodes.iter().find(|node| node.path == section) {
        Some(section) => section.line,
        None => base.nodes.iter().find(of_entry).map_or(1, |node| node.line),
    };
    (node.path.clone(), text, refused(line, &[&format!("`{}` is missing", node.key)]))
}

fn wrong_word(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let words = [
        "qlik.verify",
        "qlik.alertOn",
        "log.level",
        "log.format",
        "tls.internal.verify",
        "plugins[0].settings.format",
        "plugins[1].on[0].onUnknown",
        "plugins[1].onStuck",
        "plugins[1].logLevel",
        "qlik.reconcile.every",
        "udp.maxSize",
        "store.keep",
        "store.maxSize",
        "enrich.giveUpAfter",
        "scriptLog.maxSize",
        "shutdownTimeout",
        "plugins[1].retry.max",
    ];
    let path = *random.in_turn(&words);
    let node = base.node(path);
    let old = node.value.as_str().unwrap();
    let value = match random.below(4) {
        0 => format!("{old}x"),
        1 => format!("{old} {old}"),
        2 => "-1".to_owned(),
        _ => "parsecs".to_owned(),
    };
    let text = with_value(base, node, &format!("\"{value}\""));
    (format!("{}: {value}", node.path), text, refused(node.line, &[&format!(" {}: ", node.path), "must be"]))
}

fn wrong_number(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let numbers = [
        "qlik.ports.repository",
        "qlik.ports.engine",
        "qlik.ports.systemInfo",
        "enrich.concurrency",
        "scriptLog.lines",
        "log.file.keep",
        "version",
    ];
    let path = *random.in_turn(&numbers);
    let node = base.node(path);
    let mut values = vec!["-1", "65536.5", "99999999999999999999999", "1e300", "\"16\"", ".nan", "0x1000000", "12_000"];
    // First the number that is just too small.
    if random.turn() < numbers.len() {
        values = vec![if path.starts_with("qlik.ports") || path == "scriptLog.lines" { "-1" } else { "0" }];
    }
    let value = *random.of(&values);
    let text = with_value(base, node, value);
    let says = if value == ".nan" { "is not a finite number" } else { "must be" };
    (format!("{}: {value}", node.path), text, refused(node.line, &[&format!(" {}: ", node.path), says]))
}

fn tab(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let mut lines = base.lines();
    let indented: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with(' ')).collect();
    let at = *random.of(&indented);
    let text = lines[at].trim_start().to_owned();
    let indent = lines[at].len() - text.len();
    // One after blanks may be none of the indentation.
    let tabs = if random.turn().is_multiple_of(2) { 1 } else { indent };
    lines[at] = format!("{}{text}", "\t".repeat(tabs));
    (format!("line {}", at + 1), (lines.join("\n") + "\n").into_bytes(), refused(at + 1, &["tab", "only spaces"]))
}

fn twice(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let nodes = base.nodes_where(Node::is_plain);
    let node = random.of(&nodes);
    let mut lines = base.lines();
    let copy = lines[node.line - 1].clone();
    lines.insert(node.line, copy);
    let first = format!("first in line {}", node.line);
    (node.path.clone(), (lines.join("\n") + "\n").into_bytes(), refused(node.line + 1, &["a second time", &first]))
}

/// Texts are in quotes: without its second one the first text that is cut has no end.
fn cut(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let nodes = base.nodes_where(|node| node.value.as_str().is_some_and(|text| !text.is_empty()));
    let node = random.of(&nodes);
    let mut lines = base.lines();
    lines.truncate(node.line);
    let last = lines.last_mut().unwrap();
    let quote = last.rfind(": \"").unwrap() + 3;
    last.truncate(quote + random.below(last.len() - quote));
    (node.path.clone(), lines.join("\n").into_bytes(), refused(node.line, &["no valid YAML"]))
}

fn not_utf8(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let mut bytes = base.text.clone().into_bytes();
    let at = 8 + random.below(bytes.len() - 8);
    let line = bytes[..at].split(|byte| *byte == b'\n').count();
    bytes.insert(at, *random.of(&[0xff, 0xfe, 0x80, 0xc3, 0xe4, 0xfc]));
    (format!("at {at}"), bytes, refused(line, &["is not UTF-8"]))
}

fn utf16(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let big = random.turn().is_multiple_of(2);
    let units = base.text.encode_utf16();
    let mut bytes = if big { vec![0xfe, 0xff] } else { vec![0xff, 0xfe] };
    bytes.extend(units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }));
    (format!("big: {big}"), bytes, refused(1, &["UTF-16"]))
}

fn other_encodings(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    match random.turn() % 3 {
        0 => {
            let text = format!("# {}\n{}", "Überwachung".chars().next().unwrap(), base.text);
            let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            ("Latin-1".to_owned(), bytes, refused(1, &["is not UTF-8"]))
        }
        1 => {
            let bytes = base.text.chars().flat_map(|c| u32::from(c).to_le_bytes());
            ("UTF-32".to_owned(), [0xff, 0xfe, 0, 0].into_iter().chain(bytes).collect(), refused(1, &["UTF-16"]))
        }
        _ => {
            let bytes = base.text.encode_utf16().flat_map(u16::to_le_bytes);
            ("UTF-16 without a mark".to_owned(), bytes.collect(), refused(1, &["a NUL character", "UTF-16"]))
        }
    }
}

fn binary(_: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let length = 1 + random.below(5_000);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
    // Whatever the rest is: this is no UTF-8, and no mark of another encoding.
    bytes.insert(0, 0x80);
    (format!("{length} bytes"), bytes, refused(1, &["is not UTF-8"]))
}

fn nesting(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let depth = 65 + random.below(3_000);
    let (open, close) = *random.in_turn(&[("[", "]"), ("{ a: ", " }")]);
    let value =
        format!("{}1{}", open.repeat(depth), if random.below(2) == 0 { close.repeat(depth) } else { String::new() });
    let node = base.node("links");
    (format!("{depth} times {open}"), with_value(base, node, &value), refused(node.line, &["nested more than"]))
}

fn anchors(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let (what, extra, says) = match random.turn() % 4 {
        0 => {
            let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
            for n in 1..9 {
                let last = format!("*a{}", n - 1);
                let _ = writeln!(text, "a{n}: &a{n} [{}]", vec![last; 9].join(", "));
            }
            ("bomb", text, "too many values")
        }
        1 => ("unknown", "links2: *nowhere\n".to_owned(), "no valid YAML"),
        2 => ("within itself", "links2: &a { b: *a }\n".to_owned(), "own anchor"),
        _ => ("merge", "x: &x { a: 1 }\ny:\n  <<: *x\n".to_owned(), "merging of mappings"),
    };
    let text = base.text.clone() + &extra;
    (what.to_owned(), text.into_bytes(), refused_at(Place::From(base.lines().len() + 1), &[says]))
}

fn large(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    const MEGABYTE: usize = 1 << 20;
    match random.turn() % 4 {
        0 => {
            let node = base.node("plugins[1].name");
            let text = with_value(base, node, &format!("\"{}\"", "x".repeat(MEGABYTE)));
            ("name".to_owned(), text, refused(node.line, &[" plugins[1].name: "]))
        }
        1 => {
            let node = base.node("rest.hosts");
            let text = with_value(base, node, &format!("[{}]", "a,".repeat(MEGABYTE / 2)));
            ("list".to_owned(), text, refused(node.line, &["too many values"]))
        }
        2 => {
            let text = format!("{}# {}\n", base.text, "x".repeat(4 * MEGABYTE));
            ("5 MB".to_owned(), text.into_bytes(), refused_at(Place::File, &["larger than 4 MB"]))
        }
        _ => {
            // The library has a limit of its own, above ours.
            let keys = [(MEGABYTE, "no valid YAML"), (300, "a key of more than 256 bytes")];
            let (length, says) = keys[random.turn() / 4 % keys.len()];
            let text = format!("{}{}: 1\n", base.text, "k".repeat(length));
            (format!("key of {length}"), text.into_bytes(), refused(base.lines().len() + 1, &[says]))
        }
    }
}

fn structure(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let (extra, says) = *random.in_turn(&[
        ("---\nversion: 1\n", "second document"),
        ("links2: !secret x\n", "tags"),
        ("links2: [1, 2\n", "no valid YAML"),
        ("links2: { a: 1\n", "no valid YAML"),
        ("links2: \"open\n", "no valid YAML"),
        ("? [a, b]\n: 1\n", "a key must be a text"),
        ("7: x\n", "a key must be a text"),
        ("links2: .inf\n", "not a finite number"),
        ("links2: a: b\n", "no valid YAML"),
        ("]\n", "no valid YAML"),
        ("links2: @x\n", "no valid YAML"),
    ]);
    let text = base.text.clone() + extra;
    (extra.trim_end().to_owned(), text.into_bytes(), refused_at(Place::From(base.lines().len() + 1), &[says]))
}

fn nothing(_: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let (text, place, says) = random.in_turn(&[
        ("", Place::File, "empty"),
        ("\n\n", Place::File, "empty"),
        ("# version: 1\n", Place::File, "empty"),
        ("---\n", Place::File, "empty"),
        ("null\n", Place::File, "empty"),
        ("- version: 1\n", Place::Line(1), "must hold a mapping"),
        ("version 1\n", Place::Line(1), "must hold a mapping"),
        ("7\n", Place::Line(1), "must hold a mapping"),
        ("{}\n", Place::Line(1), "`version` is missing"),
        ("# of Butler 16\nButler:\n  logLevel: info\n", Place::Line(2), " Butler: unknown key"),
    ]);
    (text.trim_end().to_owned(), text.as_bytes().to_vec(), refused_at(*place, &[*says]))
}

fn plugin(_: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let mut value = base();
    let (what, path, change, says) = match random.turn() % 5 {
        0 => ("misspelt", "plugins[1].use", json!({ "use": "webhok" }), "no plugin `webhok`"),
        1 => ("upper case", "plugins[1].use", json!({ "use": "Webhook" }), "lower-case"),
        2 => ("placeholder", "plugins[1].use", json!({ "use": "${env:PLUGIN}" }), "must be written out"),
        3 => ("same name", "plugins[1].name", json!({ "name": "console" }), "the same instance name"),
        _ => (
            "placeholder without a value",
            "plugins[1].settings.url",
            json!({ "settings": { "url": "${env:BUTLER_E2E_UNSET}" } }),
            "is not set",
        ),
    };
    for (key, new) in change.as_object().unwrap() {
        value["plugins"][1][key] = new.clone();
    }
    let document = Document::new(&value);
    let line = document.node(path).line;
    (what.to_owned(), document.text.into_bytes(), refused(line, &[says]))
}

fn harmless(base: &Document, random: &mut Random) -> (String, Vec<u8>, Expected) {
    let (what, text) = match random.turn() % 8 {
        0 => ("byte order mark", format!("\u{feff}{}", base.text)),
        1 => ("CRLF", base.text.replace('\n', "\r\n")),
        2 => ("byte order mark and CRLF", format!("\u{feff}{}", base.text.replace('\n', "\r\n"))),
        3 => ("a megabyte of comments", format!("{}{}", "# a comment\n".repeat(90_000), base.text)),
        4 => ("begin and end of a document", format!("--- # the config\n{}...\n", base.text)),
        5 => ("blanks at ends of lines", base.text.replace('\n', "   \n\n")),
        6 => ("as JSON", format!("{:#}", super::base::base())),
        _ => {
            let lines = base.text.replacen("level: \"info\"", "level: &level \"info\"", 1);
            ("an anchor", lines.replacen("logLevel: \"info\"", "logLevel: *level", 1))
        }
    };
    (what.to_owned(), text.into_bytes(), Expected::Taken)
}
