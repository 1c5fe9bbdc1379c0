//! The settings, and the checked form of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use butler_plugin_api::message::{BuiltIn, Format, Presentation, Templates};
use butler_plugin_api::settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// The host gives a delivery 60 s in all.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(50);
/// In characters; services of Apprise take from 140 to some 10,000, and cut or split what is longer by themselves.
const LENGTHS: std::ops::RangeInclusive<usize> = 200..=100_000;
/// Most further attempts where some services were not reached.
const MOST_RETRIES: u32 = 20;

const TEXT: &[BuiltIn] = &[BuiltIn {
    kinds: &["*"],
    name: "event.txt.handlebars",
    source: include_str!("../../../config/templates/apprise/event.txt.handlebars"),
}];
const MARKDOWN: &[BuiltIn] = &[BuiltIn {
    kinds: &["*"],
    name: "event.md.handlebars",
    source: include_str!("../../../config/templates/apprise/event.md.handlebars"),
}];
const HTML: &[BuiltIn] = &[BuiltIn {
    kinds: &["*"],
    name: "event.html.handlebars",
    source: include_str!("../../../config/templates/apprise/event.html.handlebars"),
}];

/// Settings of an Apprise API server: either `key`, or `services`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["services"], ["key"]]))]
pub(crate) struct Settings {
    /// Address of the server, with its prefix if it has one: `http://apprise:8000`.
    url: Url,
    /// Key under which the server keeps the services to notify.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,128}$"))]
    key: Option<String>,
    /// Apprise URLs of the services to notify (`slack://…`, `mailto://…`), for servers that keep none. They are secrets:
    /// write them as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    services: Vec<String>,
    /// With `key`: only services with these tags; `a, b`: with one of them, `a b`: with both, `all`: every service.
    /// Absent: those without a tag. Letters, digits, `_` and `-`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_,|:+& -]*$"))]
    tag: Option<String>,
    /// What the body is: `text`, `markdown` or `html`. Apprise turns it into what a service takes.
    #[serde(default)]
    format: BodyFormat,
    /// Handlebars template of the body, for all kinds of events, in a file; relative to the config file, and read for
    /// each message.
    #[serde(default)]
    template_file: Option<PathBuf>,
    /// Handlebars template of the body, for all kinds of events, written out here. Absent, like `templateFile`: a
    /// built-in one.
    #[serde(default)]
    template: Option<String>,
    /// Handlebars text of the title.
    #[serde(default = "default_title")]
    title_template: String,
    /// How many of the first lines of the script log are shown; at most 1000.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    head_script_log_lines: usize,
    /// How many of the last lines of the script log are shown; at most 1000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 1000))]
    tail_script_log_lines: usize,
    /// Time zone of the times in messages, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
    /// Longest body, in characters, 200 to 100000; lines of the script log and details are left out until it fits.
    /// Services split or cut what is longer than they take.
    #[serde(default = "default_length")]
    #[schemars(range(min = 200, max = 100_000))]
    max_length_characters: usize,
    /// How often an alert is sent again when Apprise has not reached all services. It does not say which it has
    /// reached, so those get it again each time; with waits of 1, 5, 15 and then 60 minutes between. 0: never. At most
    /// 20.
    #[serde(default = "default_retries")]
    #[schemars(range(max = 20))]
    partial_retries: u32,
    /// Further headers, such as `Authorization`. Secrets belong here as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    headers: BTreeMap<String, String>,
    /// How long the server may take, which waits for all services: a whole number and `ms`, `s` or `m`; at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_title() -> String {
    "{{heading}}".to_owned()
}

fn default_lines() -> usize {
    15
}

fn default_length() -> usize {
    10_000
}

fn default_retries() -> u32 {
    5
}

fn default_timeout() -> String {
    "45s".to_owned()
}

/// What a body is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BodyFormat {
    #[default]
    Text,
    Markdown,
    Html,
}

impl BodyFormat {
    /// As Apprise calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
        }
    }

    /// What its templates make. No format of templates escapes for Markdown, whose dialects are many.
    pub(crate) fn templates(self) -> Format {
        match self {
            Self::Text | Self::Markdown => Format::Text,
            Self::Html => Format::Html,
        }
    }
}

