//! Schedules as YAML: Butler's own form under `schedules:`, that of Butler 16 under `butlerSchedule:`.

use std::collections::HashMap;

use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::json;

use super::Unread;
use super::record::{Fault, Form, Schedule};
use crate::config::yaml::{self, Place};
use crate::config::yaml_text;

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// The schedules, in the order of the file.
    pub schedules: Vec<Schedule>,
    /// What is odd, but no fault.
    pub warnings: Vec<String>,
}

/// Reads a file of either form; JSON is YAML. All faults are told, each with its line.
pub fn read(text: &str) -> Result<Read, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let none = || {
        vec![format!(
            "the file has no schedules: it must have a list `{}:` or `{}:`",
            Form::Own.key(),
            Form::Butler16.key()
        )]
    };
    let parsed = yaml::parse(text).map_err(|errors| {
        let told = errors.into_iter().map(|error| {
            let remedy = error.suggestion.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            format!("line {}, column {}: {}{remedy}", error.line, error.column, error.message)
        });
        told.collect::<Vec<_>>()
    })?;
    let parsed = parsed.ok_or_else(none)?;
    let form = [Form::Own, Form::Butler16].into_iter().find(|form| parsed.value.get(form.key()).is_some());
    let form = form.ok_or_else(none)?;
    let key = form.key();
    let Some(entries) = parsed.value[key].as_array() else { return Err(none()) };
    let mut faults = Vec::new();
    let own_keys = parsed.value.as_object().into_iter().flatten().map(|(name, _)| name);
    faults.extend(own_keys.filter(|name| *name != key).map(|name| {
        format!(
            "line {}: `{name}` is no part of a file of schedules: remove it",
            line(&parsed.place, &format!("/{name}"))
        )
    }));
    let (mut schedules, mut warnings) = (Vec::new(), Vec::new());
    let (mut ids, mut names) = (HashMap::new(), HashMap::new());
    for (n, entry) in entries.iter().enumerate() {
        let pointer = format!("/{key}/{n}");
        let begins = line(&parsed.place, &pointer);
        let Some(entry) = entry.as_object() else {
            faults.push(format!("line {begins}: a schedule must be a list of properties, such as `name: …`"));
            continue;
        };
        match Schedule::read(entry, form) {
            Ok(schedule) => {
                if let Some(first) = ids.insert(schedule.id.clone(), begins) {
                    faults.push(format!(
                        "line {begins}: the schedule has the id `{}` of the one in line {first}: give it another, or none",
                        schedule.id
                    ));
                }
                if let Some(first) = names.insert(schedule.name.clone(), begins) {
                    warnings.push(format!("line {begins}: the schedule has the name of the one in line {first}"));
                }
                schedules.push(schedule);
            }
            Err(wrong) => faults.extend(wrong.into_iter().map(|Fault { field, message }| {
                let at = line(&parsed.place, &format!("{pointer}/{}", field.replace('~', "~0").replace('/', "~1")));
                format!("line {at}: `{field}` {message}")
            })),
        }
    }
    if faults.is_empty() { Ok(Read { schedules, warnings }) } else { Err(faults) }
}

fn line(place: &Place, pointer: &str) -> usize {
    let (place, _) = place.find(pointer);
    place.key.unwrap_or(place.value).0
}

/// Writes schedules in a form; those that cannot be read, in Butler's own only, as they are.
pub fn write(schedules: &[impl AsRef<Schedule>], unread: &[Unread], form: Form) -> String {
    let entries = schedules.iter().map(AsRef::as_ref).map(|schedule| match form {
        Form::Own => serde_json::to_string(&schedule.own()),
        Form::Butler16 => serde_json::to_string(&schedule.butler16()),
    });
    let unread = unread.iter().filter(|_| form == Form::Own).map(|unread| serde_json::to_string(&unread.record));
    let entries = entries.chain(unread);
    // As text and not as values: so properties keep their order. What JSON says, YAML says as well.
    let entries: Vec<String> = entries.filter_map(Result::ok).collect();
    let text = format!("{{{}: [{}]}}", json!(form.key()), entries.join(", "));
    let documents = Yaml::load_from_str(&text).unwrap_or_default();
    if let Some(document) = documents.first() {
        return yaml_text::of_yaml(document);
    }
    // Cannot be; and it is YAML, too.
    text
}

impl Form {
    /// The key of the list.
    fn key(self) -> &'static str {
        match self {
            Self::Own => "schedules",
            Self::Butler16 => "butlerSchedule",
        }
    }
}

impl AsRef<Schedule> for Schedule {
    fn as_ref(&self) -> &Schedule {
        self
    }
}

