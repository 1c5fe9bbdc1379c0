//! Reading schedules in both forms.

use serde_json::{Map, Value, json};

use super::{Fault, Form, Missed, Overlap, STARTUP_STATES, Schedule, is_start};
use crate::qlik::is_guid;
use crate::schedule::{Cron, Months, Zone};
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

/// Properties of Butler 16's form, which has further ones beside them.
const BUTLER_16: [&str; 10] = [
    "id",
    "name",
    "cronSchedule",
    "timezone",
    "timeZone",
    "qlikSenseTaskId",
    "startupState",
    "tags",
    "created",
    "lastKnownState",
];

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
            let taken: Vec<&str> = BUTLER_16.into_iter().filter(|name| properties.contains_key(*name)).collect();
            if !taken.is_empty() {
                let all = taken.join("`, `");
                let message = format!("must not have `{all}`: the form of Butler 16 has its own; choose another name");
                entries.fault("properties", message);
            }
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

    fn tags(&mut self) -> Option<Vec<String>> {
        let tags = match self.left.remove("tags")? {
            Value::Null => return None,
            Value::Array(tags) => tags,
            tag => vec![tag],
        };
        if tags.len() > MAX_TAGS {
            self.fault("tags", format!("there may be at most {MAX_TAGS}"));
            return None;
        }
        let mut texts = Vec::with_capacity(tags.len());
        for tag in tags {
            self.left.insert("tags".to_owned(), tag);
            texts.extend(self.text("tags"));
        }
        Some(texts)
    }
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
