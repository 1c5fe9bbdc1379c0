//! `SQL SELECT … FROM JSON … WITH CONNECTION (…)`: a call by the REST connector, and its answer as a table.
//!
//! As the connector does it, one table holds the rows of the outer object and, after them, those of the lists in it; a row has
//! values only in the fields of its own level, and keys tie them together.

use serde_json::Value as Json;

use super::connector::Request;
use super::expression::{Value, is_name};
use super::lexer::{Token, tokens};
use super::{Interpreter, Stop, fault};

/// Fields of one level.
#[derive(Default)]
struct Level {
    /// Name in the answer, name in the table.
    fields: Vec<(String, String)>,
    inner: Vec<Level>,
    /// The list or object in the outer object.
    from: String,
    /// Field with the key of the row, or of the outer row.
    key: Option<String>,
    /// Field for the items of a list that are no objects.
    items: Option<String>,
}

impl Interpreter {
    pub(super) fn select(&mut self, label: Option<String>, text: &str) -> Result<(), Stop> {
        let all = tokens(text)?;
        let mut left = all.as_slice();
        words(&mut left, &["sql", "select"])?;
        let mut root = level(&mut left)?;
        words(&mut left, &["from", "json"])?;
        sign(&mut left, "(")?;
        words(&mut left, &["wrap", "on"])?;
        sign(&mut left, ")")?;
        root.from = quoted(&mut left)?;
        options(&mut left, &mut root, "pk")?;
        words(&mut left, &["with", "connection"])?;
        let request = request(left)?;
        let Some(label) = label else { return fault("the answer needs a label") };
        let Some(connection) = self.connection.clone() else { return fault("no connection is open") };
        let answer = self.connector.call(&connection, &request)?;
        let Some(answer) = answer else { return self.add_table(label, columns(&root), Vec::new(), false) };
        let fields = columns(&root);
        let mut rows = Vec::new();
        let elements: Vec<&Json> = match &answer {
            Json::Array(elements) => elements.iter().collect(),
            one => vec![one],
        };
        for (number, element) in elements.into_iter().enumerate() {
            let key = Value::Number(f64::from(u32::try_from(number + 1).unwrap_or(0)));
            rows.push(row(&fields, &root, element, &key)?);
            for inner in &root.inner {
                let elements: Vec<&Json> = match element.get(&inner.from) {
                    None | Some(Json::Null) => Vec::new(),
                    Some(Json::Array(elements)) => elements.iter().collect(),
                    Some(one) => vec![one],
                };
                for element in elements {
                    rows.push(row(&fields, inner, element, &key)?);
                }
            }
        }
        self.add_table(label, fields, rows, false)
    }
}

fn columns(level: &Level) -> Vec<String> {
    let own = level.fields.iter().map(|(_, name)| name.clone());
    own.chain(level.inner.iter().flat_map(columns)).collect()
}

fn row(fields: &[String], level: &Level, element: &Json, key: &Value) -> Result<Vec<Value>, Stop> {
    let mut row = vec![Value::Null; fields.len()];
    for (source, name) in &level.fields {
        let value = if level.key.as_ref() == Some(source) {
            key.clone()
        } else if element.is_object() {
            element.get(source).map_or(Value::Null, scalar)
        } else if level.items.as_ref() == Some(name) && source == "@Value" {
            scalar(element)
        } else {
            return fault(format!("`{source}` is asked of {element}, which is no object"));
        };
        if let Some(place) = fields.iter().position(|field| field == name) {
            row[place] = value;
        }
    }
    Ok(row)
}

fn scalar(json: &Json) -> Value {
    match json {
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => number.as_f64().map_or(Value::Null, Value::Number),
        Json::Bool(is_true) => Value::Text(is_true.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    }
}

fn level(left: &mut &[Token]) -> Result<Level, Stop> {
    let mut found = Level::default();
    loop {
        if left.first() == Some(&Token::Sign("(")) {
            *left = &left[1..];
            words(left, &["select"])?;
            let mut inner = level(left)?;
            words(left, &["from"])?;
            inner.from = quoted(left)?;
            options(left, &mut inner, "fk")?;
            sign(left, ")")?;
            found.inner.push(inner);
        } else {
            let source = quoted(left)?;
            let name = if is_name(left.first(), "as") {
                *left = &left[1..];
                quoted(left)?
            } else {
                source.clone()
            };
            found.fields.push((source, name));
        }
        if left.first() != Some(&Token::Sign(",")) {
            return Ok(found);
        }
        *left = &left[1..];
    }
}

/// Key and name of items, which must be among the fields.
fn options(left: &mut &[Token], level: &mut Level, key: &str) -> Result<(), Stop> {
    if is_name(left.first(), key) {
        *left = &left[1..];
        level.key = Some(quoted(left)?);
    }
    if is_name(left.first(), "ArrayValueAlias") {
        *left = &left[1..];
        level.items = Some(quoted(left)?);
    }
    for name in level.key.iter().chain(&level.items) {
        if !level.fields.iter().any(|(_, field)| field == name) {
            return fault(format!("`{name}` is not among the fields"));
        }
    }
    Ok(())
}

fn request(mut left: &[Token]) -> Result<Request, Stop> {
    let (mut url, mut headers, mut body) = (None, Vec::new(), None);
    sign(&mut left, "(")?;
    loop {
        let Some((Token::Name(word), rest)) = left.split_first() else {
            return fault(format!("a part of WITH CONNECTION is missing before {:?}", left.first()));
        };
        left = rest;
        let value = quoted(&mut left)?;
        let twice = match word.to_ascii_lowercase().as_str() {
            "url" => url.replace(value).is_some(),
            "body" => body.replace(value).is_some(),
            "httpheader" => {
                headers.push((value, quoted(&mut left)?));
                false
            }
            _ => return fault(format!("`{word}` in WITH CONNECTION is not known")),
        };
        if twice {
            return fault(format!("`{word}` stands twice in WITH CONNECTION"));
        }
        match left {
            [Token::Sign(","), rest @ ..] => left = rest,
            [Token::Sign(")")] => break,
            rest => return fault(format!("WITH CONNECTION should go on or end at {rest:?}")),
        }
    }
    let Some(url) = url else { return fault("there is no URL") };
    Ok(Request { url, headers, body })
}

fn words(left: &mut &[Token], expected: &[&str]) -> Result<(), Stop> {
    for word in expected {
        if !is_name(left.first(), word) {
            return fault(format!("`{word}` is missing before {:?}", left.first()));
        }
        *left = &left[1..];
    }
    Ok(())
}

fn sign(left: &mut &[Token], sign: &str) -> Result<(), Stop> {
    super::expression::expect(left, sign)
}

fn quoted(left: &mut &[Token]) -> Result<String, Stop> {
    match left.split_first() {
        Some((Token::Quoted(text), rest)) => {
            *left = rest;
            Ok(text.clone())
        }
        next => fault(format!("a text in quotes is missing before {:?}", next.map(|(token, _)| token))),
    }
}
