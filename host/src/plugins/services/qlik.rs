//! The service `qlik`: what plugins ask Qlik Sense, and have it do.

use butler_plugin_api::{HandedOver, Manifest, ServiceError, StartTasks, kind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Shared, operation, store_error};
use crate::cloud::{HandedOver as Taken, Refused};
use crate::qlik::{Lookups, QlikError, Reply, Repository};
use crate::start_tasks::{Request, told};

const OPERATIONS: &[&str] = &["get", "write", "mayWrite", "startTasks", "systemInfo", "scriptLog", "cloudEvent"];

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum Call {
    Get {
        path: String,
        #[serde(default)]
        query: Map<String, Value>,
    },
    Write {
        method: Method,
        path: String,
        #[serde(default)]
        body: Value,
    },
    MayWrite {
        path: String,
    },
    StartTasks {
        tasks: StartTasks,
    },
    SystemInfo,
    ScriptLog {
        reference: String,
    },
    CloudEvent {
        message: String,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Post,
    Put,
    Delete,
}

pub(super) async fn answer(
    shared: &Shared,
    manifest: &Manifest,
    instance: &str,
    input: Value,
) -> Result<Value, ServiceError> {
    match operation("qlik", OPERATIONS, input)? {
        Call::Get { path, query } => {
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
            let reply = qlik(shared)?.repository().get(&path, &query).await;
            reply.map(|reply| body(&reply)).map_err(|error| refused(&error))
        }
        Call::Write { method, path, body } => write(shared, manifest, instance, method, &path, &body).await,
        Call::MayWrite { path } => writable(shared, manifest, &path).map(|_| json!({})),
        Call::StartTasks { tasks } => {
            let starter = shared.task_starter.as_ref().ok_or_else(|| no_qlik(shared))?;
            let request = Request::of(tasks, format!("instance:{instance}"));
            let report = starter.start(request).await.map_err(|error| refused(&error))?;
            Ok(json!(told(&report)))
        }
        Call::SystemInfo => qlik(shared)?.repository().system_info().await.map_err(|error| refused(&error)),
        Call::ScriptLog { reference } => {
            let text = shared.store.script_log(&reference).await.map_err(|error| store_error(&error))?;
            let text = text.ok_or_else(|| {
                ServiceError::Invalid(format!(
                    "the script log {reference} is not kept, or no longer (`scriptLog.keep`)"
                ))
            })?;
            Ok(json!({ "text": text }))
        }
        Call::CloudEvent { message } => {
            let outcome = shared.cloud_events.accept_handed_over(message.as_bytes()).await;
            let mut handed = HandedOver::default();
            match outcome.map_err(|refused| not_taken(&refused))? {
                Taken::Accepted(id) => handed.id = Some(id),
                Taken::Duplicate(id) => (handed.id, handed.duplicate) = (Some(id), true),
                Taken::Ignored(why) => handed.ignored = Some(why),
            }
            Ok(json!(handed))
        }
    }
}

fn not_taken(refused: &Refused) -> ServiceError {
    match refused {
        Refused::Store(error) => store_error(error),
        other => ServiceError::Invalid(other.to_string()),
    }
}

/// Why there is no Qlik Sense.
fn no_qlik(shared: &Shared) -> ServiceError {
    let why = if shared.config.get().qlik.is_none() {
        "the config has no `qlik:` section: Butler runs without Qlik Sense"
    } else if shared.only_looks {
        "the certificates of `qlik.certificates` cannot be used, so Qlik Sense cannot be asked"
    } else {
        "the config has a `qlik:` section since it was read anew: start Butler again, it has run without Qlik Sense until now"
    };
    ServiceError::Unavailable(why.to_owned())
}

fn qlik(shared: &Shared) -> Result<&Lookups, ServiceError> {
    shared.qlik.as_deref().ok_or_else(|| no_qlik(shared))
}

fn refused(error: &QlikError) -> ServiceError {
    let text = error.to_string();
    match error {
        QlikError::BadRequest { .. } => ServiceError::Invalid(text),
        QlikError::TooLarge { .. } => ServiceError::Failed(text),
        _ => ServiceError::Unavailable(text),
    }
}

fn body(reply: &Reply) -> Value {
    let body = reply.json().unwrap_or_else(|_| Value::from(reply.text()));
    json!({ "status": reply.status, "body": body })
}

/// Where a path may be written to: the plugin says that it does so, and the config lets it.
fn writable<'a>(shared: &'a Shared, manifest: &Manifest, path: &str) -> Result<&'a Repository, ServiceError> {
    if let Some(fault) = manifest.write_fault(path) {
        return Err(ServiceError::Denied(fault));
    }
    // Where a path leads must be plain, and tasks are started by who asks the filter.
    if path.contains(['%', '\\']) || path.chars().any(char::is_control) {
        return Err(ServiceError::Invalid(format!(
            "`{path}` cannot be written to: `%` and `\\` are not allowed in it"
        )));
    }
    if path.split('/').any(|step| step.eq_ignore_ascii_case("start")) {
        return Err(ServiceError::Denied(format!("`{path}` starts tasks: use `start_tasks` for that")));
    }
    let repository: &Repository = qlik(shared)?.repository();
    let config = shared.config.get();
    let allowed = config.qlik.as_ref().map(|qlik| qlik.writes.as_slice()).unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    if !allowed.iter().any(|pattern| kind::matches(&pattern.to_ascii_lowercase(), &lower)) {
        let text = format!("the config does not allow plugins to write to `{path}`: add it to `qlik.writes`");
        return Err(ServiceError::Denied(text));
    }
    Ok(repository)
}

async fn write(
    shared: &Shared,
    manifest: &Manifest,
    instance: &str,
    method: Method,
    path: &str,
    written: &Value,
) -> Result<Value, ServiceError> {
    if shared.only_looks {
        let text = format!("`{path}` is not written to: Butler only looks, and does not run as a daemon");
        return Err(ServiceError::Denied(text));
    }
    let repository = writable(shared, manifest, path)?;
    let reply = match method {
        Method::Post => repository.post(path, &[], written).await,
        Method::Put => repository.put(path, &[], written).await,
        Method::Delete => repository.delete(path, &[]).await,
    };
    let status = reply.as_ref().map(|reply| reply.status).unwrap_or_default();
    tracing::info!(instance, ?method, path, status, "a plugin has written to Qlik Sense");
    reply.map(|reply| body(&reply)).map_err(|error| refused(&error))
}
