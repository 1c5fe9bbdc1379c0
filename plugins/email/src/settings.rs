//! The settings, and the checked form of them that mails are made with.

mod smtp;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use butler_plugin_api::message::{BuiltIn, Format, Presentation, Templates};
use lettre::Address;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::SmtpSettings;

use crate::address;

pub(crate) use smtp::{Auth, Method, Oauth, Secret, Smtp, TlsMode};

/// The built-in templates; the first whose kinds fit is used. They are shipped as a start for own ones as well.
const HTML: &[BuiltIn] = &[
    BuiltIn {
        kinds: &["message.posted"],
        name: "email/message.html.handlebars",
        source: include_str!("../../../config/templates/email/message.html.handlebars"),
    },
    BuiltIn {
        kinds: &["*"],
        name: "email/event.html.handlebars",
        source: include_str!("../../../config/templates/email/event.html.handlebars"),
    },
];
const TEXT: &[BuiltIn] = &[
    BuiltIn {
        kinds: &["message.posted"],
        name: "email/message.txt.handlebars",
        source: include_str!("../../../config/templates/email/message.txt.handlebars"),
    },
    BuiltIn {
        kinds: &["*"],
        name: "email/event.txt.handlebars",
        source: include_str!("../../../config/templates/email/event.txt.handlebars"),
    },
];
/// The built-in subject.
const SUBJECT: &str = "{{heading}}";
/// Longest time in which a recipient gets one mail about a task.
pub(crate) const LONGEST_THROTTLE: Duration = Duration::from_hours(168);

/// Settings of alerts by email.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["recipients"]]))]
pub(crate) struct Settings {
    /// The mail server.
    smtp: SmtpSettings,
    /// The sender: an address, or a name and an address (`Qlik Sense <noreply@example.com>`).
    #[schemars(length(min = 1))]
    from: String,
    /// Who gets every mail: bare addresses, without names.
    #[serde(default)]
    recipients: Vec<String>,
    /// Uses `recipients` only for some tasks and apps. The other recipients are not affected.
    #[serde(default)]
    recipients_if: Option<RecipientsIf>,
    /// Name of a custom property of tasks; its values are addresses that get the mails about the task.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-qlik" = "customProperty"))]
    recipients_from_property: Option<String>,
    /// The owner of the app gets mails too, at the addresses that the user directory has. Absent: owners get none.
    #[serde(default)]
    owner: Option<OwnerSettings>,
    /// `onePerRecipient`: a mail for each, which names nobody else. `oneForAll`: one mail that names nobody.
    /// `oneForAllVisible`: one mail that names all of them, so that they can answer all.
    #[serde(default)]
    mode: Mode,
    /// How mail programs show the mails: `high`, `normal` or `low`.
    #[serde(default)]
    priority: Priority,
    /// Handlebars text for the subject. Absent: what happened to what.
    #[serde(default)]
    subject: Option<String>,
    /// Handlebars template for the HTML form of mails about all kinds of events; relative to the config file, and read
    /// for each mail. Absent: built-in ones.
    #[serde(default)]
    template_file: Option<PathBuf>,
    /// How many of the first lines of the script log are shown; at most 1000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 1000))]
    head_script_log_lines: usize,
    /// How many of the last lines of the script log are shown; at most 1000.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 1000))]
    tail_script_log_lines: usize,
    /// Time zone of the times in mails, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
    /// Limits how often a recipient gets mails of one kind about one task (service, app of Qlik Cloud).
    #[serde(default)]
    throttle: Option<ThrottleSettings>,
    /// For tries: every mail goes to this address alone, and says who would have got it.
    #[serde(default)]
    redirect_to: Option<String>,
}

fn default_lines() -> usize {
    15
}

