//! Takes the values of secrets out of texts that come back from elsewhere: errors, panics, logs, answers.
//!
//! A secret may come back as it is, or as a part of a URL, of JSON, of base64. One automaton holds the secrets and what
//! base64 makes of each at its three possible alignments; it runs over the text and, where the text has the characters
//! that betray them, over its percent-decoded and its unescaped form, whose places are mapped back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Secrets with fewer bytes are not searched for: they would be found in innocent words.
pub(super) const SHORTEST: usize = 6;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// So many layers of escapes are looked through: JSON in JSON in a debug text.
const LAYERS: usize = 3;

/// The values of placeholders of a config. Cheap to clone; shows nothing of them.
#[derive(Clone, Default)]
pub struct Secrets {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    values: BTreeSet<String>,
    automaton: AhoCorasick,
    /// For each pattern: whether the character before and the one after it are made of the secret as well, in part.
    partial: Vec<(bool, bool)>,
    /// Whether a secret has a space, which some encoders turn into `+`.
    spaces: bool,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.inner.as_ref().map_or(0, |inner| inner.values.len());
        f.debug_struct("Secrets").field("count", &count).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Secrets to look for. Those shorter than 6 bytes are left out.
    #[allow(clippy::missing_panics_doc, reason = "it cannot")]
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let values: BTreeSet<String> = values.into_iter().filter(|value| value.len() >= SHORTEST).collect();
        let mut patterns = BTreeMap::new();
        for value in &values {
            patterns.insert(value.clone(), (false, false));
            base64_forms(value.as_bytes(), &mut patterns);
            // A body of JSON in base64.
            let quoted = Value::String(value.clone()).to_string();
            let escaped = &quoted[1..quoted.len() - 1];
            if escaped != value {
                base64_forms(escaped.as_bytes(), &mut patterns);
            }
        }
        if patterns.is_empty() {
            return Self::default();
        }
        let (patterns, partial): (Vec<String>, Vec<_>) = patterns.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // A DFA is faster, but for a secret of 64 kB, such as a key file, it takes hundreds of megabytes.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .expect("the secrets of a config have at most 1 MB, far below the limits of the automaton");
        let spaces = values.iter().any(|value| value.contains(' '));
        Self { inner: Some(Arc::new(Inner { values, automaton, partial, spaces })) }
    }

    /// These and others: after a reload the old ones may still come back.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        match (&self.inner, &others.inner) {
            (_, None) => self.clone(),
            (None, _) => others.clone(),
            (Some(some), Some(more)) if some.values.is_superset(&more.values) => self.clone(),
            (Some(some), Some(more)) => Self::new(some.values.union(&more.values).cloned()),
        }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    /// The text with `[redacted]` in place of each secret.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.inner.as_ref().map(|inner| inner.find(text)).unwrap_or_default();
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut result = String::with_capacity(text.len());
        let mut end = 0;
        for range in found {
            result.push_str(&text[end..range.start]);
            result.push_str(REDACTED);
            end = range.end;
        }
        result.push_str(&text[end..]);
        Cow::Owned(result)
    }

    /// Redacts all texts of a JSON value, keys included.
    pub fn redact_json(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(entries) => {
                if entries.keys().any(|key| matches!(self.redact(key), Cow::Owned(_))) {
                    let old = std::mem::take(entries);
                    *entries = old.into_iter().map(|(key, entry)| (self.redact(&key).into_owned(), entry)).collect();
                }
                entries.values_mut().for_each(|entry| self.redact_json(entry));
            }
            // A secret of digits may come back as a number.
            Value::Number(number) => {
                if let Cow::Owned(redacted) = self.redact(&number.to_string()) {
                    *value = Value::String(redacted);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

impl Inner {
    /// Where secrets are, in order and apart from each other.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.search(text.as_bytes(), &|range| range, &mut found);
        let bytes = text.as_bytes();
        if !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\') || (self.spaces && *byte == b'+')) {
            return merge(text, found);
        }
        let mut layer = View::of(text);
        for _ in 0..LAYERS {
            let mut forms = Vec::new();
            if layer.bytes.contains(&b'%') {
                forms.push(layer.percent_decoded(false));
            }
            if self.spaces && layer.bytes.contains(&b'+') {
                forms.push(layer.percent_decoded(true));
            }
            for form in &forms {
                self.search(&form.bytes, &|range| form.original(range), &mut found);
            }
            if !layer.bytes.contains(&b'\\') {
                break;
            }
            layer = layer.unescaped();
            self.search(&layer.bytes, &|range| layer.original(range), &mut found);
        }
        merge(text, found)
    }

    fn search(&self, bytes: &[u8], original: &dyn Fn(Range<usize>) -> Range<usize>, found: &mut Vec<Range<usize>>) {
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let (before, after) = self.partial[hit.pattern()];
            let (mut start, mut end) = (hit.start(), hit.end());
            if before && start > 0 && in_base64(bytes[start - 1]) {
                start -= 1;
            }
            if after && bytes.get(end).copied().is_some_and(in_base64) {
                end += 1;
            }
            found.push(original(start..end));
        }
    }
}

