//! Where the log of an event is stored: the path below the folder.

use butler_plugin_api::message::{Cut, Facts, Template, TemplateError};
use butler_plugin_api::{Delivery, Event, Instance};
use serde_json::Value;

use crate::names;
use crate::settings::Archive;

/// The path of a file, its steps parted by `/`, and what is wrong with the template, if it was not used for that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) trouble: Option<String>,
}

impl Archive {
    /// Where the log of an event belongs: by the template of the settings, else under the usual name.
    pub(crate) fn place(&self, delivery: &Delivery, instance: &Instance) -> Place {
        let variables = Facts::of(delivery, instance, &self.presentation).context(Cut::NONE);
        let usual = || usual(&delivery.event, variables["event"]["timeLocal"].as_str().unwrap_or_default());
        let Some(template) = &self.path else { return Place { path: usual(), trouble: None } };
        match templated(template, variables.clone()) {
            Ok(path) => Place { path, trouble: None },
            Err(trouble) => Place { path: usual(), trouble: Some(trouble) },
        }
    }

    /// By another template than that of the settings.
    pub(crate) fn place_by(
        &self,
        template: &Template,
        delivery: &Delivery,
        instance: &Instance,
    ) -> Result<String, String> {
        templated(template, Facts::of(delivery, instance, &self.presentation).context(Cut::NONE))
    }
}

fn templated(template: &Template, variables: Value) -> Result<String, String> {
    // A setting, and by its name: `Europe/Berlin`.
    let zone = variables["timeZone"].clone();
    let mut variables = names::one_step(variables);
    variables["timeZone"] = zone;
    let text = template.text(&variables).map_err(|error: TemplateError| error.to_string())?;
    names::clean_path(text.trim())
}

/// The name that Butler 16 gives to a log. `local` is the time of the event, for events that no log line told of: its form
/// is that of log lines, `2026-03-04 06:06:07`.
fn usual(event: &Event, local: &str) -> String {
    let data = &event.data;
    let app = data.app.as_ref().map(|app| app.id.as_str());
    let (stamp, parts) = if let Some(cloud) = &data.cloud {
        (event.time.as_str(), [("appId", app), ("reloadId", cloud.reload_id.as_deref())])
    } else {
        let line = data.log.as_ref().map(|log| log.timestamp.as_str()).unwrap_or_default();
        let task = data.task.as_ref().map(|task| task.id.as_str());
        (if has_time(line) { line } else { local }, [("appId", app), ("taskId", task)])
    };
    let (day, mut name) = if has_time(stamp) {
        (&stamp[..10], stamp[..19].replace(' ', "_").replace(':', "-"))
    } else {
        ("undated", "undated".to_owned())
    };
    for (key, id) in parts {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            name = format!("{name}_{key}={id}");
        }
    }
    format!("{day}/{}", names::clean(&format!("{name}.log")))
}

/// Whether a text begins as `2026-03-04 06:06:07` or `2026-03-04T06:06:07`.
fn has_time(text: &str) -> bool {
    let form = "0000-00-00 00:00:00".bytes();
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b' ' | b'T'),
        _ => byte == form,
    };
    text.len() >= form.len() && text.bytes().zip(form).all(fits)
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_delivery;
    use serde_json::json;

    use super::*;
    use crate::settings::Settings;

    fn archive(path: Option<&str>) -> Archive {
        let settings = json!({ "folder": "logs", "path": path, "timeZone": "Europe/Berlin" });
        serde_json::from_value::<Settings>(settings).unwrap().check(".").unwrap()
    }

    fn placed(path: Option<&str>, delivery: &Delivery) -> Place {
        archive(path).place(delivery, &Instance::default())
    }

    #[test]
    fn usual_names_are_those_of_the_original() {
        let failed = placed(None, &sample_delivery("reload-task.failed"));
        assert_eq!(
            failed.path,
            "2026-03-04/2026-03-04_06-06-07_appId=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee_\
             taskId=11111111-2222-4333-8444-555555555555.log"
        );
        let cloud = placed(None, &sample_delivery("cloud-app-reload.failed"));
        assert!(cloud.path.starts_with("2026-03-04/2026-03-04T05-06-07_appId="), "{}", cloud.path);
        assert!(cloud.path.ends_with("_reloadId=67cda1f3e4b0a1b2c3d4e5f6.log"), "{}", cloud.path);
    }

    #[test]
    fn without_a_time_of_the_log_line_that_of_the_event_counts() {
        let mut delivery = sample_delivery("reload-task.failed");
        delivery.event.data.task = None;
        for line in ["", "20260304T060607.890+0100", "gestern, am Nachmittag"] {
            line.clone_into(&mut delivery.event.data.log.as_mut().unwrap().timestamp);
            let place = placed(None, &delivery);
            // 05:06:07 UTC.
            assert!(place.path.starts_with("2026-03-04/2026-03-04_06-06-07_appId=aaaa"), "{}", place.path);
        }
        delivery.event.time.clear();
        delivery.event.data.app.as_mut().unwrap().id = "../x".to_owned();
        assert_eq!(placed(None, &delivery).path, "undated/undated_appId=.._x.log");
    }

    #[test]
    fn a_template_chooses_folders_and_values_choose_none() {
        let mut delivery = sample_delivery("reload-task.failed");
        for (name, path) in [
            ("Sales nightly", "Finance EU/Sales nightly/2026-03/06-06.log"),
            ("../../etc/passwd", "Finance EU/..-..-etc-passwd/2026-03/06-06.log"),
            ("..", "Finance EU/_/2026-03/06-06.log"),
            (r"C:\temp", "Finance EU/C--temp/2026-03/06-06.log"),
            ("AUX", "Finance EU/_AUX/2026-03/06-06.log"),
            ("a\r\nb", "Finance EU/a__b/2026-03/06-06.log"),
        ] {
            name.clone_into(&mut delivery.event.data.task.as_mut().unwrap().name);
            let template =
                "{{appStreamName}}/{{taskName}}/{{date event.time \"%Y-%m\"}}/{{date event.time \"%H:%M\"}}.log";
            assert_eq!(placed(Some(template), &delivery), Place { path: path.to_owned(), trouble: None });
        }
    }

    #[test]
    fn a_template_that_fails_leads_to_the_usual_name() {
        let delivery = sample_delivery("reload-task.failed");
        let place = placed(Some("{{nothing}}"), &delivery);
        assert!(place.path.starts_with("2026-03-04/2026-03-04_06-06-07_appId="), "{}", place.path);
        assert_eq!(place.trouble.as_deref(), Some("the template `path` makes nothing of this event"));
    }
}
