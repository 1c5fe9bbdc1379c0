//! Failed and aborted reloads, as events and logs.

use butler_plugin_api::import::{Import, task_property};
use butler_plugin_api::kind;
use serde_json::{Value, json};

use super::{Account, Draft, INCIDENTS, attributes, names, rule, switched_off, throttle};
use crate::settings::MOST_LINES;

const TAGS: [(&str, &[&str]); 2] = [("useTaskTags", &["qs_taskTag_*"]), ("useAppTags", &["qs_appTag_*"])];

/// Who gets something.
struct Receivers {
    always: Vec<String>,
    property: Option<String>,
}

pub(super) fn read(import: &mut Import, accounts: &[Account], draft: &mut Draft) {
    let blocks = [("reloadTaskFailure", kind::RELOAD_TASK_FAILED), ("reloadTaskAborted", kind::RELOAD_TASK_ABORTED)];
    let legacy = format!("{INCIDENTS}.destinationAccount");
    if !import.flag(&format!("{INCIDENTS}.enable")) {
        for (block, _) in blocks {
            import.dropped(&format!("{INCIDENTS}.{block}"), "`incidentTool.newRelic.enable` is off");
        }
        return import.dropped(&legacy, "`incidentTool.newRelic.enable` is off");
    }
    let legacy = [
        ("event", names(import, accounts, &format!("{legacy}.event"))),
        ("log", names(import, accounts, &format!("{legacy}.log"))),
    ];
    for (block, kind) in blocks {
        let block = format!("{INCIDENTS}.{block}");
        let shared = format!("{block}.sharedSettings");
        let mut all = Vec::new();
        for (api, legacy) in &legacy {
            let section = format!("{block}.destination.{api}");
            let Some(receivers) = receivers(import, accounts, &section, legacy) else { continue };
            let statics = [format!("{shared}.attribute.static"), format!("{section}.attribute.static")];
            let attributes = attributes(import, &statics);
            let leave_out = switched_off(import, &format!("{section}.attribute.dynamic"), &TAGS);
            let mut send_to = json!({});
            if !receivers.always.is_empty() {
                send_to["always"] = json!(receivers.always);
            }
            if let Some(property) = &receivers.property {
                send_to["byCustomProperty"] = property.as_str().into();
            }
            let mut rule = rule(&[kind], &send_to, &attributes, &leave_out);
            if *api == "event" {
                draft.events.push(rule);
            } else {
                if let Some(lines) = lines(import, &section) {
                    rule["tailScriptLogLines"] = lines.into();
                }
                draft.logs.push(rule);
            }
            all.push(receivers);
        }
        if all.is_empty() {
            import.dropped(&shared, "nothing of the section is sent");
            continue;
        }
        draft.headers(import, &format!("{shared}.header"));
        let throttle = throttle(import, &shared, kind, "task");
        for condition in conditions(import, &block, &all) {
            let mut rule = json!({ "events": [kind] });
            for (name, value) in [("where", condition), ("throttle", throttle.clone())] {
                if let Some(value) = value {
                    rule[name] = value;
                }
            }
            draft.on.push(rule);
        }
    }
}

/// The accounts, by their names and by a custom property; none if nothing is sent.
fn receivers(import: &mut Import, accounts: &[Account], section: &str, legacy: &[String]) -> Option<Receivers> {
    if !import.flag(&format!("{section}.enable")) {
        import.off(section);
        return None;
    }
    let (always, by_property) =
        (format!("{section}.sendToAccount.always"), format!("{section}.sendToAccount.byCustomProperty"));
    let mut receivers = Receivers { always: Vec::new(), property: None };
    if import.flag(&format!("{always}.enable")) {
        receivers.always = names(import, accounts, &format!("{always}.account"));
    } else {
        import.off(&always);
    }
    for name in legacy {
        if !receivers.always.contains(name) {
            receivers.always.push(name.clone());
        }
    }
    if import.flag(&format!("{by_property}.enable")) {
        receivers.property = import.text(&format!("{by_property}.customPropertyName"));
    } else if let Some(name) = import.text(&format!("{by_property}.customPropertyName")) {
        let why = format!(
            "it is switched off, and counts as that now: Butler 16 read the property all the same, and sent to the accounts that \
             tasks name in `{name}`. Set `sendTo.byCustomProperty` if you want that"
        );
        import.todo(&by_property, &why);
    } else {
        import.off(&by_property);
    }
    if accounts.is_empty() || (receivers.always.is_empty() && receivers.property.is_none()) {
        import.dropped(section, "no account is named that it would go to");
        return None;
    }
    Some(receivers)
}

/// Conditions of the rules for `on:`. Where the custom property of the task alone decides, a task without it would be a dead
/// delivery.
fn conditions(import: &mut Import, block: &str, all: &[Receivers]) -> Vec<Option<Value>> {
    if all.iter().any(|receivers| !receivers.always.is_empty()) {
        return vec![None];
    }
    let mut names: Vec<&str> = all.iter().filter_map(|receivers| receivers.property.as_deref()).collect();
    names.dedup();
    let mut conditions = Vec::new();
    for name in names {
        if let Some(path) = task_property(name) {
            conditions.push(Some(json!({ path: "*" })));
        } else {
            import.todo(block, &format!("write a `where` in `on:` that keeps out tasks without `{name}`"));
            return vec![None];
        }
    }
    conditions
}

/// How many lines of the script log. Butler 16 took those of failures for aborted reloads, too.
fn lines(import: &mut Import, section: &str) -> Option<u64> {
    let path = format!("{section}.tailScriptLogLines");
    let lines = import.number(&path)?;
    let most = u64::try_from(MOST_LINES).unwrap_or(u64::MAX);
    if lines > most {
        import.differs(&path, &format!("it is {most} now, the most that is possible"));
    }
    if section.contains("reloadTaskAborted") {
        let of_failures = path.replace("reloadTaskAborted", "reloadTaskFailure");
        if import.number(&of_failures) != Some(lines) {
            import.differs(&path, "it counts now; Butler 16 took the number of failed reloads");
        }
    }
    Some(lines.min(most))
}
