//! Checks of settings that many plugins have. Errors name the setting and say what would be right; they are meant for
//! [`StartError::Config`](crate::StartError::Config).

use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

/// Reads a time: a whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// ```
/// use std::time::Duration;
///
/// use butler_plugin_api::settings::duration;
///
/// let allowed = Duration::from_millis(1)..=Duration::from_secs(50);
/// assert_eq!(duration("timeout", "1500ms", &allowed), Ok(Duration::from_millis(1500)));
/// assert_eq!(duration("timeout", "2m", &allowed).unwrap_err(), "`timeout` is `2m`, but must be between 1ms and 50s");
/// ```
pub fn duration(name: &str, text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let millis = number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, millis))| number.checked_mul(*millis));
    match millis.map(Duration::from_millis) {
        Some(duration) if allowed.contains(&duration) => Ok(duration),
        Some(_) => Err(format!(
            "`{name}` is `{text}`, but must be between {} and {}",
            shown(*allowed.start()),
            shown(*allowed.end())
        )),
        None => Err(format!(
            "`{name}` is `{text}`: write a whole number and a unit (ms, s, m, h, d), such as `10s` or `2h`"
        )),
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// In the largest unit that leaves nothing over.
fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit))).unwrap_or(&UNITS[0]);
    format!("{}{}", millis / u128::from(unit.1), unit.0)
}

/// Refuses addresses that the host's HTTP client cannot call.
pub fn http_address(name: &str, url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("`{name}` begins with `{scheme}:`, but only http and https can be called")),
    }
}

/// Refuses what is no header of HTTP, and those that the host or the plugin sets itself. Never quotes the value: it may be a secret.
pub fn header(setting: &str, name: &str, value: &str) -> Result<(), String> {
    header_or_type(setting, name, value)?;
    not_reserved(setting, name, &["Content-Type"])
}

/// The same, where the user may set `Content-Type`.
pub fn header_or_type(setting: &str, name: &str, value: &str) -> Result<(), String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("`{setting}`: `{name}` is no name of a header"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("`{setting}`: the value of `{name}` holds a line break or another control character"));
    }
    not_reserved(setting, name, &["Content-Length", "Transfer-Encoding", "Connection"])
}

/// Refuses headers that a plugin sets itself.
pub fn not_reserved(setting: &str, name: &str, reserved: &[&str]) -> Result<(), String> {
    match reserved.iter().find(|reserved| name.eq_ignore_ascii_case(reserved)) {
        Some(reserved) => Err(format!("`{setting}`: `{reserved}` is set by Butler; remove it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        let allowed = Duration::from_mins(1)..=Duration::from_hours(48);
        assert_eq!(duration("x", " 90 s ", &allowed), Ok(Duration::from_secs(90)));
        assert_eq!(duration("x", "2d", &allowed), Ok(Duration::from_hours(48)));
        assert_eq!(duration("x", "3d", &allowed).unwrap_err(), "`x` is `3d`, but must be between 1m and 2d");
        for text in ["10", "", "s", "-1s", "1.5h", "5 weeks", "99999999999999999999m", "18446744073709551615d"] {
            let error = duration("x", text, &allowed).unwrap_err();
            assert!(error.contains("a whole number and a unit"), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_and_headers_that_cannot_work_are_refused() {
        assert!(http_address("url", &Url::parse("https://a.test/x").unwrap()).is_ok());
        let error = http_address("url", &Url::parse("mailto:a@b.test").unwrap()).unwrap_err();
        assert_eq!(error, "`url` begins with `mailto:`, but only http and https can be called");
        assert!(header("headers", "Authorization", "Bearer x").is_ok());
        assert!(header_or_type("headers", "content-type", "text/xml").is_ok());
        for (name, value, part) in [
            ("a b", "x", "no name of a header"),
            ("", "x", "no name of a header"),
            ("X-Token", "geheim\r\nX: y", "the value of `X-Token`"),
            ("content-type", "x", "`Content-Type` is set by Butler"),
            ("content-length", "1", "`Content-Length` is set by Butler"),
        ] {
            let error = header("headers", name, value).unwrap_err();
            assert!(error.contains(part) && !error.contains("geheim"), "{error}");
        }
    }
}
