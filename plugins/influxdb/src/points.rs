//! From an event to its points.
//!
//! Measurements, tags, fields and their types are those of Butler 16, which dashboards read: [`task`](super::task) for
//! tasks, [`site`](super::site) for licences, services, versions and Butler itself. Kinds that Butler 16 did not write have a
//! general form, [`general`](super::general). Here the tags are added that the settings ask for.

use std::collections::BTreeMap;

use butler_plugin_api::butler16::{LogLines, Zone, slashed_user};
use butler_plugin_api::{Event, kind};

use crate::line::Point;
use crate::script::Wanted;
use crate::{general, site, task};

/// Most tags that come from the tags of one task or app: InfluxDB limits what a point is marked with.
const MOST_DYNAMIC_TAGS: usize = 50;

/// How points are made.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) measurements: BTreeMap<String, Marks>,
    pub(crate) script_log: Wanted,
    pub(crate) queue_measurement: String,
    pub(crate) zone: Zone,
}

/// What the points of a measurement are marked with.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) task_tags: bool,
    pub(crate) app_tags: bool,
}

impl Maker {
    /// How many lines of the script log the points of an event hold; none: it is not in them.
    pub(crate) fn script_log(&self, event: &Event) -> Option<Wanted> {
        match event.kind.as_str() {
            kind::RELOAD_TASK_SUCCEEDED => Some(self.script_log),
            kind::RELOAD_TASK_FAILED | kind::RELOAD_TASK_ABORTED | kind::CLOUD_APP_RELOAD_FAILED => {
                Some(Wanted { head: 0, ..self.script_log })
            }
            _ => None,
        }
    }

    /// The points of an event, in a fixed order. `log`: its lines of the script log, if there is one.
    pub(crate) fn points(&self, event: &Event, log: Option<&LogLines>) -> Vec<Point> {
        let kind = event.kind.as_str();
        let name = measurement(kind, &self.queue_measurement);
        let mut points = match kind {
            kind::SERVICE_STATE | kind::SERVICE_STOPPED | kind::SERVICE_STARTED | kind::SERVICE_UNKNOWN => {
                vec![site::service(event, &name)]
            }
            kind::SERVER_LICENSE_STATUS | kind::SERVER_LICENSE_EXPIRING | kind::SERVER_LICENSE_EXPIRED => {
                vec![site::server_license(event, &name)]
            }
            kind::ACCESS_LICENSE_USAGE | kind::ACCESS_LICENSE_LOW => site::access_licenses(event),
            kind::ACCESS_LICENSE_RELEASED => site::released_licenses(event, &name),
            kind::ACTIVE_USERS_COUNTED => site::active_users(event, &name),
            kind::QLIK_VERSION_CHECKED => vec![site::qlik_version(event, &name)],
            kind::BUTLER_UPTIME => site::butler(event, &name),
            kind::BUTLER_INGEST => vec![site::ingest(event, &name)],
            kind::APP_RELOAD_FAILED => vec![task::app_reload(event, &name)],
            _ if is_task(kind) => vec![task::point(event, &name, log, self)],
            _ => vec![general::point(event, &name, log, self)],
        };
        for point in &mut points {
            self.mark(point, event);
        }
        points
    }

