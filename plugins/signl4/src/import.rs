//! What `butler migrate` takes over from a config of Butler 16: `incidentTool.signl4`.

use butler_plugin_api::import::{Block, Import};
use butler_plugin_api::{OperationError, kind};
use serde_json::{Value, json};

use crate::settings::{Settings, Team};

const SECTION: &str = "incidentTool.signl4";
const BLOCKS: [(&str, &str); 2] =
    [("reloadTaskFailure", kind::RELOAD_TASK_FAILED), ("reloadTaskAborted", kind::RELOAD_TASK_ABORTED)];

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    if !import.flag(&format!("{SECTION}.enable")) {
        import.off(SECTION);
        return Ok(import.finish());
    }
    let mut blocks = Vec::new();
    for (name, event) in BLOCKS {
        let block = Block::new(format!("{SECTION}.{name}"), &[event], "task");
        if import.flag(&block.key("enable")) {
            blocks.push(block);
        } else {
            import.off(&block.path);
        }
    }
    let url = format!("{SECTION}.url");
    let Some(address) = import.secret_address(&url) else {
        import.todo(SECTION, "it has no address to post to, and is left out");
        return Ok(import.finish());
    };
    // By kind, so that blocks that differ in nothing else have one instance.
    let severities: Vec<Value> = blocks
        .iter()
        .filter_map(|block| {
            let severity = import.number(&block.key("severity")).and_then(|number| i64::try_from(number).ok())?;
            Some(json!({ "events": block.events, "severity": severity }))
        })
        .collect();
    for block in blocks {
        // Butler 16 resolved nothing.
        let mut settings = json!({ "url": address, "severities": severities, "resolve": false });
        if let Some(name) = import.text(&block.key("serviceName")) {
            settings["serviceName"] = name.into();
        }
        include_app(&mut import, &block.key("includeApp"));
        let throttle = import.throttle(&block);
        import.rule("signl4", &block, throttle, settings, |settings| {
            let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
            Team::try_from(settings).map(drop)
        });
    }
    import.tidy();
    Ok(import.finish())
}

fn include_app(import: &mut Import, path: &str) {
    let why = if import.flag(&format!("{path}.includeAll")) {
        "alerts go out for all apps, as before"
    } else {
        "Butler 16 never looked at it: alerts go out for all apps, as before. For some alone say \
         `where: { app.id: [ID, ID] }` beside `events`"
    };
    import.no_effect(path, why);
}

#[cfg(test)]
mod tests;
