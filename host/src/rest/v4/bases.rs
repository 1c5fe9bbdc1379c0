//! `GET /v4/base62tobase16` and `GET /v4/base16tobase62`: numbers of any length between two bases. Load scripts shorten ids
//! by them.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use num_bigint::BigUint;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use super::super::request::Call;

/// The digits of both bases.
const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

pub(super) fn endpoints() -> [Declared; 2] {
    let query = |name: &str, description: &str| {
        let number = json!({ "type": "string", "description": description });
        json!({ "type": "object", "required": [name], "properties": { name: number } })
    };
    let endpoint = |path: &str, name: &str, summary: &str, query: Value| {
        Endpoint::new("GET", path, Scope::Read, summary).named(name).query(query).answer(
            200,
            "The number in both",
            answered::<Number>(),
        )
    };
    let base62 = query("base62", "Digits 0-9, a-z, A-Z, in this order; none are 0");
    let base16 = query("base16", "Hexadecimal digits; none are 0");
    let to_base16 =
        endpoint("/v4/base62tobase16", "base62ToBase16", "Writes a number of base 62 in hexadecimal digits", base62);
    let to_base62 =
        endpoint("/v4/base16tobase62", "base16ToBase62", "Writes a number in hexadecimal digits in base 62", base16);
    [Declared::new(to_base16, Own::Base62ToBase16), Declared::new(to_base62, Own::Base16ToBase62)]
}

/// A number in both bases: the one as it was sent, the other without leading zeros.
#[derive(Serialize, JsonSchema)]
struct Number<'a> {
    base62: &'a str,
    base16: &'a str,
}

/// `GET /v4/base62tobase16?base62=abc`: `{"base62":"abc","base16":"98de"}`
pub(in super::super) fn to_base16(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let base62 = parameter(call, "base62");
    let base16 = convert(base62, 62, 16).map_err(|digit| {
        let message = format!("Failed converting from base62 to base16: `{digit}` is none of the digits 0-9, a-z, A-Z");
        Failure::bad_request(message)
    })?;
    Ok(answer(&context.secrets(), StatusCode::OK, &Number { base62, base16: &base16 }))
}

/// `GET /v4/base16tobase62?base16=98de`: `{"base62":"abc","base16":"98de"}`
pub(in super::super) fn to_base62(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let base16 = parameter(call, "base16");
    let base62 = convert(&base16.to_ascii_lowercase(), 16, 62).map_err(|digit| {
        let message = format!("Failed converting from base16 to base62: `{digit}` is none of the digits 0-9, a-f, A-F");
        Failure::bad_request(message)
    })?;
    Ok(answer(&context.secrets(), StatusCode::OK, &Number { base62: &base62, base16 }))
}

/// The schema has it.
fn parameter<'a>(call: &'a Call, name: &str) -> &'a str {
    call.query.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The same number in another base; the error is the first character that is no digit. Its length is bounded by that of a
/// request's head.
fn convert(number: &str, from: u8, to: u8) -> Result<String, char> {
    let value = |c: char| {
        let value = DIGITS[..usize::from(from)].iter().position(|digit| char::from(*digit) == c);
        value.and_then(|value| u8::try_from(value).ok()).ok_or(c)
    };
    let digits = number.chars().map(value).collect::<Result<Vec<u8>, char>>()?;
    // `None` only for digits beyond the base.
    let number = BigUint::from_radix_be(&digits, from.into()).unwrap_or_default();
    Ok(number.to_radix_be(to.into()).into_iter().map(|value| char::from(DIGITS[usize::from(value)])).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_the_original() {
        for (base62, base16) in [("abc", "98de"), ("7kQ2z", "676113f"), ("44PzGf", "deadbeef"), ("0", "0"), ("Z", "3d")]
        {
            assert_eq!(convert(base62, 62, 16).unwrap(), base16);
            assert_eq!(convert(base16, 16, 62).unwrap(), base62);
        }
        assert_eq!(convert("00ff", 16, 62).unwrap(), "47");
        assert_eq!(convert("", 16, 62).unwrap(), "0");
        assert_eq!(convert("", 62, 16).unwrap(), "0");
        assert_eq!(convert("12 3", 62, 16), Err(' '));
        assert_eq!(convert("äb", 62, 16), Err('ä'));
        assert_eq!(convert("fg", 16, 62), Err('g'));
    }

    #[test]
    fn the_longest_head_is_converted_at_once() {
        let began = std::time::Instant::now();
        let long = convert(&"Z".repeat(64 << 10), 62, 16).unwrap();
        assert_eq!(convert(&long, 16, 62).unwrap(), "Z".repeat(64 << 10));
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }

    proptest! {
        #[test]
        fn there_and_back(number in "[1-9a-zA-Z][0-9a-zA-Z]{0,300}") {
            prop_assert_eq!(convert(&convert(&number, 62, 16).unwrap(), 16, 62).unwrap(), number);
        }

        #[test]
        fn back_and_there(number in "[1-9a-f][0-9a-f]{0,300}", zeros in "0{0,5}") {
            let base62 = convert(&(zeros + &number), 16, 62).unwrap();
            prop_assert_eq!(convert(&base62, 62, 16).unwrap(), number);
        }

        #[test]
        fn small_ones_are_those_of_the_machine(number: u128) {
            let base16 = format!("{number:x}");
            let mut rest = number;
            let mut base62 = String::new();
            while rest > 0 || base62.is_empty() {
                base62.insert(0, char::from(DIGITS[usize::try_from(rest % 62).unwrap()]));
                rest /= 62;
            }
            prop_assert_eq!(convert(&base16, 16, 62).unwrap(), base62);
        }
    }
}