/// When `recipients` are used. Events about neither a task nor an app of Qlik Cloud are not affected.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RecipientsIf {
    /// For events about tasks: only if the task has this custom property with the value of `value`.
    #[serde(default)]
    #[schemars(extend("x-qlik" = "customProperty"))]
    pub(crate) property: Option<String>,
    /// The value of `property`.
    #[serde(default)]
    #[schemars(extend("x-qlik" = "customPropertyValue"))]
    pub(crate) value: Option<String>,
    /// For events of Qlik Cloud: only if the app has this tag.
    #[serde(default)]
    pub(crate) tag: Option<String>,
}

/// Which owners get mails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OwnerSettings {
    /// `all`, or a list of users: addresses, `{ email }`, or `{ directory, userId }`.
    #[serde(default)]
    include: Include,
    /// Users that get no mails as owners, such a list; goes before `include`.
    #[serde(default)]
    exclude: Vec<Owner>,
}

/// Which owners.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Include {
    /// All of them.
    All(All),
    /// These.
    These(Vec<Owner>),
}

/// A user, or the address of one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Owner {
    /// The address.
    Email(String),
    /// The user.
    User(Who),
}

/// All of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum All {
    All,
}

impl Default for Include {
    fn default() -> Self {
        Self::All(All::All)
    }
}

/// A user: directory and id, or an address. Upper and lower case are the same.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Who {
    /// User directory; goes with `userId`.
    #[serde(default)]
    pub(crate) directory: Option<String>,
    /// User id within the directory.
    #[serde(default)]
    pub(crate) user_id: Option<String>,
    /// Mail address; for owners in Qlik Cloud, who have no directory.
    #[serde(default)]
    pub(crate) email: Option<String>,
}

/// How often somebody gets mails about one thing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThrottleSettings {
    /// At most one mail in this time: a whole number and `s`, `m`, `h` or `d`; at most 7 d. The next mail says how many
    /// were held back.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$"))]
    every: String,
}

/// How many mails, and whom they name.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Mode {
    #[default]
    #[serde(rename = "onePerRecipient")]
    PerRecipient,
    #[serde(rename = "oneForAll")]
    Hidden,
    #[serde(rename = "oneForAllVisible")]
    Visible,
}

/// How mail programs show a mail.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// Checked settings, apart from those of the server.
pub(crate) struct Checked {
    pub(crate) from: Mailbox,
    pub(crate) who: Recipients,
    pub(crate) mode: Mode,
    pub(crate) priority: Priority,
    pub(crate) subject: Templates,
    pub(crate) html: Html,
    pub(crate) text: Templates,
    pub(crate) presentation: Presentation,
    pub(crate) throttle: Option<Duration>,
    pub(crate) redirect_to: Option<Address>,
    /// Where relative paths start.
    pub(crate) config_dir: PathBuf,
}

/// The templates of the HTML form.
pub(crate) struct Html {
    pub(crate) templates: Templates,
    /// The user's own.
    file: Option<PathBuf>,
}

impl Html {
    fn built_in() -> Self {
        Self { templates: Templates::built_in(HTML, Format::Html), file: None }
    }

    /// A file of the user; relative to the folder of the config.
    pub(crate) fn file(path: &Path, config_dir: &Path) -> Self {
        let file = config_dir.join(path);
        let templates = Templates::file(&path.display().to_string(), file.clone(), Format::Html);
        Self { templates, file: Some(file) }
    }

    /// Whether they show what a reader should know beyond the event. Those for Butler 16 cannot.
    pub(crate) fn shows_notes(&self) -> bool {
        let Some(file) = &self.file else { return true };
        std::fs::read_to_string(file).is_ok_and(|text| text.contains("note"))
    }
}

/// Who is to get mails.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    pub(crate) always: Vec<String>,
    pub(crate) only_if: Option<RecipientsIf>,
    pub(crate) property: Option<String>,
    pub(crate) owner: Option<Owners>,
}

