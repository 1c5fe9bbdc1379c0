//! Points, and their lines in InfluxDB's line protocol:
//! `measurement,tag=value field=1,other="text" 1700000000000000000`.
//!
//! What is written is read alike by InfluxDB 1, 2 and 3. The protocol has no way to write a few things, which are put right
//! here: a line break in a tag, a backslash before a sign that has to be escaped, an empty tag, a number that is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Longest value of a tag, in bytes. InfluxDB 1 and 2 refuse a point whose measurement and tags together exceed 65,535.
const LONGEST_TAG: usize = 512;
/// Longest name of a tag or field, in bytes.
const LONGEST_NAME: usize = 256;
/// Longest text of a field, in bytes: InfluxDB documents 64 kB.
pub(crate) const LONGEST_TEXT: usize = 64_000;

/// A value of a field. Numbers are floats, as in Butler 16: a field that is once an integer can never be a float.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Float(f64),
    Text(String),
    Flag(bool),
}

/// A point without its time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) measurement: String,
    pub(crate) tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Field>,
}

impl Point {
    pub(crate) fn new(measurement: impl Into<String>) -> Self {
        Self { measurement: measurement.into(), ..Self::default() }
    }

    /// Sets a tag. What is absent or blank is no tag.
    pub(crate) fn tag(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value.map(Into::into).filter(|value| !value.trim().is_empty()) {
            self.tags.insert(name.to_owned(), value);
        }
    }

    /// Sets a number. What is absent or not finite is no field.
    pub(crate) fn float(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.fields.insert(name.to_owned(), Field::Float(value));
        }
    }

    /// Sets a text, if there is one.
    pub(crate) fn text(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.fields.insert(name.to_owned(), Field::Text(value.into()));
        }
    }

    /// Sets a truth value, if it is known.
    pub(crate) fn flag(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.fields.insert(name.to_owned(), Field::Flag(value));
        }
    }

    pub(crate) fn no_field(&mut self, name: &str) {
        self.fields.remove(name);
    }

    pub(crate) fn has_field(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(crate) fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// The line, with the time in nanoseconds since 1970; none if the point has no field. Tags and fields are sorted.
    pub(crate) fn line(&self, nanos: Option<i64>) -> Option<String> {
        if self.fields.is_empty() {
            return None;
        }
        let mut line = String::with_capacity(512);
        escape(&mut line, &self.measurement, &[',', ' '], LONGEST_NAME);
        // Names that differ may be written alike. InfluxDB refuses a tag that comes twice, and in InfluxDB 3 a table has one
        // column of a name: what is measured goes before what it is marked with.
        let mut written = BTreeSet::new();
        let mut once = |name: &String| {
            let mut key = String::new();
            escape(&mut key, name, &[',', '=', ' '], LONGEST_NAME);
            written.insert(key.clone()).then_some(key)
        };
        let fields: Vec<_> = self.fields.iter().filter_map(|(name, value)| Some((once(name)?, value))).collect();
        for (key, value) in self.tags.iter().filter_map(|(name, value)| Some((once(name)?, value))) {
            line.extend([",", &key, "="]);
            escape(&mut line, value, &[',', '=', ' '], LONGEST_TAG);
        }
        for (number, (key, value)) in fields.into_iter().enumerate() {
            line.extend([if number == 0 { " " } else { "," }, &key, "="]);
            match value {
                Field::Float(value) => float(&mut line, *value),
                Field::Flag(value) => line.push_str(if *value { "true" } else { "false" }),
                Field::Text(value) => quote(&mut line, value),
            }
        }
        if let Some(nanos) = nanos {
            // Writing into a text cannot fail.
            let _ = write!(line, " {nanos}");
        }
        Some(line)
    }
}