    /// Adds tags: those of all points yield to the measurement's own, which yield to those of tasks and apps, which yield to
    /// those that the settings have for the measurement.
    fn mark(&self, point: &mut Point, event: &Event) {
        for (name, value) in &self.tags {
            if !point.tags.contains_key(name) {
                point.tag(name, Some(value.as_str()));
            }
        }
        let marks = self.measurements.get(&point.measurement);
        let (with_task_tags, with_app_tags) = marks.map_or((true, true), |marks| (marks.task_tags, marks.app_tags));
        let task_tags = event.data.task.as_ref().filter(|_| with_task_tags).map(|task| &task.tags);
        let is_reload = matches!(event.subject(), "reload-task" | "app-reload" | "cloud-app-reload");
        let app_tags = event.data.app.as_ref().filter(|_| with_app_tags && is_reload).map(|app| &app.tags);
        for (prefix, tags) in [("taskTag_", task_tags), ("appTag_", app_tags)] {
            for tag in tags.into_iter().flatten().take(MOST_DYNAMIC_TAGS) {
                point.tag(&format!("{prefix}{tag}"), Some("true"));
            }
        }
        for (name, value) in marks.into_iter().flat_map(|marks| &marks.tags) {
            // The points of one event are told apart by it.
            let own = [(site::ACCESS_LICENSES, site::LICENSE_TYPE), (site::ACTIVE_USERS_BY_NODE, site::HOST)];
            if !own.contains(&(point.measurement.as_str(), name.as_str())) {
                point.tag(name, Some(value.as_str()));
            }
        }
        if event.source == Event::TEST {
            point.tag("test", Some("true"));
        }
    }
}

/// Whether it is a kind about the end of a task.
fn is_task(kind: &str) -> bool {
    kind::ALL.contains(&kind) && kind.rsplit_once('.').is_some_and(|(subject, _)| subject.ends_with("-task"))
}

/// The measurement of a kind. `queue`: that of the ingestion's counters. [`site::UPTIME`] and [`site::ACTIVE_USERS_BY_NODE`]
/// are second ones of their kinds.
fn measurement(kind: &str, queue: &str) -> String {
    match kind {
        kind::SERVICE_STATE | kind::SERVICE_STOPPED | kind::SERVICE_STARTED | kind::SERVICE_UNKNOWN => {
            "win_service_state".to_owned()
        }
        kind::SERVER_LICENSE_STATUS | kind::SERVER_LICENSE_EXPIRING | kind::SERVER_LICENSE_EXPIRED => {
            "qlik_sense_server_license".to_owned()
        }
        kind::ACCESS_LICENSE_USAGE | kind::ACCESS_LICENSE_LOW => site::ACCESS_LICENSES.to_owned(),
        kind::ACCESS_LICENSE_RELEASED => "qlik_sense_license_release".to_owned(),
        kind::ACTIVE_USERS_COUNTED => "active_users".to_owned(),
        kind::QLIK_VERSION_CHECKED => "qlik_sense_version".to_owned(),
        kind::BUTLER_UPTIME => "butler_memory_usage".to_owned(),
        kind::BUTLER_INGEST => queue.to_owned(),
        _ if is_task(kind) => general::measurement(kind).replace("_succeeded", "_success"),
        _ => general::measurement(kind),
    }
}

/// The measurement that somebody means who writes the name of a kind, or of nothing that is written; none if the name is right.
pub(crate) fn meant(name: &str, queue: &str) -> Option<String> {
    let plain = |text: &str| text.replace(['-', '.', ' '], "_");
    let mut known = kind::ALL.iter().map(|kind| (plain(kind), measurement(kind, queue)));
    if [site::UPTIME, site::ACTIVE_USERS_BY_NODE].contains(&name)
        || known.clone().any(|(_, measurement)| measurement == name)
    {
        return None;
    }
    let of_kind = known.find(|(kind, _)| *kind == plain(name)).map(|(_, measurement)| measurement);
    of_kind.or_else(|| name.contains(['-', '.', ' ']).then(|| general::measurement(name)))
}

/// A point with the tags that say where it happened, to what, and on whose behalf.
pub(crate) fn about(event: &Event, measurement: impl Into<String>) -> Point {
    let data = &event.data;
    let mut point = Point::new(measurement);
    point.tag("host", data.node.as_deref());
    point.tag("user", data.user.as_deref().map(slashed_user));
    if let Some(task) = &data.task {
        point.tag("task_id", Some(task.id.as_str()));
        point.tag("task_name", Some(task.name.as_str()));
    }
    if let Some(app) = &data.app {
        point.tag("app_id", Some(app.id.as_str()));
        point.tag("app_name", Some(app.name.as_str()));
    }
    point.tag("log_level", data.log.as_ref().map(|log| log.level.as_str()));
    point
}
