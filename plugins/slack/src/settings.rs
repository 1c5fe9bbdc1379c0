//! The settings, and the checked form of them that messages are made and sent with.

use std::path::{Path, PathBuf};

use butler_plugin_api::message::{Format, Presentation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Settings of a channel of Slack: either `webhookUrl`, or `token` and `channel`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["webhookUrl"], ["token", "channel"]]))]
pub(crate) struct Settings {
    /// Address of an incoming webhook. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    webhook_url: Option<Url>,
    /// Bot token of a Slack app (`xoxb-…`) with the scope `chat:write`; `chat:write.customize` if `fromUser` or `iconEmoji` are
    /// set. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
    /// Channel, by its name or better its id (`C…`). Needed with `token`; webhooks of today's Slack apps ignore it,
    /// legacy ones do not.
    #[serde(default)]
    channel: Option<String>,
    /// Who the messages seem to come from. Absent: the Slack app.
    #[serde(default)]
    from_user: Option<String>,
    /// Emoji beside the messages, such as `:ghost:`. Absent: the icon of the Slack app.
    #[serde(default)]
    icon_emoji: Option<String>,
    /// `formatted`: a message with facts, links and script log, or what the template makes. `basic`: a heading and the
    /// links to QMC and hub.
    #[serde(default)]
    message_type: MessageType,
    /// Handlebars template for `formatted` messages of all kinds of events, which makes JSON with `blocks`; relative to the
    /// config file, and read for each message. Absent: built-in messages.
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
    /// With `token`: whether messages about what has failed already answer in the thread of the first failure.
    /// `broadcast`: yes, and the channel shows them too. `quiet`: yes, in the thread only. `off`: no. A thread ends with a
    /// success, which `on:` must name (`reload-task.succeeded`), since by default only alerts arrive; else after a week,
    /// with `quiet` after a day.
    #[serde(default)]
    threads: Threads,
    /// Address of Slack's methods, used with `token`. GovSlack: `https://slack-gov.com/api`.
    #[serde(default = "default_api")]
    api_url: Url,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_lines() -> usize {
    15
}

fn default_api() -> Url {
    Url::parse("https://slack.com/api").expect("it is an address")
}

/// How a message is made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MessageType {
    #[default]
    Formatted,
    Basic,
}

/// What is done with threads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Threads {
    #[default]
    Broadcast,
    Quiet,
    Off,
}

/// How Slack is reached.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Webhook(Url),
    Token { token: String, api: Url },
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) door: Door,
    pub(crate) channel: Option<String>,
    pub(crate) from_user: Option<String>,
    pub(crate) icon_emoji: Option<String>,
    pub(crate) message_type: MessageType,
    /// The path as configured, for people, and the one to open.
    pub(crate) template_file: Option<(String, PathBuf)>,
    pub(crate) basic_template: Option<String>,
    pub(crate) threads: Threads,
    pub(crate) tls: Option<String>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<(Post, Presentation), String> {
        let presentation =
            Presentation::new(self.time_zone.as_deref(), self.head_script_log_lines, self.tail_script_log_lines)?
                .slashed_users();
        let door = match (self.webhook_url, self.token) {
            (Some(url), None) => Door::Webhook(http("webhookUrl", url)?),
            (None, Some(token)) => {
                check_token(&token)?;
                if self.channel.as_deref().is_none_or(|channel| channel.trim().is_empty()) {
                    return Err(
                        "`token` needs a `channel` beside it: the name of a channel, or better its id".to_owned()
                    );
                }
                Door::Token { token, api: http("apiUrl", self.api_url)? }
            }
            (Some(_), Some(_)) => {
                return Err("`webhookUrl` and `token` are both there: take one of them out".to_owned());
            }
            (None, None) => {
                return Err("`webhookUrl` (an incoming webhook) or `token` (a bot token) is needed".to_owned());
            }
        };
        // Threads are made of what Slack answers; a webhook answers nothing.
        let threads = if matches!(door, Door::Webhook(_)) { Threads::Off } else { self.threads };
        let post = Post {
            door,
            channel: self.channel,
            from_user: self.from_user,
            icon_emoji: self.icon_emoji,
            message_type: self.message_type,
            template_file: self
                .template_file
                .map(|path| (path.display().to_string(), Path::new(config_dir).join(path))),
            basic_template: self.basic_template,
            threads,
            tls: self.tls,
        };
        Ok((post, presentation))
    }
}

