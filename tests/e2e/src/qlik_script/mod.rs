//! An interpreter of the part of Qlik's script language that load scripts for Butler need.
//!
//! It is small and strict: what it does not know is a fault, and so is what Qlik would take though it is hardly meant, such as a
//! name that nothing sets, a table that would be added to another, or an expansion that ends the statement in which it stands. It
//! follows Qlik's help: dollar signs are expanded just before a statement is read; parameters of a Sub are copied in and, where the
//! argument is a variable, out again; a failed statement ends the run unless `ErrorMode` is 0.

mod blocks;
mod connector;
mod expression;
mod lexer;
mod select;
mod tables;

use std::collections::{HashMap, HashSet};

pub use self::connector::{ContentType, Request, RestConnector, SentCall};
pub use self::expression::Value;
pub use self::tables::Table;

use self::blocks::Node;
use self::expression::{Expression, Scope, parse_all};
use self::lexer::{Statement, Token, statements, tokens};

/// Why a script does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The script is wrong, or the interpreter does not know what it says.
    Fault(String),
    /// A statement failed while it ran.
    Failed(String),
}

fn fault<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(message.into()))
}

/// A script that runs.
pub struct Interpreter {
    /// By it the script calls.
    pub connector: RestConnector,
    connection: Option<String>,
    files: HashMap<String, String>,
    /// In lower case, as all names of Subs.
    subs: HashMap<String, (Vec<String>, Vec<Node>)>,
    variables: HashMap<String, Value>,
    /// Names that some statement sets.
    known: HashSet<String>,
    tables: Vec<Table>,
    maps: HashMap<String, HashMap<String, String>>,
    is_qualified: bool,
    errors: u32,
    /// Lines of the reload's log.
    pub log: Vec<String>,
}

impl Scope for Interpreter {
    fn name(&self, name: &str) -> Result<Value, Stop> {
        if name == "ScriptErrorCount" {
            return Ok(Value::Number(f64::from(self.errors)));
        }
        match self.variables.get(name) {
            Some(value) => Ok(value.clone()),
            None if self.known.contains(name) => Ok(Value::Null),
            None => fault(format!("nothing sets `{name}`")),
        }
    }

    fn field(&self, name: &str) -> Result<Value, Stop> {
        fault(format!("the field `{name}` is asked for outside of a table"))
    }

