//! Expressions: operators, and the functions that the scripts under test use.

use super::lexer::Token;
use super::{Stop, fault};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Value {
    /// As it stands in a text.
    pub fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// Its number, also that of a text that is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Null => None,
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        self.number().is_some_and(|number| number != 0.0)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    /// Qlik's truth is -1.
    fn from(is_true: bool) -> Self {
        Self::Number(if is_true { -1.0 } else { 0.0 })
    }
}

#[derive(Debug, Clone)]
pub(super) enum Expression {
    Value(Value),
    /// A variable, or a field in a LOAD.
    Name(String),
    /// A field only.
    Field(String),
    Not(Box<Expression>),
    Minus(Box<Expression>),
    Operation(&'static str, Box<Expression>, Box<Expression>),
    Function(String, Vec<Expression>),
}

/// What an expression may ask for.
pub(super) trait Scope {
    fn name(&self, name: &str) -> Result<Value, Stop>;
    fn field(&self, name: &str) -> Result<Value, Stop>;
    /// A function that needs to know more than its arguments; `None`: it is not known.
    fn function(&self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Stop>;
}

/// Reads one expression; what is after it stays.
pub(super) fn parse(tokens: &mut &[Token]) -> Result<Expression, Stop> {
    binary(tokens, 0)
}

/// Reads an expression that is all there is.
pub(super) fn parse_all(mut tokens: &[Token]) -> Result<Expression, Stop> {
    let expression = parse(&mut tokens)?;
    match tokens {
        [] => Ok(expression),
        [next, ..] => fault(format!("the expression should end before {next:?}")),
    }
}

/// From the loosest to the tightest.
const LEVELS: [&[&str]; 6] = [&["or"], &["and"], &["=", "<>", "<", ">", "<=", ">="], &["&"], &["+", "-"], &["*", "/"]];

fn binary(tokens: &mut &[Token], level: usize) -> Result<Expression, Stop> {
    let Some(operators) = LEVELS.get(level) else { return unary(tokens) };
    if level == 2 && is_name(tokens.first(), "not") {
        *tokens = &tokens[1..];
        return Ok(Expression::Not(Box::new(binary(tokens, level)?)));
    }
    let mut left = binary(tokens, level + 1)?;
    loop {
        let operator = operators.iter().find(|operator| match tokens.first() {
            Some(Token::Sign(sign)) => sign == *operator,
            next => is_name(next, operator),
        });
        let Some(operator) = operator else { return Ok(left) };
        *tokens = &tokens[1..];
        left = Expression::Operation(operator, Box::new(left), Box::new(binary(tokens, level + 1)?));
    }
}

pub(super) fn is_name(token: Option<&Token>, word: &str) -> bool {
    matches!(token, Some(Token::Name(name)) if name.eq_ignore_ascii_case(word))
}

fn unary(tokens: &mut &[Token]) -> Result<Expression, Stop> {
    let Some((first, rest)) = tokens.split_first() else { return fault("an expression is missing") };
    *tokens = rest;
    Ok(match first {
        Token::Number(number) => Expression::Value(Value::Number(*number)),
        Token::Text(text) => Expression::Value(Value::Text(text.clone())),
        Token::Quoted(name) | Token::Bracket(name) => Expression::Field(name.clone()),
        Token::Sign("-") => Expression::Minus(Box::new(unary(tokens)?)),
        Token::Sign("(") => {
            let inner = parse(tokens)?;
            expect(tokens, ")")?;
            inner
        }
        Token::Name(name) if tokens.first() == Some(&Token::Sign("(")) => {
            *tokens = &tokens[1..];
            Expression::Function(name.to_ascii_lowercase(), arguments(tokens)?)
        }
        Token::Name(name) => Expression::Name(name.clone()),
        Token::Sign(_) => return fault(format!("{first:?} does not begin an expression")),
    })
}

/// Arguments up to the closing bracket.
fn arguments(tokens: &mut &[Token]) -> Result<Vec<Expression>, Stop> {
    let mut found = Vec::new();
    if tokens.first() == Some(&Token::Sign(")")) {
        *tokens = &tokens[1..];
        return Ok(found);
    }
    loop {
        found.push(parse(tokens)?);
        match tokens.split_first() {
            Some((Token::Sign(","), rest)) => *tokens = rest,
            Some((Token::Sign(")"), rest)) => {
                *tokens = rest;
                return Ok(found);
            }
            next => return fault(format!("`,` or `)` should stand before {next:?}")),
        }
    }
}

pub(super) fn expect(tokens: &mut &[Token], sign: &str) -> Result<(), Stop> {
    match tokens.split_first() {
        Some((Token::Sign(found), rest)) if *found == sign => {
            *tokens = rest;
            Ok(())
        }
        next => fault(format!("`{sign}` is missing before {:?}", next.map(|(token, _)| token))),
    }
}

impl Expression {
    pub(super) fn eval(&self, scope: &impl Scope) -> Result<Value, Stop> {
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Name(name) => scope.name(name)?,
            Self::Field(name) => scope.field(name)?,
            Self::Not(inner) => match inner.eval(scope)? {
                Value::Null => Value::Null,
                value => (!value.is_true()).into(),
            },
            Self::Minus(inner) => inner.eval(scope)?.number().map_or(Value::Null, |number| Value::Number(-number)),
            Self::Operation(operator, left, right) => operation(operator, left, right, scope)?,
            Self::Function(name, arguments) if name == "if" => match arguments.as_slice() {
                [condition, yes, _] if condition.eval(scope)?.is_true() => yes.eval(scope)?,
                [_, _, no] => no.eval(scope)?,
                _ => return fault("If() has three arguments here"),
            },
            Self::Function(name, arguments) => {
                let arguments: Vec<Value> =
                    arguments.iter().map(|argument| argument.eval(scope)).collect::<Result<_, _>>()?;
                match scope.function(name, &arguments)? {
                    Some(value) => value,
                    None => function(name, &arguments)?,
                }
            }
        })
    }
}

