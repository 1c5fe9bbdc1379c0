//! A schedule, and the two forms in which it is written: Butler's own, and that of Butler 16.
//!
//! | here | Butler 16 |
//! | --- | --- |
//! | `cron`, months from 1 | `cronSchedule`, months from 0 |
//! | `timeZone` | `timezone` |
//! | `taskId` | `qlikSenseTaskId` |
//! | `enabled`: stays as it is left | `startupState` decides at each start; `lastKnownState` says how it is |
//! | `missed`, `overlap` | |
//! | `properties` | whatever else there was |

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Cron, Months, Zone};
use crate::qlik::is_guid;
use crate::store::{now_ms, rfc3339};

/// Longest id, in characters.
const MAX_ID: usize = 200;
/// Longest name, tag or other text, in characters.
const MAX_TEXT: usize = 500;
const MAX_TAGS: usize = 100;
/// Longest further properties, as JSON.
const MAX_PROPERTIES: usize = 16 << 10;
/// What paths of the API end in.
const RESERVED: [&str; 5] = ["export", "import", "startall", "stopall", "status"];

/// When a task is to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Unique. Any text without control characters.
    pub id: String,
    /// What people read.
    pub name: String,
    /// When.
    pub cron: Cron,
    /// By the clocks of which zone.
    pub zone: Zone,
    /// The task of Qlik Sense, a GUID.
    pub task_id: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Whether it runs after a start of Butler, in one of the words of [`STARTUP_STATES`]. Absent: as it was.
    pub startup_state: Option<String>,
    /// For people.
    pub tags: Vec<String>,
    /// What becomes of runs for which Butler was away.
    pub missed: Missed,
    /// What becomes of a run while the task runs still.
    pub overlap: Overlap,
    /// RFC 3339.
    pub created: Option<String>,
    /// Further properties that somebody has given it.
    pub properties: Map<String, Value>,
}

/// The words for the state after a start.
pub const STARTUP_STATES: [&str; 4] = ["start", "started", "stop", "stopped"];

/// What becomes of runs for which Butler was away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// However many there were, the task is started once.
    Once,
}

/// What becomes of a run while the task runs still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Qlik Sense is asked to start it all the same.
    #[default]
    Allow,
    /// It is left out.
    Skip,
}

/// What is wrong with a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name; empty for the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// How a schedule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Butler's own.
    Own,
    /// That of Butler 16.
    Butler16,
}