/// Whom Apprise notifies.
#[derive(Debug)]
pub(crate) enum Target {
    /// What the server keeps under a key.
    Kept { key: String, tag: Option<String> },
    /// These Apprise URLs.
    Services(String),
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Server {
    base: Url,
    pub(crate) target: Target,
    pub(crate) format: BodyFormat,
    pub(crate) body: Templates,
    pub(crate) title: Templates,
    pub(crate) presentation: Presentation,
    /// In characters.
    pub(crate) longest: usize,
    pub(crate) partial_retries: u32,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<String>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<Server, String> {
        settings::http_address("url", &self.url)?;
        for (name, value) in &self.headers {
            settings::header("headers", name, value)?;
        }
        let target = target(self.key, &self.services, self.tag)?;
        let body = match (&self.template_file, &self.template) {
            (Some(_), Some(_)) => return Err("`templateFile` and `template` are both set: keep one".to_owned()),
            (Some(path), None) => file_template(path, config_dir, self.format),
            (None, Some(source)) => Templates::inline("template", source, self.format.templates()),
            (None, None) => Templates::built_in(
                match self.format {
                    BodyFormat::Text => TEXT,
                    BodyFormat::Markdown => MARKDOWN,
                    BodyFormat::Html => HTML,
                },
                self.format.templates(),
            ),
        };
        if !LENGTHS.contains(&self.max_length_characters) {
            return Err(format!(
                "`maxLengthCharacters` is {}, but must be {} to {}",
                self.max_length_characters,
                LENGTHS.start(),
                LENGTHS.end()
            ));
        }
        if self.partial_retries > MOST_RETRIES {
            return Err(format!("`partialRetries` is {}, but must be at most {MOST_RETRIES}", self.partial_retries));
        }
        let zone = self.time_zone.as_deref();
        let presentation = Presentation::new(zone, self.head_script_log_lines, self.tail_script_log_lines)?;
        Ok(Server {
            base: self.url,
            target,
            format: self.format,
            body,
            title: Templates::inline("titleTemplate", &self.title_template, Format::Text),
            // A backslash might be taken for an escape of Markdown.
            presentation: if self.format == BodyFormat::Markdown { presentation.slashed_users() } else { presentation },
            longest: self.max_length_characters,
            partial_retries: self.partial_retries,
            headers: self.headers,
            timeout: settings::duration("timeout", &self.timeout, &TIMEOUTS)?,
            tls: self.tls,
        })
    }
}

/// A template in a file; a relative path starts at the folder of the config file.
pub(crate) fn file_template(path: &Path, config_dir: &str, format: BodyFormat) -> Templates {
    Templates::file(&path.display().to_string(), Path::new(config_dir).join(path), format.templates())
}

/// Never quotes a service: it is a secret.
fn target(key: Option<String>, services: &[String], tag: Option<String>) -> Result<Target, String> {
    match (key, services.is_empty()) {
        (Some(_), false) => Err("`key` and `services` are both set: keep one".to_owned()),
        (None, true) => Err("there is neither a `key` of the server nor `services`: set one".to_owned()),
        (Some(key), true) => {
            let is_sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if key.is_empty() || key.len() > 128 || !key.chars().all(is_sound) {
                return Err(format!("`key` is `{key}`: Apprise takes 1 to 128 letters, digits, `_` and `-`"));
            }
            let tag = tag.filter(|tag| !tag.trim().is_empty());
            if let Some(tag) = tag.as_ref().filter(|tag| !tag.chars().all(|c| is_sound(c) || " ,|&+:".contains(c))) {
                return Err(format!(
                    "`tag` is `{tag}`: Apprise takes letters, digits, `_` and `-`, with commas or blanks between tags"
                ));
            }
            Ok(Target::Kept { key, tag })
        }
        (None, false) => {
            if tag.is_some() {
                return Err("`tag` goes with `key` only: `services` have no tags".to_owned());
            }
            let is_sound = |service: &String| {
                service.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.trim().is_empty())
                    && !service.contains(char::is_whitespace)
            };
            if let Some(place) = services.iter().position(|service| !is_sound(service)) {
                return Err(format!(
                    "`services[{place}]` is no Apprise URL: one looks like `slack://TokenA/TokenB/TokenC`, without blanks"
                ));
            }
            Ok(Target::Services(services.join(" ")))
        }
    }
}

impl Server {
    /// Address of a path of the API.
    pub(crate) fn api(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Where notifications are posted to.
    pub(crate) fn notify(&self) -> Url {
        match &self.target {
            Target::Kept { key, .. } => self.api(&format!("notify/{key}")),
            Target::Services(_) => self.api("notify/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(more: &Value) -> Result<Server, String> {
        let mut settings = json!({ "url": "http://apprise.test:8000", "key": "bi" });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check("/etc/butler")
    }

    #[test]
    fn a_server_keeps_the_services_or_is_told_them() {
        let kept = check(&json!({})).unwrap();
        assert_eq!(kept.notify().as_str(), "http://apprise.test:8000/notify/bi");
        check(&json!({ "tag": "a-1 b_2, 1:c&d" })).unwrap();
        let services =
            json!({ "url": "https://a.test/apprise/", "key": null, "services": ["json://a.test", "xml://b"] });
        let told = check(&services).unwrap();
        assert_eq!(told.notify().as_str(), "https://a.test/apprise/notify/");
        assert!(matches!(told.target, Target::Services(services) if services == "json://a.test xml://b"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (more, part) in [
            (json!({ "url": "ftp://a.test" }), "`url` begins with `ftp:`"),
            (json!({ "key": null }), "neither a `key`"),
            (json!({ "services": ["json://a"] }), "`key` and `services` are both set"),
            (json!({ "key": "a b" }), "`key` is `a b`"),
            (json!({ "key": "../x" }), "`key` is `../x`"),
            (json!({ "tag": "a; b" }), "`tag` is `a; b`"),
            (json!({ "tag": "größe" }), "`tag` is `größe`"),
            (json!({ "key": null, "services": ["json://a", "geheim"] }), "`services[1]` is no Apprise URL"),
            (json!({ "key": null, "services": ["json://a geheim"] }), "`services[0]`"),
            (json!({ "key": null, "services": ["json://a"], "tag": "x" }), "`tag` goes with `key` only"),
            (json!({ "template": "x", "templateFile": "y" }), "both set"),
            (json!({ "maxLengthCharacters": 10 }), "must be 200 to 100000"),
            (json!({ "partialRetries": 21 }), "at most 20"),
            (json!({ "timeZone": "Mars/Olympus" }), "`timeZone` is `Mars/Olympus`"),
            (json!({ "tailScriptLogLines": 1001 }), "`tailScriptLogLines` is 1001"),
            (json!({ "format": "rtf" }), "unknown variant"),
            (json!({ "timeout": "51s" }), "`timeout` is `51s`"),
            (json!({ "headers": { "Content-Type": "x" } }), "`Content-Type` is set by Butler"),
            (json!({ "urls": ["x"] }), "unknown field"),
        ] {
            let error = check(&more).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
