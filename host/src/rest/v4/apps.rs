//! Apps: `GET /v4/senselistapps` (`/v4/apps/list`), `GET /v4/senseappdump/{appId}` (`/v4/app/{appId}/dump`) and
//! `PUT /v4/app/{appId}/reload`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use hyper::body::{Frame, SizeHint};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::answer::{Answer, Failure, json as answer, ready};
use super::super::context::Context;
use super::super::own::{Declared, Own, object};
use super::super::request::Call;
use crate::qlik::{Dump, Engine, EngineError, Place, ReloadOrder};

/// Whoever takes longer to read a dump no longer counts as one that is under way.
const READING: Duration = Duration::from_mins(1);
/// A dump is handed on in pieces of this size, so that it is there until its reader has nearly all of it.
const PIECE: usize = 64 << 10;

const LIST: &str = "Failed getting list of Sense apps";
const DUMP: &str = "Failed dumping app";
const RELOAD: &str = "Failed reloading app";

pub(super) fn endpoints() -> Vec<Declared> {
    let endpoint = |method: &str, path: &str, name: &str, summary: &str| {
        Endpoint::new(method, path, Scope::Tasks, summary)
            .named(name)
            .answer(500, "Qlik Sense does not do it", Value::Null)
            .answer(503, "Too much at once, or no Qlik Sense in the config", Value::Null)
    };
    let text = json!({ "type": "string" });
    let apps = json!({ "type": "array", "items": object(json!({ "id": text, "name": text })) });
    let list = |path| {
        let endpoint = endpoint("GET", path, "senseListApps", "Lists the apps of Qlik Sense");
        Declared::new(endpoint.answer(200, "The apps that the user of the config sees", apps.clone()), Own::ListApps)
    };
    let dump = |path| {
        let dumped = json!({ "type": "object", "required": ["appId"], "properties": { "appId": text } });
        let endpoint = endpoint("GET", path, "senseAppDump", "Dumps an app of Qlik Sense, without its data");
        Declared::new(endpoint.answer(200, "Script, sheets, objects, fields and so on", dumped), Own::DumpApp)
    };
    let reload = endpoint("PUT", "/v4/app/{appId}/reload", "senseAppReload", "Reloads an app of Qlik Sense")
        .body(reload_body())
        .answer(201, "The app is open, the reload goes on", object(json!({ "appId": text })));
    vec![
        list("/v4/senselistapps"),
        list("/v4/apps/list"),
        dump("/v4/senseappdump/{appId}"),
        dump("/v4/app/{appId}/dump"),
        Declared::new(reload, Own::ReloadApp),
    ]
}