impl Schedule {
    /// Reads one. `id` and `created` may be missing: then they are made.
    pub fn read(entries: &Map<String, Value>, form: Form) -> Result<Self, Vec<Fault>> {
        let mut entries = Reader { left: entries.clone(), faults: Vec::new() };
        let own = form == Form::Own;
        let named = |own_name, other| if own { own_name } else { other };
        let id = entries.text("id").filter(|id| !id.is_empty());
        if let Some(id) = &id
            && let Some(message) = id_fault(id)
        {
            entries.fault("id", message);
        }
        let name = entries.required("name");
        let cron_field = named("cron", "cronSchedule");
        let months = if own { Months::FromOne } else { Months::FromZero };
        let cron = entries.required(cron_field);
        let cron = entries.parsed(cron_field, cron, |text| Cron::parse(text, months));
        let zone_field = named("timeZone", "timezone");
        let zone = entries.required(zone_field);
        // Butler 16 reads `timezone` and goes by `timeZone`, which nobody has been told of.
        let zone = if own { zone } else { entries.text("timeZone").or(zone) };
        let zone = entries.parsed(zone_field, zone, Zone::named);
        let task_field = named("taskId", "qlikSenseTaskId");
        let task = entries.required(task_field);
        let guid =
            |text: &str| if is_guid(text) { Ok(text.to_owned()) } else { Err("must be the id of a task, a GUID") };
        let task_id = entries.parsed(task_field, task, guid);
        let startup_state = if own { entries.text("startupState") } else { entries.required("startupState") };
        if startup_state.as_deref().is_some_and(|state| !STARTUP_STATES.contains(&state)) {
            entries.fault("startupState", format!("must be one of {}", STARTUP_STATES.join(", ")));
        }
        let mut enabled = startup_state.as_deref().is_none_or(is_start);
        let (mut missed, mut overlap) = (Missed::default(), Overlap::default());
        let mut properties = Map::new();
        if own {
            enabled = entries.flag("enabled").unwrap_or(enabled);
            missed = entries.choice("missed", [("skip", Missed::Skip), ("once", Missed::Once)]).unwrap_or_default();
            overlap =
                entries.choice("overlap", [("allow", Overlap::Allow), ("skip", Overlap::Skip)]).unwrap_or_default();
            properties = entries.object("properties");
        } else {
            entries.left.remove("lastKnownState");
        }
        let tags = entries.tags();
        let created = entries.text("created").filter(|created| !created.is_empty());
        let date = |text: &str| match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(format!("{time:.3}")),
            Err(_) => Err("must be a date with time and zone, such as `2026-01-31T12:00:00Z`"),
        };
        let created = entries.parsed("created", created, date);
        if own {
            let unknown: Vec<String> = entries.left.keys().cloned().collect();
            for name in unknown {
                entries.fault(&name, "there is no such property; `properties` may hold what is yours".to_owned());
            }
        } else {
            properties = std::mem::take(&mut entries.left);
        }
        if json!(properties).to_string().len() > MAX_PROPERTIES {
            entries.fault("properties", format!("at most {} kB of further properties are kept", MAX_PROPERTIES >> 10));
        }
        let (Some(name), Some(cron), Some(zone), Some(task_id), true) =
            (name, cron, zone, task_id, entries.faults.is_empty())
        else {
            return Err(entries.faults);
        };
        let id = id.map_or_else(new_id, Ok).map_err(|message| vec![Fault { field: "id".to_owned(), message }])?;
        Ok(Self { id, name, cron, zone, task_id, enabled, startup_state, tags, missed, overlap, created, properties })
    }

    /// The same, made now: whatever was said of id and creation.
    pub fn read_new(entries: &Map<String, Value>, form: Form) -> Result<Self, Vec<Fault>> {
        let mut entries = entries.clone();
        if form == Form::Butler16 {
            entries.remove("id");
        }
        entries.insert("created".to_owned(), rfc3339(now_ms()).into());
        Self::read(&entries, form)
    }

    /// Switches it on or off. Unless it is for as long as Butler runs, it stays so.
    pub fn switch(&mut self, enabled: bool, lasting: bool) {
        self.enabled = enabled;
        if lasting {
            self.startup_state = None;
        }
    }

    /// What Butler starts with.
    #[must_use]
    pub fn at_start(mut self) -> Self {
        self.enabled = self.startup_state.as_deref().map_or(self.enabled, is_start);
        self
    }

    /// In Butler's own form.
    pub fn own(&self) -> impl Serialize + use<> {
        Own {
            id: self.id.clone(),
            name: self.name.clone(),
            cron: self.cron.to_string(),
            time_zone: self.zone.name().to_owned(),
            task_id: self.task_id.clone(),
            enabled: self.enabled,
            startup_state: self.startup_state.clone(),
            tags: self.tags.clone(),
            missed: if self.missed == Missed::Once { "once" } else { "skip" },
            overlap: if self.overlap == Overlap::Skip { "skip" } else { "allow" },
            created: self.created.clone(),
            properties: self.properties.clone(),
        }
    }

    /// In the form of Butler 16 with all that there is.
    pub fn butler16(&self) -> impl Serialize + use<> {
        let Listed {
            id,
            created,
            name,
            cron_schedule,
            timezone,
            qlik_sense_task_id,
            startup_state,
            tags,
            last_known_state,
        } = self.listed();
        let more = self.properties.clone();
        Whole {
            name,
            cron_schedule,
            timezone,
            qlik_sense_task_id,
            startup_state,
            tags,
            more,
            id,
            created,
            last_known_state,
        }
    }

    /// In the form of Butler 16, as its list has it.
    pub fn butler16_listed(&self) -> impl Serialize + use<> {
        self.listed()
    }

    fn listed(&self) -> Listed {
        let state = if self.enabled { "started" } else { "stopped" };
        Listed {
            id: self.id.clone(),
            created: self.created.clone(),
            name: self.name.clone(),
            cron_schedule: self.cron.text(Months::FromZero),
            timezone: self.zone.name().to_owned(),
            qlik_sense_task_id: self.task_id.clone(),
            startup_state: self.startup_state.clone().unwrap_or_else(|| state.to_owned()),
            tags: (!self.tags.is_empty()).then(|| self.tags.clone()),
            last_known_state: state,
        }
    }
}

