//! The settings, and the hook that they describe once they are checked.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Header with the delivery's id: the same when a delivery is repeated.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Header with the event's id.
pub(crate) const EVENT_ID: &str = "X-Butler-Event-Id";

/// The longest time limit: the host gives a delivery 60 s in all.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(50);

/// Settings of a webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address to call; `http` or `https`. Its own query is kept.
    url: Url,
    /// HTTP method. With `GET` the fields go into the query, else into the body.
    #[serde(default)]
    method: Method,
    /// Further headers: name to value. Secrets belong here as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Further query parameters, added to those of `url`.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// `butler16`: one flat object with the fields of Butler 16. `cloudevents`: CloudEvents 1.0 in structured mode.
    /// `event`: the whole event as Butler has it. The last two need `POST` or `PUT`.
    #[serde(default)]
    format: Format,
    /// How long the other side may take: a whole number and `ms`, `s` or `m`; at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_timeout() -> String {
    "10s".to_owned()
}

/// HTTP methods.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Post,
    Put,
    Get,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Get => "GET",
        }
    }
}

/// What the content of a request looks like.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Format {
    #[default]
    Butler16,
    Cloudevents,
    Event,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Hook {
    /// With the query parameters of the settings.
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) format: Format,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<String>,
}

impl TryFrom<Settings> for Hook {
    /// For people: which setting is wrong, and what would be right.
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let mut url = settings.url;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`url` begins with `{}:`, but only http and https can be called", url.scheme()));
        }
        if !settings.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&settings.query);
        }
        if settings.method == Method::Get && settings.format != Format::Butler16 {
            return Err("`method: GET` has no body: it goes with `format: butler16` only; use POST or PUT".to_owned());
        }
        for (name, value) in &settings.headers {
            check_header(name, value)?;
        }
        let timeout = parse_timeout(&settings.timeout)?;
        let headers = settings.headers.into_iter().collect();
        Ok(Self { url, method: settings.method, headers, format: settings.format, timeout, tls: settings.tls })
    }
}

/// Never quotes the value: it may be a secret.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("`headers`: `{name}` is no name of a header"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("`headers`: the value of `{name}` holds a line break or another control character"));
    }
    for ours in [IDEMPOTENCY_KEY, EVENT_ID, "Content-Length", "Transfer-Encoding", "Connection"] {
        if name.eq_ignore_ascii_case(ours) {
            return Err(format!("`headers`: `{ours}` is set by Butler; remove it"));
        }
    }
    Ok(())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let millis = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let timeout = number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(millis));
    match timeout.map(Duration::from_millis) {
        Some(timeout) if timeout.is_zero() || timeout > LONGEST_TIMEOUT => {
            Err(format!("`timeout` is `{text}`, but must be more than nothing and at most 50s"))
        }
        Some(timeout) => Ok(timeout),
        None => Err(format!("`timeout` is `{text}`: write a whole number and a unit, such as `10s` or `1500ms`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hook(settings: Value) -> Result<Hook, String> {
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Hook::try_from)
    }

    #[test]
    fn the_address_alone_is_enough() {
        let hook = hook(json!({ "url": "https://hooks.test/a?token=1" })).unwrap();
        assert_eq!((hook.method, hook.format), (Method::Post, Format::Butler16));
        assert_eq!((hook.url.as_str(), hook.timeout), ("https://hooks.test/a?token=1", Duration::from_secs(10)));
    }

    #[test]
    fn the_query_is_added_to_that_of_the_address() {
        let hook = hook(json!({ "url": "https://hooks.test/a?token=1", "query": { "team": "a&b" } })).unwrap();
        assert_eq!(hook.url.as_str(), "https://hooks.test/a?token=1&team=a%26b");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (settings, part) in [
            (json!({ "url": "ftp://hooks.test/a" }), "only http and https"),
            (json!({ "url": "file:///etc/passwd" }), "`url`"),
            (json!({ "url": "http://a.test", "method": "GET", "format": "cloudevents" }), "`method: GET`"),
            (json!({ "url": "http://a.test", "headers": { "a b": "c" } }), "no name of a header"),
            (json!({ "url": "http://a.test", "headers": { "X-Token": "geheim\r\nX: y" } }), "the value of `X-Token`"),
            (json!({ "url": "http://a.test", "headers": { "idempotency-key": "c" } }), "`Idempotency-Key` is set by"),
            (json!({ "url": "http://a.test", "timeout": "10" }), "`timeout` is `10`"),
            (json!({ "url": "http://a.test", "timeout": "0s" }), "more than nothing"),
            (json!({ "url": "http://a.test", "timeout": "2m" }), "at most 50s"),
            (json!({ "url": "http://a.test", "timeout": "99999999999999999999m" }), "a whole number"),
            (json!({ "url": "http://a.test", "verb": "GET" }), "unknown field"),
        ] {
            let error = hook(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_timeout("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_timeout(" 50 s "), Ok(Duration::from_secs(50)));
    }
}
