//! What `butler migrate` takes over from a config of Butler 16: `slackNotification`, and of Qlik Cloud its
//! `alert.slackNotification`.

use butler_plugin_api::import::{Block, Import};
use butler_plugin_api::{OperationError, kind};
use serde_json::{Value, json};

use crate::settings::Settings;

const TASKS: [(&str, &[&str]); 2] =
    [("reloadTaskFailure", &[kind::RELOAD_TASK_FAILED]), ("reloadTaskAborted", &[kind::RELOAD_TASK_ABORTED])];

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let posts = rest_message(&mut import);
    let blocks = import.blocks("slack", &TASKS);
    if !posts && import.flag("slackNotification.enable") {
        let why = "`restServerEndpointsEnable.slackPostMessage` is off, or the REST server is";
        import.dropped("slackNotification.restMessage", why);
    }
    for block in blocks {
        let Some(mut settings) = import.chat(&block) else { continue };
        for name in ["channel", "fromUser", "iconEmoji"] {
            settings.extend(import.text(&block.key(name)).map(|text| (name.to_owned(), text.into())));
        }
        let throttle = import.throttle(&block);
        import.rule("slack", &block, throttle, settings.into(), check);
    }
    import.tidy();
    Ok(import.finish())
}

/// The webhook of `PUT /v4/slackpostmessage`, which the first instance serves. `slackNotification.enable` does not count.
/// Whether it is in use.
fn rest_message(import: &mut Import) -> bool {
    let block = Block::new("slackNotification.restMessage", &[kind::MESSAGE_POSTED], "kind");
    // Both are read.
    if !(import.flag("restServerConfig.enable") & import.flag("restServerEndpointsEnable.slackPostMessage")) {
        return false;
    }
    if let Some(url) = import.secret_address(&block.key("webhookURL")) {
        import.rule("slack", &block, None, json!({ "webhookUrl": url }), check);
    } else {
        let why = "it has no address to post to: `PUT /v4/slackpostmessage` posts by the first instance of Slack";
        import.todo(&block.path, why);
    }
    true
}

fn check(settings: Value) -> Result<(), String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    settings.check(".").map(drop)
}

#[cfg(test)]
mod tests;
