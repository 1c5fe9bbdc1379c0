//! Turns what Handlebars 4.7 takes and the library does not into what both take, before a template is compiled.
//!
//! * Comments end where they end there: `{{! -- x -- }}` at the next `}}`, `{{!-- x --~}}` too. Their `~` trims.
//! * In texts in quotes a backslash is one, but before the quote: `"ACME\anna"`.
//! * `.`, `..` and `@root` stand for themselves, where the library wants a name behind them.
//!
//! Lines stay where they are, for errors.

/// The template as the library takes it.
pub(super) fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{{") {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let escapes = text.len() - text.trim_end_matches('\\').len();
        rest = if escapes == 1 {
            // Text, up to the next tag.
            out.push_str("{{");
            &tag[2..]
        } else if tag.starts_with("{{{{") {
            raw_block(tag, &mut out)
        } else {
            comment(tag, &mut out).unwrap_or_else(|| expression(tag, &mut out))
        };
    }
    out.push_str(rest);
    out
}

/// Copies a raw block, whose content is nobody's business.
fn raw_block<'a>(tag: &'a str, out: &mut String) -> &'a str {
    let content = tag.find("}}}}").map_or(tag.len(), |at| at + 4);
    let end = tag[content..].find("{{{{/").map_or(tag.len(), |at| content + at);
    let end = tag[end..].find("}}}}").map_or(tag.len(), |at| end + at + 4);
    out.push_str(&tag[..end]);
    &tag[end..]
}

/// Writes a comment without its text; none if it is no comment.
fn comment<'a>(tag: &'a str, out: &mut String) -> Option<&'a str> {
    let inside = &tag[2..];
    let (before, inside) = inside.strip_prefix('~').map_or((false, inside), |inside| (true, inside));
    let text = inside.strip_prefix('!')?;
    let (text, after, rest) = if text.starts_with("--") {
        let ends = ["--}}", "--~}}"].map(|end| text.get(2..).and_then(|text| text.find(end)).map(|at| (at + 2, end)));
        let (at, end) = ends.into_iter().flatten().min()?;
        (&text[..at], end.contains('~'), &text[at + end.len()..])
    } else {
        let at = text.find("}}")?;
        (&text[..at], text[..at].ends_with('~'), &text[at + 2..])
    };
    let mut lines = text.matches('\n').count();
    if before {
        let kept = out.trim_end().len();
        lines += out[kept..].matches('\n').count();
        out.truncate(kept);
    }
    let rest = if after {
        let kept = rest.trim_start();
        lines += rest[..rest.len() - kept.len()].matches('\n').count();
        kept
    } else {
        rest
    };
    out.push_str("{{!--");
    out.extend(std::iter::repeat_n('\n', lines));
    out.push_str("--}}");
    Some(rest)
}

/// Writes a tag that is no comment, and gives what is behind it.
fn expression<'a>(tag: &'a str, out: &mut String) -> &'a str {
    let sigils = tag.len() - tag.trim_start_matches(['{', '~', '#', '/', '^', '>', '&', '*']).len();
    out.push_str(&tag[..sigils]);
    let mut rest = &tag[sigils..];
    while let Some(letter) = rest.chars().next() {
        match letter {
            '}' if rest.starts_with("}}") => {
                let end = rest.len() - rest.trim_start_matches('}').len();
                out.push_str(&rest[..end]);
                return &rest[end..];
            }
            '"' | '\'' => rest = quoted(letter, rest, out),
            '[' => {
                let end = rest.find(']').map_or(rest.len(), |at| at + 1);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            letter if is_between(letter) => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
            _ => {
                let end = rest.find(|letter| is_between(letter) || "\"'[".contains(letter)).unwrap_or(rest.len());
                out.push_str(match &rest[..end] {
                    "." => "this",
                    ".." => "../this",
                    "@root" => "@root/this",
                    other => other,
                });
                rest = &rest[end..];
            }
        }
    }
    rest
}

/// What stands between the words of a tag.
fn is_between(letter: char) -> bool {
    letter.is_whitespace() || "()=|~{}".contains(letter)
}

/// Writes a text in quotes, its backslashes doubled, but those before a quote that does not end it.
fn quoted<'a>(quote: char, rest: &'a str, out: &mut String) -> &'a str {
    out.push(quote);
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        let next = &rest[at + letter.len_utf8()..];
        if letter == quote {
            out.push(quote);
            return next;
        }
        if letter != '\\' {
            out.push(letter);
        } else if next.starts_with(quote) && before_end(&next[1..]).contains(quote) {
            out.push_str(&rest[at..at + 2]);
            letters.next();
        } else {
            out.push_str("\\\\");
        }
    }
    ""
}

/// The rest of a tag.
fn before_end(tag: &str) -> &str {
    tag.find("}}").map_or(tag, |at| &tag[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_original_takes_is_translated() {
        for (source, translated) in [
            ("{{! -- a -- }}b{{!-- c --}}", "{{!----}}b{{!----}}"),
            ("{{!-- {{#if x}} --}}A{{!-- {{/if}} --}}", "{{!----}}A{{!----}}"),
            ("x \n {{~! a\nb ~}}\n y", "x{{!--\n\n\n--}}y"),
            ("{{!-- a --~}} b --}}", "{{!----}}b --}}"),
            ("{{! never closed", "{{! never closed"),
            (r#"{{#if (eq user "ACME\anna")}}"#, r#"{{#if (eq user "ACME\\anna")}}"#),
            (r#"{{x "a\"b" 'c\d' "\\"}}"#, r#"{{x "a\"b" 'c\\d' "\\\\"}}"#),
            ("{{.}} {{~ . ~}} {{{.}}} {{&.}}", "{{this}} {{~ this ~}} {{{this}}} {{&this}}"),
            (
                "{{lookup .. \"a\"}}{{#with ..}}{{../b}}{{./c}}",
                "{{lookup ../this \"a\"}}{{#with ../this}}{{../b}}{{./c}}",
            ),
            ("{{#with @root}}{{@root.a}}{{(x .)}}", "{{#with @root/this}}{{@root.a}}{{(x this)}}"),
            ("{{a.[. ..]}} [.] \\{{.}} . {{x y=.}}", "{{a.[. ..]}} [.] \\{{.}} . {{x y=this}}"),
            ("{{{{raw}}}} {{.}} {{{{/raw}}}}{{.}}", "{{{{raw}}}} {{.}} {{{{/raw}}}}{{this}}"),
            ("{{open \"x", "{{open \"x"),
            ("{{", "{{"),
        ] {
            assert_eq!(translate(source), translated, "{source}");
        }
    }

    proptest! {
        #[test]
        fn lines_stay_where_they_are(source in "[-{}!~.#/\"'\\\\\\[\\] a@\n]{0,80}") {
            prop_assert_eq!(translate(&source).matches('\n').count(), source.matches('\n').count());
        }
    }
}
