//! The file of schedules of Butler 16, in this Butler's form.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::yaml;
use crate::schedule::{Form, read_file, write_file};

/// A converted file.
#[derive(Debug)]
pub(super) struct Converted {
    /// What is to be written.
    pub text: String,
    /// How many schedules there are.
    pub count: usize,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// Reads a file in either form. The error says all that is wrong, with lines.
pub(super) fn convert(path: &Path) -> Result<Converted, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("the file cannot be read: {error}")])?;
    let mut read = read_file(&text)?;
    // Ids that are missing are made by chance; here the same file gives the same ids.
    let nameless = without_id(&text);
    for (n, schedule) in read.schedules.iter_mut().enumerate().filter(|(n, _)| nameless.contains(n)) {
        let what = format!("{n}\n{}\n{}\n{}\n{}", schedule.name, schedule.cron, schedule.zone.name(), schedule.task_id);
        let hash = Sha256::digest(what);
        let hex = hash.iter().take(16).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        schedule.id = format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    }
    let count = read.schedules.len();
    Ok(Converted { text: write_file(&read.schedules, &[], Form::Own), count, warnings: read.warnings })
}

/// The places in the list of those that have no id.
fn without_id(text: &str) -> Vec<usize> {
    let parsed = yaml::parse(text.trim_start_matches('\u{feff}')).ok().flatten();
    let Some(Value::Object(root)) = parsed.map(|parsed| parsed.value) else { return Vec::new() };
    let lists = root.values().filter_map(Value::as_array);
    let has_none = |entry: &Value| entry.get("id").is_none_or(|id| id.is_null() || id == "");
    lists.flat_map(|list| list.iter().enumerate().filter(|(_, entry)| has_none(entry)).map(|(n, _)| n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "5d2c7f10-1111-4a2b-9c3d-0123456789ab";

    #[test]
    fn a_file_gives_the_same_text_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schedule.yaml");
        let entry = |more: &str| {
            format!(
                "  - name: Load\n    cronSchedule: '0 6 * 0 *'\n    timezone: UTC\n    qlikSenseTaskId: {TASK}\n    startupState: started\n{more}"
            )
        };
        std::fs::write(
            &path,
            format!("butlerSchedule:\n{}{}{}", entry("    id: 7\n"), entry(""), entry("    id: ''\n")),
        )
        .unwrap();
        let Converted { text, count, warnings } = convert(&path).unwrap();
        assert_eq!((count, warnings.len()), (3, 2));
        assert_eq!(text, convert(&path).unwrap().text);
        let read = read_file(&text).unwrap().schedules;
        assert_eq!((read[0].id.as_str(), read[0].cron.to_string().as_str()), ("7", "0 6 * 1 *"));
        assert!(read[1].id != read[2].id && read[1].id.len() == 36, "{text}");
        std::fs::write(&path, "butlerSchedule:\n  - name: x\n").unwrap();
        assert!(convert(&path).unwrap_err().iter().any(|fault| fault.starts_with("line 2: `cronSchedule` is missing")));
        assert!(convert(&folder.path().join("absent")).unwrap_err()[0].starts_with("the file cannot be read"));
    }
}
