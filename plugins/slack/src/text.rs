//! Texts as Slack wants them: three characters as entities, code blocks that stay closed, and cuts that break neither.
//!
//! Lengths are in UTF-16 units. Slack does not say whether it counts those or characters; there are never more characters.

/// What stands where something was cut off.
pub(crate) const MARK: &str = "… cut here, since Slack takes no longer texts";
/// Room for the mark, and for the end of a code block.
const ROOM: usize = 99;
/// Begins and ends a code block.
const FENCE: &str = "```";
/// Takes no place and keeps backticks apart.
const APART: char = '\u{200b}';

pub(crate) fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// How long a character is once it is escaped.
pub(crate) fn escaped_length(c: char) -> usize {
    match c {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        c => c.len_utf16(),
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Turns the three entities back, once: `&amp;lt;` is `&lt;`.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Keeps backticks of a value from beginning or ending a code block of the message.
pub(crate) fn tame(text: &str) -> String {
    if !text.contains('`') {
        return text.to_owned();
    }
    let mut tamed = String::with_capacity(text.len() + 8);
    let mut run = 0;
    if text.starts_with('`') {
        tamed.push(APART);
    }
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        if run == FENCE.len() {
            tamed.push(APART);
            run = 1;
        }
        tamed.push(c);
    }
    if text.ends_with('`') {
        tamed.push(APART);
    }
    tamed
}

/// The beginning of a value that has at most `max` units once it is escaped, the mark included; whole lines if that does not
/// cost more than half of it.
pub(crate) fn keep_start(text: &str, max: usize) -> String {
    if fits(text.chars(), max) {
        return text.to_owned();
    }
    let kept = start(text, max - ROOM, escaped_length);
    let kept = match kept.rfind('\n') {
        Some(end) if !text[kept.len()..].starts_with('\n') && end * 2 > kept.len() => &kept[..end],
        _ => kept,
    };
    format!("{kept}\n{MARK}")
}

/// The same with the end.
pub(crate) fn keep_end(text: &str, max: usize) -> String {
    if fits(text.chars(), max) {
        return text.to_owned();
    }
    let mut left = max - ROOM;
    let dropped = text.char_indices().rev().find(|(_, c)| {
        let length = escaped_length(*c);
        let enough = length > left;
        left = left.saturating_sub(length);
        enough
    });
    let begin = dropped.map_or(0, |(at, c)| at + c.len_utf8());
    let kept = &text[begin..];
    let kept = match kept.find('\n') {
        Some(end) if !text[..begin].ends_with('\n') && end * 2 < kept.len() => &kept[end + 1..],
        _ => kept,
    };
    format!("{MARK}\n{kept}")
}

fn fits(chars: impl Iterator<Item = char>, max: usize) -> bool {
    chars.map(escaped_length).sum::<usize>() <= max
}

/// The longest beginning of at most `max` units.
fn start(text: &str, max: usize, length: impl Fn(char) -> usize) -> &str {
    let mut left = max;
    let end = text.char_indices().find(|(_, c)| {
        let length = length(*c);
        let enough = length > left;
        left = left.saturating_sub(length);
        enough
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// At most `max` units of a text of a message that is escaped already: no entity and no link is cut in two, and a code
/// block is closed. None if it is short enough.
pub(crate) fn cut_markup(text: &str, max: usize) -> Option<String> {
    if length(text) <= max {
        return None;
    }
    let mut kept = whole_entities(start(text, max.saturating_sub(ROOM), char::len_utf16));
    if let Some(link) = kept.rfind('<').filter(|link| !kept[*link..].contains('>'))
        && text[kept.len()..].find('>').is_some_and(|end| !text[kept.len()..][..end].contains('\n'))
    {
        kept = &kept[..link];
    }
    kept = kept.trim_end_matches('`');
    if let Some(end) = kept.rfind('\n').filter(|end| end * 2 > kept.len()) {
        kept = &kept[..end];
    }
    let is_open = kept.matches(FENCE).count() % 2 == 1;
    Some(format!("{kept}{}\n{MARK}", if is_open { "\n```" } else { "" }))
}

/// At most `max` units of a plain text, with an ellipsis. None if it is short enough.
pub(crate) fn cut_plain(text: &str, max: usize) -> Option<String> {
    (length(text) > max).then(|| format!("{}…", whole_entities(start(text, max.saturating_sub(1), char::len_utf16))))
}

/// A text without an entity that was cut in two at its end.
fn whole_entities(text: &str) -> &str {
    match text.rfind('&') {
        Some(at) if text.len() - at < "&amp;".len() && !text[at..].contains(';') => &text[..at],
        _ => text,
    }
}

/// A text in pieces of at most `max` units by a way to count them, at line ends where there are some.
pub(crate) fn pieces(text: &str, max: usize, length: impl Fn(char) -> usize + Copy) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while rest.chars().map(length).sum::<usize>() > max {
        let piece = start(rest, max, length);
        let end = piece.rfind('\n').filter(|end| *end > 0);
        pieces.push(&rest[..end.unwrap_or(piece.len())]);
        rest = &rest[end.map_or(piece.len(), |end| end + 1)..];
    }
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_start_is_kept_at_a_line_end_and_the_end_likewise() {
        let a = |count: usize| "a".repeat(count);
        assert_eq!(keep_start(&a(2999), 2999), a(2999));
        assert_eq!(keep_start(&a(3000), 2999), format!("{}\n{MARK}", a(2900)));
        assert_eq!(keep_end(&a(3000), 2999), format!("{MARK}\n{}", a(2900)));
        assert_eq!(keep_start(&"=".repeat(3500), 2999), format!("{}\n{MARK}", "=".repeat(2900)));
        assert_eq!(keep_start(&"<".repeat(3500), 2999), format!("{}\n{MARK}", "<".repeat(725)), "escaped it is longer");
        let lines: Vec<String> = (0..100).map(|number| format!("{number:03} {}", "x".repeat(60))).collect();
        let text = lines.join("\n");
        assert_eq!(keep_start(&text, 2999), format!("{}\n{MARK}", lines[..44].join("\n")));
        assert_eq!(keep_end(&text, 2999), format!("{MARK}\n{}", lines[56..].join("\n")));
        let long = format!("first\n{}\nlast", "x".repeat(5000));
        assert!(
            keep_start(&long, 2999).len() > 2900 && keep_end(&long, 2999).len() > 2900,
            "a long line is cut itself"
        );
    }

    #[test]
    fn a_cut_leaves_entities_links_and_code_blocks_whole() {
        let cut = |text: &str, max| cut_markup(text, max).unwrap();
        let with = |text: &str| format!("{text}\n{MARK}");
        assert_eq!(cut(&format!("{}&amp;{}", "x".repeat(98), "x".repeat(200)), 200), with(&"x".repeat(98)));
        let link = format!("{} <https://a.test/?b|c>{}", "x".repeat(90), "x".repeat(200));
        assert_eq!(cut(&link, 200), with(&format!("{} ", "x".repeat(90))));
        let code = format!("*Log*\n```{}```", "line\n".repeat(100));
        let cut = cut(&code, 200);
        assert!(cut.ends_with(&format!("line\n```\n{MARK}")) && cut.matches("```").count() == 2, "{cut}");
        assert_eq!(cut_plain("R&amp;D", 4).as_deref(), Some("R…"));
        assert_eq!(cut_plain("R&amp;D", 7), None);
        assert_eq!(cut_markup("R&amp;D", 7), None);
    }

    #[test]
    fn pieces_end_at_lines() {
        let of = |text, max| pieces(text, max, char::len_utf16);
        assert_eq!(of("aa\nbb\ncc", 5), ["aa", "bb\ncc"]);
        assert_eq!(of("aaaaaaa", 3), ["aaa", "aaa", "a"]);
        assert_eq!(of("", 3), [""; 0]);
        assert_eq!(pieces("a<&", 5, escaped_length), ["a<", "&"]);
    }

    proptest! {
        #[test]
        fn nothing_is_longer_than_asked_for(text in "[a&<>`\n;😀é]{0,400}", max in 150..300_usize) {
            for kept in [keep_start(&text, max), keep_end(&text, max)] {
                prop_assert!(length(&escape(&kept)) <= max, "{kept:?}");
            }
            let escaped = escape(&text);
            for cut in [cut_markup(&escaped, max), cut_plain(&escaped, max)].into_iter().flatten() {
                prop_assert!(length(&cut) <= max, "{cut:?}");
                let entities = ["&amp;", "&lt;", "&gt;"].iter().map(|entity| cut.matches(entity).count()).sum::<usize>();
                prop_assert_eq!(cut.matches('&').count(), entities, "{}", cut);
            }
            for piece in pieces(&text, 10, char::len_utf16) {
                prop_assert!(!piece.is_empty() && length(piece) <= 10);
            }
            prop_assert_eq!(unescape(&escaped), text);
        }

        #[test]
        fn no_value_opens_or_closes_a_code_block(text in "[a`\n]{1,30}") {
            let block = format!("```{}```", tame(&text));
            prop_assert_eq!(block.as_bytes().windows(3).filter(|part| part == b"```").count(), 2, "{:?}", block);
            prop_assert_eq!(tame(&text).replace(APART, ""), text);
        }
    }
}
