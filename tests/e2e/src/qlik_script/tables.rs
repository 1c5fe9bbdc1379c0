//! Tables, and the LOAD statements that make them.

use std::cell::Cell;

use super::expression::{self, Expression, Scope, Value, expect, is_name};
use super::lexer::{Token, tokens};
use super::{Interpreter, Stop, fault};

/// A table in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Names of its fields.
    pub fields: Vec<String>,
    /// Its rows, each with a value for each field.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    pub(super) fn column(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|name| name == field)
    }
}

enum Source {
    Rows(f64),
    Table(Table),
}

struct Load {
    label: Option<String>,
    is_mapping: bool,
    is_apart: bool,
    /// Empty: all fields.
    items: Vec<(Expression, String)>,
    source: Source,
    condition: Option<Expression>,
}

/// A row that is being read.
struct Row<'a> {
    interpreter: &'a Interpreter,
    table: Option<&'a Table>,
    number: Cell<usize>,
}

impl Scope for Row<'_> {
    fn name(&self, name: &str) -> Result<Value, Stop> {
        self.field(name)
    }

    fn field(&self, name: &str) -> Result<Value, Stop> {
        let found = self.table.and_then(|table| Some(table.rows[self.number.get()][table.column(name)?].clone()));
        found.map_or_else(|| fault(format!("there is no field `{name}`")), Ok)
    }

    fn function(&self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Stop> {
        match (name, arguments) {
            ("recno", []) => Ok(Some(Value::Number(f64::from(u32::try_from(self.number.get() + 1).unwrap_or(0))))),
            _ => self.interpreter.function(name, arguments),
        }
    }
}

/// The label of a statement, and what is after it.
pub(super) fn label<'a>(text: &'a str) -> Result<(Option<String>, &'a str), Stop> {
    let inner = |rest: &'a str| rest.trim_start().strip_prefix(':').map(str::trim_start);
    if let Some(after) = text.strip_prefix('[') {
        let Some((name, rest)) = after.split_once(']') else { return fault("`]` is missing") };
        return match inner(rest) {
            Some(rest) if !name.is_empty() => Ok((Some(name.to_owned()), rest)),
            _ => fault(format!("`[{name}]` is no label of a statement")),
        };
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    Ok(inner(&text[end..]).map_or((None, text), |rest| (Some(text[..end].to_owned()), rest)))
}

impl Interpreter {
    pub(super) fn load(&mut self, text: &str) -> Result<(), Stop> {
        let load = self.parse_load(text)?;
        let (count, table) = match &load.source {
            Source::Rows(count) => (*count, None),
            #[allow(clippy::cast_precision_loss, reason = "tables of tests are small")]
            Source::Table(table) => (table.rows.len() as f64, Some(table)),
        };
        let mut items = load.items;
        if items.is_empty() {
            let fields = table.map(|table| table.fields.clone()).unwrap_or_default();
            items = fields.into_iter().map(|field| (Expression::Field(field.clone()), field)).collect();
        }
        let mut rows = Vec::new();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
        for number in 0..count as usize {
            let row = Row { interpreter: self, table, number: Cell::new(number) };
            if let Some(condition) = &load.condition
                && !condition.eval(&row)?.is_true()
            {
                continue;
            }
            rows.push(items.iter().map(|(expression, _)| expression.eval(&row)).collect::<Result<Vec<_>, _>>()?);
        }
        let fields: Vec<String> = items.into_iter().map(|(_, name)| name).collect();
        let Some(label) = load.label else { return fault("a table without a label is not made here") };
        if load.is_mapping {
            if fields.len() != 2 {
                return fault("a mapping table has two fields");
            }
            let pairs = rows.iter().map(|row| (row[0].text(), row[1].text())).collect();
            self.maps.insert(label, pairs);
            return Ok(());
        }
        self.add_table(label, fields, rows, load.is_apart)
    }

    /// Adds a table, as it is named and qualified.
    pub(super) fn add_table(
        &mut self,
        name: String,
        mut fields: Vec<String>,
        rows: Vec<Vec<Value>>,
        is_apart: bool,
    ) -> Result<(), Stop> {
        if self.is_qualified {
            for field in &mut fields {
                *field = format!("{name}.{field}");
            }
        }
        if self.tables.iter().any(|table| table.name == name) {
            return fault(format!("there is a table `{name}` already"));
        }
        let mut sorted = fields.clone();
        sorted.sort();
        let same = self.tables.iter().find(|table| {
            let mut others = table.fields.clone();
            others.sort();
            others == sorted
        });
        if let (Some(other), false) = (same, is_apart) {
            return fault(format!("`{name}` would be added to `{}`: both have the same fields", other.name));
        }
        self.tables.push(Table { name, fields, rows });
        Ok(())
    }

    fn parse_load(&self, text: &str) -> Result<Load, Stop> {
        let (label, rest) = label(text)?;
        let all = tokens(rest)?;
        let mut left = all.as_slice();
        let mut take = |word: &str| {
            let is_next = is_name(left.first(), word);
            left = &left[usize::from(is_next)..];
            is_next
        };
        let (is_apart, is_mapping) = (take("noconcatenate"), take("mapping"));
        if !take("load") {
            return fault(format!("this statement is not known: {text}"));
        }
        let mut items = Vec::new();
        if left.first() == Some(&Token::Sign("*")) {
            left = &left[1..];
        } else {
            loop {
                let expression = expression::parse(&mut left)?;
                let name = match (left.first(), left.get(1), &expression) {
                    (as_word, Some(Token::Name(name) | Token::Bracket(name) | Token::Quoted(name)), _)
                        if is_name(as_word, "as") =>
                    {
                        left = &left[2..];
                        name.clone()
                    }
                    (_, _, Expression::Name(name) | Expression::Field(name)) => name.clone(),
                    _ => return fault("a field needs a name: AS is missing"),
                };
                items.push((expression, name));
                if expect(&mut left, ",").is_err() {
                    break;
                }
            }
        }
        let source = match left {
            [word, Token::Number(count), rest @ ..] if is_name(Some(word), "autogenerate") => {
                left = rest;
                Source::Rows(*count)
            }
            [word, Token::Name(name) | Token::Bracket(name), rest @ ..] if is_name(Some(word), "resident") => {
                left = rest;
                match self.table(name) {
                    Some(table) => Source::Table(table.clone()),
                    None => return fault(format!("there is no table `{name}`")),
                }
            }
            [word, Token::Bracket(lines), rest @ ..] if is_name(Some(word), "inline") => {
                left = rest;
                Source::Table(inline(lines)?)
            }
            rest => return fault(format!("the source of this LOAD is not known: {rest:?}")),
        };
        let condition = match left {
            [] => None,
            [word, rest @ ..] if is_name(Some(word), "where") => Some(expression::parse_all(rest)?),
            rest => return fault(format!("WHERE should stand at {rest:?}")),
        };
        Ok(Load { label, is_mapping, is_apart, items, source, condition })
    }
}

fn inline(lines: &str) -> Result<Table, Stop> {
    let mut lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let fields = lines.next().map(cells).unwrap_or_default();
    let rows: Vec<Vec<Value>> = lines.map(|line| cells(line).into_iter().map(Value::Text).collect()).collect();
    if rows.iter().any(|row| row.len() != fields.len()) {
        return fault("each line of an INLINE table has a value for each field");
    }
    Ok(Table { name: String::new(), fields, rows })
}
