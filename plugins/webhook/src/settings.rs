//! The settings, and the hook that they describe once they are checked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use butler_plugin_api::message::{Format as Escapes, Presentation, Templates};
use butler_plugin_api::settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::signature::{SignatureSettings, Signer};

/// Header with the delivery's id: the same when a delivery is repeated.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Header with the event's id.
pub(crate) const EVENT_ID: &str = "X-Butler-Event-Id";

/// Header with the type of the body.
pub(crate) const CONTENT_TYPE: &str = "Content-Type";
/// Most lines of head and tail of a script log in templates.
const LOG_LINES: usize = 15;

/// Time limits: the host gives a delivery 60 s in all.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(50);

/// Settings of a webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address to call; `http` or `https`. Its own query is kept.
    url: Url,
    /// HTTP method: `POST`, `PUT` or `GET`. With `GET`, which has no body, the fields go into the query.
    #[serde(default)]
    method: Method,
    /// Further headers: name to value. A value may be a Handlebars text: `{{taskName}}`. Secrets belong here as `${env:NAME}` or
    /// `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    headers: BTreeMap<String, String>,
    /// Further query parameters, added to those of `url`. A value may be a Handlebars text.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// `butler16`: one flat object with the fields of Butler 16. `cloudevents`: CloudEvents 1.0. `event`: the whole event as
    /// Butler has it. These two need `POST` or `PUT`. `none`: neither body nor fields, only what `url`, `query` and `headers` say.
    #[serde(default)]
    format: Format,
    /// Of `format: cloudevents`: `structured`, all in the body; `binary`, the facts in the body and all else in headers `ce-…`.
    #[serde(default)]
    mode: Mode,
    /// Handlebars text for the body. Values are escaped as the header `Content-Type` asks for: JSON (also without that header),
    /// XML and HTML, forms; in other types nothing is escaped. If it fails, the request goes out in the `format`.
    #[serde(default)]
    template: Option<String>,
    /// Handlebars template for the body, in a file; relative to the config file, and read for each request.
    #[serde(default)]
    template_file: Option<PathBuf>,
    /// Signs the requests, so that the other side can tell that they are Butler's. Needs a body.
    #[serde(default)]
    signature: Option<SignatureSettings>,
    /// Time zone of the times in templates, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
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
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Format {
    #[default]
    Butler16,
    Cloudevents,
    Event,
    None,
}

/// Modes of CloudEvents.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    #[default]
    Structured,
    Binary,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Hook {
    /// With the query parameters of the settings that are no templates.
    pub(crate) url: Url,
    pub(crate) method: Method,
    /// Without those that are templates.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) format: Format,
    pub(crate) mode: Mode,
    pub(crate) templates: BodyAndValues,
    pub(crate) presentation: Presentation,
    pub(crate) signer: Option<Signer>,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<String>,
}