impl Post {
    /// How values are escaped in its messages.
    pub(crate) fn format(&self) -> Format {
        match self.message_type {
            MessageType::Formatted => Format::SlackJson,
            MessageType::Basic => Format::Text,
        }
    }
}

fn http(name: &str, url: Url) -> Result<Url, String> {
    if matches!(url.scheme(), "http" | "https") {
        return Ok(url);
    }
    Err(format!("`{name}` begins with `{}:`, but only http and https can be called", url.scheme()))
}

/// Never quotes the token.
fn check_token(token: &str) -> Result<(), String> {
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err("`token` is empty, or has spaces or line breaks in it: write `xoxb-…` as Slack shows it".to_owned());
    }
    if token.starts_with("xapp-") {
        return Err("`token` is an app-level token (xapp-…): take the bot token (xoxb-…) of the Slack app".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<Post, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check("/etc/butler").map(|(post, _)| post)
    }

    #[test]
    fn a_webhook_alone_is_enough_and_a_token_needs_a_channel() {
        let post = check(json!({ "webhookUrl": "https://hooks.slack.test/services/x" })).unwrap();
        assert!(matches!(post.door, Door::Webhook(_)));
        assert_eq!((post.message_type, post.threads), (MessageType::Formatted, Threads::Off));
        let post = check(json!({ "token": "xoxb-1", "channel": "C1", "templateFile": "slack/a.json" })).unwrap();
        assert!(matches!(post.door, Door::Token { ref api, .. } if api.as_str() == "https://slack.com/api"));
        assert_eq!(post.threads, Threads::Broadcast);
        let file = ("slack/a.json".to_owned(), PathBuf::from("/etc/butler/slack/a.json"));
        assert_eq!(post.template_file, Some(file));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (settings, part) in [
            (json!({}), "`webhookUrl` (an incoming webhook) or `token`"),
            (json!({ "webhookUrl": "https://a.test", "token": "xoxb-geheim", "channel": "c" }), "are both there"),
            (json!({ "token": "xoxb-geheim" }), "`token` needs a `channel`"),
            (json!({ "token": "xoxb-geheim", "channel": " " }), "`token` needs a `channel`"),
            (json!({ "token": "xoxb-geheim\n", "channel": "c" }), "`token` is empty, or has spaces"),
            (json!({ "token": "xapp-geheim", "channel": "c" }), "app-level token"),
            (
                json!({ "token": "xoxb-geheim", "channel": "c", "apiUrl": "ftp://a.test" }),
                "`apiUrl` begins with `ftp:`",
            ),
            (json!({ "webhookUrl": "mailto:geheim@b.test" }), "`webhookUrl` begins with `mailto:`"),
            (json!({ "webhookUrl": "https://a.test", "timeZone": "Mars/Olympus" }), "`timeZone`"),
            (json!({ "webhookUrl": "https://a.test", "headScriptLogLines": 1001 }), "`headScriptLogLines`"),
            (json!({ "webhookUrl": "https://a.test", "tailScriptLogLines": -1 }), "invalid value"),
            (json!({ "webhookUrl": "https://a.test", "messageType": "loud" }), "unknown variant"),
            (json!({ "webhookUrl": "https://a.test", "threads": true }), "invalid type"),
            (json!({ "webhookUrl": "https://a.test", "colour": "red" }), "unknown field"),
        ] {
            let error = check(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
