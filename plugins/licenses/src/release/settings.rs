//! The settings of the release, section `unusedLicenses`.

use std::time::Duration;

use butler_plugin_api::When;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::AccessType;

/// Most days that a threshold can have.
const MOST_DAYS: u16 = 3_650;
/// Most licences that a run releases: what is told of them fits into one event.
pub(super) const MOST_PER_RUN: u16 = 1_000;
const MOST_PER_SECOND: u16 = 100;
/// Most entries of each list of `neverRelease`.
const MOST_ENTRIES: usize = 1_000;

/// How access licences that nobody uses are released.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// When it is done.
    pub(crate) when: When,
    /// Licences are released. Otherwise it is a dry run: nothing is, and the event says what would be.
    pub(super) release: bool,
    /// Professional access licences.
    pub(super) professional: OfType,
    /// Analyzer access licences.
    pub(super) analyzer: OfType,
    /// What becomes of licences that were never used: `keep`, or `release` when they were given `unusedDays` ago or
    /// before.
    pub(super) never_used: NeverUsed,
    /// Most licences that one run releases, 1 to 1000, of both types together; the rest waits for the next run.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max_per_run: u16,
    /// Most requests to Qlik Sense in a second, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(super) requests_per_second: u16,
    /// Whose licences are never released.
    pub(super) never_release: NeverRelease,
}

/// How licences of one type are released.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct OfType {
    /// Whether licences of this type are looked at; other types never are.
    pub(super) enabled: bool,
    /// Released is what was not used for so many times 24 hours, 1 to 3650.
    #[schemars(range(min = 1, max = 3650))]
    pub(super) unused_days: u16,
}

/// What becomes of licences that were never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum NeverUsed {
    /// They stay.
    Keep,
    /// They are released `unusedDays` after they were given.
    Release,
}

/// Whose licences are never released. One rule that fits is enough. Upper and lower case are the same.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct NeverRelease {
    /// These users.
    pub(super) users: Vec<UserName>,
    /// Users with one of these tags.
    #[schemars(extend("x-qlik" = "tag"))]
    pub(super) tags: Vec<String>,
    /// Users with one of these values of a custom property.
    pub(super) custom_properties: Vec<Property>,
    /// Users of these user directories.
    pub(super) user_directories: Vec<String>,
    /// `yes`: inactive users keep their licences; `no`: those who are not inactive do; `ignore`: it does not matter.
    pub(super) inactive: Matters,
    /// As `inactive`, for users that are blocked in the QMC.
    pub(super) blocked: Matters,
    /// As `inactive`, for users that are gone from their user directory.
    pub(super) removed_externally: Matters,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserName {
    /// User directory, such as `INTERNAL`.
    pub(super) directory: String,
    /// User id, such as `sa_api`.
    pub(super) user_id: String,
}

/// A value of a custom property.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Property {
    /// Name of the custom property.
    #[schemars(extend("x-qlik" = "customProperty"))]
    pub(super) name: String,
    /// The value.
    #[schemars(extend("x-qlik" = "customPropertyValue"))]
    pub(super) value: String,
}

/// Whether a state of a user protects the licence, or its absence does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
#[schemars(with = "String", extend("pattern" = "^([Yy][Ee][Ss]|[Nn][Oo]|[Ii][Gg][Nn][Oo][Rr][Ee])$"))]
pub(super) enum Matters {
    /// Who is so keeps the licence.
    Yes,
    /// Who is not so keeps it.
    No,
    /// Neither.
    #[default]
    Ignore,
}

impl TryFrom<String> for Matters {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            "ignore" => Ok(Self::Ignore),
            _ => Err(format!("`{text}` is none of `yes`, `no` and `ignore`")),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            when: When::every(Duration::from_hours(24)),
            release: false,
            professional: OfType::default(),
            analyzer: OfType::default(),
            never_used: NeverUsed::Keep,
            max_per_run: 50,
            requests_per_second: 10,
            never_release: NeverRelease::default(),
        }
    }
}

impl Default for OfType {
    fn default() -> Self {
        Self { enabled: true, unused_days: 30 }
    }
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u16, most: u16| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("`unusedLicenses.{name}` is {value}, but must be between 1 and {most}"))
        };
        within("professional.unusedDays", self.professional.unused_days, MOST_DAYS)?;
        within("analyzer.unusedDays", self.analyzer.unused_days, MOST_DAYS)?;
        within("maxPerRun", self.max_per_run, MOST_PER_RUN)?;
        within("requestsPerSecond", self.requests_per_second, MOST_PER_SECOND)?;
        if self.types().next().is_none() {
            return Err(
                "`unusedLicenses` has both `professional` and `analyzer` with `enabled: false`: enable one, or \
                        remove the section"
                    .to_owned(),
            );
        }
        self.never_release.check()
    }

    /// The types that are enabled, each with its threshold in days, in the order in which they are looked at.
    pub(super) fn types(&self) -> impl Iterator<Item = (AccessType, i64)> {
        let professional = (AccessType::Professional, &self.professional);
        let analyzer = (AccessType::Analyzer, &self.analyzer);
        let enabled = [professional, analyzer].into_iter().filter(|(_, of_type)| of_type.enabled);
        enabled.map(|(access_type, of_type)| (access_type, i64::from(of_type.unused_days)))
    }
}

impl NeverRelease {
    fn check(&self) -> Result<(), String> {
        let users = self.users.iter().flat_map(|user| [&user.directory, &user.user_id]).collect();
        let properties = self.custom_properties.iter().flat_map(|property| [&property.name, &property.value]).collect();
        let lists: [(&str, usize, Vec<&String>); 4] = [
            ("users", self.users.len(), users),
            ("tags", self.tags.len(), self.tags.iter().collect()),
            ("customProperties", self.custom_properties.len(), properties),
            ("userDirectories", self.user_directories.len(), self.user_directories.iter().collect()),
        ];
        for (name, entries, texts) in lists {
            let name = format!("unusedLicenses.neverRelease.{name}");
            if entries > MOST_ENTRIES {
                return Err(format!(
                    "`{name}` may have {MOST_ENTRIES} entries at most: use a tag, or a user directory"
                ));
            }
            // Such a rule protects nobody, which is found out too late.
            if texts.iter().any(|text| text.trim() != text.as_str() || text.is_empty()) {
                return Err(format!("`{name}` has a text that is empty, or begins or ends with space: it fits nobody"));
            }
        }
        Ok(())
    }
}
