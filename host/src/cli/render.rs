//! `butler render`: what an instance would send, without sending it.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use butler_plugin_api::{Delivery, Event, OperationError, sample_delivery};
use serde_json::Value;

use super::client::Daemon;
use super::progress::waiting;
use super::{ConfigFile, Subject, try_out};
use crate::config::Level;
use crate::daemon::{Alone, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Render {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    subject: Subject,
    /// An event that the running daemon has heard of instead of a sample, by its id (`GET /v5/events`).
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    event_id: Option<String>,
    /// Template file instead of the configured one.
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Print only this part, as it is: of a mail `html`, `text` or `subject`.
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
}

impl Render {
    pub(super) async fn run(self, log_level: Option<Level>) -> Result<(), Failure> {
        let alone = try_out(&self.file, &self.subject.instance, log_level).await?;
        let rendered = self.render(&alone).await;
        alone.stop().await;
        let text = printed(rendered?, self.part.as_deref())?;
        print!("{text}{}", if text.ends_with('\n') { "" } else { "\n" });
        Ok(())
    }

    async fn render(&self, alone: &Alone) -> anyhow::Result<Value> {
        let manifest = alone.instance().manifest();
        let cannot = || anyhow!("the plugin `{}` cannot show what it would send", manifest.name);
        if !manifest.operations.iter().any(|operation| operation == "render") {
            return Err(cannot());
        }
        let mut input = serde_json::to_value(self.delivery().await?)?;
        if let Some(file) = &self.template {
            let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
            std::fs::metadata(&path).with_context(|| format!("the template `{}` cannot be read", file.display()))?;
            let path = path.to_str().with_context(|| format!("the path of {} is no UTF-8", file.display()))?;
            input["templateFile"] = path.into();
        }
        let rendering = alone.instance().invoke("render", input);
        waiting(&format!("what {} would send", manifest.name), rendering).await.map_err(|error| match error {
            OperationError::Unsupported(_) => cannot(),
            other => anyhow::Error::new(other),
        })
    }

    async fn delivery(&self) -> anyhow::Result<Delivery> {
        let sample = sample_delivery(&self.subject.event);
        let Some(id) = &self.event_id else { return Ok(sample) };
        let event = Daemon::find(&self.file)?.get(&format!("/v5/events/{id}"), &[]).await?;
        let event: Event = serde_json::from_value(event).context("the daemon's answer is no event")?;
        Ok(Delivery { event, ..sample })
    }
}

/// A text as it is, anything else as JSON.
fn printed(mut rendered: Value, part: Option<&str>) -> anyhow::Result<String> {
    if let Some(name) = part {
        let found = rendered.get_mut(name).map(Value::take);
        rendered = match (found, rendered.as_object()) {
            (Some(found), _) => found,
            (None, Some(parts)) => {
                let parts: Vec<&str> = parts.keys().map(String::as_str).collect();
                bail!("there is no part `{name}`; it has {}", parts.join(", "))
            }
            (None, None) => bail!("what would be sent has no parts: leave `--part` out"),
        };
    }
    Ok(match rendered {
        Value::String(text) => text,
        other => format!("{other:#}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_printed_as_they_are() {
        let mail = || json!({ "subject": "Hi \"you\"", "html": "<p>\n", "to": ["a", "b"] });
        assert_eq!(printed(mail(), Some("subject")).unwrap(), "Hi \"you\"");
        assert_eq!(printed(mail(), Some("to")).unwrap(), "[\n  \"a\",\n  \"b\"\n]");
        assert_eq!(printed(json!("plain"), None).unwrap(), "plain");
        assert!(printed(mail(), None).unwrap().contains("\n  \"html\": \"<p>\\n\""));
        let error = printed(mail(), Some("body")).unwrap_err().to_string();
        assert!(error.contains("no part `body`; it has") && error.contains("html"), "{error}");
        assert!(printed(json!("plain"), Some("html")).unwrap_err().to_string().contains("has no parts"));
    }
}
