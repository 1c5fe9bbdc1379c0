//! What `butler migrate` takes over from a config of Butler 16: `teamsNotification`, and of Qlik Cloud its
//! `alert.teamsNotification`.

use butler_plugin_api::import::Import;
use butler_plugin_api::{OperationError, kind};
use serde_json::Value;

use crate::settings::Settings;

const TASKS: [(&str, &[&str]); 2] =
    [("reloadTaskFailure", &[kind::RELOAD_TASK_FAILED]), ("reloadTaskAborted", &[kind::RELOAD_TASK_ABORTED])];

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    for block in import.blocks("teams", &TASKS) {
        let Some(settings) = import.chat(&block) else { continue };
        let throttle = import.throttle(&block);
        if block.per == "app" && throttle.is_some() {
            let why = "Butler 16 counted by the reload, which is another one each time, and so held nothing back; now it \
                       counts by the app";
            import.differs(&block.rate_limit, why);
        }
        import.rule("teams", &block, throttle, settings.into(), check);
    }
    import.tidy();
    Ok(import.finish())
}

fn check(settings: Value) -> Result<(), String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    settings.check(".").map(drop)
}

#[cfg(test)]
mod tests;
