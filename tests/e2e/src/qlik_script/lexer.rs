//! From the text of a script to statements, and from the text of a statement to words.

use super::{Stop, fault};

/// A statement, without what ends it and without comments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Statement {
    /// Its first words, in lower case; `EndIf` is two.
    pub(super) fn words(&self) -> Vec<String> {
        let ends = |c: char| !(c.is_alphanumeric() || c == '_');
        let words = self.text.split(ends).filter(|word| !word.is_empty()).take(3).map(str::to_ascii_lowercase);
        let parts = |word: String| match word.as_str() {
            "endif" => vec!["end".to_owned(), "if".to_owned()],
            "endsub" => vec!["end".to_owned(), "sub".to_owned()],
            _ => vec![word],
        };
        words.flat_map(parts).collect()
    }
}

/// Those begin statements that end with their line.
const CONTROL: [&str; 13] =
    ["sub", "end", "endsub", "endif", "if", "elseif", "else", "for", "next", "do", "loop", "call", "exit"];

/// Cuts a script into statements.
pub(super) fn statements(source: &str) -> Result<Vec<Statement>, Stop> {
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    loop {
        skip(&chars, &mut at, &mut line)?;
        if at == chars.len() {
            return Ok(found);
        }
        found.push(statement(&chars, &mut at, &mut line)?);
    }
}

/// Passes over white space and comments.
fn skip(chars: &[char], at: &mut usize, line: &mut usize) -> Result<(), Stop> {
    while let Some(&c) = chars.get(*at) {
        if comment(chars, at, line)? {
            continue;
        }
        if !c.is_whitespace() && c != ';' {
            break;
        }
        *line += usize::from(c == '\n');
        *at += 1;
    }
    Ok(())
}

/// Passes over a comment, if one is here. What is in one is expanded all the same, so nothing there may ask for it.
fn comment(chars: &[char], at: &mut usize, line: &mut usize) -> Result<bool, Stop> {
    let end: &[char] = match chars.get(*at..*at + 2) {
        Some(['/', '/']) => &['\n'],
        Some(['/', '*']) => &['*', '/'],
        _ => return Ok(false),
    };
    let first = *line;
    let start = *at;
    while *at < chars.len() && !chars[*at..].starts_with(end) {
        *line += usize::from(chars[*at] == '\n');
        *at += 1;
    }
    if chars[start..*at].windows(2).any(|pair| pair == ['$', '(']) {
        return fault(format!("line {first}: Qlik expands dollar signs in comments, too"));
    }
    if end.len() == 2 {
        if *at == chars.len() {
            return fault(format!("line {first}: the comment has no end"));
        }
        *at += 2;
    }
    Ok(true)
}

fn statement(chars: &[char], at: &mut usize, line: &mut usize) -> Result<Statement, Stop> {
    let (first, mut text) = (*line, String::new());
    let word: String = chars[*at..].iter().take_while(|c| c.is_alphanumeric()).collect();
    let control = CONTROL.contains(&word.to_ascii_lowercase().as_str());
    let mut quote: Option<char> = None;
    loop {
        if quote.is_none() && comment(chars, at, line)? {
            continue;
        }
        let Some(&c) = chars.get(*at) else {
            if let (None, true) = (quote, control) {
                break;
            }
            let what = quote.map_or_else(|| "`;`".to_owned(), |quote| format!("`{quote}`"));
            return fault(format!("line {first}: the statement has no end, {what} is missing: {text}"));
        };
        match (quote, c) {
            (None, ';') => break,
            (None, '\n') if control => break,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (Some(_), '\n') if control => {
                return fault(format!("line {first}: a control statement must stand on one line: {text}"));
            }
            (Some(end), _) if c == end => quote = None,
            _ => {}
        }
        *line += usize::from(c == '\n');
        text.push(c);
        *at += 1;
    }
    Ok(Statement { line: first, text: text.trim().to_owned() })
}

/// A word of an expression or a LOAD or a SELECT.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name without quotes.
    Name(String),
    /// `"…"`
    Quoted(String),
    /// `[…]`
    Bracket(String),
    /// `'…'`
    Text(String),
    Number(f64),
    Sign(&'static str),
}

const SIGNS: [&str; 14] = ["<>", "<=", ">=", "(", ")", ",", "&", "+", "-", "*", "/", "=", "<", ">"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Stop> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
        } else if let Some(end) = match c {
            '\'' | '"' => Some(c),
            '[' => Some(']'),
            _ => None,
        } {
            let inner = quoted(&chars, &mut at, end)?;
            found.push(match c {
                '\'' => Token::Text(inner),
                '"' => Token::Quoted(inner),
                _ => Token::Bracket(inner),
            });
        } else if c.is_ascii_digit() {
            let digits: String = chars[at..].iter().take_while(|c| c.is_ascii_digit() || **c == '.').collect();
            at += digits.len();
            let Ok(number) = digits.parse() else { return fault(format!("`{digits}` is no number")) };
            found.push(Token::Number(number));
        } else if c.is_alphabetic() || c == '_' {
            let name: Vec<char> =
                chars[at..].iter().copied().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            at += name.len();
            found.push(Token::Name(name.into_iter().collect()));
        } else {
            let rest: String = chars[at..].iter().take(2).collect();
            let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
                return fault(format!("`{c}` in `{text}` is not understood"));
            };
            at += sign.len();
            found.push(Token::Sign(sign));
        }
    }
    Ok(found)
}

/// What is between two quotes; two of them within stand for one.
fn quoted(chars: &[char], at: &mut usize, end: char) -> Result<String, Stop> {
    let mut inner = String::new();
    *at += 1;
    loop {
        match (chars.get(*at), chars.get(*at + 1)) {
            (Some(c), Some(next)) if *c == end && *next == end && end != ']' => {
                inner.push(end);
                *at += 2;
            }
            (Some(c), _) if *c == end => {
                *at += 1;
                return Ok(inner);
            }
            (Some(c), _) => {
                inner.push(*c);
                *at += 1;
            }
            (None, _) => return fault(format!("`{end}` is missing after `{inner}`")),
        }
    }
}