    fn function(&self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Stop> {
        let table = |n: usize| self.table(&arguments[n].text());
        #[allow(clippy::cast_precision_loss, reason = "tables of tests are small")]
        let count = |count: usize| Value::Number(count as f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tables of tests are small")]
        let index = |n: usize| arguments[n].number().unwrap_or(-1.0) as usize;
        Ok(Some(match (name, arguments.len()) {
            ("noofrows", 1) => table(0).map_or(Value::Null, |table| count(table.rows.len())),
            ("fieldname", 2) => {
                let field = table(1).and_then(|table| table.fields.get(index(0).wrapping_sub(1)).cloned());
                field.map_or(Value::Null, Value::Text)
            }
            ("fieldnumber", 2) => {
                let place = table(1).and_then(|table| table.column(&arguments[0].text()));
                count(place.map_or(0, |place| place + 1))
            }
            ("peek", 3) => {
                let value = table(2)
                    .and_then(|table| Some(table.rows.get(index(1))?[table.column(&arguments[0].text())?].clone()));
                value.unwrap_or(Value::Null)
            }
            ("mapsubstring", 2) => {
                let Some(map) = self.maps.get(&arguments[0].text()) else {
                    return fault(format!("there is no map `{}`", arguments[0].text()));
                };
                if arguments[1] == Value::Null {
                    return Ok(Some(Value::Null));
                }
                let replaced = |c: char| map.get(c.encode_utf8(&mut [0; 4])).cloned().unwrap_or_else(|| c.to_string());
                Value::Text(arguments[1].text().chars().map(replaced).collect())
            }
            _ => return Ok(None),
        }))
    }
}

impl Interpreter {
    /// With the files that a script may include, by their paths, and the variables that a user may leave unset.
    pub fn new(connector: RestConnector, files: &[(&str, String)], optional: &[&str]) -> Self {
        Self {
            connector,
            connection: None,
            files: files.iter().map(|(path, text)| ((*path).to_owned(), text.clone())).collect(),
            subs: HashMap::new(),
            variables: HashMap::new(),
            known: optional.iter().map(|name| (*name).to_owned()).collect(),
            tables: Vec::new(),
            maps: HashMap::new(),
            is_qualified: false,
            errors: 0,
            log: Vec::new(),
        }
    }

    /// Runs a script to its end; a further one goes on where this has ended.
    ///
    /// # Errors
    /// When the script is wrong, or a statement fails.
    pub fn run(&mut self, script: &str) -> Result<(), Stop> {
        let statements = statements(script)?;
        let mut left = statements.as_slice();
        let nodes = self.block(&mut left, &[])?;
        self.all(&nodes)
    }

    /// A variable; `None` if it is not there.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)
    }

    /// Names of all variables, sorted.
    pub fn variables(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A table.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// All tables.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    fn all(&mut self, nodes: &[Node]) -> Result<(), Stop> {
        for node in nodes {
            match node {
                Node::Plain(statement) => self.plain(statement)?,
                Node::Sub { name, parameters, body } => {
                    self.subs.insert(name.to_ascii_lowercase(), (parameters.clone(), body.clone()));
                }
                Node::If { branches, otherwise } => {
                    let mut chosen = otherwise;
                    for (head, body) in branches {
                        if self.condition(head).map_err(|stop| at(stop, head))? {
                            chosen = body;
                            break;
                        }
                    }
                    self.all(chosen)?;
                }
                Node::For { head, body } => self.repeat(head, body)?,
            }
        }
        Ok(())
    }

    fn condition(&self, head: &Statement) -> Result<bool, Stop> {
        let text = self.expand(&head.text)?;
        let all = tokens(&text)?;
        match all.as_slice() {
            [_, condition @ .., Token::Name(then)] if then.eq_ignore_ascii_case("then") => {
                Ok(parse_all(condition)?.eval(self)?.is_true())
            }
            _ => fault("THEN is missing"),
        }
    }

    fn repeat(&mut self, head: &Statement, body: &[Node]) -> Result<(), Stop> {
        let (name, from, to) = self.bounds(head).map_err(|stop| at(stop, head))?;
        let mut number = from;
        while number <= to {
            self.variables.insert(name.clone(), Value::Number(number));
            self.all(body)?;
            number += 1.0;
        }
        Ok(())
    }

    /// Name, first and last number of a loop.
    fn bounds(&self, head: &Statement) -> Result<(String, f64, f64), Stop> {
        let all = tokens(&self.expand(&head.text)?)?;
        let [_, Token::Name(name), Token::Sign("="), rest @ ..] = all.as_slice() else {
            return fault("a loop begins with `For name = `");
        };
        let mut rest = rest;
        let from = expression::parse(&mut rest)?.eval(self)?.number();
        let to = match rest {
            [word, to @ ..] if expression::is_name(Some(word), "to") => parse_all(to)?.eval(self)?.number(),
            _ => return fault("`To` is missing"),
        };
        match (from, to) {
            (Some(from), Some(to)) => Ok((name.clone(), from, to)),
            _ => fault("a loop needs two numbers"),
        }
    }

    /// Runs a statement; whether a failure of it ends the run is for `ErrorMode` to say.
    fn plain(&mut self, statement: &Statement) -> Result<(), Stop> {
        match self.statement(statement).map_err(|stop| at(stop, statement)) {
            Err(Stop::Failed(message)) if self.variables.get("ErrorMode").and_then(Value::number) == Some(0.0) => {
                self.errors += 1;
                self.log.push(message);
                Ok(())
            }
            done => done,
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), Stop> {
        if let Some(path) = included(&statement.text) {
            let Some(text) = self.files.get(path).cloned() else {
                return Err(Stop::Failed(format!("`{path}` is not there")));
            };
            return self.run(&text);
        }
        let text = self.expand(&statement.text)?;
        let words = Statement { line: 0, text: text.clone() }.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words.first() == Some(&"call") {
            return self.call(&text[4..]);
        }
        match statements(&format!("{text};"))?.as_slice() {
            [one] if one.text == text => {}
            _ => return fault(format!("what is expanded here changes the statement: {text}")),
        }
        match words.as_slice() {
            ["let", ..] => {
                let (name, expression) = assignment(&text)?;
                let value = parse_all(&tokens(expression)?)?.eval(self)?;
                self.set(name, value);
            }
            ["set", ..] => {
                let (name, raw) = assignment(&text)?;
                let bare = raw.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(raw);
                self.set(name, if raw.is_empty() { Value::Null } else { bare.into() });
            }
            ["trace", ..] => self.log.push(text[5..].trim().to_owned()),
            ["lib", "connect", "to"] => match tokens(&text)?.as_slice() {
                [_, _, _, Token::Text(name)] => self.connection = Some(name.clone()),
                _ => return fault("a connection is named in single quotes"),
            },
            ["drop", "table", ..] => match tokens(&text)?.as_slice() {
                [_, _, Token::Name(name) | Token::Bracket(name)] => {
                    if self.table(name).is_none() {
                        return Err(Stop::Failed(format!("there is no table `{name}`")));
                    }
                    self.tables.retain(|table| table.name != *name);
                }
                _ => return fault("one table is dropped at a time"),
            },
            ["qualify"] if text.ends_with('*') => self.is_qualified = true,
            ["unqualify"] if text.ends_with('*') => self.is_qualified = false,
            _ => {
                let (label, load) = tables::label(&text)?;
                if load.len() > 3 && load[..3].eq_ignore_ascii_case("sql") {
                    return self.select(label, load);
                }
                return self.load(&text);
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        self.known.insert(name.to_owned());
        match value {
            Value::Null => self.variables.remove(name),
            value => self.variables.insert(name.to_owned(), value),
        };
    }

    /// Calls a Sub. An argument may be left out, also before others.
    fn call(&mut self, text: &str) -> Result<(), Stop> {
        let all = tokens(text)?;
        let (name, list) = match all.as_slice() {
            [Token::Name(name)] => (name, &[][..]),
            [Token::Name(name), Token::Sign("("), list @ .., Token::Sign(")")] => (name, list),
            _ => return fault(format!("this is no call: {text}")),
        };
        let Some((parameters, body)) = self.subs.get(&name.to_ascii_lowercase()).cloned() else {
            return fault(format!("there is no Sub `{name}`"));
        };
        let mut arguments = Vec::new();
        for argument in split(list) {
            arguments.push(if argument.is_empty() { Expression::Value(Value::Null) } else { parse_all(argument)? });
        }
        if arguments.len() > parameters.len() {
            return fault(format!("`{name}` has {} parameters", parameters.len()));
        }
        let values: Vec<Value> = arguments.iter().map(|argument| argument.eval(self)).collect::<Result<_, _>>()?;
        let outer: Vec<Option<Value>> = parameters.iter().map(|parameter| self.variables.remove(parameter)).collect();
        for (n, parameter) in parameters.iter().enumerate() {
            self.set(parameter, values.get(n).cloned().unwrap_or(Value::Null));
        }
        let done = self.all(&body);
        let returned: Vec<Value> =
            parameters.iter().map(|parameter| self.variables.remove(parameter).unwrap_or(Value::Null)).collect();
        for (parameter, value) in parameters.iter().zip(outer) {
            self.set(parameter, value.unwrap_or(Value::Null));
        }
        for (argument, value) in arguments.iter().zip(returned) {
            if let Expression::Name(name) = argument {
                self.set(name, value);
            }
        }
        done
    }

    /// Puts values in the place of `$(name)`.
    fn expand(&self, text: &str) -> Result<String, Stop> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("$(") {
            let Some((name, after)) = after.split_once(')') else { return fault("`)` is missing after `$(`") };
            let value = self.name(name.trim())?.text();
            if value.contains("$(") {
                return fault(format!("what `{name}` holds would be expanded, too: {value}"));
            }
            expanded += before;
            expanded += &value;
            rest = after;
        }
        Ok(expanded + rest)
    }
}

/// Says in which statement it was.
fn at(stop: Stop, statement: &Statement) -> Stop {
    let place = |message: String| {
        let first = statement.text.lines().next().unwrap_or_default();
        if message.starts_with("line ") { message } else { format!("line {}: {message}; in: {first}", statement.line) }
    };
    match stop {
        Stop::Fault(message) => Stop::Fault(place(message)),
        Stop::Failed(message) => Stop::Failed(place(message)),
    }
}

/// The path of `$(Must_Include=[path])`.
fn included(text: &str) -> Option<&str> {
    let (word, path) = text.strip_prefix("$(")?.strip_suffix(')')?.split_once('=')?;
    word.trim().eq_ignore_ascii_case("must_include").then(|| path.trim().trim_start_matches('[').trim_end_matches(']'))
}

/// Name and right side of `Let` and `Set`.
fn assignment(text: &str) -> Result<(&str, &str), Stop> {
    let Some((name, right)) = text[3..].split_once('=') else { return fault("`=` is missing") };
    let name = name.trim();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "()&'\"".contains(c)) {
        return fault(format!("`{name}` is no name of a variable"));
    }
    Ok((name, right.trim()))
}

/// A list at its commas, those within brackets aside.
fn split(list: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    let mut parts: Vec<&[Token]> = list
        .split(|token| {
            match token {
                Token::Sign("(") => depth += 1,
                Token::Sign(")") => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Sign(",")
        })
        .collect();
    if list.is_empty() {
        parts.clear();
    }
    parts
}