/// The value of a document, for tests.
#[cfg(test)]
fn value(text: &str) -> serde_json::Value {
    yaml::parse(text).unwrap().unwrap().value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TASK: &str = "5d2c7f10-1111-4a2b-9c3d-0123456789ab";

    #[test]
    fn the_file_of_butler_16_is_read_and_written_back() {
        let text = format!(
            "\u{feff}butlerSchedule:\r\n  - name: Morning load\r\n    cronSchedule: '0 6 * 0-5 1-5'\r\n    timezone: Europe/Oslo\r\n    \
             qlikSenseTaskId: {TASK}\r\n    startupState: started\r\n    tags:\r\n      - finance\r\n    id: 17\r\n    \
             lastKnownState: stopped\r\n  - name: Without id\r\n    cronSchedule: '*/30 * * * * *'\r\n    timezone: UTC\r\n    \
             qlikSenseTaskId: {TASK}\r\n    startupState: stop\r\n"
        );
        let Read { schedules, warnings } = read(&text).unwrap();
        assert!(warnings.is_empty() && schedules.len() == 2);
        assert_eq!(
            (schedules[0].id.as_str(), schedules[0].enabled, schedules[0].cron.to_string().as_str()),
            ("17", true, "0 6 * 1-6 1-5")
        );
        assert!(!schedules[1].enabled && schedules[1].id.len() == 36);
        let theirs = write(&schedules, &[], Form::Butler16);
        assert_eq!(value(&theirs)["butlerSchedule"][0]["cronSchedule"], "0 6 * 0-5 1-5", "{theirs}");
        assert!(theirs.starts_with("butlerSchedule:\n  - name: Morning load\n    cronSchedule:"), "{theirs}");
        assert_eq!(read(&theirs).unwrap().schedules, schedules);
        let ours = write(&schedules, &[], Form::Own);
        assert!(ours.starts_with("schedules:\n  - id: "), "{ours}");
        assert_eq!(read(&ours).unwrap().schedules, schedules, "{ours}");
        let as_json = json!({ "schedules": [json!(schedules[0].own())] }).to_string();
        assert_eq!(read(&as_json).unwrap().schedules, schedules[..1]);
        assert_eq!(write(&schedules[..0], &[], Form::Own), "schedules: []\n");
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let text = format!(
            "butlerSchedule:\n  - id: a\n    name: One\n    cronSchedule: '0 6 1 12 *'\n    timezone: Mars\n    qlikSenseTaskId: {TASK}\n    \
             startupState: started\n  - id: 7\n    name: Two\n    cronSchedule: 0 6 * * *\n    timezone: UTC\n    qlikSenseTaskId: {TASK}\n    \
             startupState: started\n  - id: '7'\n    name: Two\n    cronSchedule: 0 6 * * *\n    timezone: UTC\n    qlikSenseTaskId: {TASK}\n    \
             startupState: started\n  - nothing\nmore: 1\n"
        );
        let faults = read(&text).unwrap_err();
        assert_eq!(
            faults,
            [
                "line 21: `more` is no part of a file of schedules: remove it",
                "line 4: `cronSchedule` column 7 (month): `12` stands where a number from 0 (jan) to 11 (dec) or a name must be",
                "line 5: `timezone` there is no time zone `Mars`: write a name of the IANA database, such as `Europe/Oslo` or `UTC`",
                "line 14: the schedule has the id `7` of the one in line 8: give it another, or none",
                "line 20: a schedule must be a list of properties, such as `name: …`",
            ]
        );
        for (text, part) in [
            ("", "no schedules"),
            ("butlerSchedule:\n", "no schedules"),
            ("butlerSchedule: {}\n", "no schedules"),
            ("plugins: []\n", "no schedules"),
            ("- a\n", "no schedules"),
            ("schedules:\n  - cron: */5 * * * *\n", "line 2, column"),
            ("schedules: [\n", "line "),
        ] {
            assert!(read(text).unwrap_err()[0].contains(part), "{text}: {:?}", read(text).unwrap_err());
        }
        let entry =
            |id: &str| format!("  - {{ id: {id}, name: same, cron: 0 6 * * *, timeZone: UTC, taskId: {TASK} }}\n");
        let twice = format!("schedules:\n{}{}", entry("a"), entry("b"));
        assert_eq!(read(&twice).unwrap().warnings, ["line 3: the schedule has the name of the one in line 2"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_is_written_is_read_back(name in "[^\\pC]{1,30}", tag in "[^\\pC]{0,10}", id in "[^\\pC]{1,12}", more in "[^\\pC]{0,12}") {
            let value = json!({
                "id": format!("{id}x"), "name": name, "cron": "*/5 6 * jan mon", "timeZone": "Europe/Oslo", "taskId": TASK,
                "tags": [tag], "properties": { "more": { "text": more, "n": [1, true, null] } },
            });
            let schedule = Schedule::read(value.as_object().unwrap(), Form::Own).unwrap();
            for form in [Form::Own, Form::Butler16] {
                let text = write(std::slice::from_ref(&schedule), &[], form);
                let back = read(&text).unwrap().schedules.remove(0);
                prop_assert_eq!(&back.name, &schedule.name, "{}", text);
                prop_assert_eq!((&back.id, &back.tags, &back.properties), (&schedule.id, &schedule.tags, &schedule.properties), "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("butlerSchedule:\n  - {text}"));
        }
    }
}