/// Joins ranges that overlap, and widens them to whole characters.
fn merge(text: &str, mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    for range in &mut found {
        while !text.is_char_boundary(range.start) {
            range.start -= 1;
        }
        while !text.is_char_boundary(range.end) {
            range.end += 1;
        }
    }
    found.sort_by_key(|range| range.start);
    found.dedup_by(|next, range| {
        let overlap = next.start < range.end;
        if overlap {
            range.end = range.end.max(next.end);
        }
        overlap
    });
    found
}

fn in_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Adds what base64 makes of `secret` behind 0, 1 or 2 other bytes: those characters that depend on nothing else.
fn base64_forms(secret: &[u8], patterns: &mut BTreeMap<String, (bool, bool)>) {
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret);
        let (first, end) = ((8 * before).div_ceil(6), 8 * bytes.len() / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&bytes);
            patterns.entry(encoded[first..end].to_owned()).or_insert((before > 0, bytes.len() % 3 != 0));
        }
    }
}

/// A decoded form of a text that knows where its bytes come from.
struct View {
    bytes: Vec<u8>,
    /// For each byte, and for the end, where it begins in the text.
    starts: Vec<usize>,
}

impl View {
    fn of(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), starts: (0..=text.len()).collect() }
    }

    fn empty(&self) -> Self {
        Self { bytes: Vec::with_capacity(self.bytes.len()), starts: Vec::with_capacity(self.starts.len()) }
    }

    fn end(mut self, end: usize) -> Self {
        self.starts.push(end);
        self
    }

    fn push(&mut self, bytes: &[u8], start: usize) {
        self.bytes.extend_from_slice(bytes);
        self.starts.extend(bytes.iter().map(|_| start));
    }

    /// Where a range of this form is in the text.
    fn original(&self, range: Range<usize>) -> Range<usize> {
        // Several bytes may come from one escape: the end is the first place beyond the last byte's.
        let last = self.starts[range.end - 1];
        let end = self.starts[range.end..].iter().copied().find(|&start| start > last);
        self.starts[range.start]..end.unwrap_or(last)
    }

    /// `%2F` is `/`; with `plus`, `+` is a space.
    fn percent_decoded(&self, plus: bool) -> Self {
        let mut view = self.empty();
        let mut index = 0;
        while let Some(&byte) = self.bytes.get(index) {
            let start = self.starts[index];
            let hex = if byte == b'%' { self.hex(index + 1, 2) } else { None };
            if let Some(code) = hex.and_then(|code| u8::try_from(code).ok()) {
                view.push(&[code], start);
                index += 3;
            } else {
                view.push(&[if plus && byte == b'+' { b' ' } else { byte }], start);
                index += 1;
            }
        }
        view.end(self.starts[self.bytes.len()])
    }

    /// One layer of backslash escapes less: those of JSON, and those of Rust's debug texts.
    fn unescaped(&self) -> Self {
        let mut view = self.empty();
        let mut index = 0;
        while let Some(&byte) = self.bytes.get(index) {
            let start = self.starts[index];
            let (char, length) = match (byte, self.bytes.get(index + 1)) {
                (b'\\', Some(b'n')) => ('\n', 2),
                (b'\\', Some(b'r')) => ('\r', 2),
                (b'\\', Some(b't')) => ('\t', 2),
                (b'\\', Some(b'b')) => ('\u{8}', 2),
                (b'\\', Some(b'f')) => ('\u{c}', 2),
                (b'\\', Some(b'0')) => ('\0', 2),
                (b'\\', Some(&plain @ (b'"' | b'\\' | b'/' | b'\''))) => (char::from(plain), 2),
                (b'\\', Some(b'u')) => self.unicode(index).unwrap_or(('\\', 1)),
                _ => {
                    view.push(&[byte], start);
                    index += 1;
                    continue;
                }
            };
            view.push(char.encode_utf8(&mut [0; 4]).as_bytes(), start);
            index += length;
        }
        view.end(self.starts[self.bytes.len()])
    }

    /// `\u00e9`, `\ud83d\ude00` or `\u{e9}` at `index`: the character, and the length of the escape.
    fn unicode(&self, index: usize) -> Option<(char, usize)> {
        if self.bytes.get(index + 2) == Some(&b'{') {
            let digits = self.bytes[index + 3..].iter().take(7).position(|&byte| byte == b'}')?;
            return Some((char::from_u32(self.hex(index + 3, digits)?)?, digits + 4));
        }
        let first = self.hex(index + 2, 4)?;
        if (0xd800..0xdc00).contains(&first) && self.bytes.get(index + 6..index + 8) == Some(b"\\u") {
            let second = self.hex(index + 8, 4)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?, 12));
        }
        Some((char::from_u32(first)?, 6))
    }

    /// The number of `digits` hexadecimal digits at `index`.
    fn hex(&self, index: usize, digits: usize) -> Option<u32> {
        let digits = std::str::from_utf8(self.bytes.get(index..index + digits)?).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u32::from_str_radix(digits, 16).ok()
    }
}