fn operation(operator: &str, left: &Expression, right: &Expression, scope: &impl Scope) -> Result<Value, Stop> {
    let left = left.eval(scope)?;
    match operator {
        "or" if left.is_true() => return Ok(true.into()),
        "and" if !left.is_true() => return Ok(false.into()),
        _ => {}
    }
    let right = right.eval(scope)?;
    let numbers = left.number().zip(right.number());
    Ok(match operator {
        "or" | "and" => right.is_true().into(),
        "&" => Value::Text(left.text() + &right.text()),
        "+" | "-" | "*" | "/" => numbers.map_or(Value::Null, |(one, two)| {
            Value::Number(match operator {
                "+" => one + two,
                "-" => one - two,
                "*" => one * two,
                _ => one / two,
            })
        }),
        _ if left == Value::Null || right == Value::Null => Value::Null,
        _ => {
            let order = match numbers {
                Some((one, two)) => one.partial_cmp(&two),
                None => Some(left.text().cmp(&right.text())),
            };
            let Some(order) = order else { return fault("what is no number cannot be compared") };
            match operator {
                "=" => order.is_eq(),
                "<>" => order.is_ne(),
                "<" => order.is_lt(),
                ">" => order.is_gt(),
                "<=" => order.is_le(),
                _ => order.is_ge(),
            }
            .into()
        }
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of scripts are small")]
fn function(name: &str, arguments: &[Value]) -> Result<Value, Stop> {
    let of = |n: usize| arguments[n].text();
    let whole = |n: usize| arguments[n].number().map(|number| number as i64);
    let text = |text: String| Value::Text(text);
    if arguments.first() == Some(&Value::Null) && !matches!(name, "len" | "isnull" | "alt" | "match") {
        return Ok(Value::Null);
    }
    Ok(match (name, arguments.len()) {
        ("len", 1) => Value::Number(f64::from(u32::try_from(of(0).chars().count()).unwrap_or(u32::MAX))),
        ("null", 0) => Value::Null,
        ("true", 0) => true.into(),
        ("false", 0) => false.into(),
        ("isnull", 1) => (arguments[0] == Value::Null).into(),
        ("trim", 1) => text(of(0).trim().to_owned()),
        ("lower", 1) => text(of(0).to_lowercase()),
        ("replace", 3) => text(of(0).replace(&of(1), &of(2))),
        ("left", 2) => text(of(0).chars().take(whole(1).unwrap_or(0) as usize).collect()),
        ("right", 2) => {
            let skipped = of(0).chars().count().saturating_sub(whole(1).unwrap_or(0) as usize);
            text(of(0).chars().skip(skipped).collect())
        }
        ("chr", 1) => match whole(0).and_then(|code| char::from_u32(u32::try_from(code).ok()?)) {
            Some(c) => text(c.to_string()),
            None => return fault(format!("{} is no character", of(0))),
        },
        ("num", 2) if of(1) == "(HEX)" => text(format!("{:X}", whole(0).unwrap_or(0))),
        ("div", 2) => numbers(&whole, |one, two| one.div_euclid(two)),
        ("mod", 2) => numbers(&whole, i64::rem_euclid),
        ("alt", _) => arguments.iter().find(|value| value.number().is_some()).cloned().unwrap_or(Value::Null),
        ("match", 2..) => {
            let place = arguments[1..].iter().position(|value| match (&arguments[0], value) {
                (Value::Number(one), Value::Number(two)) => one.total_cmp(two).is_eq(),
                (Value::Null, _) => false,
                (one, two) => one.text() == two.text(),
            });
            Value::Number(place.map_or(0.0, |place| f64::from(u32::try_from(place + 1).unwrap_or(0))))
        }
        ("now", 1) => text("2026-03-01 06:00:00".to_owned()),
        (name, count) => return fault(format!("the function {name} with {count} arguments is not known")),
    })
}

#[allow(clippy::cast_precision_loss, reason = "numbers of scripts are small")]
fn numbers(whole: &impl Fn(usize) -> Option<i64>, operation: impl Fn(i64, i64) -> i64) -> Value {
    whole(0).zip(whole(1)).map_or(Value::Null, |(one, two)| Value::Number(operation(one, two) as f64))
}
