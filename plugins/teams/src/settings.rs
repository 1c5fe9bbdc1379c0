//! The settings, and the checked form of them that messages are made with.

use std::path::{Path, PathBuf};

use butler_plugin_api::message::{Format, Presentation, Templates};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::compose::{BASIC, CARDS};

/// Teams counts its own wrapping towards its limit of 28 kB: cards beyond these bounds are lost or say nothing.
const SIZES: std::ops::RangeInclusive<usize> = 2 << 10..=28 << 10;

/// Settings of a channel of Teams.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address of the incoming webhook of a workflow. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[schemars(extend("writeOnly" = true))]
    webhook_url: Url,
    /// `formatted`: a card with facts, links and script log, or what the template makes. `basic`: a heading and links.
    #[serde(default)]
    message_type: MessageType,
    /// Handlebars template for `formatted` messages of all kinds of events; relative to the config file, and read for
    /// each message. Absent: built-in cards.
    #[serde(default)]
    template_file: Option<PathBuf>,
    /// Handlebars text for `basic` messages. Absent: what happened to what, and why.
    #[serde(default)]
    basic_template: Option<String>,
    /// How many of the first lines of the script log are shown; at most 1000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 1000))]
    head_script_log_lines: usize,
    /// How many of the last lines of the script log are shown; at most 1000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 1000))]
    tail_script_log_lines: usize,
    /// Time zone of the times in messages, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
    /// `message`: the card as attachment of a message, as most workflows want it. `card`: the bare card. `messageCard`: the
    /// older form, for connectors that are still there; text and facts without script log.
    #[serde(default)]
    envelope: Envelope,
    /// Mentions the app's owner, so that they are notified, where their email address is known. It must be their user
    /// principal name in Microsoft 365: Teams does not post a card that mentions somebody whom it does not know.
    #[serde(default)]
    mention_owner: bool,
    /// Largest message: a whole number and `B` or `kB`, 2 kB to 28 kB. Script log and details are shortened to fit.
    #[serde(default = "default_size")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(B|kB|KB)\s*$"))]
    max_size: String,
}

fn default_lines() -> usize {
    15
}

fn default_size() -> String {
    "20kB".to_owned()
}

/// How a message is made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MessageType {
    #[default]
    Formatted,
    Basic,
}

impl MessageType {
    /// What its templates make.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Formatted => Format::Json,
            Self::Basic => Format::Text,
        }
    }
}

/// What is around a card.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Envelope {
    #[default]
    Message,
    Card,
    MessageCard,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) url: Url,
    pub(crate) message_type: MessageType,
    /// Of formatted messages.
    pub(crate) cards: Templates,
    /// Of basic ones.
    pub(crate) texts: Templates,
    pub(crate) presentation: Presentation,
    pub(crate) envelope: Envelope,
    pub(crate) mention_owner: bool,
    /// In bytes.
    pub(crate) max_size: usize,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<Post, String> {
        if !matches!(self.webhook_url.scheme(), "http" | "https") {
            let scheme = self.webhook_url.scheme();
            return Err(format!("`webhookUrl` begins with `{scheme}:`, but only http and https can be called"));
        }
        let zone = self.time_zone.as_deref();
        let presentation = Presentation::new(zone, self.head_script_log_lines, self.tail_script_log_lines)?;
        let texts = match &self.basic_template {
            Some(source) => Templates::inline("basicTemplate", source, Format::Text),
            None => Templates::built_in(BASIC, Format::Text),
        };
        Ok(Post {
            url: self.webhook_url,
            message_type: self.message_type,
            cards: match &self.template_file {
                Some(path) => file_template(path, config_dir, Format::Json),
                None => Templates::built_in(CARDS, Format::Json),
            },
            texts,
            // A backslash might be taken for an escape of Markdown.
            presentation: presentation.slashed_users(),
            envelope: self.envelope,
            mention_owner: self.mention_owner,
            max_size: parse_size(&self.max_size)?,
        })
    }
}

/// A template in a file; a relative path starts at the folder of the config file.
pub(crate) fn file_template(path: &Path, config_dir: &str, format: Format) -> Templates {
    Templates::file(&path.display().to_string(), Path::new(config_dir).join(path), format)
}

fn parse_size(text: &str) -> Result<usize, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = match unit.trim_start() {
        "B" => Some(1),
        "kB" | "KB" => Some(1 << 10),
        _ => None,
    };
    match number.parse::<usize>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit)) {
        Some(size) if SIZES.contains(&size) => Ok(size),
        Some(_) => Err(format!("`maxSize` is `{text}`, but must be 2kB to 28kB: Teams refuses larger messages")),
        None => Err(format!("`maxSize` is `{text}`: write a whole number and a unit, such as `20kB`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<Post, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check("/etc/butler")
    }

    #[test]
    fn the_address_alone_is_enough() {
        let post = check(json!({ "webhookUrl": "https://flow.test/x" })).unwrap();
        assert_eq!(post.max_size, 20_480);
        assert_eq!((post.message_type, post.envelope), (MessageType::Formatted, Envelope::Message));
    }

    #[test]
    fn template_files_are_relative_to_the_config() {
        let post = check(json!({ "webhookUrl": "https://flow.test/x", "templateFile": "cards/a.json" })).unwrap();
        let error = post.cards.of("reload-task.failed").unwrap_err().to_string();
        assert!(error.starts_with("template `cards/a.json`: /etc/butler/cards/a.json cannot be read"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (name, value, part) in [
            ("webhookUrl", json!("mailto:a@b.test"), "`webhookUrl` begins with `mailto:`"),
            ("timeZone", json!("Mars/Olympus"), "`timeZone` is `Mars/Olympus`"),
            ("maxSize", json!("20"), "such as `20kB`"),
            ("maxSize", json!("1kB"), "2kB to 28kB"),
            ("maxSize", json!("29kB"), "2kB to 28kB"),
            ("headScriptLogLines", json!(1001), "at most 1000"),
            ("tailScriptLogLines", json!(-1), "invalid value"),
            ("colour", json!("red"), "unknown field"),
        ] {
            let mut settings = json!({ "webhookUrl": "https://flow.test/x" });
            settings[name] = value;
            let error = check(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
