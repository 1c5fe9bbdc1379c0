//! From text to expression.

use super::{Comparison, Expression, FilterError, Literal, Operator};
use crate::ids;

/// Nested deeper than any client would, but far from the end of the stack.
const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    let mut parser = Parser { text, position: 0, depth: 0 };
    let expression = parser.any()?;
    parser.skip_space();
    if parser.rest().is_empty() { Ok(expression) } else { Err(parser.error("unexpected text after the end")) }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, always at a character boundary.
    position: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all()?];
        while self.keyword("or") {
            parts.push(self.all()?);
        }
        Ok(single_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.term()?];
        while self.keyword("and") {
            parts.push(self.term()?);
        }
        Ok(single_or(parts, Expression::All))
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        self.skip_space();
        if !self.rest().starts_with('(') {
            return self.comparison().map(Expression::Comparison);
        }
        if self.depth == MAX_DEPTH {
            return Err(self.error("too many parentheses"));
        }
        self.position += 1;
        self.depth += 1;
        let inner = self.any()?;
        self.depth -= 1;
        self.skip_space();
        if !self.rest().starts_with(')') {
            return Err(self.error("missing closing parenthesis"));
        }
        self.position += 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Comparison, FilterError> {
        let field = self.field()?;
        let start = self.position;
        let operator = match self.word().to_ascii_lowercase().as_str() {
            "eq" => Operator::Equal,
            "ne" => Operator::NotEqual,
            "gt" => Operator::Greater,
            "ge" => Operator::GreaterOrEqual,
            "lt" => Operator::Less,
            "le" => Operator::LessOrEqual,
            _ => {
                self.position = start;
                return Err(self.error("unknown operator"));
            }
        };
        let literal = self.literal()?;
        Ok(Comparison { field, operator, literal })
    }

    fn field(&mut self) -> Result<Vec<String>, FilterError> {
        self.skip_space();
        let start = self.position;
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|other| other.is_ascii_alphanumeric() || other == '_')
        };
        let names: Vec<String> = self.word().split('.').map(str::to_owned).collect();
        if names.iter().all(|name| is_name(name)) {
            Ok(names)
        } else {
            self.position = start;
            Err(self.error("expected the name of a field"))
        }
    }

    fn literal(&mut self) -> Result<Literal, FilterError> {
        self.skip_space();
        if self.rest().starts_with('\'') {
            return self.text_literal();
        }
        let start = self.position;
        let word = self.word();
        let is_number = word.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        match word {
            "true" => Ok(Literal::Boolean(true)),
            "false" => Ok(Literal::Boolean(false)),
            "null" => Ok(Literal::Null),
            guid if ids::is_guid(guid) => Ok(Literal::Guid(guid.to_ascii_lowercase())),
            number if is_number && number.parse::<f64>().is_ok_and(f64::is_finite) => {
                Ok(Literal::Number(number.parse().unwrap_or_default()))
            }
            _ => {
                self.position = start;
                Err(self.error("expected a value; texts need single quotes"))
            }
        }
    }

    fn text_literal(&mut self) -> Result<Literal, FilterError> {
        let start = self.position;
        self.position += 1;
        let mut text = String::new();
        loop {
            let Some(length) = self.rest().find('\'') else {
                self.position = start;
                return Err(self.error("text without an end"));
            };
            text.push_str(&self.rest()[..length]);
            self.position += length + 1;
            if !self.rest().starts_with('\'') {
                let time = text.parse().ok();
                return Ok(Literal::Text(text, time));
            }
            text.push('\'');
            self.position += 1;
        }
    }

    /// Takes the next word if it is this one.
    fn keyword(&mut self, keyword: &str) -> bool {
        let start = self.position;
        let found = self.word().eq_ignore_ascii_case(keyword);
        if !found {
            self.position = start;
        }
        found
    }

    /// Everything up to white space, a parenthesis or a quote.
    fn word(&mut self) -> &'a str {
        self.skip_space();
        let rest = &self.text[self.position..];
        let end =
            rest.find(|other: char| other.is_whitespace() || matches!(other, '(' | ')' | '\'')).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn skip_space(&mut self) {
        self.position = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn error(&self, problem: &'static str) -> FilterError {
        FilterError { position: self.text[..self.position].chars().count(), problem }
    }
}

fn single_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(single) if parts.is_empty() => single,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}
