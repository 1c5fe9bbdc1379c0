//! The helpers that templates may call beside the built-in ones.
//!
//! * `{{#if (eq a b)}}`: equal, and of the same type; an object with a name counts as its name
//! * `{{default a b}}`: `a`, or `b` where `a` prints nothing
//! * `{{lines a 5}}`: the first five lines of a text or list, `-5`: the last five, without a number: all
//! * `{{truncate a 100}}`: at most so many characters, with `…` where it was cut
//! * `{{date a "%H:%M" "Europe/Berlin"}}`: a time (ISO 8601) by a pattern of strftime, without one `%Y-%m-%d %H:%M:%S`, and
//!   in a time zone, without one that of the settings; what is no time is printed as it is
//! * `{{number a}}`: `12345` as `12,345`; `{{bytes a}}`: `7340032` as `7.0 MB`
//! * `{{duration a}}`: milliseconds, or hours, minutes and seconds of an object, as `1 h 2 min 3 s`

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    Renderable, ScopedJson,
};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::butler16::time;
use crate::message::fit;
use crate::message::numbers::{grouped, size_text};

/// Names of the helpers that print values and look into them; no template can call them by itself.
pub(super) const PRINT: &str = "(print)";
pub(super) const MEMBER: &str = "(member)";
/// And of those that tell what a section is about.
pub(super) const IS_LIST: &str = "(is list)";
pub(super) const IS_TRUE: &str = "(is true)";

/// The names of all helpers, those of the library included, which are no variables.
pub(super) const NAMES: &[&str] = &[
    "if", "unless", "each", "with", "lookup", "raw", "log", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not",
    "len", "default", "lines", "truncate", "number", "bytes", "duration", "date",
];

pub(super) fn register(registry: &mut Handlebars<'_>) {
    registry.register_helper(PRINT, Box::new(Pure(print_value)));
    registry.register_helper(MEMBER, Box::new(Pure(member)));
    registry.register_helper(
        IS_LIST,
        Box::new(Pure(|params| Ok(params.first().is_some_and(|value| value.is_array()).into()))),
    );
    registry
        .register_helper(IS_TRUE, Box::new(Pure(|params| Ok((params.first() == Some(&&Value::Bool(true))).into()))));
    registry.register_helper("default", Box::new(Pure(default)));
    registry.register_helper("lines", Box::new(Pure(lines)));
    registry.register_helper("truncate", Box::new(Pure(truncate)));
    registry.register_helper("number", Box::new(Pure(number)));
    registry.register_helper("bytes", Box::new(Pure(bytes)));
    registry.register_helper("duration", Box::new(Pure(duration)));
    registry.register_helper("date", Box::new(Date));
    registry.register_helper("eq", Box::new(Eq));
}

/// A helper that makes a value of its parameters. The library escapes the value when it is printed.
struct Pure(fn(&[&Value]) -> Result<Value, RenderError>);

impl HelperDef for Pure {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let params: Vec<&Value> = helper.params().iter().map(handlebars::PathAndJson::value).collect();
        (self.0)(&params).map(ScopedJson::Derived)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the signature of all helpers")]
fn print_value(params: &[&Value]) -> Result<Value, RenderError> {
    Ok(Value::String(params.first().map(|value| print(value)).unwrap_or_default()))
}

/// As in the original: nothing for null, lists with commas. Objects print their name, or else as JSON.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(print).collect::<Vec<_>>().join(","),
        Value::Object(fields) => match fields.get("name") {
            Some(Value::String(name)) => name.clone(),
            _ => value.to_string(),
        },
        Value::Number(number) => print_number(number),
        Value::Bool(_) => value.to_string(),
    }
}

/// As JavaScript does: 4.0 as `4`, and an exponent for very large and very small numbers only.
fn print_number(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if (1e-6..1e21).contains(&float.abs()) || float == 0.0 => format!("{}", float + 0.0),
        _ => number.to_string(),
    }
}

/// A part of a value, by names from the outside in: a field of an object, an element of a list, or the `length` of a list
/// or text; null without.
#[allow(clippy::unnecessary_wraps, reason = "the signature of all helpers")]
fn member(params: &[&Value]) -> Result<Value, RenderError> {
    let mut names = params.iter().skip(1).map(|name| name.as_str().unwrap_or_default()).peekable();
    let mut value = params.first().copied();
    while let Some(name) = names.next() {
        value = match value {
            Some(Value::Object(fields)) => fields.get(name),
            Some(Value::Array(items)) if name == "length" && names.peek().is_none() => return Ok(items.len().into()),
            Some(Value::Array(items)) => name.parse().ok().and_then(|index: usize| items.get(index)),
            Some(Value::String(text)) if name == "length" && names.peek().is_none() => {
                return Ok(text.encode_utf16().count().into());
            }
            _ => None,
        };
    }
    Ok(value.cloned().unwrap_or_default())
}