// Fields in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    id: String,
    name: String,
    cron: String,
    time_zone: String,
    task_id: String,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    startup_state: Option<String>,
    tags: Vec<String>,
    missed: &'static str,
    overlap: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    name: String,
    cron_schedule: String,
    timezone: String,
    qlik_sense_task_id: String,
    startup_state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    last_known_state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    name: String,
    cron_schedule: String,
    timezone: String,
    qlik_sense_task_id: String,
    startup_state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(flatten)]
    more: Map<String, Value>,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    last_known_state: &'static str,
}

/// Takes properties out of an object, and notes what is wrong with them.
struct Reader {
    left: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, field: &str, message: String) {
        self.faults.push(Fault { field: field.to_owned(), message });
    }

    /// A text; numbers stand for their digits, since an id in YAML may look like one.
    fn text(&mut self, name: &str) -> Option<String> {
        let text = match self.left.remove(name)? {
            Value::Null => return None,
            Value::String(text) => text,
            value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
            _ => {
                self.fault(name, "must be a text".to_owned());
                return None;
            }
        };
        if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
            self.fault(name, format!("must have at most {MAX_TEXT} characters, and no line breaks and the like"));
            return None;
        }
        Some(text)
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let there = self.left.get(name).is_some_and(|value| !value.is_null());
        let text = self.text(name);
        if !there {
            self.fault(name, "is missing".to_owned());
        }
        text
    }

    fn parsed<T, E: ToString>(
        &mut self,
        name: &str,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&text?) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        let flag = self.left.remove(name)?.as_bool();
        if flag.is_none() {
            self.fault(name, "must be true or false".to_owned());
        }
        flag
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: [(&str, T); 2]) -> Option<T> {
        let text = self.text(name)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            self.fault(name, format!("must be `{}` or `{}`", choices[0].0, choices[1].0));
        }
        chosen
    }

    fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.fault(name, "must be an object".to_owned());
                Map::new()
            }
        }
    }

    fn tags(&mut self) -> Vec<String> {
        let tags = match self.left.remove("tags") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(tags)) => tags,
            Some(tag) => vec![tag],
        };
        if tags.len() > MAX_TAGS {
            self.fault("tags", format!("there may be at most {MAX_TAGS}"));
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(tags.len());
        for tag in tags {
            self.left.insert("tags".to_owned(), tag);
            texts.extend(self.text("tags"));
        }
        texts
    }
}

fn is_start(state: &str) -> bool {
    state.starts_with("start")
}

fn id_fault(id: &str) -> Option<String> {
    if id.chars().count() > MAX_ID {
        return Some(format!("must have at most {MAX_ID} characters"));
    }
    RESERVED.contains(&id).then(|| format!("`{id}` is a word of the API: choose another"))
}

