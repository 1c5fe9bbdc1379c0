//! Writing schedules in both forms.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Missed, Overlap, Schedule};
use crate::schedule::Months;

impl Schedule {
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
            tags: self.tags.clone(),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
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
