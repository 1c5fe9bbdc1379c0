//! Statements in their blocks: Sub, If and For.

use super::lexer::{Statement, Token, tokens};
use super::{Interpreter, Stop, fault, split};

/// Statements in their blocks.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Plain(Statement),
    Sub { name: String, parameters: Vec<String>, body: Vec<Node> },
    If { branches: Vec<(Statement, Vec<Node>)>, otherwise: Vec<Node> },
    For { head: Statement, body: Vec<Node> },
}

impl Interpreter {
    /// Reads statements up to one that begins with one of these words, which is left; none: to the end.
    pub(super) fn block(&mut self, left: &mut &[Statement], ends: &[&str]) -> Result<Vec<Node>, Stop> {
        let mut nodes = Vec::new();
        loop {
            let Some((statement, rest)) = left.split_first() else {
                return if ends.is_empty() { Ok(nodes) } else { fault(format!("{} is missing at the end", ends[0])) };
            };
            let words = statement.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let begins = |end: &&str| end.split(' ').eq(words.iter().copied().take(end.split(' ').count()));
            if ends.iter().any(begins) {
                return Ok(nodes);
            }
            *left = rest;
            let wrong = |what: &str| fault(format!("line {}: {what}: {}", statement.line, statement.text));
            nodes.push(match words.first().copied().unwrap_or_default() {
                "sub" => {
                    let (name, parameters) = signature(statement)?;
                    self.known.extend(parameters.iter().cloned());
                    let body = self.block(left, &["end sub"])?;
                    *left = &left[1..];
                    Node::Sub { name, parameters, body }
                }
                "if" => {
                    let mut branches = vec![(statement.clone(), self.block(left, &["elseif", "else", "end if"])?)];
                    let mut otherwise = Vec::new();
                    loop {
                        let head = left[0].clone();
                        *left = &left[1..];
                        match head.words()[0].as_str() {
                            "elseif" => branches.push((head, self.block(left, &["elseif", "else", "end if"])?)),
                            "else" => otherwise = self.block(left, &["end if"])?,
                            _ => break,
                        }
                    }
                    Node::If { branches, otherwise }
                }
                "for" => {
                    let body = self.block(left, &["next"])?;
                    *left = &left[1..];
                    if let Some(name) = words.get(1) {
                        let text = &statement.text[3..];
                        let name = text.trim_start().get(..name.len()).unwrap_or_default();
                        self.known.insert(name.to_owned());
                    }
                    Node::For { head: statement.clone(), body }
                }
                "end" | "else" | "elseif" | "next" => return wrong("this ends nothing"),
                first => {
                    if matches!(first, "let" | "set")
                        && let Some((name, _)) = statement.text[3..].split_once('=')
                    {
                        self.known.insert(name.trim().to_owned());
                    }
                    Node::Plain(statement.clone())
                }
            });
        }
    }
}

fn signature(statement: &Statement) -> Result<(String, Vec<String>), Stop> {
    let all = tokens(&statement.text)?;
    let (name, list) = match all.as_slice() {
        [_, Token::Name(name)] => (name, &[][..]),
        [_, Token::Name(name), Token::Sign("("), list @ .., Token::Sign(")")] => (name, list),
        _ => return fault(format!("line {}: this is no Sub: {}", statement.line, statement.text)),
    };
    let mut parameters = Vec::new();
    for parameter in split(list) {
        match parameter {
            [Token::Name(parameter)] if !parameters.contains(parameter) => parameters.push(parameter.clone()),
            _ => return fault(format!("line {}: parameters are names: {}", statement.line, statement.text)),
        }
    }
    Ok((name.clone(), parameters))
}