/// A UUID of version 4.
fn new_id() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "5d2c7f10-1111-4a2b-9c3d-0123456789ab";

    fn read(value: &Value, form: Form) -> Result<Schedule, Vec<String>> {
        let faults =
            |faults: Vec<Fault>| faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        Schedule::read(value.as_object().unwrap(), form).map_err(faults)
    }

    #[test]
    fn both_forms_say_the_same() {
        let theirs = json!({
            "name": "Morning", "cronSchedule": "0 6 1 1 *", "timezone": "europe/oslo", "qlikSenseTaskId": TASK,
            "startupState": "stop", "tags": ["finance"], "id": 12, "owner": { "team": 3 }, "lastKnownState": "started",
        });
        let schedule = read(&theirs, Form::Butler16).unwrap();
        assert_eq!((schedule.id.as_str(), schedule.enabled), ("12", false));
        assert_eq!(
            serde_json::to_string(&schedule.butler16()).unwrap(),
            format!(
                r#"{{"name":"Morning","cronSchedule":"0 6 1 1 *","timezone":"Europe/Oslo","qlikSenseTaskId":"{TASK}","startupState":"stop","tags":["finance"],"owner":{{"team":3}},"id":"12","lastKnownState":"stopped"}}"#
            )
        );
        let own = json!(schedule.own());
        assert_eq!(
            own,
            json!({
                "id": "12", "name": "Morning", "cron": "0 6 1 2 *", "timeZone": "Europe/Oslo", "taskId": TASK, "enabled": false,
                "startupState": "stop", "tags": ["finance"], "missed": "skip", "overlap": "allow", "properties": { "owner": { "team": 3 } },
            })
        );
        assert_eq!(read(&own, Form::Own).unwrap(), schedule);
        assert_eq!(read(&json!(schedule.butler16()), Form::Butler16).unwrap(), schedule);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let wrong = json!({
            "cron": "0 25 * * *", "timeZone": "Europe/Olso", "taskId": "x", "enabled": "yes", "missed": "twice", "tags": [{}],
            "overlap": 1, "created": "today", "colour": "red", "id": "export", "startupState": "on", "properties": [],
        });
        let faults = read(&wrong, Form::Own).unwrap_err();
        for (part, n) in [
            ("name: is missing", 1),
            ("cron: column 3 (hour): `25` stands where a number from 0 to 23 must be", 1),
            ("timeZone: there is no time zone `Europe/Olso`: is `Europe/Oslo` meant?", 1),
            ("taskId: must be the id of a task, a GUID", 1),
            ("enabled: must be true or false", 1),
            ("missed: must be `skip` or `once`", 1),
            ("overlap: must be `allow` or `skip`", 1),
            ("tags: must be a text", 1),
            ("created: must be a date", 1),
            ("colour: there is no such property", 1),
            ("id: `export` is a word of the API", 1),
            ("startupState: must be one of start, started, stop, stopped", 1),
            ("properties: must be an object", 1),
        ] {
            assert_eq!(faults.iter().filter(|fault| fault.starts_with(part)).count(), n, "{part}: {faults:#?}");
        }
        assert_eq!(faults.len(), 13, "{faults:#?}");
        let long = json!({ "name": "x".repeat(501), "cron": "* * * * *", "timeZone": "UTC", "taskId": TASK, "tags": vec!["x"; 101] });
        assert_eq!(read(&long, Form::Own).unwrap_err().len(), 2);
    }

    #[test]
    fn the_start_decides_only_where_it_is_said() {
        let value = |more: Value| {
            let mut value = json!({ "name": "x", "cron": "* * * * *", "timeZone": "UTC", "taskId": TASK });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(&value, Form::Own).unwrap()
        };
        let mut by_state = value(json!({ "startupState": "started" }));
        assert!(by_state.enabled);
        by_state.switch(false, false);
        assert!(!by_state.enabled && by_state.clone().at_start().enabled);
        by_state.switch(false, true);
        assert!(!by_state.clone().at_start().enabled, "what is to last does");
        assert_eq!(json!(by_state.butler16())["startupState"], "stopped");
        let plain = value(json!({ "enabled": false }));
        assert!(!plain.clone().at_start().enabled && plain.startup_state.is_none());
        assert!(plain.id.len() == 36 && plain.id.as_bytes()[14] == b'4' && is_guid(&plain.id), "{}", plain.id);
        assert_ne!(value(json!({})).id, value(json!({})).id);
    }

    #[test]
    fn the_zone_that_butler_16_obeyed_counts() {
        let value = json!({
            "name": "x", "cronSchedule": "* * * * *", "timezone": "Europe/Oslo", "timeZone": "Asia/Kolkata", "qlikSenseTaskId": TASK,
            "startupState": "start",
        });
        assert_eq!(read(&value, Form::Butler16).unwrap().zone.name(), "Asia/Kolkata");
    }
}
