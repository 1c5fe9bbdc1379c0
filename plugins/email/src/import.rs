//! What `butler migrate` takes over from a config of Butler 16: `emailNotification`, and of Qlik Cloud its
//! `alert.emailNotification`.
//!
//! Who gets a mail stays as it was: the addresses of the task's custom property always, the fixed recipients if there is no
//! gate or it is open, the app's owner if the lists say so. [`who`] reads that, [`server`] the mail server.

mod server;
mod who;

use butler_plugin_api::import::{Block, Import};
use butler_plugin_api::{OperationError, kind};
use serde_json::{Map, Value, json};

use crate::settings::{LONGEST_THROTTLE, Settings};

const SECTION: &str = "emailNotification";
/// Butler 16 told of a distribution that was aborted as of one that failed.
const TASKS: [(&str, &[&str]); 7] = [
    ("reloadTaskFailure", &[kind::RELOAD_TASK_FAILED]),
    ("reloadTaskAborted", &[kind::RELOAD_TASK_ABORTED]),
    ("reloadTaskSuccess", &[kind::RELOAD_TASK_SUCCEEDED]),
    ("distributeTaskFailure", &[kind::DISTRIBUTE_TASK_FAILED, kind::DISTRIBUTE_TASK_ABORTED]),
    ("distributeTaskSuccess", &[kind::DISTRIBUTE_TASK_SUCCEEDED]),
    ("preloadTaskFailure", &[kind::PRELOAD_TASK_FAILED]),
    ("preloadTaskSuccess", &[kind::PRELOAD_TASK_SUCCEEDED]),
];

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let mut blocks = import.blocks("email", &TASKS);
    if !import.flag(&format!("{SECTION}.enable")) {
        for block in blocks.drain(..) {
            import.dropped(
                &block.path,
                "`emailNotification.enable` is off, which counted for mails about Qlik Cloud as well",
            );
        }
        return Ok(import.finish());
    }
    if blocks.is_empty() {
        import.dropped(server::SECTION, "no alert goes out by email");
        return Ok(import.finish());
    }
    let Some(smtp) = server::smtp(&mut import) else {
        for block in blocks {
            import.todo(&block.path, "it is left out, since there is no mail server");
        }
        return Ok(import.finish());
    };
    for block in blocks {
        let settings = settings(&mut import, &block, &smtp);
        import.rule("email", &block, None, settings, |settings| {
            let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
            settings.check(".").map(drop)
        });
    }
    import.tidy();
    Ok(import.finish())
}

fn settings(import: &mut Import, block: &Block, smtp: &Value) -> Value {
    let mut settings = Map::new();
    let mut put = |name: &str, value: Option<Value>| settings.extend(value.map(|value| (name.to_owned(), value)));
    put("smtp", Some(smtp.clone()));
    put("from", import.text(&block.key("fromAddress")).map(Value::from));
    let (recipients, only_if) = who::recipients(import, block);
    put("recipients", Some(recipients).filter(|list| !list.is_empty()).map(Value::from));
    put("recipientsIf", only_if);
    let property = import.text(&block.key("alertEnabledByEmailAddress.customPropertyName"));
    put("recipientsFromProperty", property.map(Value::from));
    put("owner", who::owner(import, block));
    let priority = import.choice(&block.key("priority"), &["high", "normal", "low"]);
    put("priority", priority.filter(|priority| *priority != "normal").map(Value::from));
    put("subject", subject(import, block).map(Value::from));
    put("templateFile", template(import, block).map(Value::from));
    for name in ["headScriptLogLines", "tailScriptLogLines"] {
        put(name, import.log_lines(&block.key(name)).map(Value::from));
    }
    // By recipient, which a rule cannot.
    let every = import.rate_limit(&block.rate_limit, LONGEST_THROTTLE);
    put("throttle", every.map(|every| json!({ "every": every })));
    settings.into()
}

fn subject(import: &mut Import, block: &Block) -> Option<String> {
    let key = block.key("subject");
    let subject = import.text(&key)?;
    if block.per == "app" && subject.contains("taskName") {
        import
            .todo(&key, "`{{taskName}}` prints nothing in mails about Qlik Cloud, as in Butler 16: say `{{appName}}`");
    }
    Some(subject)
}

/// `htmlTemplateFile` without its ending, in `bodyFileDirectory`.
fn template(import: &mut Import, block: &Block) -> Option<String> {
    let folder = import.text(&block.key("bodyFileDirectory"));
    let key = block.key("htmlTemplateFile");
    let name = import.text(&key)?;
    let file = |name: &str| match &folder {
        Some(folder) => format!("{}/{name}", folder.trim_end_matches(['/', '\\'])),
        None => name.to_owned(),
    };
    // The sample config names some files otherwise than they were shipped; and some people wrote the ending.
    let files = [format!("{name}.handlebars"), format!("{name}-qseow.handlebars"), name];
    let known = if files[2].ends_with(".handlebars") { &files[..] } else { &files[..2] };
    import.template(&key, &known.iter().map(|name| file(name)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