/// The schema of the body of a reload. `reloadMode` may be anything: what is no mode means 0.
fn reload_body() -> Value {
    let tasks = json!({ "type": "array", "items": { "type": "string" }, "description": "Ids of tasks to start then" });
    json!({
        "type": "object",
        "properties": {
            "reloadMode": { "description": "0, 1 or 2, as in Qlik's engine; anything else means 0" },
            "partialReload": { "type": "boolean" },
            "startQSEoWTaskOnSuccess": tasks,
            "startQSEoWTaskOnFailure": tasks,
        },
    })
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ReloadBody {
    #[serde(rename = "reloadMode")]
    mode: Value,
    #[serde(rename = "partialReload")]
    partial: bool,
    #[serde(rename = "startQSEoWTaskOnSuccess")]
    on_success: Vec<String>,
    #[serde(rename = "startQSEoWTaskOnFailure")]
    on_failure: Vec<String>,
}

/// `GET /v4/senselistapps`: `[{"id", "name"}]`.
pub(in super::super) async fn list_apps(context: &Context) -> Result<Answer, Failure> {
    let apps = engine(context, LIST)?.apps().await.map_err(|error| told(context, LIST, &error))?;
    Ok(answer(&context.secrets(), StatusCode::OK, &apps))
}

/// `GET /v4/app/{appId}/dump`: one object, `appId` last.
pub(in super::super) async fn dump_app(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let (engine, app) = (engine(context, DUMP)?, app(call)?);
    let Dump { json, place } = engine.dump(app).await.map_err(|error| told(context, DUMP, &error))?;
    Ok(ready(Body::new(Held::new(json.into(), place))))
}

/// `PUT /v4/app/{appId}/reload`: 201 `{"appId"}` when the app is open; the reload itself goes on.
pub(in super::super) async fn reload_app(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let (engine, app) = (engine(context, RELOAD)?, app(call)?);
    // Cannot fail: the body fits the schema above.
    let body: ReloadBody =
        serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
    let tasks = |tasks: Vec<String>| tasks.into_iter().filter(|task| !task.trim().is_empty()).collect();
    let order = ReloadOrder {
        app: app.to_owned(),
        mode: mode(&body.mode),
        partial: body.partial,
        on_success: tasks(body.on_success),
        on_failure: tasks(body.on_failure),
        caller: call.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default(),
    };
    engine.reload(order).await.map_err(|error| failure(RELOAD, &error))?;
    Ok(answer(&context.secrets(), StatusCode::CREATED, &json!({ "appId": app })))
}

/// 0, 1 or 2, as a number or a text; anything else means 0.
fn mode(value: &Value) -> u8 {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    [1, 2].into_iter().find(|mode| number == Some(f64::from(*mode))).unwrap_or_default()
}

fn engine<'a>(context: &'a Context, what: &str) -> Result<&'a Arc<Engine>, Failure> {
    context.engine.as_ref().ok_or_else(|| {
        let message = format!("{what}: the config has no section `qlik:`, so Butler knows no Qlik Sense");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}

fn app(call: &Call) -> Result<&str, Failure> {
    let app = call.param("appId");
    if app.trim().is_empty() {
        return Err(Failure::bad_request("Required parameter (app ID) missing in the path"));
    }
    Ok(app)
}

fn failure(what: &str, error: &EngineError) -> Failure {
    let status = if error.is_busy() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
    Failure::new(status, format!("{what}: {error}"))
}

/// The same, said in the log as well; reloads are there already.
fn told(context: &Context, what: &str, error: &EngineError) -> Failure {
    let failure = failure(what, error);
    tracing::warn!("{}", context.secrets().redact(&failure.message));
    failure
}

/// A body that holds a place until it is sent, or its reader is too slow.
struct Held {
    rest: Arc<Mutex<Option<Bytes>>>,
    length: u64,
    /// Dropped with the body: then the place is free.
    _sending: oneshot::Sender<()>,
}

impl Held {
    fn new(bytes: Bytes, place: Place) -> Self {
        let (sending, sent) = oneshot::channel();
        let (length, rest) = (bytes.len() as u64, Arc::new(Mutex::new(Some(bytes))));
        let held = rest.clone();
        tokio::spawn(async move {
            // Either way it is over, and the place is free only when its memory is.
            let _ = tokio::time::timeout(READING, sent).await;
            held.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(place);
        });
        Self { rest, length, _sending: sending }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *rest {
                Some(rest) if rest.is_empty() => return Poll::Ready(None),
                Some(rest) => rest.split_to(rest.len().min(PIECE)),
                None => return Poll::Ready(Some(Err(std::io::Error::other("its reader is too slow")))),
            }
        };
        self.length -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_that_is_no_mode_means_0() {
        for (value, wanted) in [
            (json!(1), 1),
            (json!(2), 2),
            (json!(2.0), 2),
            (json!("1"), 1),
            (json!(" 2 "), 2),
            (json!(0), 0),
            (json!(3), 0),
            (json!(99), 0),
            (json!(-1), 0),
            (json!(1.5), 0),
            (json!("x"), 0),
            (json!(true), 0),
            (json!([1]), 0),
            (Value::Null, 0),
        ] {
            assert_eq!(mode(&value), wanted, "{value}");
        }
    }
}
