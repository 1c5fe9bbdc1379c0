//! `POST /v5/qlik/notifications/{secret}`: Qlik Sense says that something has ended.

use axum::body::Body;
use butler_plugin_api::{Endpoint, Scope};
use serde_json::Value;

use super::super::answer::{Answer, Failure};
use super::super::context::Context;
use super::super::own::{Declared, Own};
use super::super::request::Call;
use super::super::routes::Params;

pub(super) fn endpoint() -> Declared {
    let path = "/v5/qlik/notifications/{secret}";
    let endpoint = Endpoint::new("POST", path, Scope::Read, "Change notifications of Qlik Sense: for itself alone")
        .answer(200, "Taken", Value::Null)
        .answer(404, "The secret is another one", Value::Null);
    Declared::new(endpoint, Own::QlikNotification).open()
}

/// Before the body is read: who does not know the secret finds nothing here.
pub(in super::super) fn before_notification(context: &Context, params: &Params) -> Result<(), Failure> {
    let secret = params.get("secret").map(String::as_str).unwrap_or_default();
    context.call_back.as_ref().is_some_and(|call_back| call_back.knows(secret)).then_some(()).ok_or_else(nothing)
}

/// `POST /v5/qlik/notifications/{secret}`
pub(in super::super) fn qlik_notification(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let known = context.call_back.as_ref().is_some_and(|call_back| call_back.called(call.param("secret"), &call.body));
    known.then(|| Answer::new(Body::empty())).ok_or_else(nothing)
}

fn nothing() -> Failure {
    Failure::not_found("there is nothing here")
}

/// A path for logs.
pub(in super::super) fn without_secret(path: &str) -> &str {
    const PATH: &str = "/v5/qlik/notifications/";
    if path.starts_with(PATH) { PATH } else { path }
}
