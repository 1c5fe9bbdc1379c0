//! The settings, and the checked form of them that files are stored with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use butler_plugin_api::message::{Format, Presentation, Template};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::upkeep::Limits;

/// Settings of an archive of script logs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Folder of the archive; relative to the config file. It is made if it is missing, the folder around it is not.
    #[schemars(length(min = 1))]
    folder: PathBuf,
    /// Handlebars text for the path of a file below `folder`, with `/` between folders: `{{appName}}/{{taskName}}.log`. What
    /// the values bring in of `/`, `\` and characters that Windows does not take in names is replaced. Absent:
    /// `<date>/<date>_<time>_appId=<id>_taskId=<id>.log`, of Qlik Cloud `<date>/<date>T<time>_appId=<id>_reloadId=<id>.log`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    path: Option<String>,
    /// Files that were stored longer ago are removed: a whole number and `h` or `d`, such as `90d`. Absent: they stay.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(h|d)\s*$"))]
    max_age: Option<String>,
    /// The oldest files are removed while all files of the archive are larger than this together: a whole number and
    /// `MB` or `GB`, such as `5GB`. The newest file stays. Absent: they may grow.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(MB|GB)\s*$"))]
    max_size: Option<String>,
    /// Time zone of times in paths that the log line of Qlik Sense does not tell, by its IANA name (`Europe/Stockholm`).
    /// Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) folder: PathBuf,
    pub(crate) path: Option<Template>,
    pub(crate) limits: Limits,
    pub(crate) presentation: Presentation,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, config_dir: &str) -> Result<Archive, String> {
        if self.folder.as_os_str().is_empty() {
            return Err("`folder` is empty: name the folder of the archive".to_owned());
        }
        let path = self.path.as_deref().map(path_template).transpose()?;
        let max_age = self.max_age.as_deref().map(age).transpose()?;
        let max_size = self.max_size.as_deref().map(size).transpose()?;
        Ok(Archive {
            folder: Path::new(config_dir).join(self.folder),
            path,
            limits: Limits { max_age, max_size },
            // What paths show of a script log is no use; the event has it all the same.
            presentation: Presentation::new(self.time_zone.as_deref(), 0, 0)?,
        })
    }
}

/// Reads a template of paths; what cannot be a path whatever the values are is refused here.
pub(crate) fn path_template(source: &str) -> Result<Template, String> {
    let fault = |why: &str| Err(format!("`path` is `{source}`, but {why}"));
    if source.contains('\\') {
        return fault("`/` parts folders, on Windows too");
    }
    if source.starts_with('/') || source.as_bytes().get(1) == Some(&b':') {
        return fault("it begins in `folder`: leave out what is before it");
    }
    if source.split('/').any(|step| matches!(step.trim(), "." | "..")) {
        return fault("no step may be `.` or `..`");
    }
    if source.trim().is_empty() || source.trim_end().ends_with('/') {
        return fault("the name of a file must be at its end");
    }
    Template::new("path", source, Format::Text).map_err(|error| error.to_string())
}

fn age(text: &str) -> Result<Duration, String> {
    let seconds = quantity(text, &[("h", 3600), ("d", 86_400)]);
    // A million years are as good as none, and leave room for arithmetic.
    match seconds.filter(|seconds| (1..1 << 45).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(format!("`maxAge` is `{text}`: write a whole number above 0 and `h` or `d`, such as `90d`")),
    }
}

fn size(text: &str) -> Result<u64, String> {
    quantity(text, &[("MB", 1 << 20), ("GB", 1 << 30)])
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`maxSize` is `{text}`: write a whole number above 0 and `MB` or `GB`, such as `2GB`"))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<Archive, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check("/etc/butler")
    }

    #[test]
    fn a_folder_alone_is_enough() {
        let archive = check(json!({ "folder": "logs" })).unwrap();
        assert_eq!(archive.folder, Path::new("/etc/butler/logs"));
        assert!(archive.path.is_none() && archive.limits.max_age.is_none() && archive.limits.max_size.is_none());
        let archive = check(json!({ "folder": "/var/logs", "maxAge": "36 h", "maxSize": "2GB" })).unwrap();
        assert_eq!(archive.folder, Path::new("/var/logs"));
        assert_eq!(archive.limits.max_age, Some(Duration::from_hours(36)));
        assert_eq!(archive.limits.max_size, Some(2 << 30));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (more, part) in [
            (json!({ "folder": "" }), "`folder` is empty"),
            (json!({ "path": "../{{appName}}.log" }), "no step may be"),
            (json!({ "path": "a/ .. /{{appName}}.log" }), "no step may be"),
            (json!({ "path": "/var/{{appName}}.log" }), "it begins in `folder`"),
            (json!({ "path": "C:/{{appName}}.log" }), "it begins in `folder`"),
            (json!({ "path": "a\\{{appName}}.log" }), "`/` parts folders"),
            (json!({ "path": "a/" }), "the name of a file"),
            (json!({ "path": " " }), "the name of a file"),
            (json!({ "path": "{{#if appName}}.log" }), "template `path`, line 1"),
            (json!({ "maxAge": "90" }), "`maxAge` is `90`"),
            (json!({ "maxAge": "0d" }), "above 0"),
            (json!({ "maxAge": "99999999999999999999d" }), "`maxAge`"),
            (json!({ "maxSize": "2TB" }), "`MB` or `GB`"),
            (json!({ "maxSize": "99999999999GB" }), "`maxSize`"),
            (json!({ "timeZone": "Mars/Olympus" }), "`timeZone`"),
            (json!({ "keep": "90d" }), "unknown field"),
        ] {
            let mut settings = json!({ "folder": "logs" });
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let error = check(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(check(json!({})).unwrap_err().contains("missing field `folder`"));
    }
}
