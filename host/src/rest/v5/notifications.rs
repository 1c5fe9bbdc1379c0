//! `POST /v5/qlik/notifications/{secret}`: Qlik Sense says that something has ended.

use axum::body::Body;
use axum::http::StatusCode;

use super::super::answer::{Answer, Failure};
use super::super::context::Context;
use super::super::request::Call;

/// `POST /v5/qlik/notifications/{secret}`. Who does not know the secret finds nothing here.
pub(in super::super) fn qlik_notification(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let secret = call.params.get("secret").map(String::as_str).unwrap_or_default();
    let known = context.call_back.as_ref().is_some_and(|call_back| call_back.called(secret, &call.body));
    if !known {
        return Err(Failure::new(StatusCode::NOT_FOUND, "there is nothing here"));
    }
    Ok(Answer::new(Body::empty()))
}

/// A path for logs.
pub(in super::super) fn without_secret(path: &str) -> &str {
    const PATH: &str = "/v5/qlik/notifications/";
    if path.starts_with(PATH) { PATH } else { path }
}