/// Which owners get mails.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// None: all.
    pub(crate) include: Option<Vec<Who>>,
    pub(crate) exclude: Vec<Who>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<(Checked, Smtp), String> {
        let config_dir = Path::new(config_dir);
        for text in &self.recipients {
            address::recipient(text).map_err(|why| format!("`recipients`: `{text}`: {why}"))?;
        }
        let redirect_to = self
            .redirect_to
            .as_deref()
            .map(|text| address::recipient(text).map_err(|why| format!("`redirectTo` is `{text}`: {why}")));
        let only_if = self.recipients_if.map(RecipientsIf::check).transpose()?;
        if only_if.is_some() && self.recipients.is_empty() {
            return Err("`recipientsIf` is of no use without `recipients`: remove it, or name some".to_owned());
        }
        let who = Recipients {
            always: self.recipients,
            only_if,
            property: self.recipients_from_property,
            owner: self.owner.map(OwnerSettings::check).transpose()?,
        };
        if who.always.is_empty() && who.property.is_none() && who.owner.is_none() {
            return Err(
                "nobody gets mails: name some `recipients`, or say `recipientsFromProperty` or `owner`".to_owned()
            );
        }
        let throttle = self.throttle.map(|throttle| span("throttle.every", &throttle.every, LONGEST_THROTTLE));
        let smtp = self.smtp.check(config_dir)?;
        let checked = Checked {
            from: address::sender(&self.from).map_err(|why| format!("`from` is `{}`: {why}", self.from))?,
            who,
            mode: self.mode,
            priority: self.priority,
            subject: Templates::inline("subject", self.subject.as_deref().unwrap_or(SUBJECT), Format::Text),
            html: self.template_file.map_or_else(Html::built_in, |path| Html::file(&path, config_dir)),
            text: Templates::built_in(TEXT, Format::Text),
            presentation: Presentation::new(
                self.time_zone.as_deref(),
                self.head_script_log_lines,
                self.tail_script_log_lines,
            )?,
            throttle: throttle.transpose()?,
            redirect_to: redirect_to.transpose()?,
            config_dir: config_dir.to_owned(),
        };
        Ok((checked, smtp))
    }
}

impl RecipientsIf {
    fn check(self) -> Result<Self, String> {
        match (&self.property, &self.value, &self.tag) {
            (Some(_), None, _) | (None, Some(_), _) => {
                Err("`recipientsIf` needs both `property` and `value`, or neither".to_owned())
            }
            (None, None, None) => Err("`recipientsIf` needs `property` and `value`, or `tag`".to_owned()),
            _ => Ok(self),
        }
    }
}

impl OwnerSettings {
    fn check(self) -> Result<Owners, String> {
        let include = match self.include {
            Include::All(All::All) => None,
            Include::These(these) => Some(users("include", these)?),
        };
        Ok(Owners { include, exclude: users("exclude", self.exclude)? })
    }
}

/// Users of a list of owners, checked; the list's name is for errors.
fn users(list: &str, owners: Vec<Owner>) -> Result<Vec<Who>, String> {
    let user = |owner: Owner| {
        let who = match owner {
            Owner::Email(email) => Who { directory: None, user_id: None, email: Some(email) },
            Owner::User(who) => who,
        };
        match (&who.directory, &who.user_id, &who.email) {
            (Some(_), Some(_), None) => Ok(who),
            (None, None, Some(email)) => match address::recipient(email) {
                Ok(_) => Ok(who),
                Err(why) => Err(format!("`owner.{list}`: `{email}`: {why}")),
            },
            _ => Err(format!("`owner.{list}`: each entry is an address, or has `directory` and `userId`, or `email`")),
        }
    };
    owners.into_iter().map(user).collect()
}

/// A time such as `10m`.
fn span(name: &str, text: &str, longest: Duration) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let millis = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let span = number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(millis));
    match span.map(Duration::from_millis) {
        Some(span) if span.is_zero() || span > longest => {
            Err(format!("`{name}` is `{text}`, but must be more than nothing and at most {} s", longest.as_secs()))
        }
        Some(span) => Ok(span),
        None => Err(format!("`{name}` is `{text}`: write a whole number and a unit, such as `30s` or `10m`")),
    }
}