/// The beginning of a text, at most so many bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A name or a tag's value: control characters become blanks, and the signs are escaped. A backslash cannot be escaped: one
/// that would escape what follows becomes a slash.
fn escape(line: &mut String, text: &str, signs: &[char], most: usize) {
    let mut letters = cut(text, most).chars().map(|c| if c.is_control() { ' ' } else { c }).peekable();
    while let Some(letter) = letters.next() {
        if signs.contains(&letter) {
            line.push('\\');
        }
        let before_sign = letters.peek().is_none_or(|next| matches!(next, ',' | '=' | ' '));
        line.push(if letter == '\\' && before_sign { '/' } else { letter });
    }
}

/// A text in quotes. Line breaks and tabs stay, other control characters become blanks.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for letter in cut(text, LONGEST_TEXT).chars() {
        match letter {
            '"' | '\\' => line.extend(['\\', letter]),
            '\n' | '\r' | '\t' => line.push(letter),
            letter if letter.is_control() => line.push(' '),
            letter => line.push(letter),
        }
    }
    line.push('"');
}

/// A finite number, short: `30`, `90.6`, `1e300`.
fn float(line: &mut String, value: f64) {
    let plain = value == 0.0 || (1e-5..1e17).contains(&value.abs());
    // Writing into a text cannot fail.
    let _ = if plain { write!(line, "{value}") } else { write!(line, "{value:e}") };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a line as InfluxDB 1 does: a sign with a backslash before it is no separator.
    fn read(line: &str) -> (Point, Option<i64>) {
        let (head, rest) = split(line, &[' '], false);
        let (fields, time) = split(rest.unwrap(), &[' '], true);
        let (measurement, mut tags) = split(head, &[','], false);
        let mut point = Point::new(unescape(measurement));
        while let Some(more) = tags {
            let (tag, rest) = split(more, &[','], false);
            let (name, value) = split(tag, &['='], false);
            point.tags.insert(unescape(name), unescape(value.unwrap()));
            tags = rest;
        }
        let mut fields = Some(fields);
        while let Some(more) = fields {
            let (field, rest) = split(more, &[','], true);
            let (name, value) = split(field, &['='], true);
            let value = match value.unwrap() {
                "true" => Field::Flag(true),
                "false" => Field::Flag(false),
                text if text.starts_with('"') => {
                    Field::Text(text[1..text.len() - 1].replace("\\\"", "\"").replace("\\\\", "\\"))
                }
                number => Field::Float(number.parse().unwrap()),
            };
            point.fields.insert(unescape(name), value);
            fields = rest;
        }
        (point, time.map(|time| time.parse().unwrap()))
    }

    fn unescape(text: &str) -> String {
        text.replace("\\,", ",").replace("\\=", "=").replace("\\ ", " ")
    }

    fn split<'a>(text: &'a str, signs: &[char], quotes: bool) -> (&'a str, Option<&'a str>) {
        let (mut escaped, mut inside) = (false, false);
        for (at, letter) in text.char_indices() {
            if signs.contains(&letter) && !escaped && !inside {
                return (&text[..at], Some(&text[at + letter.len_utf8()..]));
            }
            if quotes && letter == '"' && !escaped {
                inside = !inside;
            }
            // Two backslashes are one within quotes only.
            escaped = letter == '\\' && !(escaped && inside);
        }
        (text, None)
    }

    #[test]
    fn tags_and_fields_are_sorted_and_typed() {
        let mut point = Point::new("butler_memory_usage");
        point.tag("version", Some("16.0.4"));
        point.tag("env", Some("prod"));
        point.tag("empty", Some("  "));
        point.tag("absent", None::<String>);
        point.float("process_memory", Some(90.12));
        point.float("heap_used", Some(30.0));
        point.float("heap_total", Some(40.25));
        point.float("external", Some(3.5));
        point.float("nothing", Some(f64::NAN));
        point.float("endless", Some(f64::INFINITY));
        assert_eq!(
            point.line(None).unwrap(),
            "butler_memory_usage,env=prod,version=16.0.4 external=3.5,heap_total=40.25,heap_used=30,process_memory=90.12"
        );
        point.flag("ok", Some(true));
        point.text("say", Some("a \"b\" \\ c\r\nd\u{7}"));
        let line = point.line(Some(7)).unwrap();
        assert!(line.ends_with(",ok=true,process_memory=90.12,say=\"a \\\"b\\\" \\\\ c\r\nd \" 7"), "{line}");
    }

    #[test]
    fn a_point_without_fields_is_none() {
        let mut point = Point::new("m");
        point.tag("a", Some("b"));
        point.float("x", Some(f64::NAN));
        assert_eq!(point.line(Some(1)), None);
    }

    #[test]
    fn signs_are_escaped_and_no_backslash_escapes_what_follows() {
        let mut point = Point::new("a b,c");
        point.tag("k=,", Some("x\\,y\\"));
        point.tag("user", Some("LAB\\ann"));
        point.float("v", Some(1e300));
        assert_eq!(point.line(None).unwrap(), "a\\ b\\,c,k\\=\\,=x/\\,y/,user=LAB\\ann v=1e300");
    }

    #[test]
    fn a_tag_with_the_name_of_a_field_is_left_out_and_long_values_are_cut() {
        let mut point = Point::new("m");
        point.tag("v", Some("tag"));
        point.tag("long", Some("ä".repeat(1000)));
        point.text("v", Some("x".repeat(1 << 20)));
        let line = point.line(None).unwrap();
        assert!(line.starts_with(&format!("m,long={} v=\"xxx", "ä".repeat(256))));
        assert_eq!(line.len(), "m,long= v=\"\"".len() + LONGEST_TAG + LONGEST_TEXT);
    }

    #[test]
    fn a_name_is_written_once() {
        let mut point = Point::new("m");
        let long = "x".repeat(LONGEST_NAME);
        for name in ["EU/", "EU\\", "a b", "a\tb", "both\u{1}", &format!("{long}1"), &format!("{long}2")] {
            point.tag(name, Some("true"));
        }
        for name in ["f ", "f\n", "both "] {
            point.flag(name, Some(true));
        }
        // A field goes before a tag of its name.
        assert_eq!(
            point.line(None).unwrap(),
            format!("m,EU/=true,a\\\tb=true,{long}=true both\\ =true,f\\\n=true").replace(['\t', '\n'], " ")
        );
    }

    proptest! {
        #[test]
        fn any_text_and_number_come_back(
            measurement in "[^#][ -~äß\\\\,= ]{0,20}",
            names in prop::collection::btree_map(
                "[a-z\\\\,= \"\n\u{1}]{1,8}", "[a-zA-Z\\\\,= \"\r\n😀]{1,12}", 0..4),
            text in any::<String>(), number in any::<f64>(), flag in any::<bool>(), time in any::<i64>(),
        ) {
            let mut point = Point::new(measurement);
            for (name, value) in &names {
                point.tag(&format!("t{name}"), Some(value.clone()));
            }
            point.text("f text", Some(text.clone()));
            point.float("f number", Some(number));
            point.flag("f flag", Some(flag));
            let line = point.line(Some(time)).unwrap();
            let (back, at) = read(&line);
            prop_assert_eq!(at, Some(time));
            prop_assert_eq!(back.fields.get("f flag"), Some(&Field::Flag(flag)));
            let finite = number.is_finite().then_some(Field::Float(number));
            prop_assert_eq!(back.fields.get("f number"), finite.as_ref());
            let plain: String = text.chars().map(|c| if c.is_control() && !"\n\r\t".contains(c) { ' ' } else { c }).collect();
            prop_assert_eq!(back.fields.get("f text"), Some(&Field::Text(plain)));
            // What cannot be written is put right: blanks for control characters, slashes for some backslashes.
            let alike = |text: &str| text.chars().map(|c| if c == '\\' { '/' } else if c.is_control() { ' ' } else { c }).collect::<String>();
            let tags = |point: &Point| point.tags.iter().map(|(k, v)| (alike(k), alike(v))).collect::<BTreeMap<_, _>>();
            prop_assume!(tags(&point).len() == point.tags.len());
            prop_assert_eq!(tags(&back), tags(&point));
            prop_assert_eq!(alike(&back.measurement), alike(&point.measurement));
        }
    }
}