/// What is made by templates, each with its name.
#[derive(Debug, Default)]
pub(crate) struct BodyAndValues {
    pub(crate) body: Option<Templates>,
    /// How values are escaped in a body.
    pub(crate) escapes: Option<Escapes>,
    pub(crate) headers: Vec<(String, Templates)>,
    pub(crate) query: Vec<(String, Templates)>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<Hook, String> {
        let mut url = self.url;
        settings::http_address("url", &url)?;
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        let has_template = self.template.is_some() || self.template_file.is_some();
        if self.method == Method::Get {
            let fault = |what: &str| Err(format!("`method: GET` has no body: {what}; use POST or PUT"));
            match self.format {
                _ if has_template => return fault("a template has no place, but in `query` and `headers`"),
                _ if self.signature.is_some() => return fault("there is nothing to sign"),
                Format::Butler16 | Format::None => {}
                _ => return fault("it goes with `format: butler16` and `none` only"),
            }
        }
        if self.mode == Mode::Binary && self.format != Format::Cloudevents {
            return Err("`mode: binary` goes with `format: cloudevents` only".to_owned());
        }
        if self.format == Format::None && self.signature.is_some() && !has_template {
            return Err("`format: none` has no body, so there is nothing to sign: take `signature` out".to_owned());
        }
        let signer = self.signature.map(Signer::try_from).transpose()?;
        let is_cloud_event = self.format == Format::Cloudevents;
        let is_attribute = |name: &str| is_cloud_event && name.get(..3).is_some_and(|start| is(start, "ce-"));
        let is_taken = |name: &&str| check_header(name, "").is_err() || is(name, CONTENT_TYPE) || is_attribute(name);
        if let Some(name) = signer.iter().flat_map(Signer::headers).find(is_taken) {
            return Err(format!("`signature.header`: `{name}` is no name of a header, or one that Butler sets"));
        }
        for name in self.headers.keys() {
            let is_ours = is_attribute(name) || (is_cloud_event && is(name, CONTENT_TYPE) && !has_template);
            if is_ours || signer.iter().flat_map(Signer::headers).any(|header| is(header, name)) {
                return Err(format!("`headers`: `{name}` is set by the format or the signature; remove it"));
            }
        }
        let (query, values): (Vec<_>, Vec<_>) = self.query.into_iter().partition(|(_, value)| is_template(value));
        if !values.is_empty() {
            url.query_pairs_mut().extend_pairs(&values);
        }
        let (headers, values): (Vec<_>, Vec<_>) = self.headers.into_iter().partition(|(_, value)| is_template(value));
        if headers.iter().any(|(name, _)| is(name, CONTENT_TYPE)) {
            return Err("`headers`: `Content-Type` can be no template: values are escaped by it".to_owned());
        }
        let text = |section: &str, (name, value): (String, String)| {
            let templates = Templates::inline(&format!("{section}.{name}"), &value, Escapes::Text);
            (name, templates)
        };
        let escapes = escapes(values.iter().find(|(name, _)| is(name, CONTENT_TYPE)).map(|(_, value)| value.as_str()));
        let body = match (self.template, self.template_file) {
            (Some(_), Some(_)) => {
                return Err("`template` and `templateFile` are both there: take one of them out".to_owned());
            }
            (Some(source), None) => Some(Templates::inline("template", &source, escapes)),
            (None, Some(file)) => {
                let shown = file.display().to_string();
                Some(Templates::file(&shown, Path::new(config_dir).join(file), escapes))
            }
            (None, None) => None,
        };
        let templates = BodyAndValues {
            body,
            escapes: (self.method != Method::Get).then_some(escapes),
            headers: headers.into_iter().map(|header| text("headers", header)).collect(),
            query: query.into_iter().map(|parameter| text("query", parameter)).collect(),
        };
        Ok(Hook {
            url,
            method: self.method,
            headers: values,
            format: self.format,
            mode: self.mode,
            templates,
            presentation: Presentation::new(self.time_zone.as_deref(), LOG_LINES, LOG_LINES)?,
            signer,
            timeout: settings::duration("timeout", &self.timeout, &TIMEOUTS)?,
            tls: self.tls,
        })
    }
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn is_template(value: &str) -> bool {
    value.contains("{{")
}

/// How values are escaped in a body of a type; without one it is JSON.
fn escapes(content_type: Option<&str>) -> Escapes {
    let essence = content_type.unwrap_or("application/json").split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.rsplit(['/', '+']).next().unwrap_or_default() {
        "json" => Escapes::Json,
        "xml" | "html" | "xhtml" => Escapes::Html,
        "x-www-form-urlencoded" => Escapes::Url,
        _ => Escapes::Text,
    }
}

/// Never quotes the value: it may be a secret.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    settings::header_or_type("headers", name, value)?;
    settings::not_reserved("headers", name, &[IDEMPOTENCY_KEY, EVENT_ID])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hook(settings: Value) -> Result<Hook, String> {
        let settings = serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string())?;
        settings.check("/etc/butler")
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
            (json!({ "url": "http://a.test", "timeout": "0s" }), "between 1ms and 50s"),
            (json!({ "url": "http://a.test", "timeout": "2m" }), "between 1ms and 50s"),
            (json!({ "url": "http://a.test", "timeout": "99999999999999999999m" }), "a whole number"),
            (json!({ "url": "http://a.test", "verb": "GET" }), "unknown field"),
            (json!({ "url": "http://a.test", "method": "GET", "format": "event" }), "`format: butler16` and `none`"),
            (json!({ "url": "http://a.test", "method": "GET", "template": "x" }), "but in `query` and `headers`"),
            (
                json!({ "url": "http://a.test", "method": "GET", "signature": { "secret": "geheim" } }),
                "nothing to sign",
            ),
            (
                json!({ "url": "http://a.test", "format": "none", "signature": { "secret": "geheim" } }),
                "nothing to sign",
            ),
            (json!({ "url": "http://a.test", "mode": "binary" }), "`mode: binary` goes with"),
            (json!({ "url": "http://a.test", "template": "x", "templateFile": "y" }), "both there"),
            (json!({ "url": "http://a.test", "headers": { "content-type": "{{kind}}" } }), "can be no template"),
            (
                json!({ "url": "http://a.test", "format": "cloudevents", "headers": { "Content-Type": "text/plain" } }),
                "`Content-Type` is set by the format",
            ),
            (
                json!({ "url": "http://a.test", "format": "cloudevents", "headers": { "CE-ID": "1" } }),
                "`CE-ID` is set by the format",
            ),
            (
                json!({ "url": "http://a.test", "signature": { "secret": "geheim" }, "headers": { "Webhook-Id": "1" } }),
                "`Webhook-Id` is set by the format or the signature",
            ),
            (
                json!({ "url": "http://a.test", "signature": { "secret": "geheim", "scheme": "body", "header": "a b" } }),
                "`signature.header`: `a b`",
            ),
            (
                json!({ "url": "http://a.test", "signature": { "secret": "geheim", "scheme": "body", "header": "content-type" } }),
                "`signature.header`: `content-type`",
            ),
            (
                json!({ "url": "http://a.test", "format": "cloudevents",
                        "signature": { "secret": "geheim", "scheme": "body", "header": "CE-Signature" } }),
                "`signature.header`: `CE-Signature`",
            ),
            (json!({ "url": "http://a.test", "timeZone": "Mars/Olympus" }), "`timeZone`"),
        ] {
            let error = hook(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn the_type_of_the_body_says_how_values_are_escaped() {
        for (content_type, expected) in [
            (None, Escapes::Json),
            (Some("application/json; charset=utf-8"), Escapes::Json),
            (Some("application/vnd.acme+JSON"), Escapes::Json),
            (Some("text/xml"), Escapes::Html),
            (Some("application/soap+xml"), Escapes::Html),
            (Some("application/x-www-form-urlencoded"), Escapes::Url),
            (Some("text/plain"), Escapes::Text),
            (Some("jsonish"), Escapes::Text),
        ] {
            assert_eq!(escapes(content_type), expected, "{content_type:?}");
        }
    }

    #[test]
    fn values_with_braces_are_templates_and_the_others_are_not() {
        let hook = hook(json!({ "url": "https://a.test/", "query": { "a": "1", "t": "{{taskName}}" },
                                "headers": { "X-A": "1", "X-T": "{{taskName}}" } }));
        let hook = hook.unwrap();
        assert_eq!((hook.url.as_str(), hook.headers.len()), ("https://a.test/?a=1", 1));
        assert_eq!((hook.templates.query[0].0.as_str(), hook.templates.headers[0].0.as_str()), ("t", "X-T"));
    }
}