fn param<'a>(params: &[&'a Value], index: usize, helper: &'static str) -> Result<&'a Value, RenderError> {
    params.get(index).copied().ok_or_else(|| RenderErrorReason::ParamNotFoundForIndex(helper, index).into())
}

fn default(params: &[&Value]) -> Result<Value, RenderError> {
    let text = print(param(params, 0, "default")?);
    let otherwise = param(params, 1, "default")?;
    Ok(if text.is_empty() { print(otherwise) } else { text }.into())
}

fn lines(params: &[&Value]) -> Result<Value, RenderError> {
    let lines: Vec<String> = match param(params, 0, "lines")? {
        Value::Array(items) => items.iter().map(print).collect(),
        other => print(other).lines().map(str::to_owned).collect(),
    };
    let count = params.get(1).and_then(|count| count.as_i64()).unwrap_or(i64::MAX);
    let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(lines.len());
    let kept = if count < 0 { &lines[lines.len() - kept..] } else { &lines[..kept] };
    Ok(kept.join("\n").into())
}

fn truncate(params: &[&Value]) -> Result<Value, RenderError> {
    let text = print(param(params, 0, "truncate")?);
    let max = param(params, 1, "truncate")?.as_u64().and_then(|max| usize::try_from(max).ok());
    let max = max.ok_or_else(|| RenderErrorReason::Other("`truncate` needs a number of characters".to_owned()))?;
    Ok(fit::cut(&text, max).into())
}

fn number(params: &[&Value]) -> Result<Value, RenderError> {
    let value = param(params, 0, "number")?;
    Ok(value.as_i64().map_or_else(|| print(value), grouped).into())
}

fn bytes(params: &[&Value]) -> Result<Value, RenderError> {
    let value = param(params, 0, "bytes")?;
    Ok(value.as_i64().map_or_else(|| print(value), size_text).into())
}

fn duration(params: &[&Value]) -> Result<Value, RenderError> {
    let value = param(params, 0, "duration")?;
    let part = |name: &str| value[name].as_i64();
    let of_parts = || Some(part("hours")? * 3_600_000 + part("minutes")? * 60_000 + part("seconds")? * 1000);
    let millis = value.as_i64().or_else(of_parts);
    Ok(millis.map_or_else(|| print(value), time::duration_text).into())
}

/// Needs the time zone of the settings, which is a variable.
struct Date;

impl HelperDef for Date {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let params: Vec<&Value> = helper.params().iter().map(handlebars::PathAndJson::value).collect();
        let text = print(param(&params, 0, "date")?);
        let pattern = params.get(1).and_then(|pattern| pattern.as_str()).unwrap_or("%Y-%m-%d %H:%M:%S");
        let zone = match params.get(2).map(|zone| print(zone)) {
            Some(name) => TimeZone::get(&name)
                .map_err(|_| RenderErrorReason::Other(format!("`{name}` is no time zone known here")))?,
            None => context.data()["timeZone"]
                .as_str()
                .and_then(|name| TimeZone::get(name).ok())
                .unwrap_or_else(TimeZone::system),
        };
        let shown = time::by_pattern(&text, pattern, &zone)
            .map_err(|error| RenderErrorReason::Other(format!("`{pattern}` is no pattern of strftime: {error}")))?;
        Ok(ScopedJson::Derived(shown.unwrap_or(text).into()))
    }
}

/// Works in a subexpression, as a block, and printed.
struct Eq;

impl HelperDef for Eq {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let params: Vec<&Value> = helper.params().iter().map(handlebars::PathAndJson::value).collect();
        let equal = is_equal(param(&params, 0, "eq")?, param(&params, 1, "eq")?);
        Ok(ScopedJson::Derived(Value::Bool(equal)))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let equal = self.call_inner(helper, registry, context, render)?.as_json() == &Value::Bool(true);
        if !helper.is_block() {
            return Ok(out.write(if equal { "true" } else { "false" })?);
        }
        let branch = if equal { helper.template() } else { helper.inverse() };
        branch.map_or(Ok(()), |branch| branch.render(registry, context, render, out))
    }
}

fn is_equal(left: &Value, right: &Value) -> bool {
    let name = |value: &Value, other: &Value| match (value, other) {
        (Value::Object(fields), Value::String(_)) => fields.get("name").cloned(),
        _ => None,
    };
    if let (Value::Number(left), Value::Number(right)) = (left, right) {
        return left.as_f64() == right.as_f64();
    }
    let (named_left, named_right) = (name(left, right), name(right, left));
    named_left.as_ref().unwrap_or(left) == named_right.as_ref().unwrap_or(right)
}
